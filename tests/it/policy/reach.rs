//! `policy who-can`, `policy inventory` and `policy explain`: what can be reached, by which jobs.

use super::*;

const HOSTILE: &str = r#"credentials:
  formula: { kind: jwt, audience: https://x.acme.dev, max_ttl: 5m, owner: "=HYPERLINK(\"https://evil.test\")", purpose: "| [x](https://evil.test) <b> @all", class: low }
  sum: { kind: jwt, audience: https://y.acme.dev, max_ttl: 5m, owner: "+1,\"2", purpose: "-2 ::error ::x ##[error]", class: low }
"#;

fn printed(dir: &Path, args: &[&str], code: i32) -> String {
    let output = hallpass(&[&["policy"], args].concat(), dir);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    text(&output.stdout)
}

#[test]
fn the_inventory_lists_every_credential_with_its_owner_and_its_grants() {
    let dir = company();
    let json: Value =
        serde_json::from_str(&printed(dir.path(), &["inventory", "--output", "json"], 0)).unwrap();
    let rows = json.as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1]["credential"], "shop-db/migrate");
    assert_eq!(rows[1]["class"], "critical");
    assert_eq!(rows[1]["longest_grant"], "15m");
    assert_eq!(rows[0]["policies"], "shop-migrate shop-staging");
    assert_eq!(rows[0]["last_change"], "", "no repository");
    let people = printed(dir.path(), &["inventory"], 0);
    assert!(people.trim_start().starts_with("CREDENTIAL"), "{people}");
    let csv = printed(dir.path(), &["inventory", "--output", "csv"], 0);
    assert_eq!(csv.matches("\r\n").count(), 4, "{csv}");

    // The last change is that of the file.
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@acme.example"];
        let status = Command::new("git")
            .args(identity)
            .args(args)
            .current_dir(dir.path())
            .observed();
        assert!(status.status.success(), "{status:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "policies"]);
    git(&[
        "commit",
        "-q",
        "--date",
        "2026-01-02T03:04:05Z",
        "-m",
        "policies",
    ]);
    let json: Value =
        serde_json::from_str(&printed(dir.path(), &["inventory", "--output", "json"], 0)).unwrap();
    let change = json[0]["last_change"].as_str().unwrap();
    assert_eq!(change.split(' ').count(), 2, "{change}");
}

/// T-272
#[test]
fn words_of_policies_are_no_formula_and_no_markup_in_an_inventory() {
    let dir = company();
    write(dir.path(), "policies/hostile.yaml", HOSTILE);
    let csv = printed(dir.path(), &["inventory", "--output", "csv"], 0);
    assert!(
        csv.contains("\"'=HYPERLINK(\"\"https://evil.test\"\")\""),
        "{csv}"
    );
    assert!(csv.contains("\"'+1,\"\"2\""), "{csv}");
    assert!(csv.contains("\"'-2 ::error ::x ##[error]\""), "{csv}");
    let markdown = printed(dir.path(), &["inventory", "--output", "markdown"], 0);
    for line in markdown.lines() {
        let cells = line.replace("\\|", "").matches('|').count();
        assert_eq!(cells, 14, "{line}");
    }
    assert!(
        markdown.contains(r"\[x\](https&#58;//evil.test) &lt;b&gt; \@all"),
        "{markdown}"
    );
    let people = printed(dir.path(), &["inventory"], 0);
    assert!(
        !people.contains("##[") && people.contains("#\\u{23}[error]"),
        "{people}"
    );
}

#[test]
fn who_can_names_policies_conditions_and_requirements() {
    let dir = company();
    let people = printed(dir.path(), &["who-can", "shop-db/migrate"], 0);
    for part in [
        "policy shop-migrate",
        "ref: refs/heads/main",
        "requirement hosted-runners",
        "runner: hosted",
        "15m",
    ] {
        assert!(people.contains(part), "{part}: {people}");
    }
    let json: Value = serde_json::from_str(&printed(
        dir.path(),
        &["who-can", "deploy-api", "--output", "json"],
        0,
    ))
    .unwrap();
    assert_eq!(json["grants"].as_array().unwrap().len(), 2);
    assert_eq!(json["requirements"].as_array().unwrap().len(), 0);
    let unknown = hallpass(&["policy", "who-can", "shop-db/migrat"], dir.path());
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("did you mean `shop-db/migrate`?"),
        "{unknown:?}"
    );
}

