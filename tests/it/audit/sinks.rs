//! The sink suite, run against each sink; a new one is a line in `each_sink`.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hallpass::audit::event::AlertRecord;
use hallpass::audit::file::FileSink;
use hallpass::audit::stdout::StdoutSink;
use hallpass::audit::verify::{Expected, Verification};
use hallpass::audit::{AuditLine, Confirmed, Event, Sink, Text};
use hallpass::reason::Reason;
use hallpass::rootkey::RootKey;

use super::log;
use crate::support::leaks;

/// Makes a sink that writes to a file, so that the suite can read what it was given.
pub(crate) type Make = fn(&Path) -> Box<dyn Sink>;

pub(crate) const EACH_SINK: [(&str, Make); 3] = [
    ("file", |path| {
        Box::new(FileSink::open(path, false).unwrap())
    }),
    ("durable file", |path| {
        Box::new(FileSink::open(path, true).unwrap())
    }),
    ("stdout", |path| {
        Box::new(StdoutSink::over(File::create(path).unwrap()))
    }),
];

#[derive(Debug)]
struct Boxed(Box<dyn Sink>);

impl Sink for Boxed {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn head(&self) -> Option<hallpass::audit::Head> {
        self.0.head()
    }

    fn write(&mut self, lines: &[AuditLine]) -> std::io::Result<usize> {
        for line in lines {
            leaks::said("an event", &line.text);
        }
        self.0.write(lines)
    }

    fn settle(&mut self) -> std::io::Result<()> {
        self.0.settle()
    }

    fn confirm(&mut self, taken: &[AuditLine]) -> std::io::Result<Confirmed> {
        self.0.confirm(taken)
    }
}

fn alert(message: &str) -> Event {
    Event::Alert(AlertRecord {
        reason: Reason::ClockJump,
        message: Text::new(message),
        request_id: None,
    })
}

fn findings(path: &Path) -> Vec<String> {
    let mut verification = Verification::new(Expected::default());
    let lines = fs::read(path).unwrap();
    verification.read("log", lines.as_slice()).unwrap();
    let findings = verification.finish().findings;
    findings.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn each_sink_has_an_event_before_recording_returns() {
    for (name, make) in EACH_SINK {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let root = RootKey::generate().unwrap();
        let log = log(&root, "b1", Boxed(make(&path))).unwrap();
        for number in 0..20 {
            let message = format!("event number {number}");
            log.record(&alert(&message)).await.unwrap();
            assert!(
                fs::read_to_string(&path).unwrap().contains(&message),
                "{name}"
            );
        }
        log.close().await.unwrap();
        assert_eq!(findings(&path), Vec::<String>::new(), "{name}");
    }
}

/// Counts how often it is written to.
#[derive(Debug)]
struct Counting(Arc<AtomicUsize>);

impl Sink for Counting {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn write(&mut self, lines: &[AuditLine]) -> std::io::Result<usize> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(lines.len())
    }

    fn settle(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn tasks_that_record_at_the_same_time_share_writes() {
    let writes = Arc::new(AtomicUsize::new(0));
    let root = RootKey::generate().unwrap();
    let log = Arc::new(log(&root, "b1", Counting(Arc::clone(&writes))).unwrap());
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                for _ in 0..10 {
                    log.record(&alert("here")).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let writes = writes.load(Ordering::SeqCst);
    assert!(writes < 320, "{writes} writes for 640 lines");
}

/// T-91
#[tokio::test]
async fn each_sink_gets_one_printable_line_per_event() {
    for (name, make) in EACH_SINK {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let root = RootKey::generate().unwrap();
        let log = log(&root, "b1", Boxed(make(&path))).unwrap();
        for text in ["\x1b[2J", "a\nb\r\n", "\u{2028}\u{202e}", "\"}\n{\"v\":1"] {
            log.note(&alert(text)).unwrap();
        }
        log.close().await.unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 8, "{name}");
        for line in text.lines() {
            assert!(
                line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{name}: {line}"
            );
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }
}

/// T-92
#[tokio::test]
async fn no_byte_of_the_root_key_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let root = RootKey::generate().unwrap();
    let log = log(&root, "b1", FileSink::open(&path, false).unwrap()).unwrap();
    log.close().await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let secret = root.to_text();
    let secret = secret.expose().strip_prefix("hallpass-root-1:").unwrap();
    for piece in secret.as_bytes().windows(8) {
        let piece = std::str::from_utf8(piece).unwrap();
        assert!(!text.contains(piece));
    }
}

/// T-111
#[tokio::test]
async fn a_restarted_broker_continues_the_chain_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let root = RootKey::generate().unwrap();
    for boot in ["b1", "b2", "b3"] {
        let sink = FileSink::open(&path, false).unwrap();
        let log = log(&root, boot, sink).unwrap();
        log.record(&alert("here")).await.unwrap();
        log.close().await.unwrap();
        drop(log);
        // The writer's thread lets go of the file when it has ended.
        for _ in 0..500 {
            if FileSink::open(&path, false).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(findings(&path), Vec::<String>::new());
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 15);
}

/// T-89
#[test]
fn a_full_disk_is_found_at_the_start() {
    let root = RootKey::generate().unwrap();
    let sink = FileSink::open(Path::new("/dev/full"), false).unwrap();
    let error = log(&root, "b1", sink).unwrap_err();
    insta::assert_snapshot!(error, @"audit sink `file`: No space left on device (os error 28)");
}
