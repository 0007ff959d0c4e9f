//! The real binary and its signals.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use hallpass::rootkey::RootKey;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::support::broker::write_root_key;
use crate::support::client::PATIENCE;
use crate::support::leaks::{self, Observed as _};

const SETTINGS: &str = "
issuer: https://hallpass.example
root_key: { file: root.key }
listen: { public: 127.0.0.1:0, operator: 127.0.0.1:0 }
policies: { path: policies, reload: off }
audit: { sinks: [ { kind: file, path: audit.jsonl, required: true } ] }
";

const POLICIES: &str =
    "issuers:\n  github: { provider: github, tenants: [ { owner: acme, owner_id: \"1\" } ] }\n";

/// `hallpass serve`, and what it logs.
struct Process {
    child: Child,
    log: std::sync::mpsc::Receiver<String>,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .arg("serve")
            .arg("--config")
            .arg(folder.join("hallpass.yaml"))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (told, log) = std::sync::mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                leaks::said_by_child("serve", b"", line.as_bytes());
                if told.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, log }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap();
    }

    /// Waits for a log line that holds a text.
    fn says(&self, text: &str) -> String {
        self.until(text).pop().unwrap()
    }

    /// The log up to a line that holds a text.
    fn until(&self, text: &str) -> Vec<String> {
        let mut all = Vec::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            all.push(line);
            if all.last().is_some_and(|line| line.contains(text)) {
                return all;
            }
        }
        panic!("it never said {text}: {all:#?}");
    }

    fn ends(&mut self) -> ExitStatus {
        for _ in 0..3_000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it and stops it again.
fn run(folder: &Path) {
    let mut process = Process::start(folder);
    process.says("\"serving\"");
    process.signal(Signal::SIGTERM);
    assert!(process.ends().success());
}

/// The exit code of `hallpass audit verify`, and what it prints.
fn verify(folder: &Path, files: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(["audit", "verify"])
        .args(files)
        .current_dir(folder)
        .observed();
    let printed = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), printed)
}

/// Enough to be busy with for a while.
fn write_many(folder: &Path) {
    for number in 0..1_500 {
        let text = format!(
            "credentials:\n  c{number}: {{ kind: jwt, audience: https://a.example, scopes: [s], max_ttl: 5m, owner: o, purpose: p, class: low }}\n"
        );
        fs::write(folder.join(format!("policies/p{number}.yaml")), text).unwrap();
    }
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_root_key(
        &folder.path().join("root.key"),
        &RootKey::generate().unwrap(),
    );
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("policies/root.yaml"), POLICIES).unwrap();
    fs::write(folder.path().join("hallpass.yaml"), SETTINGS).unwrap();
    folder
}

/// T-77
#[test]
fn a_hangup_reloads_and_a_failure_is_logged_with_its_place() {
    let folder = folder();
    let policies = folder.path().join("policies/root.yaml");
    let process = Process::start(folder.path());
    process.says("\"serving\"");
    fs::write(&policies, format!("{POLICIES}# changed\n")).unwrap();
    process.signal(Signal::SIGHUP);
    process.says("policy.reloaded");
    fs::write(&policies, format!("{POLICIES}polices: []\n")).unwrap();
    process.signal(Signal::SIGHUP);
    let line = process.says("policy.reload_failed");
    assert!(line.contains("root.yaml:3:1"), "{line}");
    assert!(line.contains("unknown key `polices`"), "{line}");
    assert!(line.contains("did you mean `policies`?"), "{line}");
    process.says("some files cannot be loaded");
    // Asked again, it answers again.
    process.signal(Signal::SIGHUP);
    let line = process.says("reload.asked");
    assert!(line.contains("\"problems\":1"), "{line}");
    fs::write(&policies, POLICIES).unwrap();
    process.signal(Signal::SIGHUP);
    process.says("reload.mended");
    process.says("everything on disk is in use");
    process.signal(Signal::SIGHUP);
    process.says("everything on disk is in use");
}

/// Policies with one finding each.
fn with_findings(count: usize) -> String {
    let mut text = format!(
        "{POLICIES}credentials:\n  a: {{ kind: jwt, audience: https://a.example, max_ttl: 5m, owner: o, purpose: p, class: low }}\npolicies:\n"
    );
    for number in 0..count {
        writeln!(
            text,
            "  - {{ name: p{number}, issuer: github, when: {{ repository: acme/a, repository_id: \"2\", environment: e{number} }}, grant: [ {{ credential: a, ttl: 5m }} ] }}"
        )
        .unwrap();
    }
    text
}

