//! Keys fetched over HTTPS, as a broker in production has them.

use hallpass::dev::issuer::Issuer;

use crate::support::TestBroker;
use crate::support::client::get;

#[tokio::test]
async fn a_token_is_verified_with_keys_from_its_issuers_own_server() {
    let issuer = Issuer::start("").await.unwrap();
    let broker = TestBroker::builder().github(&issuer).start().await;
    let answer = broker
        .exchange(&TestBroker::token_of(&issuer), "deploy-api")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let ready = get(broker.operator(), "/readyz").await.json();
    assert_eq!(ready["issuers"]["github"]["usable"], true, "{ready}");
    let metrics = get(broker.operator(), "/metrics").await.body;
    let fetches = r#"hallpass_key_fetches_total{issuer="github",outcome="ok"}"#;
    assert!(metrics.contains(fetches), "{metrics}");
}

/// T-68
#[tokio::test]
async fn an_issuer_that_is_down_is_503_for_its_own_jobs_and_told_by_readiness() {
    let issuer = Issuer::start("").await.unwrap();
    let token = TestBroker::token_of(&issuer);
    let builder = TestBroker::builder().github(&issuer);
    drop(issuer);
    let broker = builder.start().await;
    let answer = broker.exchange(&token, "deploy-api").await;
    assert_eq!(
        (answer.status, answer.text("/error").as_str()),
        (503, "temporarily_unavailable")
    );
    assert!(answer.header("retry-after").is_some());
    let ready = get(broker.operator(), "/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json()["issuers"]["github"]["usable"],
        false,
        "{}",
        ready.body
    );
}
