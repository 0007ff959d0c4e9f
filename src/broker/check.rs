//! What `serve` would refuse, found without serving: nothing is listened on and nothing is written.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;

use nix::unistd::{AccessFlags, access};
use tokio::net::TcpSocket;

use super::assemble::{Loaded, Overrides, StartError};
use crate::audit::SinkError;
use crate::audit::file::check_content;
use crate::clock::{Clock, SystemClock};
use crate::config::{Settings, SinkKind};
use crate::credential::jwt::Keys;
use crate::credential::target::With;
use crate::replay::StoreSettings;

/// Goes through what [`start`](super::start) opens, in its order. Gives back what only looks wrong: a port
/// that is taken may be a running broker's own.
pub(super) fn check(settings: &Settings) -> Result<Vec<String>, StartError> {
    let mut remarks = Vec::new();
    let listen = &settings.listen;
    for (address, key) in [(listen.public, "public"), (listen.operator, "operator")] {
        remarks.extend(check_address(address, key)?);
    }
    let loaded = Loaded::read(settings, &Overrides::default())?;
    for sink in &settings.sinks {
        match &sink.kind {
            SinkKind::File { path } => check_file(path)?,
            SinkKind::Stdout => {}
        }
    }
    if let StoreSettings::Redis(redis) = &settings.replay {
        redis.check().map_err(StartError::Replay)?;
    }
    let signing = &settings.signing;
    Keys::new(
        loaded.roots.clone(),
        signing.algorithm,
        signing.epoch,
        SystemClock::new().now(),
    )?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let with = With {
        root_keys: &loaded.roots,
        clock: &clock,
        before: None,
    };
    for (name, target) in &settings.targets {
        let connected = target.connect(name, &with);
        // A running broker says in its readiness that a password is missing, since secrets may be
        // mounted late; a check says it at once.
        let checked = connected.and_then(|_| target.check_secrets());
        checked.map_err(|problem| StartError::TargetSettings {
            target: name.clone(),
            problem,
        })?;
    }
    Ok(remarks)
}

/// Takes the address and gives it back at once, without listening on it.
fn check_address(address: SocketAddr, key: &'static str) -> Result<Option<String>, StartError> {
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // As the listeners do.
        socket.set_reuseaddr(true)?;
        socket.bind(address)
    };
    match bind() {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(Some(format!(
            "`listen.{key}`: something listens on {address} now; if it is not the hallpass that these settings replace, stop it or choose another port"
        ))),
        Err(error) => Err(super::cannot_listen(address, &error, key)),
    }
}

/// An audit file can be appended to, or made.
fn check_file(path: &Path) -> Result<(), StartError> {
    let refused = |problem: String| {
        StartError::Sink(SinkError {
            sink: "file".to_owned(),
            problem: format!("`{}` {problem}", path.display()),
        })
    };
    let Ok(metadata) = path.metadata() else {
        return check_folder(path).map_err(refused);
    };
    // Opening a pipe would wait for its reader for ever.
    if metadata.is_dir() || metadata.file_type().is_fifo() {
        return Err(refused(
            "is a directory or a pipe, expected a file".to_owned(),
        ));
    }
    let opened = OpenOptions::new().append(true).read(true).open(path);
    let unusable = |error: io::Error| refused(format!("cannot be used: {error}"));
    let file = opened.map_err(unusable)?;
    if metadata.is_file() {
        check_content(path, &file).map_err(StartError::Sink)?;
    }
    Ok(())
}

/// The folder that a new file goes into.
fn check_folder(path: &Path) -> Result<(), String> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    let problem = |error: &dyn std::fmt::Display| {
        format!(
            "cannot be made in `{}`: {error}; make the folder, and let this user write to it",
            folder.display()
        )
    };
    fs::read_dir(folder).map_err(|error| problem(&error))?;
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| problem(&errno.desc()))
}
