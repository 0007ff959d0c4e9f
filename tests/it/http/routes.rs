//! Which paths there are, with which methods, and what every answer looks like.

use crate::support::TestBroker;
use crate::support::client::{Answer, get, request, send};
use crate::support::leaks::Log;

const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
];

const PUBLIC_GET: [&str; 4] = [
    "/healthz",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
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

/// Every body there is for a path that is not served, a method that is not taken, or a request that
/// says nothing: no path adds a word of its own.
fn body_of(status: u16, allowed: &str) -> String {
    let error = |description: &str, reason: &str| {
        format!(
            r#"{{"error":"invalid_request","error_description":"{description}","reason":"{reason}","request_id":"ID","retryable":false}}"#
        )
    };
    match status {
        404 => error(
            "nothing is served at this path; the token endpoint is POST /token",
            "request.path",
        ),
        405 => error(
            &format!("this path does not allow this method; it allows {allowed}"),
            "request.method",
        ),
        415 => error(
            &format!("the media type must be {allowed}, in UTF-8"),
            "request.media_type",
        ),
        other => panic!("no request here is answered with {other}"),
    }
}

fn body_without_id(answer: &Answer) -> String {
    let id = answer.header("x-request-id").unwrap();
    answer.body.replace(id, "ID")
}

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
            &[
                "/token",
                "/api/credentials",
                "/api/explain",
                "/revoke",
                "/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server",
                "/.well-known/jwks.json",
            ][..],
        ),
    ] {
        for method in METHODS {
            let check = |answer: &Answer, path: &str, status: u16, allowed: &str| {
                assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
                assert_eq!(answer.header("content-type"), Some("application/json"));
                let body = match method {
                    "HEAD" => String::new(),
                    _ => body_of(status, allowed),
                };
                assert_eq!(body_without_id(answer), body, "{method} {path}");
                let allow = (status == 405).then_some(allowed);
                assert_eq!(answer.header("allow"), allow, "{method} {path}");
            };
            for path in NOWHERE.iter().chain(hidden) {
                let answer = request(address, method, path, &[], b"").await;
                if (*path, method, address) == ("/", "OPTIONS", broker.public()) {
                    // A load balancer's check of health.
                    let id = answer.header("x-request-id").unwrap();
                    let body = format!(r#"{{"status":"ok","request_id":"{id}"}}"#);
                    assert_eq!((answer.status, &answer.body), (200, &body));
                    continue;
                }
                check(&answer, path, 404, "");
            }
            for path in gets {
                let answer = request(address, method, path, &[], b"").await;
                if matches!(method, "GET" | "HEAD") {
                    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
                } else {
                    check(&answer, path, 405, "GET, HEAD");
                }
            }
            for path in posts {
                let answer = request(address, method, path, &[], b"").await;
                if method == "POST" {
                    // An empty one is refused for its media type: so the path took the method.
                    let media = match *path {
                        "/token" | "/revoke" => "application/x-www-form-urlencoded",
                        _ => "application/json",
                    };
                    check(&answer, path, 415, media);
                } else {
                    check(&answer, path, 405, "POST");
                }
            }
        }
    }
}

