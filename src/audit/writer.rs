//! Runs one thread per sink, fed through a shared buffer.
//!
//! Waking the thread for each line would cost a quarter of an exchange. So a line wakes only an
//! idle writer. A busy writer looks into its buffer every two milliseconds and writes the whole
//! batch, with one sync where the sink is durable. A task that waits for a line wakes the writer
//! once no other task is ready to add one: a single exchange waits for no timer, and many exchanges
//! share one wake-up.
//!
//! Lines that a sink did not accept, or no longer has, are retried before newer ones. So a sink
//! that recovers has no gap.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use super::event::{Event, LossRecord};
use super::text::Text;
use super::{AuditLine, Found, Sink, SinkError};
use crate::reason::Reason;
use crate::text::escape;

/// The log's side of a sink.
#[derive(Debug)]
pub(super) struct SinkWriter {
    name: String,
    required: bool,
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
}

impl SinkWriter {
    /// Both sides of a sink that has taken everything up to `written`.
    pub(super) fn new(sink: Box<dyn Sink>, required: bool, written: u64) -> (Self, SinkWorker) {
        let shared = Arc::new(Shared::default());
        let first = Progress {
            written,
            problem: None,
        };
        let (sender, progress) = watch::channel(first);
        let name = sink.name().to_owned();
        let worker = SinkWorker {
            sink,
            shared: Arc::clone(&shared),
            progress: sender,
            waiting: Batch {
                last: written,
                ..Batch::default()
            },
            given: 0,
            unsettled: false,
            gather: GATHER,
        };
        let writer = Self {
            name,
            required,
            shared,
            progress,
        };
        (writer, worker)
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

    /// Bytes not yet written.
    pub(super) fn backlog(&self) -> usize {
        self.shared.lock().backlog()
    }

    pub(super) fn has_room(&self) -> bool {
        self.backlog() < LARGEST_BACKLOG
    }

    /// Queues a line. If the sink is too far behind, the line is dropped and counted.
    pub(super) fn push(&self, line: AuditLine) {
        let mut state = self.shared.lock();
        if state.backlog() >= LARGEST_BACKLOG.saturating_add(RESERVE) {
            state.missed = state.missed.saturating_add(1);
            return;
        }
        state.buffer.push(line);
        if state.rest == Rest::Idle {
            self.shared.wake(&mut state);
        }
    }

    /// Makes the thread write up to a line now, unless it is already writing.
    pub(super) fn call(&self, sequence: u64) {
        let mut state = self.shared.lock();
        let has_company = state.buffer.count >= state.company;
        if state.taken < sequence && !state.is_called && has_company {
            state.is_called = true;
            self.shared.wake(&mut state);
        }
    }

    /// Makes the thread confirm what the sink has, even if there is nothing to write.
    pub(super) fn confirm(&self) {
        let mut state = self.shared.lock();
        state.confirms = true;
        state.is_called = true;
        self.shared.wake(&mut state);
    }

    /// Lines that were dropped because the sink was too far behind.
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
            Ok(Err(_)) => Err(self.error("the log is closed".to_owned())),
            Err(_) => Err(self.error("took longer than 2 s".to_owned())),
        }
    }

    pub(super) fn error(&self, problem: String) -> SinkError {
        SinkError {
            sink: self.name.clone(),
            problem,
        }
    }

    /// Lets the thread end once its buffer is written.
    pub(super) fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.wakes.notify_one();
    }
}

