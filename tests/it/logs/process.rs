//! The process itself: what others on its machine can read of it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::{Uid, geteuid};

use crate::http::start::folder;
use crate::support::leaks;

/// Killed at the end, however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An account that is not root's.
fn ordinary() -> Uid {
    if geteuid().is_root() {
        Uid::from_raw(65_534)
    } else {
        geteuid()
    }
}

/// Gives all of a folder to that account.
fn give(path: &Path) {
    chown(path, Some(ordinary().as_raw()), None).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never happened: {what}");
}

fn start(mut command: Command) -> Running {
    if geteuid().is_root() {
        command.uid(ordinary().as_raw());
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Running(command.spawn().unwrap())
}

/// T-93
#[test]
fn nothing_secret_is_in_what_the_machine_shows_of_a_broker_and_its_memory_is_closed() {
    let _leaks = leaks::watch();
    let folder = folder();
    // Its own copy: the account may not enter where the tests were built.
    let program = folder.path().join("hallpass");
    fs::copy(env!("CARGO_BIN_EXE_hallpass"), &program).unwrap();
    give(folder.path());
    let mut command = Command::new(&program);
    command
        .args(["serve", "--log", "trace", "--config"])
        .arg(folder.path().join("hallpass.yaml"));
    command.stderr(fs::File::create(folder.path().join("stderr")).unwrap());
    let broker = start(command);
    let log = || fs::read_to_string(folder.path().join("stderr")).unwrap_or_default();
    until("the broker serves", || log().contains("\"serving\""));
    let file = |name: &str| format!("/proc/{}/{name}", broker.0.id());

    let limits = fs::read_to_string(file("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let values: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"], "{core}");
    // What may not be dumped belongs to root: nobody with the same account reads its memory.
    assert_ne!(
        fs::metadata(file("environ")).unwrap().uid(),
        ordinary().as_raw()
    );
    let mut sleep = Command::new("sleep");
    sleep.arg("60").stderr(Stdio::null());
    let other = start(sleep);
    let of_other = || {
        fs::metadata(format!("/proc/{}/environ", other.0.id()))
            .unwrap()
            .uid()
    };
    until("another process's files are its account's", || {
        of_other() == ordinary().as_raw()
    });

    // The guard looks for the root key in these.
    for name in ["cmdline", "environ"] {
        if let Ok(text) = fs::read(file(name)) {
            leaks::said(&format!("/proc/PID/{name} of a broker"), &text);
        }
    }
    leaks::said_by_child("serve", b"", log().as_bytes());
}
