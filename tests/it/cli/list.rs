//! `hallpass list`: what a job may have, without minting anything.

use serde_json::json;

use crate::client::fake::{Fake, Reply, stderr, stdout, told};
use crate::support::leaks::Observed as _;

#[test]
fn a_job_sees_what_it_may_have() {
    let fake = Fake::start();
    let output = fake.on_github(&["list"]).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    insta::assert_snapshot!(stdout(&output), @r"
      CREDENTIAL       KIND      LIFETIME  POLICY        SCOPES  PURPOSE
      shop-db/migrate  postgres  15m       shop-migrate          schema migrations
    ");
    assert!(fake.asked("/token").is_empty());
    assert!(fake.asked("/api/explain")[0].headers["authorization"].starts_with("Bearer eyJ"));
}

#[test]
fn a_program_reads_it_as_json() {
    let fake = Fake::start();
    let output = fake.on_github(&["list", "--output", "json"]).observed();
    let document: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(document["credentials"][0]["credential"], "shop-db/migrate");
}

#[test]
fn a_job_that_may_have_nothing_is_told_where_to_look() {
    let fake = Fake::start();
    fake.next(
        "/api/explain",
        Reply::json(200, &json!({ "credentials": [] })),
    );
    let output = fake.on_github(&["list"]).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"no policy grants this job anything; `hallpass doctor` shows what the job is");
}

/// T-91
#[test]
fn a_policys_texts_are_escaped() {
    let fake = Fake::start();
    let hostile = "\u{1b}[2J\n";
    fake.next(
        "/api/explain",
        Reply::json(
            200,
            &json!({ "credentials": [{
            "credential": hostile, "kind": hostile, "policy": hostile, "ttl": 1,
            "scopes": [hostile], "purpose": hostile,
        }] }),
        ),
    );
    let output = fake.on_github(&["list"]).observed();
    assert_eq!(stdout(&output).lines().count(), 2);
    assert!(!stdout(&output).contains('\u{1b}'));
}
