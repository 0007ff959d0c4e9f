//! The audit log of one broker: orders the events, sends them to every sink, and pairs each intent
//! with its outcome.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use aws_lc_rs::rand;
use data_encoding::HEXLOWER;

use super::chain::{Chain, CheckpointKey, Head};
use super::event::{Event, IntentRecord, Outcome, OutcomeRecord, StartRecord};
use super::text::Text;
use super::writer::{SinkWorker, SinkWriter};
use super::{AuditLine, Found, Recorded, Sink, SinkEntry, SinkError, SinkStatus, ours};
use crate::clock::Clock;
use crate::reason::Reason;
use crate::replay::Reserved;
use crate::rootkey::RootKeys;
use crate::text::escape;

/// The log of one running broker.
#[derive(Debug)]
pub struct AuditLog {
    shared: Arc<Shared>,
}

impl AuditLog {
    /// Opens the log of a replica. `chain` is the name of the replica, `boot` the ID of this start.
    /// Continues the chain that a sink already holds, and writes the first lines before it returns.
    ///
    /// # Errors
    /// No sink is required, a required sink rejects the first lines, or a name is not 1 to 64
    /// characters `A-Z a-z 0-9 . _ -`.
    pub fn new(
        sinks: Vec<SinkEntry>,
        keys: &RootKeys,
        clock: Arc<dyn Clock>,
        chain: &str,
        boot: &str,
    ) -> Result<Self, SinkError> {
        if !sinks.iter().any(|entry| entry.required) {
            return Err(ours("none is required; mark one as `required: true`"));
        }
        if !is_name(chain) || !is_name(boot) {
            return Err(ours(
                "the chain and boot ID must be 1 to 64 characters A-Z a-z 0-9 . _ -",
            ));
        }
        let key = CheckpointKey::of(keys.active())
            .ok_or_else(|| ours("the signing key cannot be derived"))?;
        let start = Event::Start(StartRecord {
            version: env!("CARGO_PKG_VERSION"),
            key: key.public().to_text(),
        });
        let start = to_json(&start)?;
        let head = sinks.iter().find_map(|entry| entry.sink.head());
        let mut chain = Chain::new(chain, boot, head.unwrap_or_default(), key);
        let now = clock.now();
        // Signed immediately, so every boot has a checkpoint and no boot can be forged.
        let start = chain.append(now, &start);
        let start = line(&chain, start);
        let checkpoint = chain.checkpoint(now);
        let lines = [start, line(&chain, checkpoint)];
        let (mut writers, mut workers, mut reports) = (Vec::new(), Vec::new(), Vec::new());
        for entry in sinks {
            let (writer, worker, found) = open(entry, &lines)?;
            reports.extend(found.and_then(|found| found.report(writer.name())));
            writers.push(writer);
            workers.push(worker);
        }
        let shared = Arc::new(Shared {
            clock,
            chain: Mutex::new(chain),
            writers,
            boot: boot.to_owned(),
            intents: AtomicU64::new(0),
            open: Mutex::new(HashMap::new()),
            closed: Mutex::new(false),
            closing: Condvar::new(),
        });
        let log = Self { shared };
        log.start(workers)
            .map_err(|error| ours(&format!("cannot start its thread: {error}")))?;
        for report in reports {
            log.note(&report)?;
        }
        Ok(log)
    }

    fn start(&self, workers: Vec<SinkWorker>) -> io::Result<()> {
        for worker in workers {
            let shared = Arc::downgrade(&self.shared);
            worker.start(move |event| {
                // A closed log cannot record it.
                if let Some(shared) = shared.upgrade() {
                    let _closed = shared.append_in_reserve(event);
                }
            })?;
        }
        sign_every(CHECKPOINT_EVERY, Arc::clone(&self.shared))
    }

