//! Canaries through the real broker, which logs as much as it can: every way to fail, and every wrong
//! place to put a token in.

use hallpass::clock::{Clock as _, SystemClock, Timestamp};
use hallpass::dev::issuer::{GithubJob, Issuer, github_claims};
use serde_json::json;

use super::serving::Serving;
use crate::support::TestBroker;
use crate::support::client::{Answer as Reply, form, get, request, send};
use crate::support::hostile_issuer::{Answer, HostileIssuer};
use crate::support::tokens::{NOW, TestKey};

const GRANT: (&str, &str) = (
    "grant_type",
    "urn:ietf:params:oauth:grant-type:token-exchange",
);
const ID_TOKEN: (&str, &str) = (
    "subject_token_type",
    "urn:ietf:params:oauth:token-type:id_token",
);
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

async fn exchange(serving: &Serving, token: &str, credential: &str, key: Option<&str>) -> Reply {
    let body = form(&[
        GRANT,
        ("subject_token", token),
        ID_TOKEN,
        ("audience", credential),
    ]);
    let mut headers = vec![FORM];
    headers.extend(key.map(|key| ("Idempotency-Key", key)));
    request(serving.public, "POST", "/token", &headers, body.as_bytes()).await
}

/// What is tried, token, credential, idempotency key, and what must come of it.
type Case = (
    &'static str,
    String,
    &'static str,
    Option<&'static str>,
    &'static str,
);

fn cases(serving: &Serving) -> Vec<Case> {
    let now = SystemClock::new().now();
    let key = "canary-b83f60d2e9517ac4";
    let good = serving.github(|_| {});
    let claims = |issuer: &str, audience: &str| {
        json!({
            "iss": issuer, "aud": audience, "sub": "x", "iat": now.unix(), "nbf": now.unix(),
            "exp": now.unix() + 300, "jti": "c",
        })
    };
    let forged = {
        let (signed, signature) = good.rsplit_once('.').unwrap();
        // The last stay, so that it is base64url as before.
        let (front, end) = signature.split_at(signature.len() - 4);
        let other: String = front.chars().rev().collect();
        format!("{signed}.{other}{end}")
    };
    let unknown_key = TestKey::other_rsa("k1").token(&claims(serving.issuer(), &serving.url));
    let stranger = TestKey::other_rsa("k1").token(&claims("https://ci.example", &serving.url));
    let elsewhere = serving.sign("github", &claims(serving.issuer(), "https://other.example"));
    let other_ref = serving.github(|job| job.r#ref = "refs/heads/x".to_owned());
    let cut = good.rsplit_once('.').unwrap().0.to_owned();
    vec![
        ("it works", good.clone(), "shop-db/migrate", Some(key), "ok"),
        (
            "the same again",
            good.clone(),
            "shop-db/migrate",
            Some(key),
            "ok",
        ),
        ("another credential", good.clone(), "deploy-api", None, "ok"),
        (
            "a second use",
            good.clone(),
            "deploy-api",
            None,
            "token.replayed",
        ),
        ("another CI's", serving.gitlab(), "shop-db/read", None, "ok"),
        (
            "another branch",
            other_ref,
            "shop-db/migrate",
            None,
            "policy.conditions",
        ),
        (
            "a signature changed",
            forged,
            "deploy-api",
            None,
            "token.signature",
        ),
        (
            "a key of nobody",
            unknown_key,
            "deploy-api",
            None,
            "token.key_unknown",
        ),
        (
            "an issuer of nobody",
            stranger,
            "deploy-api",
            None,
            "token.issuer",
        ),
        (
            "for somebody else",
            elsewhere,
            "deploy-api",
            None,
            "token.audience",
        ),
        ("without its end", cut, "deploy-api", None, "token.shape"),
        (
            "no token at all",
            "canary-2f71c0b9d6e8534a".to_owned(),
            "deploy-api",
            None,
            "token.shape",
        ),
    ]
}

/// T-92
#[tokio::test(flavor = "multi_thread")]
async fn no_canary_leaves_a_broker_at_trace_level_however_an_exchange_ends() {
    let serving = Serving::start().await;
    for (what, token, credential, key, reason) in cases(&serving) {
        let answer = exchange(&serving, &token, credential, key).await;
        let found = if answer.status == 200 {
            "ok".to_owned()
        } else {
            answer.reason()
        };
        assert_eq!(found, reason, "{what}: {}", answer.body);
    }
    serving.kill_database();
    let answer = exchange(&serving, &serving.github(|_| {}), "shop-db/migrate", None).await;
    assert_eq!(
        (answer.status, answer.reason().starts_with("database.")),
        (503, true),
        "{}",
        answer.body
    );
    let metrics = get(serving.operator, "/metrics").await;
    assert!(metrics.body.contains("token.signature"), "{}", metrics.body);
    get(serving.operator, "/readyz").await;
    let reasons: Vec<_> = serving
        .lines()
        .iter()
        .map(|line| line["reason"].clone())
        .collect();
    for reason in [
        "ok",
        "token.signature",
        "token.replayed",
        "policy.conditions",
        "token.shape",
    ] {
        assert!(
            reasons.contains(&reason.into()),
            "{reason} is not in the log"
        );
    }
    serving.stop().await;
}

/// T-92
#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_wrong_place_is_not_repeated() {
    let serving = Serving::start().await;
    let token = serving.github(|_| {});
    let token = token.as_str();
    // In each parameter, in turn, beside a good one of the job.
    for name in [
        "audience",
        "resource",
        "scope",
        "ttl",
        "grant_type",
        "subject_token_type",
        "requested_token_type",
        "actor_token",
        "actor_token_type",
        "client_id",
        "client_assertion",
        token,
    ] {
        let mine = serving.github(|_| {});
        let mut pairs = vec![
            GRANT,
            ("subject_token", &mine),
            ID_TOKEN,
            ("audience", "deploy-api"),
        ];
        pairs.retain(|(given, _)| *given != name);
        pairs.push((name, token));
        request(
            serving.public,
            "POST",
            "/token",
            &[FORM],
            form(&pairs).as_bytes(),
        )
        .await;
    }
    in_each_header(&serving, token).await;
    anywhere_else(&serving, token).await;
    serving.stop().await;
}