/// T-132
#[test]
fn findings_are_logged_once_for_each_change_and_only_so_many() {
    let folder = folder();
    let policies = folder.path().join("policies/root.yaml");
    fs::write(&policies, with_findings(300)).unwrap();
    let process = Process::start(folder.path());
    let lines = process.until("\"serving\"");
    let findings = |lines: &[String], reason: &str| {
        let reason = format!("\"reason\":\"{reason}\"");
        lines.iter().filter(|line| line.contains(&reason)).count()
    };
    assert_eq!(findings(&lines, "policy.finding"), 20);
    assert_eq!(findings(&lines, "policy.findings"), 1);
    let summary = lines.iter().find(|line| line.contains("policy.findings"));
    let summary = summary.unwrap();
    assert!(summary.contains("\"findings\":300"), "{summary}");
    assert!(summary.contains("hallpass policy check"), "{summary}");
    // Every line moves, and nothing is news.
    fs::write(&policies, format!("# moved\n{}", with_findings(300))).unwrap();
    process.signal(Signal::SIGHUP);
    let lines = process.until("reload.asked");
    assert_eq!(findings(&lines, "policy.reloaded"), 1, "{lines:#?}");
    assert_eq!(findings(&lines, "policy.finding"), 0, "{lines:#?}");
    process.signal(Signal::SIGHUP);
    assert_eq!(
        findings(&process.until("reload.asked"), "policy.finding"),
        0
    );
    // What is new is told.
    fs::write(&policies, with_findings(302)).unwrap();
    process.signal(Signal::SIGHUP);
    let lines = process.until("reload.asked");
    assert_eq!(findings(&lines, "policy.finding"), 2, "{lines:#?}");
    assert_eq!(findings(&lines, "policy.findings"), 0, "{lines:#?}");
}

/// T-77
#[test]
fn hangups_during_the_start_kill_nothing() {
    let folder = folder();
    write_many(folder.path());
    let mut process = Process::start(folder.path());
    let own = |file: &str| {
        let path = format!("/proc/{}/{file}", process.child.id());
        fs::read_to_string(path).unwrap_or_default()
    };
    // From the moment in which the program runs that catches them, which is before it reads anything.
    let catches = || {
        let status = own("status");
        let line = status.lines().find(|line| line.starts_with("SigCgt:"));
        let mask = line.and_then(|line| line.split_whitespace().nth(1));
        mask.and_then(|mask| u64::from_str_radix(mask, 16).ok())
            .is_some_and(|mask| mask & 1 == 1)
    };
    let mut looks = 0;
    while !catches() {
        looks += 1;
        assert!(looks < 200_000, "it catches no hangup");
        std::thread::sleep(Duration::from_micros(50));
    }
    // It reads its policies for long after that; this file is opened when they are read.
    assert!(!folder.path().join("audit.jsonl").exists());
    for _ in 0..200 {
        process.signal(Signal::SIGHUP);
        std::thread::sleep(Duration::from_micros(200));
    }
    process.says("\"serving\"");
    assert!(process.child.try_wait().unwrap().is_none());
    process.signal(Signal::SIGTERM);
    assert!(process.ends().success());
}

/// T-77
#[test]
fn told_to_stop_in_the_middle_of_a_reload_it_stops_in_order() {
    let folder = folder();
    let mut process = Process::start(folder.path());
    process.says("\"serving\"");
    write_many(folder.path());
    process.signal(Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(400));
    process.signal(Signal::SIGTERM);
    process.says("\"stopped\"");
    assert!(process.ends().success());
    let audit = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    assert!(audit.contains("\"stop\""));
}

/// T-135
#[test]
fn a_hangup_goes_on_in_a_new_audit_file_when_the_old_one_was_renamed() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    let mut process = Process::start(folder.path());
    process.says("\"serving\"");
    fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
    process.signal(Signal::SIGHUP);
    process.says("audit.renamed");
    assert!(path.exists());
    process.signal(Signal::SIGTERM);
    assert!(process.ends().success());
    let (code, printed) = verify(folder.path(), &["audit.jsonl.1", "audit.jsonl"]);
    assert_eq!(code, 0, "{printed}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"stop\""), "{text}");
}

