//! Real HTTPS: the embedded issuer, and issuers that change between one request and the next.

use std::sync::Arc;
use std::time::Duration;

use hallpass::clock::{Clock, FixedClock, SystemClock, Timestamp};
use hallpass::dev::issuer::{GithubJob, GitlabJob, Issuer, github_claims, gitlab_claims};
use hallpass::token::keys::RemoteKeys;
use hallpass::token::keys::remote::HttpsFetch;
use hallpass::token::{SubjectToken, TrustedIssuer, Verifier, VerifyError};
use serde_json::Value;

use crate::support::hostile_issuer::{Answer, DISCOVERY, Gate, HostileIssuer, JWKS};
use crate::support::tokens::{AUDIENCE, NOW, TestKey, claims_with, jwks};

fn verifier(issuers: Vec<TrustedIssuer>) -> (Verifier, Arc<RemoteKeys>) {
    let issuers: Vec<Arc<TrustedIssuer>> = issuers.into_iter().map(Arc::new).collect();
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
    let keys = Arc::new(RemoteKeys::with_fetch(
        &issuers,
        Arc::clone(&clock),
        Arc::new(HttpsFetch::new()),
    ));
    let verifier = Verifier::new(
        AUDIENCE.to_owned(),
        issuers,
        Arc::clone(&keys) as Arc<_>,
        clock,
    );
    (verifier, keys)
}

async fn verify(verifier: &Verifier, token: String) -> Result<Value, VerifyError> {
    let genuine = verifier.verify(&SubjectToken::new(token)).await?;
    Ok(Value::Object(genuine.claims().to_json()))
}

#[tokio::test]
async fn tokens_of_the_embedded_issuers_verify_over_https() {
    let github = Issuer::start("/github").await.unwrap();
    let gitlab = Issuer::start("").await.unwrap();
    let (verifier, keys) = verifier(vec![github.trusted("github"), gitlab.trusted("gitlab")]);

    let claims = github_claims(&GithubJob::new(
        github.url(),
        AUDIENCE,
        Timestamp::from_unix(NOW),
    ));
    assert_eq!(
        verify(&verifier, github.sign(&claims).unwrap())
            .await
            .unwrap(),
        claims
    );
    let claims = gitlab_claims(&GitlabJob::new(
        gitlab.url(),
        AUDIENCE,
        Timestamp::from_unix(NOW),
    ));
    assert_eq!(
        verify(&verifier, gitlab.sign(&claims).unwrap())
            .await
            .unwrap(),
        claims
    );
    // One issuer's key, the other's name.
    assert_eq!(
        verify(&verifier, github.sign(&claims).unwrap())
            .await
            .unwrap_err()
            .reason()
            .code(),
        "token.key_unknown"
    );

    assert_eq!(
        (github.discovery_requests(), github.key_set_requests()),
        (1, 1)
    );
    let status = keys.status();
    assert_eq!(
        (status[0].name.as_str(), status[0].keys, status[0].usable),
        ("github", Some(1), true)
    );
    assert_eq!(
        (status[1].name.as_str(), status[1].last_error.clone()),
        ("gitlab", None)
    );
}

/// T-63, T-64
#[tokio::test]
async fn a_rotated_key_is_found_by_its_first_token() {
    let issuer = Issuer::start("").await.unwrap();
    let (verifier, keys) = verifier(vec![issuer.trusted("ci")]);
    let claims = github_claims(&GithubJob::new(
        issuer.url(),
        AUDIENCE,
        Timestamp::from_unix(NOW),
    ));
    let old = issuer.sign(&claims).unwrap();
    keys.force_refresh().await;
    verify(&verifier, old.clone()).await.unwrap();
    issuer.rotate(true).unwrap();
    verify(&verifier, issuer.sign(&claims).unwrap())
        .await
        .unwrap();
    verify(&verifier, old.clone()).await.unwrap();
    issuer.rotate(false).unwrap();
    keys.force_refresh().await;
    verify(&verifier, issuer.sign(&claims).unwrap())
        .await
        .unwrap();
    assert_eq!(
        verify(&verifier, old).await.unwrap_err().reason().code(),
        "token.key_unknown"
    );
    assert_eq!(issuer.key_set_requests(), 3);
}

