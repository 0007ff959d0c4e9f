//! The command: started with the signals that were blocked before us, and not with those we block.
//!
//! The standard library's children inherit what is blocked, and would get no signal at all.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::thread;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp};
use tokio::sync::oneshot;

use crate::cli::signals::Caught;
use crate::secret::Secret;

/// A command that runs. Its process id is its own until [`wait`](Self::wait) has returned.
#[derive(Debug)]
pub(super) struct Child {
    id: Pid,
    ended: oneshot::Receiver<()>,
}

/// Waits until a child ended, and leaves it to `waitpid`.
#[cfg(target_os = "linux")]
fn wait_for_end(id: Pid) {
    use nix::errno::Errno;
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let how = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    while waitid(Id::Pid(id), how) == Err(Errno::EINTR) {}
}

/// Waits until a child ended, and leaves it to `waitpid`.
#[cfg(not(target_os = "linux"))]
fn wait_for_end(id: Pid) {
    use rustix::io::Errno;
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let Some(id) = Pid::from_raw(id.as_raw()) else {
        return;
    };
    while matches!(waitid(WaitId::Pid(id), how), Err(Errno::INTR)) {}
}

impl Child {
    /// Starts the file `program` as `arguments` (the first is the name it is called by) with
    /// `environment` and nothing else, on our own input and outputs.
    pub(super) fn start(
        program: &Path,
        arguments: &[OsString],
        environment: &[Secret<Vec<u8>>],
        blocked: &SigSet,
    ) -> io::Result<Self> {
        let arguments: Result<Vec<CString>, _> = arguments
            .iter()
            .map(|argument| CString::new(argument.as_bytes()))
            .collect();
        let environment: Result<Vec<&CStr>, _> = environment
            .iter()
            .map(|variable| CStr::from_bytes_with_nul(variable.expose()))
            .collect();
        let environment = environment.map_err(io::Error::other)?;
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
        )?;
        attributes.set_sigmask(blocked)?;
        // Ignored by every Rust program, and expected by most others.
        let mut usual = SigSet::empty();
        usual.add(Signal::SIGPIPE);
        attributes.set_sigdefault(&usual)?;
        let (sender, ended) = oneshot::channel();
        let id = posix_spawn(
            program,
            &PosixSpawnFileActions::init()?,
            &attributes,
            &arguments?,
            &environment,
        )?;
        thread::Builder::new()
            .name("child".to_owned())
            .spawn(move || {
                // It ends, but stays for `wait`, so that its id is not given to another process.
                wait_for_end(id);
                if sender.send(()).is_err() {
                    // `wait` is not called any more.
                }
            })
            .inspect_err(|_| pass(id, Signal::SIGKILL))?;
        Ok(Self { id, ended })
    }

    /// Waits for its end; the exit code, as a shell has it. May be dropped and called again before
    /// that.
    pub(super) async fn wait(&mut self) -> u8 {
        if (&mut self.ended).await.is_err() {
            // The thread is gone with its news; the call below waits by itself.
        }
        let code = match waitpid(self.id, None) {
            Ok(WaitStatus::Exited(_, code)) => code,
            Ok(WaitStatus::Signaled(_, signal, _)) => (signal as i32).saturating_add(128),
            // Ended by a signal without a name.
            Ok(_) | Err(_) => i32::from(u8::MAX),
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }

    /// A key pressed on a terminal (Ctrl-C) reaches the child as it reached us, if it is still in our
    /// process group; passed on as well, it would arrive twice, which many tools take for "now,
    /// without cleaning up".
    pub(super) fn pass_on(&self, caught: Caught) {
        let is_in_group = getpgid(Some(self.id)).is_ok_and(|group| group == getpgrp());
        if !(caught.is_key && is_in_group) {
            pass(self.id, caught.to_pass_on());
        }
    }
}

/// `NAME=value`, for [`Child::start`].
pub(super) fn variable(name: &OsStr, value: &OsStr) -> Secret<Vec<u8>> {
    Secret::new([name.as_bytes(), b"=", value.as_bytes(), b"\0"].concat())
}

fn pass(id: Pid, signal: Signal) {
    if kill(id, signal).is_err() {
        // It has ended, or runs as another user by now.
    }
}
