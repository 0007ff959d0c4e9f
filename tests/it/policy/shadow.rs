//! `shadow_until`: decided and recorded, never effective.

use hallpass::clock::Timestamp;
use hallpass::policy::{Ask, PolicySet, ShadowOutcome};
use hallpass::yaml::Severity;
use serde_json::json;

use super::{folder, hallpass, text};
use crate::provider::object;

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

const ROOT: &str = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  api: { kind: jwt, audience: "https://api.acme.dev", max_ttl: 10m, owner: team-app, purpose: calls, class: critical }
policies:
  - name: main
    issuer: github
    when: { repository: acme/app, repository_id: "702114500", ref: refs/heads/main }
    grant: [ { credential: api, ttl: 5m } ]
  - name: branches
    issuer: github
    shadow_until: 2027-01-31T18:00:00Z
    when: { repository: acme/app, repository_id: "702114500", ref: { glob: "refs/heads/*" } }
    grant: [ { credential: api, ttl: 5m } ]
require:
  - name: hosted
    of: { class: critical }
    shadow_until: 2027-01-31T18:00:00Z
    jobs: { runner: hosted }
    because: secrets must not touch machines that we do not wipe
"#;

fn decide(text: &str, r#ref: &str, runner: &str) -> (bool, Option<ShadowOutcome>) {
    let set = PolicySet::from_texts(&[("root.yaml", text)]).unwrap().set;
    let reader = set.readers().first().unwrap();
    let facts = reader
        .facts(object(&json!({
            "iss": "https://token.actions.githubusercontent.com",
            "repository": "acme/app", "repository_id": "702114500",
            "repository_owner": "acme", "repository_owner_id": "65923871",
            "ref": r#ref, "runner_environment": runner, "event_name": "push",
        })))
        .unwrap();
    let ask = Ask {
        credential: "api".to_owned(),
        ..Ask::default()
    };
    let decision = set.explain_nearest(&facts, &ask, NOW);
    let everything = set.explain(&facts, &ask, NOW);
    assert_eq!(decision.verdict, everything.verdict);
    assert_eq!(
        set.available(&facts, NOW).len(),
        usize::from(decision.is_permitted())
    );
    (decision.is_permitted(), decision.shadow)
}

fn would_grant(policy: &str) -> ShadowOutcome {
    ShadowOutcome::WouldGrant {
        policy: policy.to_owned(),
    }
}

fn would_refuse(requirement: &str) -> ShadowOutcome {
    ShadowOutcome::WouldRefuse {
        requirement: requirement.to_owned(),
    }
}

/// T-267
#[test]
fn a_shadowed_entry_never_has_an_effect() {
    let (main, other) = ("refs/heads/main", "refs/heads/x");
    let (hosted, own) = ("github-hosted", "self-hosted");
    for (r#ref, runner, expected) in [
        (main, hosted, (true, None)),
        (main, own, (true, Some(would_refuse("hosted")))),
        (other, hosted, (false, Some(would_grant("branches")))),
        // The policy would grant what the requirement would refuse.
        (other, own, (false, None)),
        ("refs/tags/v1", hosted, (false, None)),
    ] {
        assert_eq!(decide(ROOT, r#ref, runner), expected, "{ref} {runner}");
        // A date turns nothing on, and a shadow that is past is one still.
        let past = ROOT.replace("2027-01-31", "2020-01-31");
        assert_eq!(decide(&past, r#ref, runner), expected, "{ref} {runner}");
    }
    let in_force = ROOT.replace("    shadow_until: 2027-01-31T18:00:00Z\n", "");
    assert_eq!(decide(&in_force, main, own), (false, None));
    assert_eq!(decide(&in_force, other, hosted), (true, None));
    // A refusal by what is in force is no news.
    let both = ROOT.replace(
        "require:\n",
        "require:\n  - { name: never, of: all, jobs: { ref: refs/heads/none }, because: so }\n",
    );
    assert_eq!(decide(&both, other, hosted), (false, None));
    assert_eq!(decide(&both, main, own), (false, None));
    // A policy that would give a longer life is news.
    let longer = ROOT.replacen(
        "\"refs/heads/*\" } }\n    grant: [ { credential: api, ttl: 5m }",
        "\"refs/heads/*\" } }\n    grant: [ { credential: api, ttl: 9m }",
        1,
    );
    assert_eq!(
        decide(&longer, main, hosted),
        (true, Some(would_grant("branches")))
    );
}

/// T-267
#[test]
fn a_job_learns_nothing_of_a_shadowed_policy() {
    let shadowed = ROOT.replacen(
        "    issuer: github\n    when",
        "    issuer: github\n    shadow_until: 2027-01-31T18:00:00Z\n    when",
        1,
    );
    let without = {
        let (head, rest) = ROOT.split_once("policies:\n").unwrap();
        let (_, requirements) = rest.split_once("require:\n").unwrap();
        format!("{head}require:\n{requirements}")
    };
    let answer = |text: &str| {
        let set = PolicySet::from_texts(&[("root.yaml", text)]).unwrap().set;
        let reader = set.readers().first().unwrap();
        let facts = reader
            .facts(object(&json!({
                "iss": "https://token.actions.githubusercontent.com",
                "repository": "acme/app", "repository_id": "702114500",
                "repository_owner": "acme", "repository_owner_id": "65923871",
                "ref": "refs/heads/main", "event_name": "push",
            })))
            .unwrap();
        let ask = Ask {
            credential: "api".to_owned(),
            ..Ask::default()
        };
        let decision = set.explain_nearest(&facts, &ask, NOW);
        let disclosed = decision.disclosed(hallpass::policy::Disclosure::Always);
        let mut shown = serde_json::to_value(&disclosed).unwrap();
        shown["revision"] = json!("");
        shown
    };
    assert_eq!(answer(&shadowed), answer(&without));
}

/// T-268
#[test]
fn check_fails_past_the_date_and_the_broker_only_warns() {
    let set = PolicySet::from_texts(&[("root.yaml", ROOT)]).unwrap().set;
    let until: Timestamp = Timestamp::from_unix(1_801_418_400);
    assert_eq!(set.overdue(NOW, Severity::Warning), []);
    let overdue = set.overdue(until, Severity::Warning);
    let rules: Vec<_> = overdue.iter().map(|one| (one.severity, one.rule)).collect();
    assert_eq!(rules, [(Severity::Warning, "shadow-past"); 2]);
    let past = ROOT.replace("2027-01-31", "2020-01-31");
    let dir = folder(&[("policies/root.yaml", &past)]);
    let output = hallpass(&["policy", "check", "policies"], dir.path());
    assert_eq!(output.status.code(), Some(4));
    let said = text(&output.stdout);
    assert!(
        said.contains(
            "`shadow_until` of policy `branches` was 2020-01-31T18:00:00Z: it still has no effect"
        ),
        "{said}"
    );
    assert!(
        said.contains("`shadow_until` of requirement `hosted`"),
        "{said}"
    );
    assert!(
        PolicySet::load(&dir.path().join("policies"))
            .unwrap()
            .servable()
            .is_ok()
    );
}
