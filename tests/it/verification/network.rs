//! Where a fetch connects to, over what, and where it never does: names, addresses, certificates.

use std::sync::Arc;
use std::time::Duration;

use hallpass::clock::{Clock, FixedClock, Timestamp};
use hallpass::token::keys::remote::{Fetch as _, HttpsFetch};
use hallpass::token::keys::{KeyError, KeySource as _, RemoteKeys};
use hallpass::token::{SubjectToken, TrustedIssuer, Verifier};

use super::documents::fetch;
use crate::support::hostile_issuer::{
    Answer, Certificate, DISCOVERY, FakeResolver, HostileIssuer, JWKS, Trap, old_server_hello,
};
use crate::support::tokens::{AUDIENCE, NOW, TestKey, claims_with};

const EMPTY: &[u8] = b"{\"keys\":[]}";
const NO_ADDRESS: &str =
    "the host has no address that is globally routable or in the issuer's `networks`";

async fn fetch_by(
    resolver: &Arc<FakeResolver>,
    issuer: &TrustedIssuer,
) -> Result<Vec<u8>, KeyError> {
    let fetch = HttpsFetch::with_lookup(Arc::clone(resolver) as Arc<_>);
    fetch.key_set(issuer).await
}

/// T-54
#[tokio::test]
async fn a_key_set_address_elsewhere_is_not_asked() {
    let trap = HostileIssuer::publishing(EMPTY).await;
    let server = HostileIssuer::publishing(EMPTY).await;
    let (own, other) = (server.port, trap.port);
    let mut issuer = server.trusted();
    issuer.ca = Some(format!("{}{}", server.ca_pem, trap.ca_pem));
    for elsewhere in [
        format!("https://localhost:{other}/jwks"),
        format!("https://127.0.0.1.example:{own}/jwks"),
        format!("https://localhost.:{own}/jwks"),
        format!("https://LOCALHOST:{own}/jwks"),
        format!("https://localhost:{own}@localhost:{other}/jwks"),
        format!("https://user@localhost:{own}/jwks"),
        format!("https://localhost:{other}\\\\@localhost:{own}/jwks"),
        format!("https://localhost:{own}/jwks#"),
        format!("https://localhost:{own}/a/../jwks"),
        format!("https:/\\\\localhost:{own}/jwks"),
        format!("https://local\\thost:{own}/jwks"),
        format!(" https://localhost:{own}/jwks"),
        format!("http://localhost:{own}/jwks"),
        format!("HTTPS://localhost:{own}/jwks"),
        format!("//localhost:{own}/jwks"),
        "https://localhost/jwks".to_owned(),
        "/jwks".to_owned(),
        "jwks".to_owned(),
        "file:///etc/passwd".to_owned(),
        "data:application/json,{}".to_owned(),
        format!("https://127.0.0.1:{own}/jwks"),
        format!("https://[::1]:{own}/jwks"),
        format!("https://[::ffff:127.0.0.1]:{own}/jwks"),
        format!("https://2130706433:{own}/jwks"),
        format!("https://0x7f.1:{own}/jwks"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        String::new(),
    ] {
        let document = format!(
            r#"{{"issuer":"{}","jwks_uri":"{elsewhere}"}}"#,
            server.url()
        );
        server.answer(DISCOVERY, Answer::ok(document.as_bytes()));
        let error = fetch(&issuer).await.unwrap_err();
        assert_eq!(
            error.reason().code(),
            "keys.address",
            "{elsewhere}: {error}"
        );
    }
    assert_eq!((server.asked(JWKS), trap.connections()), (0, 0));
    server.discover(&trap.jwks_url());
    insta::assert_snapshot!(fetch(&issuer).await.unwrap_err(), @"`jwks_uri` in the discovery document is on another host than the issuer; name that host in `key_hosts` if it is right");
    issuer.key_hosts = vec![format!("localhost:{other}")];
    assert_eq!(fetch(&issuer).await.unwrap(), EMPTY);
    assert_eq!(trap.asked(JWKS), 1);
}

/// T-57
#[tokio::test]
async fn certificates_are_checked() {
    for certificate in [
        Certificate::OtherName,
        Certificate::Expired,
        Certificate::NotYet,
        Certificate::SelfSigned,
    ] {
        let server = HostileIssuer::start_with(certificate).await;
        server.discover(&server.jwks_url());
        let error = fetch(&server.trusted()).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("invalid peer certificate: "),
            "{certificate:?}: {text}"
        );
        assert_eq!((server.connections(), server.requests().len()), (1, 0));
    }
    let (server, other) = (
        HostileIssuer::publishing(EMPTY).await,
        HostileIssuer::publishing(EMPTY).await,
    );
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
    // The authority of one issuer is not the other's, also not after it was used.
    assert!(fetch(&other.trusted()).await.is_ok());
    issuer.ca = None;
    assert!(fetch(&issuer).await.is_err());
    assert_eq!((server.handshakes(), server.requests().len()), (0, 0));
}

