//! Real HTTPS: the embedded issuer, and servers that lie, stall and redirect.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hallpass::clock::{Clock, FixedClock, SystemClock, Timestamp};
use hallpass::dev::issuer::{GithubJob, GitlabJob, Issuer, github_claims, gitlab_claims};
use hallpass::token::keys::remote::{Fetch as _, HttpsFetch, Lookup};
use hallpass::token::keys::{KeyError, RemoteKeys};
use hallpass::token::{SubjectToken, TrustedIssuer, Verifier, VerifyError};
use serde_json::Value;

use super::server::{Answer, Certificate, Server, Then};
use crate::support::tokens::{AUDIENCE, NOW, TestKey};

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
    (verifier.for_dev(), keys)
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
            .reason(),
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
        verify(&verifier, old).await.unwrap_err().reason(),
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

async fn fetch(issuer: &TrustedIssuer) -> Result<Vec<u8>, KeyError> {
    HttpsFetch::new().key_set(issuer).await
}

fn is_document(outcome: &Result<Vec<u8>, KeyError>) -> bool {
    matches!(outcome, Err(KeyError::Document(_)))
}

/// T-09, T-58
#[tokio::test]
async fn a_request_carries_nothing_but_our_own_headers() {
    let server = Server::start().await;
    server.discover(&format!("{}/jwks", server.url()));
    server.answer("/jwks", Answer::ok(b"{\"keys\":[]}"));
    assert_eq!(fetch(&server.trusted()).await.unwrap(), b"{\"keys\":[]}");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for head in requests {
        let mut names: Vec<String> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.to_lowercase())
            .collect();
        names.sort();
        assert_eq!(names, ["accept", "host", "user-agent"], "{head}");
    }
}

/// T-55
#[tokio::test]
async fn redirects_are_not_followed() {
    let (server, trap) = (Server::start().await, Server::start().await);
    server.discover(&format!("{}/jwks", server.url()));
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        for location in [format!("{}/x", server.url()), format!("{}/x", trap.url())] {
            server.answer(
                "/jwks",
                Answer::status(
                    status,
                    &format!("Location: {location}\r\n"),
                    b"{\"keys\":[]}",
                ),
            );
            assert!(is_document(&fetch(&server.trusted()).await), "{status}");
        }
    }
    assert!(trap.requests().is_empty());
    assert!(
        server
            .requests()
            .iter()
            .all(|head| !head.starts_with("GET /x"))
    );
}

