//! `policy diff` and `policy review`: what was removed or loosened beside the policies, and the names of
//! what changed.

use super::diff::{change, copy, diff, git, json, repository_of_policies};
use super::*;

const LINES: &str = r#"tests:
  - name: main migrates
    job: { like: github-push, environment: production }
    asks: { credential: shop-db/migrate }
    gets: { policy: shop-migrate }
never:
  - name: no pull request
    of: { class: [moderate, critical] }
    jobs: { trigger: [pull_request, pull_request_target] }
    because: nobody reviewed it
  - name: no long production
    of: { credential: deploy-api }
    jobs: { ref: { glob: "refs/heads/**" } }
    scopes: [deploy:production]
    longer_than: 5m
    because: short is enough
only:
  - name: hosted
    of: { credential: { glob: "shop-db/*" } }
    jobs: { issuer: github, repository_id: "702114500" }
    because: machines that we wipe
"#;

fn with_lines() -> TempDir {
    let dir = repository_of_policies();
    write(dir.path(), "policies/shop.test.yaml", LINES);
    git(dir.path(), &["add", "policies"]);
    git(dir.path(), &["commit", "-q", "-m", "tests"]);
    dir
}

/// T-314
#[test]
fn a_line_that_asks_less_counts_as_wider() {
    for (from, to, name, change_of, key) in [
        (
            "[moderate, critical]",
            "critical",
            "no pull request",
            "loosened",
            "of",
        ),
        (
            "[pull_request, pull_request_target]",
            "pull_request",
            "no pull request",
            "loosened",
            "jobs",
        ),
        (
            "    scopes: [deploy:production]",
            "    scopes: [deploy:staging]",
            "no long production",
            "loosened",
            "scopes",
        ),
        (
            "longer_than: 5m",
            "longer_than: 6m",
            "no long production",
            "loosened",
            "longer_than",
        ),
        (
            "\"refs/heads/**\"",
            "\"refs/heads/*\"",
            "no long production",
            "loosened",
            "jobs",
        ),
        (
            "\"shop-db/*\"",
            "\"shop-db/r*\"",
            "hosted",
            "loosened",
            "of",
        ),
        (
            ", repository_id: \"702114500\" }",
            ", repository_id: [\"702114500\", \"7\"] }",
            "hosted",
            "loosened",
            "jobs",
        ),
        (
            "issuer: github, repository_id: \"702114500\" }",
            "issuer: github, owner_id: \"65923871\" }",
            "hosted",
            "loosened",
            "jobs",
        ),
        (
            "name: hosted",
            "name: other\n    scopes: [deploy:staging]",
            "hosted",
            "removed",
            "",
        ),
    ] {
        let dir = with_lines();
        change(dir.path(), "shop.test.yaml", from, to);
        let found = json(dir.path(), &[]);
        let line = &found["lines"][0];
        assert_eq!(line["name"], name, "{to}: {found}");
        assert_eq!(line["change"], change_of, "{to}: {found}");
        let keys: Vec<_> = line["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["key"].as_str().unwrap())
            .collect();
        assert_eq!(keys.concat(), key, "{to}: {found}");
        assert_eq!(found["is_wider"], true, "{to}: {found}");
        for (format, end) in [("text", "("), ("markdown", "(")] {
            let output = diff(
                dir.path(),
                &["--fail-on", "wider", "--output", format, "HEAD"],
            );
            assert_eq!(output.status.code(), Some(4), "{to}: {output:?}");
            let report = text(&output.stdout);
            assert!(report.contains(&format!("line `{name}` {end}")), "{report}");
            assert!(report.contains(&format!("**{change_of}**")), "{report}");
            assert!(!report.contains("Proven"), "{report}");
        }
    }
}

/// T-314
#[test]
fn a_line_that_asks_as_much_is_no_change() {
    for (from, to) in [
        ("[moderate, critical]", "all"),
        ("{ class: all }", "all"),
        (
            "trigger: [pull_request, pull_request_target]",
            "trigger: { present: true }",
        ),
        ("    scopes: [deploy:production]\n", ""),
        ("longer_than: 5m", "longer_than: 4m"),
        ("\"shop-db/*\"", "\"shop-*/**\""),
        (
            "issuer: github, repository_id: \"702114500\" }",
            "issuer: github, repository_id: \"702114500\", runner: hosted }",
        ),
        ("name: hosted", "name: another name"),
        ("because: short is enough", "because: other words"),
    ] {
        let dir = with_lines();
        let path = dir.path().join("policies/shop.test.yaml");
        let lines = fs::read_to_string(&path)
            .unwrap()
            .replace(from, to)
            .replace("{ class: all }", "all");
        fs::write(&path, lines).unwrap();
        let found = json(dir.path(), &[]);
        assert_eq!(found["lines"], serde_json::json!([]), "{to}: {found}");
        assert_eq!(found["is_wider"], false, "{to}: {found}");
    }
}

/// T-314: the line stays as it is, and the credential is not what it selects any more.
#[test]
fn a_credential_that_leaves_a_line_counts_as_wider() {
    let dir = with_lines();
    let path = dir.path().join("policies/shop.yaml");
    let policies = fs::read_to_string(&path).unwrap();
    fs::write(&path, policies.replace("shop-db/read", "reports-db/read")).unwrap();
    let found = json(dir.path(), &[]);
    assert_eq!(found["lines"][0]["name"], "hosted", "{found}");
    assert_eq!(
        found["lines"][0]["uncovered"],
        serde_json::json!(["reports-db/read"]),
        "{found}"
    );
    // With the credential its line may go, unless another one leads to the same target.
    let dir = with_lines();
    change(
        dir.path(),
        "shop.test.yaml",
        "    of: { credential: { glob: \"shop-db/*\" } }",
        "    of: { credential: shop-db/read }",
    );
    git(dir.path(), &["commit", "-q", "-a", "-m", "one"]);
    let path = dir.path().join("policies/shop.yaml");
    let policies = fs::read_to_string(&path).unwrap();
    let (before, rest) = policies.split_once("  shop-db/read:").unwrap();
    let (_, after) = rest.split_once("  deploy-api:").unwrap();
    let (after, _) = after.split_once("  - name: shop-reports").unwrap();
    fs::write(&path, format!("{before}  deploy-api:{after}")).unwrap();
    let (lines, _) = LINES.split_once("only:").unwrap();
    write(dir.path(), "policies/shop.test.yaml", lines);
    let found = json(dir.path(), &[]);
    let line = &found["lines"][0];
    assert_eq!(
        (&line["change"], &line["uncovered"]),
        (&"removed".into(), &serde_json::json!(["shop-db/read"])),
        "{found}"
    );
    assert_eq!(found["is_wider"], true, "{found}");
    let path = dir.path().join("policies/shop.yaml");
    let moved = fs::read_to_string(&path).unwrap();
    fs::write(&path, moved.replace("target: shop-db", "target: other-db")).unwrap();
    let found = json(dir.path(), &[]);
    assert_eq!(found["lines"], serde_json::json!([]), "{found}");
}

const LABELS: &str = r#"zone: Europe/Berlin
issuers:
  one: { provider: gitlab, url: https://one.example, tenants: [ { owner: acme, owner_id: "1" } ] }
  two: { provider: gitlab, url: https://two.example, tenants: [ { owner: acme, owner_id: "1" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-a, purpose: calls, class: low }
  web: { kind: jwt, audience: https://web.acme.dev, max_ttl: 10m, owner: team-b, purpose: calls, class: low }
policies:
  - name: app
    issuer: one
    when: { repository: acme/app, repository_id: "7", time: { hours: "08:00-18:00" } }
    grant: [ { credential: app, ttl: 5m }, { credential: web, ttl: 5m } ]
require:
  - { name: by-one, of: { credential: app }, jobs: { issuer: one }, because: trusted }
"#;

/// The lines, and the sorts and names of the entries, that the change of both files gives.
fn compared(lines: (&str, &str), policies: (&str, &str)) -> (Value, Vec<String>) {
    let dir = folder(&[
        ("old/root.yaml", policies.0),
        ("old/a.test.yaml", lines.0),
        ("new/root.yaml", policies.1),
        ("new/a.test.yaml", lines.1),
    ]);
    let output = diff(dir.path(), &["--output", "json", "old", "new"]);
    let found: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let entries = found["entries"].as_array().unwrap().iter();
    let entries = entries.map(|one| format!("{} {}", one["sort"], one["name"]).replace('"', ""));
    let entries = entries.collect();
    let lines = &found["lines"];
    assert!(
        lines == &serde_json::json!([]) || found["is_wider"] == true,
        "{found}"
    );
    (lines.clone(), entries)
}

/// T-406
#[test]
fn a_selector_with_other_keys_is_about_later_credentials_too() {
    let line = |of: &str| {
        format!(
            "never:\n  - {{ name: x, of: {{ {of} }}, jobs: {{ trigger: pull_request }}, because: b }}\n"
        )
    };
    for (from, to, is_loosened) in [
        ("owner: [team-a, team-b], class: low", "owner: team-a", true),
        (
            "owner: [team-a, team-b], class: critical",
            "owner: team-a",
            true,
        ),
        (
            "credential: [app, web], class: critical",
            "credential: app",
            true,
        ),
        (
            "credential: [app, web], class: low",
            "credential: [app, web]",
            false,
        ),
        ("credential: [app, web]", "class: low", true),
        (
            "credential: [app, web]",
            "credential: { glob: \"*\" }",
            false,
        ),
        ("owner: team-a", "owner: [team-a, team-b]", false),
    ] {
        let (lines, _) = compared((&line(from), &line(to)), (LABELS, LABELS));
        let expected = usize::from(is_loosened);
        assert_eq!(
            lines.as_array().unwrap().len(),
            expected,
            "{from} {to}: {lines}"
        );
    }
}

/// T-407
#[test]
fn an_issuer_of_a_line_is_its_address_and_a_window_has_its_zone() {
    let lines = "only:\n  - { name: x, of: all, jobs: { issuer: one, time: { hours: \"08:00-18:00\" } }, because: b }\n";
    let swapped = LABELS
        .replace("one: {", "tmp: {")
        .replace("two: {", "one: {")
        .replace("tmp: {", "two: {");
    let (found, entries) = compared((lines, lines), (LABELS, &swapped));
    let key = &found[0]["keys"][0];
    assert_eq!(key["key"], "jobs", "{found}");
    assert!(
        key["old"].as_str().unwrap().contains("https://one.example"),
        "{found}"
    );
    assert!(
        key["new"].as_str().unwrap().contains("https://two.example"),
        "{found}"
    );
    assert_eq!(entries, ["requirement by-one"]);
    // Another name for the same issuer.
    let renamed = LABELS
        .replace("one: {", "uno: {")
        .replace("issuer: one", "issuer: uno");
    let renamed_lines = lines.replace("issuer: one", "issuer: uno");
    let (found, entries) = compared((lines, &renamed_lines), (LABELS, &renamed));
    assert_eq!((found, entries), (serde_json::json!([]), Vec::new()));
    let (found, entries) = compared(
        (lines, lines),
        (LABELS, &LABELS.replace("Berlin", "London")),
    );
    let key = &found[0]["keys"][0];
    assert!(
        key["new"]
            .as_str()
            .unwrap()
            .ends_with("in zone Europe/London"),
        "{found}"
    );
    assert_eq!(entries, ["key zone"]);
}

/// T-314
#[test]
fn a_test_file_does_not_go_in_silence() {
    let dir = with_lines();
    fs::remove_file(dir.path().join("policies/shop.test.yaml")).unwrap();
    let found = json(dir.path(), &[]);
    let removed = serde_json::json!([{ "file": "shop.test.yaml", "tests": ["main migrates"], "is_file_removed": true }]);
    assert_eq!(found["removed_tests"], removed, "{found}");
    assert_eq!(found["lines"].as_array().unwrap().len(), 3, "{found}");
    let args = ["policy", "review", "--base", "HEAD", "policies"];
    let reviewed = hallpass(&args, dir.path());
    assert_eq!(reviewed.status.code(), Some(0), "{reviewed:?}");
    let comment = text(&reviewed.stdout);
    for part in [
        "### Tests: none",
        "3 lines removed or loosened; 1 test removed",
        "- test file `shop.test.yaml`: **removed** with 1 test: `main migrates`",
        "- `never` line `no pull request` (`shop.test.yaml:7:11`): **removed**; it was about `deploy-api`, `shop-db/migrate`, `shop-db/read`\n  - it was `{ of: { class: [moderate, critical] }, jobs: { trigger: [pull_request, pull_request_target] } }`, because `nobody reviewed it`",
    ] {
        assert!(comment.contains(part), "{part}: {comment}");
    }
    let wider = hallpass(&[&args[..], &["--fail-on", "wider"]].concat(), dir.path());
    assert_eq!(wider.status.code(), Some(4), "{wider:?}");

    // Test files that do not load are no test files without lines.
    write(dir.path(), "policies/shop.test.yaml", "never: [ {} ]\n");
    let unread = diff(dir.path(), &["HEAD"]);
    assert_eq!(unread.status.code(), Some(4), "{unread:?}");
    assert!(
        text(&unread.stderr).contains("the tests of `policies` do not load"),
        "{unread:?}"
    );
    git(dir.path(), &["commit", "-q", "-a", "-m", "broken"]);
    write(dir.path(), "policies/shop.test.yaml", LINES);
    let unread = diff(dir.path(), &["HEAD"]);
    assert_eq!(unread.status.code(), Some(6), "{unread:?}");
    assert!(
        text(&unread.stdout).contains("the old test files do not load"),
        "{unread:?}"
    );
    assert!(!text(&unread.stdout).contains("Proven"), "{unread:?}");
}

/// T-314
#[test]
fn a_waiver_that_is_added_or_prolonged_counts_as_wider() {
    let dir = repository_of_policies();
    let waive = |until: &str| {
        let entry =
            format!("waive:\n  - {{ rule: name-without-id, because: it moves, until: {until} }}\n");
        write(dir.path(), "policies/more.yaml", &entry);
    };
    waive("2027-01-01T00:00:00Z");
    let found = json(dir.path(), &[]);
    let waiver = serde_json::json!([{
        "rule": "name-without-id",
        "place": "policies/more.yaml:2:13",
        "until": "2027-01-01T00:00:00Z",
        "was_until": null,
        "because": "it moves",
    }]);
    assert_eq!(found["waivers"], waiver, "{found}");
    assert_eq!(found["is_wider"], true, "{found}");
    git(dir.path(), &["add", "policies"]);
    git(dir.path(), &["commit", "-q", "-m", "a waiver"]);
    waive("2027-02-01T00:00:00Z");
    let output = diff(
        dir.path(),
        &["--fail-on", "wider", "--output", "markdown", "HEAD"],
    );
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let report = text(&output.stdout);
    let expected = "- waiver of lint rule `name-without-id` (`policies/more.yaml:2:13`): **prolonged** from 2027-01-01T00:00:00Z, until 2027-02-01T00:00:00Z, because `it moves`";
    assert!(report.contains(expected), "{report}");
    waive("2026-12-15T00:00:00Z");
    assert_eq!(json(dir.path(), &[])["is_wider"], false);
}

/// T-315
#[test]
fn a_base_that_git_does_not_have_never_passes() {
    let dir = repository_of_policies();
    let review = |dir: &Path, more: &[&str]| {
        hallpass(&[&["policy", "review"], more, &["policies"]].concat(), dir)
    };
    let base = head(dir.path());
    git(
        dir.path(),
        &["commit", "-q", "--allow-empty", "-m", "second"],
    );
    let clone = folder(&[]);
    let from = format!("file://{}", dir.path().display());
    git(clone.path(), &["clone", "-q", "--depth", "1", &from, "."]);
    for more in [
        &["--base", &base][..],
        &["--base", &base, "--fail-on", "wider"],
    ] {
        let reviewed = review(clone.path(), more);
        assert_eq!(reviewed.status.code(), Some(5), "{reviewed:?}");
        let comment = text(&reviewed.stdout);
        assert!(comment.contains("### Changes: not compared"), "{comment}");
        assert!(comment.contains("`fetch-depth: 0`"), "{comment}");
        assert!(!comment.contains("Proven"), "{comment}");
    }
    let unknown = review(dir.path(), &["--base", "origin/main"]);
    assert_eq!(unknown.status.code(), Some(5), "{unknown:?}");
    assert!(
        text(&unknown.stdout).contains("fetch the commit"),
        "{unknown:?}"
    );
}

/// T-315: the first policies of a repository have a base without any.
#[test]
fn a_base_without_policies_makes_everything_new() {
    let dir = company();
    git(dir.path(), &["init", "-q"]);
    git(
        dir.path(),
        &["commit", "-q", "--allow-empty", "-m", "first"],
    );
    let args = [
        "policy",
        "review",
        "--base",
        "HEAD",
        "--fail-on",
        "wider",
        "policies",
    ];
    let reviewed = hallpass(&args, dir.path());
    assert_eq!(reviewed.status.code(), Some(4), "{reviewed:?}");
    let comment = text(&reviewed.stdout);
    assert!(comment.contains("3 added of 3 credentials"), "{comment}");
    assert!(
        comment.contains("`HEAD` has no policies, so everything is new."),
        "{comment}"
    );
    // The new side is never without.
    let gone = diff(dir.path(), &["policies", "HEAD"]);
    assert_eq!(gone.status.code(), Some(5), "{gone:?}");
}

fn head(dir: &Path) -> String {
    let output = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(dir)
        .observed();
    text(&output.stdout).trim().to_owned()
}

/// T-316
#[test]
fn what_was_redefined_is_named_with_both_values() {
    let dir = repository_of_policies();
    change(dir.path(), "shop.yaml", "group: shop_owner", "group: other");
    change(
        dir.path(),
        "shop.yaml",
        "    act_as_group: true",
        "    labels: { service: shop }",
    );
    change(
        dir.path(),
        "shop.yaml",
        "class: critical",
        "class: moderate",
    );
    change(
        dir.path(),
        "root.yaml",
        "provider: gitlab",
        "provider: gitlab\n    max_age: 2h\n    ca: ca.pem",
    );
    let ca = rcgen::generate_simple_self_signed(["gitlab.example".to_owned()])
        .unwrap()
        .cert
        .pem();
    write(dir.path(), "policies/ca.pem", &ca);
    let output = diff(dir.path(), &["HEAD"]);
    let report = text(&output.stdout);
    for part in [
        "- issuer `gitlab` (`https://gitlab.com`): **redefined**",
        "  - `max_age`: `1h` before, `2h` now",
        "  - `ca`: not given before, `sha256:",
        "`shop-db/migrate`: redefined",
        "- `group`: `shop_owner` before, `other` now",
        "- `act_as_group`: `true` before, not given now",
        "- `labels.service`: not given before, `shop` now",
        "- `class`: `critical` before, `moderate` now",
        "- its class was lowered: what is required of class `critical` is not required of it",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    let found = json(dir.path(), &[]);
    let all = found["credentials"].as_array().unwrap();
    let one = all
        .iter()
        .find(|one| one["credential"] == "shop-db/migrate")
        .unwrap();
    let group = serde_json::json!({ "key": "group", "old": "shop_owner", "new": "other" });
    assert!(one["keys"].as_array().unwrap().contains(&group), "{found}");
}

/// T-317
#[test]
fn a_change_of_many_rows_is_one_section_with_their_number() {
    let root = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
rosters:
  apps: { key: app, file: apps.csv }
credentials:
  "{app}": { each: { roster: apps }, kind: jwt, audience: "https://{app}.acme.dev", max_ttl: 10m, owner: team-app, purpose: calls, class: low }
policies:
  - name: "{app}"
    each: { roster: apps }
    issuer: github
    when: { repository: "acme/{app}", repository_id: "{id}", ref: refs/heads/main }
    grant: [ { credential: "{app}", ttl: 5m } ]
"#;
    let rows = |number: u32| {
        let rows = (0..number).map(|row| format!("app-{row},{}\n", 100 + row));
        format!("app,id\n{}", rows.collect::<String>())
    };
    let wider = root.replace(", ref: refs/heads/main", "");
    let dir = folder(&[
        ("old/root.yaml", root),
        ("old/apps.csv", &rows(40)),
        ("new/root.yaml", &wider),
        ("new/apps.csv", &rows(42)),
    ]);
    let output = diff(dir.path(), &["--output", "markdown", "old", "new"]);
    let report = text(&output.stdout);
    for part in [
        "Policies: 40 wider, 2 added of 42 credentials",
        "### `app-0` and 39 more of the same entry: wider",
        "- touches 40 of 42 rows of `apps.csv`",
        "### `app-40` and 1 more of the same entry: added",
        "- touches 2 of 42 rows of `apps.csv`",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(report.len() < 3_000, "{}: {report}", report.len());
    let output = diff(dir.path(), &["--output", "json", "old", "new"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = serde_json::json!([{ "roster": "apps.csv", "touched": 1, "of": 42 }]);
    assert_eq!(found["credentials"][0]["rows"], rows, "{found}");
}

pub(super) const SETTINGS: &str = r"issuer: https://hallpass.acme.dev
root_key: { file: root.key }
policies: { path: policies }
audit: { sinks: [ { kind: file, path: audit.jsonl, required: true } ] }
targets:
  shop-db:
    kind: postgres
    host: db.acme.dev
    databases: [shop, other]
    user: hallpass
    password: ${env:SHOP_DB_PASSWORD}
    cleaner: { user: hallpass_clean, password: { file: clean.password } }
    ca: ca.pem
";

pub(super) fn authority() -> String {
    let made = rcgen::generate_simple_self_signed(["db.acme.dev".to_owned()]).unwrap();
    made.cert.pem()
}

/// T-316
#[test]
fn a_target_that_leads_elsewhere_redefines_its_credentials() {
    let dir = repository_of_policies();
    fs::create_dir(dir.path().join("broker")).unwrap();
    write(dir.path(), "broker/hallpass.yaml", SETTINGS);
    write(dir.path(), "broker/ca.pem", &authority());
    git(dir.path(), &["add", "broker"]);
    git(dir.path(), &["commit", "-q", "-m", "settings"]);
    let settings = ["--settings", "broker/hallpass.yaml"];
    let same = diff(dir.path(), &[&settings[..], &["HEAD"]].concat());
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    let report = text(&same.stdout);
    assert!(
        report.contains("Proven: no job gains anything."),
        "{report}"
    );
    assert!(
        report.contains("Where targets lead is compared by `broker/hallpass.yaml`."),
        "{report}"
    );
    let without = text(&diff(dir.path(), &["HEAD"]).stdout);
    let end = "Where targets lead is in hallpass.yaml: not compared.\n";
    assert!(without.ends_with(end), "{without}");

    for (from, to, key) in [
        ("host: db.acme.dev", "host: db2.acme.dev", "target.host"),
        ("databases:", "port: 6432\n    databases:", "target.port"),
        ("databases:", "prefix: hq_\n    databases:", "target.prefix"),
        ("ca: ca.pem", "ca: other.pem", "target.ca"),
        ("shop-db:", "old-db:", "target.host"),
    ] {
        write(dir.path(), "broker/other.pem", &authority());
        write(
            dir.path(),
            "broker/hallpass.yaml",
            &SETTINGS.replacen(from, to, 1),
        );
        let found = json(dir.path(), &settings);
        let all = found["credentials"].as_array().unwrap();
        let one = all.iter().find(|one| one["credential"] == "shop-db/read");
        let one = one.unwrap_or_else(|| panic!("{to}: {found}"));
        assert_eq!(one["change"], "redefined", "{to}: {found}");
        let keys = one["keys"].as_array().unwrap();
        assert!(keys.iter().any(|one| one["key"] == key), "{to}: {found}");
        assert_eq!(
            one["granted_by"],
            serde_json::json!(["shop-reports"]),
            "{found}"
        );
        assert_eq!(
            (&found["is_wider"], &found["targets_compared"]),
            (&true.into(), &true.into())
        );
    }
    // Another authority in the same file.
    write(dir.path(), "broker/hallpass.yaml", SETTINGS);
    write(dir.path(), "broker/ca.pem", &authority());
    assert_eq!(json(dir.path(), &settings)["is_wider"], true);

    // Another name for the same place.
    git(dir.path(), &["checkout", "-q", "--", "broker"]);
    write(
        dir.path(),
        "broker/hallpass.yaml",
        &SETTINGS.replace("shop-db:", "store-db:"),
    );
    let path = dir.path().join("policies/shop.yaml");
    let policies = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        policies.replace("target: shop-db", "target: store-db"),
    )
    .unwrap();
    let found = json(dir.path(), &settings);
    assert_eq!(found["is_wider"], false, "{found}");
    assert_eq!(json(dir.path(), &[])["is_wider"], true);
}

/// T-316
#[test]
fn old_settings_are_named_or_of_the_revision_and_no_secret_is_read() {
    let dir = repository_of_policies();
    write(dir.path(), "new.yaml", SETTINGS);
    let unknown = diff(dir.path(), &["--settings", "new.yaml", "HEAD"]);
    assert_eq!(unknown.status.code(), Some(5), "{unknown:?}");
    assert!(
        text(&unknown.stderr).contains("`--old-settings`"),
        "{unknown:?}"
    );
    copy(&dir.path().join("policies"), &dir.path().join("before"));
    let folders = diff(
        dir.path(),
        &["--settings", "new.yaml", "before", "policies"],
    );
    assert_eq!(folders.status.code(), Some(2), "{folders:?}");
    assert!(
        text(&folders.stderr).contains("name them with `--old-settings`"),
        "{folders:?}"
    );
    write(
        dir.path(),
        "old.yaml",
        &SETTINGS.replace("db.acme.dev", "db1.acme.dev"),
    );
    let args = [
        "--settings",
        "new.yaml",
        "--old-settings",
        "old.yaml",
        "HEAD",
    ];
    let output = diff(dir.path(), &args);
    let report = text(&output.stdout);
    assert!(
        report.contains("- `target.host`: `db1.acme.dev` before, `db.acme.dev` now"),
        "{report}"
    );
    let wrong = SETTINGS.replace("kind: postgres", "kind: mysql");
    write(dir.path(), "old.yaml", &wrong);
    assert_eq!(diff(dir.path(), &args).status.code(), Some(4));
    // A review takes the same option.
    let args = [
        "policy",
        "review",
        "--base",
        "HEAD",
        "--settings",
        "new.yaml",
        "policies",
    ];
    let reviewed = hallpass(&args, dir.path());
    assert_eq!(reviewed.status.code(), Some(5), "{reviewed:?}");
    git(dir.path(), &["add", "new.yaml"]);
    git(dir.path(), &["commit", "-q", "-m", "settings"]);
    write(
        dir.path(),
        "new.yaml",
        &SETTINGS.replace("db.acme.dev", "db2.acme.dev"),
    );
    let reviewed = hallpass(&args, dir.path());
    assert_eq!(reviewed.status.code(), Some(0), "{reviewed:?}");
    assert!(
        text(&reviewed.stdout)
            .contains("- `target.host`: `db.acme.dev` before, `db2.acme.dev` now"),
        "{reviewed:?}"
    );
}

/// T-318
#[test]
fn a_request_that_leaves_lifetime_and_scopes_open_may_get_something_else() {
    let dir = repository_of_policies();
    let more = r#"policies:
  - name: shop-more
    issuer: github
    when: { repository: acme/shop, repository_id: "702114500", ref: refs/heads/main, environment: staging }
    grant: [ { credential: deploy-api, ttl: 9m, scopes: ["deploy:staging"] } ]
"#;
    write(dir.path(), "policies/more.yaml", more);
    let found = json(dir.path(), &[]);
    let all = found["credentials"].as_array().unwrap();
    let one = all
        .iter()
        .find(|one| one["credential"] == "deploy-api")
        .unwrap();
    let default = &one["defaults"][0];
    let given = |policy: &str, ttl: u32| serde_json::json!({ "policy": policy, "ttl_seconds": ttl, "scopes": ["deploy:staging"] });
    assert_eq!(default["old"], given("shop-staging", 300), "{found}");
    assert_eq!(default["new"], given("shop-more", 540), "{found}");
    assert_eq!(
        default["witness"]["facts"]["environment"], "staging",
        "{found}"
    );
    let report = text(&diff(dir.path(), &["--output", "markdown", "HEAD"]).stdout);
    let expected = "- default changed: a request without lifetime and scopes gets 9m with `deploy:staging` by policy `shop-more`, before 5m with `deploy:staging` by policy `shop-staging`";
    assert!(report.contains(expected), "{report}");

    // Of two grants of one length the name decides: nothing is wider or narrower.
    let two = |first: &str, second: &str| {
        more.replace("shop-more", first).replace("9m", "5m")
            + &more
                .replace("policies:\n", "")
                .replace("shop-more", second)
                .replace("9m", "5m")
                .replace("[\"deploy:staging\"]", "[\"deploy:production\"]")
    };
    write(dir.path(), "policies/more.yaml", &two("a", "b"));
    git(dir.path(), &["add", "policies"]);
    git(dir.path(), &["commit", "-q", "-m", "two"]);
    write(dir.path(), "policies/more.yaml", &two("c", "b"));
    let found = json(dir.path(), &[]);
    assert_eq!(found["is_wider"], false, "{found}");
    let default = &found["credentials"][0]["defaults"][0];
    assert_eq!(default["old"]["policy"], "a", "{found}");
    assert_eq!(default["new"]["policy"], "b", "{found}");
}

/// T-334
#[test]
fn words_of_lines_and_keys_are_no_markup_and_no_command() {
    let dir = repository_of_policies();
    let evil = "``` @team <b> ##[error] ::error::";
    let line = format!(
        "never:\n  - {{ name: \"{evil}\", of: all, jobs: {{ repository: \"{evil}\" }}, because: \"{evil}\" }}\n"
    );
    write(dir.path(), "policies/evil.test.yaml", &line);
    git(dir.path(), &["add", "policies"]);
    git(dir.path(), &["commit", "-q", "-m", "a line"]);
    fs::remove_file(dir.path().join("policies/evil.test.yaml")).unwrap();
    change(
        dir.path(),
        "shop.yaml",
        "owner: team-shop",
        &format!("owner: \"{evil}\""),
    );
    for format in ["text", "markdown"] {
        let report = text(&diff(dir.path(), &["--output", format, "HEAD"]).stdout);
        assert!(report.contains("removed"), "{report}");
        for line in report.lines() {
            assert!(!line.contains("##["), "{line}");
            if let Some(at) = line.find("@team").filter(|_| format == "markdown") {
                let (before, _) = line.split_at(at);
                assert!(
                    before.contains("````"),
                    "in a code span that is longer: {line}"
                );
            }
        }
    }
}

/// T-408
#[test]
fn an_entry_in_shadow_mode_that_changed_is_listed() {
    let shadowed = LABELS.replace(
        "  - name: app\n",
        "  - name: app\n    shadow_until: 2030-01-01T00:00:00Z\n",
    );
    let dir = folder(&[
        ("old/root.yaml", &shadowed),
        (
            "new/root.yaml",
            &shadowed.replace("repository: acme/app, ", ""),
        ),
    ]);
    let report = text(&diff(dir.path(), &["old", "new"]).stdout);
    assert!(
        report.contains("- policy `app` has `shadow_until`"),
        "{report}"
    );
    let same = text(&diff(dir.path(), &["old", "old"]).stdout);
    assert!(!same.contains("shadow_until"), "{same}");
}
