//! Tokens of people: what is verified of them, and what a policy needs to name.

use std::time::Duration;

use hallpass::clock::Timestamp;
use hallpass::policy::proof::{Answer, Question};
use hallpass::policy::{Ask, PolicySet};
use hallpass::yaml::Severity;
use serde_json::{Value, json};

use crate::provider::object;
use crate::support::TestBroker;
use crate::support::tokens::{NOW, claims};

/// After the start of the broker, since a critical credential wants a token from then on.
const ISSUED: i64 = NOW + 1;

const POLICIES: &str = r#"
issuers:
  staff: { provider: people, url: https://ci.example, client_id: hallpass-login, mfa: { amr: [mfa, hwk], acr: [gold] } }
credentials:
  logs: { kind: jwt, audience: "https://logs.acme.dev", max_ttl: 10m, owner: o, purpose: p, class: moderate }
  root: { kind: jwt, audience: "https://root.acme.dev", max_ttl: 10m, owner: o, purpose: p, class: critical }
policies:
  - name: on-call
    issuer: staff
    when: { groups: { member: on-call }, trigger: person }
    grant: [ { credential: logs, ttl: 5m }, { credential: root, ttl: 5m } ]
  - name: admins
    issuer: staff
    when: { groups: { member: admins }, mfa: true, signed_in: { within: 15m }, trigger: person }
    grant: [ { credential: root, ttl: 5m } ]
  - name: no-person
    issuer: staff
    when: { groups: { member: guests } }
    grant: [ { credential: logs, ttl: 5m } ]
"#;

/// The claims of a person who signed in a minute ago with a second factor.
fn person(groups: &[&str]) -> Value {
    let mut claims = claims();
    claims["aud"] = json!("hallpass-login");
    claims["sub"] = json!("00u1");
    claims["iat"] = json!(ISSUED);
    claims["groups"] = json!(groups);
    claims["amr"] = json!(["pwd", "mfa"]);
    claims["auth_time"] = json!(ISSUED - 60);
    claims
}

async fn told(credential: &str, claims: &Value) -> String {
    told_by(POLICIES, credential, claims).await
}

async fn told_by(policies: &str, credential: &str, claims: &Value) -> String {
    let broker = TestBroker::builder().policies(policies).start().await;
    broker.clock.advance(Duration::from_secs(1));
    let answer = broker.exchange(&broker.key.token(claims), credential).await;
    match answer.status {
        200 => "ok".to_owned(),
        _ => answer.reason(),
    }
}

/// T-296
#[tokio::test]
async fn a_person_is_verified_by_the_client_that_they_signed_in_to() {
    assert_eq!(told("logs", &person(&["on-call"])).await, "ok");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut claims = person(&["on-call"]);
        change(&mut claims);
        claims
    };
    for (claims, expected) in [
        (
            with(&|claims| claims["azp"] = json!("hallpass-login")),
            "ok",
        ),
        (with(&|claims| claims["azp"] = Value::Null), "ok"),
        // The broker's own name is the audience of jobs.
        (
            with(&|claims| claims["aud"] = json!("https://hallpass.example")),
            "token.audience",
        ),
        (
            with(&|claims| claims["aud"] = json!("wiki")),
            "token.audience",
        ),
        (
            with(&|claims| claims["aud"] = json!(["hallpass-login", "wiki"])),
            "token.audience",
        ),
        (
            with(&|claims| claims["azp"] = json!("wiki")),
            "token.audience",
        ),
        (
            with(&|claims| claims["azp"] = json!(["hallpass-login"])),
            "token.audience",
        ),
        (with(&|claims| claims["azp"] = json!("")), "token.audience"),
        (
            with(&|claims| claims["auth_time"] = json!(ISSUED + 30)),
            "ok",
        ),
        (
            with(&|claims| claims["auth_time"] = json!(ISSUED + 31)),
            "token.not_yet",
        ),
        (
            with(&|claims| claims["auth_time"] = json!("now")),
            "token.claim",
        ),
        (
            with(&|claims| claims["groups"] = json!("on-call,staff")),
            "ok",
        ),
        (
            with(&|claims| claims["groups"] = json!(["on-call", 7])),
            "token.claim",
        ),
        (
            with(&|claims| claims["email_verified"] = json!("true")),
            "token.claim",
        ),
        (with(&|claims| claims["amr"] = json!("mfa")), "token.claim"),
    ] {
        let found = told("logs", &claims).await;
        assert_eq!(found, expected, "{claims}");
    }
    // Beside another audience the client must be named.
    let tolerant = POLICIES.replace(
        "client_id: hallpass-login",
        "client_id: hallpass-login, audiences: [wiki]",
    );
    for (azp, expected) in [
        (json!("hallpass-login"), "ok"),
        (json!("wiki"), "token.audience"),
        (Value::Null, "token.audience"),
    ] {
        let mut claims = person(&["on-call"]);
        claims["aud"] = json!(["hallpass-login", "wiki"]);
        claims["azp"] = azp;
        assert_eq!(
            told_by(&tolerant, "logs", &claims).await,
            expected,
            "{claims}"
        );
    }
}

