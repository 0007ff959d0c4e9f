//! Folders of policies: what loads, what does not, and what is said about it.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::leaks::Observed as _;
use hallpass::clock::Timestamp;
use hallpass::policy::lint::RULES;
use hallpass::policy::{IssuerOverride, LoadOptions, PolicySet};
use hallpass::yaml::{Diagnostic, Severity};
use serde_json::Value;
use tempfile::TempDir;

mod bad_input;
mod changes;
mod check;
mod cost;
mod diff;
mod examples;
mod explain;
mod fmt;
mod import;
mod inputs;
mod issuers;
mod language;
mod lines;
mod lint;
mod model;
mod new;
mod pinned;
mod reach;
mod replay;
mod resource;
mod revisions;
mod rosters;
mod schema;
mod shadow;
mod suggest;
mod teams;
mod usage;
mod waive;

const ROOT: &str = r#"issuers:
  github: { provider: github, tenants: [ { owner: acme, owner_id: "65923871" } ] }
credentials:
  app: { kind: jwt, audience: https://app.acme.dev, max_ttl: 10m, owner: team-app, purpose: calls, class: low }
"#;
const APP: &str = r#"policies:
  - name: app
    issuer: github
    when: { repository: acme/app, repository_id: "702114500" }
    grant: [ { credential: app, ttl: 5m } ]
"#;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that only its owner can write, whatever the umask is.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, text) in files {
        write(dir.path(), name, text);
    }
    dir
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// The policies of this repository without those of teams and rosters, in a folder of their own.
fn company() -> TempDir {
    let read = |name: &str| fs::read_to_string(repository().join("policies").join(name)).unwrap();
    let root = read("root.yaml");
    let (issuers, rest) = root.split_once("# A team's files").unwrap();
    let (_, require) = rest.split_once("\nrequire:").unwrap();
    folder(&[
        ("policies/root.yaml", &format!("{issuers}require:{require}")),
        ("policies/shop.yaml", &read("shop.yaml")),
    ])
}

fn rules(dir: &Path) -> Vec<&'static str> {
    match PolicySet::load(dir) {
        Ok(loaded) => loaded.findings.iter().map(|one| one.rule).collect(),
        Err(errors) => errors.iter().map(|one| one.rule).collect(),
    }
}

fn hallpass(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(args)
        .current_dir(dir)
        .observed()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_policies_of_this_repository_load_without_a_finding() {
    let loaded = PolicySet::load(&repository().join("policies")).unwrap();
    assert!(loaded.findings.is_empty(), "{}", loaded.findings);
    let names: Vec<_> = loaded
        .set
        .credentials()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "deploy-api",
            "docs-site/publish",
            "pay-ledger/post",
            "shop-db/migrate",
            "shop-db/read"
        ]
    );
}

#[test]
fn errors_of_all_files_come_together_in_order() {
    let dir = folder(&[
        ("a.yaml", "issuerz: {}\n"),
        ("b.yaml", "policies: [ { name: x, issuer: nobody } ]\n"),
        ("c.yaml", "credentials: { app: { kind: mongo } }\n"),
    ]);
    let errors = PolicySet::load(dir.path()).unwrap_err();
    // `nobody` may be among the misspelt issuers, so nothing is said of it.
    let seen: Vec<_> = errors
        .iter()
        .map(|one| (one.place.file().rsplit('/').next().unwrap(), one.rule))
        .collect();
    assert_eq!(
        seen,
        [
            ("a.yaml", "unknown-key"),
            ("b.yaml", "missing-key"),
            ("b.yaml", "missing-key"),
            ("c.yaml", "missing-key"),
            ("c.yaml", "missing-key"),
            ("c.yaml", "missing-key"),
            ("c.yaml", "missing-key"),
            ("c.yaml", "unknown-kind"),
        ]
    );
}

