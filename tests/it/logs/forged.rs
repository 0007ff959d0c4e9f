//! What strangers write, where it comes out: one line each, printable ASCII, and a command to nobody.

use std::fs;
use std::process::Output;

use hallpass::http::log_subscriber;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::client::fake::{Fake, Reply, hallpass, stderr, stdout, told};
use crate::support::TestBroker;
use crate::support::client::{Answer, get};
use crate::support::hostile_issuer::{self as server, HostileIssuer};
use crate::support::leaks::{Log, Observed as _};

/// What drives terminals, forges lines or commands CI runners.
const HOSTILE: [&str; 16] = [
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "a\r\nb",
    "a\n{\"level\":\"INFO\",\"reason\":\"ok\"}",
    "\u{2028}\u{2029}\u{85}",
    "\u{202e}nimda",
    "\u{2066}\u{2069}\u{200f}\u{61c}",
    "\u{9b}31m\u{90}\u{9d}",
    "\u{7f}\u{8}\u{0}",
    "\u{430}cme/sh\u{43e}p",
    "\u{feff}\u{e0001}\u{e0041}",
    "\u{1f600}\u{fffd}",
    "\"},\"x\":{\"",
    "\\u001b[31m",
    "::add-mask::x",
    "##[set-output name=a]b",
    "##vso[task.setvariable variable=a]b",
];

/// The fixtures, one that is very long, and any text at all.
fn texts() -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let any = any::<String>();
    let random = std::iter::from_fn(|| any.new_tree(&mut runner).ok().map(|tree| tree.current()));
    let mut texts: Vec<String> = HOSTILE.iter().map(|text| (*text).to_owned()).collect();
    texts.push("\u{202e}x".repeat(500));
    texts.extend(random.filter(|text| !text.is_empty()).take(60));
    texts
}

/// Every line is printable ASCII, is JSON, and holds no long text.
#[track_caller]
fn check_lines(text: &str) -> Vec<Value> {
    let check = |line: &str| {
        assert!(
            line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{line:?}"
        );
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        check_lengths(&line);
        line
    };
    text.lines().map(check).collect()
}

