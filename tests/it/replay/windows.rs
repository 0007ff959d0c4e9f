//! `reuse: subject`: the tokens of one subject share a login while its window is open.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hallpass::broker::{self, Overrides, Running};
use hallpass::clock::{Clock as _, SystemClock};
use hallpass::config::Settings;
use hallpass::dev::stage::Stage;
use hallpass::token::TrustedIssuer;
use hallpass::token::keys::FileKeys;
use serde_json::{Value, json};

use crate::support::TestBroker;
use crate::support::client::{Answer, form, post_form};
use crate::support::database::Mood;
use crate::support::leaks::Log;
use crate::support::redis::Redis;
use crate::support::tokens::{AUDIENCE, ISSUER, TestKey, claims, jwks};

const POLICIES: &str = r#"
issuers:
  own-ci:
    provider: generic
    url: https://ci.example
    facts: { project: "/sub", ref: "/ref" }
    reuse: subject
credentials:
  shop-db/read:
    kind: postgres
    target: shop-db
    group: shop_readers
    max_ttl: 15m
    owner: team-shop
    purpose: reports
    class: moderate
  shop-db/critical:
    kind: postgres
    target: shop-db
    group: shop_readers
    max_ttl: 15m
    owner: team-shop
    purpose: audits
    class: critical
  deploy-api:
    kind: jwt
    audience: https://deploy.acme.dev
    max_ttl: 10m
    owner: team-platform
    purpose: calls to the deploy service
    class: moderate
policies:
  - name: pollers
    issuer: own-ci
    when: { project: { glob: "poller-*" } }
    grant:
      - { credential: shop-db/read, ttl: 15m }
      - { credential: shop-db/critical, ttl: 15m }
      - { credential: deploy-api, ttl: 5m }
"#;
const READ: &str = "shop-db/read";
const KEY: &str = "Wn5Rk9Tq2Lz7Vb4Mc8Jd3Hf6Gs1Pa0Yx";

fn token_of(key: &TestKey, subject: &str, id: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims();
    claims["sub"] = json!(subject);
    claims["jti"] = json!(id);
    claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 3_600);
    change(&mut claims);
    key.token(&claims)
}

fn login(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let user = answer.text("/hallpass/credential/username");
    (user, answer.text("/hallpass/expires_at"))
}

struct World {
    broker: TestBroker,
    _redis: Redis,
}

impl World {
    async fn start() -> Self {
        let redis = Redis::start();
        let builder = TestBroker::builder().policies(POLICIES);
        let broker = builder.setting(&Redis::setting(redis.port())).start().await;
        let world = Self {
            broker,
            _redis: redis,
        };
        crate::support::wait::until("the store can be used", async || {
            let store = &world.broker.components().used_tokens;
            store.status().problem.is_none()
        })
        .await;
        world
    }

    fn token(&self, subject: &str, id: &str) -> String {
        token_of(&self.broker.key, subject, id, |_| {})
    }

    async fn get(&self, subject: &str, id: &str) -> Answer {
        let token = self.token(subject, id);
        self.broker.exchange(&token, READ).await
    }
}

/// T-390
#[tokio::test]
async fn a_broker_with_its_used_tokens_in_memory_serves_no_shared_logins() {
    let started = TestBroker::builder().policies(POLICIES).try_start().await;
    insta::assert_snapshot!(started.err().unwrap(), @"issuer `own-ci` of the policies has `reuse: subject`, and `replay.store` of the settings is `memory`, where a restart or another broker would accept its used tokens again; write `store: redis`, or remove `reuse`");
}