async fn in_each_header(serving: &Serving, token: &str) {
    for name in [
        "Idempotency-Key",
        "Authorization",
        "Content-Type",
        "Content-Encoding",
        "Accept",
        "Origin",
        "X-Forwarded-For",
        "Forwarded",
        "Cookie",
        "User-Agent",
        "Referer",
        "X-Request-Id",
        "Expect",
        "X-Token",
    ] {
        let mine = serving.github(|_| {});
        let body = form(&[
            GRANT,
            ("subject_token", &mine),
            ID_TOKEN,
            ("audience", "deploy-api"),
        ]);
        let mut headers = vec![FORM];
        headers.retain(|(given, _)| *given != name);
        headers.push((name, token));
        request(serving.public, "POST", "/token", &headers, body.as_bytes()).await;
    }
}

/// In the path, the query, the method, the host and the body of other doors.
async fn anywhere_else(serving: &Serving, token: &str) {
    let bearer = format!("Bearer {token}");
    for (method, path) in [
        ("GET", format!("/{token}")),
        ("POST", format!("/token/{token}")),
        ("POST", format!("/token?subject_token={token}")),
        ("GET", format!("/token?subject_token={token}")),
        (
            "GET",
            format!("/.well-known/openid-configuration?token={token}"),
        ),
    ] {
        request(serving.public, method, &path, &[FORM], b"").await;
        request(serving.operator, method, &path, &[FORM], b"").await;
    }
    send(
        serving.public,
        format!("{token} /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
    .await;
    send(
        serving.public,
        format!("GET / HTTP/1.1\r\nHost: {token}\r\nConnection: close\r\n\r\n"),
    )
    .await;
    send(serving.public, format!("GET /healthz {token}\r\n\r\n")).await;
    let json = ("Content-Type", "application/json");
    let bearers = [json, ("Authorization", bearer.as_str())];
    for body in [
        json!({ "credential": token }).to_string(),
        json!({ "credential": "deploy-api", "scopes": [token] }).to_string(),
        json!({ "credential": "deploy-api", "ttl": token }).to_string(),
        json!({ token: "deploy-api" }).to_string(),
        json!({ "credential": { "token": token } }).to_string(),
        format!("{{\"credential\": {token}}}"),
        token.to_owned(),
    ] {
        for path in ["/api/credentials", "/api/explain", "/revoke", "/token"] {
            request(serving.public, "POST", path, &bearers, body.as_bytes()).await;
        }
    }
    // A handle, a token and neither, to be revoked.
    for text in [
        token.to_owned(),
        format!("hpl_{token}"),
        format!("hpl_{}", token.replace('.', "")),
    ] {
        for name in ["token", "token_type_hint"] {
            let body = form(&[(name, &text)]);
            request(serving.public, "POST", "/revoke", &[FORM], body.as_bytes()).await;
        }
    }
}

/// T-92
#[tokio::test]
async fn no_canary_leaves_a_broker_whose_sinks_or_issuer_fail() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    broker.sink.fail(true);
    let answer = broker.exchange(&token, "shop-db/read").await;
    assert_eq!(answer.reason(), "sink.failed", "{}", answer.body);
    drop(broker);

    // Its every answer leads elsewhere.
    let issuer = Issuer::start("").await.unwrap();
    let astray = HostileIssuer::start().await;
    let elsewhere = format!("Location: {}/elsewhere?canary\r\n", astray.url());
    let redirect = Answer::status("302 Found", &elsewhere, b"");
    astray.answer("/.well-known/openid-configuration", redirect);
    let broker = TestBroker::builder().github_of(&astray).start().await;
    let claims = github_claims(&GithubJob::new(
        &astray.url(),
        TestBroker::issuer(),
        Timestamp::from_unix(NOW),
    ));
    let token = issuer.sign(&claims).unwrap();
    let answer = broker.exchange(&token, "shop-db/read").await;
    assert_eq!(answer.reason(), "keys.unavailable", "{}", answer.body);
    assert!(
        !astray
            .requests()
            .iter()
            .any(|head| head.contains("elsewhere"))
    );
}
