//! Findings that a file accepts until a date, and suggestions that are applied.

use super::*;

const ISSUER: &str = "issuers:
  gitlab: { provider: gitlab, tenants: [ { owner: acme, owner_id: \"9133570\" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
";
const PULL: &str = "policies:
  - name: app
    issuer: gitlab
    # who may
    when:
      repository: acme/app
      repository_id: \"61840277\"
      trigger: pull_request # reviews
    grant: [ { credential: app, ttl: 5m } ]
";

fn waived(rule: &str, until: &str) -> String {
    format!("{PULL}waive:\n  - {{ rule: {rule}, because: it only reads, until: {until} }}\n")
}

fn found(file: &str, now: Option<i64>) -> Vec<(Severity, &'static str)> {
    let options = LoadOptions {
        now: now.map(Timestamp::from_unix),
        ..LoadOptions::default()
    };
    let loaded = PolicySet::from_texts_with(&[("root.yaml", ISSUER), ("app.yaml", file)], &options);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    loaded
        .findings
        .iter()
        .map(|one| (one.severity, one.rule))
        .collect()
}

/// T-275
#[test]
fn a_waiver_holds_for_its_rule_its_file_and_its_time() {
    use Severity::{Error, Note, Warning};
    let (now, until) = (Some(1_790_000_000), "2027-06-30T00:00:00Z");
    let both = [
        (Warning, "extraordinary-trigger"),
        (Warning, "forks-let-in"),
    ];
    assert_eq!(found(PULL, now), both);
    let file = waived("forks-let-in", until);
    let kept = [(Warning, "extraordinary-trigger"), (Note, "forks-let-in")];
    assert_eq!(found(&file, now), kept);
    // Ended: the finding is back, and the waiver itself is an error.
    let later = Some(1_830_000_000);
    let ended = [both[0], both[1], (Error, "waiver-ended")];
    assert_eq!(found(&file, later), ended);
    // A broker does not compare: a date never stops it.
    assert_eq!(found(&file, None), kept);
    let unused = [both[0], both[1], (Warning, "waiver-unused")];
    assert_eq!(found(&waived("literal-star", until), now), unused);
    // Of another file it waives nothing.
    let options = LoadOptions::default();
    let waiver = waived("forks-let-in", until).replace(PULL, "");
    let files = [
        ("root.yaml", ISSUER),
        ("app.yaml", PULL),
        ("other.yaml", &waiver),
    ];
    let loaded = PolicySet::from_texts_with(&files, &options).unwrap();
    let rules: Vec<_> = loaded
        .findings
        .iter()
        .map(|one| (one.severity, one.rule))
        .collect();
    assert_eq!(rules, unused);
}

#[test]
fn a_waiver_needs_a_rule_a_reason_and_an_end() {
    for (text, rule) in [
        ("{ rule: forks-let-in, because: x }", "missing-key"),
        (
            "{ rule: forks-let-in, until: 2027-06-30T00:00:00Z }",
            "missing-key",
        ),
        (
            "{ rule: fork-let-in, because: x, until: 2027-06-30T00:00:00Z }",
            "unknown-rule",
        ),
        (
            "{ rule: unknown-key, because: x, until: 2027-06-30T00:00:00Z }",
            "unknown-rule",
        ),
        (
            "{ rule: forks-let-in, because: x, until: 2027-06-30 }",
            "time",
        ),
        (
            "{ rule: forks-let-in, because: \"\", until: 2027-06-30T00:00:00Z }",
            "empty",
        ),
    ] {
        let file = format!("{PULL}waive: [ {text} ]\n");
        let errors =
            PolicySet::from_texts(&[("root.yaml", ISSUER), ("app.yaml", &file)]).unwrap_err();
        let rules: Vec<_> = errors.iter().map(|one| one.rule).collect();
        assert_eq!(rules, [rule], "{text}: {errors}");
    }
}

#[test]
fn fixes_keep_comments_and_let_in_no_more() {
    let long = "policies:
  - name: long # a comment
    issuer: gitlab
    when: { repository: acme/app, repository_id: \"61840277\", trigger: [push, pull_request] }
    grant: [ { credential: app, ttl: 45m } ] # another
";
    let dir = folder(&[
        ("policies/root.yaml", ISSUER),
        ("policies/app.yaml", PULL),
        ("policies/long.yaml", long),
    ]);
    let read = |name: &str| fs::read_to_string(dir.path().join("policies").join(name)).unwrap();
    let planned = hallpass(
        &["policy", "check", "--fix", "--dry-run", "policies"],
        dir.path(),
    );
    assert!(planned.status.success(), "{planned:?}");
    assert!(
        text(&planned.stderr).contains("+    8       from_fork: false"),
        "{planned:?}"
    );
    assert_eq!(read("app.yaml"), PULL, "nothing is written");
    let fixed = hallpass(&["policy", "check", "--fix", "policies"], dir.path());
    assert!(fixed.status.success(), "{fixed:?}");
    assert_eq!(
        read("app.yaml"),
        PULL.replace("      trigger:", "      from_fork: false\n      trigger:")
    );
    assert_eq!(
        read("long.yaml"),
        long.replace("trigger: [", "from_fork: false, trigger: [")
            .replace("45m", "10m")
    );
    let again = hallpass(&["policy", "check", "--fix", "policies"], dir.path());
    assert!(again.stderr.is_empty(), "{again:?}");
    // What is waived is left alone.
    write(
        dir.path(),
        "policies/app.yaml",
        &waived("forks-let-in", "2099-06-30T00:00:00Z"),
    );
    hallpass(&["policy", "check", "--fix", "policies"], dir.path());
    assert_eq!(
        read("app.yaml"),
        waived("forks-let-in", "2099-06-30T00:00:00Z")
    );
}

/// T-273
#[test]
fn a_fix_is_written_over_no_link() {
    let dir = folder(&[
        ("policies/root.yaml", ISSUER),
        ("policies/..data/app.yaml", PULL),
    ]);
    symlink("..data/app.yaml", dir.path().join("policies/app.yaml")).unwrap();
    let output = hallpass(&["policy", "check", "--fix", "policies"], dir.path());
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert!(
        text(&output.stderr).contains("is not a regular file"),
        "{output:?}"
    );
    let kept = fs::read_to_string(dir.path().join("policies/..data/app.yaml")).unwrap();
    assert_eq!(kept, PULL);
}

#[test]
fn targets_are_compared_with_the_settings() {
    let dir = folder(&[("policies/root.yaml", ISSUER), ("policies/app.yaml", PULL)]);
    let db = "credentials:\n  db: { kind: postgres, target: shopdb, group: g_read, max_ttl: 5m, owner: a, purpose: b, class: low }\n";
    write(dir.path(), "policies/db.yaml", db);
    let check = |settings: &str| {
        hallpass(
            &["policy", "check", "--settings", settings, "policies"],
            dir.path(),
        )
    };
    assert_eq!(check("nowhere.yaml").status.code(), Some(5));
    let settings = |target: &str| {
        format!(
            "issuer: https://hallpass.acme.dev\nroot_key: {{ file: root.key }}\n\
             listen: {{ public: 127.0.0.1:0, operator: 127.0.0.1:0 }}\n\
             policies: {{ path: policies }}\n\
             audit: {{ sinks: [ {{ kind: file, path: audit.jsonl, required: true }} ] }}\n\
             targets:\n  {target}: {{ kind: ssh-ca, key: {{ file: ca }} }}\n"
        )
    };
    write(dir.path(), "root.key", "");
    write(dir.path(), "hallpass.yaml", &settings("shop-db"));
    let other = check("hallpass.yaml");
    assert_eq!(other.status.code(), Some(4), "{other:?}");
    assert!(
        text(&other.stdout).contains("did you mean `shop-db`?"),
        "{other:?}"
    );
    write(dir.path(), "hallpass.yaml", &settings("shopdb"));
    let known = check("hallpass.yaml");
    assert_eq!(known.status.code(), Some(0), "{known:?}");
    let without = hallpass(&["policy", "check", "policies"], dir.path());
    assert!(without.status.success(), "{without:?}");
}

/// A slip of the hand is corrected if only one name can be meant; the other words stay as they are.
#[test]
fn names_with_one_near_spelling_are_corrected() {
    let app = PULL
        .replace("trigger: pull_request", "triger: [pul_request, push]")
        .replace("credential: app,", "credential: \"aap\",")
        .replace("repository_id", "repository_idd");
    let dir = folder(&[("policies/root.yaml", ISSUER), ("policies/app.yaml", &app)]);
    let read = || fs::read_to_string(dir.path().join("policies/app.yaml")).unwrap();
    let fix = |more: &[&str]| {
        let arguments = [&["policy", "check", "--fix"], more, &["policies"]].concat();
        hallpass(&arguments, dir.path())
    };
    let planned = fix(&["--dry-run"]);
    assert!(
        text(&planned.stderr).contains("3 fixes would be applied"),
        "{planned:?}"
    );
    assert_eq!(read(), app, "nothing is written");
    // A word of a fact that was misspelt is seen once the fact is right.
    fix(&[]);
    let fixed = fix(&[]);
    assert!(fixed.status.success(), "{fixed:?}");
    let expected = PULL
        .replace("trigger: pull_request", "trigger: [pull_request, push]")
        .replace("credential: app,", "credential: \"app\",");
    assert!(
        read().contains("trigger: [pull_request, push] # reviews"),
        "{}",
        read()
    );
    assert!(read().contains("credential: \"app\","), "{}", read());
    assert_eq!(
        read()
            .replace("      from_fork: false\n", "")
            .replace("from_fork: false, ", ""),
        expected
    );
    // Two names are near, or none: nothing is guessed.
    let two = ISSUER.to_owned()
        + "  apb: { kind: jwt, audience: https://apb.acme.dev, max_ttl: 10m, owner: o, purpose: p, class: low }\n";
    write(dir.path(), "policies/root.yaml", &two);
    for credential in ["apc", "something"] {
        let app = PULL.replace("credential: app,", &format!("credential: {credential},"));
        write(dir.path(), "policies/app.yaml", &app);
        let output = fix(&[]);
        assert_eq!(output.status.code(), Some(4), "{output:?}");
        assert_eq!(read(), app);
    }
}
