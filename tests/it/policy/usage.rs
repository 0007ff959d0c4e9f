//! `policy usage`: what the log of a broker says was used of its policies.

use std::time::Duration;

use hallpass::clock::Clock as _;

use super::*;
use crate::support::TestBroker;

/// The log of a broker that issued `deploy-api` whole, and 100 days later for one scope and two
/// minutes.
pub(super) async fn used_broker() -> TestBroker {
    let broker = TestBroker::start().await;
    let token = broker.github(|_| ());
    assert_eq!(broker.exchange(&token, "deploy-api").await.status, 200);
    broker.clock.advance(Duration::from_secs(100 * 86_400));
    let now = broker.clock.now();
    let token = broker.github(|job| job.issued_at = now);
    let less = [("scope", "deploy:staging"), ("ttl", "2m")];
    let answer = broker.exchange_with(&token, "deploy-api", &less, &[]);
    assert_eq!(answer.await.status, 200);
    broker.components().audit.settle().await.unwrap();
    broker
}

fn usage(broker: &TestBroker, args: &[&str]) -> Output {
    let folder = broker.file("");
    hallpass(&[&["policy", "usage"], args].concat(), &folder)
}

fn report(broker: &TestBroker, args: &[&str], code: i32) -> Value {
    let output = usage(broker, &[&["--output", "json"], args].concat());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn messages(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_log_of_a_broker_says_what_was_used_and_what_was_not() {
    let broker = used_broker().await;
    let found = report(&broker, &["audit.jsonl"], 0);
    let grant = &found["grants"][0];
    assert_eq!(grant["policy"], "shop-deploy");
    assert_eq!(
        (&grant["uses"], &grant["ttl_seconds"]),
        (&2.into(), &300.into())
    );
    let longest = grant["longest_life_seconds"].as_i64().unwrap();
    assert!((299..=302).contains(&longest), "{longest}");
    insta::assert_snapshot!(messages(&found["unused"]).join("\n"), @"
    policy `shop-deploy` of issuer `github` issued no `deploy-api` with scope `deploy:production`; last use 2026-09-21T14:13:20Z
    policy `shop-deploy` of issuer `github` issued no `shop-db/read` of at most 15m
    no job that policy `shop-deploy` of issuer `github` served has `trigger: manual`
    policy `shop-deploy-gitlab` of issuer `gitlab` issued nothing
    ");
    assert_eq!(found["not_known"], Value::Array(Vec::new()));
    assert_eq!(found["gaps"], Value::Array(Vec::new()));
    let text = usage(&broker, &["audit.jsonl"]);
    let text = self::text(&text.stdout);
    assert!(text.contains("of 1 replica, "), "{text}");
    assert!(text.contains("(100 days)"), "{text}");
    assert!(text.contains("unused in the last 90 days:"), "{text}");
}

/// T-346
#[tokio::test]
async fn nothing_is_called_unused_that_the_events_may_not_show() {
    let broker = used_broker().await;
    let whole = fs::read_to_string(broker.file("audit.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let write_lines = |name: &str, lines: &[&str]| {
        fs::write(broker.file(name), format!("{}\n", lines.join("\n"))).unwrap();
    };
    let unknown = |args: &[&str], code: i32, why: &str| {
        let found = report(&broker, args, code);
        assert_eq!(found["unused"], Value::Array(Vec::new()), "{found}");
        let reason = found["not_known"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(why), "{reason}");
        found
    };
    // The events are too few days.
    unknown(
        &["--days", "365", "audit.jsonl"],
        0,
        "the events begin at 2026-09-21",
    );
    // The files come in any order.
    let middle = lines.len() / 2;
    write_lines("a", &lines[..middle]);
    write_lines("b", &lines[middle..]);
    let both = report(&broker, &["b", "a"], 0);
    assert_eq!(both["unused"].as_array().unwrap().len(), 4, "{both}");
    // A file is missing, in the middle or at the begin.
    let is_intent = |line: &&&str| line.contains("\"event\":\"intent\"");
    let second = lines.iter().rposition(|line| is_intent(&line)).unwrap();
    let without: Vec<_> = [&lines[..second], &lines[second + 1..]].concat();
    write_lines("gap", &without);
    unknown(&["gap"], 0, "1 event of replica test between");
    write_lines("late", &lines[second..]);
    unknown(
        &["--days", "1", "late"],
        0,
        "the events begin at 2026-12-30",
    );
    // A line is broken, and is named.
    let mut torn = lines.clone();
    torn[second] = "{\"v\":1,";
    write_lines("broken", &torn);
    let found = unknown(&["broken"], 4, "could not be read");
    assert_eq!(found["broken"][0]["line"], second + 1);
    let output = usage(&broker, &["broken"]);
    let printed = text(&output.stderr);
    let named = format!("broken:{}: is not an event of an audit log", second + 1);
    assert!(printed.contains(&named), "{printed}");

    // The policies are younger than the events, as far as is known.
    let policies = broker.file("policies/root.yaml");
    let text = fs::read_to_string(&policies).unwrap();
    fs::write(&policies, format!("{text}# changed\n")).unwrap();
    unknown(&["audit.jsonl"], 0, "the age of the policies is not known");
    let git = |args: &[&str], date: &str| {
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@acme.example"];
        let done = Command::new("git")
            .args(identity)
            .args(args)
            .env("GIT_COMMITTER_DATE", date)
            .current_dir(broker.file(""))
            .observed();
        assert!(done.status.success(), "{done:?}");
    };
    let (young, old) = ("2026-12-20T00:00:00Z", "2026-09-01T00:00:00Z");
    git(&["init", "-q"], old);
    git(&["add", "policies"], old);
    git(&["commit", "-q", "-m", "policies"], young);
    unknown(&["audit.jsonl"], 0, "was changed at 2026-12-20");
    git(&["commit", "-q", "--amend", "-m", "policies"], old);
    let known = report(&broker, &["audit.jsonl"], 0);
    assert_eq!(known["unused"].as_array().unwrap().len(), 4, "{known}");
    // A change that is not committed yet.
    fs::write(&policies, &text).unwrap();
    fs::write(&policies, format!("{text}# again\n")).unwrap();
    unknown(&["audit.jsonl"], 0, "the age of the policies is not known");
}

/// T-346
#[tokio::test]
async fn files_that_are_no_audit_log_are_refused_with_the_reason() {
    let broker = TestBroker::start().await;
    let fails = |name: &str, code: i32, why: &str| {
        let output = usage(&broker, &[name]);
        let printed = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert!(printed.contains(why), "{printed}");
    };
    fs::write(broker.file("old.gz"), b"\x1f\x8b\x08\x00").unwrap();
    fails("old.gz", 5, "is compressed; read it with `zcat old.gz |");
    fails("policies", 5, "is a folder");
    fails("missing", 5, "cannot be read: No such file");
    fs::write(broker.file("empty"), "").unwrap();
    fails("empty", 4, "no event in 1 file");
    fs::write(broker.file("other"), "\u{1b}]0;x\u{7} ::error::x\n").unwrap();
    fails("other", 4, "other:1: is not an event");
    // Every command that reads an audit log gives the same advice.
    let explain = ["policy", "explain", "--decision", "x", "--audit"];
    for command in [
        &["audit", "verify"][..],
        &["policy", "replay", "--against", "policies"],
        &explain,
    ] {
        let said = |name: &str| {
            let output = hallpass(&[command, &[name]].concat(), &broker.file(""));
            assert_eq!(output.status.code(), Some(5), "{output:?}");
            text(&output.stderr)
        };
        assert!(said("old.gz").contains("is compressed; read it with `zcat old.gz | hallpass "));
        if command[0] == "policy" {
            assert!(said("policies").contains("is a folder"));
        }
    }
}

const GROUPS: &str = r#"issuers:
  staff: { provider: people, url: https://ci.example, client_id: hallpass-login }
credentials:
  logs: { kind: jwt, audience: "https://logs.acme.dev", max_ttl: 10m, owner: o, purpose: p, class: moderate }
policies:
  - name: on-call
    issuer: staff
    when:
      trigger: person
      groups: [ { member: "cn=sre,ou=groups,dc=kranich" }, { member: "cn=dev,ou=groups,dc=kranich" } ]
    grant: [ { credential: logs, ttl: 5m } ]
"#;

/// T-405
#[tokio::test]
async fn a_member_with_commas_that_was_used_is_never_called_unused() {
    let broker = TestBroker::builder().policies(GROUPS).start().await;
    for days in [0, 100] {
        broker.clock.advance(Duration::from_secs(days * 86_400 + 1));
        let now = broker.clock.now().unix();
        let mut claims = crate::support::tokens::claims();
        claims["aud"] = "hallpass-login".into();
        claims["sub"] = "00u1".into();
        claims["iat"] = now.into();
        claims["nbf"] = now.into();
        claims["exp"] = (now + 300).into();
        claims["groups"] = serde_json::json!(["cn=sre,ou=groups,dc=kranich", "cn=all,dc=kranich"]);
        let answer = broker.exchange(&broker.key.token(&claims), "logs").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    broker.components().audit.settle().await.unwrap();
    let intents = broker.events("intent").await;
    let groups = serde_json::json!(["cn=sre,ou=groups,dc=kranich", "cn=all,dc=kranich"]);
    assert_eq!(intents[0]["job"]["groups"], groups);

    let replay = |file: &str, policies: &str| {
        write(&broker.file(""), "other/root.yaml", policies);
        let args = [
            "policy",
            "replay",
            file,
            "--against",
            "other",
            "--output",
            "json",
        ];
        let output = hallpass(&args, &broker.file(""));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        found["totals"].clone()
    };
    let without_sre = GROUPS.replace("{ member: \"cn=sre,ou=groups,dc=kranich\" }, ", "");
    let negated = GROUPS.replace(
        "[ { member: \"cn=sre,ou=groups,dc=kranich\" }, { member: \"cn=dev,ou=groups,dc=kranich\" } ]",
        "{ not: { member: guests } }",
    );
    let found = report(&broker, &["audit.jsonl"], 0);
    assert_eq!(
        messages(&found["unused"]),
        [
            "no job that policy `on-call` of issuer `staff` served has `groups: { member: \"cn=dev,ou=groups,dc=kranich\" }`"
        ]
    );
    assert_eq!(replay("audit.jsonl", GROUPS)["unchanged"], 2);
    assert_eq!(replay("audit.jsonl", &without_sre)["granted_to_refused"], 2);
    let suggested = usage(&broker, &["--suggest", "audit.jsonl"]);
    let patch = text(&suggested.stdout);
    assert!(
        patch.contains("+      groups: [ { member: \"cn=sre,ou=groups,dc=kranich\" } ]"),
        "{patch}"
    );

    // As earlier versions wrote it: what the entries are is not known.
    let listed = "[\"cn=sre,ou=groups,dc=kranich\",\"cn=all,dc=kranich\"]";
    let joined = "\"cn=sre,ou=groups,dc=kranich,cn=all,dc=kranich\"";
    let whole = fs::read_to_string(broker.file("audit.jsonl")).unwrap();
    assert!(whole.contains(listed), "{whole}");
    fs::write(broker.file("joined"), whole.replace(listed, joined)).unwrap();
    let found = report(&broker, &["joined"], 0);
    assert_eq!(found["unused"], Value::Array(Vec::new()), "{found}");
    let suggested = usage(&broker, &["--suggest", "joined"]);
    assert_eq!(text(&suggested.stdout), "", "{suggested:?}");
    assert_eq!(replay("joined", GROUPS)["not_decidable"], 2);
    assert_eq!(replay("joined", &without_sre)["not_decidable"], 2);
    assert_eq!(replay("joined", &negated)["unchanged"], 2);
}
