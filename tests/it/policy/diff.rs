//! `policy diff`: who gets more and who gets less by a change.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const AT: &str = "2026-12-01T00:00:00Z";

pub(super) fn git(dir: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=Test", "-c", "user.email=test@acme.example"];
    let output = Command::new("git")
        .args(identity)
        .args(args)
        .current_dir(dir)
        .observed();
    assert!(output.status.success(), "{output:?}");
}

/// The policies in a repository with one commit.
pub(super) fn repository_of_policies() -> TempDir {
    let dir = company();
    git(dir.path(), &["init", "-q"]);
    git(dir.path(), &["add", "policies"]);
    git(dir.path(), &["commit", "-q", "-m", "policies"]);
    dir
}

pub(super) fn change(dir: &Path, file: &str, from: &str, to: &str) {
    let path = dir.join("policies").join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

pub(super) fn diff(dir: &Path, more: &[&str]) -> Output {
    hallpass(&[&["policy", "diff", "--at", AT], more].concat(), dir)
}

pub(super) fn json(dir: &Path, more: &[&str]) -> Value {
    let output = diff(dir, &[more, &["--output", "json", "HEAD"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// T-333
#[test]
fn a_change_is_compared_with_a_revision_and_has_a_witness() {
    let dir = repository_of_policies();
    let same = diff(dir.path(), &["--fail-on", "wider", "HEAD"]);
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    assert!(text(&same.stdout).contains("Proven: no job gains anything."));

    let glob = "environment: { glob: \"prod*\" }";
    change(dir.path(), "shop.yaml", "environment: production", glob);
    let wider = diff(
        dir.path(),
        &["--fail-on", "wider", "--output", "markdown", "HEAD"],
    );
    assert_eq!(wider.status.code(), Some(4), "{wider:?}");
    let report = text(&wider.stdout);
    // The page shows the first part of this report.
    let page = fs::read_to_string(repository().join("docs/policies/diff.md")).unwrap();
    let (_, shown) = page.split_once("```markdown\n").unwrap();
    let (shown, _) = shown.split_once("\n```\n\nA second part").unwrap();
    assert!(report.starts_with(shown), "{report}");

    // A job of a test is preferred.
    let test = "tests:\n  - name: a test environment\n    job: { like: github-push, environment: production-eu }\n    asks: { credential: shop-db/migrate }\n    gets: { policy: shop-migrate }\n";
    write(dir.path(), "policies/shop.test.yaml", test);
    let found = json(dir.path(), &[]);
    let gained = &found["credentials"][0]["gained"][0]["witness"];
    assert_eq!(gained["facts"]["environment"], "production-eu", "{found}");

    // The other way round it is narrower.
    git(dir.path(), &["commit", "-q", "-a", "-m", "wider"]);
    let back = diff(dir.path(), &["--fail-on", "wider", "HEAD", "HEAD~"]);
    assert_eq!(back.status.code(), Some(0), "{back:?}");
    assert!(text(&back.stdout).contains("`shop-db/migrate`: narrower"));
}

/// T-333
#[test]
fn each_sort_of_change_is_told_apart() {
    for (file, from, to, credential, expected) in [
        (
            "shop.yaml",
            "group: shop_owner",
            "group: other",
            "shop-db/migrate",
            "redefined",
        ),
        (
            "shop.yaml",
            "class: critical",
            "class: moderate",
            "shop-db/migrate",
            "wider",
        ),
        (
            "root.yaml",
            "jobs: { runner: hosted }",
            "jobs: { runner: [hosted, self-hosted] }",
            "shop-db/migrate",
            "wider",
        ),
        (
            "root.yaml",
            "owner_id: \"65923871\"",
            "owner_id: \"7\"",
            "shop-db/migrate",
            "wider_and_narrower",
        ),
    ] {
        let dir = repository_of_policies();
        change(dir.path(), file, from, to);
        let found = json(dir.path(), &[]);
        let all = found["credentials"].as_array().unwrap();
        let one = all.iter().find(|one| one["credential"] == credential);
        assert_eq!(one.unwrap()["change"], expected, "{to}: {found}");
    }
    let dir = repository_of_policies();
    change(
        dir.path(),
        "root.yaml",
        "provider: gitlab",
        "provider: gitlab\n    max_age: 2h",
    );
    let found = json(dir.path(), &[]);
    assert_eq!(found["issuers"][0]["change"], "redefined", "{found}");
    assert_eq!(found["is_wider"], true, "{found}");
}

/// Policies of jobs and people, with these conditions in place of `JOBS` and `PEOPLE`.
fn with_conditions(jobs: &str, people: &str) -> String {
    let text = r"zone: Europe/Berlin
issuers:
  github: { provider: github, url: https://ghe.acme.dev/_services/token, properties: { team: list } }
  people: { provider: people, url: https://id.acme.dev, client_id: hallpass }
credentials:
  deploy: { kind: jwt, audience: https://deploy.acme.dev, max_ttl: 1h, owner: team-shop, purpose: deploys, class: critical }
policies:
  - { name: jobs, issuer: github, when: JOBS, grant: [ { credential: deploy, ttl: 5m } ] }
  - { name: people, issuer: people, when: { trigger: person, mfa: true, signed_in: { within: 1h }, PEOPLE }, grant: [ { credential: deploy, ttl: 5m } ] }
";
    text.replace("JOBS", jobs).replace("PEOPLE", people)
}

/// T-311
#[test]
fn windows_lists_and_people_are_compared_and_shown_by_a_witness() {
    let office = "{ repository: acme/shop, time: { days: [mon, tue, wed, thu, fri], hours: \"08:00-18:00\" } }";
    let halves = "[ { repository: acme/shop, time: { days: [mon, tue, wed, thu, fri], hours: \"08:00-12:00\" } }, { repository: acme/shop, time: { days: [fri, thu, wed, tue, mon], hours: \"12:00-18:00\" } } ]";
    let team =
        "{ repository: acme/shop, property: { team: { member: pay, not: { member: ext } } } }";
    let people = "groups: { member: ops }, email: { glob: \"*@acme.dev\" }";
    for (old, new, expected, shown) in [
        ((office, people), (office, people), "same", vec![]),
        ((office, people), (halves, people), "same", vec![]),
        ((halves, people), (office, people), "same", vec![]),
        // AT is a Tuesday, at one o'clock in Berlin.
        (
            (office, people),
            ("{ repository: acme/shop }", people),
            "wider",
            vec!["repository: \"acme/shop\"", "at: 2026-12-01T00:00:00Z"],
        ),
        (
            (office, people),
            (
                "{ repository: acme/shop, time: { days: [mon, tue, wed, thu, fri], hours: \"08:00-18:30\" } }",
                people,
            ),
            "wider",
            vec!["at: 2026-12-01T17:00:00Z"],
        ),
        (
            ("{ repository: acme/shop }", people),
            (office, people),
            "narrower",
            vec![],
        ),
        (
            (team, people),
            (
                "{ repository: acme/shop, property: { team: { member: pay } } }",
                people,
            ),
            "wider",
            vec!["claim \"repo_property_team\": [\"pay\",\"ext\"]"],
        ),
        (
            (office, people),
            (office, "groups: { member: ops }"),
            "wider",
            vec![
                "groups: \"ops\"",
                "mfa: \"true\"",
                "signed_in: \"2026-12-01T00:00:00Z, 0s before\"",
                "trigger: \"person\"",
            ],
        ),
        (
            (office, people),
            (
                office,
                "groups: [ { member: ops }, { member: dev } ], email: { glob: \"*@acme.dev\" }",
            ),
            "wider",
            vec!["groups: \"dev\"", "email: \"next@acme.dev\""],
        ),
    ] {
        let dir = folder(&[
            ("old/root.yaml", &with_conditions(old.0, old.1)),
            ("new/root.yaml", &with_conditions(new.0, new.1)),
        ]);
        let output = diff(dir.path(), &["./old", "./new"]);
        let report = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{report}");
        if expected == "same" {
            assert!(
                report.contains("Proven: no job gains anything."),
                "{report}"
            );
        } else {
            assert!(
                report.contains(&format!("`deploy`: {expected}\n")),
                "{report}"
            );
        }
        for part in shown {
            assert!(report.contains(part), "{part}: {report}");
        }
        let back = diff(dir.path(), &["--fail-on", "wider", "./new", "./old"]);
        let is_narrower = expected == "narrower";
        assert_eq!(back.status.code(), Some(if is_narrower { 4 } else { 0 }));
    }
}

/// T-334
#[test]
fn nothing_in_a_repository_runs_and_no_revision_is_an_option() {
    let dir = repository_of_policies();
    let ran = dir.path().join("ran");
    let script = dir.path().join("script");
    fs::write(
        &script,
        format!("#!/bin/sh\ntouch {}\ncat\n", ran.display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.to_str().unwrap();
    for (key, value) in [
        ("core.fsmonitor", script),
        ("core.hooksPath", dir.path().to_str().unwrap()),
        ("core.pager", script),
        ("core.sshCommand", script),
        ("diff.evil.textconv", script),
        ("diff.external", script),
        ("filter.evil.smudge", script),
        ("filter.evil.clean", script),
        ("alias.ls-tree", &format!("!{script}")),
        ("alias.cat-file", &format!("!{script}")),
    ] {
        git(dir.path(), &["config", key, value]);
    }
    write(dir.path(), ".gitattributes", "* filter=evil diff=evil\n");
    let output = diff(dir.path(), &["HEAD"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let options = [
        "--output=ran",
        "--upload-pack=touch ran",
        "-h",
        "HEAD:policies",
        "HEAD --output=ran",
        "\u{1b}[2J",
    ];
    for revision in options {
        let output = diff(dir.path(), &["--", revision, "policies"]);
        assert_eq!(output.status.code(), Some(2), "{revision}: {output:?}");
        assert!(!text(&output.stderr).contains('\u{1b}'), "{output:?}");
    }
    assert!(!ran.exists());
}

/// T-334
#[test]
fn words_of_policies_are_no_markup_and_no_command_in_a_comment() {
    let dir = repository_of_policies();
    let more = r#"policies:
  - name: evil
    issuer: github
    when: { repository: "acme/`` @team <b> | ##[error] ::error::", repository_id: "7", environment: "```" }
    grant: [ { credential: shop-db/migrate, ttl: 5m } ]
"#;
    write(dir.path(), "policies/evil.yaml", more);
    for format in ["text", "markdown"] {
        let output = diff(dir.path(), &["--output", format, "HEAD"]);
        let report = text(&output.stdout);
        assert!(report.contains("@team <b> | #\\u{23}[error]"), "{report}");
        for line in report.lines() {
            assert!(!line.contains("##["), "{line}");
            assert!(!line.trim_start().starts_with("::"), "{line}");
            // A fence is ours or none: each fact begins with its name.
            assert!(
                !line.contains("```") || line == "  ```" || line.contains(": \"```\""),
                "{line}"
            );
        }
    }
}

/// The id of the commit.
fn head(dir: &Path) -> String {
    let output = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(dir)
        .observed();
    text(&output.stdout).trim().to_owned()
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// T-334: a branch that widens a policy has a folder with the name of the commit it is compared with.
#[test]
fn a_folder_that_is_named_like_a_commit_is_not_compared_instead_of_it() {
    let dir = repository_of_policies();
    let commit = head(dir.path());
    let glob = "environment: { glob: \"prod*\" }";
    change(dir.path(), "shop.yaml", "environment: production", glob);
    copy(&dir.path().join("policies"), &dir.path().join(&commit));
    let refused = diff(dir.path(), &["--fail-on", "wider", &commit]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    assert!(text(&refused.stderr).contains("both a folder and a revision"));
    let named = diff(dir.path(), &["--fail-on", "wider", &format!("./{commit}")]);
    assert_eq!(named.status.code(), Some(0), "{named:?}");
    let review = |base: &str| {
        let base = format!("--base={base}");
        let args = [
            "policy",
            "review",
            &base,
            "--fail-on",
            "wider",
            "--",
            "policies",
        ];
        hallpass(&args, dir.path())
    };
    let reviewed = review(&commit);
    assert_eq!(reviewed.status.code(), Some(4), "{reviewed:?}");
    assert!(text(&reviewed.stdout).contains("wider"), "{reviewed:?}");
    // A commit that this clone does not have.
    let unknown = "0123456789abcdef0123456789abcdef01234567";
    copy(&dir.path().join("policies"), &dir.path().join(unknown));
    let reviewed = review(unknown);
    assert_eq!(reviewed.status.code(), Some(4), "{reviewed:?}");
    assert!(
        text(&reviewed.stdout).contains("not compared"),
        "{reviewed:?}"
    );
}

/// T-334: a branch that brings a repository of its own within the folder.
#[test]
fn a_repository_within_the_folder_of_policies_is_not_read() {
    let dir = repository_of_policies();
    let inner = dir.path().join("inner");
    git(dir.path(), &["clone", "-q", "--bare", ".", "inner"]);
    for name in ["HEAD", "objects", "refs", "packed-refs"] {
        let to = dir.path().join("policies").join(name);
        if inner.join(name).exists() {
            fs::rename(inner.join(name), to).unwrap();
        }
    }
    let refused = diff(dir.path(), &["HEAD"]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(
        text(&refused.stderr).contains("looks like a git repository itself"),
        "{refused:?}"
    );
}

/// T-334: what a folder would read through a link is not left out of a revision.
#[test]
fn a_link_in_a_revision_is_an_error() {
    let dir = repository_of_policies();
    let policies = dir.path().join("policies");
    fs::write(policies.join("extra.txt"), "policies: []\n").unwrap();
    symlink("extra.txt", policies.join("extra.yaml")).unwrap();
    git(dir.path(), &["add", "policies"]);
    git(dir.path(), &["commit", "-q", "-m", "a link"]);
    let refused = diff(dir.path(), &["HEAD~1", "HEAD"]);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(
        text(&refused.stderr).contains("`extra.yaml` at commit"),
        "{refused:?}"
    );
}

/// T-331: a requirement that names an issuer is about another one after a renaming.
#[test]
fn a_renamed_issuer_meets_other_requirements() {
    let set = |one: &str, other: &str, unless: &str| {
        format!(
            r#"issuers:
  {one}: {{ provider: github, url: "https://one.example" }}
  {other}: {{ provider: github, url: "https://two.example" }}
credentials:
  api: {{ kind: jwt, audience: "https://api.test", max_ttl: 10m, owner: o, purpose: p, class: critical }}
require:
  - {{ name: r, of: {{ class: critical }}, {unless} because: so }}
policies:
  - {{ name: p, issuer: [{one}, {other}], when: {{ repository: acme/shop, ref: refs/heads/main }}, grant: [ {{ credential: api, ttl: 5m }} ] }}
"#
        )
    };
    for unless in [
        "jobs: { issuer: a },",
        "jobs: { environment: prod }, unless: { issuer: a },",
    ] {
        let dir = folder(&[
            ("old/root.yaml", &set("a", "b", unless)),
            ("new/root.yaml", &set("b", "a", unless)),
        ]);
        let output = diff(dir.path(), &["--fail-on", "wider", "old", "new"]);
        assert_eq!(output.status.code(), Some(4), "{unless} {output:?}");
        let said = text(&output.stdout);
        assert!(said.contains("1 wider and narrower"), "{said}");
    }
}

/// T-301
#[test]
fn an_export_has_a_file_for_each_question_and_loses_none() {
    let dir = repository_of_policies();
    let glob = "environment: { glob: \"prod*\" }";
    change(dir.path(), "shop.yaml", "environment: production", glob);
    let export = ["--export", "smt2", "--export-to", "made/here", "HEAD"];
    let output = diff(dir.path(), &export);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let names = || {
        let files = fs::read_dir(dir.path().join("made/here")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    let expected = [
        "0001-gained-deploy-api.smt2",
        "0002-lost-deploy-api.smt2",
        "0003-gained-shop-db_migrate.smt2",
        "0004-lost-shop-db_migrate.smt2",
    ];
    assert_eq!(names(), expected);
    let said = text(&output.stderr);
    assert!(
        said.contains("4 questions written to `made/here`: 2 sat, 2 unsat, 0 unknown"),
        "{said}"
    );
    let first = fs::read_to_string(dir.path().join("made/here").join(expected[0])).unwrap();
    for part in [
        "Is there a job of the issuer `github`",
        "(set-info :status sat)",
        "(str.in_re |text /environment|",
        "(check-sat)\n(get-model)\n",
    ] {
        assert!(first.contains(part), "{first}");
    }

    // What is there is kept.
    let again = diff(dir.path(), &export);
    assert_eq!(again.status.code(), Some(5), "{again:?}");
    let said = text(&again.stderr);
    assert!(
        said.contains("the folder `made/here` is not empty"),
        "{said}"
    );
    assert_eq!(names(), expected);
    let same = diff(
        dir.path(),
        &["--export", "smt2", "--export-to", "none", "./policies"],
    );
    let said = text(&same.stderr);
    assert!(said.contains("0 questions written to `none`"), "{said}");
    for half in [["--export", "smt2"], ["--export-to", "x"]] {
        let output = diff(dir.path(), &[&half[..], &["HEAD"]].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}

/// T-301: a disk that is full, as a file that may not grow.
#[test]
fn an_export_that_cannot_be_written_leaves_no_file() {
    let dir = repository_of_policies();
    let glob = "environment: { glob: \"prod*\" }";
    change(dir.path(), "shop.yaml", "environment: production", glob);
    fs::write(dir.path().join("file"), "").unwrap();
    let hallpass = env!("CARGO_BIN_EXE_hallpass");
    let full = Command::new("sh")
        .args([
            "-c",
            "ulimit -f 2; exec \"$@\"",
            "sh",
            hallpass,
            "policy",
            "diff",
        ])
        .args([
            "--at",
            AT,
            "--export",
            "smt2",
            "--export-to",
            "made",
            "HEAD",
        ])
        .current_dir(dir.path())
        .observed();
    assert_eq!(full.status.code(), Some(5), "{full:?}");
    let said = text(&full.stderr);
    assert!(
        said.contains("cannot write `made/0001-gained-deploy-api.smt2`"),
        "{said}"
    );
    assert!(said.contains("no file of the export was kept"), "{said}");
    assert!(!dir.path().join("made").exists());
    for folder in ["file", "file/below", "/proc/questions"] {
        let output = diff(
            dir.path(),
            &["--export", "smt2", "--export-to", folder, "HEAD"],
        );
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        let said = text(&output.stderr);
        assert!(
            said.contains(&format!("cannot make the folder `{folder}`")),
            "{said}"
        );
    }
}

/// T-404: git has no ref with an empty part, or with `/` at its end.
#[test]
fn a_ref_of_a_witness_is_one_that_git_can_have() {
    for (to, expected) in [
        ("refs/heads/**", "refs/heads/next/one"),
        ("refs/heads/r**", "refs/heads/rnext/one"),
    ] {
        let dir = repository_of_policies();
        change(dir.path(), "shop.yaml", "refs/heads/*", to);
        let found = json(dir.path(), &[]);
        let gained = &found["credentials"][0]["gained"][0]["witness"];
        assert_eq!(gained["facts"]["ref"], expected, "{found}");
    }
}