/// T-57
#[tokio::test]
async fn tls_before_1_2_is_refused_without_a_request() {
    for version in [[3, 0], [3, 1], [3, 2]] {
        let trap = Trap::saying(old_server_hello(version)).await;
        let error = fetch(&at(&trap)).await.unwrap_err();
        assert!(matches!(error, KeyError::Fetch(_)), "{error}");
        let heard = trap.heard();
        assert_eq!(heard.len(), 1, "not tried again with less");
        let records = records(&heard[0]);
        // The client's first words offer 1.3 and 1.2 and nothing else (RFC 8446 section 4.2.1).
        let [(22, hello), rest @ ..] = records.as_slice() else {
            panic!("no handshake: {records:?}");
        };
        let offers = |versions: [u8; 4]| {
            let extension = [&[0, 43, 0, 5, 4], versions.as_slice()].concat();
            hello.windows(9).any(|found| found == extension)
        };
        assert!(offers([3, 4, 3, 3]) || offers([3, 3, 3, 4]));
        assert!(rest.iter().all(|(kind, _)| *kind == 21), "{rest:?}");
    }
}

/// The TLS records in a stream (RFC 8446 section 5.1): kind and fragment.
fn records(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut records = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        records.push((*kind, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    records
}

/// The trap as an issuer.
fn at(trap: &Trap) -> TrustedIssuer {
    let url = format!("https://localhost:{}", trap.address.port());
    let mut issuer = TrustedIssuer::new("ci", &url);
    issuer.networks = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    issuer
}

/// T-57
#[tokio::test]
async fn plain_http_is_never_spoken() {
    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}";
    let trap = Trap::saying(reply.to_vec()).await;
    let mut issuer = at(&trap);
    assert!(fetch(&issuer).await.is_err());
    assert_eq!(trap.heard().len(), 1);
    assert!(trap.heard()[0].starts_with(&[22, 3]), "a TLS handshake");
    issuer.url = issuer.url.replace("https:", "http:");
    assert!(fetch(&issuer).await.is_err());
    assert_eq!(trap.heard().len(), 1, "no connection at all");
}

/// T-58
#[tokio::test]
async fn a_connection_that_never_stands_is_given_up_in_three_seconds() {
    let trap = Trap::start().await;
    insta::assert_snapshot!(fetch(&at(&trap)).await.unwrap_err(), @"connecting for the discovery document timed out after 3 s");
    assert_eq!(trap.heard().len(), 1);
}

/// T-56
#[tokio::test]
async fn a_name_that_points_inward_is_not_connected_to() {
    let server = HostileIssuer::publishing(EMPTY).await;
    let mut issuer = server.trusted();
    issuer.networks.clear();
    issuer.url = format!("https://ci.example:{}", server.port);
    for inward in [
        "0.0.0.0",
        "10.0.0.1",
        "10.255.255.254",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.1.2.3",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.254",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::10.0.0.1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
        "2002:c0a8:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        let resolver = Arc::new(FakeResolver::answering(&[&[inward]]));
        let error = fetch_by(&resolver, &issuer).await.unwrap_err();
        assert!(error.to_string().ends_with(NO_ADDRESS), "{inward}: {error}");
        assert_eq!(resolver.asked(), ["ci.example"]);
    }
    assert_eq!(server.connections(), 0);
}

/// T-56
#[tokio::test]
async fn an_address_as_host_is_refused_without_a_lookup() {
    let server = HostileIssuer::publishing(EMPTY).await;
    let resolver = Arc::new(FakeResolver::answering(&[&["127.0.0.1"]]));
    let mut issuer = server.trusted();
    issuer.networks.clear();
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "8.8.8.8",
    ] {
        issuer.url = format!("https://{host}:{}", server.port);
        let error = fetch_by(&resolver, &issuer).await.unwrap_err();
        assert_eq!(error.reason().code(), "keys.address", "{host}: {error}");
    }
    assert_eq!(server.connections(), 0);
    assert!(resolver.asked().is_empty());
}

/// An issuer whose name only the fake resolver knows.
async fn named() -> (HostileIssuer, TrustedIssuer) {
    let server = HostileIssuer::publishing(EMPTY).await;
    let mut issuer = server.trusted();
    issuer.networks = vec!["127.0.0.1/32".parse().unwrap()];
    issuer.url = format!("https://ci.example:{}", server.port);
    let document = serde_json::json!({
        "issuer": issuer.url, "jwks_uri": format!("{}{JWKS}", issuer.url),
    });
    server.answer(DISCOVERY, Answer::ok(document.to_string().as_bytes()));
    (server, issuer)
}

