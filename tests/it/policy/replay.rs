//! `policy replay` and `policy explain --audit`, on the audit file of a real broker.

use std::io::Write as _;
use std::process::{Child, Stdio};

use hallpass::clock::Timestamp;
use hallpass::dev::issuer::{GithubJob, github_claims};
use serde_json::json;

use super::*;
use crate::support::broker::{GITHUB, POLICIES, TestBroker};
use crate::support::tokens::NOW;

/// The policies of the test broker, with a policy that reads claims.
fn policies() -> String {
    POLICIES.replace(
        "      trigger: [push, manual]\n",
        "      trigger: [push, manual]\n      claim: { \"/enterprise_id\": \"42\", \"/more/deep\": { present: false } }\n",
    )
}

/// A broker's audit file: two grants, a grant of one scope, and two denials.
async fn recorded() -> (TestBroker, Vec<Value>) {
    let broker = TestBroker::builder().policies(&policies()).start().await;
    let token = |change: &dyn Fn(&mut GithubJob), id: &str, secret: &str| {
        let mut job = GithubJob::new(GITHUB, TestBroker::issuer(), Timestamp::from_unix(NOW));
        change(&mut job);
        let mut claims = github_claims(&job);
        claims["enterprise_id"] = id.into();
        claims["unread"] = secret.into();
        broker.key.token(&claims)
    };
    let same = |_: &mut GithubJob| {};
    for credential in ["deploy-api", "shop-db/read"] {
        let answer = broker
            .exchange(&token(&same, "42", "canary"), credential)
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let more = [
        ("scope", "deploy:staging"),
        ("requested_token_lifetime", "60"),
    ];
    let one = token(&same, "42", "canary");
    let answer = broker
        .exchange_with(&one, "deploy-api", &more[..1], &[])
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let branch = |job: &mut GithubJob| job.r#ref = "refs/heads/try".to_owned();
    for token in [token(&branch, "42", "canary"), token(&same, "7", "canary")] {
        let answer = broker.exchange(&token, "deploy-api").await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let events = [broker.events("intent").await, broker.events("denial").await].concat();
    (broker, events)
}

fn replay(dir: &Path, file: &Path, policies: &str, more: &[&str]) -> (i32, Value, String) {
    write(dir, "other/root.yaml", policies);
    let file = file.display().to_string();
    let args = [
        &[
            "policy",
            "replay",
            &file,
            "--against",
            "other",
            "--output",
            "json",
        ],
        more,
    ]
    .concat();
    let output = hallpass(&args, dir);
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), answer, text(&output.stderr))
}

