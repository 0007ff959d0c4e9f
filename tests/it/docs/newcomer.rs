//! `docs/one-machine.md`, run as a newcomer runs it: every command, in order, but for the ports.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hallpass::clock::{Clock as _, SystemClock};
use hallpass::dev::postgres::{Options, Server};

use super::Page;
use crate::support::leaks::{self, Observed as _};

/// The goal: from a built binary to the first login.
const TIME: Duration = Duration::from_secs(300);
const FILES: usize = 3;
const LINES: usize = 25;

/// The fenced blocks of a page: their language, and their lines without indentation.
fn blocks(page: &Page) -> Vec<(String, Vec<String>)> {
    let mut blocks: Vec<(String, Vec<String>)> = Vec::new();
    let mut is_inside = false;
    for line in page.text.lines().map(str::trim) {
        match line.strip_prefix("```") {
            Some(language) if !is_inside => {
                blocks.push((language.to_owned(), Vec::new()));
                is_inside = true;
            }
            Some(_) => is_inside = false,
            None if is_inside && !line.is_empty() => {
                blocks.last_mut().unwrap().1.push(line.to_owned());
            }
            None => {}
        }
    }
    blocks
}

/// A free port whose neighbour is free too, for the operator listener.
fn two_ports() -> u16 {
    loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

fn replaced(script: &str, from: &str, to: &str) -> String {
    assert!(script.contains(from), "the page does not say `{from}`");
    script.replace(from, to)
}

/// T-250, T-256
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one path from its start to its end")]
async fn the_newcomers_path_ends_with_a_login_that_worked_and_is_gone() {
    let _leaks = leaks::watch();
    let page = Page::read("docs/one-machine.md");
    let (commands, files): (Vec<_>, Vec<_>) = blocks(&page)
        .into_iter()
        .partition(|(language, _)| language == "sh");
    let commands: Vec<String> = commands.into_iter().flat_map(|(_, lines)| lines).collect();
    let in_files: usize = files.iter().map(|(_, lines)| lines.len()).sum();
    assert!(files.len() <= FILES, "{} files", files.len());
    assert!(
        commands.len() + in_files <= LINES,
        "{} lines",
        commands.len() + in_files
    );

    let postgres = Server::start(&Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let broker = format!("127.0.0.1:{}", two_ports());
    let issuer = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let issuer_port = issuer.local_addr().unwrap().port();
    drop(issuer);
    let script = commands.join("\n");
    let script = replaced(
        &script,
        "127.0.0.1:5432",
        &format!("127.0.0.1:{}", postgres.port()),
    );
    let script = replaced(
        &script,
        "dev issuer --folder ci",
        &format!("dev issuer --folder ci --port {issuer_port} --broker http://127.0.0.1:8080"),
    );
    let script = replaced(&script, "127.0.0.1:8080", &broker);
    let binary = Path::new(env!("CARGO_BIN_EXE_hallpass")).parent().unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", binary.display());
    let clock = SystemClock::new();
    let started = clock.monotonic();
    let run = |script: &str| {
        tokio::task::block_in_place(|| {
            Command::new("bash")
                .args(["-euo", "pipefail", "-c", script])
                .current_dir(folder.path())
                .env_clear()
                .env("PATH", &path)
                .env("HOME", folder.path())
                .env("PGHOST", "127.0.0.1")
                .env("PGPORT", postgres.port().to_string())
                .env("PGUSER", "postgres")
                .env("PGPASSWORD", postgres.password().expose())
                .observed()
        })
    };
    let clean_up = script.find("hallpass target uninstall").unwrap();
    let (script, clean_up) = script.split_at(clean_up);
    let output = run(script);
    let took = clock.monotonic().saturating_sub(started);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let log = fs::read_to_string(folder.path().join("serve.log")).unwrap_or_default();
    assert!(output.status.success(), "{said}\n{errors}\n{log}");
    assert!(took < TIME, "{took:?}");

    // The job was in the database as a login of its own, with the rights of its group.
    let mut rows = said.lines().map(str::trim);
    let row = rows.find(|line| line.starts_with("hp_") && line.ends_with(" 0"));
    let login = row
        .and_then(|row| row.split_whitespace().next())
        .unwrap_or_else(|| panic!("no job logged in:\n{said}"));
    let audit = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let events: Vec<serde_json::Value> = audit
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_login = |event: &&serde_json::Value| event.to_string().contains(login);
    let kinds: Vec<&str> = events
        .iter()
        .filter(of_login)
        .filter_map(|event| event["event"].as_str())
        .collect();
    assert!(kinds.contains(&"revocation"), "{kinds:?}\n{audit}");
    let admin = postgres.connect("postgres").await.unwrap();
    let left = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'hp\\_%'";
    let left: i64 = admin.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 0);

    // What only the user may read is so, without a thought of theirs.
    for secret in [
        "root.key",
        "secrets/hallpass",
        "secrets/hallpass_clean",
        "ci/dev.json",
    ] {
        let mode = fs::metadata(folder.path().join(secret)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o077, 0, "{secret}");
    }
    // Neither of the passwords is in what `target passwords` printed: the server keeps verifiers.
    let stored =
        "SELECT rolpassword FROM pg_authid WHERE rolname IN ('hallpass', 'hallpass_clean')";
    for row in admin.query(stored, &[]).await.unwrap() {
        assert!(row.get::<_, String>(0).starts_with("SCRAM-SHA-256$4096:"));
    }

    // Cleaned up, the server is as it was.
    drop(admin);
    let cleaned = run(clean_up);
    let errors = String::from_utf8_lossy(&cleaned.stderr);
    assert!(cleaned.status.success(), "{errors}");
    let admin = postgres.connect("postgres").await.unwrap();
    let left = "SELECT rolname::text FROM pg_roles WHERE rolname ~ '^(hallpass|shop)' \
                UNION ALL SELECT datname::text FROM pg_database \
                WHERE datname NOT IN ('postgres', 'template0', 'template1')";
    let left: Vec<String> = admin
        .query(left, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}
