//! What standard OAuth clients send and expect (RFC 6749, 8414, 8693), without a word of ours.

use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::broker::POLICIES;
use crate::support::client::{Answer, form, get, post_form, request};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const DEPLOY: &str = "https://deploy.acme.dev/api";
const KEY: &str = "kW3vN8qYtR5mZ1xC7bL9dF2gH6jP4sQ0aE_uTiOyXnM";

/// [`POLICIES`] whose `deploy-api` may also be asked for by a URI.
fn with_resource() -> String {
    POLICIES.replacen(
        "    kind: jwt\n",
        &format!("    kind: jwt\n    resource: {DEPLOY}\n"),
        1,
    )
}

/// An exchange with exactly these parameters beside the token.
async fn exchange(broker: &TestBroker, token: &str, more: &[(&str, &str)]) -> Answer {
    let mut pairs = vec![
        ("grant_type", GRANT),
        ("subject_token", token),
        ("subject_token_type", ID_TOKEN),
    ];
    pairs.extend_from_slice(more);
    post_form(broker.public(), "/token", &form(&pairs)).await
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.text("/error"))
}

fn payload(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    let bytes = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes());
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

/// T-11
#[tokio::test]
async fn the_issued_type_is_the_one_that_was_asked_for() {
    let broker = TestBroker::start().await;
    for (asked, issued) in [
        (None, JWT),
        (Some(""), JWT),
        (Some(JWT), JWT),
        (Some(ACCESS_TOKEN), ACCESS_TOKEN),
        (
            Some("urn:hallpass:credential:jwt"),
            "urn:hallpass:credential:jwt",
        ),
    ] {
        let mut more = vec![("audience", "deploy-api")];
        more.extend(asked.map(|asked| ("requested_token_type", asked)));
        let answer = exchange(&broker, &broker.github(|_| {}), &more).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.text("/issued_token_type"), issued, "{asked:?}");
        assert_eq!(answer.text("/token_type"), "Bearer");
    }
    // A database login is no access token.
    let more = [
        ("audience", "shop-db/read"),
        ("requested_token_type", ACCESS_TOKEN),
    ];
    let answer = exchange(&broker, &broker.github(|_| {}), &more).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (400, "request.token_type")
    );
    assert_eq!(broker.database.minted(), 0);
}

/// T-11, T-79
#[tokio::test]
async fn a_client_that_sends_every_parameter_of_the_standard_gets_its_token() {
    let broker = TestBroker::start().await;
    // As google-auth and others build the form: all of it, whether it has a value or not.
    let more = [
        ("resource", ""),
        ("audience", "deploy-api"),
        ("audience", ""),
        ("scope", "deploy:staging"),
        ("requested_token_type", ACCESS_TOKEN),
        ("actor_token", ""),
        ("actor_token_type", ""),
        ("options", "{\"userProject\":\"acme\"}"),
        ("client_id", "ci"),
    ];
    let answer = exchange(&broker, &broker.github(|_| {}), &more).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.text("/issued_token_type"), ACCESS_TOKEN);
    assert_eq!(answer.text("/scope"), "deploy:staging");
    assert!(answer.json()["expires_in"].is_number());
}

/// T-79
#[tokio::test]
async fn a_credential_is_asked_for_by_its_name_or_by_its_uri_or_by_both() {
    let broker = TestBroker::builder()
        .policies(&with_resource())
        .start()
        .await;
    for target in [
        &[("resource", DEPLOY)][..],
        &[("resource", DEPLOY), ("audience", "")],
        &[("audience", "deploy-api"), ("resource", DEPLOY)],
        &[("audience", "deploy-api"), ("resource", "")],
    ] {
        let answer = exchange(&broker, &broker.github(|_| {}), target).await;
        assert_eq!(answer.status, 200, "{target:?}: {}", answer.body);
        assert_eq!(answer.text("/hallpass/credential/name"), "deploy-api");
        // What is minted is for the audience of the definition, by whichever name it was asked for.
        let claims = payload(&answer.text("/access_token"));
        assert_eq!(claims["aud"], "https://deploy.acme.dev");
    }
    let minted = broker.events("intent").await.len();
    for target in [
        &[("resource", "https://deploy.acme.dev/other")][..],
        // Compared byte for byte.
        &[("resource", "https://deploy.acme.dev/api/")],
        &[("resource", "https://DEPLOY.acme.dev/api")],
        &[("resource", "https://deploy.acme.dev/api#x")],
        &[("resource", "deploy-api")],
        &[("resource", "/api")],
        &[("audience", DEPLOY)],
        &[("resource", DEPLOY), ("resource", DEPLOY)],
        &[
            ("resource", DEPLOY),
            ("resource", "https://other.acme.dev/"),
        ],
        &[("audience", "shop-db/read"), ("resource", DEPLOY)],
        &[
            ("audience", "deploy-api"),
            ("resource", "https://other.acme.dev/"),
        ],
        &[
            ("audience", "shop-db/read"),
            ("resource", "https://other.acme.dev/"),
        ],
    ] {
        let answer = exchange(&broker, &broker.github(|_| {}), target).await;
        assert_eq!(
            code(&answer),
            (400, "invalid_target".to_owned()),
            "{target:?}: {}",
            answer.body
        );
    }
    let long = format!("https://deploy.acme.dev/{}", "a".repeat(256));
    let answer = exchange(&broker, &broker.github(|_| {}), &[("resource", &long)]).await;
    assert_eq!(code(&answer), (400, "invalid_target".to_owned()));
    assert_eq!(broker.events("intent").await.len(), minted);
}