/// T-297: a person is let in only where a policy names the trigger.
#[tokio::test]
async fn a_policy_that_does_not_name_a_person_lets_none_in() {
    assert_eq!(told("logs", &person(&["guests"])).await, "policy.denied");
    assert_eq!(told("logs", &person(&["admins"])).await, "policy.denied");
    assert_eq!(told("root", &person(&["admins"])).await, "ok");
}

/// T-298, through the program's decision and the router.
#[tokio::test]
async fn a_person_gets_what_is_critical_only_by_a_block_that_names_how_they_signed_in() {
    // The block of `on-call` holds, but names neither.
    assert_eq!(told("root", &person(&["on-call"])).await, "policy.denied");
    for change in [
        |claims: &mut Value| claims["amr"] = json!(["pwd"]),
        |claims: &mut Value| claims["amr"] = json!([]),
        |claims: &mut Value| claims["amr"] = json!(["MFA"]),
        |claims: &mut Value| claims["auth_time"] = json!(ISSUED - 901),
        |claims: &mut Value| claims["auth_time"] = Value::Null,
        |claims: &mut Value| claims["groups"] = json!([]),
    ] {
        let mut claims = person(&["admins"]);
        change(&mut claims);
        assert_eq!(told("root", &claims).await, "policy.denied", "{claims}");
    }
    for change in [
        |claims: &mut Value| claims["amr"] = json!(["hwk"]),
        |claims: &mut Value| {
            claims["amr"] = Value::Null;
            claims["acr"] = json!("gold");
        },
        |claims: &mut Value| claims["auth_time"] = json!(ISSUED - 900),
    ] {
        let mut claims = person(&["admins"]);
        change(&mut claims);
        assert_eq!(told("root", &claims).await, "ok", "{claims}");
    }
}

/// T-298: the age is that of the sign-in at each decision, also of a repeat.
#[tokio::test]
async fn a_sign_in_grows_old_between_two_requests() {
    let broker = TestBroker::builder().policies(POLICIES).start().await;
    broker.clock.advance(Duration::from_secs(1));
    let mut claims = person(&["admins"]);
    claims["auth_time"] = json!(ISSUED - 890);
    let token = broker.key.token(&claims);
    let key = "Qm7zXw2Lr9Tk4Vb1Nc8Jd5Hf3Gs6Pa0Yu-EiOo_RtWx";
    let headers = [("Idempotency-Key", key)];
    broker.clock.advance(Duration::from_secs(10));
    let first = broker.exchange_with(&token, "root", &[], &headers).await;
    assert_eq!(first.status, 200, "{}", first.body);
    broker.clock.advance(Duration::from_secs(1));
    let late = broker.exchange_with(&token, "root", &[], &headers).await;
    assert_eq!(late.reason(), "policy.denied", "{}", late.body);
}

fn set(text: &str) -> PolicySet {
    let loaded = PolicySet::from_texts(&[("root.yaml", text)]);
    loaded.unwrap_or_else(|errors| panic!("{errors}")).set
}

/// The rules of what lint finds.
fn findings(text: &str) -> Vec<&'static str> {
    let loaded = PolicySet::from_texts(&[("root.yaml", text)]).unwrap();
    loaded.findings.iter().map(|one| one.rule).collect()
}

