//! `policy usage --suggest`: the policies without what was not used, as a patch.

use super::usage::used_broker;
use super::*;
use crate::support::TestBroker;

fn suggest(broker: &TestBroker, args: &[&str]) -> Output {
    hallpass(
        &[&["policy", "usage", "--suggest"], args].concat(),
        &broker.file(""),
    )
}

fn git_apply(dir: &Path, patch: &[u8]) {
    fs::write(dir.join("narrower.patch"), patch).unwrap();
    let applied = Command::new("git")
        .args(["apply", "--whitespace=error-all", "narrower.patch"])
        .current_dir(dir)
        .observed();
    assert!(applied.status.success(), "{applied:?}");
}

/// T-319
#[tokio::test]
async fn a_suggestion_is_a_patch_that_gives_no_job_more() {
    let broker = used_broker().await;
    let dir = broker.file("");
    // As the broker read it, so the age of the policies is known from the log.
    let before = fs::read_to_string(dir.join("policies/root.yaml")).unwrap();
    write(&dir, "old/root.yaml", &before);
    write(
        &dir,
        "policies/shop.test.yaml",
        r#"tests:
  - name: gitlab may deploy
    job: { issuer: gitlab, like: gitlab-push, repository: acme/shop, repository_id: "61840277", owner: acme, owner_id: "9133570", ref: refs/heads/main, ref_protected: true }
    asks: { credential: deploy-api }
    gets: { policy: shop-deploy-gitlab }
"#,
    );
    let output = suggest(&broker, &["audit.jsonl"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    insta::assert_snapshot!(text(&output.stdout), @r#"
    --- a/policies/root.yaml
    +++ b/policies/root.yaml
    @@ -27,16 +27,6 @@
           repository: acme/shop
           repository_id: "702114589"
           ref: refs/heads/main
    -      trigger: [push, manual]
    +      trigger: [push]
         grant:
           - { credential: deploy-api, ttl: 5m, scopes: ["deploy:staging", "deploy:production"] }
    -      - { credential: shop-db/read, ttl: 15m }
    -  - name: shop-deploy-gitlab
    -    issuer: gitlab
    -    when:
    -      repository: acme/shop
    -      repository_id: "61840277"
    -      ref: refs/heads/main
    -      ref_protected: true
    -    grant:
    -      - { credential: deploy-api, ttl: 5m, scopes: ["deploy:staging"] }
    "#);
    for expected in [
        "policy `shop-deploy` loses `trigger: manual`: never used",
        "policy `shop-deploy` loses the grant of `shop-db/read`: never used",
        "policy `shop-deploy-gitlab` is removed: never used",
        "note: test `gitlab may deploy` of `policies/shop.test.yaml` then fails: ",
        "proven: no job gets more by this patch",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    git_apply(&dir, &output.stdout);
    let differ = |args: &[&str]| {
        let output = hallpass(&[&["policy", "diff"], args].concat(), &dir);
        (output.status.code().unwrap(), text(&output.stdout))
    };
    let (code, said) = differ(&["--fail-on", "wider", "old", "policies"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("2 narrower of 2 credentials"), "{said}");
    assert!(said.contains("Proven: no job gains anything."), "{said}");
    assert_eq!(hallpass(&["policy", "check"], &dir).status.code(), Some(0));
    // What a job used it still gets.
    let replayed = hallpass(
        &[
            "policy",
            "replay",
            "audit.jsonl",
            "--against",
            "policies",
            "--output",
            "json",
        ],
        &dir,
    );
    let replayed: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert_eq!(replayed["totals"]["granted_to_refused"], 0, "{replayed}");
}

/// T-320
#[tokio::test]
async fn nothing_is_suggested_that_the_events_may_not_show() {
    let broker = used_broker().await;
    let dir = broker.file("");
    let refused = |args: &[&str], why: &str| {
        let output = suggest(&broker, args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert_eq!(text(&output.stdout), "", "{said}");
        assert!(said.contains(why), "{said}");
    };
    refused(
        &["--days", "365", "audit.jsonl"],
        "no suggestion: it needs all events of 365 days: the events begin at ",
    );
    let whole = fs::read_to_string(dir.join("audit.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let is_intent = |line: &&str| line.contains("\"event\":\"intent\"");
    let number = lines.iter().rposition(is_intent).unwrap();
    let gap = [&lines[..number], &lines[number + 1..]].concat().join("\n");
    fs::write(dir.join("gap"), gap + "\n").unwrap();
    refused(&["gap"], "1 event of replica test between");
    fs::write(dir.join("broken"), format!("{whole}x\n")).unwrap();
    refused(&["broken"], "could not be read");
    // Policies that may be younger than the events are left alone.
    let policies = dir.join("policies/root.yaml");
    let before = fs::read_to_string(&policies).unwrap();
    fs::write(&policies, format!("{before}# changed\n")).unwrap();
    let output = suggest(&broker, &["--output", "json", "audit.jsonl"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let suggestion = &found["suggestion"];
    assert_eq!(suggestion["patch"], "", "{suggestion}");
    let left = suggestion["left"].as_array().unwrap();
    assert_eq!(left.len(), 2, "{suggestion}");
    let reason = left[0]["message"].as_str().unwrap();
    assert!(
        reason.contains("the age of the policies is not known"),
        "{reason}"
    );
    // An entry in shadow mode is no entry of the log.
    let shadowed = before.replace(
        "  - name: shop-deploy-gitlab\n",
        "  - name: shop-deploy-gitlab\n    shadow_until: 2030-01-01T00:00:00Z\n",
    );
    assert_ne!(shadowed, before);
    fs::write(&policies, shadowed).unwrap();
    let output = suggest(&broker, &["--output", "json", "audit.jsonl"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let left = found["suggestion"]["left"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{found}");
}

/// T-326
#[tokio::test]
async fn a_folder_that_a_patch_cannot_name_has_no_suggestion() {
    let broker = used_broker().await;
    let dir = broker.file("");
    let name = "pol\n+++ b/other";
    fs::create_dir_all(dir.join("pol\n+++ b")).unwrap();
    fs::rename(dir.join("policies"), dir.join(name)).unwrap();
    let output = suggest(&broker, &["--policies", name, "audit.jsonl"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert_eq!(text(&output.stdout), "", "{said}");
    assert!(said.contains("cannot be in a patch"), "{said}");
    // From elsewhere the patch names its files from the folder on.
    fs::rename(dir.join(name), dir.join("policies")).unwrap();
    let policies = dir.join("policies").display().to_string();
    let output = suggest(&broker, &["--policies", &policies, "audit.jsonl"]);
    assert!(text(&output.stdout).starts_with("--- a/root.yaml\n+++ b/root.yaml\n"));
    assert!(text(&output.stderr).contains("the patch names files from the folder"));
    // So it does for a link, which git does not follow.
    symlink(dir.join("policies"), dir.join("link")).unwrap();
    let output = suggest(&broker, &["--policies", "link", "audit.jsonl"]);
    assert!(
        text(&output.stdout).starts_with("--- a/root.yaml\n+++ b/root.yaml\n"),
        "{output:?}"
    );
    assert!(
        text(&output.stderr).contains("from the folder `link` on"),
        "{output:?}"
    );
    git_apply(&dir.join("policies"), &output.stdout);
}
