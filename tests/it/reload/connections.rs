//! What a reload keeps of its connections to databases and of issuers' keys.

use std::fs;

use hallpass::dev::issuer::Issuer;
use hallpass::dev::stage::Stage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{broker, changed_from, readiness, revision, swapped, write_policies};
use crate::support::TestBroker;
use crate::support::broker::POLICIES;
use crate::support::client::{Answer, PATIENCE, get};
use crate::support::wait::until;

/// The server's processes that serve the broker's own logins.
async fn sessions(stage: &Stage) -> Vec<i32> {
    let server = stage.postgres.connect("postgres").await.unwrap();
    let sql = "SELECT pid FROM pg_stat_activity WHERE usename IN ('hallpass', 'hallpass_clean') ORDER BY pid";
    let rows = server.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// T-77
#[tokio::test]
async fn a_target_keeps_its_connections_until_it_is_removed() {
    let stage = Stage::start().await.unwrap();
    until("the sweep has connected", async || {
        let ready = get(stage.operator(), "/readyz").await.json();
        ready["targets"]["shop-db"]["reachable"] == true
    })
    .await;
    let before = sessions(&stage).await;
    assert!(!before.is_empty());
    let version = stage.broker().exchange();
    let file = stage.folder().join("policies/shop.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}# changed\n")).unwrap();
    stage.broker().reload();
    until("other policies serve", async || {
        stage.broker().exchange().components().policies.revision()
            != version.components().policies.revision()
    })
    .await;
    drop(version);
    let kept = sessions(&stage).await;
    assert!(
        before.iter().all(|pid| kept.contains(pid)),
        "{before:?} {kept:?}"
    );
    let ready = get(stage.operator(), "/readyz").await.json();
    assert_eq!(ready["targets"]["shop-db"]["reachable"], true, "{ready}");
    // Without the target, and without what needs it.
    let root =
        "issuers:\n  github: { provider: github, tenants: [ { owner: acme, owner_id: \"1\" } ] }\n";
    let policies = stage.folder().join("policies");
    for entry in fs::read_dir(&policies).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
    }
    fs::write(policies.join("root.yaml"), root).unwrap();
    let settings = stage.folder().join("hallpass.yaml");
    let mut text: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&settings).unwrap()).unwrap();
    text.as_object_mut().unwrap().remove("targets");
    fs::write(&settings, text.to_string()).unwrap();
    stage.broker().reload();
    until("its connections are closed", async || {
        sessions(&stage).await.is_empty()
    })
    .await;
    let ready = get(stage.operator(), "/readyz").await.json();
    assert_eq!(ready["targets"], serde_json::json!({}), "{ready}");
    assert_eq!(
        ready["reload"]["problems"],
        serde_json::json!([]),
        "{ready}"
    );
    stage.stop().await;
}

/// T-107
#[tokio::test]
async fn a_broker_that_gets_no_connection_says_so_until_it_does() {
    let stage = Stage::start().await.unwrap();
    let target = async || {
        let ready = get(stage.operator(), "/readyz").await.json();
        ready["targets"]["shop-db"].clone()
    };
    until("the sweep has connected", async || {
        target().await["reachable"] == true
    })
    .await;
    let fine = target().await["connections"]["broker"].clone();
    assert_eq!(fine["most"], 6, "{fine}");
    assert!(fine["problem"].is_null(), "{fine}");
    let metrics = async || get(stage.operator(), "/metrics").await.body;
    let open = format!(
        "hallpass_target_connections{{target=\"shop-db\",login=\"broker\"}} {}",
        fine["open"]
    );
    let text = metrics().await;
    assert!(text.contains(&open), "{text}");
    let closed = "hallpass_leases{target=\"shop-db\",state=\"login closed\"} 0";
    assert!(text.contains(closed), "{text}");
    let server = stage.postgres.connect("postgres").await.unwrap();
    let limit = async |limit: &str| {
        let sql = format!(
            "ALTER ROLE hallpass CONNECTION LIMIT {limit}; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'hallpass'"
        );
        server.batch_execute(&sql).await.unwrap();
    };
    limit("0").await;
    until("the broker says so", async || {
        let target = target().await;
        let problem = target["connections"]["broker"]["problem"].as_str();
        problem.is_some_and(|text| text.contains("login `hallpass` has all the connections"))
            && target["reachable"] == false
    })
    .await;
    let text = metrics().await;
    let refused = text.lines().find(|line| {
        line.starts_with("hallpass_target_connections_refused_total{target=\"shop-db\",login=\"broker\",reason=\"login_limit\"}")
    });
    assert!(!refused.unwrap().ends_with(" 0"), "{text}");
    limit("-1").await;
    until("it is reachable again", async || {
        let target = target().await;
        target["reachable"] == true && target["connections"]["broker"]["problem"].is_null()
    })
    .await;
    stage.stop().await;
}

