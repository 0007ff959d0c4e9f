//! `hallpass init`, by the real binary: what it writes is checked by `policy check`, `serve --check` and
//! `policy explain`, and nothing that exists is changed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::client::fake::{hallpass, stderr, stdout, told};
use crate::support::leaks::Observed as _;

const ISSUER: [&str; 2] = ["--issuer", "https://hallpass.acme.dev"];
const GITHUB: [&str; 6] = [
    "--github",
    "acme/shop",
    "--owner-id",
    "65923871",
    "--repository-id",
    "702114500",
];

fn init(folder: &Path, arguments: &[&str]) -> Output {
    let folder = folder.display().to_string();
    let mut all = vec!["init", &folder];
    all.extend(arguments);
    hallpass(&all).observed()
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Every file below a folder, by name.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            let name = path.strip_prefix(folder).unwrap();
            found.push(name.display().to_string());
        }
    }
    found.sort();
    found
}

/// `serve --check` and `policy check` accept what is in the folder.
fn accepted(folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    let settings = path("hallpass.yaml");
    let checked = hallpass(&["serve", "--check", "--config", &settings]).observed();
    assert!(checked.status.success(), "{}", told(&checked));
    let checked = hallpass(&["policy", "check", &path("policies")]).observed();
    assert!(checked.status.success(), "{}", told(&checked));
    assert!(
        stdout(&checked).contains("nothing found"),
        "{}",
        told(&checked)
    );
}

fn claims(vector: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/ci-tokens");
    serde_json::from_str(&read(&path, vector)).unwrap()
}

/// The exit code of `policy explain` for a job with these claims.
fn explained(folder: &Path, claims: &Value, credential: &str) -> Option<i32> {
    let file = folder.join("claims.json");
    fs::write(&file, claims.to_string()).unwrap();
    let output = hallpass(&[
        "policy",
        "explain",
        "--policies",
        &folder.join("policies").display().to_string(),
        "--claims",
        &file.display().to_string(),
        credential,
    ])
    .observed();
    output.status.code()
}

#[test]
fn the_files_of_a_first_broker_are_accepted_and_let_in_that_repository() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etc/hallpass");
    let mut arguments = [&ISSUER[..], &GITHUB].concat();
    arguments.extend(["--postgres", "db.acme.dev:5433/shop"]);
    let output = init(&path, &arguments);
    assert!(output.status.success(), "{}", told(&output));
    assert!(
        stdout(&output).contains("hallpass target install shop-db"),
        "{}",
        told(&output)
    );
    assert_eq!(
        tree(&path),
        [
            "hallpass.yaml",
            "job.github.yml",
            "policies",
            "policies/first.test.yaml",
            "policies/first.yaml",
            "policies/root.yaml",
            "root.key",
            "secrets",
            "secrets/hallpass",
            "secrets/hallpass_clean"
        ]
    );
    let tests = hallpass(&["policy", "test", "--coverage", "--threshold", "100"])
        .arg(path.join("policies"))
        .observed();
    assert!(tests.status.success(), "{}", told(&tests));
    for secret in ["root.key", "secrets/hallpass", "secrets/hallpass_clean"] {
        let mode = fs::metadata(path.join(secret))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
        let text = read(&path, secret);
        assert!(text.len() >= 32, "{secret}");
        assert!(
            !stdout(&output).contains(text.trim()),
            "{secret} is printed"
        );
    }
    assert_ne!(
        read(&path, "secrets/hallpass"),
        read(&path, "secrets/hallpass_clean")
    );
    accepted(&path);
    let mut job = claims("github-actions.json");
    let ours = [
        ("repository", "acme/shop"),
        ("repository_id", "702114500"),
        ("repository_owner", "acme"),
        ("repository_owner_id", "65923871"),
    ];
    for (name, value) in ours {
        job[name] = json!(value);
    }
    assert_eq!(explained(&path, &job, "shop-db/read"), Some(0));
    job["ref"] = json!("refs/heads/other");
    assert_eq!(explained(&path, &job, "shop-db/read"), Some(1));
    let install = hallpass(&[
        "target",
        "install",
        "shop-db",
        "--server-version",
        "16",
        "--config",
        &path.join("hallpass.yaml").display().to_string(),
    ])
    .observed();
    assert!(
        stdout(&install).contains("group shop_readers"),
        "{}",
        told(&install)
    );
    assert!(read(&path, "job.github.yml").contains("hallpass exec shop-db/read -- psql"));
}

