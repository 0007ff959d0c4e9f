//! Where the job's token comes from, and what is said when it does not come.

use serde_json::json;

use super::fake::{Fake, Reply, stderr, told};

#[test]
fn a_github_job_without_permission_hears_which() {
    let fake = Fake::start();
    let output = fake
        .hallpass(&["get", "shop-db/migrate"])
        .env("GITHUB_ACTIONS", "true")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @r"
    hallpass: is `id-token: write` missing? Add to the job:

      permissions:
        id-token: write
        contents: read

    (a pull request from a fork gets no token at all)
    ");
}

#[test]
fn a_refusal_of_githubs_service_ends_in_the_likely_fix() {
    let fake = Fake::start();
    fake.next("/idtoken", Reply::json(403, &json!({ "message": "no" })));
    let output = fake
        .on_github(&["get", "shop-db/migrate"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert!(stderr(&output).starts_with(
        "hallpass: GitHub's token service gave no token: it answers 403; is `id-token: write` missing?"
    ));
}

#[test]
fn a_gitlab_job_without_a_token_hears_the_block_to_add() {
    let fake = Fake::start();
    let output = fake
        .on_gitlab(&["get", "shop-db/migrate"], "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output).replace(&fake.url(), "http://broker"), @r"
    hallpass: the job has no ID token in `HALLPASS_ID_TOKEN`; add to the job in .gitlab-ci.yml:

      id_tokens:
        HALLPASS_ID_TOKEN:
          aud: http://broker

    (another name: set HALLPASS_ID_TOKEN_VARIABLE to it)
    ");
}

#[test]
fn a_gitlab_job_may_name_its_token_as_it_likes() {
    let fake = Fake::start();
    let token = fake.token("1");
    let output = fake
        .on_gitlab(&["get", "shop-db/migrate"], "")
        .env("HALLPASS_ID_TOKEN_VARIABLE", "SHOP_TOKEN")
        .env("SHOP_TOKEN", &token)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(fake.asked("/token")[0].form["subject_token"], token);
}

#[test]
fn a_token_may_stand_in_a_file() {
    let fake = Fake::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", fake.token("1"))).unwrap();
    let output = fake
        .hallpass(&["get", "shop-db/migrate"])
        .env("HALLPASS_ID_TOKEN_FILE", file.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(
        fake.asked("/token")[0].form["subject_token"],
        fake.token("1")
    );
}

#[test]
fn outside_of_any_ci_the_way_in_is_told() {
    let fake = Fake::start();
    let output = fake.hallpass(&["get", "shop-db/migrate"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: no CI was found here: neither GITHUB_ACTIONS nor GITLAB_CI is `true`; elsewhere set HALLPASS_ID_TOKEN or HALLPASS_ID_TOKEN_FILE to an ID token for the broker");
}

#[test]
fn without_a_broker_nothing_is_asked() {
    let output = super::fake::hallpass(&["get", "shop-db/migrate"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: which broker? Give its address with `--broker` or HALLPASS_BROKER, like `https://hallpass.example`");
}

#[test]
fn plain_http_to_another_machine_is_a_usage_error() {
    let output = super::fake::hallpass(&["get", "a", "--broker", "http://hallpass.example"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
}
