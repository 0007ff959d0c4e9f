//! A sink in memory that can be made to fail.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hallpass::audit::{AuditLine, Sink, SinkEntry};
use serde_json::Value;

use super::database::CANARY;
use super::leaks;

#[derive(Clone, Debug, Default)]
pub(crate) struct MemorySink {
    lines: Arc<Mutex<Vec<u8>>>,
    fails: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    holds: Arc<AtomicBool>,
    is_held: Arc<AtomicBool>,
}

impl MemorySink {
    pub(crate) fn entry(&self) -> SinkEntry {
        SinkEntry {
            sink: Box::new(self.clone()),
            required: true,
        }
    }

    /// From now on it takes nothing, or everything again.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// From now on each write panics, or none.
    pub(crate) fn panic(&self, panics: bool) {
        self.panics.store(panics, Ordering::SeqCst);
    }

    /// From now on each write waits until it is let go.
    pub(crate) fn hold(&self, holds: bool) {
        self.holds.store(holds, Ordering::SeqCst);
    }

    /// A write waits.
    pub(crate) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::SeqCst)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.lines.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Sink for MemorySink {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn write(&mut self, lines: &[AuditLine]) -> io::Result<usize> {
        assert!(!self.panics.load(Ordering::SeqCst), "{CANARY}");
        while self.holds.load(Ordering::SeqCst) {
            self.is_held.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is full"));
        }
        for line in lines {
            leaks::said("an event", &line.text);
            self.lines.lock().unwrap().extend_from_slice(&line.text);
        }
        Ok(lines.len())
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }
}