    /// Records an intent in every required sink, within 2 s.
    ///
    /// # Errors
    /// A required sink did not accept it. Nothing may be minted, and the use of the token can be
    /// given back. If the intent is written later after all, its outcome follows.
    pub async fn record_intent(
        &self,
        reserved: Reserved,
        request_id: &str,
    ) -> Result<Recorded, SinkError> {
        let id = self.shared.next_intent();
        self.announce(IntentRecord::of(&reserved, id.clone(), request_id))
            .await?;
        Ok(Recorded {
            reserved,
            intent: id,
        })
    }

    /// Records the outcome of an intent. Only the first outcome counts.
    ///
    /// # Errors
    /// A required sink did not accept it within 2 s. Revoke the credential where possible.
    pub async fn record_outcome(&self, intent: &str, outcome: Outcome) -> Result<(), SinkError> {
        match self.shared.end_intent(intent, outcome) {
            Some(appended) => self.written(appended?).await,
            None => Ok(()),
        }
    }

    /// Writes an event and waits until every required sink has it.
    ///
    /// # Errors
    /// A required sink did not accept it within 2 s.
    pub async fn record(&self, event: &Event) -> Result<(), SinkError> {
        let sequence = self.shared.append(event)?;
        self.written(sequence).await
    }

    /// Records an event without waiting for the sinks. For events that nothing depends on.
    ///
    /// # Errors
    /// A required sink is too far behind to accept it.
    pub fn note(&self, event: &Event) -> Result<(), SinkError> {
        self.shared.append(event).map(|_| ())
    }

    /// Records an event, and logs a failure instead of returning it.
    pub(crate) fn note_or_log(&self, event: &Event) {
        if let Err(error) = self.note(event) {
            tracing::error!(reason = Reason::SinkFailed.code(), sink = %error.sink, "an event could not be recorded");
        }
    }

    /// Makes every sink check that its file is still at its path. If the file was renamed, a new
    /// file continues immediately, so the old one can be compressed.
    pub fn reopen(&self) {
        self.shared.writers.iter().for_each(SinkWriter::confirm);
    }

    /// Waits until every required sink has every line.
    ///
    /// # Errors
    /// A required sink does not accept it within 2 s.
    pub async fn settle(&self) -> Result<(), SinkError> {
        let sequence = self.shared.chain().sequence();
        self.written(sequence).await
    }

    /// The hash of the last line. Saved elsewhere, it shows later whether lines were cut off
    /// (`hallpass audit verify --expect-head`).
    #[must_use]
    pub fn head(&self) -> Head {
        self.shared.chain().head()
    }

    /// The status of every sink, for readiness and metrics.
    #[must_use]
    pub fn status(&self) -> Vec<SinkStatus> {
        let status = self.shared.writers.iter().map(|writer| SinkStatus {
            name: writer.name().to_owned(),
            required: writer.is_required(),
            problem: writer.problem(),
            backlog: writer.backlog(),
            missed: writer.missed(),
        });
        status.collect()
    }

    /// Ends the log: records outcomes for open intents, the last line, and a final checkpoint.
    ///
    /// # Errors
    /// A required sink did not accept the end within 2 s.
    pub async fn close(&self) -> Result<(), SinkError> {
        let sequence = self.shared.finish();
        let mut written = Ok(());
        if let Some(sequence) = sequence {
            written = self.written(sequence).await;
            for writer in &self.shared.writers {
                if let Err(error) = writer.written(sequence).await {
                    tracing::warn!(sink = %error.sink, problem = %error.problem, "the audit \
                        sink is missing the end of the log");
                }
            }
        }
        self.shared.writers.iter().for_each(SinkWriter::close);
        written
    }

