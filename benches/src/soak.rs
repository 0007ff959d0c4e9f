//! A long run below full load, with reloads, rotations of the CI's keys, and good and bad tokens.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;
use crate::broker::{Bench, Running};
use crate::ci::Flaw;
use crate::load::{self, Connection, get, kept, on_threads};
use crate::memory::{BROKER, is_growth};
use crate::report::Times;
use crate::start::megabytes;

/// Soaks a broker, and prints what was found.
///
/// # Errors
/// It grew, made an error that was not asked for, or was slow.
pub(crate) fn run(bench: &Bench, length: Duration) -> Result<()> {
    let running = bench.start(BROKER, None, &[])?;
    let most = most_per_second(bench, &running)?;
    let rate = most * LOAD;
    eprintln!("at most {most:.0} exchanges per second; soaking with {rate:.0}");
    let soak = Soak {
        bench,
        running: &running,
        begun: Instant::now(),
        length,
        rate,
        next: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
        wrong: Mutex::default(),
    };
    let (times, kept) = thread::scope(|scope| {
        let keeper = scope.spawn(|| soak.keep());
        let times = on_threads(CLIENTS, || soak.client());
        soak.is_over.store(true, Ordering::Relaxed);
        let kept = keeper.join().map_err(|_| "the keeper panicked")?;
        let (answers, late): (Vec<_>, Vec<_>) = times?.into_iter().unzip();
        Ok::<_, crate::Error>(((answers.concat(), late.concat()), kept?))
    })?;
    let wrong = soak
        .wrong
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    verdict(&running, times, &kept, &wrong)
}

/// What the run found, one line each.
fn verdict(
    running: &Running,
    (times, late): (Vec<Duration>, Vec<Duration>),
    kept: &Kept,
    wrong: &[String],
) -> Result<()> {
    let (count, times) = (times.len(), Times::new(times));
    let (half, most, late) = (times.at(50), times.at(99), Times::new(late).at(99));
    let log = fs::read_to_string(&running.log)?;
    let quarter = kept.memory.len() / 4;
    let largest = |from: usize, to: usize| {
        let part = kept.memory.get(from..to).unwrap_or_default();
        part.iter().copied().max().unwrap_or(0)
    };
    let second = largest(quarter, 2 * quarter);
    let last = largest(3 * quarter, kept.memory.len());
    let reloads = reloads(running)?;
    let found = [
        (
            !is_growth(second, last),
            format!(
                "{:.1} MB at most in the second quarter, {:.1} MB in the last",
                megabytes(second),
                megabytes(last)
            ),
        ),
        (
            wrong.is_empty() && log.is_empty(),
            format!(
                "{} unexpected answers, beside {count} good exchanges; the log has {} errors",
                wrong.len(),
                log.lines().count()
            ),
        ),
        (
            most <= 3.0 * half,
            format!(
                "p50 {half:.2} ms, p99 {most:.2} ms: {:.1} times; the client itself woke up {late:.2} ms late at p99",
                most / half
            ),
        ),
        (
            reloads.0 >= kept.reloads && reloads.1 == 0,
            format!(
                "{} of {} reloads, {} failed; {} key rotations",
                reloads.0, kept.reloads, reloads.1, kept.rotations
            ),
        ),
    ];
    for (holds, text) in &found {
        println!("{} {text}", if *holds { "ok    " } else { "FAILED" });
    }
    for answer in wrong.iter().take(3) {
        println!("       {answer}");
    }
    for line in log.lines().take(3) {
        println!("       {line}");
    }
    if found.iter().all(|(holds, _)| *holds) {
        println!("passed");
        Ok(())
    } else {
        Err("the soak failed".into())
    }
}

/// What every part of the run sees.
struct Soak<'a> {
    bench: &'a Bench,
    running: &'a Running,
    begun: Instant,
    length: Duration,
    rate: f64,
    next: AtomicUsize,
    is_over: AtomicBool,
    /// Answers that were not the expected ones.
    wrong: Mutex<Vec<String>>,
}

/// What was done beside the exchanges, and the memory of each second.
#[derive(Default)]
struct Kept {
    memory: Vec<u64>,
    reloads: u64,
    rotations: u64,
}

