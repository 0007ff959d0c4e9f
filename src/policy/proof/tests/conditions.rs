//! Conditions on what is of the request, on lists and on people: what is proven, and its witness.

use super::*;
use crate::provider::{Fact, FactValue, Job};

const ROOT: &str = r"
zone: Europe/Berlin
issuers:
  github:
    provider: github
    url: https://ghe.acme.dev/_services/token
    properties: { tier: text, team: list, pci: boolean }
  gitlab: { provider: gitlab, url: https://gitlab.acme.dev }
  plain:
    provider: generic
    url: https://ci.acme.dev
    facts: { repository: /repo, groups: /in, actor: /who }
    types: { actor: list }
  people: { provider: people, url: https://id.acme.dev, client_id: hallpass, mfa: { amr: [otp, hwk], acr: [gold] } }
credentials:
  api: { kind: jwt, audience: https://api.acme.dev, max_ttl: 10m, owner: a, purpose: p, class: low }
";

fn load(root: &str, more: &str) -> PolicySet {
    let loaded = PolicySet::from_texts(&[("root.yaml", root), ("more.yaml", more)]);
    loaded.unwrap_or_else(|errors| panic!("{errors}")).set
}

/// A policy, and a requirement if it is not empty.
fn with(issuer: &str, when: &str, until: &str, require: &str) -> PolicySet {
    let until = if until.is_empty() {
        String::new()
    } else {
        format!("until: {until}, ")
    };
    let mut text = format!(
        "policies:\n  - {{ name: p, issuer: {issuer}, when: {when}, {until}grant: [ {{ credential: api, ttl: 5m }} ] }}\n"
    );
    if !require.is_empty() {
        let jobs = [
            "require:\n  - { name: r, of: all, jobs: ",
            require,
            ", because: b }\n",
        ];
        text.extend(jobs);
    }
    load(ROOT, &text)
}

/// Whether a job gets it. The witness was put through the decision.
fn is_found(set: &PolicySet, about: &str) -> Option<Found> {
    match Question::any_job(set, "api", NOW).answer() {
        Answer::Found(found) => {
            let witness = Job::of_facts(found.witness.facts.clone());
            set.decide(witness, &found.ask, found.at).unwrap();
            Some(*found)
        }
        Answer::Proven => None,
        Answer::NotDecided(reason) => panic!("{about}: {reason}"),
    }
}

/// The change lets in a job that the old set refuses, and one that the new set refuses.
#[track_caller]
fn changes(old: &PolicySet, new: &PolicySet, wider: bool, narrower: bool) {
    for (from, to, expected) in [(old, new, wider), (new, old, narrower)] {
        let answers = gained(from, to);
        match answers.as_slice() {
            [] => assert!(!expected),
            [Answer::Found(found)] => {
                assert!(expected, "{found:?}");
                let witness = || Job::of_facts(found.witness.facts.clone());
                assert!(to.decide(witness(), &found.ask, found.at).is_ok());
                assert!(from.decide(witness(), &found.ask, found.at).is_err());
            }
            answers => panic!("{answers:?}"),
        }
    }
}

/// T-303, T-304, T-305
#[test]
fn every_condition_of_the_language_is_read() {
    for &(issuer, when, require, expected) in CONDITIONS {
        let set = with(issuer, when, "", require);
        let found = is_found(&set, when);
        assert_eq!(found.is_some(), expected, "{when} {require}: {found:?}");
        changes(&set, &set, false, false);
    }
}

/// An issuer, a condition, a requirement if it is not empty, and whether there is a job for both.
const CONDITIONS: &[(&str, &str, &str, bool)] = &[
    ("github", "{ time: { days: [mon] } }", "", true),
    (
        "github",
        "{ time: { days: [mon] } }",
        "{ time: { days: [tue] } }",
        false,
    ),
    (
        "github",
        "{ time: { days: [mon], hours: \"08:00-18:00\" } }",
        "{ time: { hours: \"17:59-24:00\" } }",
        true,
    ),
    (
        "github",
        "{ time: { days: [mon], hours: \"08:00-18:00\" } }",
        "{ time: { hours: \"18:00-24:00\" } }",
        false,
    ),
    ("plain", "{ groups: { member: ops } }", "", true),
    (
        "plain",
        "{ groups: { not: { member: ops } } }",
        "{ groups: { member: ops } }",
        false,
    ),
    (
        "plain",
        "{ groups: { member: dev, not: { member: ops } } }",
        "{ groups: { present: true } }",
        true,
    ),
    (
        "plain",
        "{ groups: { member: dev } }",
        "{ groups: { present: false } }",
        false,
    ),
    (
        "plain",
        "{ groups: { not: { member: dev } } }",
        "{ groups: { not: { member: ops } } }",
        true,
    ),
    (
        "plain",
        "{ groups: [ { member: a }, { not: { member: b } } ] }",
        "{ groups: { member: b, not: { member: a } } }",
        false,
    ),
    // The list as one text, or as a list; what is at an index is an entry.
    (
        "plain",
        "{ groups: { member: a }, claim: { /in: \"b,a\" } }",
        "",
        true,
    ),
    (
        "plain",
        "{ groups: { member: a }, claim: { /in: \"b,c\" } }",
        "",
        false,
    ),
    (
        "plain",
        "{ groups: { member: a, not: { member: b } }, claim: { /in: { glob: \"**b**\" } } }",
        "",
        true,
    ),
    (
        "plain",
        "{ groups: { member: \"a,b\" }, claim: { /in: { glob: \"**\" } } }",
        "",
        false,
    ),
    (
        "plain",
        "{ groups: { present: false }, claim: { /in: { glob: \"**\" } } }",
        "",
        true,
    ),
    (
        "plain",
        "{ groups: { member: a }, claim: { /in/0: b } }",
        "",
        true,
    ),
    (
        "plain",
        "{ groups: { not: { member: b } }, claim: { /in/3: b } }",
        "",
        false,
    ),
    (
        "plain",
        "{ groups: { present: false }, claim: { /in/1: b } }",
        "",
        false,
    ),
    (
        "plain",
        "{ groups: { present: false }, claim: { /in/1: { present: false } } }",
        "",
        true,
    ),
    ("plain", "{ claim: { /in/x: a } }", "", false),
    ("plain", "{ claim: { /in/0/x: a } }", "", false),
    (
        "gitlab",
        "{ claim: { /user_identities/1/provider: a, /user_identities/0: { present: false } } }",
        "",
        true,
    ),
    (
        "github",
        "{ property: { team: { member: pay } } }",
        "",
        true,
    ),
    (
        "github",
        "{ property: { team: { member: pay }, tier: critical, pci: true } }",
        "",
        true,
    ),
    (
        "github",
        "{ property: { team: { member: pay, not: { member: pay } } } }",
        "",
        false,
    ),
    // A ref is said in full, or by its name and type.
    (
        "gitlab",
        "{ ref: refs/heads/main, claim: { /ref_path: { present: false } } }",
        "",
        true,
    ),
    (
        "gitlab",
        "{ ref: refs/heads/main, claim: { /ref_path: { present: false }, /ref: other } }",
        "",
        false,
    ),
    (
        "gitlab",
        "{ ref: { present: false }, claim: { /ref: main, /ref_type: branch } }",
        "",
        false,
    ),
    (
        "gitlab",
        "{ ref: { present: false }, claim: { /ref: main, /ref_type: x } }",
        "",
        true,
    ),
    (
        "gitlab",
        "{ ref: refs/tags/a, ref_type: branch, claim: { /ref: a } }",
        "",
        false,
    ),
    ("people", "{ trigger: person, mfa: true }", "", true),
    (
        "people",
        "{ trigger: person, mfa: true, claim: { /amr: { present: false } } }",
        "",
        true,
    ),
    (
        "people",
        "{ trigger: person, mfa: true, claim: { /amr: { present: false }, /acr: silver } }",
        "",
        false,
    ),
    (
        "people",
        "{ trigger: person, mfa: false, claim: { /acr: gold } }",
        "",
        false,
    ),
    (
        "people",
        "{ trigger: person, mfa: false, claim: { /acr: silver } }",
        "",
        true,
    ),
    (
        "people",
        "{ trigger: person, mfa: { present: false }, claim: { /acr: silver } }",
        "",
        false,
    ),
    (
        "people",
        "{ trigger: person, mfa: false, claim: { /amr/0: hwk } }",
        "",
        false,
    ),
    ("people", "{ trigger: person, email: a@acme.dev }", "", true),
    (
        "people",
        "{ trigger: person, email: a@acme.dev, claim: { /email_verified: false } }",
        "",
        false,
    ),
    (
        "people",
        "{ trigger: person, email: { present: false }, claim: { /email: a@acme.dev } }",
        "",
        true,
    ),
    (
        "people",
        "{ trigger: person, email: { present: false }, claim: { /email: a@acme.dev, /email_verified: true } }",
        "",
        false,
    ),
    (
        "people",
        "{ trigger: person, signed_in: { within: 1h } }",
        "",
        true,
    ),
    (
        "people",
        "{ trigger: person, signed_in: { within: 1h }, claim: { /auth_time: { present: false } } }",
        "",
        false,
    ),
    (
        "people",
        "{ trigger: person, signed_in: { within: 1h }, groups: { member: ops } }",
        "{ groups: { member: dev } }",
        true,
    ),
    (
        // A text is a list of what is between its commas.
        "people",
        "{ trigger: person, groups: { member: ops }, claim: { /groups: ops } }",
        "",
        true,
    ),
];

/// T-313
#[test]
fn a_witness_has_names_that_look_real() {
    for (issuer, was, now, fact, expected) in [
        (
            "github",
            "{ ref: refs/heads/main }",
            "{ ref: { glob: \"refs/heads/**\" } }",
            Fact::Ref,
            "refs/heads/feature",
        ),
        (
            "github",
            "{ ref: [refs/heads/main, refs/heads/feature] }",
            "{ ref: { glob: \"refs/heads/**\" } }",
            Fact::Ref,
            "refs/heads/next",
        ),
        (
            "github",
            "{ job_workflow: { path: acme/ci/x.yml, ref: refs/heads/main } }",
            "{ job_workflow: { path: acme/ci/x.yml, ref: { glob: \"refs/heads/**\" } } }",
            Fact::JobWorkflow,
            "acme/ci/x.yml@refs/heads/next",
        ),
        (
            "people",
            "{ trigger: person, email: a@acme.dev }",
            "{ trigger: person, email: { glob: \"*@acme.dev\" } }",
            Fact::Email,
            "next@acme.dev",
        ),
        (
            "plain",
            "{ repository: shop, source_ip: 10.0.0.0/8 }",
            "{ repository: shop }",
            Fact::SourceIp,
            "192.0.2.7",
        ),
    ] {
        let answers = gained(&with(issuer, was, "", ""), &with(issuer, now, "", ""));
        let [Answer::Found(found)] = answers.as_slice() else {
            panic!("{answers:?}");
        };
        let shown = found.witness.facts.get(fact).map(FactValue::to_string);
        assert_eq!(shown.as_deref(), Some(expected));
    }
}

/// T-303
#[test]
fn a_window_that_is_left_out_or_shorter_is_found_with_a_moment_outside_it() {
    let policy = |when: &str| with("github", when, "", "");
    let office = "time: { days: [mon, tue], hours: \"08:00-18:00\" }";
    let (always, window) = (
        policy("{ runner: hosted }"),
        policy(&format!("{{ runner: hosted, {office} }}")),
    );
    changes(&window, &always, true, false);
    changes(&window, &window, false, false);
    let later = policy("{ runner: hosted, time: { days: [mon, tue], hours: \"08:00-18:01\" } }");
    changes(&window, &later, true, false);
    let [Answer::Found(found)] = &gained(&window, &later)[..] else {
        panic!();
    };
    // The first such minute, in Berlin.
    assert_eq!(found.at.to_string(), "2026-11-23T17:00:00Z");
    // The same hours, written as two blocks.
    let parts = policy(
        "[ { runner: hosted, time: { days: [mon, tue], hours: \"08:00-12:00\" } }, { runner: hosted, time: { days: [mon, tue], hours: \"12:00-18:00\" } } ]",
    );
    for (old, new) in [(&parts, &window), (&window, &parts)] {
        assert!(gained(old, new).is_empty());
    }
    // A zone that is another one for a part of the year.
    let text = "policies:\n  - { name: p, issuer: github, when: { time: { hours: \"08:00-18:00\" } }, grant: [ { credential: api, ttl: 5m } ] }\n";
    let zone = |zone: &str| load(&ROOT.replace("Europe/Berlin", zone), text);
    changes(&zone("Europe/Berlin"), &zone("Africa/Lagos"), true, true);
    changes(&zone("Europe/Berlin"), &zone("Europe/Paris"), false, false);
}

/// T-303
#[test]
fn an_end_and_a_window_are_read_together() {
    // Now it is Wednesday, and in Berlin it is Thursday from eleven o'clock on.
    let days = "{ time: { days: [thu] } }";
    let ended = with("github", days, "2026-11-18T23:00:00Z", "");
    assert!(is_found(&ended, days).is_none());
    let day = with("github", days, "2026-11-20T00:00:00Z", "");
    assert!(is_found(&day, days).is_some());
    changes(&ended, &day, true, false);
    // A longer time in which no such day is.
    let longer = with("github", days, "2026-11-25T00:00:00Z", "");
    changes(&day, &longer, false, false);
}

/// T-304
#[test]
fn a_list_is_compared_entry_by_entry_whatever_else_it_has() {
    let policy = |when: &str| with("plain", &format!("{{ groups: {when} }}"), "", "");
    let ops = policy("{ member: ops }");
    changes(&ops, &policy("{ present: true }"), true, false);
    changes(
        &ops,
        &policy("{ member: ops, not: { member: dev } }"),
        false,
        true,
    );
    changes(
        &ops,
        &policy("[ { member: ops }, { member: dev } ]"),
        true,
        false,
    );
    changes(&ops, &policy("{ not: { member: dev } }"), true, true);
    changes(
        &policy("{ present: true }"),
        &policy("[ { member: ops }, { not: { member: ops } } ]"),
        false,
        false,
    );
    let answers = gained(&ops, &policy("{ not: { member: dev } }"));
    let [Answer::Found(found)] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    let groups = found.witness.facts.get(Fact::Groups);
    assert_eq!(groups, Some(&FactValue::List(vec!["other".to_owned()])));
}

/// T-305
#[test]
fn an_age_a_factor_and_an_address_of_people_are_compared() {
    let policy = |when: &str| with("people", &format!("{{ trigger: person, {when} }}"), "", "");
    let hour = policy("signed_in: { within: 1h }");
    changes(&hour, &policy("signed_in: { within: 2h }"), true, false);
    changes(&hour, &policy("signed_in: { within: 60m }"), false, false);
    let answers = gained(&hour, &policy("signed_in: { within: 2h }"));
    let [Answer::Found(found)] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    let signed_in = found.witness.facts.get(Fact::SignedIn);
    assert_eq!(signed_in, Some(&FactValue::Time(found.at.plus(-3_601))));
    changes(
        &policy("mfa: true"),
        &policy("mfa: { present: true }"),
        true,
        false,
    );
    changes(&policy("mfa: true"), &policy("mfa: false"), true, true);
    changes(
        &policy("email: a@acme.dev"),
        &policy("email: { glob: \"*@acme.dev\" }"),
        true,
        false,
    );
    changes(
        &policy("email: a@acme.dev"),
        &policy("claim: { /email: a@acme.dev }"),
        true,
        false,
    );
}
