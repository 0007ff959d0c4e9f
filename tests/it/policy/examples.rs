//! `policy test`: files of tests, what they expect, coverage, and tests that are recorded.

use std::os::unix::fs::MetadataExt as _;

use super::*;

fn test(dir: &Path, more: &[&str]) -> Output {
    let mut args = vec!["policy", "test"];
    args.extend(more);
    hallpass(&args, dir)
}

/// The standard output of a run with that exit code.
fn printed(dir: &Path, more: &[&str], code: i32) -> String {
    let output = test(dir, more);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    text(&output.stdout)
}

const SHOP: &str = r#"tests:
  - name: main can migrate
    job:
      like: github-push
      environment: production
    asks: { credential: shop-db/migrate, ttl: 15m }
    gets: { policy: shop-migrate, ttl: 15m }
  - name: a pull request cannot
    job: { like: github-push, trigger: pull_request }
    asks: { credential: shop-db/migrate }
    refused: { because: [ref, trigger, environment] }
  - name: not on a runner of our own
    job: { like: github-push, environment: production, runner: self-hosted }
    asks: { credential: shop-db/migrate }
    refused: { because: [ { requirement: hosted-runners } ] }
  - name: an unrelated job
    job: { like: github-push, repository: evil/shop, repository_id: "1", owner_id: "2" }
    asks: { credential: shop-db/migrate }
    refused: { because: tenant }
  - name: too long
    job: { like: github-push, environment: production }
    asks: { credential: shop-db/migrate, ttl: 30m }
    refused: { because: ttl }
  - name: too much
    job: { like: github-push, environment: staging }
    asks: { credential: deploy-api, scopes: ["deploy:production"] }
    refused: { because: scopes }
  - name: reports
    job: { issuer: gitlab, like: gitlab-push }
    asks: { credential: shop-db/read }
    gets: { policy: shop-reports }
"#;

#[test]
fn tests_of_decisions_pass_and_fail_with_what_differs() {
    let dir = company();
    write(dir.path(), "policies/shop.test.yaml", SHOP);
    let all = printed(dir.path(), &[], 0);
    assert!(all.ends_with("7 tests: 7 passed, 0 failed\n"), "{all}");
    // The policies are checked and served without their tests.
    let check = hallpass(&["policy", "check", "policies"], dir.path());
    assert!(text(&check.stdout).contains("nothing found"), "{check:?}");
    let one = printed(dir.path(), &["--run", "too"], 0);
    assert!(one.contains("2 tests: 2 passed"), "{one}");
    printed(dir.path(), &["--run", "nothing of that name"], 4);

    // A condition that is removed fails the test that it was for, and names it.
    let shop = fs::read_to_string(dir.path().join("policies/shop.yaml")).unwrap();
    let wider = shop.replacen("      environment: production\n", "", 1);
    write(dir.path(), "policies/shop.yaml", &wider);
    let failed = printed(dir.path(), &[], 4);
    assert!(failed.contains("5 passed, 2 failed"), "{failed}");
    let expected = "  ✗ a pull request cannot
      at policies/shop.test.yaml:8:11
      - refused: { because: [environment, ref, trigger] }
      + refused: { because: [ref, trigger] }
        policy shop-migrate:
        ref: refs/heads/main: the job has refs/pull/7/merge
        trigger: [push, manual]: the job has pull_request
";
    assert!(failed.contains(expected), "{failed}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one mistake after the other")]