#[test]
fn nothing_that_exists_is_changed_and_half_a_set_is_not_left() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&ISSUER[..], &GITHUB].concat();
    fs::write(folder.path().join("root.key"), "mine").unwrap();
    let refused = init(folder.path(), &arguments);
    assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
    assert!(
        stderr(&refused).contains("root.key` exist already"),
        "{}",
        told(&refused)
    );
    assert_eq!(tree(folder.path()), ["root.key"]);
    assert_eq!(read(folder.path(), "root.key"), "mine");
    fs::remove_file(folder.path().join("root.key")).unwrap();
    // A file where a folder has to be: found after the first files were written.
    fs::write(folder.path().join("policies"), "mine").unwrap();
    let refused = init(folder.path(), &arguments);
    assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
    assert!(
        stderr(&refused).contains("nothing was kept"),
        "{}",
        told(&refused)
    );
    assert_eq!(tree(folder.path()), ["policies"]);
    fs::remove_file(folder.path().join("policies")).unwrap();
    // Policies of somebody's own in the folder would be served too.
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("policies/other.yaml"), "policies: [").unwrap();
    let refused = init(folder.path(), &arguments);
    assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
    assert_eq!(tree(folder.path()), ["policies", "policies/other.yaml"]);
}

/// What is printed is copied into a shell, and a link could lead out of the folder.
#[test]
fn a_folder_with_a_hostile_name_or_a_link_in_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [&ISSUER[..], &GITHUB].concat();
    for name in ["a\n; rm -rf x", "a b", "\u{1b}[31m", "$(id)"] {
        let path = folder.path().join(name);
        let refused = init(&path, &arguments);
        assert_eq!(refused.status.code(), Some(2), "{}", told(&refused));
        assert!(!path.exists(), "{name:?}");
    }
    let (target, path) = (folder.path().join("victim"), folder.path().join("new"));
    fs::create_dir_all(&target).unwrap();
    fs::create_dir(&path).unwrap();
    std::os::unix::fs::symlink(&target, path.join("policies")).unwrap();
    let refused = init(&path, &arguments);
    assert_eq!(refused.status.code(), Some(5), "{}", told(&refused));
    assert!(stderr(&refused).contains("is a link"), "{}", told(&refused));
    assert_eq!(tree(&target), Vec::<String>::new());
    assert!(!path.join("hallpass.yaml").exists());
}

/// T-136: a pipe would keep the broker waiting, also for a signal.
#[test]
fn settings_and_their_secrets_are_read_from_regular_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let mut arguments = [&ISSUER[..], &GITHUB].concat();
    arguments.extend(["--postgres", "db.acme.dev/shop"]);
    assert!(init(&path, &arguments).status.success());
    let settings = path.join("hallpass.yaml").display().to_string();
    for name in ["secrets/hallpass", "hallpass.yaml"] {
        let file = path.join(name);
        fs::remove_file(&file).unwrap();
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        nix::unistd::mkfifo(&file, mode).unwrap();
        let checked = hallpass(&["serve", "--check", "--config", &settings]).observed();
        assert_eq!(checked.status.code(), Some(5), "{}", told(&checked));
        assert!(
            stderr(&checked).contains("it is not a regular file"),
            "{}",
            told(&checked)
        );
    }
}