#[track_caller]
fn check_lengths(value: &Value) {
    match value {
        Value::String(text) => assert!(text.len() <= 256 + "[cut]".len(), "{text}"),
        Value::Array(list) => list.iter().for_each(check_lengths),
        Value::Object(members) => members.values().for_each(check_lengths),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[track_caller]
fn check_answer(answer: &Answer) {
    let is_plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    assert!(
        is_plain(&answer.body) && !answer.body.contains("##"),
        "{:?}",
        answer.body
    );
    let description = answer.text("/error_description");
    assert!(
        is_plain(&description) && !description.contains(['"', '\\']),
        "{description:?}"
    );
    assert!(description.len() <= 200, "{description}");
    assert!(answer.head.split("\r\n").all(is_plain), "{:?}", answer.head);
}

/// T-91, T-28
#[tokio::test]
async fn whatever_a_token_or_a_parameter_says_is_one_line_of_printable_ascii() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log_subscriber("trace", log.clone()));
    let broker = TestBroker::start().await;
    let mut ids = Vec::new();
    for text in texts() {
        let of_job = |change: fn(&mut Value, &str)| {
            let mut job = hallpass::dev::issuer::GithubJob::new(
                crate::support::broker::GITHUB,
                TestBroker::issuer(),
                hallpass::clock::Timestamp::from_unix(crate::support::tokens::NOW),
            );
            // A repository each: none runs into its rate.
            job.repository_id = ids.len().to_string();
            let mut claims = hallpass::dev::issuer::github_claims(&job);
            change(&mut claims, &text);
            broker.key.token(&claims)
        };
        let mut header = broker.key.header();
        header["kid"] = text.as_str().into();
        let tokens = [
            of_job(|claims, text| claims["ref"] = text.into()),
            of_job(|claims, text| claims["repository"] = text.into()),
            of_job(|claims, text| claims["actor"] = text.into()),
            of_job(|claims, text| claims["environment"] = text.into()),
            of_job(|claims, text| claims["sub"] = text.into()),
            of_job(|claims, text| claims["jti"] = text.into()),
            of_job(|claims, text| claims["iss"] = text.into()),
            of_job(|claims, text| claims["aud"] = text.into()),
            of_job(|claims, text| claims["workflow_ref"] = text.into()),
            broker
                .key
                .token_with_header(&header, &crate::support::tokens::claims()),
            broker.key.token_with_header(
                &json!({ "alg": text, "kid": "k1" }),
                &crate::support::tokens::claims(),
            ),
        ];
        let mut answers = Vec::new();
        for token in &tokens {
            answers.push(broker.exchange(token, "deploy-api").await);
        }
        let good = broker.github(|_| {});
        answers.push(broker.exchange(&good, &text).await);
        answers.push(
            broker
                .exchange_with(&good, "deploy-api", &[("scope", &text)], &[])
                .await,
        );
        answers.push(
            broker
                .exchange_with(&good, "deploy-api", &[(&text, &text)], &[])
                .await,
        );
        answers.push(
            broker
                .exchange_with(&good, "deploy-api", &[("ttl", &text)], &[])
                .await,
        );
        answers.push(broker.credentials(&good, &text).await);
        answers.push(
            broker
                .ask("/api/explain", &good, &json!({ "credential": text }))
                .await,
        );
        answers.push(
            broker
                .ask("/api/credentials", &good, &json!({ text.clone(): 1 }))
                .await,
        );
        let path: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        answers.push(
            get(
                broker.public(),
                &format!("/{}", path.chars().take(2_000).collect::<String>()),
            )
            .await,
        );
        for answer in &answers {
            check_answer(answer);
            ids.push(answer.header("x-request-id").unwrap().to_owned());
        }
    }
    // Some are limited; none has two lines.
    let lines = check_lines(&log.text());
    for id in &ids {
        let count = lines
            .iter()
            .filter(|line| line["request_id"] == **id)
            .count();
        assert!(count <= 1, "{count} lines of {id}");
    }
    assert!(lines.len() > 100, "{}", lines.len());
    let _ = broker.events("refusal").await;
    let events = check_lines(&broker.sink.text());
    assert!(events.len() > 100, "{}", events.len());
}

/// T-91
#[tokio::test]
async fn what_an_issuers_server_says_forges_no_line() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log_subscriber("trace", log.clone()));
    for text in HOSTILE {
        let issuer = HostileIssuer::start().await;
        let answers = [
            server::Answer::ok(
                json!({ "issuer": text, "jwks_uri": text })
                    .to_string()
                    .as_bytes(),
            ),
            server::Answer::ok(text.as_bytes()),
            server::Answer::status(
                &format!("500 {}", text.replace(['\r', '\n'], " ")),
                "",
                text.as_bytes(),
            ),
            server::Answer::status(
                "302 Found",
                &format!("Location: {}\r\n", text.replace(['\r', '\n'], " ")),
                b"",
            ),
        ];
        for answer in answers {
            issuer.answer("/.well-known/openid-configuration", answer);
            let broker = TestBroker::builder().github_of(&issuer).start().await;
            let mut claims = crate::support::tokens::claims();
            claims["iss"] = issuer.url().into();
            let refused = broker
                .exchange(&broker.key.token(&claims), "deploy-api")
                .await;
            assert_eq!(refused.reason(), "keys.unavailable", "{}", refused.body);
            check_answer(&refused);
            let ready = get(broker.operator(), "/readyz").await;
            assert!(
                ready.body.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{:?}",
                ready.body
            );
            let _ = broker.events("refusal").await;
            check_lines(&broker.sink.text());
        }
    }
    let lines = check_lines(&log.text());
    assert!(
        lines
            .iter()
            .any(|line| line["reason"] == "keys.unavailable")
    );
}