    async fn announce(&self, intent: IntentRecord) -> Result<(), SinkError> {
        if let Some(stuck) = self.shared.stuck() {
            return Err(stuck);
        }
        let id = intent.intent.clone();
        let sequence = self.shared.begin_intent(intent)?;
        // Also if the caller is dropped while it waits.
        let mut open = OpenIntent {
            shared: &self.shared,
            id: &id,
            outcome: Some(Outcome::Failed {
                reason: Reason::RequestGone,
                message: Text::new("the request ended before its intent was recorded"),
                nothing_made: true,
            }),
        };
        let written = self.written(sequence).await;
        open.outcome = written.as_ref().err().map(|error| Outcome::Failed {
            reason: Reason::SinkFailed,
            message: Text::new(&error.to_string()),
            nothing_made: true,
        });
        written
    }

    async fn written(&self, sequence: u64) -> Result<(), SinkError> {
        // Ready tasks add their lines first and share the wake-up.
        tokio::task::yield_now().await;
        for writer in self.shared.required() {
            writer.call(sequence);
        }
        for writer in self.shared.required() {
            writer.written(sequence).await?;
        }
        Ok(())
    }
}

impl Drop for AuditLog {
    fn drop(&mut self) {
        self.shared.finish();
        self.shared.writers.iter().for_each(SinkWriter::close);
    }
}

/// The ID of one start of a broker: 16 random hex digits.
///
/// # Errors
/// The system random source failed.
pub fn new_boot_id() -> Result<String, SinkError> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| ours("cannot get random bytes for a boot ID"))?;
    Ok(HEXLOWER.encode(&bytes))
}

#[derive(Debug)]
struct Shared {
    clock: Arc<dyn Clock>,
    chain: Mutex<Chain>,
    writers: Vec<SinkWriter>,
    boot: String,
    intents: AtomicU64,
    /// Intents without an outcome, with their request ID and credential.
    open: Mutex<HashMap<String, (Text, Text)>>,
    closed: Mutex<bool>,
    closing: Condvar,
}

impl Shared {
    fn next_intent(&self) -> String {
        let number = self.intents.fetch_add(1, Ordering::Relaxed);
        format!("{}.{}", self.boot, number.saturating_add(1))
    }

    fn begin_intent(&self, intent: IntentRecord) -> Result<u64, SinkError> {
        let id = intent.intent.clone();
        let repeated = (intent.request_id.clone(), intent.credential.clone());
        // Before the append, so a log that closes in between ends it too.
        locked(&self.open).insert(id.clone(), repeated);
        let appended = self.append(&Event::Intent(intent));
        if appended.is_err() {
            locked(&self.open).remove(&id);
        }
        appended
    }

    /// `None` if the intent already has its outcome.
    fn end_intent(&self, intent: &str, outcome: Outcome) -> Option<Result<u64, SinkError>> {
        let (request_id, credential) = locked(&self.open).remove(intent)?;
        let event = Event::Outcome(OutcomeRecord {
            intent: intent.to_owned(),
            request_id,
            credential,
            outcome,
        });
        // Its intent is recorded, so this is recorded too, even if the sinks are far behind.
        Some(self.append_in_reserve(&event))
    }

    fn append(&self, event: &Event) -> Result<u64, SinkError> {
        if let Some(full) = self.required().find(|writer| !writer.has_room()) {
            return Err(full.error("too far behind: its queue is full".to_owned()));
        }
        self.append_in_reserve(event)
    }

    fn append_in_reserve(&self, event: &Event) -> Result<u64, SinkError> {
        let event = to_json(event)?;
        let mut chain = self.chain();
        if *locked(&self.closed) {
            return Err(ours("the log is closed"));
        }
        Ok(self.extend(&mut chain, &event))
    }

    /// Appends the next line, to every sink. The lock on the chain keeps the order the same for
    /// all.
    fn extend(&self, chain: &mut Chain, event: &[u8]) -> u64 {
        let line = chain.append(self.clock.now(), event);
        self.push(chain, line)
    }

    fn checkpoint(&self) {
        let mut chain = self.chain();
        if chain.unsigned() > 0 && self.required().all(SinkWriter::has_room) {
            let line = chain.checkpoint(self.clock.now());
            self.push(&chain, line);
        }
    }