/// T-56
#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_checked() {
    let (server, issuer) = named().await;
    // Not in the issuer's networks, and at home all the same: whoever tries it is heard there.
    let trap = Trap::at(&format!("127.0.0.2:{}", server.port), Vec::new()).await;
    // Were a name looked up again between the check and the connection, the last answer would count.
    let inward: &[&str] = &["127.0.0.2"];
    let mixed: &[&str] = &["127.0.0.2", "169.254.169.254", "127.0.0.1", "::1"];
    let resolver = Arc::new(FakeResolver::answering(&[mixed, mixed, inward]));
    assert_eq!(fetch_by(&resolver, &issuer).await.unwrap(), EMPTY);
    assert_eq!(resolver.asked(), ["ci.example"; 2]);
    assert_eq!((server.connections(), server.requests().len()), (2, 2));
    assert_eq!(trap.heard().len(), 0);
}

/// T-56
#[tokio::test]
async fn a_name_rebound_between_the_two_documents_leads_nowhere() {
    let (server, issuer) = named().await;
    let resolver = Arc::new(FakeResolver::answering(&[
        &["127.0.0.1"],
        &["169.254.169.254", "127.0.0.2"],
    ]));
    let error = fetch_by(&resolver, &issuer).await.unwrap_err();
    assert!(error.to_string().ends_with(NO_ADDRESS), "{error}");
    assert_eq!((server.asked(DISCOVERY), server.asked(JWKS)), (1, 0));
    assert_eq!(resolver.asked(), ["ci.example"; 2]);
}

/// T-56
#[tokio::test]
async fn a_name_without_addresses_is_a_failed_fetch() {
    let (server, issuer) = named().await;
    let resolver = Arc::new(FakeResolver::empty());
    assert!(fetch_by(&resolver, &issuer).await.is_err());
    assert_eq!(server.connections(), 0);
}

/// T-53, T-67
#[tokio::test]
async fn an_issuer_that_is_not_configured_costs_no_lookup_and_no_connection() {
    let (server, issuer) = named().await;
    let resolver = Arc::new(FakeResolver::answering(&[&["127.0.0.1"]]));
    let port = server.port;
    let issuer = Arc::new(issuer);
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
    let fetch = Arc::new(HttpsFetch::with_lookup(Arc::clone(&resolver) as Arc<_>));
    let keys = Arc::new(RemoteKeys::with_fetch(
        &[Arc::clone(&issuer)],
        Arc::clone(&clock),
        fetch,
    ));
    let verifier = Verifier::new(
        AUDIENCE.to_owned(),
        vec![Arc::clone(&issuer)],
        Arc::clone(&keys) as Arc<_>,
        clock,
    );
    let key = TestKey::rsa("k1");
    let reason = async |iss: &str| {
        let claims = claims_with("iss", Some(iss.into()));
        let token = SubjectToken::new(key.token(&claims));
        verifier.verify(&token).await.unwrap_err().reason().code()
    };
    let invented = (0..1_000).map(|number| format!("https://{number}.example"));
    let near = [
        format!("https://ci.example:{port}/"),
        format!("https://CI.example:{port}"),
        format!("http://ci.example:{port}"),
        format!("http://x?https://ci.example:{port}"),
        format!("https://evil.example/https://ci.example:{port}"),
        format!("https://ci.example:{port}@evil.example"),
        format!("https://ci.example:{port}#"),
        format!("https://localhost:{port}"),
        format!("https://127.0.0.1:{port}"),
        "file:///etc/passwd".to_owned(),
    ];
    for iss in invented.chain(near) {
        assert_eq!(reason(&iss).await, "token.issuer", "{iss}");
    }
    assert!(resolver.asked().is_empty(), "{:?}", resolver.asked());
    assert_eq!(server.connections(), 0);
    assert_eq!(keys.status().len(), 1);
    // That very server is asked when its own issuer is named.
    assert_eq!(reason(&issuer.url).await, "token.key_unknown");
    assert_eq!(server.requests().len(), 2);
}

/// T-58, T-61
#[tokio::test]
async fn an_issuer_that_hangs_delays_no_other() {
    let trap = Trap::start().await;
    let server = HostileIssuer::publishing(EMPTY).await;
    let issuers = [Arc::new(at(&trap)), Arc::new(server.trusted())];
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(Timestamp::from_unix(NOW)));
    let keys = Arc::new(RemoteKeys::with_fetch(
        &issuers,
        clock,
        Arc::new(HttpsFetch::new()),
    ));
    let hanging = tokio::spawn({
        let (keys, issuer) = (Arc::clone(&keys), Arc::clone(&issuers[0]));
        async move { keys.keys(&issuer, Some("k1")).await }
    });
    while trap.heard().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..100 {
        assert!(keys.keys(&issuers[1], None).await.is_ok());
    }
    assert!(!hanging.is_finished(), "all that while the other one hangs");
    assert_eq!(
        hanging.await.unwrap().unwrap_err().reason().code(),
        "keys.unavailable"
    );
}