/// T-100
#[tokio::test]
async fn no_page_shows_settings_policies_keys_or_memory() {
    let broker = TestBroker::start().await;
    let names = |answer: &Answer| {
        let json = answer.json();
        let names = json.as_object().unwrap().keys().cloned();
        names.collect::<Vec<_>>().join(" ")
    };
    let metadata = get(broker.public(), "/.well-known/openid-configuration").await;
    insta::assert_snapshot!(names(&metadata), @"grant_types_supported id_token_signing_alg_values_supported issuer jwks_uri response_types_supported revocation_endpoint revocation_endpoint_auth_methods_supported subject_types_supported token_endpoint token_endpoint_auth_methods_supported");
    let ready = get(broker.operator(), "/readyz").await;
    insta::assert_snapshot!(names(&ready), @"clock issuers policies ready reload replay replay_store request_id sinks targets");
    insta::assert_snapshot!(ready.json()["policies"].as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" "), @"revision");
    let metrics = get(broker.operator(), "/metrics").await;
    for line in metrics.body.lines().filter(|line| !line.is_empty()) {
        let name = ["# HELP ", "# TYPE "]
            .iter()
            .find_map(|start| line.strip_prefix(start));
        assert!(name.unwrap_or(line).starts_with("hallpass_"), "{line}");
    }
    for answer in [&metadata, &ready, &metrics] {
        for inner in ["root.key", "policies/", "shop-deploy", "702114589", "hp_"] {
            assert!(!answer.body.contains(inner), "{inner}: {}", answer.body);
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
            format!(r#"{{"status":"ok","request_id":"{id}"}}"#)
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

/// T-12, T-118
#[tokio::test]
async fn a_web_page_gets_no_permission_cookie_redirect_or_html() {
    let broker = TestBroker::start().await;
    let preflight = [
        ("Origin", "https://evil.example"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    for address in [broker.public(), broker.operator()] {
        let paths = PUBLIC_GET.iter().chain(&PUBLIC_POST).chain(&OPERATOR_GET);
        for path in paths.chain(&NOWHERE) {
            for method in METHODS {
                let answer = request(address, method, path, &preflight, b"").await;
                let head = answer.head.to_ascii_lowercase();
                for header in ["access-control-", "set-cookie", "location:", "text/html"] {
                    assert!(!head.contains(header), "{method} {path}: {head}");
                }
                assert!(!(300..400).contains(&answer.status), "{method} {path}");
                assert!(!answer.body.contains('<'), "{method} {path}");
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

/// The client that the log names for one exchange with these headers.
async fn logged_client(broker: &TestBroker, log: &Log, headers: &[(&str, &str)]) -> String {
    let token = broker.github(|_| {});
    let answer = broker
        .exchange_with(&token, "deploy-api", &[], headers)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let id = answer.header("x-request-id").unwrap().to_owned();
    let text = log.text();
    let line = text.lines().find(|line| line.contains(&id)).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["client"].as_str().unwrap().to_owned()
}

/// T-09
#[tokio::test]
async fn forwarding_headers_change_the_log_only_behind_a_configured_proxy() {
    let log = Log::default();
    let subscriber = hallpass::http::log_subscriber("info", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let forged = [
        ("X-Forwarded-For", "192.0.2.7"),
        ("Forwarded", "for=192.0.2.8"),
        ("X-Real-IP", "192.0.2.9"),
        ("X-Client-IP", "192.0.2.10"),
    ];
    let alone = TestBroker::start().await;
    assert_eq!(logged_client(&alone, &log, &forged).await, "127.0.0.1");
    let behind = TestBroker::builder()
        .listen("proxies: [127.0.0.0/8]")
        .start()
        .await;
    assert_eq!(logged_client(&behind, &log, &forged).await, "192.0.2.7");
    for (written, client) in [
        ("192.0.2.7:51234", "192.0.2.7"),
        ("[2001:db8::7]:443, 127.0.0.9:80", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
    ] {
        let headers = [("X-Forwarded-For", written)];
        assert_eq!(logged_client(&behind, &log, &headers).await, client);
    }
    for ignored in &forged[1..] {
        let seen = logged_client(&behind, &log, std::slice::from_ref(ignored)).await;
        assert_eq!(seen, "127.0.0.1", "{ignored:?}");
    }
}

/// T-09
#[tokio::test]
async fn forwarding_headers_buy_no_other_share_of_the_rate() {
    let broker = TestBroker::builder()
        .listen("proxies: [127.0.0.0/8]")
        .start()
        .await;
    let mut statuses = Vec::new();
    for n in 0..61 {
        let address = format!("192.0.2.{n}");
        let headers = [
            ("X-Forwarded-For", address.as_str()),
            ("X-Forwarded-Host", "x"),
        ];
        let token = broker.github(|_| {});
        let answer = broker
            .exchange_with(&token, "deploy-api", &[], &headers)
            .await;
        statuses.push(answer.status);
    }
    assert_eq!(statuses.pop(), Some(429));
    assert!(statuses.iter().all(|status| *status == 200));
}