/// T-68
#[tokio::test]
async fn keys_are_fetched_in_the_background_without_any_token() {
    let issuer = Issuer::start("/ci").await.unwrap();
    let keys = RemoteKeys::start(
        &[Arc::new(issuer.trusted("ci"))],
        Arc::new(SystemClock::new()),
    );
    for _ in 0..500 {
        if keys.status()[0].usable {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no keys after ten seconds: {:?}", keys.status());
}

/// GitHub's contract with a running job.
#[tokio::test]
async fn a_job_fetches_its_id_token_with_its_request_token() {
    let issuer = Issuer::start("/github").await.unwrap();
    let claims = github_claims(&GithubJob::new(
        issuer.url(),
        "https://github.com/acme",
        Timestamp::from_unix(NOW),
    ));
    let url = issuer.offer("request-token", claims.clone());
    assert_eq!(url, format!("{}/token?api-version=2.0", issuer.url()));
    let client = client(&issuer);
    let fetch = async |query: &str, token: &str| {
        let response = client
            .get(format!("{url}{query}"))
            .bearer_auth(token)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (
            status,
            serde_json::from_slice::<Value>(&response.bytes().await.unwrap()).unwrap(),
        )
    };
    let (status, body) = fetch("&audience=https%3A%2F%2Fhallpass.example", "request-token").await;
    assert_eq!(status, 200);
    let (verifier, _) = verifier(vec![issuer.trusted("ci")]);
    let signed = verify(&verifier, body["value"].as_str().unwrap().to_owned())
        .await
        .unwrap();
    assert_eq!(
        (&signed["aud"], &signed["repository"]),
        (&AUDIENCE.into(), &claims["repository"])
    );
    assert_ne!(signed["jti"], claims["jti"]);
    assert_eq!(fetch("", "request-token").await.0, 200);
    // As `hallpass` sends it; the name of a scheme is case-insensitive.
    let request = client.get(&url);
    let answer = request.header("authorization", "bearer request-token");
    assert_eq!(answer.send().await.unwrap().status(), 200);
    assert_eq!(fetch("&audience=x", "other").await.0, 401);
    assert_eq!(issuer.requested_audiences(), [AUDIENCE]);
}

fn client(issuer: &Issuer) -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(issuer.ca_pem().as_bytes()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([ca])
        .no_proxy()
        .build()
        .unwrap()
}

fn token_of(server: &HostileIssuer, key: &TestKey) -> String {
    key.token(&claims_with("iss", Some(server.url().into())))
}

/// T-63
#[tokio::test]
async fn a_key_that_the_issuer_rotated_to_just_before_signing_is_fetched_by_its_first_token() {
    let (old, new) = (TestKey::rsa("old"), TestKey::other_rsa("new"));
    let server = HostileIssuer::publishing(b"").await;
    server.script(
        JWKS,
        vec![
            Answer::ok(&jwks(&[old.jwk()])),
            Answer::ok(&jwks(&[old.jwk(), new.jwk()])),
            Answer::ok(&jwks(&[new.jwk()])),
        ],
    );
    let (verifier, keys) = verifier(vec![server.trusted()]);
    keys.force_refresh().await;
    assert_eq!(server.asked(JWKS), 1);
    verify(&verifier, token_of(&server, &new)).await.unwrap();
    verify(&verifier, token_of(&server, &old)).await.unwrap();
    assert_eq!(server.asked(JWKS), 2);
    keys.force_refresh().await;
    let gone = verify(&verifier, token_of(&server, &old)).await;
    assert_eq!(gone.unwrap_err().reason().code(), "token.key_unknown");
    verify(&verifier, token_of(&server, &new)).await.unwrap();
}

/// T-62
#[tokio::test]
async fn answers_out_of_order_leave_the_set_that_was_asked_for_last() {
    let (old, new) = (TestKey::rsa("old"), TestKey::other_rsa("new"));
    let server = HostileIssuer::publishing(b"").await;
    let gate = Gate::closed();
    server.script(
        JWKS,
        vec![
            Answer::ok(&jwks(&[old.jwk()])).after(&gate),
            Answer::ok(&jwks(&[new.jwk()])),
        ],
    );
    let (verifier, keys) = verifier(vec![server.trusted()]);
    let late = tokio::spawn({
        let keys = Arc::clone(&keys);
        async move { keys.force_refresh().await }
    });
    while server.asked(JWKS) < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    keys.force_refresh().await;
    verify(&verifier, token_of(&server, &new)).await.unwrap();
    gate.open();
    late.await.unwrap();
    let gone = verify(&verifier, token_of(&server, &old)).await;
    assert_eq!(gone.unwrap_err().reason().code(), "token.key_unknown");
    verify(&verifier, token_of(&server, &new)).await.unwrap();
    assert_eq!(keys.status()[0].last_error, None);
}

/// T-29, T-32, T-38
#[tokio::test]
async fn a_key_set_full_of_oddities_still_brings_its_good_key() {
    let good = TestKey::rsa("good");
    let mut leaked = TestKey::other_rsa("leaked").jwk();
    leaked["d"] = "AQAB".into();
    let server = HostileIssuer::publishing(&jwks(&[
        Value::Null,
        serde_json::json!({ "kty": "AKP", "kid": "good-2", "pub": "AAAA" }),
        TestKey::p256("twice").jwk(),
        leaked,
        good.jwk(),
        TestKey::other_rsa("twice").jwk(),
        serde_json::json!({ "kid": 7 }),
    ]))
    .await;
    let (verifier, keys) = verifier(vec![server.trusted()]);
    verify(&verifier, token_of(&server, &good)).await.unwrap();
    assert_eq!(keys.status()[0].keys, Some(1));
    for (kid, expected) in [
        ("twice", "token.key_ambiguous"),
        ("leaked", "token.key_unknown"),
    ] {
        let token = token_of(&server, &TestKey::other_rsa(kid));
        let error = verify(&verifier, token).await.unwrap_err();
        assert_eq!(error.reason().code(), expected);
    }
}

/// T-53, T-54, T-59, T-65
#[tokio::test]
async fn the_keys_at_hand_outlive_every_bad_answer_and_the_first_good_one_replaces_them() {
    let (old, new) = (TestKey::rsa("old"), TestKey::other_rsa("new"));
    let server = HostileIssuer::publishing(&jwks(&[old.jwk()])).await;
    let (verifier, keys) = verifier(vec![server.trusted()]);
    keys.force_refresh().await;
    let set = jwks(&[new.jwk()]);
    for odd in [
        Answer::status("500 Broken", "", &set),
        Answer::status("206 Partial Content", "", &set),
        Answer::status("200 OK", "Content-Encoding: gzip\r\n", &set),
        Answer::redirect("302 Found", &server.jwks_url()),
        Answer::ok(b"<html>down for maintenance</html>"),
        Answer::ok(&set[..set.len() - 1]),
    ] {
        server.answer(JWKS, odd);
        keys.force_refresh().await;
        assert!(keys.status()[0].last_error.is_some());
        verify(&verifier, token_of(&server, &old)).await.unwrap();
    }
    server.answer(JWKS, Answer::ok(&set));
    server.discover("https://evil.example/jwks");
    keys.force_refresh().await;
    verify(&verifier, token_of(&server, &old)).await.unwrap();
    assert_eq!(server.asked(DISCOVERY), 8);
    server.discover(&server.jwks_url());
    keys.force_refresh().await;
    verify(&verifier, token_of(&server, &new)).await.unwrap();
}

/// T-308: an issuer that would answer is not asked, whatever a token names.
#[tokio::test]
async fn an_issuer_with_pinned_keys_is_never_asked() {
    let key = TestKey::rsa("k1");
    let server = HostileIssuer::publishing(&jwks(&[TestKey::other_rsa("k2").jwk()])).await;
    let mut issuer = server.trusted();
    issuer.pinned_keys = Some(String::from_utf8(jwks(&[key.jwk()])).unwrap());
    let (verifier, keys) = verifier(vec![issuer]);
    let claims = claims_with("iss", Some(server.url().into()));
    keys.tick();
    keys.force_refresh().await;
    assert!(verify(&verifier, key.token(&claims)).await.is_ok());
    let published = TestKey::other_rsa("k2").token(&claims);
    let refused = verify(&verifier, published).await.unwrap_err();
    assert_eq!(refused.reason().code(), "token.key_unknown");
    let status = &keys.status()[0];
    assert_eq!(
        (status.keys, status.age, status.usable),
        (Some(1), None, true)
    );
    assert_eq!(status.last_error, None);
    assert_eq!(server.connections(), 0);
}
