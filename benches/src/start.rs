//! What a broker takes before its first exchange: time, memory and disk.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::broker::Bench;
use crate::case::with_policies;
use crate::report::spread;

/// Starts brokers of several sizes, and prints the table.
pub(crate) fn run(bench: &Bench, rounds: usize) -> Result<()> {
    println!(
        "| policies | start to the first answer, ms: min, median, max | idle MB |\n| --- | --- | --- |"
    );
    for policies in [10, 10_000, 100_000] {
        // The first one also writes the policies.
        drop(bench.start(with_policies(policies), None, &[])?);
        let (mut times, mut memory) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let begun = Instant::now();
            let running = bench.start(with_policies(policies), None, &[])?;
            running.ask()?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            thread::sleep(SETTLED);
            memory.push(megabytes(running.process.memory()?));
        }
        let ([min, median, max], [_, memory, _]) = (spread(times), spread(memory));
        println!("| {policies} | {min:.0}, {median:.0}, {max:.0} | {memory:.1} |");
    }
    let size = megabytes(fs::metadata(&bench.hallpass)?.len());
    println!("\nThe binary has {size:.1} MB.");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What a start leaves to do is done by then.
const SETTLED: Duration = Duration::from_millis(500);