#[test]
fn what_is_missing_or_wrong_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let said = |arguments: &[&str]| {
        let output = init(&path, arguments);
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        assert!(!path.exists(), "{arguments:?}");
        let text = stderr(&output);
        text.lines().next().unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!(said(&GITHUB), @"hallpass: `--issuer` is missing");
    insta::assert_snapshot!(said(&ISSUER), @"hallpass: `--github` or `--gitlab` is missing");
    let without_ids = [&ISSUER[..], &GITHUB[..2]].concat();
    insta::assert_snapshot!(said(&without_ids), @"hallpass: `--owner-id` is missing; `gh api repos/acme/shop --jq '.owner.id, .id'` prints the owner's and the repository's");
    let with = |change: &dyn Fn(&mut Vec<&str>)| {
        let mut arguments = [&ISSUER[..], &GITHUB].concat();
        change(&mut arguments);
        said(&arguments)
    };
    insta::assert_snapshot!(with(&|all| all[7] = "seven"), @"hallpass: `--repository-id` is `seven`, expected digits; `gh api repos/acme/shop --jq '.owner.id, .id'` prints the owner's and the repository's");
    insta::assert_snapshot!(with(&|all| all[3] = "shop"), @"hallpass: the repository is `shop`, expected its full name, e.g. `acme/shop`");
    insta::assert_snapshot!(with(&|all| all[3] = "acme/shop\nx: y"), @r"hallpass: the repository is `acme/shop\u{a}x: y`, expected its full name, e.g. `acme/shop`");
    insta::assert_snapshot!(with(&|all| all.extend(["--postgres", "db/sh;op"])), @"hallpass: `--postgres` is `db/sh;op`, expected `HOST[:PORT]/DATABASE`, e.g. `db.acme.dev/shop`, with a database name of letters, digits, `_` and `-`");
    let issuer = |issuer: &str| said(&[&["--issuer", issuer][..], &GITHUB].concat());
    insta::assert_snapshot!(issuer("http://hallpass.acme.dev"), @"hallpass: `--issuer` is `http://hallpass.acme.dev`, expected `https://…` or `http://127.0.0.1:PORT`");
    insta::assert_snapshot!(issuer("hallpass.acme.dev"), @"hallpass: `--issuer` is `hallpass.acme.dev`, expected `https://…` or `http://127.0.0.1:PORT`");
    insta::assert_snapshot!(issuer("https://hallpass.acme.dev/"), @"hallpass: `--issuer` is `https://hallpass.acme.dev/`, expected `https://…` or `http://127.0.0.1:PORT`; it ends with a slash");
    for wrong in [
        "",
        "http://localhost",
        "http://localhost:8080",
        "http://127.0.0.1",
        "http://127.0.0.1:0",
        "http://10.0.0.1:8080",
        "ftp://127.0.0.1:8080",
        "http://127.0.0.1:8080/",
        "https://user@hallpass.acme.dev",
    ] {
        let text = issuer(wrong);
        let expected = format!("hallpass: `--issuer` is `{wrong}`, expected `https://…`");
        assert!(text.starts_with(&expected), "{text}");
    }
    insta::assert_snapshot!(with(&|all| all.extend(["--ci-ca", "nofile"])), @"hallpass: `--ci-ca` needs `--from-token`: it is the CA of the issuer that the token names");
    let output = init(&path, &["--github", "a/b", "--gitlab", "c/d"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!path.exists());
}

/// A token file with these claims, and no signature.
fn token_file(folder: &Path, claims: &Value) -> String {
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let parts = ["{}", &claims.to_string(), "x"];
    let token = parts.map(encode);
    let file = folder.join("job.jwt");
    fs::write(&file, token.join(".")).unwrap();
    file.display().to_string()
}

/// The policy of a token lets in the job that is written beside it, wherever the token's job runs.
#[test]
fn the_job_that_is_written_gets_a_permit_from_the_policy_that_is_written() {
    for (reference, filter, rule) in [
        (
            "refs/heads/main",
            "push: { branches: [main] }",
            "$CI_COMMIT_BRANCH == 'main'",
        ),
        (
            "refs/tags/v1+2",
            "push: { tags: [\"v1\\\\+2\"] }",
            "$CI_COMMIT_TAG == 'v1+2'",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut job = claims("github-actions.json");
        job["ref"] = json!(reference);
        job["event_name"] = json!("schedule");
        let file = token_file(folder.path(), &job);
        let path = folder.path().join("github");
        let output = init(&path, &[&ISSUER[..], &["--from-token", &file]].concat());
        assert!(output.status.success(), "{}", told(&output));
        accepted(&path);
        assert_eq!(explained(&path, &job, "example-api"), Some(0));
        let text = read(&path, "job.github.yml");
        assert!(text.contains(filter), "{text}");
        let name = text.split_once("Copy to ").unwrap().1;
        let (name, rest) = name.split_once(" in ").unwrap();
        let repository = rest.split_once(". ").unwrap().0;
        let workflow = format!("{repository}/{name}@{reference}");
        for event in ["push", "workflow_dispatch"] {
            job["event_name"] = json!(event);
            job["workflow_ref"] = json!(workflow);
            job["job_workflow_ref"] = json!(workflow);
            assert_eq!(explained(&path, &job, "example-api"), Some(0), "{event}");
        }
        job["event_name"] = json!("pull_request_target");
        assert_eq!(explained(&path, &job, "example-api"), Some(1));

        let mut job = claims("gitlab-ci.json");
        job["ref_path"] = json!(reference);
        let (kind, name) = match reference.strip_prefix("refs/tags/") {
            Some(name) => ("tag", name),
            None => ("branch", "main"),
        };
        (job["ref_type"], job["ref"]) = (json!(kind), json!(name));
        let file = token_file(folder.path(), &job);
        let path = folder.path().join("gitlab");
        let output = init(&path, &[&ISSUER[..], &["--from-token", &file]].concat());
        assert!(output.status.success(), "{}", told(&output));
        accepted(&path);
        let text = read(&path, "job.gitlab-ci.yml");
        let rule = format!("- if: {rule} && $CI_PIPELINE_SOURCE =~ /^(push|web)$/\n");
        assert!(text.contains(&rule), "{text}");
        for source in ["push", "web"] {
            job["pipeline_source"] = json!(source);
            assert_eq!(explained(&path, &job, "example-api"), Some(0), "{source}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for reference in ["refs/pull/7/merge", "refs/heads/a'b"] {
        let mut job = claims("github-actions.json");
        job["ref"] = json!(reference);
        let file = token_file(folder.path(), &job);
        let path = folder.path().join("new");
        let output = init(&path, &[&ISSUER[..], &["--from-token", &file]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        let expected = format!("the token's ref is `{reference}`");
        assert!(stderr(&output).contains(&expected), "{}", told(&output));
        assert!(!path.exists());
    }
}

#[test]
fn a_project_on_gitlab_is_let_in_from_protected_refs_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = claims("gitlab-ci.json");
    let project = [
        "--gitlab",
        job["project_path"].as_str().unwrap(),
        "--owner-id",
        job["namespace_id"].as_str().unwrap(),
        "--repository-id",
        job["project_id"].as_str().unwrap(),
    ];
    let output = init(folder.path(), &[&ISSUER[..], &project].concat());
    assert!(output.status.success(), "{}", told(&output));
    accepted(folder.path());
    let tests = hallpass(&["policy", "test"])
        .arg(folder.path().join("policies"))
        .observed();
    assert!(tests.status.success(), "{}", told(&tests));
    assert!(read(folder.path(), "policies/first.test.yaml").contains("ref_protected"));
    assert_eq!(explained(folder.path(), &job, "example-api"), Some(0));
    job["ref_protected"] = json!("false");
    assert_eq!(explained(folder.path(), &job, "example-api"), Some(1));
}

/// Of a server of one's own the issuer's address is part of the policies.
#[test]
fn a_token_names_ci_repository_ids_and_environment() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = claims("gitlab-ci.json");
    job["iss"] = json!("https://gitlab.acme.dev");
    let token_file = token_file(folder.path(), &job);
    let path = folder.path().join("new");
    let output = init(
        &path,
        &[&ISSUER[..], &["--from-token", &token_file]].concat(),
    );
    assert!(output.status.success(), "{}", told(&output));
    assert!(
        stderr(&output).contains("were not checked"),
        "{}",
        told(&output)
    );
    accepted(&path);
    assert!(read(&path, "policies/root.yaml").contains("url: \"https://gitlab.acme.dev\""));
    assert!(read(&path, "job.gitlab-ci.yml").contains("environment: production"));
    assert_eq!(explained(&path, &job, "example-api"), Some(0));
    assert!(path.join("policies/first.test.yaml").exists());

    // The CA of that server is read with the policies, also when their tests are written.
    let path = folder.path().join("with-ca");
    let ca = rcgen::generate_simple_self_signed(["gitlab.acme.dev".to_owned()]).unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, ca.cert.pem()).unwrap();
    let ca_file = ca_file.display().to_string();
    let from = ["--from-token", &token_file, "--ci-ca", &ca_file];
    let output = init(&path, &[&ISSUER[..], &from].concat());
    assert!(output.status.success(), "{}", told(&output));
    accepted(&path);
    let tests = hallpass(&["policy", "test", "--coverage", "--threshold", "100"])
        .arg(path.join("policies"))
        .observed();
    assert!(tests.status.success(), "{}", told(&tests));
    assert!(path.join("policies/first.test.yaml").exists());
}

/// On a terminal, what is not given is asked for.
#[test]
fn a_person_at_a_terminal_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let answers = folder.path().join("answers");
    // What is wrong is asked for again.
    let lines = "http://acme.dev\n\nhttps://hallpass.acme.dev\ngithub:shop\nacme/shop\ngithub:acme/shop\n\
                 six\n65923871\n-1\n702114500\n";
    fs::write(&answers, lines).unwrap();
    let command = format!("{} init {}", env!("CARGO_BIN_EXE_hallpass"), path.display());
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(fs::File::open(&answers).unwrap())
        .observed();
    assert!(output.status.success(), "{}", told(&output));
    assert!(
        stdout(&output).contains("The ID of its owner; `gh api repos/acme/shop"),
        "{}",
        told(&output)
    );
    for wrong in [
        "`--issuer` is `http://acme.dev`, expected",
        "`--issuer` is ``, expected",
        "the repository is `shop`, expected",
        "the repository is `acme/shop`, expected",
        "`--owner-id` is `six`, expected digits",
        "`--repository-id` is `-1`, expected digits",
    ] {
        assert!(stdout(&output).contains(wrong), "{}", told(&output));
    }
    accepted(&path);
    let again = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .stdin(std::process::Stdio::null())
        .observed();
    assert!(!again.status.success(), "{}", told(&again));
}

/// T-252
#[test]
fn an_interrupt_leaves_all_of_the_files_or_none() {
    let whole = [
        "hallpass.yaml",
        "job.github.yml",
        "policies",
        "policies/first.test.yaml",
        "policies/first.yaml",
        "policies/root.yaml",
        "root.key",
    ];
    for round in 0..30_u32 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let mut child = hallpass(&[&["init", &path][..], &ISSUER, &GITHUB].concat())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // From before the first file to after the last one.
        let target = usize::try_from(round % 6).unwrap();
        while tree(folder.path()).len() < target && child.try_wait().unwrap().is_none() {}
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        let signal = [
            nix::sys::signal::Signal::SIGINT,
            nix::sys::signal::Signal::SIGTERM,
        ][usize::try_from(round % 2).unwrap()];
        // It may have ended by now.
        let _ = nix::sys::signal::kill(pid, signal);
        child.wait().unwrap();
        let left = tree(folder.path());
        assert!(left.is_empty() || left == whole, "{left:?}");
    }
}

#[test]
fn a_database_of_this_machine_needs_no_tls_and_one_of_another_does() {
    for (database, host, needs_tls) in [
        ("127.0.0.1/shop", "host: \"127.0.0.1\"\n", false),
        ("[::1]:5433/shop", "host: \"::1\"\n    port: 5433\n", false),
        ("localhost/shop", "host: \"localhost\"\n", false),
        (
            "db.acme.dev:5433/shop",
            "host: \"db.acme.dev\"\n    port: 5433\n",
            true,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new");
        let arguments = [&ISSUER[..], &GITHUB, &["--postgres", database]].concat();
        let output = init(&path, &arguments);
        assert!(output.status.success(), "{}", told(&output));
        let settings = read(&path, "hallpass.yaml");
        assert!(settings.contains(host), "{settings}");
        assert_eq!(!settings.contains("tls: disable"), needs_tls, "{settings}");
        accepted(&path);
    }
    for odd in [
        "db!/shop",
        "a b/shop",
        "user@db/shop",
        "db/x/shop",
        "db:99999/shop",
        "/shop",
        "db/sh op",
        "db/-x",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = init(
            folder.path(),
            &[&ISSUER[..], &GITHUB, &["--postgres", odd]].concat(),
        );
        assert_eq!(output.status.code(), Some(2), "{odd}: {}", told(&output));
        assert_eq!(tree(folder.path()), Vec::<String>::new());
    }
}

#[test]
fn a_broker_of_this_machine_listens_where_jobs_reach_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let output = init(
        &path,
        &[&["--issuer", "http://127.0.0.1:18080"][..], &GITHUB].concat(),
    );
    assert!(output.status.success(), "{}", told(&output));
    let settings = read(&path, "hallpass.yaml");
    let listen = "listen: { public: \"127.0.0.1:18080\", operator: 127.0.0.1:18081 }";
    assert!(settings.contains(listen), "{settings}");
    assert!(!stdout(&output).contains("proxy"), "{}", told(&output));
    accepted(&path);
    // The last port has no next one.
    let last = folder.path().join("last");
    let output = init(
        &last,
        &[&["--issuer", "http://127.0.0.1:65535"][..], &GITHUB].concat(),
    );
    assert!(output.status.success(), "{}", told(&output));
    let listen = "listen: { public: \"127.0.0.1:65535\", operator: 127.0.0.1:65534 }";
    assert!(read(&last, "hallpass.yaml").contains(listen));
    accepted(&last);
    let output = init(
        &folder.path().join("b"),
        &[&["--issuer", "http://acme.dev"][..], &GITHUB].concat(),
    );
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
}