/// T-297, T-298
#[test]
fn facts_of_people_are_read_and_written_back_and_explained() {
    let set = set(POLICIES);
    let reader = set.readers().first().unwrap();
    let mut claims = person(&["on-call"]);
    let text = |claims: &Value, fact: &str| {
        let facts = reader.facts(object(claims)).unwrap();
        let mut facts = facts.iter();
        facts
            .find(|(name, _)| name.name() == fact)
            .map(|(_, value)| value.to_string())
    };
    claims["email"] = json!("r.okafor@acme.dev");
    for (verified, expected) in [
        (json!(true), Some("r.okafor@acme.dev")),
        (json!(false), None),
        (Value::Null, None),
    ] {
        claims["email_verified"] = verified;
        assert_eq!(text(&claims, "email").as_deref(), expected);
    }
    claims["email_verified"] = json!(true);
    assert_eq!(text(&claims, "user_id").as_deref(), Some("00u1"));
    assert_eq!(text(&claims, "mfa").as_deref(), Some("true"));
    assert_eq!(text(&claims, "trigger").as_deref(), Some("person"));
    claims["amr"] = Value::Null;
    assert_eq!(text(&claims, "mfa"), None);
    claims["acr"] = json!("silver");
    assert_eq!(text(&claims, "mfa").as_deref(), Some("false"));
    claims["email"] = json!("r.\u{43e}kafor@acme.dev");
    assert_eq!(text(&claims, "email"), None);
    for mfa in [json!(["hwk"]), json!(["pwd"]), Value::Null] {
        let mut claims = person(&["a", "b"]);
        claims["amr"] = mfa;
        let facts = reader.facts(object(&claims)).unwrap();
        let given: std::collections::BTreeMap<_, _> = facts
            .iter()
            .map(|(fact, value)| (fact, value.clone()))
            .collect();
        let written = Value::Object(reader.claims(&given).unwrap());
        let again = reader.facts(object(&written)).unwrap();
        assert!(again.iter().eq(facts.iter()), "{written}");
    }
    // Why a person on call gets no critical credential, for administrators.
    let facts = reader.facts(object(&person(&["on-call"]))).unwrap();
    let ask = Ask {
        credential: "root".to_owned(),
        ..Ask::default()
    };
    let now = Timestamp::from_unix(ISSUED);
    let decision = set.explain(&facts, &ask, now);
    assert!(!decision.is_permitted());
    let policy = decision
        .policies
        .iter()
        .find(|one| one.policy == "on-call")
        .unwrap();
    let failed: Vec<_> = policy
        .failed()
        .iter()
        .map(|line| line.fact.clone())
        .collect();
    assert_eq!(failed, ["mfa", "signed_in"]);
    let nearest = set.nearest(&facts, "root", now);
    assert!(nearest.iter().all(|one| !one.failed.is_empty()));
    assert_eq!(set.available(&facts, now).len(), 1);
    assert!(
        set.ways("root")
            .iter()
            .all(|way| way.policy.name == "admins")
    );
}

