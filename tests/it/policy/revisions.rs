//! `policy diff` and `policy review` in a repository whose branch leads a path or a name elsewhere.

use std::os::unix::fs::symlink;

use super::changes::{SETTINGS, authority};
use super::diff::{change, copy, diff, git, repository_of_policies};
use super::*;

/// Commits all that is there.
fn commit(dir: &Path) {
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-q", "-m", "change"]);
}

/// Policies in `services/shop/policies` and the same in `other/shop/policies`, in two commits.
fn services() -> TempDir {
    let dir = repository_of_policies();
    copy(
        &dir.path().join("policies"),
        &dir.path().join("services/shop/policies"),
    );
    copy(
        &dir.path().join("policies"),
        &dir.path().join("other/shop/policies"),
    );
    commit(dir.path());
    dir
}

fn is_refused(output: &Output, words: &str) {
    assert!(!output.status.success(), "{output:?}");
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(all.contains(words), "{words}: {all}");
    assert!(!all.contains("Proven"), "{all}");
}

/// T-400
#[test]
fn a_folder_that_a_branch_replaces_by_a_link_is_not_compared() {
    let folder = "services/shop/policies";
    for (link, target) in [
        (folder, "../../other/shop/policies"),
        ("services/shop", "../other/shop"),
        ("services", "other"),
    ] {
        let dir = services();
        let path = dir.path();
        fs::remove_dir_all(path.join(link)).unwrap();
        symlink(target, path.join(link)).unwrap();
        commit(path);
        let of = |more: &[&str]| diff(path, &[&["--policies", folder], more].concat());
        is_refused(&of(&["HEAD~1", folder]), "leads through the link");
        is_refused(&of(&["HEAD~1", "HEAD"]), "leads through the link");
        is_refused(&of(&["HEAD", "HEAD~1"]), "leads through the link");
        is_refused(&diff(path, &["HEAD~1", folder]), "leads through the link");
        is_refused(&diff(path, &[folder, "policies"]), "leads through the link");
        let args = ["policy", "review", "--base", "HEAD~1", folder];
        is_refused(&hallpass(&args, path), "leads through the link");
        // The link is in commits only.
        git(path, &["revert", "--no-edit", "HEAD"]);
        is_refused(&of(&["HEAD~1", folder]), "is a link");
        is_refused(&of(&["HEAD~2", "HEAD~1"]), "is a link");
        let same = of(&["HEAD~2", "HEAD"]);
        assert_eq!(same.status.code(), Some(0), "{same:?}");
    }
}

/// T-400
#[test]
fn a_folder_that_a_branch_replaces_by_a_submodule_is_not_compared() {
    let dir = services();
    let path = dir.path();
    let library = repository_of_policies();
    fs::remove_dir_all(path.join("services/shop")).unwrap();
    let from = format!("file://{}", library.path().display());
    let allow = ["-c", "protocol.file.allow=always"];
    let add = ["submodule", "--quiet", "add", &from, "services/shop"];
    git(path, &["rm", "-q", "-r", "--cached", "services/shop"]);
    git(path, &[&allow[..], &add].concat());
    commit(path);
    let folder = "services/shop/policies";
    let of = |more: &[&str]| diff(path, &[&["--policies", folder], more].concat());
    is_refused(&of(&["HEAD", folder]), "is in a submodule");
    is_refused(&of(&["HEAD~1", "HEAD"]), "is in a submodule");
    is_refused(&diff(path, &["HEAD", folder]), "is in a submodule");
    let args = ["policy", "review", "--base", "HEAD", folder];
    is_refused(&hallpass(&args, path), "is in a submodule");
    git(path, &["checkout", "-q", "-f", "HEAD~1", "--detach"]);
    let _ = fs::remove_dir_all(path.join("services/shop"));
    git(path, &["checkout", "-q", "-f", "HEAD", "--", "services"]);
    is_refused(&of(&["HEAD@{1}", folder]), "is a submodule");
}

/// T-400: a link above the repository is not in the hands of a branch.
#[test]
fn a_link_above_the_repository_is_followed() {
    let dir = repository_of_policies();
    let outside = folder(&[]);
    symlink(dir.path(), outside.path().join("clone")).unwrap();
    let policies = outside.path().join("clone/policies");
    let policies = policies.to_str().unwrap();
    let same = diff(outside.path(), &["--policies", policies, "HEAD", policies]);
    assert_eq!(same.status.code(), Some(0), "{same:?}");
    change(
        dir.path(),
        "shop.yaml",
        "environment: production",
        "environment: { glob: \"prod*\" }",
    );
    let wider = diff(outside.path(), &["--policies", policies, "HEAD", policies]);
    assert!(text(&wider.stdout).contains("2 wider"), "{wider:?}");
}

fn id(dir: &Path, name: &str) -> String {
    let output = Command::new("git")
        .args(["rev-parse", name])
        .current_dir(dir)
        .observed();
    text(&output.stdout).trim().to_owned()
}

