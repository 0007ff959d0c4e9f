//! One thread per sink, fed through a shared buffer. Not: what the lines mean.
//!
//! A thread woken for each line would cost a quarter of an exchange, so a line alone wakes only an idle
//! writer: a busy one looks into its buffer every two milliseconds and writes what came together, with
//! one sync for all of it where the sink is durable. A task that waits for a line calls the writer once
//! no other task is ready to add one. So a single exchange waits for no timer, and many share a wake.
//!
//! Lines that a sink did not take, or that are no longer where it put them, are kept and tried again
//! before newer ones, so a sink that recovers has no gap.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use super::event::{Event, Loss};
use super::text::Text;
use super::{Found, Line, Sink, SinkError};
use crate::reason::Reason;
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
    /// Both sides of a sink that has taken everything up to `written`.
    pub(super) fn new(sink: Box<dyn Sink>, required: bool, written: u64) -> (Self, Worker) {
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

    /// Bytes that wait.
    pub(super) fn backlog(&self) -> usize {
        self.shared.lock().backlog()
    }

    pub(super) fn has_room(&self) -> bool {
        self.backlog() < LARGEST_BACKLOG
    }

    /// Hands a line over. A sink that is too far behind misses it.
    pub(super) fn push(&self, line: Line) {
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

    /// Has the thread write up to a line now, unless it is at it.
    pub(super) fn call(&self, sequence: u64) {
        let mut state = self.shared.lock();
        let has_company = state.buffer.count >= state.company;
        if state.taken < sequence && !state.is_called && has_company {
            state.is_called = true;
            self.shared.wake(&mut state);
        }
    }

    /// Has the thread confirm what the sink has, also when there is nothing to write.
    pub(super) fn confirm(&self) {
        let mut state = self.shared.lock();
        state.confirms = true;
        state.is_called = true;
        self.shared.wake(&mut state);
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
        self.shared.wakes.notify_one();
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
    wakes: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the thread rest until it is woken, or for some time at most.
    fn rest<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        rest: Rest,
        time: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        state.rest = rest;
        let is_resting = |state: &mut State| state.rest == rest && !state.closing;
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

    /// Ends the thread's rest, if it has one that may be ended.
    fn wake(&self, state: &mut State) {
        if matches!(state.rest, Rest::Gathering | Rest::Idle) {
            state.rest = Rest::None;
            self.wakes.notify_one();
        }
    }
}

#[derive(Debug, Default)]
struct State {
    buffer: Batch,
    /// Bytes that the thread has taken but the sink has not.
    held: usize,
    /// The last line that the thread has taken.
    taken: u64,
    rest: Rest,
    /// A task waits for what is in the buffer, and none is about to add to it.
    is_called: bool,
    /// A call counts once so many lines came together; a busy writer expects as many as there are
    /// tasks that wait for it in turn.
    company: usize,
    /// What the sink has is to be confirmed, whatever is in the buffer.
    confirms: bool,
    closing: bool,
    missed: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rest {
    #[default]
    None,
    /// Until lines came together, or it is called.
    Gathering,
    Idle,
    /// Until its sink may be tried again.
    Stuck,
}

impl State {
    const fn backlog(&self) -> usize {
        self.buffer.bytes.saturating_add(self.held)
    }
}

#[derive(Default)]
struct Batch {
    lines: Vec<Line>,
    /// How long they are together.
    bytes: usize,
    /// The sequence of the last line there was.
    last: u64,
    /// How many lines came since the last batch was tried.
    count: usize,
}

impl Batch {
    fn push(&mut self, line: Line) {
        self.bytes = self.bytes.saturating_add(line.text.len());
        self.last = line.sequence;
        self.count = self.count.saturating_add(1);
        self.lines.push(line);
    }

    /// Moves the lines of another batch behind those of this one.
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

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes up to {}", self.bytes, self.last)
    }
}

pub(super) struct Worker {
    sink: Box<dyn Sink>,
    shared: Arc<Shared>,
    progress: watch::Sender<Progress>,
    /// What was taken from the buffer and does not count yet.
    waiting: Batch,
    /// So many lines of it the sink has taken.
    given: usize,
    /// Something was written that is not safe yet: to be tried again also when nothing new comes,
    /// since nothing is minted meanwhile.
    unsettled: bool,
    /// How long lines are gathered without a call.
    gather: Duration,
}

impl Worker {
    /// Starts the thread. It calls `note` with what is to be put on record about the sink.
    pub(super) fn start(self, note: impl Fn(&Event) + Send + 'static) -> io::Result<()> {
        let name = format!("audit-{}", self.sink.name());
        let thread = thread::Builder::new().name(name);
        thread.spawn(move || self.run(&note)).map(|_| ())
    }

    fn run(mut self, note: &impl Fn(&Event)) {
        let mut trouble = Trouble::default();
        while self.take() {
            let problem = self.write(note).err();
            let problem = problem.map(|error| escape(&error.to_string()));
            let is_stuck = problem.is_some();
            trouble.tell(self.sink.name(), problem.as_deref());
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
                // Those that waited for this batch are about to add lines. If the next one were
                // written without them, all tasks would fall into two groups that wait in turn.
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

    /// Takes what has come, or waits for it; false when there is nothing more to do.
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

    /// Moves what has come behind what is waiting.
    fn absorb(&mut self, state: &mut State) {
        state.is_called = false;
        self.waiting.append(&mut state.buffer);
        state.taken = self.waiting.last;
        state.held = self.waiting.bytes;
    }

    /// Gives the sink everything, until it has all of it where its readers look.
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

    /// Asks the sink what it still has, and puts on record what happened to the rest.
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

    /// What the sink has taken when it fails is not given again.
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

/// What the log says of a sink that does not take events: at once, then each minute, then that it is
/// over.
#[derive(Default)]
struct Trouble {
    attempts: u32,
}

impl Trouble {
    fn tell(&mut self, sink: &str, problem: Option<&str>) {
        let Some(problem) = problem else {
            if std::mem::take(&mut self.attempts) > 0 {
                tracing::info!(
                    reason = Reason::SinkWorks.code(),
                    sink,
                    "an audit sink takes events again"
                );
            }
            return;
        };
        if self.attempts.is_multiple_of(ATTEMPTS_PER_MINUTE) {
            tracing::error!(
                reason = Reason::SinkFailed.code(),
                sink,
                problem,
                "an audit sink takes no events; while it is required, nothing is handed out"
            );
        }
        self.attempts = self.attempts.wrapping_add(1);
    }
}

impl Found {
    /// Logs what happened to a sink's file, and makes the event that the record needs of it.
    pub(super) fn report(self, sink: &str) -> Option<Event> {
        let loss = |head: Option<super::Head>| Loss {
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
                    "the audit file lost lines in place; rotate it by rename and SIGHUP instead of `copytruncate`"
                );
                Some(Event::Truncated(loss(head)))
            }
        }
    }
}

/// A panic of a sink is a failure of it like any other: its thread lives on and tries again, and
/// nothing is minted meanwhile (T-94). Unwind safety: a sink promises nothing about a failed call.
fn guarded<T>(act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| Err(io::Error::other("panicked")))
}

/// How long lines are gathered that no task waits for, or that come while tasks are busy.
const GATHER: Duration = Duration::from_millis(2);
/// A batch of so many lines shows that the writer is busy.
const BUSY: usize = 8;
const RETRY: Duration = Duration::from_millis(250);
/// One after each [`RETRY`].
const ATTEMPTS_PER_MINUTE: u32 = 240;
/// T-89
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// A tenth of a second without a line, and the writer sleeps until it is called.
const QUIET_ROUNDS: u32 = 50;
/// Confirmations of one batch. Each more means that the file was renamed, removed or truncated again.
const MOST_CONFIRMATIONS: u32 = 8;
const LARGEST_BACKLOG: usize = 8 << 20;
/// Beyond that, for outcomes of intents that are on record: as many as there are exchanges at once.
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

        fn write(&mut self, lines: &[Line]) -> io::Result<usize> {
            self.0.send(lines.len()).map_err(io::Error::other)?;
            Ok(lines.len())
        }

        fn settle(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A writer whose timer never ends, and the sizes of its writes.
    fn patient() -> (Writer, mpsc::Receiver<usize>) {
        let (sizes, written) = mpsc::channel();
        let (writer, mut worker) = Writer::new(Box::new(Counting(sizes)), true, 0);
        worker.gather = Duration::from_secs(3_600);
        worker.start(|_| ()).unwrap();
        (writer, written)
    }

    fn line(sequence: u64) -> Line {
        Line {
            sequence,
            text: "line\n".into(),
        }
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