/// T-78
#[test]
fn a_link_within_the_folder_is_followed_and_one_out_of_it_is_refused() {
    let dir = folder(&[("..2026/root.yaml", ROOT), ("app.yaml", APP)]);
    symlink("..2026", dir.path().join("..data")).unwrap();
    symlink("..data/root.yaml", dir.path().join("root.yaml")).unwrap();
    assert_eq!(
        rules(dir.path()),
        [""; 0],
        "as Kubernetes mounts a ConfigMap"
    );
    let outside = folder(&[("x.yaml", APP)]);
    symlink(outside.path().join("x.yaml"), dir.path().join("x.yaml")).unwrap();
    assert_eq!(rules(dir.path()), ["unreadable"]);
}

/// T-78
#[test]
fn links_that_lead_round_in_circles_hold_nobody_up() {
    let dir = folder(&[("root.yaml", ROOT), ("app.yaml", APP)]);
    for name in 0..20 {
        symlink(".", dir.path().join(format!("round{name}"))).unwrap();
    }
    let path = dir.path().to_owned();
    let (tell, told) = std::sync::mpsc::channel();
    // Left to itself if it never ends.
    std::thread::spawn(move || tell.send(rules(&path)));
    let told = told.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(told, Ok(vec![]), "each folder is looked into once");
}

/// T-78
#[test]
fn a_link_to_a_folder_outside_is_refused_and_not_looked_into() {
    let dir = folder(&[("root.yaml", ROOT), ("app.yaml", APP)]);
    let outside = folder(&[("x.yaml", APP)]);
    symlink(outside.path(), dir.path().join("team")).unwrap();
    assert_eq!(rules(dir.path()), ["folder"]);
}

/// T-76
#[test]
fn a_policy_file_whose_name_is_not_utf_8_is_said_and_not_skipped() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let dir = folder(&[("root.yaml", ROOT), ("app.yaml", APP)]);
    for name in [&b"notes-\xff.txt"[..], b".\xff.yaml"] {
        fs::write(dir.path().join(OsStr::from_bytes(name)), "x").unwrap();
    }
    assert_eq!(rules(dir.path()), [""; 0]);
    for name in [&b"requirement-\xff.yaml"[..], b"requirement-\xff.YML"] {
        fs::write(dir.path().join(OsStr::from_bytes(name)), APP).unwrap();
    }
    assert_eq!(rules(dir.path()), ["file-name"; 2]);
}

