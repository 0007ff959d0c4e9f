//! What a refusal costs, counted in policies that were looked at and bytes that were read.

use std::cell::Cell;
use std::fmt::Write as _;

use futures_util::future::{join, join_all};
use hallpass::policy::decide::WorkDone;
use serde_json::json;

use crate::support::TestBroker;
use crate::support::client::get;

const ROOT: &str = r#"
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "48213377" } ] }
credentials:
  api: { kind: jwt, audience: "https://api.test", max_ttl: 10m, owner: o, purpose: p, class: low }
policies:
"#;

/// So many policies with these conditions each, in which `N` is the number.
fn policies(count: u64, when: &str) -> String {
    let mut text = ROOT.to_owned();
    for number in 0..count {
        let when = when.replace('N', &number.to_string());
        writeln!(
            text,
            "  - {{ name: p{number}, issuer: github, when: {{ {when} }}, grant: [ {{ credential: api, ttl: 5m }} ] }}"
        )
        .unwrap();
    }
    text
}

/// What requests cost a broker.
struct Meter<'a> {
    broker: &'a TestBroker,
    work: WorkDone,
    scanned: u64,
}

impl<'a> Meter<'a> {
    fn of(broker: &'a TestBroker) -> Self {
        let (work, scanned) = Self::read(broker);
        Self {
            broker,
            work,
            scanned,
        }
    }

    fn read(broker: &TestBroker) -> (WorkDone, u64) {
        let set = &broker.components().policies;
        (set.work(), set.policies()[0].place.source().scanned())
    }

    /// Policies compared, blocks examined, blocks written and bytes read since the last time.
    fn spent(&mut self) -> [u64; 4] {
        let (work, scanned) = Self::read(self.broker);
        let spent = [
            work.candidates - self.work.candidates,
            work.examined - self.work.examined,
            work.written - self.work.written,
            scanned - self.scanned,
        ];
        (self.work, self.scanned) = (work, scanned);
        spent
    }
}

/// T-132: one pass to decide, and then a fixed amount of work, on each route.
#[tokio::test]
async fn a_refusal_writes_out_a_fixed_number_of_policies_however_many_there_are() {
    let own = r#"repository: acme/shop, repository_id: "702114589", ref: refs/heads/bN, environment: production"#;
    let broker = TestBroker::builder()
        .policies(&policies(5_000, own))
        .start()
        .await;
    let token = broker.github(|_| {});
    let mut meter = Meter::of(&broker);
    let answer = broker.exchange(&token, "api").await;
    assert_eq!(answer.reason(), "policy.conditions", "{}", answer.body);
    assert_eq!(meter.spent(), [5_000, 1_024, 32, 0]);
    broker.credentials(&token, "api").await;
    assert_eq!(meter.spent(), [5_000, 1_024, 32, 0]);
    broker.exchange(&token, "invented").await;
    assert_eq!(meter.spent(), [5_000, 1_024, 32, 0]);
    let body = json!({ "credential": "api" });
    let explained = broker.ask("/api/explain", &token, &body).await;
    assert_eq!(meter.spent(), [5_000, 1_024, 32, 0]);
    assert!(explained.body.len() < 64 << 10, "{}", explained.body.len());
    // What it may have takes one pass too, and no explanation.
    broker.ask("/api/explain", &token, &json!({})).await;
    assert_eq!(meter.spent(), [5_000, 0, 0, 0]);
}

/// T-132, T-82: an unrelated caller causes the same work for a credential that exists and for one
/// that does not.
#[tokio::test]
async fn an_unrelated_caller_causes_the_same_work_whatever_exists() {
    let wide = r#"repository: { glob: "acme/team-N-*" }, ref: refs/heads/main"#;
    let text = policies(2_000, wide)
        + "require:\n  - { name: r, of: { class: low }, jobs: { runner: hosted }, because: b }\n";
    let broker = TestBroker::builder().policies(&text).start().await;
    let token = broker.github(|_| {});
    let mut meter = Meter::of(&broker);
    let first = broker.exchange(&token, "api").await;
    assert_eq!(first.reason(), "policy.denied", "{}", first.body);
    let spent = meter.spent();
    assert_eq!(spent, [2_000, 1_024, 32, 0]);
    for credential in ["invented", "ap", "x"] {
        let answer = broker.exchange(&token, credential).await;
        assert_eq!(answer.without_id(), first.without_id(), "{credential}");
        assert_eq!(meter.spent(), spent, "{credential}");
        let body = json!({ "credential": credential });
        broker.ask("/api/explain", &token, &body).await;
        assert_eq!(meter.spent(), spent, "{credential}");
    }
}

