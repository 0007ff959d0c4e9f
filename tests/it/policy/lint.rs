//! Rules of lint, where two examples are not enough.

use super::*;
use crate::support::tokens::{TestKey, jwks};

const GITHUB: &str =
    "github: { provider: github, tenants: [ { owner: acme, owner_id: \"65923871\" } ] }";
const BUILDKITE: &str = "buildkite: { provider: buildkite, tenants: [ { owner: acme, owner_id: f892efa9-103e-4d28-97a1-3b8616a0994d } ] }";
const BUDDY: &str = "buddy: { provider: buddy, tenants: [ { project_id: \"45289\" } ], url: https://eu-oidc.buddyusercontent.com }";
const BITRISE: &str =
    "bitrise: { provider: bitrise, tenants: [ { tenant_id: 2a4c6e8b0d1f3a5c } ] }";
const AWS: &str = "aws: { provider: aws, url: https://a1ebc705-cd4d-42b4-93b5-96e93acfb431.tokens.sts.global.api.aws }";
const PEOPLE: &str =
    "people: { provider: people, url: https://login.acme.dev, client_id: hallpass-login }";

/// The findings in one policy, and in what `more` says.
fn findings(issuer: &str, when: &str, more: &str) -> Vec<Diagnostic> {
    let name = issuer.split(':').next().unwrap();
    let text = format!(
        "issuers:\n  {issuer}\n\
         credentials:\n  app: {{ kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: moderate }}\n\
         policies:\n  - name: app\n    issuer: {name}\n    when: {{ {when} }}\n    grant: [ {{ credential: app, ttl: 5m }} ]\n{more}"
    );
    let loaded = PolicySet::from_texts(&[("root.yaml", &text)]);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    loaded.findings.iter().cloned().collect()
}

/// What `rule` finds: severity, message and help.
fn found(rule: &str, issuer: &str, when: &str, more: &str) -> Vec<(Severity, String, String)> {
    let all = findings(issuer, when, more).into_iter();
    let ours = all.filter(|one| one.rule == rule);
    ours.map(|one| (one.severity, one.message, one.help.unwrap_or_default()))
        .collect()
}

/// T-83
#[test]
fn a_condition_that_every_value_or_none_meets_limits_nothing() {
    let app = "repository: acme/app, repository_id: \"702114500\"";
    for (rule, issuer, when, limit, value) in [
        (
            "user-controlled",
            GITHUB,
            format!("{app}, actor: ann"),
            "ref",
            "refs/heads/main",
        ),
        (
            "user-controlled",
            GITHUB,
            format!("{app}, actor: ann"),
            "environment",
            "production",
        ),
        (
            "environment-without-ref",
            GITHUB,
            format!("{app}, environment: production"),
            "ref",
            "refs/heads/main",
        ),
        (
            "public-self-hosted",
            GITHUB,
            format!("{app}, runner: self-hosted"),
            "visibility",
            "private",
        ),
        (
            "any-repository",
            GITHUB,
            "ref: refs/heads/main".to_owned(),
            "repository",
            "acme/app",
        ),
        (
            "any-repository",
            BITRISE,
            "ref: refs/heads/main".to_owned(),
            "project_id",
            "8f1c2d3e4a5b6c7d",
        ),
    ] {
        assert_eq!(found(rule, issuer, &when, "").len(), 1, "{rule}: {when}");
        let other = format!("{value}2");
        for (pattern, expected) in [
            (value.to_owned(), 0),
            (format!("[{value}, {other}]"), 0),
            ("{ present: true }".to_owned(), 1),
            (format!("{{ not: {value} }}"), 1),
            (format!("[{value}, {{ not: {value} }}]"), 1),
        ] {
            let when = format!("{when}, {limit}: {pattern}");
            assert_eq!(
                found(rule, issuer, &when, "").len(),
                expected,
                "{rule}: {when}"
            );
        }
    }
    let pull = "repository: acme/app, repository_id: \"61840277\", trigger: pull_request";
    let gitlab =
        "gitlab: { provider: gitlab, tenants: [ { owner: acme, owner_id: \"9133570\" } ] }";
    for (from_fork, expected) in [("false", 0), ("{ present: true }", 1)] {
        let when = format!("{pull}, from_fork: {from_fork}");
        assert_eq!(found("forks-let-in", gitlab, &when, "").len(), expected);
    }
    for (groups, expected) in [("{ member: dba }", 0), ("{ present: true }", 1)] {
        let when = format!("groups: {groups}");
        assert_eq!(found("any-repository", PEOPLE, &when, "").len(), expected);
    }
}

