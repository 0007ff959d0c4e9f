//! What the action shows of a refusal, and what it retries.

use serde_json::{Value, json};

use super::runner::Job;
use crate::client::fake::{Fake, Reply, login};
use crate::client::real::Broker;

/// A job that fetches this token, beside the server that hands it out.
fn with_token(broker: &str, credential: &str, token: &str) -> (Job, Fake) {
    let fake = Fake::start();
    fake.next("/idtoken", Reply::json(200, &json!({ "value": token })));
    let mut job = Job::new(broker, credential);
    job.tokens(&format!("{}/idtoken", fake.url()), "canary-3b1f90ad27");
    (job, fake)
}

fn at(fake: &Fake) -> Job {
    let mut job = Job::new(&fake.url(), "shop-db/migrate");
    job.tokens(&format!("{}/idtoken", fake.url()), "canary-3b1f90ad27");
    job
}

#[test]
fn a_denial_shows_the_failed_condition_the_fix_and_the_block_that_is_missing() {
    let broker = Broker::start();
    let dev = || broker.token(|job| job.r#ref = "refs/heads/dev".to_owned());
    let (job, _fake) = with_token(&broker.url, "deploy-api", &dev());
    let ran = job.main();
    assert_eq!(ran.code, Some(1), "{}", ran.log);
    let errors = ran.texts("error");
    assert_eq!(errors.len(), 1, "{}", ran.log);
    for part in [
        "`deploy-api` is denied: ",
        "(policy.conditions)",
        "\npolicy shop-deploy: ref is refs/heads/dev, expected refs/heads/main\n",
        "\nlikely fix: run the job where the conditions hold",
        "\nrequest ID: req_",
        "  ref: refs/heads/dev\n",
    ] {
        assert!(errors[0].contains(part), "{part}: {}", errors[0]);
    }
    let summary = std::fs::read_to_string(job.path("STEP_SUMMARY")).unwrap();
    assert!(
        summary.contains("Denied: <code>deploy-api</code>"),
        "{summary}"
    );

    let (mut job, _fake) = with_token(&broker.url, "deploy-api", &dev());
    job.input("fail-on-denied", "false");
    let ran = job.main();
    assert_eq!(ran.code, Some(0), "{}", ran.log);
    assert_eq!(ran.texts("warning").len(), 1, "{}", ran.log);
    assert_eq!(job.entries("OUTPUT")["credentials"], "{}");
    assert_eq!(job.post().code, Some(0));
}

#[test]
fn a_pull_request_reads_that_its_trigger_needs_a_policy() {
    let broker = Broker::start();
    let token = broker.token(|job| job.event = "pull_request".to_owned());
    let (job, _fake) = with_token(&broker.url, "deploy-api", &token);
    let ran = job.main();
    assert_eq!(ran.code, Some(1), "{}", ran.log);
    let errors = ran.texts("error");
    let fix = "likely fix: runs of pull requests";
    assert!(errors[0].contains(fix), "{}", errors[0]);
}

#[test]
fn a_job_without_the_permission_reads_which_one_it_needs() {
    let fake = Fake::start();
    let job = Job::new(&fake.url(), "shop-db/migrate");
    let ran = job.main();
    assert_eq!(ran.code, Some(1), "{}", ran.log);
    let errors = ran.texts("error");
    assert!(
        errors[0].starts_with("is `id-token: write` missing? Add to the job:\n\n  permissions:\n"),
        "{}",
        errors[0]
    );
    assert!(fake.asked("/api/credentials").is_empty());
    assert_eq!(job.post().code, Some(0));
}

#[test]
fn a_broker_of_plain_http_is_guessed_from_its_answer() {
    let broker = Broker::start();
    let fake = Fake::start();
    let mut job = at(&fake);
    job.input("broker", &broker.url.replace("http:", "https:"));
    let ran = job.main();
    assert_eq!(ran.code, Some(1), "{}", ran.log);
    let error = ran.texts("error")[0];
    assert!(
        error.ends_with("; does the broker speak plain http?"),
        "{error}"
    );
}

#[test]
fn a_refusal_to_seal_names_the_input() {
    let fake = Fake::start();
    let refused = json!({
        "error": "invalid_request", "reason": "request.sealed",
        "error_description": "this broker is built without sealed delivery",
    });
    fake.next("/api/credentials", Reply::json(400, &refused));
    let key = json!({ "kty": "OKP", "crv": "X25519", "x": "A".repeat(43) });
    let ran = at(&fake).input("seal-to", &key.to_string()).main();
    assert_eq!(ran.code, Some(1), "{}", ran.log);
    let error = ran.texts("error")[0];
    let fix = "likely fix: the input `seal-to` needs a broker that is built with the feature `sealed`; nothing was issued";
    assert!(error.contains(fix), "{error}");
}

/// An unset `${{ vars.X }}` is an empty input.
#[test]
fn an_input_that_is_empty_or_no_truth_value_is_named() {
    let fake = Fake::start();
    for (name, value, error) in [
        (
            "broker",
            "",
            "input `broker` is empty; expected an address like `https://hallpass.example`",
        ),
        (
            "credentials",
            "",
            "input `credentials` is empty; expected the name of a credential like `shop-db/read`",
        ),
        (
            "export-env",
            "yes",
            "input `export-env` is `yes`; expected `true` or `false`",
        ),
        (
            "fail-on-denied",
            "1",
            "input `fail-on-denied` is `1`; expected `true` or `false`",
        ),
    ] {
        let ran = at(&fake).input(name, value).main();
        assert_eq!(ran.code, Some(1), "{}", ran.log);
        assert_eq!(ran.texts("error"), [error]);
    }
    assert!(fake.asked("/idtoken").is_empty());
}

/// T-208
#[test]
fn what_can_succeed_is_tried_again_with_one_token_and_one_key() {
    let fake = Fake::start();
    let busy = json!({ "error": "temporarily_unavailable", "retryable": true });
    let answer = login("shop-db/migrate")["hallpass"].clone();
    fake.next("/api/credentials", Reply::json(503, &busy));
    fake.next(
        "/api/credentials",
        Reply::json(429, &busy).with("retry-after", "1"),
    );
    let gateway = Reply {
        body: b"<html>".to_vec(),
        ..Reply::json(502, &Value::Null)
    };
    fake.next("/api/credentials", gateway);
    fake.next("/api/credentials", Reply::json(200, &answer));
    let ran = at(&fake).main();
    assert_eq!(ran.code, Some(0), "{}", ran.log);
    let asked = fake.asked("/api/credentials");
    assert_eq!(asked.len(), 4);
    for name in ["idempotency-key", "authorization"] {
        let first = &asked[0].headers[name];
        assert!(
            asked.iter().all(|one| &one.headers[name] == first),
            "{name}"
        );
    }
    assert_eq!(fake.asked("/idtoken").len(), 1);
}

/// T-208
#[test]
fn a_lasting_refusal_is_shown_at_once() {
    for (status, reason) in [
        (400, "token.replayed"),
        (503, "target.unknown"),
        (500, "bug.panic"),
    ] {
        let fake = Fake::start();
        let refusal = json!({
            "error": "server_error",
            "error_description": "it lasts",
            "reason": reason,
            "retryable": false,
        });
        fake.next("/api/credentials", Reply::json(status, &refusal));
        let mut job = at(&fake);
        // It is no denial, so it fails the step all the same.
        job.input("fail-on-denied", "false");
        let ran = job.main();
        assert_eq!(ran.code, Some(1), "{}", ran.log);
        let text = format!("`shop-db/migrate` is not available: it lasts ({reason})");
        assert_eq!(ran.texts("error"), [text]);
        assert_eq!(fake.asked("/api/credentials").len(), 1);
    }
}