/// T-135: what somebody else wrote is not appended to.
#[test]
fn a_file_of_somebody_else_is_no_audit_file() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    for text in [
        "issuers: {}\n",
        "{\"level\":\"info\"}\n",
        "\n",
        "no line end",
    ] {
        fs::write(&path, text).unwrap();
        for args in [&["serve"][..], &["serve", "--check"]] {
            let output = Command::new(env!("CARGO_BIN_EXE_hallpass"))
                .args(args)
                .current_dir(folder.path())
                .observed();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(5), "{text:?}: {said}");
            assert!(said.contains("is not a hallpass audit file"), "{said}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
    // As a crash leaves the first line of our own.
    for text in ["", "{\"v\"", "{\"v\":1,\"time\":\"20"] {
        fs::write(&path, text).unwrap();
        run(folder.path());
    }
}

/// T-135
#[test]
fn the_log_says_when_the_audit_file_takes_nothing_and_when_it_does_again() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    let process = Process::start(folder.path());
    process.says("\"serving\"");
    fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
    fs::create_dir(&path).unwrap();
    process.signal(Signal::SIGHUP);
    let line = process.says("sink.failed");
    assert!(line.contains("\"level\":\"ERROR\""), "{line}");
    assert!(line.contains("expected a regular file"), "{line}");
    fs::remove_dir(&path).unwrap();
    process.says("sink.works");
}

/// A folder that says nothing is a mistake of whoever deploys it.
#[test]
fn a_folder_without_policies_is_not_served() {
    let folder = folder();
    fs::remove_file(folder.path().join("policies/root.yaml")).unwrap();
    for args in [
        &["serve"][..],
        &["serve", "--check"],
        &["policy", "check", "policies"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .args(args)
            .current_dir(folder.path())
            .observed();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(said.contains("policies` holds no policies"), "{said}");
        assert!(said.contains("at least one `*.yaml` file"), "{said}");
    }
}

/// T-135
#[test]
fn a_restart_continues_the_chain_of_an_audit_file_that_was_renamed_meanwhile() {
    let folder = folder();
    let file = |name: &str| folder.path().join(name);
    run(folder.path());
    fs::rename(file("audit.jsonl"), file("audit.jsonl.2")).unwrap();
    run(folder.path());
    // As `create` of logrotate does.
    fs::rename(file("audit.jsonl"), file("audit.jsonl.1")).unwrap();
    fs::write(file("audit.jsonl"), "").unwrap();
    run(folder.path());
    let all = ["audit.jsonl.2", "audit.jsonl.1", "audit.jsonl"];
    let (code, printed) = verify(folder.path(), &all);
    assert_eq!(code, 0, "{printed}");
    let (code, printed) = verify(folder.path(), &["audit.jsonl.2", "audit.jsonl"]);
    assert_eq!(code, 4);
    assert!(
        printed.contains("line 5 was changed, or lines were"),
        "{printed}"
    );
}

/// T-135
#[test]
fn a_restart_finds_an_audit_file_that_was_deleted_replaced_or_cut_meanwhile() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    run(folder.path());
    fs::remove_file(&path).unwrap();
    run(folder.path());
    let (code, printed) = verify(folder.path(), &["audit.jsonl"]);
    assert_eq!(code, 4);
    assert!(printed.contains("which is not in these files"), "{printed}");

    // Cut right after the first checkpoint of a boot, where a log looks whole.
    let first = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = first.lines().collect();
    let stop = &format!("{}\n", lines[..2].join("\n"));
    for (changed, event) in [(stop.as_str(), "truncated"), ("{\"v\":1}\n", "truncated")] {
        fs::write(&path, changed).unwrap();
        run(folder.path());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("\"event\":\"{event}\"")), "{text}");
        let (code, printed) = verify(folder.path(), &["audit.jsonl"]);
        assert_eq!(code, 4, "{printed}");
        assert!(
            printed.contains("audit.jsonl:3: follows sha256:")
                || printed.contains("is not an event"),
            "{printed}"
        );
    }
}

/// T-135
#[test]
fn a_killed_broker_leaves_a_file_that_the_next_one_continues() {
    let folder = folder();
    let path = folder.path().join("audit.jsonl");
    {
        let process = Process::start(folder.path());
        process.says("\"serving\"");
    }
    fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
    run(folder.path());
    let (code, printed) = verify(folder.path(), &["audit.jsonl.1", "audit.jsonl"]);
    assert_eq!(code, 0, "{printed}");
}