/// T-384
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_one_subject_share_a_login_until_its_window_is_over() {
    let stage = World::start().await;
    let first = stage.get("poller-1", "t1").await;
    assert_eq!(first.json()["hallpass"]["shared"], true, "{}", first.body);
    let first = login(&first);
    stage.broker.clock.advance(Duration::from_secs(599));
    let second = stage.get("poller-1", "t2").await;
    assert_eq!(second.json()["expires_in"], 301);
    assert_eq!(login(&second), first);
    let other = login(&stage.get("poller-2", "t3").await);
    assert_ne!(other.0, first.0);
    stage.broker.clock.advance(Duration::from_secs(1));
    let third = stage.get("poller-1", "t4").await;
    assert_eq!(third.json()["expires_in"], 900);
    assert_ne!(login(&third).0, first.0);
    assert_eq!(stage.broker.database.minted(), 3);
    let intents = stage.broker.events("intent").await;
    let said: Vec<_> = intents
        .iter()
        .map(|one| (&one["shared"], &one["repeat"]))
        .collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(said, [(&yes, &no), (&yes, &yes), (&yes, &no), (&yes, &no)]);
}

/// T-384
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tokens_of_a_subject_at_once_make_one_login() {
    let stage = World::start().await;
    let broker = Arc::new(stage.broker);
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..20 {
        let broker = Arc::clone(&broker);
        asked.spawn(async move {
            let token = token_of(&broker.key, "poller-1", &format!("t{n}"), |_| {});
            login(&broker.exchange(&token, READ).await)
        });
    }
    let logins: BTreeSet<_> = asked.join_all().await.into_iter().collect();
    assert_eq!(logins.len(), 1, "{logins:?}");
    assert_eq!(broker.database.minted(), 1);
}

/// T-385
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_token_gets_the_login_again_only_by_its_key_while_the_window_is_open() {
    let stage = World::start().await;
    let broker = &stage.broker;
    let token = stage.token("poller-1", "t1");
    let headers = [("Idempotency-Key", KEY)];
    let first = broker.exchange_with(&token, READ, &[], &headers).await;
    let first = login(&first);
    let stolen = broker.exchange(&token, READ).await;
    assert_eq!(stolen.reason(), "token.replayed");
    let again = broker.exchange_with(&token, READ, &[], &headers).await;
    assert_eq!(login(&again), first);
    broker.clock.advance(Duration::from_secs(600));
    let late = broker.exchange_with(&token, READ, &[], &headers).await;
    assert_eq!(late.reason(), "token.replayed");
    assert_eq!(broker.database.minted(), 1);
}

/// T-384
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_ask_is_another_login() {
    let stage = World::start().await;
    let broker = &stage.broker;
    let shorter = broker
        .exchange_with(&stage.token("poller-1", "t1"), READ, &[("ttl", "10m")], &[])
        .await;
    let usual = stage.get("poller-1", "t2").await;
    assert_ne!(login(&shorter).0, login(&usual).0);
    // Critical ones and kinds without a lease are each token's own.
    for credential in ["shop-db/critical", "deploy-api"] {
        let mut publics = BTreeSet::new();
        for id in ["t3", "t4"] {
            broker.clock.advance(Duration::from_secs(1));
            let token = token_of(&broker.key, "poller-1", id, |claims| {
                claims["iat"] = json!(broker.clock.now().unix());
            });
            let answer = broker.exchange(&token, credential).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(answer.json()["hallpass"]["shared"], Value::Null);
            publics.insert(
                answer.text("/access_token") + &answer.text("/hallpass/credential/username"),
            );
        }
        assert_eq!(publics.len(), 2, "{credential}");
    }
}

/// T-386
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_login_is_not_given_again_and_the_next_request_gets_another() {
    let stage = World::start().await;
    let broker = &stage.broker;
    let first = stage.get("poller-1", "t1").await;
    let second = stage.get("poller-1", "t2").await;
    assert_eq!(login(&first), login(&second));
    let handle = second.text("/hallpass/lease");
    let revoked = post_form(broker.public(), "/revoke", &form(&[("token", &handle)])).await;
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    assert_eq!(broker.database.live(), 0);
    let refused = stage.get("poller-1", "t3").await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (503, "lease.revoked")
    );
    assert_eq!(refused.json()["retryable"], true);
    // The same token: nothing was made, so it is as new.
    let third = login(&stage.get("poller-1", "t3").await);
    assert_ne!(third.0, login(&first).0);
    assert_eq!(login(&stage.get("poller-1", "t4").await), third);
    assert_eq!(broker.database.live(), 1);
}