/// T-132: many repositories that are denied against many policies, and `/healthz` beside them on one
/// thread. Each denial looks at the policies that can be about its job, and at no more for the others.
#[tokio::test]
async fn health_is_answered_between_denials_of_many_repositories() {
    const JOBS: u64 = 24;
    const TIMES: u64 = 3;
    let wide = r#"repository: { glob: "acme/team-N-*" }, ref: refs/heads/main"#;
    let mut text = policies(2_000, wide);
    for number in 0..JOBS {
        writeln!(
            text,
            "  - {{ name: own{number}, issuer: github, when: {{ repository: acme/r{number}, repository_id: \"9{number}\", ref: refs/heads/release }}, grant: [ {{ credential: api, ttl: 5m }} ] }}"
        )
        .unwrap();
    }
    let broker = TestBroker::builder().policies(&text).start().await;
    let tokens: Vec<_> = (0..JOBS)
        .map(|number| {
            broker.github(|job| {
                job.repository = format!("acme/r{number}");
                job.repository_id = format!("9{number}");
            })
        })
        .collect();
    let mut meter = Meter::of(&broker);
    let first = broker.exchange(&tokens[0], "api").await;
    assert_eq!(first.reason(), "policy.conditions", "{}", first.body);
    let one = meter.spent();
    assert_eq!(one, [2_001, 1_024, 32, 0]);
    let denials = Cell::new(0);
    let (asked, counted) = (&broker, &denials);
    let jobs = tokens.iter().map(|token| async move {
        for _ in 0..TIMES {
            let answer = asked.exchange(token, "api").await;
            assert_eq!(answer.reason(), "policy.conditions", "{}", answer.body);
            counted.set(counted.get() + 1);
        }
    });
    let health = async {
        let answer = get(broker.public(), "/healthz").await;
        assert_eq!(answer.status, 200);
        denials.get()
    };
    let (_, denied_before) = join(join_all(jobs), health).await;
    assert!(denied_before < JOBS * TIMES, "health came last");
    assert_eq!(meter.spent(), one.map(|work| work * JOBS * TIMES));
}

/// T-132: neither the blocks of one policy nor the entries of one list make an answer longer.
#[tokio::test]
async fn one_large_policy_costs_no_more_than_many_small_ones() {
    let mut text = ROOT.to_owned();
    text.push_str("  - name: large\n    issuer: github\n    grant: [ { credential: api, ttl: 5m } ]\n    when:\n");
    for number in 0..2_000 {
        writeln!(
            text,
            r#"      - {{ repository: acme/shop, repository_id: "702114589", ref: refs/heads/b{number} }}"#
        )
        .unwrap();
    }
    let refs: Vec<_> = (0..10_000).map(|n| format!("refs/heads/c{n}")).collect();
    writeln!(
        text,
        r#"      - {{ repository: acme/shop, repository_id: "702114589", ref: [{}] }}"#,
        refs.join(", ")
    )
    .unwrap();
    let broker = TestBroker::builder().policies(&text).start().await;
    let token = broker.github(|_| {});
    let mut meter = Meter::of(&broker);
    let body = json!({ "credential": "api" });
    let explained = broker.ask("/api/explain", &token, &body).await;
    assert_eq!(meter.spent(), [1, 1_024, 32, 0]);
    assert!(explained.body.len() < 32 << 10, "{}", explained.body.len());
    let list_first = text.replace(
        "when:\n",
        &format!(
            "when:\n      - {{ repository: acme/shop, repository_id: \"702114589\", ref: [{}] }}\n",
            refs.join(", ")
        ),
    );
    // Where whole lists are shown.
    let broker = TestBroker::builder().policies(&list_first);
    let broker = broker.setting("disclose: always").start().await;
    let token = broker.github(|_| {});
    let answer = broker.exchange(&token, "api").await;
    let expected = answer.text("/failed_conditions/0/expected");
    assert!(expected.ends_with("refs/heads/c15, ...]"), "{expected}");
}