/// T-401
#[test]
fn a_name_of_two_things_is_no_commit() {
    let dir = repository_of_policies();
    let path = dir.path();
    let base = id(path, "HEAD");
    git(path, &["update-ref", "refs/remotes/origin/main", "HEAD"]);
    git(path, &["branch", "stable"]);
    change(
        path,
        "shop.yaml",
        "environment: production",
        "environment: { glob: \"prod*\" }",
    );
    commit(path);
    let fails = ["--fail-on", "wider"];
    for name in ["origin/main", "stable", "HEAD~1", &base] {
        let wider = diff(path, &[&fails[..], &[name]].concat());
        assert_eq!(wider.status.code(), Some(4), "{name}: {wider:?}");
    }
    // Each leads to the wider policies.
    let short = base.get(..8).unwrap();
    git(path, &["tag", "origin/main"]);
    git(path, &["tag", "stable"]);
    git(
        path,
        &["update-ref", &format!("refs/heads/{short}"), "HEAD"],
    );
    for (name, words) in [
        (
            "origin/main",
            "`origin/main` is both a tag and a remote branch; write `refs/remotes/origin/main`",
        ),
        ("origin/main~0", "write `refs/remotes/origin/main`"),
        (
            "stable",
            "`stable` is both a tag and a branch; write `refs/heads/stable`",
        ),
        (short, "is both a branch and a short commit id"),
    ] {
        let refused = diff(path, &[name]);
        assert_eq!(refused.status.code(), Some(2), "{name}: {refused:?}");
        is_refused(&refused, words);
        let refused = diff(path, &["HEAD", name]);
        assert_eq!(refused.status.code(), Some(2), "{name}: {refused:?}");
        let base = format!("--base={name}");
        is_refused(&hallpass(&["policy", "review", &base], path), words);
    }
    for name in ["refs/remotes/origin/main", "refs/heads/stable", &base] {
        let wider = diff(path, &[&fails[..], &[name]].concat());
        assert_eq!(wider.status.code(), Some(4), "{name}: {wider:?}");
    }
    is_refused(
        &diff(path, &["refs/heads/none"]),
        "neither a folder nor a revision",
    );
}

/// T-401
#[test]
fn a_report_has_the_ids_of_the_commits() {
    let dir = repository_of_policies();
    let path = dir.path();
    git(path, &["commit", "-q", "--allow-empty", "-m", "second"]);
    let (old, new) = (id(path, "HEAD~1"), id(path, "HEAD"));
    let line = format!("Compared commit {old} with commit {new}, for every request from ");
    for format in ["text", "markdown"] {
        let report = text(&diff(path, &["--output", format, "HEAD~1", "HEAD"]).stdout);
        assert!(report.contains(&line), "{report}");
        let report = text(&diff(path, &["--output", format, "HEAD"]).stdout);
        let line = format!("Compared commit {new} with the folder `policies`, for ");
        assert!(report.contains(&line), "{report}");
    }
    let output = diff(path, &["--output", "json", "HEAD~1", "HEAD"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["old_commit"], old.as_str(), "{found}");
    assert_eq!(found["new_commit"], new.as_str(), "{found}");
    let args = ["policy", "review", "--base", "HEAD~1", "policies"];
    let comment = text(&hallpass(&args, path).stdout);
    assert!(
        comment.contains(&format!("Compared commit {old} with")),
        "{comment}"
    );
}

/// T-402: the link stays as it is, and its target changes.
#[test]
fn settings_and_certificates_are_not_read_through_a_link() {
    let dir = repository_of_policies();
    let path = dir.path();
    write(path, "broker/hallpass.yaml", SETTINGS);
    write(path, "broker/real.pem", &authority());
    symlink("real.pem", path.join("broker/ca.pem")).unwrap();
    symlink("broker", path.join("deploy")).unwrap();
    symlink("broker/hallpass.yaml", path.join("linked.yaml")).unwrap();
    commit(path);
    write(path, "broker/real.pem", &authority());
    commit(path);
    let of =
        |settings: &str, more: &[&str]| diff(path, &[&["--settings", settings], more].concat());
    for settings in [
        "broker/hallpass.yaml",
        "deploy/hallpass.yaml",
        "linked.yaml",
    ] {
        for sides in [&["HEAD~1", "HEAD"][..], &["HEAD~1"]] {
            is_refused(&of(settings, sides), "leads through the link");
        }
    }
    // The link is in commits only.
    fs::remove_file(path.join("broker/ca.pem")).unwrap();
    let refused = of("broker/hallpass.yaml", &["HEAD~1", "HEAD"]);
    is_refused(&refused, "`broker/ca.pem` at commit");
    write(path, "broker/ca.pem", &authority());
    commit(path);
    is_refused(&of("broker/hallpass.yaml", &["HEAD~1"]), "is a link");
    let same = of("broker/hallpass.yaml", &["HEAD"]);
    assert_eq!(same.status.code(), Some(0), "{same:?}");
}

/// T-403
#[test]
fn another_name_other_proxies_and_another_folder_count_as_wider() {
    let dir = repository_of_policies();
    let path = dir.path();
    write(path, "hallpass.yaml", SETTINGS);
    commit(path);
    let listen = "listen: { public: 127.0.0.1:8443, proxies: [10.0.0.0/8] }\nroot_key:";
    for (from, to, key, line) in [
        (
            "https://hallpass.acme.dev",
            "https://other.acme.dev",
            "issuer",
            "- setting `issuer`: `https://hallpass.acme.dev` before, `https://other.acme.dev` now",
        ),
        (
            "path: policies",
            "path: examples",
            "policies",
            "- setting `policies`: `policies` before, `examples` now",
        ),
        (
            "root_key:",
            listen,
            "listen.proxies",
            "- setting `listen.proxies`: not given before, `10.0.0.0/8` now",
        ),
    ] {
        write(path, "hallpass.yaml", &SETTINGS.replacen(from, to, 1));
        let settings = ["--settings", "hallpass.yaml", "--fail-on", "wider"];
        let wider = diff(path, &[&settings[..], &["HEAD"]].concat());
        assert_eq!(wider.status.code(), Some(4), "{wider:?}");
        let report = text(&wider.stdout);
        assert!(report.contains(line), "{report}");
        assert!(!report.contains("Proven"), "{report}");
        let output = diff(
            path,
            &[&settings[..], &["--output", "json", "HEAD"]].concat(),
        );
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found["is_wider"], true, "{found}");
        assert_eq!(found["settings"][0]["key"], key, "{found}");
    }
}
