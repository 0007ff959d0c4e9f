//! A server that is no broker, or a broker that lies.

use serde_json::json;

use super::fake::{Fake, PASSWORD, Reply, login, stderr, stdout, told};
use crate::support::leaks::Observed as _;

/// T-108
#[test]
fn a_false_broker_that_names_another_audience_gets_no_token() {
    for name in [
        "sts.amazonaws.com",
        "https://hallpass.example",
        "http://127.0.0.1",
        "",
    ] {
        let fake = Fake::start();
        fake.next(
            "/.well-known/openid-configuration",
            Reply::json(
                200,
                &json!({ "issuer": name, "token_endpoint": "https://evil.example" }),
            ),
        );
        let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
        assert_eq!(output.status.code(), Some(5), "{}", told(&output));
        assert!(
            fake.asked("/idtoken").is_empty(),
            "a token was fetched for {name}"
        );
        assert!(fake.asked("/token").is_empty());
        assert!(
            stderr(&output).contains(&format!("calls itself `{name}`, so no token was asked for"))
        );
    }
}

/// T-108
#[test]
fn the_audience_is_the_configured_address_and_nothing_else() {
    let fake = Fake::start();
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let asked = fake.asked("/idtoken");
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].query["audience"], fake.url());
    assert_eq!(asked[0].query["api-version"], "2.0");
    assert_eq!(
        asked[0].headers["authorization"],
        "bearer canary-e81d07b4c2"
    );
    // The request token goes to GitHub's service and not to the broker.
    assert!(
        fake.asked("/token")
            .iter()
            .all(|one| !format!("{one:?}").contains("canary-e81d07b4c2"))
    );
}

/// T-108
#[test]
fn a_token_for_somebody_else_is_not_sent() {
    let fake = Fake::start();
    let token = super::fake::token("sts.amazonaws.com", "1");
    let output = fake
        .on_gitlab(&["get", "shop-db/migrate"], &token)
        .observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert!(fake.asked("/token").is_empty());
    let text = stderr(&output).replace(&fake.url(), "http://broker");
    insta::assert_snapshot!(text, @r"
    hallpass: the job's ID token is for `sts.amazonaws.com`, not for the broker `http://broker` alone, and was not sent: add to the job in .gitlab-ci.yml:

      id_tokens:
        HALLPASS_ID_TOKEN:
          aud: http://broker

    (another name: set HALLPASS_ID_TOKEN_VARIABLE to it)
    ");
}

/// T-108
#[test]
fn a_token_that_is_for_somebody_else_too_is_not_sent() {
    let fake = Fake::start();
    for other in ["sts.amazonaws.com", ""] {
        for audiences in [[fake.url().as_str(), other], [other, fake.url().as_str()]] {
            let token = super::fake::token_for(&json!(audiences), "1");
            let output = fake
                .on_gitlab(&["get", "shop-db/migrate"], &token)
                .observed();
            assert_eq!(output.status.code(), Some(5), "{}", told(&output));
            assert!(stderr(&output).contains("alone, and was not sent"));
        }
    }
    assert!(fake.asked("/token").is_empty());
    let token = super::fake::token_for(&json!([fake.url()]), "1");
    let output = fake
        .on_gitlab(&["get", "shop-db/migrate"], &token)
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}

#[test]
fn a_redirect_is_not_followed() {
    let fake = Fake::start();
    let elsewhere = Fake::start();
    fake.next(
        "/token",
        Reply::json(307, &json!({})).with("location", &format!("{}/token", elsewhere.url())),
    );
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(elsewhere.asked("/token").is_empty());
    insta::assert_snapshot!(stderr(&output), @"hallpass: the broker returned an unexpected response: status 307 is a redirect, which hallpass does not follow; set the address it leads to");
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let fake = Fake::start();
    let mut reply = Reply::json(200, &json!({}));
    reply.body = vec![b' '; 8 * 1024 * 1024];
    fake.next("/token", reply);
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: the broker returned an unexpected response: it is longer than 262144 bytes");
}

/// T-91
#[test]
fn what_the_broker_says_cannot_move_the_cursor() {
    let hostile = "\u{1b}[2J\r\nhallpass: all is well\u{202e}\u{9b}";
    for path in ["/token", "/.well-known/openid-configuration"] {
        let fake = Fake::start();
        let body = json!({
            "issuer": hostile, "error": hostile, "error_description": hostile, "reason": hostile,
            "request_id": hostile, "when": hostile,
            "failed_conditions": [{ "policy": hostile, "fact": hostile, "expected": hostile, "actual": hostile }],
        });
        let status = if path == "/token" { 400 } else { 200 };
        fake.next(path, Reply::json(status, &body));
        let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
        assert_ne!(output.status.code(), Some(0));
        let text = stderr(&output);
        assert!(text.contains("\\u{1b}[2J"), "{text:?}");
        assert!(
            text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')),
            "{text:?}"
        );
        assert!(
            !text
                .lines()
                .any(|line| line.starts_with("hallpass: all is well"))
        );
    }
}

#[test]
fn an_answer_about_another_credential_is_refused() {
    let fake = Fake::start();
    fake.next("/token", Reply::json(200, &login("shop-db/other")));
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: the broker returned an unexpected response: it is for credential `shop-db/other`, expected `shop-db/migrate`");
}

#[test]
fn a_value_that_a_shell_or_a_file_could_read_as_two_is_refused() {
    for (member, value) in [
        ("username", "a\nb"),
        ("password", "a\nPATH=/evil"),
        ("host", "a\0b"),
        ("database", "a\rb"),
        ("options", "a\nb"),
        ("sslmode", "disable\n"),
    ] {
        let fake = Fake::start();
        let mut answer = login("shop-db/migrate");
        answer["hallpass"]["credential"][member] = value.into();
        fake.next("/token", Reply::json(200, &answer));
        let output = fake
            .on_github(&["get", "shop-db/migrate", "--format", "dotenv"])
            .observed();
        assert_eq!(output.status.code(), Some(3), "{member}: {}", told(&output));
        assert_eq!(stdout(&output), "");
        assert!(!stderr(&output).contains(PASSWORD));
    }
}

#[test]
fn what_is_no_broker_at_all_is_said_so() {
    let fake = Fake::start();
    let mut page = Reply::json(404, &json!({}));
    page.body = b"<html>not found</html>".to_vec();
    fake.next("/.well-known/openid-configuration", page);
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: the broker returned an unexpected response: status 404 without an error in JSON; does the address lead to hallpass, or to something in front of it?");
}