/// T-386
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mint_that_made_nothing_leaves_no_window() {
    let stage = World::start().await;
    let broker = &stage.broker;
    broker.database.mood(Mood::Refuses);
    assert_eq!(stage.get("poller-1", "t1").await.status, 503);
    broker.database.mood(Mood::Good);
    let first = stage.get("poller-1", "t1").await;
    assert_eq!(first.json()["expires_in"], 900, "{}", first.body);
    let intents = broker.events("intent").await;
    assert_eq!(intents[1]["repeat"], false);
}

/// T-386
#[tokio::test]
async fn a_login_that_its_workload_revoked_is_no_error_in_the_log() {
    let log = Log::default();
    let subscriber = hallpass::http::log_subscriber("info", log.clone());
    let _guard = tracing::subscriber::set_default(subscriber);
    let stage = World::start().await;
    let handle = stage.get("poller-1", "t1").await.text("/hallpass/lease");
    let revoked = post_form(
        stage.broker.public(),
        "/revoke",
        &form(&[("token", &handle)]),
    )
    .await;
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    let refused = stage.get("poller-1", "t2").await;
    assert_eq!(refused.reason(), "lease.revoked");
    let text = log.text();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let levels: Vec<Value> = lines
        .filter(|line| line["reason"] == "lease.revoked")
        .map(|line| line["level"].clone())
        .collect();
    assert_eq!(levels, [json!("INFO")]);
}

/// T-391
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_token_never_gets_the_login_of_a_later_window() {
    let stage = World::start().await;
    let broker = &stage.broker;
    let headers = [("Idempotency-Key", KEY)];
    let ask = async |subject, id| {
        let token = stage.token(subject, id);
        broker.exchange_with(&token, READ, &[], &headers).await
    };
    // The window is over, and another token opens the next one.
    login(&ask("poller-1", "t1").await);
    broker.clock.advance(Duration::from_secs(600));
    login(&stage.get("poller-1", "t2").await);
    assert_eq!(ask("poller-1", "t1").await.reason(), "token.replayed");
    // The login is revoked, and the next window is of the same second.
    let first = ask("poller-2", "t3").await;
    let joined = ask("poller-2", "t4").await;
    assert_eq!(login(&first), login(&joined));
    let handle = first.text("/hallpass/lease");
    let revoked = post_form(broker.public(), "/revoke", &form(&[("token", &handle)])).await;
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    assert_eq!(stage.get("poller-2", "t5").await.reason(), "lease.revoked");
    let next = login(&stage.get("poller-2", "t5").await);
    for id in ["t3", "t4"] {
        assert_eq!(ask("poller-2", id).await.reason(), "token.replayed");
    }
    assert_eq!(login(&ask("poller-2", "t6").await), next);
    assert_eq!(broker.database.minted(), 4);
}