/// T-59
#[tokio::test]
async fn answers_that_are_no_document_are_failed_fetches() {
    let server = Server::start().await;
    let issuer = server.trusted();
    let own = server.url();
    let jwks = format!("{own}/jwks");
    server.answer("/jwks", Answer::ok(b"{\"keys\":[]}"));
    let discovery = "/.well-known/openid-configuration";
    for body in [
        "<html>canary</html>".to_owned(),
        String::new(),
        "[]".into(),
        "null".into(),
        "{}".into(),
        format!(r#"{{"issuer":"{own}"}}"#),
        format!(r#"{{"jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"issuer":"{own}/","jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"issuer":"https://canary.example","jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"issuer":["{own}"],"jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"issuer":"{own}","jwks_uri":["{jwks}"]}}"#),
        format!(r#"{{"issuer":"{own}","jwks_uri":null}}"#),
        format!(r#"{{"issuer":"{own}","issuer":"{own}","jwks_uri":"{jwks}"}}"#),
        format!(r#"{{"issuer":"{own}","jwks_uri":"{jwks}"}}x"#),
        format!("\u{feff}{{\"issuer\":\"{own}\",\"jwks_uri\":\"{jwks}\"}}"),
    ] {
        server.answer(discovery, Answer::ok(body.as_bytes()));
        let outcome = fetch(&issuer).await;
        assert!(is_document(&outcome), "{body}");
        assert!(
            !outcome.unwrap_err().to_string().contains("canary"),
            "{body}"
        );
    }
    server.discover(&jwks);
    for status in [
        "201 Created",
        "204 No Content",
        "206 Partial",
        "400 Bad",
        "401 No",
        "403 No",
        "404 No",
        "429 Slow",
        "500 Broken",
        "503 Busy",
    ] {
        server.answer("/jwks", Answer::status(status, "", b"{\"keys\":[]}"));
        assert!(is_document(&fetch(&issuer).await), "{status}");
    }
    insta::assert_snapshot!(fetch(&issuer).await.unwrap_err(), @"the request for the key set was answered with status 503, expected 200");
    server.answer(
        "/jwks",
        Answer::status("200 OK", "Content-Encoding: gzip\r\n", b"{\"keys\":[]}"),
    );
    insta::assert_snapshot!(fetch(&issuer).await.unwrap_err(), @"the key set is compressed although that was not asked for");
}

/// T-54
#[tokio::test]
async fn a_key_set_address_elsewhere_is_not_asked() {
    let (server, trap) = (Server::start().await, Server::start().await);
    trap.answer("/jwks", Answer::ok(b"{\"keys\":[]}"));
    server.discover(&format!("{}/jwks", trap.url()));
    let error = fetch(&server.trusted()).await.unwrap_err();
    insta::assert_snapshot!(format!("{}: {error}", error.reason()), @"keys.address: `jwks_uri` in the discovery document is on another host than the issuer; name that host in `key_hosts` if it is right");
    assert!(trap.requests().is_empty());
    let mut issuer = server.trusted();
    issuer.key_hosts = vec![format!("localhost:{}", trap.port)];
    issuer.ca = Some(format!("{}{}", server.ca_pem, trap.ca_pem));
    assert_eq!(fetch(&issuer).await.unwrap(), b"{\"keys\":[]}");
}

/// T-58
#[tokio::test]
async fn endless_and_stalled_answers_end() {
    let server = Server::start().await;
    server.discover(&format!("{}/jwks", server.url()));
    let head = b"HTTP/1.1 200 OK\r\n\r\n{\"keys\":[".to_vec();
    server.answer("/jwks", Answer(head.clone(), Then::Repeat));
    insta::assert_snapshot!(fetch(&server.trusted()).await.unwrap_err(), @"the key set is longer than 262144 bytes");
    let full = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 262145\r\n\r\n{}",
        " ".repeat(262_145)
    );
    server.answer("/jwks", Answer(full.into_bytes(), Then::Close));
    assert!(is_document(&fetch(&server.trusted()).await));
    server.answer(
        "/jwks",
        Answer(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), Then::Repeat),
    );
    assert!(matches!(
        fetch(&server.trusted()).await,
        Err(KeyError::Fetch(_))
    ));
    let discovery = "/.well-known/openid-configuration";
    server.answer(discovery, Answer::ok(&vec![b' '; 65_537]));
    insta::assert_snapshot!(fetch(&server.trusted()).await.unwrap_err(), @"the discovery document is longer than 65536 bytes");
    server.answer(discovery, Answer(head, Then::Hang));
    let hung = tokio::time::timeout(Duration::from_secs(30), fetch(&server.trusted()))
        .await
        .expect("it ends by itself");
    assert!(matches!(hung, Err(KeyError::Fetch(_))));
}

/// T-57
#[tokio::test]
async fn certificates_are_checked() {
    for certificate in [Certificate::OtherName, Certificate::Expired] {
        let server = Server::start_with(certificate).await;
        server.discover(&format!("{}/jwks", server.url()));
        assert!(matches!(
            fetch(&server.trusted()).await,
            Err(KeyError::Fetch(_))
        ));
        assert!(server.requests().is_empty());
    }
    let (server, other) = (Server::start().await, Server::start().await);
    let mut issuer = server.trusted();
    for ca in [None, Some(other.ca_pem.clone())] {
        issuer.ca = ca;
        let text = fetch(&issuer).await.unwrap_err().to_string();
        assert!(
            text.starts_with(
                "the discovery document could not be fetched: invalid peer certificate: "
            ),
            "{text}"
        );
    }
    assert!(server.requests().is_empty());
}

/// T-57
#[tokio::test]
async fn plain_http_is_never_spoken() {
    let mut issuer = TrustedIssuer::new("ci", "http://localhost:1");
    issuer.networks = vec!["127.0.0.0/8".parse().unwrap()];
    assert!(fetch(&issuer).await.is_err());
}

/// T-56
#[tokio::test]
async fn a_name_that_points_inward_is_not_connected_to() {
    let server = Server::start().await;
    let mut issuer = server.trusted();
    issuer.networks.clear();
    insta::assert_snapshot!(fetch(&issuer).await.unwrap_err(), @"the discovery document could not be fetched: the host has no address that is globally routable or in the issuer's `networks`");
    issuer.url = format!("https://127.0.0.1:{}", server.port);
    insta::assert_snapshot!(fetch(&issuer).await.unwrap_err(), @"the issuer's host is an IP address that none of its `networks` holds");
    assert!(server.requests().is_empty());
}

/// Gives the permitted address first, and another one ever after.
#[derive(Debug, Default)]
struct Rebinding {
    calls: AtomicUsize,
}

#[async_trait]
impl Lookup for Rebinding {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        assert_eq!(host, "ci.example");
        Ok(match self.calls.fetch_add(1, Ordering::Relaxed) {
            0 => vec![
                "169.254.169.254".parse().unwrap(),
                "127.0.0.1".parse().unwrap(),
            ],
            _ => vec!["169.254.169.254".parse().unwrap()],
        })
    }
}

/// T-56
#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_checked() {
    let server = Server::start().await;
    let mut issuer = server.trusted();
    issuer.url = format!("https://ci.example:{}", server.port);
    let lookup = Arc::new(Rebinding::default());
    let document =
        serde_json::json!({ "issuer": issuer.url, "jwks_uri": format!("{}/jwks", issuer.url) })
            .to_string();
    let keep = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{document}",
        document.len()
    );
    server.answer(
        "/.well-known/openid-configuration",
        Answer(keep.into_bytes(), Then::Close),
    );
    let outcome = HttpsFetch::with_lookup(Arc::clone(&lookup) as Arc<_>)
        .key_set(&issuer)
        .await;
    // The second request needs a second connection, for which only the metadata address is left.
    insta::assert_snapshot!(outcome.unwrap_err(), @"the key set could not be fetched: the host has no address that is globally routable or in the issuer's `networks`");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(lookup.calls.load(Ordering::Relaxed), 2);
}

