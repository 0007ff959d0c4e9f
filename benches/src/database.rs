//! Database logins: through a broker, and the same statement alone; their ends, and a sweep.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Result;
use crate::broker::{Bench, Running};
use crate::case::FEW_POLICIES;
use crate::ci::Flaw;
use crate::engine::{Engine, KINDS, Kind};
use crate::load::{self, kept, on_threads};
use crate::report::{Times, spread};

/// One measurement: how long each login took, and logins per second.
struct Sample {
    times: Vec<Duration>,
    rate: f64,
}

/// Measures every engine that is on this machine, and prints the tables.
pub(crate) fn run(bench: &Bench, rounds: usize) -> Result<()> {
    let tokens = (0..LOGINS).map(|number| bench.ci.token(number, Flaw::None));
    let tokens = tokens.collect::<Result<Vec<_>>>()?;
    println!(
        "\n| logins | the statement alone: p50, p99 ms; per second | through hallpass | own share of p50, ms | rate to alone |\n| --- | --- | --- | --- | --- |"
    );
    let mut ends = Vec::new();
    for kind in &KINDS {
        let engine = match kind.start(bench) {
            Ok(engine) => engine,
            Err(error) => {
                println!("| {} | skipped: {error} | | | |", kind.name);
                continue;
            }
        };
        for clients in [1, 4] {
            let (mut alone, mut through) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                alone.push(make_alone(engine.as_ref(), clients)?);
                through.push(make_through(
                    bench,
                    (kind, engine.as_ref()),
                    clients,
                    &tokens,
                )?);
            }
            let ([half, most, rate], [our_half, our_most, our_rate]) =
                (joined(alone), joined(through));
            println!(
                "| {}, {clients} at once | {half:.2}, {most:.2}; {rate:.0} | {our_half:.2}, {our_most:.2}; {our_rate:.0} | {:.2} | {:.2} |",
                kind.name,
                our_half - half,
                our_rate / rate
            );
        }
        ends.push((kind, measure_ends(bench, (kind, engine.as_ref()), &tokens)?));
    }
    println!("\n| logins | revocation: p50, p99 ms | sweep of {SWEPT}, s |\n| --- | --- | --- |");
    for (kind, (times, sweep)) in ends {
        println!(
            "| {} | {:.2}, {:.2} | {:.2} |",
            kind.name,
            times.at(50),
            times.at(99),
            sweep.as_secs_f64()
        );
    }
    Ok(())
}

/// p50 and p99 of all, and the median rate.
fn joined(samples: Vec<Sample>) -> [f64; 3] {
    let [_, rate, _] = spread(samples.iter().map(|sample| sample.rate));
    let times = samples.into_iter().flat_map(|sample| sample.times);
    let times = Times::new(times.collect());
    [times.at(50), times.at(99), rate]
}

fn make_alone(engine: &dyn Engine, clients: usize) -> Result<Sample> {
    engine.clean()?;
    let mut first = engine.client()?;
    for number in 0..WARM_UP {
        first(number)?;
    }
    let next = AtomicUsize::new(WARM_UP);
    let client = || {
        let mut make = engine.client()?;
        let begun = Instant::now();
        let mut times = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= LOGINS {
                return Ok((begun.elapsed(), times));
            }
            let begun = Instant::now();
            make(number)?;
            times.push(begun.elapsed());
        }
    };
    let (took, times): (Vec<_>, Vec<_>) = on_threads(clients, client)?.into_iter().unzip();
    // Connections open one after the other: the longest of them made its logins beside all others.
    let took = took.into_iter().max().unwrap_or_default();
    let times = times.concat();
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let rate = times.len() as f64 / took.as_secs_f64();
    Ok(Sample { times, rate })
}

fn make_through(
    bench: &Bench,
    engine: (&Kind, &dyn Engine),
    clients: usize,
    tokens: &[String],
) -> Result<Sample> {
    engine.1.clean()?;
    let running = bench.start(FEW_POLICIES, Some(engine), &[])?;
    let send = |tokens: &[String]| {
        let request = |number: usize| Ok(mint(&tokens[number], ""));
        load::send(&running.target, kept(clients), tokens.len(), &request, 200)
    };
    let (warm_up, tokens) = tokens.split_at(WARM_UP);
    send(warm_up)?;
    let begun = Instant::now();
    let times = send(tokens)?;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let rate = tokens.len() as f64 / begun.elapsed().as_secs_f64();
    Ok(Sample { times, rate })
}

/// Revocations one after the other, and one sweep of logins that have ended.
fn measure_ends(
    bench: &Bench,
    engine: (&Kind, &dyn Engine),
    tokens: &[String],
) -> Result<(Times, Duration)> {
    engine.1.clean()?;
    let running = bench.start(FEW_POLICIES, Some(engine), &[])?;
    let (revoked, swept) = tokens.split_at(tokens.len() - SWEPT);
    let mut connection = running.ask()?;
    let mut times = Vec::new();
    for token in revoked {
        let answer = connection.exchange(&mint(token, ""))?;
        let body: Value = serde_json::from_str(&answer.body)?;
        let lease = body["hallpass"]["lease"].as_str();
        let lease = lease.ok_or_else(|| format!("no lease: {}", answer.body))?;
        let begun = Instant::now();
        let answer = connection.exchange(&load::revocation(lease))?;
        times.push(begun.elapsed());
        if answer.status != 200 {
            return Err(format!("status {}: {}", answer.status, answer.body).into());
        }
    }
    for token in swept {
        let answer = connection.exchange(&mint(token, "&ttl=5s"))?;
        if answer.status != 200 {
            return Err(format!("status {}: {}", answer.status, answer.body).into());
        }
    }
    thread::sleep(Duration::from_secs(7));
    Ok((Times::new(times), sweep(bench, &running)?))
}

/// As a timer of an operator does it.
fn sweep(bench: &Bench, running: &Running) -> Result<Duration> {
    let begun = Instant::now();
    let ended = Command::new(&bench.hallpass)
        .args(["leases", "sweep"])
        .current_dir(&running.folder)
        .output()?;
    let took = begun.elapsed();
    if ended.status.success() {
        Ok(took)
    } else {
        Err(String::from_utf8_lossy(&ended.stderr).into())
    }
}

fn mint(token: &str, more: &str) -> Vec<u8> {
    load::form(
        "/token",
        token,
        &format!("&audience=shop-db%2Fapp{more}"),
        true,
    )
}

/// Logins of one measurement, those of the warm-up first. A server has at most 500 at a time.
const LOGINS: usize = WARM_UP + 200;
const WARM_UP: usize = 20;
const SWEPT: usize = 200;
