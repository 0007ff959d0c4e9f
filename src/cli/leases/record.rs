//! Records what an operator does to leases: a chain of its own for each run of a command.
//!
//! The broker's own log has one writer, the broker. So a run writes a file of its own into
//! `<audit file>.ops`, signed with the same key, and `hallpass audit verify` takes the folder.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Uid, User, geteuid, ttyname};

use super::Failure;
use crate::audit::event::{Event, OperationOutcomeRecord, OperationRecord, Operator};
use crate::audit::file::FileSink;
use crate::audit::{AuditLog, SinkEntry, Text, new_boot_id};
use crate::broker::root_keys;
use crate::client::Environment;
use crate::clock::{Clock, SystemClock};
use crate::config::{Settings, host_name};
use crate::credential::target::SweepReport;
use crate::credential::{MintError, Revoked};
use crate::text::escape;

/// The record of one run of a command.
#[derive(Debug)]
pub(super) struct AuditRecord {
    log: AuditLog,
    boot: String,
    operations: u64,
    operator: Operator,
}

/// An operation that is on record, and has no outcome yet.
#[derive(Debug)]
#[must_use]
pub(super) struct Begun {
    intent: String,
}

impl AuditRecord {
    /// Begins a file beside each audit file of the settings.
    ///
    /// # Errors
    /// The settings have no audit file, or a file cannot be written.
    pub(super) fn begin(settings: &Settings) -> Result<Self, Failure> {
        let roots = root_keys(settings).map_err(|error| Failure::Local(error.to_string()))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let boot = new_boot_id().map_err(|error| refused(&error))?;
        let time: String = clock.now().to_string();
        let time: String = time.chars().filter(char::is_ascii_alphanumeric).collect();
        let mut sinks = Vec::new();
        for audit_file in audit_files(settings)? {
            let folder = folder(audit_file).map_err(|error| {
                let file = escape(&audit_file.display().to_string());
                refused(&format!("the folder `{file}.ops` cannot be made: {error}"))
            })?;
            let file = folder.join(format!("{time}-{boot}.jsonl"));
            let sink = FileSink::without_head_file(&file, true);
            sinks.push(SinkEntry {
                sink: Box::new(sink.map_err(|error| refused(&error))?),
                required: true,
            });
        }
        let log = AuditLog::new(sinks, &roots, clock, &settings.replica, &boot);
        Ok(Self {
            log: log.map_err(|error| refused(&error))?,
            boot,
            operations: 0,
            operator: operator(),
        })
    }

    /// Writes down what is about to be done.
    ///
    /// # Errors
    /// It cannot be recorded, so it must not be done.
    pub(super) async fn begin_operation(
        &mut self,
        command: &'static str,
        target: &str,
        lease: Option<&str>,
    ) -> Result<Begun, Failure> {
        self.operations = self.operations.saturating_add(1);
        let intent = format!("{}.{}", self.boot, self.operations);
        let event = Event::Operation(OperationRecord {
            intent: intent.clone(),
            operator: self.operator.clone(),
            command,
            target: Text::new(target),
            lease: lease.map(Text::new),
        });
        let recorded = self.log.record(&event).await;
        recorded.map_err(|error| refused(&error))?;
        Ok(Begun { intent })
    }

    /// Writes down what came of it.
    ///
    /// # Errors
    /// It was done, and cannot be recorded.
    pub(super) async fn end_operation(
        &self,
        outcome: OperationOutcomeRecord,
    ) -> Result<(), Failure> {
        let recorded = self.log.record(&Event::OperationOutcome(outcome)).await;
        recorded.map_err(|error| unrecorded(&error))
    }

    /// Signs everything and ends the file.
    ///
    /// # Errors
    /// The end cannot be written.
    pub(super) async fn close(self) -> Result<(), Failure> {
        self.log.close().await.map_err(|error| unrecorded(&error))
    }
}

impl Begun {
    /// What came of a revocation.
    pub(super) fn of_revocation(
        self,
        ended: &Result<Revoked, MintError>,
    ) -> OperationOutcomeRecord {
        let outcome = match ended {
            Ok(Revoked::Gone) => "gone",
            Ok(Revoked::Closed) => "closed",
            Ok(Revoked::Pending) => "pending",
            Err(_) => FAILED,
        };
        let message = ended.as_ref().err();
        OperationOutcomeRecord {
            intent: self.intent,
            outcome,
            message: message.map(|error| Text::new(&error.to_string())),
            removed: None,
            left: None,
        }
    }

    /// What came of a sweep of one target.
    pub(super) fn of_sweep(self, swept: &Result<SweepReport, String>) -> OperationOutcomeRecord {
        let report = swept.as_ref().ok();
        let message = swept.as_ref().err();
        OperationOutcomeRecord {
            intent: self.intent,
            outcome: if report.is_some() { "swept" } else { FAILED },
            message: message.map(|error| Text::new(error)),
            removed: report.map(|report| report.removed.iter().map(Text::from).collect()),
            left: report.map(|report| {
                let left = report.left.iter();
                left.map(|(login, reason)| Text::new(&format!("{login}: {reason}")))
                    .collect()
            }),
        }
    }
}

/// The audit files beside which a run is recorded: the required ones, or all if none is.
fn audit_files(settings: &Settings) -> Result<Vec<&Path>, Failure> {
    let files = |required: bool| {
        let sinks = settings.sinks.iter();
        let sinks = sinks.filter(move |sink| sink.required || !required);
        sinks
            .filter_map(|sink| sink.settings.file())
            .collect::<Vec<_>>()
    };
    let mut found = files(true);
    if found.is_empty() {
        found = files(false);
    }
    if found.is_empty() {
        return Err(refused(
            &"the settings have no audit file; add `{ kind: file, path: … }` to `audit.sinks`",
        ));
    }
    Ok(found)
}

/// `<audit file>.ops`, made with mode 0750.
fn folder(audit_file: &Path) -> io::Result<PathBuf> {
    let mut folder = audit_file.as_os_str().to_owned();
    folder.push(".ops");
    let folder = PathBuf::from(folder);
    match DirBuilder::new().mode(0o750).create(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(folder),
        made => made.map(|()| folder),
    }
}

fn operator() -> Operator {
    let environment = Environment::of_this_process();
    let uid = geteuid();
    let name = |uid: Uid| User::from_uid(uid).ok().flatten().map(|user| user.name);
    let text = |text: String| Text::new(&text);
    // Set at login by PAM; no later change of user changes it.
    let login = fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    let login = login.trim().parse().ok().filter(|uid| *uid != u32::MAX);
    let login = login.map(|uid| name(Uid::from_raw(uid)).unwrap_or_else(|| uid.to_string()));
    let ssh = environment.get("SSH_CONNECTION");
    Operator {
        user: text(name(uid).unwrap_or_else(|| uid.to_string())),
        uid: uid.as_raw(),
        login_user: login.map(text),
        sudo_user: environment.get("SUDO_USER").map(Text::new),
        host: text(host_name()),
        terminal: ttyname(io::stderr())
            .ok()
            .map(|path| text(path.display().to_string())),
        ssh_client: ssh
            .and_then(|connection| connection.split(' ').next())
            .map(Text::new),
    }
}

fn refused(error: &dyn std::fmt::Display) -> Failure {
    Failure::Local(format!(
        "nothing was done, since it cannot be recorded: {error}"
    ))
}

fn unrecorded(error: &dyn std::fmt::Display) -> Failure {
    Failure::Local(format!("what was done could not be recorded: {error}"))
}

const FAILED: &str = "failed";
