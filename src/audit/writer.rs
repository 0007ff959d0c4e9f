//! One thread per sink, fed through a shared buffer. Not: what the lines mean.
//!
//! A thread woken for each line would cost a quarter of an exchange, so a busy writer is never woken:
//! it looks into its buffer every two milliseconds and writes what came together, with one sync for
//! all of it where the sink is durable. Only an idle writer sleeps until it is called.
//!
//! Lines that a sink did not take are kept and tried again before newer ones, so a sink that recovers
//! has no gap.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use super::{Sink, SinkError};
use crate::text::escape;

/// The log's side of a sink.
#[derive(Debug)]
pub(super) struct Writer {
    name: String,
    required: bool,
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
}

impl Writer {
    /// Starts the thread of a sink that has taken everything up to `written`.
    pub(super) fn start(sink: Box<dyn Sink>, required: bool, written: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let first = Progress {
            written,
            problem: None,
        };
        let (sender, progress) = watch::channel(first);
        let name = sink.name().to_owned();
        let worker = Worker {
            sink,
            shared: Arc::clone(&shared),
            progress: sender,
            waiting: Batch::default(),
            unsettled: false,
        };
        thread::Builder::new()
            .name(format!("audit-{name}"))
            .spawn(move || worker.run())?;
        Ok(Self {
            name,
            required,
            shared,
            progress,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn is_required(&self) -> bool {
        self.required
    }

    /// What keeps the sink from taking events, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        self.progress.borrow().problem.clone()
    }

    /// Bytes that wait.
    pub(super) fn backlog(&self) -> usize {
        self.shared.lock().backlog()
    }

    pub(super) fn has_room(&self) -> bool {
        self.backlog() < LARGEST_BACKLOG
    }

    /// Hands a line over. A sink that is too far behind misses it.
    pub(super) fn push(&self, sequence: u64, line: &[u8]) {
        let mut state = self.shared.lock();
        if state.backlog() >= LARGEST_BACKLOG.saturating_add(RESERVE) {
            state.missed = state.missed.saturating_add(1);
            return;
        }
        state.buffer.lines.extend_from_slice(line);
        state.buffer.last = sequence;
        if state.idle {
            state.idle = false;
            self.shared.wake.notify_one();
        }
    }

    /// Lines that never reached the sink because it was too far behind.
    pub(super) fn missed(&self) -> u64 {
        self.shared.lock().missed
    }

    /// Waits until the sink has a line.
    pub(super) async fn written(&self, sequence: u64) -> Result<(), SinkError> {
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|now| now.written >= sequence || now.problem.is_some());
        match tokio::time::timeout(LONGEST_WAIT, reached).await {
            Ok(Ok(now)) if now.written >= sequence => Ok(()),
            Ok(Ok(now)) => Err(self.error(now.problem.clone().unwrap_or_default())),
            Ok(Err(_)) => Err(self.error("is closed".to_owned())),
            Err(_) => Err(self.error("took longer than 2 s".to_owned())),
        }
    }

    pub(super) fn error(&self, problem: String) -> SinkError {
        SinkError {
            sink: self.name.clone(),
            problem,
        }
    }

    /// Lets the thread end after what it has.
    pub(super) fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
    }
}

/// How far a sink is.
#[derive(Clone, Debug)]
struct Progress {
    written: u64,
    problem: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        let waited = self.wake.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

#[derive(Debug, Default)]
struct State {
    buffer: Batch,
    /// Bytes that the thread has taken but the sink has not.
    held: usize,
    /// The thread sleeps until it is called.
    idle: bool,
    closing: bool,
    missed: u64,
}

impl State {
    const fn backlog(&self) -> usize {
        self.buffer.lines.len().saturating_add(self.held)
    }
}

/// Lines, and the sequence of the last of them.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    last: u64,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes up to {}", self.lines.len(), self.last)
    }
}

/// The thread's side.
struct Worker {
    sink: Box<dyn Sink>,
    shared: Arc<Shared>,
    progress: watch::Sender<Progress>,
    /// What was taken from the buffer and is not written yet.
    waiting: Batch,
    /// Something was written that is not safe yet: to be tried again also when nothing new comes,
    /// since nothing is minted meanwhile.
    unsettled: bool,
}

impl Worker {
    fn run(mut self) {
        while self.take() {
            let problem = self.write().err().map(|error| escape(&error.to_string()));
            let is_stuck = problem.is_some();
            self.shared.lock().held = self.waiting.lines.len();
            self.progress.send_modify(|progress| {
                if problem.is_none() {
                    progress.written = self.waiting.last;
                }
                progress.problem = problem;
            });
            let state = self.shared.lock();
            if is_stuck && state.closing {
                return;
            }
            if !state.closing {
                let pause = if is_stuck { RETRY } else { GATHER };
                drop(self.shared.wait(state, pause));
            }
        }
    }

    /// Takes what has come, or waits for it; false when there is nothing more to do.
    fn take(&mut self) -> bool {
        let mut state = self.shared.lock();
        let mut quiet = 0_u32;
        while state.buffer.lines.is_empty() && self.waiting.lines.is_empty() && !self.unsettled {
            if state.closing {
                return false;
            }
            if quiet < QUIET_ROUNDS {
                quiet = quiet.saturating_add(1);
                state = self.shared.wait(state, GATHER);
            } else {
                state.idle = true;
                let waited = self.shared.wake.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                state.idle = false;
            }
        }
        if state.buffer.last > self.waiting.last {
            self.waiting.last = state.buffer.last;
        }
        if self.waiting.lines.is_empty() {
            std::mem::swap(&mut self.waiting.lines, &mut state.buffer.lines);
        } else {
            self.waiting.lines.append(&mut state.buffer.lines);
        }
        state.held = self.waiting.lines.len();
        true
    }

    /// Gives the sink everything. What it has taken when it fails is not given again.
    fn write(&mut self) -> io::Result<()> {
        let mut from = 0;
        let written = loop {
            let Some(rest) = self
                .waiting
                .lines
                .get(from..)
                .filter(|rest| !rest.is_empty())
            else {
                break Ok(());
            };
            match guarded(|| self.sink.write(rest)) {
                Ok(0) => break Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(count) => from = from.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.waiting
            .lines
            .drain(..from.min(self.waiting.lines.len()));
        let settled = written.and_then(|()| guarded(|| self.sink.settle()));
        self.unsettled = settled.is_err();
        settled
    }
}

/// A panic of a sink is a failure of it like any other: its thread lives on and tries again, and
/// nothing is minted meanwhile (T-94). Unwind safety: a sink promises nothing about a failed call.
fn guarded<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| Err(io::Error::other("panicked")))
}

/// How long lines are gathered: threats.md allows a sink 2 s, and an exchange waits for two of these.
const GATHER: Duration = Duration::from_millis(2);
const RETRY: Duration = Duration::from_millis(250);
/// T-89
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// A tenth of a second without a line, and the writer sleeps until it is called.
const QUIET_ROUNDS: u32 = 50;
const LARGEST_BACKLOG: usize = 8 << 20;
/// Beyond that, for outcomes of intents that are on record: as many as there are exchanges at once.
const RESERVE: usize = 1 << 20;