/// No line of what a job's step prints is a command to its runner, but for our masks.
#[track_caller]
fn check_step(output: &Output) {
    for text in [stdout(output), stderr(output)] {
        for line in text.split(['\n', '\r']) {
            let is_mask = ["canary", "hpl_canary", "postgresql://"]
                .iter()
                .any(|start| {
                    line.strip_prefix("::add-mask::")
                        .is_some_and(|text| text.starts_with(start))
                });
            assert!(
                is_mask || !line.trim_start().starts_with("::"),
                "{}",
                told(output)
            );
            assert!(
                !line.contains("##[") && !line.contains("##vso["),
                "{}",
                told(output)
            );
            let is_plain = line
                .chars()
                .all(|letter| matches!(letter, ' '..='~' | '✓' | '✗'));
            assert!(is_plain, "{line:?}");
        }
    }
}

/// T-91
#[test]
fn nothing_a_broker_says_is_a_command_to_the_jobs_runner_or_terminal() {
    let fake = Fake::start();
    for text in HOSTILE {
        let refusal = json!({
            "error": text, "error_description": text, "reason": text, "request_id": text,
            "failed_conditions": [{ "policy": text, "fact": text, "expected": text, "actual": [text], "hint": text }],
            "when": format!("{text}\n  {text}\n\t{text}"),
        });
        for status in [400, 503] {
            let reply = Reply::json(status, &refusal).with("retry-after", "0");
            fake.next("/token", reply);
            check_step(
                &fake
                    .on_github(&["get", "shop-db/migrate", "--timeout", "1s"])
                    .observed(),
            );
            fake.next("/token", Reply::json(400, &refusal));
            check_step(
                &fake
                    .on_github(&["exec", "shop-db/migrate", "--", "true"])
                    .observed(),
            );
        }
        let offer = json!({ "credentials": [{
            "credential": text, "kind": text, "policy": text, "ttl": 900, "scopes": [text], "purpose": text,
        }] });
        for arguments in [
            ["list", "--output", "text"],
            ["list", "--output", "json"],
            ["doctor", "--output", "text"],
            ["doctor", "--output", "json"],
        ] {
            fake.next("/api/explain", Reply::json(200, &offer));
            check_step(&fake.on_github(&arguments).observed());
            fake.next(
                "/.well-known/openid-configuration",
                Reply::json(200, &json!({ "issuer": text })),
            );
            check_step(&fake.on_github(&arguments).observed());
        }
    }
}

/// T-91
#[test]
fn an_explanation_shows_hostile_claims_as_they_are_spelled() {
    let folder = tempfile::tempdir().unwrap();
    let policies = folder.path().join("policies");
    fs::create_dir(&policies).unwrap();
    fs::write(policies.join("root.yaml"), crate::support::broker::POLICIES).unwrap();
    for text in HOSTILE {
        let job = hallpass::dev::issuer::GithubJob::new(
            crate::support::broker::GITHUB,
            TestBroker::issuer(),
            hallpass::clock::Timestamp::from_unix(crate::support::tokens::NOW),
        );
        let mut claims = hallpass::dev::issuer::github_claims(&job);
        for claim in ["ref", "environment", "actor", "event_name"] {
            claims[claim] = text.into();
        }
        let file = folder.path().join("claims.json");
        fs::write(&file, claims.to_string()).unwrap();
        for output in ["text", "json"] {
            let explained = hallpass(&[
                "policy",
                "explain",
                &text.replace('\0', "x"),
                "--output",
                output,
                "--claims",
            ])
            .arg(&file)
            .arg("--policies")
            .arg(&policies)
            .observed();
            assert_ne!(explained.status.code(), Some(2), "{}", told(&explained));
            check_step(&explained);
            if output == "json" && !stdout(&explained).is_empty() {
                let document: Value = serde_json::from_str(&stdout(&explained)).unwrap();
                assert!(document.is_object());
            }
        }
    }
}