fn a_test_file_with_a_mistake_is_explained_and_nothing_is_run() {
    let dir = company();
    let job = "job: { like: github-push }\n    asks: { credential: shop-db/migrate }";
    let entry = |name: &str, lines: &str| format!("  - name: {name}\n    {lines}\n");
    for (lines, rule) in [
        (entry("a", job), "missing-key"),
        (
            entry(
                "a",
                &format!("{job}\n    gets: {{ policy: x }}\n    refused: {{ because: ref }}"),
            ),
            "duplicate",
        ),
        (
            entry(
                "a",
                &format!("{job}\n    refused: {{ because: [enviroment] }}"),
            ),
            "reason",
        ),
        (
            entry("a", &format!("{job}\n    refused: {{ because: [] }}")),
            "empty",
        ),
        (
            entry("a", &format!("{job}\n    refused: {{}}")),
            "missing-key",
        ),
        (
            entry(
                "a",
                &format!(
                    "{}\n    refused: {{ because: ref }}",
                    job.replace("github-push", "github-pull")
                ),
            ),
            "sample",
        ),
        (
            entry(
                "a",
                &format!(
                    "{}\n    refused: {{ because: ref }}",
                    job.replace("like: github-push", "issuer: nobody")
                ),
            ),
            "unknown-issuer",
        ),
        (
            entry(
                "a",
                &format!(
                    "{}\n    refused: {{ because: ref }}",
                    job.replace("like: github-push", "issuer: github, repository: acme/shop")
                ),
            ),
            "job",
        ),
        (
            entry(
                "a",
                &format!(
                    "{}\n    refused: {{ because: ref }}",
                    job.replace(
                        "like: github-push",
                        "like: github-push, event: issues, trigger: push"
                    )
                ),
            ),
            "job",
        ),
        (
            entry(
                "a",
                &format!(
                    "{}\n    refused: {{ because: ref }}",
                    job.replace("like: github-push", "like: github-push, owner: other")
                ),
            ),
            "job",
        ),
        (
            entry(
                "a",
                &format!(
                    "{}\n    refused: {{ because: ref }}",
                    job.replace("like: github-push", "like: github-push, repository_id: 1")
                ),
            ),
            "unquoted",
        ),
        (
            entry("a", &format!("{job}\n    refused: {{ because: ref }}")).repeat(2),
            "duplicate",
        ),
        (
            entry("a", &format!("{job}\n    refuse: {{ because: ref }}")),
            "unknown-key",
        ),
    ] {
        write(
            dir.path(),
            "policies/shop.test.yaml",
            &format!("tests:\n{lines}"),
        );
        let output = test(dir.path(), &[]);
        assert_eq!(output.status.code(), Some(4), "{lines}: {output:?}");
        let errors = text(&output.stderr);
        assert!(
            errors.contains(&format!("error[{rule}]")),
            "{lines}: {errors}"
        );
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    fs::remove_file(dir.path().join("policies/shop.test.yaml")).unwrap();
    let none = test(dir.path(), &[]);
    assert_eq!(none.status.code(), Some(4), "{none:?}");
    assert!(text(&none.stderr).contains("--write"), "{none:?}");
    let missing = test(dir.path(), &["nowhere"]);
    assert_eq!(missing.status.code(), Some(5));
}

#[test]
fn the_coverage_names_what_no_test_exercises() {
    let dir = company();
    write(dir.path(), "policies/shop.test.yaml", SHOP);
    let all = printed(dir.path(), &["--coverage"], 0);
    assert!(
        all.contains(
            "policies/shop.yaml:48:11: policy `shop-staging`: no test gets a credential from it"
        ),
        "{all}"
    );
    assert!(
        all.contains("policy `shop-reports`: no test is refused by `ref_protected`"),
        "{all}"
    );
    assert!(
        !all.contains("policy `shop-migrate`: no test is refused by `environment`"),
        "{all}"
    );
    assert!(
        all.contains("2 of 3 policies covered, 3 of 14 conditions, 1 of 1 requirement"),
        "{all}"
    );
    let json: Value =
        serde_json::from_str(&printed(dir.path(), &["--coverage", "--output", "json"], 0)).unwrap();
    assert_eq!(json["coverage"]["policies"]["covered"], 2);
    assert_eq!(json["tests"].as_array().unwrap().len(), 7);
    assert_eq!(
        json["tests"][1]["expected"],
        "refused: { because: [environment, ref, trigger] }"
    );
    let percent = json["coverage"]["percent"].as_u64().unwrap();
    printed(
        dir.path(),
        &["--coverage", "--threshold", &percent.to_string()],
        0,
    );
    printed(
        dir.path(),
        &["--coverage", "--threshold", &(percent + 1).to_string()],
        4,
    );
    printed(dir.path(), &["--threshold", "5"], 2);
}

#[test]
fn recorded_tests_cover_everything_and_notice_each_change() {
    let dir = company();
    let planned = printed(dir.path(), &["--write", "--dry-run"], 0);
    assert!(planned.contains("shop.test.yaml"), "{planned}");
    assert!(!dir.path().join("policies/shop.test.yaml").exists());
    printed(dir.path(), &["--write"], 0);
    let path = dir.path().join("policies/shop.test.yaml");
    let recorded = fs::read_to_string(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().mode() & 0o022,
        0,
        "as a policy file must be"
    );
    let covered = printed(dir.path(), &["--coverage", "--threshold", "100"], 0);
    assert!(covered.contains("coverage 100%"), "{covered}");
    let again = printed(dir.path(), &["--write"], 0);
    assert!(again.contains("has a test already"), "{again}");
    assert_eq!(fs::read_to_string(&path).unwrap(), recorded);

    // Whatever condition is taken away, a recorded test fails.
    let shop = fs::read_to_string(dir.path().join("policies/shop.yaml")).unwrap();
    let (credentials, policies) = shop.split_once("\npolicies:\n").unwrap();
    let mut changes = 0;
    let lines: Vec<_> = policies.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let is_condition = line.starts_with("      ") && !line.trim_start().starts_with('-');
        if !is_condition {
            continue;
        }
        let mut kept = lines.clone();
        kept.remove(number);
        let other = format!("{credentials}\npolicies:\n{}\n", kept.join("\n"));
        write(dir.path(), "policies/shop.yaml", &other);
        let failed = printed(dir.path(), &[], 4);
        assert!(failed.contains('✗'), "{line}: {failed}");
        changes += 1;
    }
    assert_eq!(changes, 14);
    write(dir.path(), "policies/shop.yaml", &shop);
    printed(dir.path(), &[], 0);

    // What is there already is kept, and new tests are added to its end.
    let more = shop.replacen(
        "      repository: acme/shop\n",
        "      actor: r-okafor\n      repository: acme/shop\n",
        1,
    );
    write(dir.path(), "policies/shop.yaml", &more);
    let added = printed(dir.path(), &["--write"], 0);
    assert!(added.contains("recorded"), "{added}");
    let after = fs::read_to_string(&path).unwrap();
    assert!(after.starts_with(&recorded) && after.len() > recorded.len());
}

