//! The audit log: its sinks, and the command that proves it whole.
#![cfg(test)]

mod rotation;
pub(crate) mod sinks;
mod verify;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use hallpass::audit::{AuditLog, Sink, SinkEntry, SinkError};
use hallpass::clock::{FixedClock, Timestamp};
use hallpass::rootkey::{RootKey, RootKeys};

use crate::support::leaks::{self, Observed as _};

/// `hallpass audit verify` of these files.
fn verified(files: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(["audit", "verify"])
        .args(files)
        .env_clear()
        .observed()
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn roots(root: &RootKey) -> RootKeys {
    leaks::prefixed("a root key", root.to_text().expose());
    RootKeys::new("https://hallpass.example", 1, vec![root.clone()]).unwrap()
}

fn log(root: &RootKey, boot: &str, sink: impl Sink + 'static) -> Result<AuditLog, SinkError> {
    let clock = Arc::new(FixedClock::at(Timestamp::from_unix(1_790_000_000)));
    let sinks = vec![SinkEntry {
        sink: Box::new(sink),
        required: true,
    }];
    AuditLog::new(sinks, &roots(root), clock, "replica-a", boot)
}
