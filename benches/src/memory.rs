//! Resident memory of a broker: idle, with many connections, after many exchanges and refusals.

use std::thread;
use std::time::Duration;

use crate::Result;
use crate::broker::{Bench, Broker, Running};
use crate::ci::Flaw;
use crate::load::{self, kept, on_threads};
use crate::start::megabytes;

/// Measures it, and prints the table.
///
/// # Errors
/// It grows with exchanges or with refused tokens.
pub(crate) fn run(bench: &Bench, count: usize) -> Result<()> {
    let running = bench.start(BROKER, None, &[])?;
    drop(running.ask()?);
    let row = |name: &str| {
        thread::sleep(SETTLED);
        let bytes = running.process.memory()?;
        println!("| {name} | {:.1} |", megabytes(bytes));
        Ok::<_, crate::Error>(bytes)
    };
    println!("| resident memory, {REPOSITORIES} policies | MB |\n| --- | --- |");
    row("idle")?;
    let open = on_threads(1, || {
        let open = (0..CONNECTIONS).map(|_| running.ask());
        open.collect::<Result<Vec<_>>>()
    })?;
    row(&format!("with {CONNECTIONS} idle connections"))?;
    drop(open);
    row("after these were closed")?;
    let mut grown = Vec::new();
    for (what, flaw, status) in [
        ("exchanges", Flaw::None, 200),
        ("refused tokens", Flaw::Signature, 400),
    ] {
        let mut sizes = Vec::new();
        for part in 1..=PARTS {
            let done = count * part / PARTS;
            send(
                bench,
                &running,
                (count * (part - 1) / PARTS, done),
                flaw,
                status,
            )?;
            sizes.push(row(&format!("after {done} {what}"))?);
        }
        if let [.., before, last] = sizes.as_slice()
            && is_growth(*before, *last)
        {
            grown.push(what);
        }
    }
    if grown.is_empty() {
        println!("\nflat: {ALLOWED}");
        return Ok(());
    }
    Err(format!("memory grows with {}: not {ALLOWED}", grown.join(" and ")).into())
}

/// Sends the tokens of these numbers, signed on the way.
fn send(
    bench: &Bench,
    running: &Running,
    (from, to): (usize, usize),
    flaw: Flaw,
    status: u16,
) -> Result<()> {
    for from in (from..to).step_by(BETWEEN_RELOADS) {
        let count = BETWEEN_RELOADS.min(to - from);
        let request = |number: usize| {
            let token = bench.ci.token(from + number, flaw)?;
            Ok(load::form("/token", &token, "&audience=deploy-api", true))
        };
        load::send(&running.target, kept(8), count, &request, status)?;
        // The audit file is in memory too.
        running.reload()?;
    }
    Ok(())
}

/// More than what the allocator and the clock do to it.
pub(crate) const fn is_growth(before: u64, after: u64) -> bool {
    after > before + before / 20 + (2 << 20)
}

pub(crate) const BROKER: Broker = Broker {
    policies: REPOSITORIES,
    durable: false,
    logs: false,
    tls: false,
};
/// So many that none reaches its limit of exchanges in a minute.
pub(crate) const REPOSITORIES: usize = 1_000;
const ALLOWED: &str = "within 5 % and 2 MB over the last quarter";
const CONNECTIONS: usize = 1_000;
const PARTS: usize = 4;
const BETWEEN_RELOADS: usize = 50_000;
/// Used tokens are forgotten by then.
const SETTLED: Duration = Duration::from_secs(2);