/// T-297
#[test]
fn what_is_of_people_stands_in_their_issuers_and_conditions_only() {
    let rules = |text: &str| match PolicySet::from_texts(&[("root.yaml", text)]) {
        Ok(_) => Vec::new(),
        Err(errors) => {
            let errors = errors.iter().filter(|one| one.severity == Severity::Error);
            errors.map(|one| one.rule).collect()
        }
    };
    assert_eq!(rules(POLICIES), [""; 0]);
    for (from, to, rule) in [
        (", client_id: hallpass-login", "", "missing-key"),
        ("mfa: { amr: [mfa, hwk], acr: [gold] }", "mfa: {}", "empty"),
        (
            "mfa: { amr: [mfa, hwk], acr: [gold] }",
            "mfa: { pwd: [mfa] }",
            "unknown-key",
        ),
        (
            "mfa: { amr: [mfa, hwk], acr: [gold] }",
            "facts: { groups: /groups }",
            "unknown-key",
        ),
        ("signed_in: { within: 15m }", "signed_in: 15m", "wrong-type"),
        (
            "signed_in: { within: 15m }",
            "signed_in: { within: 900 }",
            "duration",
        ),
        (
            "signed_in: { within: 15m }",
            "signed_in: { within: 0s }",
            "duration",
        ),
        ("signed_in: { within: 15m }", "signed_in: {}", "missing-key"),
        (
            "signed_in: { within: 15m }",
            "signed_in: { present: true }",
            "unknown-key",
        ),
        ("mfa: true,", "mfa: \"true\",", "wrong-type"),
        ("mfa: true,", "repository: acme/shop,", "unknown-fact"),
    ] {
        let text = POLICIES.replacen(from, to, 1);
        assert_ne!(text, POLICIES, "{from}");
        assert!(rules(&text).contains(&rule), "{to}: {:?}", rules(&text));
    }
    let ci = POLICIES
        .replace("provider: people", "provider: github")
        .replace(
            ", url: https://ci.example",
            ", tenants: [ { owner: acme, owner_id: \"1\" } ]",
        );
    assert!(rules(&ci).contains(&"unknown-key"), "{:?}", rules(&ci));
    let generic = "issuers:\n  a: { provider: generic, url: \"https://ci.example\", facts: { signed_in: /auth_time } }\n";
    assert_eq!(rules(generic), ["claim-type"]);
    // Everyone who can sign in is too many.
    let all = POLICIES.replacen("groups: { member: on-call }, ", "", 1);
    assert_eq!(findings(&all).first(), Some(&"any-repository"));
    // `on-call` gives nothing critical, and `no-person` names no person. Neither covers another's grant.
    assert_eq!(findings(POLICIES), ["never-matches"; 2]);
    assert!(!findings(&all).contains(&"covered-grant"));
    // What is printed is read as the same.
    let first = set(POLICIES);
    let printed: String = first
        .policies()
        .iter()
        .map(hallpass::policy::Policy::to_yaml)
        .collect();
    let head = POLICIES.split_once("policies:").unwrap().0;
    let again = set(&format!("{head}policies:\n{printed}"));
    assert_eq!(first.policies(), again.policies(), "{printed}");
}

/// Tokens that differ in everything that a condition on a person reads.
fn people() -> Vec<Value> {
    let claims: [(&str, &[Value]); 7] = [
        ("sub", &[json!("u1"), json!("u2")]),
        ("groups", &[Value::Null, json!(["a"]), json!(["a", "b"])]),
        ("amr", &[Value::Null, json!(["pwd"]), json!(["mfa"])]),
        ("acr", &[Value::Null, json!("gold")]),
        ("email", &[Value::Null, json!("x@acme.dev")]),
        ("email_verified", &[json!(true), json!(false)]),
        ("auth_time", &[Value::Null, json!(ISSUED - 60)]),
    ];
    let mut all = vec![person(&[])];
    for (name, values) in claims {
        let with = |one: &Value, value: &Value| {
            let mut one = one.clone();
            one[name] = value.clone();
            one
        };
        all = all
            .iter()
            .flat_map(|one| values.iter().map(move |value| with(one, value)))
            .collect();
    }
    all
}