/// A broker on the stage's database and a shared store, one of several.
async fn replica(stage: &Stage, redis: &Redis, number: usize, key: &TestKey) -> Running {
    let folder = stage.folder();
    let text = std::fs::read_to_string(folder.join("hallpass.yaml")).unwrap();
    let mut settings: Value = serde_json::from_str(&text).unwrap();
    settings["issuer"] = json!(AUDIENCE);
    settings["replica"] = json!(format!("replica-{number}"));
    settings["listen"] = json!({ "public": "127.0.0.1:0", "operator": "127.0.0.1:0" });
    settings["policies"] = json!({ "path": "windows" });
    settings["audit"] = json!({ "sinks": [ { "kind": "file", "path": format!("audit-{number}.jsonl"), "required": true } ] });
    settings["replay"] =
        json!({ "store": "redis", "url": format!("redis://127.0.0.1:{}", redis.port()) });
    let file = folder.join(format!("replica-{number}.yaml"));
    std::fs::write(&file, settings.to_string()).unwrap();
    let issuer = TrustedIssuer::new("own-ci", ISSUER);
    let keys = FileKeys::new().with_document(&issuer, &jwks(&[key.jwk()]));
    let overrides = Overrides {
        keys: Some(Arc::new(keys.unwrap())),
        ..Overrides::default()
    };
    let settings = Settings::load(&file).unwrap();
    let running = broker::start(&settings, overrides).await.unwrap();
    let store = Arc::clone(&running.exchange().components().used_tokens);
    crate::support::wait::until("the store can be used", async || {
        store.status().problem.is_none()
    })
    .await;
    running
}

async fn get_from(broker: &Running, token: &str) -> Answer {
    let pairs = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", token),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:id_token",
        ),
        ("audience", READ),
    ];
    post_form(broker.public_addr, "/token", &form(&pairs)).await
}

/// Two brokers, a real database and a real Redis: one login for all tokens of the window, on every
/// broker and after a restart, which works until it is revoked.
///
/// T-384, T-386
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_on_one_store_give_one_login_of_a_real_database_until_it_is_revoked() {
    let stage = Stage::start().await.unwrap();
    let redis = Redis::start();
    let folder = stage.folder().join("windows");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("root.yaml"), POLICIES).unwrap();
    let key = TestKey::rsa("k1");
    let one = replica(&stage, &redis, 1, &key).await;
    let two = replica(&stage, &redis, 2, &key).await;
    let token = |id: &str| {
        token_of(&key, "poller-1", id, |claims| {
            let now = SystemClock::new().now().unix();
            claims["iat"] = json!(now);
            claims["nbf"] = json!(now);
            claims["exp"] = json!(now + 600);
        })
    };
    let full = |answer: &Answer| {
        let (user, until) = login(answer);
        (user, until, answer.text("/hallpass/credential/password"))
    };
    // The store is new: it takes no token from before it began.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (mut all, mut name) = (Vec::new(), String::new());
    for n in 0..3 {
        for broker in [&one, &two] {
            let id = format!("t{n}-{}", broker.public_addr.port());
            let answer = get_from(broker, &token(&id)).await;
            name = answer.text("/hallpass/credential/database");
            all.push(full(&answer));
        }
    }
    let shared = all[0].clone();
    assert!(all.iter().all(|login| *login == shared), "{all:?}");
    let database = stage.database("shop-db").unwrap();
    let can_log_in = async |user: &str, password: &str| {
        let config = database.login(&name, user, password);
        config.connect(tokio_postgres::NoTls).await.is_ok()
    };
    assert!(can_log_in(&shared.0, &shared.2).await);
    let server = database.connect("postgres").await.unwrap();
    let sql = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'hp\\_%'";
    let count: i64 = server.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(count, 1);
    one.shutdown().await;
    let three = replica(&stage, &redis, 3, &key).await;
    let after = get_from(&three, &token("t9")).await;
    assert_eq!(full(&after), shared);
    let handle = after.text("/hallpass/lease");
    let revoked = post_form(two.public_addr, "/revoke", &form(&[("token", &handle)])).await;
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    assert!(!can_log_in(&shared.0, &shared.2).await);
    let refused = get_from(&three, &token("t10")).await;
    assert_eq!(refused.reason(), "lease.revoked");
    let next = full(&get_from(&two, &token("t11")).await);
    assert_ne!((&next.0, &next.2), (&shared.0, &shared.2));
    assert!(can_log_in(&next.0, &next.2).await);
    two.shutdown().await;
    three.shutdown().await;
    stage.stop().await;
}