/// T-321, T-322, T-327
#[tokio::test]
async fn what_other_policies_would_change_is_shown() {
    let (broker, events) = recorded().await;
    assert_eq!(events.len(), 5);
    for event in &events {
        let claims =
            json!({ "/enterprise_id": event["claims"]["/enterprise_id"], "/more/deep": null });
        assert_eq!(event["claims"], claims, "{event}");
        assert!(!event.to_string().contains("canary"), "{event}");
    }
    assert_eq!(events[0]["asked"], json!({}));
    assert_eq!(events[0]["ttl"], "5m");
    assert_eq!(
        events[2]["asked"]["scopes"],
        json!({ "first": ["deploy:staging"], "total": 1 })
    );
    let dir = folder(&[]);
    let file = broker.file("audit.jsonl");
    let totals = |answer: &Value| {
        let names = [
            "unchanged",
            "granted_to_refused",
            "refused_to_granted",
            "other_grant",
            "other_policy",
            "not_decidable",
        ];
        names.map(|name| answer["totals"][name].as_u64().unwrap())
    };
    let same = policies();
    let (code, answer, error) = replay(dir.path(), &file, &same, &[]);
    assert_eq!(
        (code, totals(&answer)),
        (0, [5, 0, 0, 0, 0, 0]),
        "{answer}{error}"
    );
    for (from, to, expected) in [
        // A narrower line, a wider one, less life, fewer scopes, another name.
        ("[push, manual]", "manual", [2, 3, 0, 0, 0, 0]),
        ("\"/enterprise_id\": \"42\", ", "", [4, 0, 1, 0, 0, 0]),
        ("ttl: 15m", "ttl: 10m", [4, 0, 0, 1, 0, 0]),
        (
            "scopes: [\"deploy:staging\", \"deploy:production\"] }\n      - { credential: shop-db",
            "scopes: [\"deploy:staging\"] }\n      - { credential: shop-db",
            [4, 0, 0, 1, 0, 0],
        ),
        ("name: shop-deploy\n", "name: shop\n", [2, 0, 0, 0, 3, 0]),
        // A claim that no event has: where the other lines fail, it decides nothing.
        (
            "\"/enterprise_id\": \"42\"",
            "\"/other\": \"42\"",
            [1, 0, 0, 0, 0, 4],
        ),
        (
            "owner_id: \"48213377\"",
            "owner_id: \"1\"",
            [2, 3, 0, 0, 0, 0],
        ),
    ] {
        let other = same.replace(from, to);
        assert_ne!(other, same, "{from}");
        let (code, answer, error) = replay(dir.path(), &file, &other, &[]);
        assert_eq!(
            (code, totals(&answer)),
            (4, expected),
            "{from}: {answer}{error}"
        );
    }
    write(
        dir.path(),
        "other/root.yaml",
        &same.replace("[push, manual]", "manual"),
    );
    let args = [
        "policy",
        "replay",
        "--against",
        "other",
        &file.display().to_string(),
    ];
    let output = hallpass(&args, dir.path());
    let said = text(&output.stdout);
    assert!(
        said.contains("granted -> refused: deploy-api for acme/shop, 1 decision\n"),
        "{said}"
    );
    assert!(
        said.contains("  now    refused: ") && said.contains("(trigger)"),
        "{said}"
    );
    assert!(
        text(&output.stderr).contains("3 decisions would change"),
        "{output:?}"
    );
    broker.shutdown().await;
}

/// Lines as earlier versions wrote them.
#[tokio::test]
async fn lines_of_earlier_versions_are_read() {
    let (broker, _) = recorded().await;
    let dir = folder(&[]);
    let old: Vec<String> = fs::read_to_string(broker.file("audit.jsonl"))
        .unwrap()
        .lines()
        .map(|line| {
            let mut event: Value = serde_json::from_str(line).unwrap();
            for field in ["claims", "asked", "ttl"] {
                event.as_object_mut().unwrap().remove(field);
            }
            event.to_string()
        })
        .collect();
    write(dir.path(), "old.jsonl", &(old.join("\n") + "\n"));
    let file = dir.path().join("old.jsonl");
    let (_, answer, _) = replay(dir.path(), &file, &policies(), &[]);
    // The policy for `main` reads a claim. The job of a branch is refused whatever it is.
    assert_eq!(answer["totals"]["not_decidable"], 4, "{answer}");
    assert_eq!(answer["totals"]["unchanged"], 1, "{answer}");
    let (_, answer, _) = replay(dir.path(), &file, POLICIES, &[]);
    assert_eq!(answer["totals"]["unchanged"], 4, "{answer}");
    broker.shutdown().await;
}

