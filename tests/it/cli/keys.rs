//! `hallpass keys`.

use std::process::{Command, Output};

use hallpass::rootkey::RootKey;

use crate::support::broker::write_root_key;
use crate::support::leaks::Observed as _;

#[test]
fn an_epoch_is_written_like_every_other_duration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root.key");
    write_root_key(&file, &RootKey::generate().unwrap());
    let show = |epoch: &str| -> Output {
        Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .args(["keys", "show", "--issuer", "https://hallpass.example"])
            .arg("--root-key")
            .arg(&file)
            .args(["--output", "json", "--epoch", epoch])
            .observed()
    };
    let first = show("36h");
    for same in ["36h", "1d12h", "2160m", "129600s"] {
        let output = show(same);
        assert!(output.status.success(), "{same}");
        assert_eq!(output.stdout, first.stdout, "{same}");
    }
    assert_ne!(show("7d").stdout, first.stdout);
    let refused = show("7");
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("`7` has no unit; write `7s`"), "{text}");
}

/// Paths of the settings are relative to the settings file, not to where the key was made.
#[test]
fn a_new_root_key_is_named_by_a_path_that_holds_in_any_settings_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(["keys", "generate", "--out", "root.key"])
        .current_dir(folder.path())
        .observed();
    assert!(output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let expected = format!(
        "root_key: {{ file: {} }}",
        folder.join("root.key").display()
    );
    assert!(text.contains(&expected), "{text}");
}
