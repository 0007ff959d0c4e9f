//! Sweeps every target in the background, each on its own schedule.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;

use super::{SweepReport, Target, Targets};

/// Sweeps every target in the background until it is dropped.
pub struct Sweeper {
    targets: Arc<ArcSwap<Targets>>,
    report: SweepObserver,
    /// By target; `None` once stopped.
    tasks: Mutex<Option<BTreeMap<String, Task>>>,
}

/// The sweep of one target.
struct Task {
    target: Arc<dyn Target>,
    interval: Duration,
    running: JoinHandle<()>,
}

/// Called after every sweep with news, e.g. to record them.
pub type SweepObserver = Arc<dyn Fn(&str, &SweepReport) + Send + Sync>;

impl Sweeper {
    /// Sweeps every target until it is dropped: first immediately, then after each interval, with
    /// up to 50 % jitter so that replicas do not sweep together.
    #[must_use]
    pub fn start(targets: &Arc<Targets>, report: &SweepObserver) -> Self {
        let sweeper = Self {
            targets: Arc::new(ArcSwap::from(Arc::clone(targets))),
            report: Arc::clone(report),
            tasks: Mutex::new(Some(BTreeMap::new())),
        };
        sweeper.follow(targets);
        sweeper
    }

    /// Sweeps these targets from now on. The sweep of an unchanged target continues; that of a
    /// removed or changed target is aborted.
    pub fn follow(&self, targets: &Arc<Targets>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tasks) = tasks.as_mut() else {
            return;
        };
        self.targets.store(Arc::clone(targets));
        let mut before = std::mem::take(tasks);
        for (name, target) in targets.iter() {
            let Some(interval) = target.sweep_interval() else {
                continue;
            };
            let as_before = before
                .remove(name)
                .filter(|task| task.interval == interval && target.continues(task.target.as_ref()));
            let task = as_before.unwrap_or_else(|| Task {
                target: Arc::clone(target),
                interval,
                running: self.sweep(name, interval),
            });
            tasks.insert(name.to_owned(), task);
        }
    }

    /// Stops all sweeps.
    pub fn stop(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        *tasks = None;
    }

    fn sweep(&self, name: &str, interval: Duration) -> JoinHandle<()> {
        let (targets, report) = (Arc::clone(&self.targets), Arc::clone(&self.report));
        let name = name.to_owned();
        tokio::spawn(async move {
            loop {
                let swept = targets.load_full().sweep(&name).await;
                if let Ok(done) = swept
                    && done.is_news()
                {
                    report(&name, &done);
                }
                tokio::time::sleep(jittered(interval)).await;
            }
        })
    }
}

impl fmt::Debug for Sweeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sweeper")
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn jittered(interval: Duration) -> Duration {
    let mut byte = [128_u8; 1];
    // Without randomness replicas may sweep together, which is harmless.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    interval.mul_f64(0.5 + f64::from(byte) / 255.0)
}
