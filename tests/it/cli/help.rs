//! Every command explains itself with an example, and a slip on the command line is exit code 2.

use crate::client::fake::{hallpass, stderr, stdout, told};
use crate::support::leaks::Observed as _;

const COMMANDS: &[&[&str]] = &[
    &["init"],
    &["serve"],
    &["leases", "list"],
    &["leases", "revoke"],
    &["leases", "sweep"],
    &["demo"],
    &["dev"],
    &["dev", "token"],
    &["get"],
    &["exec"],
    &["list"],
    &["revoke"],
    &["doctor"],
    &["policy", "check"],
    &["policy", "explain"],
    &["policy", "new"],
    &["policy", "import"],
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

/// Help as a terminal of so many columns gets it.
fn help(command: &[&str], columns: &str) -> String {
    let mut arguments = command.to_vec();
    arguments.push("--help");
    let output = hallpass(&arguments).env("COLUMNS", columns).observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    stdout(&output)
}

#[test]
fn help_fits_80_columns_and_breaks_no_command_to_copy() {
    for command in COMMANDS {
        let (narrow, wide) = (help(command, "80"), help(command, "1000"));
        for line in narrow.lines() {
            assert!(line.chars().count() <= 80, "{command:?}: {line}");
        }
        let examples = |text: &str| text.split_once("Example").unwrap().1.to_owned();
        let (narrow, wide) = (examples(&narrow), examples(&wide));
        let indented = |text: &str| {
            let lines = text.lines().filter(|line| line.starts_with("  "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(indented(&narrow), indented(&wide), "{command:?}");
        assert!(!indented(&wide).is_empty(), "{command:?}: {wide}");
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
