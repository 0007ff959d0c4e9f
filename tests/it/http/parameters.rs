//! The token endpoint's parameters: sent twice, in the wrong place, of the wrong kind.

use serde_json::json;

use crate::support::TestBroker;
use crate::support::client::{form, post_form, request};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const FORM: &str = "application/x-www-form-urlencoded";

fn good(token: &str) -> String {
    form(&[
        ("grant_type", GRANT),
        ("subject_token", token),
        ("subject_token_type", ID_TOKEN),
        ("audience", "deploy-api"),
    ])
}

/// T-05
#[tokio::test]
async fn a_parameter_sent_twice_is_refused() {
    let broker = TestBroker::start().await;
    let base = good("a.b.c");
    for (name, value, escaped) in [
        ("grant_type", GRANT, "grant%5Ftype"),
        ("subject_token", "a.b.c", "subject%5ftoken"),
        ("subject_token_type", ID_TOKEN, "subject_token_typ%65"),
    ] {
        for again in [value, "other", ""] {
            for spelled in [name, escaped] {
                let body = format!("{base}&{spelled}={again}");
                let answer = post_form(broker.public(), "/token", &body).await;
                assert_eq!(
                    (answer.status, answer.reason().as_str()),
                    (400, "request.repeated"),
                    "{body}"
                );
            }
        }
    }
    for name in [
        "requested_token_type",
        "scope",
        "actor_token",
        "actor_token_type",
    ] {
        let body = format!("{base}&{name}=a&{name}=b");
        let answer = post_form(broker.public(), "/token", &body).await;
        assert_eq!(answer.reason(), "request.repeated", "{body}");
    }
}

/// T-06
#[tokio::test]
async fn parameters_anywhere_but_in_a_form_body_are_refused() {
    let broker = TestBroker::start().await;
    let body = good("a.b.c");
    for (media, status) in [
        ("application/json", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/x-www-form-urlencoded; charset=utf-16", 415),
        ("text/plain", 415),
    ] {
        let headers = [("Content-Type", media)];
        let answer = request(broker.public(), "POST", "/token", &headers, body.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (status, "request.media_type")
        );
    }
    for path in [
        "/token?",
        "/token?subject_token=a.b.c",
        "/revoke?token=x",
        "/api/credentials?x",
    ] {
        let media = if path.starts_with("/api") {
            "application/json"
        } else {
            FORM
        };
        let headers = [("Content-Type", media)];
        let answer = request(broker.public(), "POST", path, &headers, body.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "request.query"),
            "{path}"
        );
    }
}

/// T-06
#[tokio::test]
async fn unknown_parameters_are_ignored_and_counted() {
    let broker = TestBroker::start().await;
    let body = format!("{}&colour=red&colour=blue", good(&broker.github(|_| {})));
    let answer = post_form(broker.public(), "/token", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let metrics = crate::support::client::get(broker.operator(), "/metrics").await;
    assert!(
        metrics.body.contains("hallpass_unknown_parameters_total 2"),
        "{}",
        metrics.body
    );
}

/// T-07
#[tokio::test]
async fn bytes_that_have_no_place_in_a_parameter_are_refused() {
    let broker = TestBroker::start().await;
    for broken in [
        "%ff",
        "%00",
        "%0a",
        "%ef%bf%bd",
        "%",
        "%zz",
        "\u{e4}",
        "%c3%a4",
    ] {
        for name in [
            "subject_token",
            "audience",
            "resource",
            "scope",
            "subject_token_type",
        ] {
            let body = format!(
                "grant_type={GRANT}&subject_token_type={ID_TOKEN}&subject_token=a.b.c&audience=x&scope=y"
            );
            let body = if body.contains(&format!("&{name}=")) {
                body.replace(&format!("&{name}="), &format!("&{name}={broken}"))
            } else {
                format!("{body}&{name}={broken}")
            };
            let answer = post_form(broker.public(), "/token", &body).await;
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (400, "request.encoding"),
                "{body}"
            );
        }
    }
}

