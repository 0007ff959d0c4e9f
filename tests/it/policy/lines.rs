//! `never:` and `only:` lines of test files: statements about all jobs.

use super::*;

const POLICIES: &str = r#"zone: Europe/Berlin
issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
  ci:
    provider: generic
    url: https://ci.acme.dev
    facts: { repository: /repo, ref: /branch, phase: /groups }
    types: { phase: list }
  people: { provider: people, url: https://id.acme.dev, client_id: hallpass }
credentials:
  deploy: { kind: jwt, audience: https://deploy.acme.dev, scopes: [staging, production], max_ttl: 1h, owner: team-shop, purpose: deploys, class: critical }
  report: { kind: jwt, audience: https://report.acme.dev, max_ttl: 10m, owner: team-shop, purpose: reports, class: low }
  first: { kind: jwt, audience: https://first.acme.dev, max_ttl: 10m, owner: team-ci, purpose: a condition that is too long for the proof, class: low }
policies:
  - name: shop-staging
    issuer: github
    when: { repository: acme/shop, repository_id: "702114500", ref: { glob: "refs/heads/*" } }
    grant: [ { credential: deploy, ttl: 30m, scopes: [staging] } ]
  - name: shop-production
    issuer: github
    when: { repository: acme/shop, repository_id: "702114500", environment: production, runner: hosted }
    grant: [ { credential: deploy, ttl: 15m, scopes: [staging, production] } ]
  - name: shop-pull-requests
    issuer: github
    when: { repository: acme/shop, repository_id: "702114500", trigger: pull_request }
    grant: [ { credential: report, ttl: 5m } ]
  - name: shop-operators
    issuer: people
    when: { trigger: person, groups: { member: operators, not: { member: guests } }, mfa: true, signed_in: { within: 1h }, email: { glob: "*@acme.dev" }, time: { days: [mon, tue, wed, thu, fri], hours: "08:00-18:00" }, source_ip: 10.0.0.0/8 }
    grant: [ { credential: deploy, ttl: 5m, scopes: [staging] } ]
  - name: shop-first
    issuer: ci
    when: { repository: shop, phase: [ { member: a0, not: { member: b0 } }, { member: a1, not: { member: b1 } }, { member: a2, not: { member: b2 } }, { member: a3, not: { member: b3 } }, { member: a4, not: { member: b4 } }, { member: a5, not: { member: b5 } }, { member: a6, not: { member: b6 } }, { member: a7, not: { member: b7 } } ] }
    grant: [ { credential: first, ttl: 5m } ]
"#;

/// The results of these sections of a test file, and the exit code.
fn proven(lines: &str) -> (Option<i32>, String) {
    let dir = folder(&[
        ("policies/root.yaml", POLICIES),
        ("policies/all.test.yaml", lines),
    ]);
    let output = hallpass(&["policy", "test"], dir.path());
    let said = [text(&output.stdout), text(&output.stderr)].concat();
    (output.status.code(), said)
}

#[track_caller]
fn passes(lines: &str) -> String {
    let (code, said) = proven(lines);
    assert_eq!(code, Some(0), "{said}");
    said
}

#[track_caller]
fn fails(lines: &str, parts: &[&str]) {
    let (code, said) = proven(lines);
    assert_eq!(code, Some(4), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
}

fn line(kind: &str, rest: &str) -> String {
    format!("{kind}:\n  - {{ name: one, because: reasons, {rest} }}\n")
}

/// T-350
#[test]
fn a_never_line_passes_only_if_no_job_at_all_gets_it() {
    passes(&line(
        "never",
        "of: { class: critical }, jobs: { trigger: [pull_request, pull_request_target] }",
    ));
    fails(
        &line("never", "of: all, jobs: { trigger: pull_request }"),
        &[
            "\u{2717} never: one",
            "because: reasons",
            "a job that fits `jobs` gets `report`",
            "  repository: acme/shop",
            "  trigger: pull_request",
            "1 test of the policies failed",
        ],
    );
    // Which scopes, and how long.
    let production = "of: { credential: deploy }, jobs: { runner: self_hosted }";
    let production = production.replace("self_hosted", "self-hosted");
    fails(&line("never", &production), &["gets `deploy`"]);
    passes(&line(
        "never",
        &format!("{production}, scopes: [production]"),
    ));
    fails(
        &line(
            "never",
            &format!("{production}, scopes: [production, staging]"),
        ),
        &["gets `deploy`"],
    );
    passes(&line("never", &format!("{production}, longer_than: 30m")));
    fails(
        &line("never", &format!("{production}, longer_than: 29m")),
        &["gets `deploy`"],
    );
}

/// T-350
#[test]
fn a_never_line_says_which_jobs_are_let_in_because_they_do_not_say() {
    // A policy that asks for the environment lets in no job without one.
    let lines = line(
        "never",
        "of: { credential: deploy }, jobs: { environment: staging }, scopes: [production]",
    );
    assert!(!passes(&lines).contains("note:"));
    let policies = POLICIES.replace(
        "environment: production, runner: hosted",
        "environment: production, runner: { present: false }",
    );
    let dir = folder(&[
        ("policies/root.yaml", &policies),
        (
            "policies/all.test.yaml",
            &line(
                "never",
                "of: { credential: deploy }, jobs: { runner: self-hosted }, scopes: [production]",
            ),
        ),
    ]);
    let output = hallpass(&["policy", "test"], dir.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stdout);
    assert!(
        said.contains(
            "note: a job that does not say `runner` gets `deploy`, and does not fit `jobs`"
        ),
        "{said}"
    );
    assert!(said.contains("  environment: production"), "{said}");
}

/// T-350
#[test]
fn an_only_line_passes_only_if_every_job_that_gets_it_fits() {
    let production = "of: { class: critical }, scopes: [production]";
    passes(&line(
        "only",
        &format!("{production}, jobs: {{ environment: production, runner: hosted }}"),
    ));
    passes(&line(
        "only",
        &format!("{production}, jobs: {{ issuer: github, repository_id: \"702114500\" }}"),
    ));
    fails(
        &line(
            "only",
            &format!("{production}, jobs: {{ ref: refs/heads/main }}"),
        ),
        &["a job that does not fit `jobs` gets `deploy`"],
    );
    // Silence does not fit.
    fails(
        &line("only", "of: { class: critical }, jobs: { runner: hosted }"),
        &["gets `deploy`"],
    );
    fails(
        &line(
            "only",
            "of: { class: critical }, jobs: { actor: { present: true } }",
        ),
        &["gets `deploy`"],
    );
}

/// T-350
#[test]
fn a_line_that_says_nothing_or_is_not_decided_fails() {
    for kind in ["never", "only"] {
        fails(
            &line(
                kind,
                "of: { credential: { glob: \"shop/*\" } }, jobs: { runner: hosted }",
            ),
            &["`of` selects no credential"],
        );
        fails(
            &line(
                kind,
                "of: { credential: report }, jobs: { runner: hosted }, scopes: [production]",
            ),
            &["`of` selects no credential with one of `scopes`"],
        );
        fails(
            &line(kind, "of: all, jobs: { issuer: github, owner: emca }"),
            &["no job of any tenant fits `jobs`"],
        );
    }
    fails(
        &line(
            "never",
            "of: { credential: first }, jobs: { issuer: ci, ref: refs/heads/main }",
        ),
        &["not decided for `first`"],
    );
}

/// T-312
#[test]
fn a_line_is_proven_about_windows_groups_and_people() {
    let of = "of: { credential: deploy }";
    for jobs in [
        "{ groups: { member: guests } }",
        "{ mfa: false }",
        "{ mfa: { present: false }, trigger: person }",
        "{ email: { glob: \"*@other.dev\" } }",
        "{ trigger: person, time: { days: [sat, sun] } }",
        "{ trigger: person, time: { hours: \"18:00-24:00\" } }",
        "{ trigger: person, source_ip: 192.168.0.0/16 }",
    ] {
        passes(&line("never", &format!("{of}, jobs: {jobs}")));
    }
    for (jobs, shown) in [
        (
            "{ trigger: person, groups: { member: operators } }",
            "groups: operators",
        ),
        ("{ mfa: true }", "mfa: true"),
        (
            "{ trigger: person, time: { days: [mon], hours: \"17:59-18:00\" } }",
            // A Monday in Berlin.
            "T16:59:00Z",
        ),
        (
            "{ trigger: person, source_ip: 10.7.0.0/16 }",
            "source_ip: 10.7.0.0",
        ),
        ("{ signed_in: { within: 1h } }", "signed_in: "),
    ] {
        fails(
            &line("never", &format!("{of}, jobs: {jobs}")),
            &["a job that fits `jobs` gets `deploy`", shown],
        );
    }
    let staging = "of: { credential: deploy }, scopes: [staging]";
    fails(
        &line("only", &format!("{staging}, jobs: {{ runner: hosted }}")),
        &["a job that does not fit `jobs` gets `deploy`"],
    );
}

#[test]
fn lines_are_read_as_strictly_as_requirements() {
    for (lines, part) in [
        (line("never", "jobs: { runner: hosted }"), "`of`"),
        (
            line("only", "of: { owner: team-shpo }, jobs: { runner: hosted }"),
            "did you mean `team-shop`?",
        ),
        (
            line("only", "of: all, jobs: { repository_id: \"1\" }"),
            "without its issuer",
        ),
        (
            line("never", "of: all, jobs: { runer: hosted }"),
            "did you mean `runner`?",
        ),
        (
            line(
                "never",
                "of: all, jobs: { runner: hosted }, unless: { runner: hosted }",
            ),
            "unless",
        ),
        (
            "never:\n  - { name: a, of: all, jobs: { runner: hosted } }\n".to_owned(),
            "`because`",
        ),
        (
            format!(
                "{}{}",
                line("never", "of: all, jobs: { runner: hosted }"),
                line("only", "of: all, jobs: { runner: hosted }")
            ),
            "`one` is defined twice",
        ),
        ("{}\n".to_owned(), "a test file has no tests"),
    ] {
        let (code, said) = proven(&lines);
        assert_eq!(code, Some(4), "{said}");
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// T-351
#[test]
fn a_teams_lines_are_about_its_own_credentials() {
    let root = ROOT.replace(
        "credentials:",
        "teams:\n  pay:\n    folder: teams/pay\n    names: [{ glob: \"pay/**\" }]\n    jobs: { issuer: github, owner_id: \"65923871\", repository_id: \"7\" }\n    uses: { jwt: { audiences: [https://pay.acme.dev], at_least: low } }\n    owner: team-pay\n    may: { max_ttl: 10m }\ncredentials:",
    );
    let pay = "credentials:\n  pay/post: { kind: jwt, audience: https://pay.acme.dev, max_ttl: 5m, owner: team-pay, purpose: posts, class: low }\npolicies:\n  - { name: pay/post, issuer: github, when: { repository: acme/pay, repository_id: \"7\", runner: hosted }, grant: [ { credential: pay/post, ttl: 5m } ] }\n";
    let tested = |lines: &str| {
        let dir = folder(&[
            ("policies/root.yaml", &root),
            ("policies/app.yaml", APP),
            ("policies/teams/pay/pay.yaml", pay),
            ("policies/teams/pay/pay.test.yaml", lines),
        ]);
        let output = hallpass(&["policy", "test"], dir.path());
        (output.status.code(), text(&output.stdout))
    };
    let (code, said) = tested(&line("only", "of: all, jobs: { runner: hosted }"));
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = tested(&line(
        "never",
        "of: { credential: app }, jobs: { runner: hosted }",
    ));
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("selects no credential of the team"), "{said}");
}

#[test]
fn lines_are_results_beside_tests_in_every_output() {
    let both = format!(
        "{}{}",
        line("never", "of: all, jobs: { trigger: pull_request }"),
        "only:\n  - { name: '<two>', of: { class: critical }, scopes: [production], jobs: { repository: acme/shop }, because: x }\n"
    );
    let dir = folder(&[
        ("policies/root.yaml", POLICIES),
        ("policies/all.test.yaml", &both),
    ]);
    let output = hallpass(&["policy", "test", "--output", "json"], dir.path());
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = json["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["kind"], &lines[0]["passed"]),
        (&"never".into(), &false.into())
    );
    assert_eq!(lines[0]["problem"]["claims"]["repository"], "acme/shop");
    assert_eq!(lines[1]["passed"], true);
    let output = hallpass(
        &["policy", "test", "--output", "junit", "--run", "two"],
        dir.path(),
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let xml = text(&output.stdout);
    assert!(xml.contains("name=\"only: &lt;two&gt;\""), "{xml}");
    assert!(!xml.contains("never"), "{xml}");
}

/// T-312
#[test]
fn a_policy_that_can_never_match_is_found_by_the_proof() {
    let found = |when: &str, require: &str| {
        let policies = APP.replace(
            "repository: acme/app, repository_id: \"702114500\"",
            &format!("repository: acme/app, repository_id: \"702114500\", {when}"),
        );
        let dir = folder(&[
            ("root.yaml", &format!("{ROOT}{require}")),
            ("app.yaml", &policies),
        ]);
        let loaded = PolicySet::load(dir.path()).unwrap();
        let found = loaded.findings.iter();
        let found = found.filter(|one| one.rule == "never-matches");
        found.map(|one| one.message.clone()).collect::<Vec<_>>()
    };
    let require = "require:\n  - { name: hosted, of: all, jobs: { runner: hosted }, because: x }\n";
    assert!(found("ref: refs/heads/main", require).is_empty());
    let window = "zone: Europe/Berlin\nrequire:\n  - { name: window, of: all, jobs: { time: { days: [mon, tue], hours: \"08:00-18:00\" } }, because: x }\n";
    assert!(found("time: { hours: \"17:00-24:00\" }", window).is_empty());
    for (when, require) in [
        ("runner: self-hosted", require),
        ("runner: { present: false }", require),
        ("time: { days: [wed] }", window),
        ("time: { hours: \"18:00-24:00\" }", window),
        (
            "ref: { glob: \"refs/heads/a*\", not: { glob: \"refs/heads/**\" } }",
            "",
        ),
        ("ref: refs/heads/main, claim: { /ref: refs/heads/dev }", ""),
    ] {
        let found = found(when, require);
        assert_eq!(found.len(), 1, "{when}: {found:?}");
        assert!(found[0].contains("gives nothing to any job"), "{found:?}");
    }
}