    /// Appends the last lines. `None` if the log is already closed.
    fn finish(&self) -> Option<u64> {
        let mut chain = self.chain();
        if std::mem::replace(&mut *locked(&self.closed), true) {
            return None;
        }
        self.closing.notify_all();
        let open: Vec<_> = locked(&self.open).drain().collect();
        let unknown = open.into_iter().map(|(intent, (request_id, credential))| {
            Event::Outcome(OutcomeRecord {
                intent,
                request_id,
                credential,
                outcome: Outcome::Unknown,
            })
        });
        for event in unknown.chain([Event::Stop]) {
            if let Ok(event) = to_json(&event) {
                self.extend(&mut chain, &event);
            }
        }
        let line = chain.checkpoint(self.clock.now());
        Some(self.push(&chain, line))
    }

    fn push(&self, chain: &Chain, text: Vec<u8>) -> u64 {
        let line = line(chain, text);
        for writer in &self.writers {
            writer.push(line.clone());
        }
        line.sequence
    }

    fn required(&self) -> impl Iterator<Item = &SinkWriter> {
        self.writers.iter().filter(|writer| writer.is_required())
    }

    /// The error of a required sink whose last attempt failed.
    fn stuck(&self) -> Option<SinkError> {
        self.required()
            .find_map(|writer| Some(writer.error(writer.problem()?)))
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        locked(&self.chain)
    }
}

/// Gives an intent its outcome when dropped, even if its request is cancelled.
struct OpenIntent<'a> {
    shared: &'a Shared,
    id: &'a str,
    outcome: Option<Outcome>,
}

impl Drop for OpenIntent<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.shared.end_intent(self.id, outcome);
        }
    }
}

/// Writes the first lines to a required sink synchronously, so a log that cannot begin is found at
/// start.
fn open(
    mut entry: SinkEntry,
    lines: &[AuditLine],
) -> Result<(SinkWriter, SinkWorker, Option<Found>), SinkError> {
    if !entry.required {
        let (writer, worker) = SinkWriter::new(entry.sink, false, 0);
        lines.iter().cloned().for_each(|line| writer.push(line));
        return Ok((writer, worker, None));
    }
    let found = write_all(entry.sink.as_mut(), lines).map_err(|error| SinkError {
        sink: entry.sink.name().to_owned(),
        problem: escape(&error.to_string()),
    })?;
    let sequence = lines.last().map_or(0, |line| line.sequence);
    let (writer, worker) = SinkWriter::new(entry.sink, true, sequence);
    Ok((writer, worker, found))
}

/// The line that the chain made last.
fn line(chain: &Chain, text: Vec<u8>) -> AuditLine {
    AuditLine {
        sequence: chain.sequence(),
        head: chain.head(),
        text: text.into(),
    }
}

fn write_all(sink: &mut dyn Sink, lines: &[AuditLine]) -> io::Result<Option<Found>> {
    let mut rest = lines;
    while !rest.is_empty() {
        let count = match sink.write(rest) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        rest = rest.get(count..).unwrap_or_default();
    }
    sink.settle()?;
    let confirmed = sink.confirm(lines)?;
    if confirmed.lines < lines.len() {
        return Err(io::Error::other(
            "the log changed while its first lines were written",
        ));
    }
    Ok(confirmed.found)
}

/// A thread that signs now and then, until the log is closed.
fn sign_every(time: Duration, shared: Arc<Shared>) -> io::Result<()> {
    let run = move || {
        let mut closed = locked(&shared.closed);
        while !*closed {
            let (waited, time_out) = shared
                .closing
                .wait_timeout(closed, time)
                .unwrap_or_else(PoisonError::into_inner);
            closed = waited;
            if time_out.timed_out() && !*closed {
                drop(closed);
                shared.checkpoint();
                closed = locked(&shared.closed);
            }
        }
    };
    let thread = thread::Builder::new().name("audit-checkpoint".to_owned());
    thread.spawn(run).map(|_| ())
}

