//! The laws of the decision, whatever the policies and the job are.
#![cfg(test)]

use std::time::Duration;

use hallpass::clock::Timestamp;
use hallpass::policy::pattern::Glob;
use hallpass::policy::{Ask, Loaded, PolicySet};
use hallpass::provider::Facts;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::provider::object;

const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

const ROOT: &str = r#"
issuers:
  github: { provider: github, properties: { tier: text, pci: boolean }, tenants: [ { owner: acme, owner_id: "1" } ] }
  plain: { provider: generic, url: https://ci.acme.dev, facts: { repository: "/repository" } }
credentials:
  a: { kind: jwt, audience: https://a.acme.dev, scopes: [x, z], max_ttl: 10m, owner: o, purpose: p, class: low }
  b: { kind: jwt, audience: https://b.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: critical }
"#;

/// A policy as text, part by part, so that parts can be added.
#[derive(Clone, Debug)]
struct Draft {
    name: String,
    when: Vec<Vec<String>>,
    grant: Vec<String>,
}

impl Draft {
    fn text(&self) -> String {
        let blocks: Vec<_> = self
            .when
            .iter()
            .map(|lines| format!("{{ {} }}", lines.join(", ")))
            .collect();
        format!(
            "  - {{ name: {}, issuer: github, when: [ {} ], grant: [ {} ] }}\n",
            self.name,
            blocks.join(", "),
            self.grant.join(", ")
        )
    }
}

/// Conditions by fact, so that no fact stands twice in a block.
fn condition() -> impl Strategy<Value = (usize, String)> {
    let choices: Vec<(&str, &[&str])> = vec![
        (
            "repository",
            &[
                "acme/a",
                "[acme/a, acme/b]",
                "{ glob: \"acme/*\" }",
                "{ not: acme/b }",
                "{ under: acme }",
            ],
        ),
        (
            "repository_id",
            &["\"10\"", "[\"10\", \"11\"]", "{ present: true }"],
        ),
        (
            "ref",
            &[
                "refs/heads/main",
                "{ glob: \"refs/**\" }",
                "{ glob: \"refs/heads/*\", not: refs/heads/x }",
            ],
        ),
        (
            "environment",
            &[
                "prod",
                "{ not: [dev, { glob: \"t*\" }] }",
                "{ present: true }",
            ],
        ),
        (
            "trigger",
            &[
                "push",
                "[push, pull_request]",
                "{ present: true }",
                "chained",
            ],
        ),
        ("ref_protected", &["true", "false", "{ present: true }"]),
        (
            "job_workflow",
            &[
                "{ path: w.yml }",
                "{ ref: refs/heads/main }",
                "{ path: { glob: \"*\" }, ref: { not: refs/heads/x } }",
            ],
        ),
        (
            "property",
            &[
                "{ tier: critical }",
                "{ pci: true }",
                "{ tier: { not: low } }",
                "{ tier: { glob: \"c*\" }, pci: false }",
            ],
        ),
        (
            "source_ip",
            &[
                "10.0.0.0/8",
                "[10.1.0.0/16, \"2001:db8::/32\"]",
                "{ not: 10.1.0.0/16 }",
            ],
        ),
        (
            "claim",
            &[
                "{ \"/enterprise\": e }",
                "{ \"/extra\": true }",
                "{ \"/list\": { not: \"m\" } }",
            ],
        ),
    ];
    (0..choices.len()).prop_flat_map(move |fact| {
        let (name, patterns) = choices[fact];
        (0..patterns.len())
            .prop_map(move |pattern| (fact, format!("{name}: {}", patterns[pattern])))
    })
}

fn block() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(condition(), 1..4).prop_map(|mut lines| {
        lines.sort();
        lines.dedup_by_key(|line| line.0);
        lines.into_iter().map(|line| line.1).collect()
    })
}

fn draft(name: usize) -> impl Strategy<Value = Draft> {
    let grant = prop::sample::select(vec![
        "{ credential: a, ttl: 5m, scopes: [x] }",
        "{ credential: a, ttl: 5m, scopes: [z] }",
        "{ credential: a, ttl: 1m, scopes: [x, z] }",
        "{ credential: b, ttl: 10m }",
        "{ credential: b, ttl: 2m }",
    ]);
    (
        prop::collection::vec(block(), 1..3),
        prop::collection::vec(grant, 1..3),
    )
        .prop_map(move |(when, grant)| Draft {
            name: format!("p{name}"),
            when,
            grant: grant.into_iter().map(str::to_owned).collect(),
        })
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    (draft(0), draft(1), draft(2)).prop_map(|(a, b, c)| vec![a, b, c])
}

fn requirement() -> impl Strategy<Value = String> {
    (
        prop::sample::select(vec![
            "all",
            "{ class: critical }",
            "{ credential: { glob: a } }",
        ]),
        block(),
    )
        .prop_map(|(of, jobs)| {
            let jobs: Vec<_> = jobs
                .into_iter()
                .filter(|line| !line.starts_with("repository_id"))
                .collect();
            let mut jobs = jobs;
            if jobs.iter().any(|line| line.starts_with("property")) {
                jobs.push("issuer: github".to_owned());
            }
            let jobs = if jobs.is_empty() {
                "runner: hosted".to_owned()
            } else {
                jobs.join(", ")
            };
            format!("  - {{ name: r, of: {of}, jobs: {{ {jobs} }}, because: so }}\n")
        })
}

fn claims() -> impl Strategy<Value = Map<String, Value>> {
    fn any_of(values: &'static [&'static str]) -> impl Strategy<Value = Value> {
        prop::sample::select(values.to_vec()).prop_map(|text| json!(text))
    }
    (
        any_of(&["acme/a", "acme/b", "other/a"]),
        any_of(&["10", "11", "12"]),
        any_of(&["refs/heads/main", "refs/heads/x", "refs/tags/v1", ""]),
        any_of(&["prod", "dev", "test", ""]),
        any_of(&["push", "push", "pull_request", "workflow_run", "issues"]),
        any_of(&["true", "false"]),
        any_of(&["w.yml@refs/heads/main", "v.yml@refs/heads/x", "w.yml"]),
        any_of(&["critical", "low", ""]),
        any_of(&["10.1.2.3", "10.2.0.1", "192.0.2.7", "2001:db8::7"]),
        prop::collection::vec(any::<bool>(), 11),
    )
        .prop_map(
            |(
                repository,
                id,
                r#ref,
                environment,
                event,
                protected,
                workflow,
                tier,
                address,
                keep,
            )| {
                let all = json!({
                    "iss": "https://token.actions.githubusercontent.com",
                    "repository_owner": "acme", "repository_owner_id": "1",
                    "event_name": event, "repository": repository, "repository_id": id,
                    "runner_environment": "github-hosted", "list": "k,m",
                    "ref": r#ref, "environment": environment, "ref_protected": protected,
                    "job_workflow_ref": workflow, "enterprise": "e", "extra": true,
                    "repo_property_tier": tier, "repo_property_pci": "true",
                    ADDRESS: address,
                });
                let Value::Object(mut all) = all else {
                    panic!("an object")
                };
                let optional = [
                    "ref",
                    "environment",
                    "ref_protected",
                    "job_workflow_ref",
                    "enterprise",
                    "extra",
                    "list",
                    "repo_property_tier",
                    "repo_property_pci",
                    "runner_environment",
                    ADDRESS,
                ];
                for (name, keep) in optional.iter().zip(keep) {
                    if !keep {
                        all.remove(*name);
                    }
                }
                all
            },
        )
}

fn ask() -> impl Strategy<Value = Ask> {
    let scopes = prop::sample::select(vec![
        None,
        Some(vec!["x"]),
        Some(vec!["x", "z"]),
        Some(vec![]),
    ]);
    let ttl = prop::sample::select(vec![None, Some(30), Some(200), Some(500), Some(601)]);
    (prop::sample::select(vec!["a", "b", "c"]), scopes, ttl).prop_map(
        |(credential, scopes, ttl)| Ask {
            credential: credential.to_owned(),
            scopes: scopes.map(|list: Vec<&str>| list.into_iter().map(str::to_owned).collect()),
            ttl: ttl.map(Duration::from_secs),
            ..Ask::default()
        },
    )
}

fn load(texts: &[(&str, &str)]) -> Loaded {
    PolicySet::from_texts(texts).unwrap_or_else(|errors| panic!("{errors}"))
}

fn set(drafts: &[Draft], requirement: Option<&str>) -> PolicySet {
    let policies: String = drafts.iter().map(Draft::text).collect();
    let mut text = format!("policies:\n{policies}");
    if let Some(requirement) = requirement {
        text.extend(["require:\n", requirement]);
    }
    load(&[("root.yaml", ROOT), ("p.yaml", &text)]).set
}

fn facts(set: &PolicySet, claims: &Map<String, Value>) -> Facts {
    let reader = set.reader_by_url(claims["iss"].as_str().unwrap()).unwrap();
    let facts = reader
        .facts(object(&Value::Object(claims.clone())))
        .unwrap();
    let address = claims.get(ADDRESS).and_then(Value::as_str);
    facts.from_address(address.map(|address| address.parse().unwrap()))
}

/// The address of the request, which the strategies keep with the claims.
const ADDRESS: &str = "test_address";

fn permits(set: &PolicySet, claims: &Map<String, Value>, ask: &Ask) -> bool {
    set.explain(&facts(set, claims), ask, NOW).is_permitted()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// T-52, T-76
    #[test]
    fn adding_a_condition_never_permits_more(
        drafts in drafts(), claims in claims(), ask in ask(), extra in condition(), at in 0_usize..3,
    ) {
        let wide = set(&drafts, None);
        let mut narrower = drafts;
        // A second condition on a fact replaces none: it is added where the block has none on it.
        let fact = extra.1.split(':').next().unwrap().to_owned();
        for lines in &mut narrower[at].when {
            if !lines.iter().any(|line| line.split(':').next() == Some(fact.as_str())) {
                // `trigger` is the one fact whose naming lets runs in: that is its meaning.
                if fact != "trigger" {
                    lines.push(extra.1.clone());
                }
            }
        }
        let narrow = set(&narrower, None);
        prop_assert!(!permits(&narrow, &claims, &ask) || permits(&wide, &claims, &ask));
    }

    #[test]
    fn adding_a_requirement_never_permits_more(
        drafts in drafts(), claims in claims(), ask in ask(), requirement in requirement(),
    ) {
        let wide = set(&drafts, None);
        let narrow = set(&drafts, Some(&requirement));
        prop_assert!(!permits(&narrow, &claims, &ask) || permits(&wide, &claims, &ask));
    }

    /// T-47
    #[test]
    fn removing_a_claim_never_permits_more(
        drafts in drafts(), claims in claims(), ask in ask(), requirement in requirement(),
    ) {
        let set = set(&drafts, Some(&requirement));
        if !permits(&set, &claims, &ask) {
            for name in claims.keys().filter(|name| *name != "iss") {
                let mut fewer = claims.clone();
                fewer.remove(name);
                prop_assert!(!permits(&set, &fewer, &ask), "without {name}");
                fewer.insert(name.clone(), Value::Null);
                prop_assert!(!permits(&set, &fewer, &ask), "with {name}: null");
            }
        }
    }

    /// T-48: text that is no printable ASCII satisfies nothing, also where it only looks like what
    /// would, and wherever in the value it stands.
    #[test]
    fn a_claim_that_holds_more_than_ascii_never_permits_more(
        drafts in drafts(), claims in claims(), ask in ask(), odd in any::<char>(), at in 0_usize..12, which in 0_usize..16,
    ) {
        prop_assume!(!(' '..='~').contains(&odd));
        let set = set(&drafts, None);
        let texts: Vec<&String> = claims.iter().filter(|(name, value)| *name != "iss" && value.is_string()).map(|(name, _)| name).collect();
        let name = texts[which % texts.len()].clone();
        let mut letters: Vec<char> = claims[&name].as_str().unwrap().chars().collect();
        letters.insert(at.min(letters.len()), odd);
        let mut changed = claims.clone();
        changed.insert(name.clone(), json!(letters.into_iter().collect::<String>()));
        let reader = set.reader_by_url(claims["iss"].as_str().unwrap()).unwrap();
        let mut without = claims;
        without.remove(&name);
        if let Ok(facts) = reader.facts(object(&Value::Object(changed))) {
            let permitted = set.explain(&facts, &ask, NOW).is_permitted();
            prop_assert!(!permitted || permits(&set, &without, &ask), "{name}");
            for (fact, value) in facts.iter() {
                prop_assert!(value.to_string().bytes().all(|byte| matches!(byte, b' '..=b'~')), "{fact}");
            }
        }
    }

    #[test]
    fn the_order_of_files_and_entries_never_matters(
        drafts in drafts(), claims in claims(), ask in ask(), requirement in requirement(),
    ) {
        let forward = set(&drafts, Some(&requirement));
        let mut turned = drafts;
        turned.reverse();
        for draft in &mut turned {
            draft.when.reverse();
            draft.grant.reverse();
            for lines in &mut draft.when {
                lines.reverse();
            }
        }
        let policies: String = turned.iter().map(Draft::text).collect();
        let text = format!("require:\n{requirement}policies:\n{policies}");
        let backward = load(&[("a.yaml", &text), ("z.yaml", ROOT)]).set;
        let (one, other) = (facts(&forward, &claims), facts(&backward, &claims));
        prop_assert_eq!(
            forward.explain(&one, &ask, NOW).verdict,
            backward.explain(&other, &ask, NOW).verdict
        );
        prop_assert_eq!(forward.available(&one, NOW), backward.available(&other, NOW));
    }

    #[test]
    fn reading_what_was_printed_gives_the_same_policies(drafts in drafts()) {
        let first = set(&drafts, None);
        let printed: String = first.policies().iter().map(hallpass::policy::Policy::to_yaml).collect();
        let text = format!("policies:\n{printed}");
        let second = load(&[("root.yaml", ROOT), ("p.yaml", &text)]).set;
        prop_assert_eq!(first.policies(), second.policies());
    }

    /// T-80
    #[test]
    fn a_permit_is_within_one_grant_of_one_policy_that_holds_alone(
        drafts in drafts(), claims in claims(), ask in ask(),
    ) {
        let all = set(&drafts, None);
        let permitted = permits(&all, &claims, &ask);
        let mut alone = false;
        for draft in &drafts {
            for when in &draft.when {
                for grant in &draft.grant {
                    let one = Draft { name: draft.name.clone(), when: vec![when.clone()], grant: vec![grant.clone()] };
                    alone |= permits(&set(&[one], None), &claims, &ask);
                }
            }
        }
        prop_assert_eq!(permitted, alone);
        if let hallpass::policy::decide::Verdict::Permitted { policy, ttl, scopes } = all.explain(&facts(&all, &claims), &ask, NOW).verdict {
            let policy = all.policies().iter().find(|known| known.name == policy).unwrap();
            let covers = policy.grants.iter().any(|grant| {
                grant.credential.name == ask.credential && ttl <= grant.longest()
                    && scopes.iter().all(|scope| grant.scopes.contains(scope))
            });
            prop_assert!(covers);
            prop_assert!(ask.ttl.is_none_or(|asked| asked == ttl), "never trimmed");
        }
    }

    /// The lines of a decision say the same as its verdict.
    #[test]
    fn the_trace_of_a_decision_agrees_with_its_verdict(
        drafts in drafts(), claims in claims(), ask in ask(), requirement in requirement(),
    ) {
        use hallpass::policy::decide::GrantOutcome;
        let set = set(&drafts, Some(&requirement));
        let decision = set.explain(&facts(&set, &claims), &ask, NOW);
        let policy = decision.policies.iter().any(|policy| policy.holds() && policy.grant == GrantOutcome::Covers);
        let requirements = decision.requirements.iter().all(|requirement| requirement.holds);
        let tenant = decision.tenants.iter().any(hallpass::policy::decide::BlockOutcome::holds);
        prop_assert_eq!(decision.is_permitted(), policy && requirements && tenant);
    }

    /// The literals of a credential's ways say the same as the decision.
    #[test]
    fn the_ways_to_a_credential_admit_what_the_decision_admits(drafts in drafts(), claims in claims()) {
        let set = set(&drafts, None);
        let facts = facts(&set, &claims);
        let available = set.available(&facts, NOW);
        for credential in set.credentials() {
            let ways = set.ways(&credential.name);
            let admitted = ways.iter().any(|way| way.literals.iter().all(|literal| literal.holds(&facts)));
            let is_available = available.iter().any(|one| one.credential.name == credential.name);
            prop_assert_eq!(admitted, is_available, "{}", credential.name);
            for literal in ways.iter().flat_map(|way| &way.literals) {
                prop_assert!(literal.place.position().0 > 0);
            }
        }
    }

    /// T-132: an explanation within limits comes to the same verdict, and so does the list of what a
    /// job may have.
    #[test]
    fn every_explanation_has_the_same_verdict(
        drafts in drafts(), claims in claims(), ask in ask(), requirement in requirement(),
    ) {
        let set = set(&drafts, Some(&requirement));
        let facts = facts(&set, &claims);
        let nearest = set.explain_nearest(&facts, &ask, NOW);
        prop_assert_eq!(&nearest.verdict, &set.explain(&facts, &ask, NOW).verdict);
        let unasked = Ask { scopes: None, ttl: None, ..ask };
        let one = set.explain_nearest(&facts, &unasked, NOW);
        let listed = set.available(&facts, NOW);
        let listed = listed.iter().any(|offer| offer.credential.name == unasked.credential);
        prop_assert_eq!(listed, one.is_permitted());
    }

    /// T-75
    #[test]
    fn a_glob_without_a_star_fits_exactly_itself(text in "[ -~&&[^*?{}\\[\\]\\\\]]{1,40}", other in "[ -~]{0,40}") {
        let glob = Glob::parse(&text).unwrap();
        prop_assert!(glob.fits(&text));
        prop_assert_eq!(glob.fits(&other), text == other);
        let longer = format!("{text}x");
        prop_assert!(!glob.fits(&longer));
    }

    /// T-75: the matcher agrees with the plain definition of its stars.
    #[test]
    fn a_glob_fits_what_its_definition_says(pattern in "[ab/*]{1,8}", value in "[ab/]{0,10}") {
        fn fits(pattern: &[u8], value: &[u8]) -> bool {
            match pattern {
                [] => value.is_empty(),
                [b'*', b'*', rest @ ..] => (0..=value.len()).any(|at| fits(rest, &value[at..])),
                [b'*', rest @ ..] => (0..=value.len())
                    .take_while(|at| !value[..*at].contains(&b'/'))
                    .any(|at| fits(rest, &value[at..])),
                [byte, rest @ ..] => value.first() == Some(byte) && fits(rest, &value[1..]),
            }
        }
        if let Ok(glob) = Glob::parse(&pattern) {
            prop_assert_eq!(glob.fits(&value), fits(pattern.as_bytes(), value.as_bytes()));
        }
    }
}
