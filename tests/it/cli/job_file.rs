//! Files that describe a job, and folders of policies: what is wrong with them is said at once.

use std::fs;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::client::fake::{Fake, hallpass, stderr, told};
use crate::support::leaks::Observed as _;
use crate::support::sources::root;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    hallpass(arguments).current_dir(folder).observed()
}

/// A broker's folder: its settings, and the policies of this repository.
fn broker() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    for file in ["root.yaml", "shop.yaml"] {
        let path = Path::new("policies").join(file);
        fs::copy(root().join(&path), folder.path().join(&path)).unwrap();
    }
    fs::write(
        folder.path().join("hallpass.yaml"),
        "issuer: https://hallpass.example\n",
    )
    .unwrap();
    folder
}

#[test]
fn a_token_that_is_given_as_claims_is_named_as_one() {
    let folder = broker();
    let token = Fake::start().token("1");
    fs::write(folder.path().join("job"), format!("{token}\n")).unwrap();
    for arguments in [
        ["policy", "explain", "--claims", "job", "shop-db/read"],
        ["policy", "explain", "--from-claims", "job", "shop-db/read"],
        ["policy", "new", "--from-claims", "job", "shop-db/read"],
        ["policy", "new", "--claims", "job", "shop-db/read"],
    ] {
        let output = run(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{}", told(&output));
        insta::allow_duplicates! {
            insta::assert_snapshot!(stderr(&output), @"hallpass: `job` holds a token, expected its claims as JSON; use `--token`");
        }
    }
}

#[test]
fn what_was_not_read_was_not_decoded() {
    let folder = broker();
    for option in ["--token", "--from-token"] {
        for verb in ["explain", "new"] {
            let output = run(
                folder.path(),
                &["policy", verb, option, "missing", "shop-db/read"],
            );
            assert_eq!(output.status.code(), Some(5), "{}", told(&output));
            assert!(!stderr(&output).contains("decoded"), "{}", told(&output));
        }
    }
}

#[test]
fn a_folder_that_is_missing_or_holds_settings_is_said_by_every_verb() {
    let folder = broker();
    fs::write(folder.path().join("job"), "{}").unwrap();
    for (dir, code, expected) in [
        ("missing", 5, "`missing` is not a folder of policies"),
        (
            ".",
            4,
            "it holds a broker's settings, `hallpass.yaml`: its policies are in `./policies`",
        ),
    ] {
        for arguments in [
            &["policy", "check", dir][..],
            &[
                "policy",
                "explain",
                "--claims",
                "job",
                "--policies",
                dir,
                "x",
            ],
            &[
                "policy",
                "new",
                "--from-claims",
                "job",
                "--policies",
                dir,
                "x",
            ],
        ] {
            let output = run(folder.path(), arguments);
            assert_eq!(output.status.code(), Some(code), "{}", told(&output));
            assert!(stderr(&output).contains(expected), "{}", told(&output));
        }
    }
}