/// T-83: but not one that some credential of the policy is free of, or that is not in force.
#[test]
fn a_requirement_on_all_that_a_policy_grants_counts_as_its_condition() {
    let when = "repository: acme/app, repository_id: \"702114500\", environment: production";
    let count = |require: &str| {
        let more = format!("require:\n  - {{ name: r, because: so, {require} }}\n");
        found("environment-without-ref", GITHUB, when, &more).len()
    };
    let jobs = "jobs: { ref: refs/heads/main }";
    assert_eq!(count(&format!("of: all, {jobs}")), 0);
    assert_eq!(count(&format!("of: {{ kind: jwt }}, {jobs}")), 0);
    assert_eq!(count(&format!("of: {{ class: critical }}, {jobs}")), 1);
    assert_eq!(count("of: all, jobs: { ref: { present: true } }"), 1);
    let until = "shadow_until: 2099-01-01T00:00:00Z";
    assert_eq!(count(&format!("of: all, {jobs}, {until}")), 1);
    let unless = |limit: &str| format!("of: all, {jobs}, unless: {{ {limit} }}");
    assert_eq!(count(&unless("trigger: schedule")), 1);
    assert_eq!(count(&unless("ref: refs/heads/next")), 0);
}

/// T-83
#[test]
fn a_claim_that_others_choose_is_found_by_its_pointer_and_by_those_below_it() {
    let app = "project_id: 0184990a-4782-42b5-afc1-16715b10b1b0";
    for (issuer, when, claim, expected) in [
        (BUILDKITE, app, "/agent_tag:queue", 1),
        (BUILDKITE, app, "/step_key", 1),
        (
            BUILDKITE,
            app,
            "/https:~1~1aws.amazon.com~1tags/principal_tags",
            1,
        ),
        (BUILDKITE, app, "/cluster_id", 0),
        (BUILDKITE, app, "/step_keys", 0),
        (BITRISE, "project_id: 8f1c2d3e4a5b6c7d", "/trigger_by", 1),
        (BITRISE, "project_id: 8f1c2d3e4a5b6c7d", "/trigger_byte", 0),
        (GITHUB, "repository_id: \"702114500\"", "/actor", 1),
        (
            AWS,
            "owner_id: \"123456789012\"",
            "/https:~1~1sts.amazonaws.com~1/request_tags/team",
            1,
        ),
        (
            AWS,
            "owner_id: \"123456789012\"",
            "/https:~1~1sts.amazonaws.com~1/principal_tags/team",
            0,
        ),
    ] {
        let when = format!("{when}, claim: {{ {claim}: x }}");
        let found = found("user-controlled", issuer, &when, "");
        assert_eq!(found.len(), expected, "{claim}: {found:?}");
    }
}

/// T-83
#[test]
fn the_help_names_only_facts_that_the_tokens_have() {
    let help = |issuer: &str, when: &str| {
        let found = found("user-controlled", issuer, when, "");
        found.first().map(|(_, _, help)| help.clone()).unwrap()
    };
    let both = "add `ref`, or an `environment` with protection rules";
    assert_eq!(
        help(GITHUB, "repository_id: \"702114500\", actor: ann"),
        both
    );
    assert_eq!(
        help(
            BUILDKITE,
            "project_id: 0184990a-4782-42b5-afc1-16715b10b1b0, claim: { /step_key: x }"
        ),
        "add `ref`"
    );
    let claim = "claim: { /ref: main }";
    assert_eq!(
        help(BUDDY, &format!("project: shop, {claim}")),
        "remove it, or name `project_id`"
    );
    assert_eq!(
        help(BUDDY, &format!("project_id: \"45289\", {claim}")),
        "remove it"
    );
}

/// T-83: of any provider, since a cluster can be written as `generic` too.
#[test]
fn the_address_of_every_cluster_needs_pinned_keys() {
    let keys = text(&jwks(&[TestKey::rsa("k1").jwk()]));
    for provider in [
        "provider: kubernetes",
        "provider: generic, facts: { project: \"/sub\" }",
    ] {
        for host in [
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "kubernetes.default",
            "kubernetes.default.svc.evil.example",
            "k8s.acme.dev",
        ] {
            for pinned in [false, true] {
                let more = if pinned {
                    "jwks: { file: keys/cluster.json }"
                } else {
                    "networks: [10.0.0.0/8]"
                };
                let root =
                    format!("issuers:\n  c: {{ {provider}, url: \"https://{host}\", {more} }}\n");
                let dir = folder(&[("root.yaml", &root), ("keys/cluster.json", &keys)]);
                let loaded = PolicySet::load(dir.path());
                let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
                let mut findings = loaded.findings.iter();
                let is_found = findings.any(|one| one.rule == "default-cluster-issuer");
                let is_default = !pinned && host != "k8s.acme.dev";
                assert_eq!(is_found, is_default, "{root}");
            }
        }
    }
}