/// T-11
#[tokio::test]
async fn other_kinds_of_tokens_and_grants_are_refused() {
    let broker = TestBroker::start().await;
    let with = |changes: &[(&str, &str)]| {
        let mut pairs = vec![
            ("grant_type", GRANT),
            ("subject_token", "a.b.c"),
            ("subject_token_type", ID_TOKEN),
            ("audience", "deploy-api"),
        ];
        for (name, value) in changes {
            pairs.retain(|(key, _)| key != name);
            pairs.push((name, value));
        }
        form(&pairs)
    };
    let urn = |kind: &str| format!("urn:ietf:params:oauth:token-type:{kind}");
    for kind in [
        "access_token",
        "refresh_token",
        "saml1",
        "saml2",
        "ID_TOKEN",
        "",
    ] {
        let body = with(&[("subject_token_type", &urn(kind))]);
        let answer = post_form(broker.public(), "/token", &body).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "request.token_type"),
            "{kind}"
        );
    }
    for kind in ["refresh_token", "saml1", "saml2", "id_token", "JWT"] {
        let body = with(&[("requested_token_type", &urn(kind))]);
        let answer = post_form(broker.public(), "/token", &body).await;
        assert_eq!(answer.reason(), "request.token_type", "{kind}");
    }
    for name in ["actor_token", "actor_token_type"] {
        let answer = post_form(broker.public(), "/token", &with(&[(name, "x")])).await;
        assert_eq!(answer.reason(), "request.token_type", "{name}");
    }
    for grant in [
        "client_credentials",
        "password",
        "authorization_code",
        "refresh_token",
    ] {
        let answer = post_form(broker.public(), "/token", &with(&[("grant_type", grant)])).await;
        assert_eq!(answer.text("/error"), "unsupported_grant_type", "{grant}");
    }
    for name in ["grant_type", "subject_token", "subject_token_type"] {
        let answer = post_form(broker.public(), "/token", &with(&[(name, "")])).await;
        assert_eq!(answer.reason(), "request.missing", "{name}");
        assert_eq!(
            answer.text("/error_description"),
            format!("parameter `{name}` is missing")
        );
    }
}

/// T-11
#[tokio::test]
async fn a_requested_type_must_be_the_credentials_own() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    let wanted = [("requested_token_type", "urn:hallpass:credential:postgres")];
    let answer = broker
        .exchange_with(&token, "deploy-api", &wanted, &[])
        .await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (400, "request.token_type")
    );
    let wanted = [(
        "requested_token_type",
        "urn:ietf:params:oauth:token-type:jwt",
    )];
    let answer = broker
        .exchange_with(&token, "deploy-api", &wanted, &[])
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// T-79
#[tokio::test]
async fn an_exchange_is_for_exactly_one_credential() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    for targets in [
        &[][..],
        &[("audience", "")],
        &[("audience", ""), ("audience", ""), ("resource", "")],
        &[("audience", "deploy-api"), ("audience", "shop-db/read")],
        &[("audience", "deploy-api"), ("audience", "deploy-api")],
        &[
            ("audience", "deploy-api"),
            ("resource", "https://deploy.acme.dev"),
        ],
        &[("resource", "https://deploy.acme.dev")],
    ] {
        let mut pairs = vec![
            ("grant_type", GRANT),
            ("subject_token", token.as_str()),
            ("subject_token_type", ID_TOKEN),
        ];
        pairs.extend_from_slice(targets);
        let answer = post_form(broker.public(), "/token", &form(&pairs)).await;
        assert_eq!(
            (answer.status, answer.text("/error").as_str()),
            (400, "invalid_target"),
            "{targets:?}"
        );
    }
    for near in [
        "deploy-api ",
        " deploy-api",
        "deploy-api/",
        "DEPLOY-API",
        "deploy-api\u{2e}",
    ] {
        let answer = broker.exchange(&token, near).await;
        assert_eq!(answer.text("/error"), "invalid_target", "{near:?}");
    }
    let nothing = broker.ask("/api/credentials", &token, &json!({})).await;
    assert_eq!(nothing.text("/error"), "invalid_target");
    assert_eq!(broker.events("intent").await.len(), 0);
}

#[tokio::test]
async fn the_json_door_refuses_what_it_does_not_know() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    for body in [
        json!({ "credential": "deploy-api", "tll": "10m" }),
        json!({ "credential": ["deploy-api"] }),
        json!({ "credential": "deploy-api", "scopes": "deploy:staging" }),
        json!({ "credential": "deploy-api", "ttl": 60 }),
        json!({ "credential": "deploy-api", "ttl": "60" }),
        json!({ "credential": "deploy-api", "ttl": -5 }),
        json!({ "credential": "deploy-api", "ttl": null }),
        json!({ "credential": "deploy-api", "ttl": 1.5 }),
    ] {
        let answer = broker.ask("/api/credentials", &token, &body).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    let headers = [
        ("Content-Type", "application/json"),
        ("Authorization", &format!("Bearer {token}")),
    ];
    for body in [
        &br#"{"credential":"deploy-api","credential":"shop-db/read"}"#[..],
        br#"["deploy-api"]"#,
        br#"{"credential":"deploy-api"} x"#,
        b"",
    ] {
        let answer = request(broker.public(), "POST", "/api/credentials", &headers, body).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "request.json")
        );
    }
    assert_eq!(broker.events("intent").await.len(), 0);
}