/// Conditions of tenants, the class, conditions of the policy and of a requirement, and whether some person
/// can have the grant.
const GRANTS: &[(&str, &str, &str, &str, bool)] = &[
    ("", "low", "groups: { member: a }", "", true),
    (
        "",
        "low",
        "groups: { member: a, not: { member: b } }",
        "",
        true,
    ),
    (
        "",
        "low",
        "groups: [ { member: b }, { member: c } ]",
        "",
        true,
    ),
    ("", "low", "groups: { present: false }, mfa: true", "", true),
    ("", "low", "mfa: false, user_id: u1", "", true),
    ("", "low", "mfa: { present: false }, user_id: u1", "", true),
    // By `acr`, and by either of two claims that disagree.
    (
        "",
        "low",
        "mfa: true, claim: { /amr: { present: false } }",
        "",
        true,
    ),
    (
        "",
        "low",
        "mfa: true, claim: { /acr: { present: false } }",
        "",
        true,
    ),
    ("", "low", "mfa: true, claim: { /acr: gold }", "", true),
    (
        "",
        "low",
        "email: x@acme.dev, claim: { /email_verified: true }",
        "",
        true,
    ),
    // An address that is not verified is sent, and is no fact.
    (
        "",
        "low",
        "email: { present: false }, claim: { /email: x@acme.dev }",
        "",
        true,
    ),
    (
        "",
        "low",
        "email: { glob: \"*@acme.dev\" }, groups: { member: b }",
        "",
        true,
    ),
    ("", "low", "user_id: u1, claim: { /sub: u1 }", "", true),
    (
        "",
        "low",
        "signed_in: { within: 1m }, claim: { /auth_time: { present: true } }",
        "",
        true,
    ),
    (
        "",
        "critical",
        "groups: { member: a }, mfa: true, signed_in: { within: 15m }",
        "",
        true,
    ),
    (
        "",
        "critical",
        "user_id: [u1, u3], mfa: true, signed_in: { within: 15m }",
        "",
        true,
    ),
    (
        "groups: { member: a }",
        "low",
        "groups: { member: b }",
        "",
        true,
    ),
    (
        "email: { glob: \"*@acme.dev\" }",
        "low",
        "email: [x@acme.dev, x@acme.example]",
        "",
        true,
    ),
    ("user_id: [u1, u2]", "low", "user_id: { not: u1 }", "", true),
    ("", "low", "user_id: u1", "mfa: true", true),
    (
        "",
        "low",
        "user_id: u1",
        "groups: { member: a }, signed_in: { within: 1h }",
        true,
    ),
    // What follows is read, and is closed.
    ("", "low", "user_id: u1, claim: { /sub: u2 }", "", false),
    ("user_id: u2", "low", "user_id: u1", "", false),
    ("", "low", "user_id: u1", "runner: hosted", false),
    ("", "critical", "user_id: u1, mfa: true", "", false),
    (
        "",
        "critical",
        "user_id: u1, signed_in: { within: 15m }",
        "",
        false,
    ),
    (
        "",
        "critical",
        "user_id: u1, mfa: { present: true }, signed_in: { within: 15m }",
        "",
        false,
    ),
];

/// T-331: the proof does not read how a person signed in, their groups or their address, and calls
/// nothing closed because of them.
#[test]
fn what_a_person_can_get_is_never_proven_to_be_closed() {
    let people = people();
    let at = Timestamp::from_unix(ISSUED);
    let ask = Ask {
        credential: "c".to_owned(),
        ..Ask::default()
    };
    for (tenants, class, when, jobs, is_open) in GRANTS {
        for trigger in [", trigger: person", "", ", trigger: push"] {
            let of = |name: &str, block: &str, after: &str| match block {
                "" => String::new(),
                block => format!("{name}{block}{after}"),
            };
            let text = format!(
                "issuers:\n  staff: {{ provider: people, url: https://ci.example, client_id: login, mfa: {{ amr: [mfa], acr: [gold] }}{} }}\ncredentials:\n  c: {{ kind: jwt, audience: https://c.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: {class} }}\n{}policies:\n  - {{ name: p, issuer: staff, when: {{ {when}{trigger} }}, grant: [ {{ credential: c, ttl: 5m }} ] }}\n",
                of(", tenants: [ { ", tenants, " } ]"),
                of(
                    "require:\n  - { name: r, of: all, because: b, jobs: { ",
                    jobs,
                    " } }\n"
                ),
            );
            let is_open = *is_open && trigger == ", trigger: person";
            let set = set(&text);
            let reader = set.readers().first().unwrap();
            let gets = |claims: &&Value| {
                let facts = reader.facts(object(claims)).unwrap();
                set.explain(&facts, &ask, at).is_permitted()
            };
            assert_eq!(people.iter().any(|one| gets(&one)), is_open, "{text}");
            let answer = Question::any_job(&set, "c", at).answer();
            let is_proven = matches!(answer, Answer::Proven);
            assert_eq!(is_proven, !is_open, "{answer:?}\n{text}");
            let is_reported = findings(&text).contains(&"never-matches");
            assert_eq!(is_reported, !is_open, "{text}");
        }
    }
}