/// The progress of a sink.
#[derive(Clone, Debug)]
struct Progress {
    written: u64,
    problem: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Queue>,
    wakes: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks the thread until it is woken or `time` has passed.
    fn rest<'a>(
        &self,
        mut state: MutexGuard<'a, Queue>,
        rest: Rest,
        time: Option<Duration>,
    ) -> MutexGuard<'a, Queue> {
        state.rest = rest;
        let is_resting = |state: &mut Queue| state.rest == rest && !state.closing;
        let mut state = if let Some(time) = time {
            let waited = self.wakes.wait_timeout_while(state, time, is_resting);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else {
            let waited = self.wakes.wait_while(state, is_resting);
            waited.unwrap_or_else(PoisonError::into_inner)
        };
        state.rest = Rest::None;
        state
    }

    /// Wakes the thread, if it waits in a state that may be interrupted.
    fn wake(&self, state: &mut Queue) {
        if matches!(state.rest, Rest::Gathering | Rest::Idle) {
            state.rest = Rest::None;
            self.wakes.notify_one();
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    buffer: Batch,
    /// Bytes that the thread has taken and the sink has not accepted.
    held: usize,
    /// The last line that the thread has taken.
    taken: u64,
    rest: Rest,
    /// A task waits for the lines in the buffer, and no other task is about to add one.
    is_called: bool,
    /// A call wakes the thread only once the buffer has this many lines: a busy writer expects a
    /// line from each task that waited for the previous batch.
    company: usize,
    /// The sink's file must be confirmed, even if the buffer is empty.
    confirms: bool,
    closing: bool,
    missed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rest {
    #[default]
    None,
    /// Until the batch is complete, or it is called.
    Gathering,
    Idle,
    /// Until the sink is retried.
    Stuck,
}

impl Queue {
    const fn backlog(&self) -> usize {
        self.buffer.bytes.saturating_add(self.held)
    }
}

#[derive(Debug, Default)]
struct Batch {
    lines: Vec<AuditLine>,
    /// Their total length.
    bytes: usize,
    /// The sequence of the last line added.
    last: u64,
    /// How many lines were added since the last batch was tried.
    count: usize,
}

impl Batch {
    fn push(&mut self, line: AuditLine) {
        self.bytes = self.bytes.saturating_add(line.text.len());
        self.last = line.sequence;
        self.count = self.count.saturating_add(1);
        self.lines.push(line);
    }

    /// Appends the lines of another batch.
    fn append(&mut self, other: &mut Self) {
        self.lines.append(&mut other.lines);
        self.bytes = self.bytes.saturating_add(std::mem::take(&mut other.bytes));
        self.last = self.last.max(other.last);
        self.count = self.count.saturating_add(std::mem::take(&mut other.count));
    }

    fn clear(&mut self) {
        self.lines.clear();
        self.bytes = 0;
    }
}

pub(super) struct SinkWorker {
    sink: Box<dyn Sink>,
    shared: Arc<Shared>,
    progress: watch::Sender<Progress>,
    /// Lines taken from the buffer that are not confirmed yet.
    waiting: Batch,
    /// How many of these lines the sink has accepted.
    given: usize,
    /// A write or sync failed. It is retried even without new lines, because nothing is minted
    /// meanwhile.
    unsettled: bool,
    /// How long to collect lines without a call.
    gather: Duration,
}

impl SinkWorker {
    /// Starts the thread. It calls `note` with events about the sink.
    pub(super) fn start(self, note: impl Fn(&Event) + Send + 'static) -> io::Result<()> {
        let name = format!("audit-{}", self.sink.name());
        let thread = thread::Builder::new().name(name);
        thread.spawn(move || self.run(&note)).map(|_| ())
    }

    fn run(mut self, note: &impl Fn(&Event)) {
        let mut failures = FailureLog::default();
        while self.take() {
            let problem = self.write(note).err();
            let problem = problem.map(|error| escape(&error.to_string()));
            let is_stuck = problem.is_some();
            failures.tell(self.sink.name(), problem.as_deref());
            self.unsettled = is_stuck;
            self.shared.lock().held = self.waiting.bytes;
            self.progress.send_modify(|progress| {
                if problem.is_none() {
                    progress.written = self.waiting.last;
                }
                progress.problem = problem;
            });
            let count = std::mem::take(&mut self.waiting.count);
            let mut state = self.shared.lock();
            state.company = 0;
            if count >= BUSY {
                // Tasks that waited for this batch are about to add lines. Writing the next batch
                // without them would split the tasks into two groups that take turns.
                state.company = count.saturating_add(state.buffer.count);
                state.is_called = false;
            }
            if is_stuck && state.closing {
                return;
            }
            if is_stuck {
                drop(self.shared.rest(state, Rest::Stuck, Some(RETRY)));
            } else if !state.is_called && !state.closing {
                drop(self.shared.rest(state, Rest::Gathering, Some(self.gather)));
            }
        }
    }

    /// Takes the buffered lines, or waits for some. False if the thread should end.
    fn take(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let mut quiet = 0_u32;
        while state.buffer.lines.is_empty()
            && self.waiting.lines.is_empty()
            && !self.unsettled
            && !state.confirms
        {
            if state.closing {
                return false;
            }
            // The line of the last call is written by now.
            state.is_called = false;
            state = if quiet < QUIET_ROUNDS {
                quiet = quiet.saturating_add(1);
                shared.rest(state, Rest::Gathering, Some(self.gather))
            } else {
                shared.rest(state, Rest::Idle, None)
            };
        }
        state.confirms = false;
        self.absorb(&mut state);
        true
    }

    /// Moves the buffered lines to the waiting batch.
    fn absorb(&mut self, state: &mut Queue) {
        state.is_called = false;
        self.waiting.append(&mut state.buffer);
        state.taken = self.waiting.last;
        state.held = self.waiting.bytes;
    }

    /// Writes everything to the sink, until all of it is confirmed.
    fn write(&mut self, note: &impl Fn(&Event)) -> io::Result<()> {
        let mut is_settled = !self.unsettled;
        for _ in 0..MOST_CONFIRMATIONS {
            self.confirm(note)?;
            if is_settled && self.given == self.waiting.lines.len() {
                self.waiting.clear();
                self.given = 0;
                return Ok(());
            }
            self.give()?;
            guarded(|| self.sink.settle())?;
            is_settled = true;
        }
        Err(io::Error::other(
            "is renamed, removed or truncated faster than it can be written",
        ))
    }

    /// Asks the sink which lines it still has, and records what happened to its file.
    fn confirm(&mut self, note: &impl Fn(&Event)) -> io::Result<()> {
        let given = self.waiting.lines.get(..self.given).unwrap_or_default();
        let confirmed = guarded(|| self.sink.confirm(given))?;
        self.given = confirmed.lines.min(self.given);
        let Some(found) = confirmed.found else {
            return Ok(());
        };
        if let Some(event) = found.report(self.sink.name()) {
            note(&event);
            let shared = Arc::clone(&self.shared);
            self.absorb(&mut shared.lock());
        }
        Ok(())
    }

    /// Lines that the sink accepted before a failure are not written again.
    fn give(&mut self) -> io::Result<()> {
        while let Some(rest) = self.waiting.lines.get(self.given..)
            && !rest.is_empty()
        {
            match guarded(|| self.sink.write(rest)) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(count) => self.given = self.given.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Logs the failure of a sink: immediately, then every minute, then its recovery.
#[derive(Default)]
struct FailureLog {
    attempts: u32,
}

impl FailureLog {
    fn tell(&mut self, sink: &str, problem: Option<&str>) {
        let Some(problem) = problem else {
            if std::mem::take(&mut self.attempts) > 0 {
                tracing::info!(
                    reason = Reason::SinkWorks.code(),
                    sink,
                    "the audit sink accepts events again"
                );
            }
            return;
        };
        if self.attempts.is_multiple_of(ATTEMPTS_PER_MINUTE) {
            tracing::error!(
                reason = Reason::SinkFailed.code(),
                sink,
                problem,
                "the audit sink rejects events; no credentials are issued while a required sink fails"
            );
        }
        self.attempts = self.attempts.wrapping_add(1);
    }
}

impl Found {
    /// Logs what happened to a sink's file, and returns the event to record.
    pub(super) fn report(self, sink: &str) -> Option<Event> {
        let loss = |head: Option<super::Head>| LossRecord {
            sink: Text::new(sink),
            head: head.map(|head| Text::new(&format!("sha256:{head}"))),
        };
        match self {
            Self::Renamed => {
                tracing::info!(
                    reason = Reason::AuditRenamed.code(),
                    sink,
                    "the audit file was renamed; a new one continues its chain"
                );
                None
            }
            Self::Removed(head) => {
                tracing::error!(
                    reason = Reason::AuditRemoved.code(),
                    sink,
                    "the audit file was deleted or replaced; a new one continues its chain"
                );
                Some(Event::Removed(loss(head)))
            }
            Self::Truncated(head) => {
                tracing::error!(
                    reason = Reason::AuditTruncated.code(),
                    sink,
                    "the audit file was truncated in place; rotate it by rename and SIGHUP \
                     instead of `copytruncate`"
                );
                Some(Event::Truncated(loss(head)))
            }
        }
    }
}

/// Turns a panic of a sink into an error. Its thread continues and retries, and nothing is minted
/// meanwhile (T-94). Unwind safety: a sink promises nothing about a failed call.
fn guarded<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| Err(io::Error::other("panicked")))
}

/// How long lines are collected that no task waits for, or that arrive while tasks are busy.
const GATHER: Duration = Duration::from_millis(2);
/// A batch of this many lines means that the writer is busy.
const BUSY: usize = 8;
const RETRY: Duration = Duration::from_millis(250);
/// One after each [`RETRY`].
const ATTEMPTS_PER_MINUTE: u32 = 240;
/// T-89
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// After a tenth of a second without a line, the writer sleeps until it is called.
const QUIET_ROUNDS: u32 = 50;
/// Confirmations of one batch. Each further one means that the file was renamed, removed or
/// truncated again.
const MOST_CONFIRMATIONS: u32 = 8;
const LARGEST_BACKLOG: usize = 8 << 20;
/// Reserved for outcomes of recorded intents: enough for all concurrent exchanges.
const RESERVE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Says how many lines each write had.
    #[derive(Debug)]
    struct Counting(mpsc::Sender<usize>);

    impl Sink for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        fn write(&mut self, lines: &[AuditLine]) -> io::Result<usize> {
            self.0.send(lines.len()).map_err(io::Error::other)?;
            Ok(lines.len())
        }

        fn settle(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer whose timer never ends, and the sizes of its writes.
    fn patient() -> (SinkWriter, mpsc::Receiver<usize>) {
        let (sizes, written) = mpsc::channel();
        let (writer, mut worker) = SinkWriter::new(Box::new(Counting(sizes)), true, 0);
        worker.gather = Duration::from_secs(3_600);
        worker.start(|_| ()).unwrap();
        (writer, written)
    }

    fn line(sequence: u64) -> AuditLine {
        AuditLine::new(sequence, "line\n")
    }

    #[tokio::test]
    async fn whoever_waits_for_a_line_waits_for_no_timer() {
        let (writer, _written) = patient();
        for sequence in 1..=20 {
            writer.push(line(sequence));
            writer.call(sequence);
            writer.written(sequence).await.unwrap();
        }
        writer.close();
    }

    #[tokio::test]
    async fn a_line_alone_does_not_wake_a_busy_writer() {
        let (writer, written) = patient();
        writer.push(line(1));
        writer.call(1);
        writer.written(1).await.unwrap();
        for sequence in 2..=100 {
            writer.push(line(sequence));
        }
        writer.call(100);
        writer.written(100).await.unwrap();
        assert_eq!(written.try_iter().collect::<Vec<_>>(), [1, 99]);
        writer.close();
    }
}