/// T-77
#[tokio::test]
async fn a_target_that_is_added_shows_at_once() {
    let broker = broker().real_targets().start().await;
    swapped(&broker, || {
        super::write_settings(&broker, |text| {
            let (before, after) = text.split_once("  shop-db:").unwrap();
            let (line, _) = after.split_once('\n').unwrap();
            let other = line.replace("db.test", "other.test");
            format!("{before}  other-db:{other}\n  shop-db:{after}")
        });
    })
    .await;
    let ready = readiness(&broker).await;
    let targets: Vec<_> = ready["targets"].as_object().unwrap().keys().collect();
    assert_eq!(targets, ["other-db", "shop-db"]);
}

/// T-64, T-77
#[tokio::test]
async fn an_issuer_keeps_its_keys_through_a_reload_and_a_told_reload_fetches_them() {
    let issuer = Issuer::start("").await.unwrap();
    let broker = broker().github(&issuer).start().await;
    assert_eq!(
        broker
            .exchange(&TestBroker::token_of(&issuer), "deploy-api")
            .await
            .status,
        200
    );
    until("the keys are fetched", async || {
        issuer.key_set_requests() >= 1
    })
    .await;
    let fetched = issuer.key_set_requests();
    let before = revision(&broker);
    write_policies(&broker, &format!("{POLICIES}# changed\n"));
    changed_from(&broker, &before).await;
    assert_eq!(
        broker
            .exchange(&TestBroker::token_of(&issuer), "deploy-api")
            .await
            .status,
        200
    );
    assert_eq!(issuer.key_set_requests(), fetched);
    // The key is withdrawn: nobody asks for another, and still it must stop.
    let stolen = TestBroker::token_of(&issuer);
    issuer.rotate(false).unwrap();
    broker.reload();
    until("the keys are fetched anew", async || {
        issuer.key_set_requests() > fetched
    })
    .await;
    until("the withdrawn key is refused", async || {
        let answer = broker.exchange(&stolen, "shop-db/read").await;
        answer.reason() == "token.key_unknown"
    })
    .await;
}

/// T-68, T-77
#[tokio::test]
async fn the_keys_of_an_issuer_that_is_added_are_fetched() {
    let issuer = Issuer::start("").await.unwrap();
    let gitlab = POLICIES
        .lines()
        .find(|line| line.starts_with("  gitlab:"))
        .unwrap();
    let broker = broker()
        .github(&issuer)
        .policies(&format!("issuers:\n{gitlab}\n"))
        .start()
        .await;
    let before = revision(&broker);
    let refused = broker
        .exchange(&TestBroker::token_of(&issuer), "deploy-api")
        .await;
    assert_eq!(refused.reason(), "token.issuer", "{}", refused.body);
    write_policies(&broker, POLICIES);
    changed_from(&broker, &before).await;
    let answer = broker
        .exchange(&TestBroker::token_of(&issuer), "deploy-api")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// T-77
#[tokio::test]
async fn a_connection_that_stays_open_is_answered_by_the_new_version() {
    let broker = broker().start().await;
    let mut stream = TcpStream::connect(broker.public()).await.unwrap();
    let mut ask = async || {
        let request = "GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"]}") {
            let mut buffer = [0; 4_096];
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await;
            let read = read.unwrap().unwrap();
            assert_ne!(read, 0, "the connection was closed");
            text.extend_from_slice(&buffer[..read]);
        }
        let answer = Answer::parse(&String::from_utf8(text).unwrap()).unwrap();
        answer.json()["keys"].clone()
    };
    let before = ask().await;
    swapped(&broker, || {
        super::write_settings(&broker, super::with("signing: { generation: 2 }"));
    })
    .await;
    assert_ne!(ask().await, before);
}
