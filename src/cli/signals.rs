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
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

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
    ignored: Ignored,
}

impl Signals {
    /// Blocks the signals, so it must come before any other thread is started: threads that are there
    /// already would be ended by them.
    pub(super) fn catch() -> Result<Self, Failure> {
        Self::start(None)
    }

    /// The same while work is done that a signal ends soon: a caller that does not take it by then is
    /// ended by it as usual. A signal that is ignored ends no work.
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
        let ignored = Ignored::now();
        let (sender, caught) = mpsc::unbounded_channel();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let brief = grace.map(|grace| Brief { grace, ignored });
                let end = |caught| end_by(caught, &own);
                hand_on(|| source.read(), &sender, brief, end);
            })
            .map_err(|error| failed(&error))?;
        Ok(Self {
            caught,
            before,
            own,
            ignored,
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

    /// The next one that ends us: none that the caller made us ignore.
    pub(super) async fn next_that_ends(&mut self) -> Caught {
        loop {
            let caught = self.next().await;
            if !self.ignored.has(caught) {
                return caught;
            }
        }
    }
}

/// Work that a signal ends.
#[derive(Clone, Copy)]
struct Brief {
    grace: Duration,
    ignored: Ignored,
}

/// Hands on the signals as they come. If the work does not end in time, or is done already, `end` ends
/// the process.
fn hand_on(
    mut next: impl FnMut() -> Option<Caught>,
    sender: &UnboundedSender<Caught>,
    brief: Option<Brief>,
    end: impl Fn(Caught),
) {
    while let Some(caught) = next() {
        if brief.is_some_and(|brief| brief.ignored.has(caught)) {
            continue;
        }
        let is_taken = sender.send(caught).is_ok();
        match brief {
            Some(Brief { grace, .. }) => {
                if is_taken {
                    thread::sleep(grace);
                }
                end(caught);
            }
            None if is_taken => {}
            None => break,
        }
    }
}

/// The signals that the caller made us ignore, one bit each.
#[derive(Clone, Copy, Debug)]
struct Ignored(u64);

impl Ignored {
    /// A blocked signal is read also if it is ignored.
    #[cfg(target_os = "linux")]
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mut lines = status.lines();
        let bits = lines.find_map(|line| line.strip_prefix("SigIgn:"));
        let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
        Self(bits.unwrap_or_default())
    }

    /// The system drops an ignored signal, also if it is blocked.
    #[cfg(not(target_os = "linux"))]
    const fn now() -> Self {
        Self(0)
    }

    fn has(self, caught: Caught) -> bool {
        let bit = u32::try_from(caught.number.saturating_sub(1)).ok();
        let shifted = bit.and_then(|bit| self.0.checked_shr(bit));
        shifted.is_some_and(|bits| bits & 1 == 1)
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

/// How long the work has to end.
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

    /// T-434: one that comes when the work is done, before the descriptor is closed.
    #[test]
    fn a_signal_that_no_work_takes_ends_the_process_unless_it_is_ignored() {
        let caught = |number| Caught {
            number,
            is_key: false,
        };
        let ended = |brief: Option<Brief>| {
            let (sender, receiver) = mpsc::unbounded_channel();
            drop(receiver);
            let mut left = vec![caught(15), caught(64), caught(1), caught(2)];
            let ended = std::cell::RefCell::new(Vec::new());
            let end = |caught: Caught| ended.borrow_mut().push(caught.number);
            hand_on(|| left.pop(), &sender, brief, end);
            ended.into_inner()
        };
        let brief = |ignored| Brief {
            grace: Duration::ZERO,
            ignored: Ignored(ignored),
        };
        assert_eq!(ended(Some(brief(0))), [2, 1, 64, 15]);
        assert_eq!(ended(Some(brief((1 << 63) | 1))), [2, 15]);
        assert_eq!(ended(None), [0; 0]);
    }
}