/// T-79, T-82
#[tokio::test]
async fn a_stranger_learns_no_uri_and_which_name_belongs_to_it() {
    let broker = TestBroker::builder()
        .policies(&with_resource())
        .start()
        .await;
    let stranger = broker.github(|job| {
        job.repository = "evil/shop".to_owned();
        job.owner_id = "1".to_owned();
    });
    let first = exchange(&broker, &stranger, &[("audience", "no/such")]).await;
    assert_eq!(first.reason(), "policy.denied", "{}", first.body);
    for target in [
        &[("resource", DEPLOY)][..],
        &[("resource", "https://other.acme.dev/")],
        &[("audience", "deploy-api"), ("resource", DEPLOY)],
        &[
            ("audience", "deploy-api"),
            ("resource", "https://other.acme.dev/"),
        ],
        &[("audience", "no/such"), ("resource", DEPLOY)],
    ] {
        let answer = exchange(&broker, &stranger, target).await;
        assert_eq!(answer.without_id(), first.without_id(), "{target:?}");
        // Nor does anyone before the signature holds.
        let forged = exchange(&broker, "a.b.c", target).await;
        assert!(
            forged.reason().starts_with("token."),
            "{target:?}: {}",
            forged.body
        );
    }
}

/// T-80
#[tokio::test]
async fn an_empty_list_of_scopes_is_refused_at_every_door_and_an_empty_parameter_is_none() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    for scope in [" ", "   "] {
        let more = [("audience", "deploy-api"), ("scope", scope)];
        let answer = exchange(&broker, &token, &more).await;
        assert_eq!(
            code(&answer),
            (400, "invalid_scope".to_owned()),
            "{scope:?}"
        );
    }
    let plus = format!(
        "grant_type={GRANT}&subject_token={token}&subject_token_type={ID_TOKEN}&audience=deploy-api&scope=+"
    );
    let answer = post_form(broker.public(), "/token", &plus).await;
    assert_eq!(code(&answer), (400, "invalid_scope".to_owned()));
    for scopes in [json!([]), json!([""]), json!([" "])] {
        let body = json!({ "credential": "deploy-api", "scopes": scopes });
        for path in ["/api/credentials", "/api/explain"] {
            let answer = broker.ask(path, &token, &body).await;
            assert_eq!(
                code(&answer),
                (400, "invalid_scope".to_owned()),
                "{path} {scopes}"
            );
        }
    }
    assert_eq!(broker.events("intent").await.len(), 0);
    let more = [("audience", "deploy-api"), ("scope", "")];
    let answer = exchange(&broker, &token, &more).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.text("/scope"), "deploy:staging deploy:production");
}

/// T-110
#[tokio::test]
async fn scopes_in_another_order_are_the_same_request() {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| {});
    let headers = [("Idempotency-Key", KEY)];
    let ask = async |scope: &str| {
        let more = [("scope", scope)];
        let asked = broker.exchange_with(&token, "deploy-api", &more, &headers);
        let answer = asked.await;
        assert_eq!(answer.status, 200, "{scope}: {}", answer.body);
        (
            payload(&answer.text("/access_token")),
            answer.text("/scope"),
        )
    };
    let first = ask("deploy:production deploy:staging").await;
    for again in [
        "deploy:staging deploy:production",
        "deploy:staging  deploy:production deploy:staging",
    ] {
        assert_eq!(ask(again).await, first, "{again}");
    }
    // All that is granted is asked for, also by who names nothing.
    let all = broker
        .exchange_with(&token, "deploy-api", &[], &headers)
        .await;
    assert_eq!(all.status, 200, "{}", all.body);
    let body =
        json!({ "credential": "deploy-api", "scopes": ["deploy:production", "deploy:staging"] });
    let bearer = format!("Bearer {token}");
    let answer = request(
        broker.public(),
        "POST",
        "/api/credentials",
        &[
            ("Content-Type", "application/json"),
            ("Authorization", &bearer),
            ("Idempotency-Key", KEY),
        ],
        body.to_string().as_bytes(),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(payload(&answer.text("/credential/token")), first.0);
    assert_eq!(broker.events("outcome").await.len(), 5);
}

/// T-88
#[tokio::test]
async fn clients_of_oauth_find_the_endpoints_where_rfc_8414_says() {
    let broker = TestBroker::start().await;
    let answer = get(broker.public(), "/.well-known/oauth-authorization-server").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    let json = answer.json();
    let issuer = TestBroker::issuer();
    assert_eq!(json["issuer"], issuer);
    assert_eq!(json["token_endpoint"], format!("{issuer}/token"));
    assert_eq!(json["revocation_endpoint"], format!("{issuer}/revoke"));
    for methods in [
        "token_endpoint_auth_methods_supported",
        "revocation_endpoint_auth_methods_supported",
    ] {
        assert_eq!(json[methods], json!(["none"]), "{methods}");
    }
    let openid = get(broker.public(), "/.well-known/openid-configuration").await;
    assert_eq!(openid.json(), json);
}