fn claims(dir: &Path, changes: &[(&str, Value)]) {
    let mut claims: Value = serde_json::from_str(
        &fs::read_to_string(repository().join("tests/vectors/ci-tokens/github-actions.json"))
            .unwrap(),
    )
    .unwrap();
    let shop = [
        ("repository", "acme/shop"),
        ("repository_owner", "acme"),
        ("repository_owner_id", "65923871"),
        ("repository_id", "702114500"),
    ];
    for (name, value) in shop {
        claims[name] = value.into();
    }
    for (name, value) in changes {
        claims[name] = value.clone();
    }
    fs::write(dir.join("claims.json"), claims.to_string()).unwrap();
}

#[test]
fn an_explanation_ends_with_the_smallest_change_that_would_be_let_in() {
    let dir = company();
    let explain = |more: &[&str], code| {
        let args = [
            &["explain", "--claims", "claims.json", "--output", "json"],
            more,
        ]
        .concat();
        let answer: Value = serde_json::from_str(&printed(dir.path(), &args, code)).unwrap();
        answer
    };
    claims(
        dir.path(),
        &[
            ("ref", "refs/heads/feature".into()),
            ("event_name", "pull_request".into()),
        ],
    );
    let answer = explain(&["shop-db/migrate"], 1);
    assert_eq!(
        answer["would_be_granted"],
        serde_json::json!(["ref: refs/heads/main", "trigger: push"])
    );
    // A requirement counts too.
    claims(dir.path(), &[("runner_environment", "self-hosted".into())]);
    let answer = explain(&["shop-db/migrate"], 1);
    assert_eq!(
        answer["would_be_granted"],
        serde_json::json!(["runner: hosted"])
    );
    // Life and scopes are said as such.
    claims(dir.path(), &[]);
    let answer = explain(&["--ttl", "40m", "shop-db/migrate"], 1);
    assert_eq!(
        answer["would_be_granted"],
        serde_json::json!(["ttl: 5s to 15m"])
    );
    let answer = explain(
        &[
            "--scope",
            "deploy:staging",
            "--scope",
            "deploy:other",
            "deploy-api",
        ],
        1,
    );
    assert_eq!(
        answer["would_be_granted"],
        serde_json::json!(["scopes: some of [deploy:staging, deploy:production]"])
    );
    // Granted, of no tenant, or no such credential: nothing to change.
    assert_eq!(
        explain(&["shop-db/migrate"], 0).get("would_be_granted"),
        None
    );
    assert_eq!(
        explain(&["shop-db/nothing"], 1).get("would_be_granted"),
        None
    );
    claims(dir.path(), &[("repository_owner_id", "1".into())]);
    assert_eq!(
        explain(&["shop-db/migrate"], 1).get("would_be_granted"),
        None
    );
}

#[test]
fn an_explanation_shows_policies_for_other_repositories_too() {
    let dir = company();
    claims(
        dir.path(),
        &[
            ("repository", "acme/other".into()),
            ("repository_id", "9".into()),
        ],
    );
    let people = printed(
        dir.path(),
        &["explain", "--claims", "claims.json", "shop-db/migrate"],
        1,
    );
    assert!(
        people.contains("  shop-migrate: fails repository, repository_id"),
        "{people}"
    );
    for cause in [
        &["--ttl", "40m", "shop-db/migrate"][..],
        &["shop-db/nothing"],
    ] {
        claims(dir.path(), &[]);
        let args = [&["explain", "--claims", "claims.json"], cause].concat();
        let people = printed(dir.path(), &args, 1);
        assert!(!people.contains("when:"), "{people}");
    }
}