/// T-273
#[test]
fn tests_are_recorded_below_the_folder_only_and_over_no_link() {
    let dir = company();
    write(dir.path(), "victim.yaml", "mine: 1\n");
    let link = dir.path().join("policies/shop.test.yaml");
    symlink("../victim.yaml", &link).unwrap();
    let output = test(dir.path(), &["--write"]);
    assert_ne!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        fs::read_to_string(dir.path().join("victim.yaml")).unwrap(),
        "mine: 1\n"
    );
    fs::remove_file(&link).unwrap();
    // A link to nothing is not written through either.
    symlink("../new.yaml", &link).unwrap();
    let output = test(dir.path(), &["--write"]);
    assert_ne!(output.status.code(), Some(0), "{output:?}");
    assert!(!dir.path().join("new.yaml").exists());
}

/// T-274
#[test]
fn names_in_a_junit_report_are_no_markup() {
    let dir = company();
    let hostile = "</testcase><failure> & \\\" ' ]]> %0A::error ::x";
    let text = SHOP.replace("name: too much", &format!("name: \"{hostile}\""));
    write(
        dir.path(),
        "policies/shop.test.yaml",
        &text.replace(
            "gets: { policy: shop-reports }",
            "refused: { because: actor }",
        ),
    );
    let xml = printed(dir.path(), &["--output", "junit"], 4);
    assert!(
        xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites"),
        "{xml}"
    );
    assert!(xml.contains("tests=\"7\" failures=\"1\""), "{xml}");
    assert!(
        xml.contains("&lt;/testcase&gt;&lt;failure&gt; &amp; &quot; &apos; ]]&gt;"),
        "{xml}"
    );
    // Every tag is one of ours, and they nest.
    let mut open = Vec::new();
    for tag in xml.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag
            .trim_start_matches('/')
            .split([' ', '/', '?'])
            .next()
            .unwrap();
        if tag.starts_with('?') || tag.ends_with('/') {
            continue;
        }
        assert!(
            ["testsuites", "testsuite", "testcase", "failure"].contains(&name),
            "{tag}"
        );
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name.to_owned()), "{xml}");
        } else {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// T-270
#[test]
fn names_of_tests_do_not_drive_the_terminal() {
    let dir = company();
    let text = SHOP.replace("name: too much", "name: \"##[error] ::error ::x\"");
    write(dir.path(), "policies/shop.test.yaml", &text);
    let shown = printed(dir.path(), &[], 0);
    assert!(shown.contains("#\\u{23}[error]"), "{shown}");
}

/// T-310: a test describes properties as a token has them, and `--write` records them.
#[test]
fn a_job_of_a_test_has_declared_properties() {
    let root = ROOT.replace(
        "provider: github,",
        "provider: github, properties: { tier: text, team: list, pci: boolean },",
    );
    let app = APP.replace(
        "repository_id: \"702114500\"",
        "repository_id: \"702114500\", property: { tier: critical, team: { member: pay }, pci: false }",
    );
    let tests = r#"tests:
  - name: gets it
    job: { issuer: github, repository: acme/app, repository_id: "702114500", owner: acme, owner_id: "65923871", trigger: push, property: { tier: critical, team: [ops, pay], pci: false } }
    asks: { credential: app }
    gets: { policy: app }
  - name: without one
    job: { issuer: github, repository: acme/app, repository_id: "702114500", owner: acme, owner_id: "65923871", trigger: push, property: { tier: low, pci: false } }
    asks: { credential: app }
    refused: { because: [property.tier, property.team] }
"#;
    let dir = folder(&[("policies/root.yaml", &root), ("policies/app.yaml", &app)]);
    write(dir.path(), "policies/app.test.yaml", tests);
    let all = printed(dir.path(), &[], 0);
    assert!(all.ends_with("2 tests: 2 passed, 0 failed\n"), "{all}");
    for (from, to, expected) in [
        ("tier: low", "teir: low", "does not declare property `teir`"),
        ("tier: low", "pci: low", "`pci`"),
        ("[ops, pay]", "[\"ops,x\", pay]", "has a comma"),
        (
            "property: { tier: low, pci: false }",
            "claim: { \"/repo_property_tier\": low }",
            "write it as `property: { tier: ... }`",
        ),
        ("property.tier,", "property.,", "unknown reason `property.`"),
    ] {
        assert!(tests.contains(from), "{from}");
        write(
            dir.path(),
            "policies/app.test.yaml",
            &tests.replace(from, to),
        );
        let output = test(dir.path(), &[]);
        assert!(!output.status.success(), "{to}");
        let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(told.contains(expected), "{to}: {told}");
    }
    // Recorded tests pass, and each condition has one.
    fs::remove_file(dir.path().join("policies/app.test.yaml")).unwrap();
    let output = test(dir.path(), &["--write"]);
    assert!(output.status.success(), "{output:?}");
    let recorded = fs::read_to_string(dir.path().join("policies/app.test.yaml")).unwrap();
    assert!(
        recorded.contains("property: { \"pci\": false, \"team\": [pay], \"tier\": critical }"),
        "{recorded}"
    );
    let covered = printed(dir.path(), &["--coverage", "--threshold", "100"], 0);
    assert!(covered.contains("100"), "{covered}");
    // The change that would be let in names properties too.
    let claims = serde_json::json!({
        "iss": "https://token.actions.githubusercontent.com",
        "repository": "acme/app", "repository_id": "702114500",
        "repository_owner": "acme", "repository_owner_id": "65923871",
        "event_name": "push", "repo_property_tier": "low", "repo_property_pci": "false",
    });
    write(dir.path(), "claims.json", &claims.to_string());
    let output = hallpass(
        &["policy", "explain", "--claims", "claims.json", "app"],
        dir.path(),
    );
    let told = text(&output.stdout);
    assert!(told.contains("property.tier: critical"), "{told}");
}

/// T-291
#[test]
fn a_test_says_where_the_request_comes_from() {
    let dir = folder(&[(
        "policies/root.yaml",
        r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  api: { kind: jwt, audience: "https://api.test", max_ttl: 10m, owner: a, purpose: p, class: low }
policies:
  - { name: office, issuer: github, when: { repository: acme/shop, source_ip: [192.0.2.0/24, "2001:db8::/32"] }, grant: [ { credential: api, ttl: 5m } ] }
"#,
    )]);
    let tests = |job: &str, expected: &str| {
        let text = format!(
            "tests:\n  - {{ name: t, job: {{ like: github-push{job} }}, asks: {{ credential: api }}, {expected} }}\n"
        );
        write(dir.path(), "policies/shop.test.yaml", &text);
        let output = test(dir.path(), &[]);
        (output.status.code(), text_of(&output))
    };
    for (job, expected) in [
        (", source_ip: 192.0.2.7", "gets: { policy: office }"),
        (", source_ip: \"2001:db8::7\"", "gets: { policy: office }"),
        (
            ", source_ip: \"::ffff:192.0.2.7\"",
            "gets: { policy: office }",
        ),
        (
            ", source_ip: 198.51.100.1",
            "refused: { because: source_ip }",
        ),
        ("", "refused: { because: source_ip }"),
        (
            ", source_ip: 192.0.2.7, facts_unset: [source_ip]",
            "refused: { because: source_ip }",
        ),
    ] {
        let (code, said) = tests(job, expected);
        assert_eq!(code, Some(0), "{job}: {said}");
    }
    let (code, said) = tests(", source_ip: 192.0.2.0/24", "gets: { policy: office }");
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("`source_ip` is `192.0.2.0/24`, which is no address"),
        "{said}"
    );
    // Recorded tests say it too.
    fs::remove_file(dir.path().join("policies/shop.test.yaml")).unwrap();
    let written = printed(dir.path(), &["--write", "--dry-run"], 0);
    assert!(written.contains("source_ip: 192.0.2.1"), "{written}");
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// A test for each row, whose name and row are in what is printed.
#[test]
fn a_test_is_made_for_each_row() {
    let apps = r#"rosters:
  apps: { key: app, rows: [ { app: web, id: "1" }, { app: search, id: "2" } ] }
policies:
  - name: "{app}-deploy"
    each: { roster: apps }
    issuer: github
    when: { repository: "acme/{app}", repository_id: "{id}", ref: refs/heads/main }
    grant: [ { credential: app, ttl: 5m } ]
"#;
    let tests = r#"tests:
  - name: "{app} in {environment}"
    each: { roster: apps, environment: [dev, prod] }
    job: { issuer: github, repository: "acme/{app}", repository_id: "{id}", owner: acme, owner_id: "65923871", ref: refs/heads/main, environment: "{environment}", trigger: push }
    asks: { credential: app }
    gets: { policy: "{app}-deploy" }
"#;
    let dir = folder(&[
        ("policies/root.yaml", ROOT),
        ("policies/app.yaml", APP),
        ("policies/apps.yaml", apps),
    ]);
    write(dir.path(), "policies/apps.test.yaml", tests);
    let all = printed(dir.path(), &[], 0);
    for name in [
        "web in dev",
        "web in prod",
        "search in dev",
        "search in prod",
    ] {
        assert!(all.contains(&format!("\u{2713} {name}\n")), "{all}");
    }
    for (from, to, expected) in [
        (
            "\"{app} in {environment}\"",
            "same",
            "test `same` is defined twice",
        ),
        ("acme/{app}", "acme/{appp}", "unknown column `appp`"),
        ("roster: apps", "roster: aps", "did you mean `apps`?"),
        ("\"{app}-deploy\" }\n", "web-deploy }\n", "search in dev"),
    ] {
        let text_of_file = tests.replacen(from, to, 1);
        assert_ne!(text_of_file, tests, "{from}");
        write(dir.path(), "policies/apps.test.yaml", &text_of_file);
        let output = test(dir.path(), &[]);
        assert!(!output.status.success(), "{to}");
        let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(told.contains(expected), "{to}: {told}");
    }
}
