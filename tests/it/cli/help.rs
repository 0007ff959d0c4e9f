//! Every command explains itself with an example, and a slip on the command line is exit code 2.

use crate::client::fake::{hallpass, stderr, stdout, told};
use crate::support::leaks::Observed as _;

const COMMANDS: &[&[&str]] = &[
    &["serve"],
    &["get"],
    &["exec"],
    &["list"],
    &["revoke"],
    &["doctor"],
    &["policy", "check"],
    &["policy", "explain"],
    &["audit", "verify"],
    &["keys", "generate"],
    &["keys", "show"],
    &["target", "check"],
    &["target", "install"],
    &["target", "uninstall"],
];

#[test]
fn every_command_shows_an_example() {
    for command in COMMANDS {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let output = hallpass(&arguments).observed();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let text = stdout(&output);
        assert!(text.contains("Example"), "{command:?}: {text}");
        assert!(
            text.contains(&format!("hallpass {}", command.join(" "))),
            "{command:?}: {text}"
        );
    }
}

#[test]
fn a_slip_on_the_command_line_is_a_usage_error() {
    for arguments in [
        &["gett"][..],
        &["get"],
        &["get", "a", "--format", "yaml"],
        &["get", "a", "--ttl", "ten minutes"],
        &["exec", "a"],
        &["exec", "1=a", "--", "true"],
        &["revoke"],
        &["get", "a b", "--broker", "https://hallpass.example"],
    ] {
        let output = hallpass(arguments).observed();
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            told(&output)
        );
    }
}

#[test]
fn a_misspelt_command_is_named_with_the_right_one() {
    let output = hallpass(&["docter"]).observed();
    assert!(stderr(&output).contains("doctor"), "{}", told(&output));
}
