//! A server process on one core, and what it has used.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// A port of loopback that nothing listens on now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A running server; stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a server on the first core, with its output in the file `log`, and waits until it listens
    /// on `address`. `under` is a program that runs it, with its arguments.
    pub(crate) fn start(
        command: &Command,
        under: &[&str],
        log: &Path,
        address: SocketAddr,
    ) -> Result<Self> {
        let mut pinned = Command::new("taskset");
        pinned
            .args(["-c", SERVER_CORE])
            .args(under)
            .arg(command.get_program())
            .args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            pinned.current_dir(folder);
        }
        let file = File::create(log)?;
        pinned.stdout(file.try_clone()?).stderr(file);
        let mut process = Self(pinned.spawn()?);
        let until = Instant::now() + LONGEST_START;
        while TcpStream::connect(address).is_err() {
            if process.0.try_wait()?.is_some() || Instant::now() > until {
                let said = fs::read_to_string(log)?;
                return Err(format!("{command:?} does not listen on {address}: {said}").into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(process)
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        Command::new("kill").arg(self.0.id().to_string()).status()?;
        self.0.wait()?;
        Ok(())
    }

    /// User and system time of all threads that still run, in nanoseconds.
    pub(crate) fn cpu_time(&self) -> Result<u64> {
        let mut sum = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split(' ').next().unwrap_or_default();
            sum += first.parse::<u64>()?;
        }
        Ok(sum)
    }

    /// Resident bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.0.id()))?;
        let pages = text.split(' ').nth(1).unwrap_or_default();
        Ok(pages.parse::<u64>()? * PAGE)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ignored = self.0.kill();
        let _ignored = self.0.wait();
    }
}

/// The client has all others.
const SERVER_CORE: &str = "0";
const PAGE: u64 = 4_096;
const LONGEST_START: Duration = Duration::from_secs(60);
