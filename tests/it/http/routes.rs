//! Which paths there are, with which methods, and what every answer looks like.

use crate::support::TestBroker;
use crate::support::client::{Answer, get, request, send};

const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
];

const PUBLIC_GET: [&str; 3] = [
    "/healthz",
    "/.well-known/openid-configuration",
    "/.well-known/jwks.json",
];
const PUBLIC_POST: [&str; 4] = ["/token", "/api/credentials", "/api/explain", "/revoke"];
const OPERATOR_GET: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
const NOWHERE: [&str; 14] = [
    "/",
    "/token/",
    "//token",
    "/%74oken",
    "/Token",
    "/api",
    "/api/credentials/x",
    "/debug",
    "/debug/pprof",
    "/version",
    "/config",
    "/policies",
    "/.env",
    "/.well-known/",
];

/// T-100
#[tokio::test]
async fn only_the_listed_paths_take_only_the_listed_methods() {
    let broker = TestBroker::start().await;
    for (address, gets, posts, hidden) in [
        (
            broker.public(),
            &PUBLIC_GET[..],
            &PUBLIC_POST[..],
            &["/readyz", "/metrics"][..],
        ),
        (
            broker.operator(),
            &OPERATOR_GET[..],
            &[][..],
            &PUBLIC_POST[..],
        ),
    ] {
        for method in METHODS {
            for path in NOWHERE.iter().chain(hidden) {
                let answer = request(address, method, path, &[], b"").await;
                assert_eq!(answer.status, 404, "{method} {path}");
            }
            for path in gets {
                let answer = request(address, method, path, &[], b"").await;
                let wanted = if matches!(method, "GET" | "HEAD") {
                    200
                } else {
                    405
                };
                assert_eq!(answer.status, wanted, "{method} {path}: {}", answer.body);
                if wanted == 405 {
                    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
                    assert_eq!(answer.reason(), "request.method");
                }
            }
            for path in posts {
                let answer = request(address, method, path, &[], b"").await;
                // An empty POST is refused for its media type, so the path took the method.
                let wanted = if method == "POST" { 415 } else { 405 };
                assert_eq!(answer.status, wanted, "{method} {path}: {}", answer.body);
            }
        }
    }
}

/// T-100
#[tokio::test]
async fn health_says_ok_and_nothing_else() {
    let broker = TestBroker::start().await;
    for address in [broker.public(), broker.operator()] {
        let answer = get(address, "/healthz").await;
        let id = answer.text("/request_id");
        assert_eq!(
            answer.body,
            format!(r#"{{"request_id":"{id}","status":"ok"}}"#)
        );
    }
}

#[tokio::test]
async fn every_answer_is_json_with_its_id_and_not_to_be_cached() {
    let broker = TestBroker::start().await;
    for (method, path) in [
        ("GET", "/healthz"),
        ("GET", "/nowhere"),
        ("PUT", "/token"),
        ("POST", "/token"),
    ] {
        let answer = request(broker.public(), method, path, &[], b"").await;
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{path}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        let id = answer.text("/request_id");
        assert!(id.starts_with("req_"), "{path}");
        assert_eq!(answer.header("x-request-id"), Some(id.as_str()), "{path}");
    }
}

/// T-12
#[tokio::test]
async fn a_web_page_gets_no_permission_cookie_redirect_or_html() {
    let broker = TestBroker::start().await;
    let preflight = [
        ("Origin", "https://evil.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    for address in [broker.public(), broker.operator()] {
        for path in ["/token", "/api/credentials", "/metrics", "/healthz", "/"] {
            for method in ["OPTIONS", "GET", "POST"] {
                let answer = request(address, method, path, &preflight, b"").await;
                let head = answer.head.to_ascii_lowercase();
                for header in ["access-control-", "set-cookie", "location:", "text/html"] {
                    assert!(!head.contains(header), "{method} {path}: {head}");
                }
            }
        }
    }
}

/// T-88
#[tokio::test]
async fn our_metadata_names_our_key_set_and_both_may_be_cached_for_five_minutes() {
    let broker = TestBroker::start().await;
    let metadata = get(broker.public(), "/.well-known/openid-configuration").await;
    let issuer = TestBroker::issuer();
    assert_eq!(metadata.text("/issuer"), issuer);
    assert_eq!(
        metadata.text("/jwks_uri"),
        format!("{issuer}/.well-known/jwks.json")
    );
    let keys = get(broker.public(), "/.well-known/jwks.json").await;
    for answer in [metadata, keys] {
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    }
}

/// T-87
#[tokio::test]
async fn the_key_set_has_public_members_only() {
    let broker = TestBroker::start().await;
    let json = get(broker.public(), "/.well-known/jwks.json").await.json();
    assert_eq!(
        json.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["keys"]
    );
    let keys = json["keys"].as_array().unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        let mut members: Vec<_> = key
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    }
}

/// T-09
#[tokio::test]
async fn no_header_of_a_caller_changes_our_name() {
    let broker = TestBroker::start().await;
    let ask = "GET /.well-known/openid-configuration HTTP/1.1\r\nHost: evil.example\r\n\
               X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n\
               Connection: close\r\n\r\n";
    let answer = Answer::parse(&send(broker.public(), ask).await).unwrap();
    assert!(!answer.body.contains("evil"), "{}", answer.body);
}