fn to_json(event: &Event) -> Result<Vec<u8>, SinkError> {
    let mut text = Vec::with_capacity(USUAL_LENGTH);
    let written = serde_json::to_writer(&mut text, event);
    written.map_err(|_| ours("an event cannot be serialised as JSON"))?;
    Ok(text)
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of most events.
const USUAL_LENGTH: usize = 2_048;
/// Longest time without a signature over what was written.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::event::JobRecord;
    use super::super::verify::{Expected, Verification};
    use super::*;
    use crate::clock::{FixedClock, Timestamp};
    use crate::rootkey::RootKey;

    /// What a sink does with the next bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Behaviour {
        Accepts,
        AcceptsOne,
        Fails,
        FailsToSettle,
        Hangs,
    }

    #[derive(Debug)]
    struct TestSink {
        behaviour: Arc<Mutex<Behaviour>>,
        lines: Arc<Mutex<Vec<u8>>>,
        release: mpsc::Receiver<()>,
    }

    impl Sink for TestSink {
        fn name(&self) -> &'static str {
            "test"
        }

        fn write(&mut self, lines: &[AuditLine]) -> io::Result<usize> {
            let behaviour = *locked(&self.behaviour);
            let count = match behaviour {
                Behaviour::Accepts | Behaviour::FailsToSettle => lines.len(),
                Behaviour::AcceptsOne => {
                    *locked(&self.behaviour) = Behaviour::Fails;
                    1
                }
                Behaviour::Fails => return Err(io::Error::other("disk full\x1b[31m")),
                Behaviour::Hangs => {
                    // Until the test lets go, or is over.
                    let _ = self.release.recv();
                    lines.len()
                }
            };
            for line in &lines[..count] {
                locked(&self.lines).extend_from_slice(&line.text);
            }
            Ok(count)
        }

        fn settle(&mut self) -> io::Result<()> {
            match *locked(&self.behaviour) {
                Behaviour::FailsToSettle => Err(io::Error::other("cannot sync")),
                Behaviour::Accepts
                | Behaviour::AcceptsOne
                | Behaviour::Fails
                | Behaviour::Hangs => Ok(()),
            }
        }
    }

    struct TestLog {
        log: AuditLog,
        behaviour: Arc<Mutex<Behaviour>>,
        lines: Arc<Mutex<Vec<u8>>>,
        release: mpsc::Sender<()>,
    }

    impl TestLog {
        fn new() -> Self {
            let (entry, behaviour, lines, release) = test_sink(true);
            let log = log_with(vec![entry]).unwrap();
            Self {
                log,
                behaviour,
                lines,
                release,
            }
        }

        fn behave(&self, behaviour: Behaviour) {
            *locked(&self.behaviour) = behaviour;
        }

        fn events(&self) -> Vec<serde_json::Value> {
            let lines = locked(&self.lines).clone();
            let lines = lines
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty());
            lines
                .map(|line| serde_json::from_slice(line).unwrap())
                .collect()
        }

        /// The events without start and checkpoints, in a word each.
        fn told(&self) -> Vec<String> {
            let events = self.events().into_iter().filter_map(|event| {
                let name = event["event"].as_str().unwrap().to_owned();
                let detail = event["outcome"].as_str().or(event["intent"].as_str());
                let detail = detail
                    .map(|detail| format!(" {detail}"))
                    .unwrap_or_default();
                (name != "start" && name != "checkpoint").then_some(name + &detail)
            });
            events.collect()
        }

        fn verify(&self) -> Vec<String> {
            let lines = locked(&self.lines).clone();
            let mut verification = Verification::new(Expected::default());
            verification.read("log", lines.as_slice()).unwrap();
            let findings = verification.finish().findings;
            findings.iter().map(ToString::to_string).collect()
        }

        async fn wait_until_well(&self) {
            for _ in 0..500 {
                if self.log.status()[0].problem.is_none() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("still stuck: {:?}", self.log.status());
        }

        async fn wait_for(&self, what: &str) {
            for _ in 0..500 {
                let has_all = locked(&self.lines).ends_with(b"\n");
                if has_all && self.told().iter().any(|told| told == what) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("`{what}` was never told: {:?}", self.told());
        }
    }

    type TestEntry = (
        SinkEntry,
        Arc<Mutex<Behaviour>>,
        Arc<Mutex<Vec<u8>>>,
        mpsc::Sender<()>,
    );

    fn test_sink(required: bool) -> TestEntry {
        let behaviour = Arc::new(Mutex::new(Behaviour::Accepts));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (sender, release) = mpsc::channel();
        let sink = Box::new(TestSink {
            behaviour: Arc::clone(&behaviour),
            lines: Arc::clone(&lines),
            release,
        });
        (SinkEntry { sink, required }, behaviour, lines, sender)
    }

    fn log_with(sinks: Vec<SinkEntry>) -> Result<AuditLog, SinkError> {
        let root = RootKey::generate().unwrap();
        let keys = RootKeys::new("https://hallpass.example", 1, vec![root]).unwrap();
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(1_790_000_000)));
        AuditLog::new(sinks, &keys, clock, "replica-a", "b1")
    }

    fn intent(id: &str) -> IntentRecord {
        IntentRecord {
            intent: id.to_owned(),
            request_id: Text::new("req-1"),
            job: JobRecord {
                issuer: Text::new("https://issuer.example"),
                token: Text::new("0011223344556677"),
                subject: Text::new("repo:acme/shop:ref:refs/heads/main"),
                job: super::super::event::FactRecord::default(),
                claims: super::super::event::ClaimRecord::default(),
            },
            credential: Text::new("shop-db/migrate"),
            kind: "postgres",
            class: "moderate",
            labels: std::collections::BTreeMap::new(),
            scopes: Vec::new(),
            ttl: "10m".to_owned(),
            asked: super::super::event::AskedRecord::of(&crate::policy::Ask::default(), None),
            inputs: std::collections::BTreeMap::new(),
            sealed_to: None,
            policy: Text::new("shop-migrate"),
            revision: Text::new("sha256:00"),
            shadow: None,
            expires_at: Timestamp::from_unix(1_790_000_600),
            repeat: false,
            shared: false,
            replay: crate::replay::Reach::PerReplica,
        }
    }

    fn alert() -> Event {
        Event::Alert(super::super::event::AlertRecord {
            reason: Reason::LeaseForeign,
            message: Text::new(&"x".repeat(250)),
            request_id: None,
        })
    }

    fn minted() -> Outcome {
        Outcome::Minted {
            public_id: Text::new("hp_1lg7ei3_0123456789abc"),
            expires_at: Timestamp::from_unix(1_790_000_600),
        }
    }

    /// T-89
    #[tokio::test]
    async fn an_intent_is_written_before_it_counts_and_has_one_outcome() {
        let test = TestLog::new();
        test.log.announce(intent("b1.1")).await.unwrap();
        assert_eq!(test.told(), ["intent b1.1"]);
        test.log.record_outcome("b1.1", minted()).await.unwrap();
        test.log
            .record_outcome("b1.1", Outcome::Unknown)
            .await
            .unwrap();
        test.log.close().await.unwrap();
        assert_eq!(test.told(), ["intent b1.1", "outcome minted", "stop"]);
        assert_eq!(test.verify(), Vec::<String>::new());
        let outcome = &test.events()[3];
        assert_eq!(outcome["request_id"], "req-1");
        assert_eq!(outcome["credential"], "shop-db/migrate");
        assert_eq!(test.events()[2]["replay"], "per_replica", "T-72");
    }

    /// T-89
    #[tokio::test]
    async fn a_sink_that_fails_stops_intents_and_recovers_without_a_gap() {
        for behaviour in [
            Behaviour::Fails,
            Behaviour::AcceptsOne,
            Behaviour::FailsToSettle,
        ] {
            let test = TestLog::new();
            test.behave(behaviour);
            if behaviour == Behaviour::AcceptsOne {
                test.log.note(&alert()).unwrap();
            }
            let error = test.log.announce(intent("b1.1")).await.unwrap_err();
            assert_eq!(error.sink, "test");
            let later = test.log.announce(intent("b1.2")).await.unwrap_err();
            assert_eq!(later, error);
            test.behave(Behaviour::Accepts);
            test.wait_for("outcome failed").await;
            test.wait_until_well().await;
            test.log.announce(intent("b1.3")).await.unwrap();
            test.log.record_outcome("b1.3", minted()).await.unwrap();
            test.log.close().await.unwrap();
            let told: Vec<String> = test.told();
            let alerts = usize::from(behaviour == Behaviour::AcceptsOne);
            assert_eq!(told[..alerts], vec!["alert"; alerts]);
            assert_eq!(
                told[alerts..],
                [
                    "intent b1.1",
                    "outcome failed",
                    "intent b1.3",
                    "outcome minted",
                    "stop"
                ],
                "{behaviour:?}"
            );
            assert_eq!(test.verify(), Vec::<String>::new(), "{behaviour:?}");
        }
    }

    /// T-89
    #[tokio::test]
    async fn an_intent_has_its_outcome_also_when_its_sink_is_too_far_behind() {
        let test = TestLog::new();
        test.log.announce(intent("b1.1")).await.unwrap();
        test.behave(Behaviour::Hangs);
        let alert = alert();
        let behind = loop {
            if let Err(error) = test.log.note(&alert) {
                break error;
            }
        };
        assert_eq!(behind.problem, "too far behind: its queue is full");
        let refused = test.log.record_outcome("b1.1", minted()).await;
        assert_eq!(refused.unwrap_err().problem, "took longer than 2 s");
        test.behave(Behaviour::Accepts);
        test.release.send(()).unwrap();
        test.log.close().await.unwrap();
        let told = test.told();
        let outcomes = told.iter().filter(|told| *told == "outcome minted");
        assert_eq!(outcomes.count(), 1);
        assert_eq!(told.last().unwrap(), "stop");
        assert_eq!(test.verify(), Vec::<String>::new());
    }

    /// T-89
    #[tokio::test]
    async fn a_sink_that_cannot_settle_recovers_without_further_events() {
        let test = TestLog::new();
        test.behave(Behaviour::FailsToSettle);
        test.log.announce(intent("b1.1")).await.unwrap_err();
        test.wait_for("outcome failed").await;
        assert!(test.log.status()[0].problem.is_some());
        test.behave(Behaviour::Accepts);
        test.wait_until_well().await;
    }

    /// T-89
    #[tokio::test]
    async fn the_error_of_a_sink_is_escaped() {
        let test = TestLog::new();
        test.behave(Behaviour::Fails);
        let error = test.log.announce(intent("b1.1")).await.unwrap_err();
        insta::assert_snapshot!(error, @r"audit sink `test`: disk full\u{1b}[31m");
    }

    /// T-89
    #[tokio::test]
    async fn a_sink_that_hangs_is_given_two_seconds() {
        let test = TestLog::new();
        test.behave(Behaviour::Hangs);
        let error = test.log.announce(intent("b1.1")).await.unwrap_err();
        insta::assert_snapshot!(error, @"audit sink `test`: took longer than 2 s");
        test.behave(Behaviour::Accepts);
        test.release.send(()).unwrap();
        test.wait_for("outcome failed").await;
        assert_eq!(test.told(), ["intent b1.1", "outcome failed"]);
    }

    /// T-89
    #[tokio::test]
    async fn a_sink_that_fails_after_the_intent_is_told_to_the_caller() {
        let test = TestLog::new();
        test.log.announce(intent("b1.1")).await.unwrap();
        test.behave(Behaviour::Fails);
        test.log.record_outcome("b1.1", minted()).await.unwrap_err();
        let status = test.log.status();
        assert_eq!(status[0].problem.as_deref(), Some(r"disk full\u{1b}[31m"));
        assert!(status[0].required && status[0].backlog > 0);
        test.behave(Behaviour::Accepts);
        test.wait_for("outcome minted").await;
    }

    /// T-90
    #[tokio::test]
    async fn an_intent_whose_request_went_away_has_its_outcome() {
        let test = TestLog::new();
        test.behave(Behaviour::Hangs);
        {
            let mut announced = Box::pin(test.log.announce(intent("b1.1")));
            let pending = std::future::poll_fn(|context| {
                std::task::Poll::Ready(announced.as_mut().poll(context).is_pending())
            });
            assert!(pending.await);
        }
        test.behave(Behaviour::Accepts);
        test.release.send(()).unwrap();
        test.wait_for("outcome failed").await;
        assert_eq!(test.told(), ["intent b1.1", "outcome failed"]);
    }

    /// T-89
    #[tokio::test]
    async fn what_is_open_at_the_end_has_an_outcome() {
        let test = TestLog::new();
        test.log.announce(intent("b1.1")).await.unwrap();
        test.log.close().await.unwrap();
        test.log.close().await.unwrap();
        assert_eq!(test.told(), ["intent b1.1", "outcome unknown", "stop"]);
        assert_eq!(test.verify(), Vec::<String>::new());
        let error = test.log.record(&Event::Stop).await.unwrap_err();
        insta::assert_snapshot!(error, @"audit sink `audit`: the log is closed");
    }

    #[tokio::test]
    async fn a_sink_that_is_not_required_holds_up_nobody() {
        let (required, ..) = test_sink(true);
        let (optional, behaviour, _lines, _release) = test_sink(false);
        *locked(&behaviour) = Behaviour::Hangs;
        let log = log_with(vec![optional, required]).unwrap();
        log.announce(intent("b1.1")).await.unwrap();
        log.record_outcome("b1.1", minted()).await.unwrap();
        log.close().await.unwrap();
        assert!(log.status()[0].backlog > 0);
    }

    /// T-72
    #[tokio::test]
    async fn hundreds_of_intents_at_once_make_one_whole_log() {
        let test = Arc::new(TestLog::new());
        let tasks: Vec<_> = (0..300)
            .map(|_| {
                let test = Arc::clone(&test);
                tokio::spawn(async move {
                    let id = test.log.shared.next_intent();
                    test.log.announce(intent(&id)).await.unwrap();
                    test.log.record_outcome(&id, minted()).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        test.log.shared.checkpoint();
        test.log.close().await.unwrap();
        assert_eq!(test.told().len(), 601);
        assert_eq!(test.verify(), Vec::<String>::new());
    }

    #[test]
    fn a_log_that_records_nothing_is_refused() {
        let error = |sinks| log_with(sinks).unwrap_err().to_string();
        insta::assert_snapshot!(error(vec![]), @"audit sink `audit`: none is required; mark one \
            as `required: true`");
        let (optional, ..) = test_sink(false);
        assert!(error(vec![optional]).contains("mark one as"));
        let (required, behaviour, ..) = test_sink(true);
        *locked(&behaviour) = Behaviour::Fails;
        insta::assert_snapshot!(error(vec![required]), @r"audit sink `test`: disk full\u{1b}[31m");
    }

    #[test]
    fn a_boot_has_a_name_of_its_own() {
        let (one, two) = (new_boot_id().unwrap(), new_boot_id().unwrap());
        assert_ne!(one, two);
        assert!(is_name(&one));
        assert!(!is_name("a b") && !is_name("") && !is_name("\u{e9}"));
    }
}
