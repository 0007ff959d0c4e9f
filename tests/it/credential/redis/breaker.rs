//! A server that is gone, beside one that works: what jobs of both see until it is back.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::stage::{Flavour, PASSWORD, Stage, install};
use crate::client::real::Broker;
use crate::support::client::{Answer, get, request};
use crate::support::leaks::Observed as _;

fn policies() -> String {
    let credential = |name: &str| {
        format!(
            "  {name}/read: {{ kind: redis, target: {name}, group: app_ro, max_ttl: 10m, owner: team-shop, purpose: reads, class: moderate }}\n"
        )
    };
    format!(
        r#"issuers:
  github: {{ provider: github, tenants: [ {{ owner: acme, owner_id: "48213377" }} ] }}
credentials:
{}{}policies:
  - name: shop-read
    issuer: github
    when: {{ repository: acme/shop, repository_id: "702114589", ref: refs/heads/main }}
    grant: [ {{ credential: one/read, ttl: 5m }}, {{ credential: other/read, ttl: 5m }} ]
"#,
        credential("one"),
        credential("other")
    )
}

fn broker(one: u16, other: u16) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), PASSWORD).unwrap();
    let target = |name: &str, port: u16| {
        format!(
            "  {name}: {{ kind: redis, host: 127.0.0.1, port: {port}, tls: disable, user: hallpass, password: {{ file: password }}, groups: {{ app_ro: {{ keys: [\"%R~app:*\"], commands: [+@read, +@connection] }} }} }}\n"
        )
    };
    let more = format!("targets:\n{}{}", target("one", one), target("other", other));
    Broker::start_with(&policies(), &more, folder)
}

async fn ask(broker: &Broker, token: &str, credential: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Content-Type", "application/json"),
        ("Authorization", bearer.as_str()),
    ];
    let body = format!("{{\"credential\":\"{credential}\"}}");
    let path = "/api/credentials";
    request(broker.public(), "POST", path, &headers, body.as_bytes()).await
}

/// T-466, T-467
#[test]
fn a_server_that_is_gone_holds_up_nobody_and_the_first_job_after_it_is_back_gets_its_login() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut one = Stage::start(Flavour::Redis);
    let other = Stage::start(Flavour::Redis);
    let broker = broker(one.server().port(), other.server().port());
    let fresh = || broker.token(|_| {});
    let lease = runtime.block_on(async {
        let granted = ask(&broker, &fresh(), "one/read").await;
        assert_eq!(granted.status, 200, "{}", granted.body);
        granted.text("/lease")
    });
    one.nodes[0].crash();
    let token = fresh();
    runtime.block_on(async {
        for _ in 0..5 {
            let answer = ask(&broker, &fresh(), "one/read").await;
            assert_eq!(answer.status, 503, "{}", answer.body);
            assert!(
                answer.reason().starts_with("database.un"),
                "{}",
                answer.body
            );
        }
        // Sooner than any time-out of the server.
        let answer = ask(&broker, &token, "one/read");
        let answer = tokio::time::timeout(Duration::from_secs(2), answer).await;
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (503, "target.paused")
        );
        let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=5).contains(&wait), "{wait}");
        let beside = ask(&broker, &fresh(), "other/read").await;
        assert_eq!(beside.status, 200, "{}", beside.body);
        // The end of a lease is tried, and owed.
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let body = format!("token={lease}");
        let revoked = request(
            broker.public(),
            "POST",
            "/revoke",
            &headers,
            body.as_bytes(),
        )
        .await;
        assert_eq!(revoked.status, 202, "{}", revoked.body);
        let ready = get(broker.operator(), "/readyz").await;
        assert_eq!(ready.status, 200, "{}", ready.body);
        assert_eq!(ready.json()["targets"]["one"]["paused"], true);
        assert_eq!(ready.json()["targets"]["other"]["paused"], false);
    });
    // A job that comes while it is away waits as long as the answer says, and no longer than it must.
    let mut job = broker.command(&token, &["get", "one/read", "--format", "json"]);
    let job = std::thread::spawn(move || job.observed());
    one.nodes[0].restart();
    install(&one.nodes[0], &one.settings);
    one.nodes[0].say(&["SET", "app:k", "1"]);
    let done = job.join().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(0), "{said}");
    let login: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(login["credential"]["kind"], "redis");
    runtime.block_on(async {
        for _ in 0..5 {
            let answer = ask(&broker, &fresh(), "one/read").await;
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        let ready = get(broker.operator(), "/readyz").await;
        assert_eq!(ready.json()["targets"]["one"]["paused"], false);
    });
}