/// T-53
#[tokio::test]
async fn an_issuer_that_is_not_configured_costs_no_lookup() {
    #[derive(Debug)]
    struct Never;
    #[async_trait]
    impl Lookup for Never {
        async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
            panic!("{host} was looked up");
        }
    }
    let key = TestKey::rsa("k1");
    let issuer = Arc::new(TrustedIssuer::new("ci", "https://ci.example"));
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
    let fetch = Arc::new(HttpsFetch::with_lookup(Arc::new(Never)));
    let keys = RemoteKeys::with_fetch(&[Arc::clone(&issuer)], Arc::clone(&clock), fetch);
    let verifier = Verifier::new(AUDIENCE.to_owned(), vec![issuer], Arc::new(keys), clock);
    for number in 0..1_000 {
        let claims = crate::support::tokens::claims_with(
            "iss",
            Some(format!("https://{number}.example").into()),
        );
        assert_eq!(
            verify(&verifier, key.token(&claims))
                .await
                .unwrap_err()
                .reason(),
            "token.issuer"
        );
    }
    let odd =
        crate::support::tokens::claims_with("iss", Some("http://x?https://ci.example".into()));
    assert_eq!(
        verify(&verifier, key.token(&odd))
            .await
            .unwrap_err()
            .reason(),
        "token.issuer"
    );
}
