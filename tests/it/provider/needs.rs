//! Conditions that the tokens of a CI make necessary: each profile has some rule about each.

use std::collections::BTreeSet;

use hallpass::policy::PolicySet;
use hallpass::provider::{Need, PROVIDERS, Provider, Wanted};
use hallpass::yaml::Severity;

/// The findings in the policies to start from, with other conditions.
fn findings(provider: &Provider, when: &[String]) -> Vec<(&'static str, Severity, String)> {
    let indented = |lines: &[String]| {
        let lines: Vec<String> = lines.iter().map(|line| format!("      {line}\n")).collect();
        lines.concat()
    };
    let usual: Vec<String> = provider.guide.when.lines().map(str::to_owned).collect();
    let (usual, other) = (indented(&usual), indented(when));
    let text = provider.policies();
    assert!(text.contains(&usual), "{text}");
    let text = text.replace(&usual, &other);
    let loaded = PolicySet::from_texts(&[("root.yaml", &text)]);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{}: {errors}\n{text}", provider.name));
    let findings = loaded.findings.iter();
    findings
        .map(|one| (one.rule, one.severity, one.message.clone()))
        .collect()
}

/// The conditions of the guide without that need.
fn without(provider: &Provider, need: &Need) -> Vec<String> {
    let mut lines: Vec<String> = provider.guide.when.lines().map(str::to_owned).collect();
    for wanted in need.any_of {
        let start = format!("{}: ", wanted.fact());
        if let Wanted::Except(_, [word, ..]) = wanted {
            let line = lines
                .iter_mut()
                .find(|line| line.starts_with(&start))
                .unwrap();
            *line = format!("{start}{word}");
        } else if lines.len() > 1 {
            lines.retain(|line| !line.starts_with(&start));
        } else if let Some(value) = lines[0].strip_prefix(&start) {
            lines[0] = format!("{start}{{ glob: \"{value}*\" }}");
        }
    }
    lines
}

/// T-433
#[test]
fn each_need_of_each_provider_is_found_where_it_is_missing() {
    let mut checked = 0;
    for provider in PROVIDERS {
        for need in provider.needs {
            let found = findings(provider, &without(provider, need));
            let expected = (
                "missing-condition",
                need.severity,
                format!("policy `{}-deploy` {}", provider.name, need.without),
            );
            assert!(found.contains(&expected), "{}: {found:?}", provider.name);
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}

/// T-433
#[test]
fn each_provider_of_jobs_has_rules_about_what_its_tokens_do_not_say() {
    // Findings about these come from rules of their own: see `tests/lint`.
    let by_rules = BTreeSet::from(["github", "gitlab", "forgejo", "fly", "buddy"]);
    for provider in PROVIDERS {
        let is_of_jobs = !provider.is_of_people() && !provider.claims.is_empty();
        let is_known = !provider.needs.is_empty() || by_rules.contains(provider.name);
        assert!(!is_of_jobs || is_known, "{}", provider.name);
        // A project with an ID is never named without it: the rule `name-without-id`.
        if ["fly", "buddy", "buildkite"].contains(&provider.name) {
            let lines = provider.guide.when.lines().map(str::to_owned);
            let lines: Vec<_> = lines
                .filter(|line| !line.starts_with("project_id"))
                .collect();
            let named = lines.iter().filter(|line| !line.starts_with("owner_id"));
            let found = findings(provider, &named.cloned().collect::<Vec<_>>());
            let is_found = found.iter().any(|(rule, ..)| *rule == "name-without-id");
            // A tenant with an ID settles it.
            let has_tenants = provider.guide.issuer.contains("tenants");
            assert_eq!(is_found, !has_tenants, "{}: {found:?}", provider.name);
        }
    }
}
