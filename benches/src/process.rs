//! A server process, and what it has used.

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

/// Leaves the first core to the server that is measured, if there is another one.
pub(crate) fn keep_to_other_cores() -> Result<()> {
    let cores = thread::available_parallelism()?.get();
    if cores > 1 {
        let (others, id) = (format!("1-{}", cores - 1), std::process::id().to_string());
        let mut taskset = Command::new("taskset");
        let taskset = taskset.args(["--all-tasks", "--cpu-list", "--pid", &others, &id]);
        let ended = taskset.output();
        let ended = ended.map_err(|error| format!("`taskset` of util-linux: {error}"))?;
        if !ended.status.success() {
            return Err(String::from_utf8_lossy(&ended.stderr).into());
        }
    }
    Ok(())
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
        pinned.args(["-c", SERVER_CORE]).args(under);
        pinned.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            pinned.current_dir(folder);
        }
        Self::spawn(pinned, log, |_| TcpStream::connect(address).is_ok())
    }

    /// Starts one on the cores of the client, and waits until it has written `text`.
    pub(crate) fn start_beside(command: Command, log: &Path, text: &str) -> Result<Self> {
        Self::spawn(command, log, |said| said.contains(text))
    }

    fn spawn(mut command: Command, log: &Path, is_ready: impl Fn(&str) -> bool) -> Result<Self> {
        let file = File::create(log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let mut process = Self(command.spawn()?);
        let until = Instant::now() + LONGEST_START;
        loop {
            let said = fs::read_to_string(log)?;
            if is_ready(&said) {
                return Ok(process);
            }
            if process.0.try_wait()?.is_some() || Instant::now() > until {
                return Err(format!("{command:?} did not start: {said}").into());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal("TERM")?;
        self.0.wait()?;
        Ok(())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let id = self.0.id().to_string();
        Command::new("kill").args(["-s", name, &id]).status()?;
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
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        let _ignored = self.signal("TERM");
        let until = Instant::now() + LONGEST_END;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let _ignored = self.0.kill();
        let _ignored = self.0.wait();
    }
}

/// The client has all others.
const SERVER_CORE: &str = "0";
const PAGE: u64 = 4_096;
const LONGEST_START: Duration = Duration::from_secs(60);
const LONGEST_END: Duration = Duration::from_secs(10);
