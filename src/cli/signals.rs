//! Every signal that would end us, taken in order, so that the child gets it and the login ends with it,
//! and a CI's program ends with us.
//!
//! The signals are blocked and read from a descriptor, not caught by handlers. So all can be had, also
//! those that no handler may take (a SIGSEGV that `kill` sends); what the caller made us ignore, as
//! `nohup` does, the child still ignores; and each comes with its origin, which tells a key pressed on
//! the terminal from a signal that was sent to us alone (T-138).

use std::time::Duration;
use std::{fmt, thread};

#[cfg(target_os = "linux")]
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, raise};
#[cfg(target_os = "linux")]
use nix::sys::signalfd::{SfdFlags, SignalFd};
#[cfg(not(target_os = "linux"))]
use std::io::IsTerminal as _;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caught {
    /// Its number. Real-time signals have no name.
    pub(super) number: i32,
    /// A key of the terminal sent it, to every process of the foreground group.
    pub(super) is_key: bool,
}

impl Caught {
    /// The signal to pass on: this one, or for one without a name the one that ends programs.
    pub(super) fn to_pass_on(self) -> Signal {
        Signal::try_from(self.number).unwrap_or(Signal::SIGTERM)
    }

    /// The exit code of a program that it ended.
    pub(super) fn exit_code(self) -> u8 {
        u8::try_from(self.number.saturating_add(128)).unwrap_or(u8::MAX)
    }
}

/// The signals as they come.
#[derive(Debug)]
pub(super) struct Signals {
    caught: UnboundedReceiver<Caught>,
    /// What was blocked before, as a child is to have it.
    before: SigSet,
    own: SigSet,
}

impl Signals {
    /// Blocks the signals, so it must come before any other thread is started: threads that are there
    /// already would be ended by them.
    pub(super) fn catch() -> Result<Self, Failure> {
        Self::start(None)
    }

    /// The same while work is done that a signal ends soon: a caller that does not take it by then is
    /// ended by it as usual.
    pub(super) fn catch_briefly() -> Result<Self, Failure> {
        Self::start(Some(GRACE))
    }

    fn start(grace: Option<Duration>) -> Result<Self, Failure> {
        let failed =
            |error: &dyn fmt::Display| Failure::Local(format!("signals cannot be caught: {error}"));
        let own = SigSet::thread_get_mask().map_err(|error| failed(&error))?;
        let mut before = own;
        // Blocked by ourselves, for our own writes.
        before.remove(Signal::SIGXFSZ);
        let mut set = SigSet::all();
        for signal in LEFT_ALONE {
            set.remove(signal);
        }
        set.thread_block().map_err(|error| failed(&error))?;
        let source = Source::new(set).map_err(|error| failed(&error))?;
        let (sender, caught) = mpsc::unbounded_channel();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                while let Some(caught) = source.read() {
                    if sender.send(caught).is_err() {
                        break;
                    }
                    if let Some(grace) = grace {
                        thread::sleep(grace);
                        end_by(caught, &own);
                    }
                }
            })
            .map_err(|error| failed(&error))?;
        Ok(Self {
            caught,
            before,
            own,
        })
    }

    /// Lets signals do again what they did before.
    pub(super) fn release(&self) {
        if self.own.thread_set_mask().is_err() {
            // It was this thread's mask, so it can be set.
        }
    }

    /// Ends this process by the signal, as if it had not been caught.
    pub(super) fn end_by(&self, caught: Caught) {
        end_by(caught, &self.own);
    }

    /// What was blocked before, as the child is to have it.
    pub(super) const fn blocked_before(&self) -> &SigSet {
        &self.before
    }

    /// The next one. Never, if none can be read any more.
    pub(super) async fn next(&mut self) -> Caught {
        match self.caught.recv().await {
            Some(caught) => caught,
            None => std::future::pending().await,
        }
    }
}

fn end_by(caught: Caught, mask: &SigSet) {
    let result = mask.thread_set_mask();
    if result.and_then(|()| raise(caught.to_pass_on())).is_err() {
        // The caller returns the exit code instead.
    }
}

/// Where blocked signals are read from.
#[cfg(target_os = "linux")]
struct Source(SignalFd);

#[cfg(target_os = "linux")]
impl Source {
    fn new(set: SigSet) -> nix::Result<Self> {
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map(Self)
    }

    /// Waits for the next one; `None` if no more can be read.
    fn read(&self) -> Option<Caught> {
        loop {
            match self.0.read_signal() {
                Ok(Some(read)) => {
                    let number = i32::try_from(read.ssi_signo).ok()?;
                    return Some(Caught {
                        number,
                        is_key: read.ssi_code == FROM_KERNEL && KEYS.contains(&number),
                    });
                }
                Ok(None) | Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Elsewhere a signal comes without its origin: one of a key's is taken for a key's on a terminal.
#[cfg(not(target_os = "linux"))]
struct Source(SigSet);

#[cfg(not(target_os = "linux"))]
impl Source {
    #[expect(clippy::unnecessary_wraps, reason = "can fail on Linux")]
    fn new(set: SigSet) -> nix::Result<Self> {
        Ok(Self(set))
    }

    /// Waits for the next one; `None` if no more can be read.
    fn read(&self) -> Option<Caught> {
        let number = self.0.wait().ok()? as i32;
        Some(Caught {
            number,
            is_key: KEYS.contains(&number) && std::io::stdin().is_terminal(),
        })
    }
}

/// How long the work has to end by itself.
const GRACE: Duration = Duration::from_secs(1);

const KEYS: [i32; 2] = [Signal::SIGINT as i32, Signal::SIGQUIT as i32];
/// `SI_KERNEL` of sigaction(2).
#[cfg(target_os = "linux")]
const FROM_KERNEL: i32 = 0x80;

/// Signals that end no program: a child's end, stop and continue, and what is ignored by default. SIGPIPE is
/// ignored from the start, so that writes fail instead.
const LEFT_ALONE: [Signal; 8] = [
    Signal::SIGCHLD,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGURG,
    Signal::SIGWINCH,
    Signal::SIGPIPE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_without_a_name_is_passed_on_as_one_that_ends() {
        let caught = |number| Caught {
            number,
            is_key: false,
        };
        assert_eq!(caught(10).to_pass_on(), Signal::SIGUSR1);
        assert_eq!(caught(40).to_pass_on(), Signal::SIGTERM);
        assert_eq!(caught(15).exit_code(), 143);
    }
}