/// T-325
#[tokio::test]
async fn a_damaged_audit_file_is_reported_with_its_line() {
    let (broker, _) = recorded().await;
    broker.events("intent").await;
    let dir = folder(&[]);
    let whole = fs::read_to_string(broker.file("audit.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let joined = |lines: &[&str]| lines.join("\n") + "\n";
    let number = lines
        .iter()
        .position(|line| line.contains("\"event\":\"intent\""))
        .unwrap();
    let mut moved = lines.clone();
    moved.swap(number, number + 1);
    let removed = [&lines[..number], &lines[number + 1..]].concat();
    let changed = whole.replacen("acme/shop", "acme/shoq", 1);
    let line = number + 1;
    for (damaged, expected) in [
        (joined(&moved), format!("log.jsonl:{line}")),
        (joined(&removed), format!("log.jsonl:{line}")),
        (changed, "was changed".to_owned()),
        (
            whole.get(..whole.len() - 5).unwrap().to_owned(),
            "it was cut".to_owned(),
        ),
        (
            whole.replacen("\"time\":\"2", "\"time\":\"x", 1),
            "log.jsonl:1".to_owned(),
        ),
        (
            format!("{whole}\u{1b}[2J garbage\n"),
            "is not an event".to_owned(),
        ),
    ] {
        write(dir.path(), "log.jsonl", &damaged);
        let (code, answer, error) = replay(dir.path(), Path::new("log.jsonl"), &policies(), &[]);
        assert_eq!(code, 4, "{error}");
        assert!(error.contains(&expected), "{expected}: {error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
        assert!(
            !answer["problems"].as_array().unwrap().is_empty(),
            "{answer}"
        );
    }
    // The end of a log without its front is a log.
    write(dir.path(), "log.jsonl", &joined(&lines[number..]));
    let (code, _, error) = replay(dir.path(), Path::new("log.jsonl"), &policies(), &[]);
    assert_eq!(code, 0, "{error}");
    let (code, _, error) = replay(dir.path(), Path::new("nowhere"), &policies(), &[]);
    assert_eq!(code, 5, "{error}");
    broker.shutdown().await;
}

#[tokio::test]
async fn a_recorded_decision_is_explained_again() {
    let (broker, events) = recorded().await;
    let dir = folder(&[("policies/root.yaml", &policies())]);
    let file = broker.file("audit.jsonl").display().to_string();
    let explain = |id: &Value, more: &[&str]| {
        let id = id.as_str().unwrap();
        let args = [
            &["policy", "explain", "--audit", &file, "--decision", id],
            more,
        ]
        .concat();
        let output = hallpass(&args, dir.path());
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, said, error) = explain(&events[0]["request_id"], &[]);
    assert_eq!(code, 0, "{said}{error}");
    assert!(
        said.contains("PERMITTED by policy shop-deploy for 5m"),
        "{said}"
    );
    assert!(said.contains("granted by policy shop-deploy"), "{said}");
    let (code, said, _) = explain(&events[2]["intent"], &["--output", "json"]);
    assert_eq!(code, 0, "{said}");
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["from"], "audit");
    assert_eq!(
        answer["decision"]["verdict"]["permitted"]["scopes"],
        json!(["deploy:staging"])
    );
    let (code, said, _) = explain(&events[4]["request_id"], &[]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("/enterprise_id") && said.contains("the job has 7"),
        "{said}"
    );
    // Of other policies it says so, and of what they read beside the event.
    let other = policies().replace("\"/enterprise_id\": \"42\"", "\"/other\": \"42\"");
    write(dir.path(), "policies/root.yaml", &other);
    let (code, said, _) = explain(&events[0]["request_id"], &[]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("`/other`, which the event does not record"),
        "{said}"
    );
    assert!(said.contains("other ones decided"), "{said}");
    let (code, _, error) = explain(&json!("req_nothing"), &[]);
    assert_eq!(code, 5, "{error}");
    broker.shutdown().await;
}

/// Ends it like Ctrl-C in a terminal.
fn interrupt(child: &mut Child) {
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}

#[tokio::test]
async fn an_interrupted_replay_prints_nothing_of_its_result() {
    let (broker, _) = recorded().await;
    let dir = folder(&[("other/root.yaml", &policies())]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(["policy", "replay", "-", "--against", "other"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let log = fs::read(broker.file("audit.jsonl")).unwrap();
    // More than a pipe holds, so that it has begun to read.
    while input.write_all(&log).is_ok() {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        interrupt(&mut child);
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), None, "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    broker.shutdown().await;
}