impl Soak<'_> {
    /// Sends each request at its time. Returns how long after that time the good ones ended, and how late
    /// the client woke up where it had slept: what a busy machine adds.
    fn client(&self) -> Result<(Vec<Duration>, Vec<Duration>)> {
        let (mut times, mut late) = (Vec::new(), Vec::new());
        let mut connection = Connection::open(&self.running.target)?;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let due = Duration::from_secs_f64(number as f64 / self.rate);
            if due >= self.length {
                return Ok((times, late));
            }
            let (flaw, reason) = KINDS[number % KINDS.len()];
            let token = self.bench.ci.token(FIRST + number, flaw)?;
            let request = load::form("/token", &token, "&audience=deploy-api", true);
            let left = due.saturating_sub(self.begun.elapsed());
            if !left.is_zero() {
                thread::sleep(left);
                late.push(self.begun.elapsed().saturating_sub(due));
            }
            let answer = connection.exchange(&request)?;
            let took = self.begun.elapsed().saturating_sub(due);
            let status = if reason.is_empty() { 200 } else { 400 };
            if reason.is_empty() {
                times.push(took);
            }
            if answer.status != status || !answer.body.contains(reason) {
                let text = format!("{flaw:?} got {}: {}", answer.status, answer.body);
                let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
                wrong.push(text);
            }
        }
    }

    /// Reloads, rotates and looks at the memory, each second.
    fn keep(&self) -> Result<Kept> {
        let mut kept = Kept::default();
        let mut published = None;
        for second in 1.. {
            let due = Duration::from_secs(second);
            thread::sleep(due.saturating_sub(self.begun.elapsed()));
            if self.is_over.load(Ordering::Relaxed) {
                return Ok(kept);
            }
            kept.memory.push(self.running.process.memory()?);
            if second % RELOAD == 0 {
                let text = format!("# Reload {}.\n", kept.reloads);
                fs::write(self.running.folder.join("policies/empty.yaml"), text)?;
                self.running.reload()?;
                kept.reloads += 1;
            }
            if second % ROTATION == ROTATION / 6 {
                self.bench.ci.publish()?;
                published = Some(second);
            }
            // A broker looks for unknown keys twice a minute.
            if published.is_some_and(|published| second == published + KNOWN) {
                self.bench.ci.switch();
                kept.rotations += 1;
            }
            if second % 30 == 0 {
                let memory = kept.memory.last().copied().unwrap_or_default();
                eprintln!("{second} s: {:.1} MB", megabytes(memory));
            }
        }
        Ok(kept)
    }
}

/// How many exchanges the broker can serve, one after the other on each connection.
fn most_per_second(bench: &Bench, running: &Running) -> Result<f64> {
    let request = |number: usize| {
        let token = bench.ci.token(number, Flaw::None)?;
        Ok(load::form("/token", &token, "&audience=deploy-api", true))
    };
    let warm_up = |number: usize| request(number + TRIED);
    load::send(&running.target, kept(8), WARM_UP, &warm_up, 200)?;
    let begun = Instant::now();
    load::send(&running.target, kept(8), TRIED, &request, 200)?;
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let count = TRIED as f64;
    Ok(count / begun.elapsed().as_secs_f64())
}

/// Reloads that were loaded, and that failed.
fn reloads(running: &Running) -> Result<(u64, u64)> {
    let text = Connection::open(&running.operator)?.exchange(&get("/metrics"))?;
    let of = |outcome: &str| {
        let name = format!("hallpass_reloads_total{{outcome=\"{outcome}\"}} ");
        let line = text.body.lines().find_map(|line| line.strip_prefix(&name));
        line.and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    };
    Ok((of("loaded"), of("failed")))
}

/// The mix: good tokens, and bad ones with the reason that each must get.
const KINDS: [(Flaw, &str); 20] = {
    let mut kinds = [(Flaw::None, ""); 20];
    kinds[4] = (Flaw::Signature, "\"token.signature\"");
    kinds[9] = (Flaw::Issuer, "\"token.issuer\"");
    kinds[14] = (Flaw::Key, "\"token.key_unknown\"");
    kinds[19] = (Flaw::Expired, "\"token.expired\"");
    kinds
};
/// The share of what the broker can serve.
const LOAD: f64 = 0.7;
const CLIENTS: usize = 16;
const WARM_UP: usize = 1_000;
const TRIED: usize = 20_000;
/// The number of the first token that no measurement before has used.
const FIRST: usize = 100_000;
/// Seconds between two.
const RELOAD: u64 = 10;
const ROTATION: u64 = 60;
/// Seconds after which a new key is known, at the latest.
const KNOWN: u64 = 35;
