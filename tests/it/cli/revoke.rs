//! `hallpass revoke`: the handle from an argument, a file or standard input.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::json;

use crate::client::fake::{Fake, LEASE, Reply, refusal, stderr, stdout, told};
use crate::support::leaks::Observed as _;

#[test]
fn a_handle_may_be_an_argument() {
    let fake = Fake::start();
    let output = fake.hallpass(&["revoke", LEASE]).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(stdout(&output), "The login is gone.\n");
    assert_eq!(fake.asked("/revoke")[0].form["token"], LEASE);
}

#[test]
fn a_handle_may_come_from_standard_input() {
    let fake = Fake::start();
    let mut child = fake
        .hallpass(&["revoke", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{LEASE}").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fake.asked("/revoke")[0].form["token"], LEASE);
}

#[test]
fn a_handle_may_stand_in_the_answer_of_get() {
    let fake = Fake::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("login.json");
    let status = fake
        .on_github(&["get", "shop-db/migrate", "--out"])
        .arg(&file)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let output = fake
        .hallpass(&["revoke", "--output", "json", "--file"])
        .arg(&file)
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(stdout(&output), "{\"revocation\":\"gone\"}\n");
    assert_eq!(fake.asked("/revoke")[0].form["token"], LEASE);
}

#[test]
fn what_is_no_handle_is_not_sent() {
    let fake = Fake::start();
    let output = fake.hallpass(&["revoke", "eyJhbGciOi.canary.x"]).observed();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: that is no lease handle; expected `hpl_...`, or the JSON of `hallpass get` with a `lease` in it");
    assert!(fake.asked("/revoke").is_empty());
}

#[test]
fn a_revocation_that_is_pending_or_refused_is_not_told_as_done() {
    let fake = Fake::start();
    fake.next("/revoke", Reply::json(202, &json!({})))
        .next("/revoke", refusal("request.lease"));
    let output = fake.hallpass(&["revoke", LEASE]).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    insta::assert_snapshot!(stdout(&output), @"The broker accepted the revocation and is still ending the login.");
    let output = fake.hallpass(&["revoke", LEASE]).observed();
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
}
