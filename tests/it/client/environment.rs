//! A token that somebody put into the environment, and what is said when nothing is there.

use super::fake::{Fake, stderr, told};
use crate::support::leaks::Observed as _;

#[test]
fn a_token_may_stand_in_a_file() {
    let fake = Fake::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", fake.token("1"))).unwrap();
    let output = fake
        .hallpass(&["get", "shop-db/migrate"])
        .env("HALLPASS_ID_TOKEN_FILE", file.path())
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert_eq!(
        fake.asked("/token")[0].form["subject_token"],
        fake.token("1")
    );
}

#[test]
fn outside_of_any_ci_the_way_in_is_told() {
    let fake = Fake::start();
    let output = fake.hallpass(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(5), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: no CI was recognised by its variables; set HALLPASS_ID_TOKEN or HALLPASS_ID_TOKEN_FILE to an ID token for the broker, or choose a source by `--source` (`hallpass get --help` lists them); people cannot sign in yet: to try hallpass on this machine, run `hallpass dev`");
}

#[test]
fn without_a_broker_nothing_is_asked() {
    let output = super::fake::hallpass(&["get", "shop-db/migrate"]).observed();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    insta::assert_snapshot!(stderr(&output), @"hallpass: which broker? Give its address with `--broker` or HALLPASS_BROKER, like `https://hallpass.example`; to try hallpass on this machine, run `hallpass dev`");
}

#[test]
fn plain_http_to_another_machine_is_a_usage_error() {
    let output =
        super::fake::hallpass(&["get", "a", "--broker", "http://hallpass.example"]).observed();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
}
