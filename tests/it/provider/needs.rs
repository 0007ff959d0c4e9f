//! Conditions that the tokens of a CI make necessary: each profile has some rule about each.

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
    // A tenant with the account's number meets the need of Google's policies.
    let text = text.replace(
        r#"tenants: [ { project_id: "110987294251917851298" } ]"#,
        r#"tenants: [ { owner_id: "739215846013" } ]"#,
    );
    findings_in(provider.name, &text)
}

fn findings_in(name: &str, text: &str) -> Vec<(&'static str, Severity, String)> {
    let loaded = PolicySet::from_texts(&[("root.yaml", text)]);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{name}: {errors}\n{text}"));
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

/// T-433: for those without a need, a rule finds the policy.
#[test]
fn each_provider_of_jobs_has_rules_about_what_its_tokens_do_not_say() {
    let by_rules = [
        ("github", "ref: refs/heads/main", "any-repository"),
        (
            "gitlab",
            "repository: acme-group/shop, repository_id: \"61840277\", trigger: pull_request",
            "forks-let-in",
        ),
        (
            "forgejo",
            "repository: platform/shop, actor: ann",
            "user-controlled",
        ),
        ("fly", "project: shop-runner", "name-without-id"),
        (
            "buddy",
            "project: shop, claim: { /ref: main }",
            "user-controlled",
        ),
    ];
    for provider in PROVIDERS {
        let is_of_jobs = !provider.is_of_people() && !provider.claims.is_empty();
        let by_rule = by_rules.iter().any(|(name, ..)| *name == provider.name);
        let is_known = by_rule || !provider.needs.is_empty();
        assert_eq!(is_of_jobs, is_known, "{}", provider.name);
    }
    for (name, when, rule) in by_rules {
        let provider = hallpass::provider::find(name).unwrap();
        let lines: Vec<String> = when.split(", ").map(str::to_owned).collect();
        let found = findings(provider, &lines);
        let is_found = found.iter().any(|(found, ..)| *found == rule);
        assert!(is_found, "{name}: {rule}: {found:?}");
    }
}

const CREDENTIAL: &str = "credentials:\n  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: moderate }\n";

/// The needs that a policy of this issuer leaves out.
fn left_out(issuer: &str, when: &str, more: &str) -> Vec<String> {
    let name = issuer.split(':').next().unwrap();
    let text = format!(
        "issuers:\n  {issuer}\n{CREDENTIAL}policies:\n  - name: app\n    issuer: {name}\n    when: {{ {when} }}\n    grant: [ {{ credential: app, ttl: 5m }} ]\n{more}"
    );
    let found = findings_in(name, &text).into_iter();
    let ours = found.filter(|(rule, ..)| *rule == "missing-condition");
    ours.map(|(_, _, message)| message.replace("policy `app` ", ""))
        .collect()
}

const CIRCLECI: &str = "circleci: { provider: circleci, url: https://oidc.circleci.com/org/7c2b9d10-41ef-4f5a-9b0e-6d8a1c3f2e77 }";
const AZURE: &str = "azure: { provider: azure-devops, url: https://vstoken.dev.azure.com/4d2f8b61-9c3e-4a7d-b150-6e8f0a2c4d93, shared_audience: accepted }";
const SEMAPHORE: &str = "semaphore: { provider: semaphore, url: https://acme.semaphoreci.com, shared_audience: accepted }";
const BITRISE: &str =
    "bitrise: { provider: bitrise, tenants: [ { tenant_id: 2a4c6e8b0d1f3a5c } ] }";
const CLUSTER: &str = "cluster: { provider: kubernetes, url: https://k8s.acme.dev }";

/// T-433: nor one on what the fact must not be.
#[test]
fn a_condition_that_limits_no_value_meets_no_need() {
    for (issuer, when, fact, value) in [
        (
            CIRCLECI,
            "project_id: e1a4c6d8-0b2f-4d19-8c37-5f9e7a6b4d21, debug_session: false",
            "repository",
            "acme/shop",
        ),
        (
            SEMAPHORE,
            "project_id: 1e1fcfb5-09c0-487e-b051-2d0b5514c42a, debug_session: false",
            "ref",
            "refs/heads/main",
        ),
        (
            BITRISE,
            "project_id: 8f1c2d3e4a5b6c7d",
            "ref",
            "refs/heads/main",
        ),
        (
            AZURE,
            "project_id: b86a1d3f-5e70-4c92-8a4b-2d6f9e1c7b05, definition_id: \"37\"",
            "ref",
            "refs/heads/main",
        ),
        (
            AZURE,
            "project_id: b86a1d3f-5e70-4c92-8a4b-2d6f9e1c7b05, definition_id: \"37\"",
            "service_connection",
            "c2f4a6b8-1d3e-4f50-9a7b-8c6d4e2f0a19",
        ),
    ] {
        for (pattern, expected) in [
            (value.to_owned(), 0),
            (format!("{{ glob: \"{value}*\", not: {value}-x }}"), 0),
            ("{ present: true }".to_owned(), 1),
            ("{ present: false }".to_owned(), 1),
            (format!("{{ not: {value} }}"), 1),
            (format!("[{value}, {{ not: {value}-x }}]"), 1),
        ] {
            let when = format!("{when}, {fact}: {pattern}");
            let found = left_out(issuer, &when, "");
            assert_eq!(found.len(), expected, "{when}: {found:?}");
        }
    }
}

/// T-433
#[test]
fn a_need_is_met_by_every_tenant_of_the_issuer_or_by_a_requirement() {
    let vercel = |tenants: &str| {
        format!(
            "vercel: {{ provider: vercel, url: https://oidc.vercel.com/acme, tenants: [ {tenants} ] }}"
        )
    };
    let production = "{ owner_id: team_4Gw7, environment: production }";
    let preview = "{ owner_id: team_4Gw7, environment: preview }";
    let when = "project: storefront, project_id: prj_9Hx5";
    for (tenants, expected) in [
        (production.to_owned(), 0),
        (format!("{production}, {production}"), 0),
        (format!("{production}, {preview}"), 1),
        (format!("{production}, {{ owner_id: team_4Gw7 }}"), 1),
    ] {
        let found = left_out(&vercel(&tenants), when, "");
        assert_eq!(found.len(), expected, "{tenants}: {found:?}");
    }
    let google =
        r#"google: { provider: google, tenants: [ { project_id: "110987294251917851298" } ] }"#;
    let address = "project: release-runner@acme-build-4411.iam.gserviceaccount.com";
    assert_eq!(left_out(google, address, ""), [""; 0]);
    let owner = CLUSTER.replace(" }", ", tenants: [ { owner: ci } ] }");
    assert_eq!(left_out(&owner, "project: release-runner", ""), [""; 0]);
    let require = |of: &str| {
        let require =
            format!("require:\n  - {{ name: r, of: {of}, jobs: {{ owner: ci }}, because: so }}\n");
        left_out(CLUSTER, "project: release-runner", &require).len()
    };
    assert_eq!((require("all"), require("{ class: critical }")), (0, 1));
}

/// T-433
#[test]
fn each_need_that_differs_is_found_once() {
    let when = "project_id: e1a4c6d8-0b2f-4d19-8c37-5f9e7a6b4d21";
    assert_eq!(left_out(CIRCLECI, when, "").len(), 2);
    assert_eq!(left_out(CLUSTER, "claim: { /x: text }", "").len(), 2);
    let terraform = "terraform: { provider: hcp-terraform, tenants: [ { owner: acme, owner_id: org-7kQnV2bLxZ9pRd4T } ] }";
    let when = "project: network-prod, project_id: ws-Zp4DyE9uVnA6jFq1";
    assert_eq!(left_out(terraform, when, "").len(), 1);
}

/// T-433: its UID is the service account, in whatever namespace.
#[test]
fn the_uid_of_a_service_account_is_enough() {
    let uid = "project_id: a087d5a0-e1dd-43ec-93ac-f13d89cd13af";
    assert_eq!(left_out(CLUSTER, uid, ""), [""; 0]);
    assert_eq!(left_out(CLUSTER, "project: release-runner", "").len(), 1);
    assert_eq!(left_out(CLUSTER, "owner: ci", "").len(), 1);
}
