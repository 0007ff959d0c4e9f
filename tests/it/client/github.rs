//! GitHub Actions: what is said when the runner gives no token.

use serde_json::json;

use super::fake::{Fake, Reply, stderr, told};
use crate::support::leaks::Observed as _;

#[test]
fn a_github_job_without_permission_hears_which() {
    let fake = Fake::start();
    let output = fake
        .hallpass(&["get", "shop-db/migrate"])
        .env("GITHUB_ACTIONS", "true")
        .observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @r"
    hallpass: ACTIONS_ID_TOKEN_REQUEST_URL is not set; is `id-token: write` missing? Add to the job:

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
    let output = fake.on_github(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    assert!(stderr(&output).starts_with(
        "hallpass: GitHub's token service gave no token: it answers 403; is `id-token: write` missing?"
    ));
}
