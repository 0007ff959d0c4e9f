//! GitLab CI: the variable the job names, and the block to add when it is missing.

use super::fake::{Fake, stderr, told};
use crate::support::leaks::Observed as _;

#[test]
fn a_gitlab_job_without_a_token_hears_the_block_to_add() {
    let fake = Fake::start();
    let output = fake.on_gitlab(&["get", "shop-db/migrate"], "").observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output).replace(&fake.url(), "http://broker"), @r"
    hallpass: HALLPASS_ID_TOKEN is not set; add to the job in .gitlab-ci.yml:

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
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(fake.asked("/token")[0].form["subject_token"], token);
}