/// T-78
#[test]
fn files_that_are_not_what_was_reviewed_are_refused() {
    let dir = folder(&[("root.yaml", ROOT), ("app.yaml", APP)]);
    fs::set_permissions(
        dir.path().join("app.yaml"),
        fs::Permissions::from_mode(0o666),
    )
    .unwrap();
    assert_eq!(rules(dir.path()), ["unreadable"], "writable by others");

    let dir = folder(&[("root.yaml", ROOT), ("app.yaml", APP)]);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(rules(dir.path()), ["writable"], "a folder others can write");

    let dir = folder(&[("root.yaml", ROOT), ("app.yaml", APP)]);
    write(
        dir.path(),
        "big.yaml",
        &format!("{}issuers: {{}}\n", "# x\n".repeat(4_194_304)),
    );
    assert_eq!(rules(dir.path()), ["unreadable"], "larger than 16 MiB");
    let comments = "#".repeat(15 * 1_024 * 1_024);
    for number in 0..5 {
        write(dir.path(), &format!("big{number}.csv"), &comments);
        write(
            dir.path(),
            &format!("big{number}.yaml"),
            &format!("{comments}\n"),
        );
    }
    fs::remove_file(dir.path().join("big.yaml")).unwrap();
    let said = PolicySet::load(dir.path()).unwrap_err().to_string();
    assert!(
        said.contains("makes the folder larger than 64 MiB"),
        "{said}"
    );

    let dir = folder(&[("root.yaml", ROOT), ("app.yaml", APP)]);
    fs::write(dir.path().join("bad.yaml"), b"issuers: \xff\n").unwrap();
    fs::set_permissions(
        dir.path().join("bad.yaml"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert_eq!(rules(dir.path()), ["unreadable"], "not UTF-8");

    let dir = folder(&[("root.yaml", ROOT), ("app.yaml", &format!("\u{feff}{APP}"))]);
    assert!(rules(dir.path()).contains(&"byte-order-mark"));
}

/// T-76: a file that looks like one of policies and is not read would protect nothing.
#[test]
fn a_policy_file_in_the_wrong_place_or_by_the_wrong_name_is_refused() {
    for name in ["more.yml", "MORE.YAML", "teams/pay/pay.yaml"] {
        let dir = folder(&[
            ("root.yaml", ROOT),
            ("app.yaml", APP),
            (
                name,
                "require: [ { name: r, of: all, jobs: { ref: refs/heads/main }, because: so } ]\n",
            ),
        ]);
        assert_eq!(
            PolicySet::load(dir.path()).unwrap_err().iter().count(),
            1,
            "{name}"
        );
    }
    let dir = folder(&[
        ("root.yaml", ROOT),
        ("app.yaml", APP),
        ("app.test.yaml", "tests: []\n"),
        ("README.md", "x"),
    ]);
    let loaded = PolicySet::load(dir.path()).unwrap();
    assert!(loaded.findings.is_empty(), "tests are not policies");
}

/// T-76
#[test]
fn what_is_missing_empty_or_doubled_never_loads() {
    for (what, text) in [
        ("no name", APP.replace("name: app\n    ", "")),
        ("no issuer", APP.replace("    issuer: github\n", "")),
        ("empty issuer", APP.replace("issuer: github", "issuer: []")),
        ("no ttl", APP.replace(", ttl: 5m", "")),
        (
            "no conditions",
            APP.replace(
                "    when: { repository: acme/app, repository_id: \"702114500\" }\n",
                "",
            ),
        ),
        (
            "empty list of blocks",
            APP.replace(
                "{ repository: acme/app, repository_id: \"702114500\" }",
                "[]",
            ),
        ),
        ("empty pattern", APP.replace("acme/app", "{}")),
        ("empty text", APP.replace("acme/app", "\"\"")),
        ("empty list", APP.replace("acme/app", "[]")),
        (
            "doubled fact",
            APP.replace(
                "repository: acme/app",
                "repository: acme/app, repository: acme/b",
            ),
        ),
        (
            "doubled policy",
            format!("{APP}{}", APP.trim_start_matches("policies:\n")),
        ),
        ("doubled section", format!("{APP}{APP}")),
        (
            "scopes of what has none",
            APP.replace("ttl: 5m", "ttl: 5m, scopes: [x]"),
        ),
        ("non-ASCII", APP.replace("acme/app", "\u{430}cme/app")),
        ("long pattern", APP.replace("acme/app", &"a".repeat(257))),
        ("empty file section", "policies: []\n".to_owned()),
        ("a list of a list", APP.replace("acme/app", "[[acme/app]]")),
        ("a number for a life", APP.replace("5m", "-5m")),
        (
            "an id under several issuers",
            APP.replace("issuer: github", "issuer: [github, other]"),
        ),
    ] {
        let other = ROOT.replace(
            "credentials:",
            "  other: { provider: gitlab, url: https://gitlab.acme.dev }\ncredentials:",
        );
        let loaded = PolicySet::from_texts(&[("root.yaml", &other), ("app.yaml", &text)]);
        assert!(loaded.is_err(), "{what}: {text}");
    }
}

/// T-40, T-49, T-299
#[test]
fn issuers_that_cannot_be_told_apart_or_trusted_do_not_load() {
    let issuer = |lines: &str| format!("issuers:\n{lines}");
    for lines in [
        "  a: { provider: gitlab, url: http://gitlab.acme.dev }",
        "  a: { provider: gitlab, url: \"https://gitlab.acme.dev?x\" }",
        "  a: { provider: gitlab, url: \"https://gitlab.acme.dev#x\" }",
        "  a: { provider: gitlab, url: \"https://user@gitlab.acme.dev\" }",
        "  a: { provider: gitlab, url: https://g.acme.dev }\n  b: { provider: gitlab, url: https://G.acme.dev:443/ }",
        "  a: { provider: gitlab, url: HTTPS://gitlab.acme.dev }",
        "  a: { provider: gitlab, url: https://g.acme.dev }\n  b: { provider: gitlab, url: https://g.acme.dev/ }",
        "  a: { provider: gitlab, url: https://g.acme.dev }\n  b: { provider: gitlab, url: https://g.acme.dev }",
        "  a: { provider: github, url: https://token.actions.githubusercontent.com/acme }",
        "  a: { provider: github }",
        "  a: { provider: gitlab }",
        "  a: { provider: generic, url: https://ci.acme.dev }",
        "  a: { provider: generic, facts: { repository: \"/r\" } }",
        "  a: { provider: generic, url: https://ci.acme.dev, facts: { repository: repo } }",
        "  a: { provider: generic, url: https://ci.acme.dev, facts: { repository: \"/r\" }, types: { from_fork: boolean } }",
        "  a: { provider: gitlab, url: https://g.acme.dev, algorithms: [HS256] }",
        "  a: { provider: gitlab, url: https://g.acme.dev, algorithms: [none] }",
        "  a: { provider: gitlab, url: https://g.acme.dev, leeway: 2m }",
        "  a: { provider: gitlab, url: https://g.acme.dev, leeway: 10 }",
        "  a: { provider: generic, url: https://ci.acme.dev, facts: { repository: \"/a~2\" } }",
        "  a: { provider: generic, url: https://ci.acme.dev, facts: { repository: \"/a~\" } }",
        "  a: { provider: gitlab, url: https://g.acme.dev, ca: ../ca.pem }",
        "  a: { provider: gitlab, url: https://g.acme.dev, networks: [10.0.0.0/99] }",
        "  a: { provider: gitlab, url: https://g.acme.dev, networks: [010.0.0.0/8] }",
        "  a: { provider: gitlab, url: https://g.acme.dev, networks: [10.0.0.0/8, 10.0.0.0/08] }",
    ] {
        let text = issuer(lines);
        assert!(
            PolicySet::from_texts(&[("root.yaml", &text)]).is_err(),
            "{lines}"
        );
    }
    for lines in [
        "  a: { provider: gitlab, url: https://gitlab.acme.dev, networks: [10.0.0.0/8], max_age: 2h, leeway: 10s }",
        "  a: { provider: github, url: https://ghes.acme.dev/_services/token }",
        "  a: { provider: gitlab, url: https://GitLab.acme.dev:443 }",
        "  a: { provider: generic, url: https://ci.acme.dev, facts: { repository: \"/a~0b/c~1d\" } }",
        "  a: { provider: gitlab, max_lifetime: 744h, tenants: { owner: acme, owner_id: \"1\" } }",
        "  a: { provider: generic, url: https://ci.acme.dev, facts: { repository: \"/r\", from_fork: \"/f\" }, types: { from_fork: text } }",
    ] {
        let text = issuer(lines);
        PolicySet::from_texts(&[("root.yaml", &text)]).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

#[test]
fn a_ca_is_read_from_the_folder_and_counts_in_the_revision() {
    let key = rcgen::generate_simple_self_signed(vec!["gitlab.acme.dev".to_owned()]).unwrap();
    let pem = key.cert.pem();
    let root =
        "issuers:\n  own: { provider: gitlab, url: https://gitlab.acme.dev, ca: ca/own.pem }\n";
    let dir = folder(&[("root.yaml", root), ("ca/own.pem", &pem)]);
    let first = PolicySet::load(dir.path()).unwrap().set;
    assert_eq!(first.readers()[0].issuer.ca.as_deref(), Some(pem.as_str()));
    write(dir.path(), "ca/own.pem", &format!("{pem}\n"));
    assert_ne!(
        PolicySet::load(dir.path()).unwrap().set.revision(),
        first.revision()
    );
    write(dir.path(), "ca/own.pem", "nothing");
    assert_eq!(rules(dir.path()), ["ca"]);
}

#[test]
fn the_revision_is_of_names_and_contents_and_not_of_their_order() {
    let revision = |texts: &[(&str, &str)]| {
        PolicySet::from_texts(texts)
            .unwrap()
            .set
            .revision()
            .to_owned()
    };
    let one = revision(&[("a.yaml", ROOT), ("b.yaml", APP)]);
    assert_eq!(one, revision(&[("b.yaml", APP), ("a.yaml", ROOT)]));
    assert_ne!(one, revision(&[("a.yaml", ROOT), ("c.yaml", APP)]));
    assert_ne!(
        one,
        revision(&[("a.yaml", ROOT), ("b.yaml", &format!("{APP}\n"))])
    );
    assert_eq!(one.len(), "sha256:".len() + 64);
}

/// T-117: the demo's own CI stands in for the real ones; everything else stays.
#[test]
fn an_issuer_can_be_elsewhere_without_changing_the_files() {
    let over = IssuerOverride {
        url: "https://localhost:4433".to_owned(),
        ca: Some("pem".to_owned()),
        networks: vec!["127.0.0.0/8".parse().unwrap()],
    };
    let options = LoadOptions {
        issuer_overrides: [("github".to_owned(), over)].into(),
        ..LoadOptions::default()
    };
    let set = PolicySet::load_with(&repository().join("policies"), &options)
        .unwrap()
        .set;
    let reader = set.reader_by_url("https://localhost:4433").unwrap();
    assert_eq!(
        (reader.issuer.name.as_str(), reader.issuer.max_age),
        ("github", 600)
    );
    assert!(
        set.reader_by_url("https://token.actions.githubusercontent.com")
            .is_none()
    );
}

/// In each form of output, by the command that reads the folder.
#[test]
fn a_folder_without_policies_is_a_finding() {
    let dir = folder(&[("job.json", r#"{"iss":"https://a.test"}"#)]);
    fs::create_dir(dir.path().join("policies")).unwrap();
    let output = hallpass(&["policy", "check", "--output", "json"], dir.path());
    assert_eq!(output.status.code(), Some(4));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = answer["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{answer}");
    let finding = &findings[0];
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["rule"], "no-policies");
    assert_eq!(finding["file"], "policies");
    let sentence = "`policies` holds no policies, so every job would be denied";
    assert_eq!(finding["message"], sentence);
    let output = hallpass(&["policy", "check"], dir.path());
    assert_eq!(output.status.code(), Some(4));
    let said = text(&output.stdout);
    assert!(said.contains(sentence), "{said}");
    assert!(
        said.contains("expected at least one `*.yaml` file"),
        "{said}"
    );
    let args = ["policy", "explain", "--claims", "job.json", "app"];
    let output = hallpass(&args, dir.path());
    assert_eq!(output.status.code(), Some(4));
    let said = text(&output.stderr);
    assert!(said.contains(sentence), "{said}");
    assert!(!said.contains("the policies trust"), "{said}");
}

/// T-83, T-49, T-50: every rule has a bad example, which it finds, and a good one with no findings.
#[test]
fn every_rule_finds_its_bad_example_and_nothing_in_its_good_one() {
    let options = LoadOptions {
        broker: Some("https://hallpass.acme.dev".to_owned()),
        now: Some(Timestamp::from_unix(1_790_000_000)),
        targets: Some(["shop-db".to_owned()].into()),
        ..LoadOptions::default()
    };
    for rule in RULES {
        let dir = repository().join("tests/lint").join(rule.id);
        for (file, expected) in [("bad.yaml", vec![rule.id]), ("good.yaml", vec![])] {
            let text = fs::read_to_string(dir.join(file))
                .unwrap_or_else(|error| panic!("{}: {error}", rule.id));
            let loaded = PolicySet::from_texts_with(&[(file, &text)], &options);
            let loaded = loaded.unwrap_or_else(|errors| panic!("{}: {errors}", rule.id));
            // A waived finding is a note.
            let found = loaded.findings.iter();
            let is_found = |one: &&Diagnostic| one.severity >= rule.severity.min(Severity::Warning);
            let found = found.filter(is_found);
            let found: Vec<_> = found.map(|one| one.rule).collect();
            assert_eq!(found, expected, "{} in {file}", rule.id);
        }
        let texts = [rule.why, rule.summary, rule.incident];
        assert!(texts.iter().all(|text| !text.is_empty()), "{}", rule.id);
    }
    let folders = fs::read_dir(repository().join("tests/lint"))
        .unwrap()
        .count();
    assert_eq!(folders, RULES.len(), "an example without its rule");
}

/// T-83: not at the name of what holds the value.
#[test]
fn findings_point_at_the_value() {
    let options = LoadOptions {
        broker: Some("https://hallpass.acme.dev".to_owned()),
        ..LoadOptions::default()
    };
    for (rule, value) in [
        ("any-repository", "ref: refs/heads/main"),
        ("issuer-is-broker", "https://hallpass.acme.dev"),
        ("life-above-ceiling", "45m"),
        ("requirement-selects-nothing", "{ class: critical }"),
    ] {
        let file = repository().join("tests/lint").join(rule).join("bad.yaml");
        let text = fs::read_to_string(file).unwrap();
        let loaded = PolicySet::from_texts_with(&[("bad.yaml", &text)], &options).unwrap();
        let finding = loaded.findings.iter().find(|one| one.rule == rule).unwrap();
        let span = finding.place.span();
        assert_eq!(text.get(span.start..span.end), Some(value), "{rule}");
    }
}

/// T-40
#[test]
fn two_issuers_of_one_address_are_shown_by_it() {
    let issuer = "{ provider: generic, facts: { repository: \"/repo\" }, url: ";
    let root = format!(
        "issuers:\n  a: {issuer}https://ci.acme.dev }}\n  b: {issuer}https://ci.acme.dev/ }}\n"
    );
    let error = PolicySet::from_texts(&[("root.yaml", &root)]).unwrap_err();
    insta::assert_snapshot!(error, @r#"
    error[issuer-url]: issuers `b` and `a` have the same `url`, or differ only by case, a slash or the port 443
     --> root.yaml:3:64
      |
    3 |   b: { provider: generic, facts: { repository: "/repo" }, url: https://ci.acme.dev/ }
      |                                                                ^^^^^^^^^^^^^^^^^^^^
    "#);
}

/// T-50: a warning in general, an error where the harm is great.
#[test]
fn a_critical_credential_wants_the_repository_id() {
    let app = APP.replace(", repository_id: \"702114500\"", "");
    for (class, expected) in [("low", None), ("critical", Some(Severity::Error))] {
        let root = ROOT.replace("class: low", &format!("class: {class}"));
        let loaded = PolicySet::from_texts(&[("root.yaml", &root), ("app.yaml", &app)]).unwrap();
        let found = loaded
            .findings
            .iter()
            .find(|one| one.rule == "name-without-id")
            .map(|one| one.severity);
        assert_eq!(found, expected, "{class}: the tenant pins the owner's id");
        assert_eq!(loaded.servable().is_err(), expected.is_some());
    }
}

#[test]
fn check_prints_everything_and_says_so_by_its_exit_code() {
    let good = folder(&[("policies/root.yaml", ROOT), ("policies/app.yaml", APP)]);
    let output = hallpass(&["policy", "check"], good.path());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(
        text(&output.stdout),
        "policies: 1 policy, 1 credential, 0 requirements; nothing found\n"
    );

    let bad = folder(&[("policies/root.yaml", &ROOT.replace("tenants", "tenant"))]);
    let output = hallpass(&["policy", "check", "policies"], bad.path());
    assert_eq!(output.status.code(), Some(4));
    assert!(
        text(&output.stdout).contains("--> policies/root.yaml:2:31"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(
        text(&output.stderr),
        "hallpass: the policies in `policies` cannot be served as they are\n"
    );

    let output = hallpass(&["policy", "check", "--output", "json"], bad.path());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["findings"][0]["rule"], "unknown-key");
    assert_eq!(answer["findings"][0]["column"], 31);
    assert_eq!(answer["findings"].as_array().unwrap().len(), 1);

    assert_eq!(
        hallpass(&["policy", "check", "nowhere"], bad.path())
            .status
            .code(),
        Some(5)
    );
    assert_eq!(
        hallpass(&["policy", "check", "--explain", "nothing"], bad.path())
            .status
            .code(),
        Some(2)
    );
    let output = hallpass(
        &["policy", "check", "--explain", "wildcard-owner"],
        bad.path(),
    );
    assert!(text(&output.stdout).starts_with("wildcard-owner (error): wildcard in the owner"));
}

const CLAIMS: &str = r#"{"iss":"https://token.actions.githubusercontent.com","repository":"acme/app","repository_id":"702114500","repository_owner":"acme","repository_owner_id":"65923871","event_name":"EVENT"}"#;

#[test]
fn explain_walks_the_decision_and_verifies_nothing() {
    let dir = folder(&[("policies/root.yaml", ROOT), ("policies/app.yaml", APP)]);
    write(dir.path(), "claims.json", &CLAIMS.replace("EVENT", "push"));
    let output = hallpass(
        &["policy", "explain", "--claims", "claims.json", "app"],
        dir.path(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("PERMITTED by policy app for 5m"));

    write(
        dir.path(),
        "claims.json",
        &CLAIMS.replace("EVENT", "pull_request_target"),
    );
    let output = hallpass(
        &["policy", "explain", "--claims", "claims.json", "app"],
        dir.path(),
    );
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    assert!(
        shown.contains("DENIED: the conditions of every policy that grants it fail"),
        "{shown}"
    );
    assert!(
        shown.contains("✗ trigger") && shown.contains("the job has pull_request_target"),
        "{shown}"
    );

    let token = format!(
        "e30.{}.c2ln",
        data_encoding::BASE64URL_NOPAD.encode(CLAIMS.replace("EVENT", "push").as_bytes())
    );
    write(dir.path(), "token", &token);
    let output = hallpass(
        &[
            "policy",
            "explain",
            "--token",
            "token",
            "--unverified",
            "app",
            "--ttl",
            "1h",
            "--output",
            "json",
        ],
        dir.path(),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("were not checked"),
        "{}",
        text(&output.stderr)
    );
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        answer["decision"]["verdict"]["denied"]["ttl"]["allowed"],
        "5m"
    );
}

/// T-81: one place in the source makes a Permit.
#[test]
fn a_permit_has_one_maker() {
    fn sources(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    sources(&repository().join("src"), &mut found);
    let makers: Vec<_> = found
        .iter()
        .flat_map(|(path, text)| text.lines().map(move |line| (path, line)))
        .filter(|(_, line)| line.contains("Permit {"))
        .filter(|(_, line)| {
            !line.contains("struct Permit {")
                && !line.contains("impl Permit {")
                && !line.contains("for Permit {")
                && !line.contains("-> &Permit {")
        })
        .map(|(path, _)| {
            path.strip_prefix(repository())
                .unwrap()
                .display()
                .to_string()
        })
        .collect();
    assert_eq!(makers, ["src/policy/decide.rs"]);
}
