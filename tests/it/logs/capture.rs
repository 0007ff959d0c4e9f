//! The capture catches what it is there for, and every module goes through it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use hallpass::audit::{AuditLine, Sink as _};

use crate::support::leaks::{self, Log};
use crate::support::sink::MemorySink;
use crate::support::sources::sources;

/// T-92
#[test]
fn a_secret_in_any_output_fails_the_test_that_holds_a_guard() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "logs::capture::child_that_leaks", "--ignored"])
        .output()
        .unwrap();
    assert!(
        child.status.success(),
        "{}{}",
        String::from_utf8_lossy(&child.stdout),
        String::from_utf8_lossy(&child.stderr)
    );
}

/// What a guard says at its end.
fn told(leak: impl FnOnce()) -> Option<String> {
    let guard = leaks::watch();
    leak();
    let failed = catch_unwind(AssertUnwindSafe(|| drop(guard))).err()?;
    failed.downcast::<String>().ok().map(|text| *text)
}

/// Where something leaks, and how.
type Leak = (&'static str, fn(&str));

#[test]
#[ignore = "run by the test above, in a process of its own: what it leaks would fail others"]
fn child_that_leaks() {
    let leaks: [Leak; 9] = [
        (
            "a log line",
            |text| tracing::error!(target: "hallpass::http", "x{text}y"),
        ),
        (
            "a log line",
            |text| tracing::trace!(target: "hallpass::http", field = ?text, "line"),
        ),
        (
            "a log line",
            |text| tracing::warn!(target: "hyper::proto", "x{text}y"),
        ),
        ("a log line", |text| {
            tracing::subscriber::with_default(
                hallpass::http::log_subscriber("info", Log::default()),
                || {
                    tracing::info!(target: "hallpass::http", text, "line");
                },
            );
        }),
        ("an event", |text| {
            let line = AuditLine::new(1, format!("{{\"event\":\"{text}\"}}\n"));
            MemorySink::default().write(&[line]).unwrap();
        }),
        ("the body of an answer", |text| {
            leaks::answered(&format!(
                "HTTP/1.1 400 Bad Request\r\nA: b\r\n\r\n{{\"error_description\":\"{text}\"}}"
            ));
        }),
        ("the head of an answer", |text| {
            leaks::answered(&format!("HTTP/1.1 200 OK\r\nLocation: /{text}\r\n\r\n"));
        }),
        ("the message of a panic", |text| {
            // By its address, so that the panic's place is not in a test.
            let expect: fn(Option<()>, &str) = Option::expect;
            assert!(catch_unwind(|| expect(None, text)).is_err());
        }),
        ("standard error of `serve`", |text| {
            leaks::said_by_child("serve", b"", format!("{{}}\nhallpass: {text}\n").as_bytes());
        }),
    ];
    for (index, (place, leak)) in leaks.iter().enumerate() {
        for is_registered_first in [true, false] {
            // No two have a piece in common.
            let canary = format!(
                "{:016x}",
                0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(
                    u64::try_from(index * 2 + usize::from(is_registered_first) + 1).unwrap(),
                )
            );
            let said = told(|| {
                if is_registered_first {
                    leaks::secret("a canary", &canary);
                }
                // Eight bytes are enough.
                leak(canary.get(3..11).unwrap());
                if !is_registered_first {
                    leaks::secret("a canary", &canary);
                }
            });
            let said = said.unwrap_or_else(|| panic!("nothing was said of {place}"));
            assert!(said.contains("a canary") && said.contains(place), "{said}");
            assert!(!said.contains(canary.get(3..11).unwrap()), "{said}");
        }
    }
    // What is public leaks nothing, and what is found is told once.
    let said = told(|| {
        leaks::token("eyJhbGciOiJSUzI1NiJ9.c2VjcmV0LXBheWxvYWQ.c2VjcmV0LXNpZ25hdHVyZQ");
        leaks::prefixed("a lease handle", "hpl_0a1b2c3d4e5f");
        leaks::said(
            "a line",
            b"eyJhbGciOiJSUzI1NiJ9 hpl_ hallpass-root-1: 0a1b2c3 c2VjcmV",
        );
    });
    assert_eq!(said, None);
    // A credential that was asked for is an answer, not a leak; in a refusal it is one.
    let answer = |status: &str| {
        let head = format!("HTTP/1.1 {status}\r\nA: b");
        format!(
            "{head}\r\n\r\n{{\"access_token\":\"5e8f2b7c9d1a\",\"hallpass\":{{\"lease\":\"hpl_7d3a9c1f5b2e\"}}}}"
        )
    };
    assert_eq!(told(|| leaks::answered(&answer("200 OK"))), None);
    assert!(told(|| leaks::answered(&answer("400 Bad Request"))).is_some());
    assert_eq!(told(|| ()), None);
}

/// T-92
#[test]
fn every_module_that_has_secrets_goes_through_the_capture() {
    let mut wrong = Vec::new();
    for (name, text) in sources(&["tests/it"]) {
        let name = name.trim_start_matches("tests/it/").to_owned();
        let is_support = name.starts_with("support");
        let has_tests =
            text.contains("#[test]") || text.contains("::test]") || text.contains("::test(");
        let is_watched = ENTRIES.iter().any(|entry| text.contains(entry));
        if has_tests && !is_support && !is_watched && !WITHOUT_SECRETS.contains(&name.as_str()) {
            wrong.push(format!(
                "{name} uses nothing of `support`: does it hold a `leaks::watch()`?"
            ));
        }
        for (bypass, instead, exempt) in BYPASSES {
            let is_used = text
                .lines()
                .any(|line| line.contains(bypass) && !line.contains("let bypasses"));
            if is_used && !is_support && !exempt.contains(&name.as_str()) {
                wrong.push(format!("{name} uses `{bypass}`; {instead}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `Debug` reaches a log or a panic by one careless line.
///
/// T-92
#[test]
fn no_type_derives_debug_over_a_secret_in_plain_text() {
    let mut found = Vec::new();
    for (path, text) in sources(&["src"]) {
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if !line.starts_with("#[derive(") || !line.contains("Debug") {
                continue;
            }
            let item = lines.find(|line| !line.starts_with('#'));
            let item = item.unwrap_or_default();
            if !item.ends_with('{') {
                continue;
            }
            let members = lines.by_ref().take_while(|line| *line != "}");
            let holds_secret = members
                .filter(|line| !line.starts_with(['#', '/']))
                .any(|line| {
                    let (name, of) = line.split_once(": ").unwrap_or_default();
                    let name = name.rsplit(' ').next().unwrap_or_default();
                    SECRET_FIELDS.contains(&name) && PLAIN.iter().any(|plain| of.starts_with(plain))
                });
            // What is installed has the hash of a function's body.
            if holds_secret && !item.contains("struct Installed") {
                found.push(format!("{path}: {item}"));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Fields with these names hold what a caller sent or was given.
const SECRET_FIELDS: [&str; 6] = [
    "access_token",
    "body",
    "fields",
    "password",
    "private_key",
    "secret",
];

const PLAIN: [&str; 7] = ["String", "&str", "&'a str", "Vec<", "Map<", "Value", "S,"];

/// Each registers what is secret, or looks for it, or both.
const ENTRIES: [&str; 10] = [
    "HostileIssuer",
    "TestBroker",
    "TestKey",
    "Broker::",
    "Fake::start",
    "leaks::",
    "Stage",
    "stage",
    "World",
    "hallpass(",
];

/// Modules whose tests make and receive nothing secret.
const WITHOUT_SECRETS: [&str; 24] = [
    "openapi.rs",
    "provider/events.rs",
    "provider/hostile.rs",
    "provider/derived.rs",
    "provider/needs.rs",
    "provider/written.rs",
    "sealed/jwcrypto.rs",
    "docs.rs",
    "docs/written.rs",
    "ssh/policy.rs",
    "dependencies.rs",
    "fuzz.rs",
    "provider/strangers.rs",
    "exchange/makers.rs",
    "lists.rs",
    "properties.rs",
    "provider.rs",
    "policy/bad_input.rs",
    "policy/issuers.rs",
    "policy/lint.rs",
    "policy/model.rs",
    "policy/resource.rs",
    "policy/rosters.rs",
    "credential/attacks.rs",
];

/// What would pass by the capture, what to do instead, and who may.
const BYPASSES: [(&str, &str, &[&str]); 4] = [
    (
        "tracing_subscriber::fmt()",
        "log to `leaks::Log`",
        &["http/routes.rs", "verification/world.rs", "logs/capture.rs"],
    ),
    (
        "set_global_default",
        "the capture is the one subscriber",
        &["logs/capture.rs"],
    ),
    (
        "panic::set_hook",
        "the capture has the hook",
        &["logs/capture.rs"],
    ),
    (
        ".output()",
        "use `observed()` of `leaks::Observed`",
        &[
            // The commands that mask secrets are printed.
            "action/runner.rs",
            "cli/output.rs",
            "dependencies.rs",
            "lists.rs",
            "http/failures.rs",
            "credential/beyond.rs",
            "logs/capture.rs",
        ],
    ),
];
