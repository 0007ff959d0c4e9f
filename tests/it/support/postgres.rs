//! The end of a PostgreSQL server as a power cut makes it.

use std::fs;
use std::time::Duration;

use hallpass::dev::postgres::Server;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Kills the server: nothing is written back. `restart` starts it again.
pub(crate) fn crash(server: &Server) {
    if let Some(pid) = server.pid() {
        kill_server(pid);
    }
}

/// Kills a server with its sessions. They are processes of their own, which would answer for a moment
/// longer, and whose shared memory a new server finds in use: the server makes no more of them, and
/// then they end before it does.
pub(crate) fn kill_server(pid: u32) {
    let Ok(server) = i32::try_from(pid).map(Pid::from_raw) else {
        return;
    };
    // A process that is gone is killed already.
    let _ = kill(server, Signal::SIGSTOP);
    for _ in 0..MOST_LOOKS {
        let living: Vec<Pid> = children(server)
            .into_iter()
            .filter(|process| is_alive(*process))
            .collect();
        if living.is_empty() {
            break;
        }
        for process in living {
            let _ = kill(process, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = kill(server, Signal::SIGKILL);
}

/// The processes that the server started.
fn children(server: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
    let text = text.unwrap_or_default();
    let pids = text.split_ascii_whitespace();
    pids.filter_map(|pid| pid.parse().ok().map(Pid::from_raw))
        .collect()
}

/// Whether a process still has its memory: one that ended and was not waited for has none.
fn is_alive(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// At the processes of a server that is killed: one is enough but for what hangs in the kernel.
const MOST_LOOKS: u32 = 5_000;
