//! Every command explains itself with an example, and a slip on the command line is exit code 2.

use std::collections::BTreeSet;

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
    &["policy", "fmt"],
    &["policy", "new"],
    &["policy", "import"],
    &["policy", "replay"],
    &["policy", "usage"],
    &["policy", "review"],
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
    let mut all = Vec::new();
    commands(&hallpass::cli::command(), "", &mut all);
    // Groups such as `hallpass policy`, and hallpass itself, have help too.
    let groups = all.iter().filter_map(|(name, _)| name.rsplit_once(' '));
    let groups: BTreeSet<&str> = groups.map(|(group, _)| group).collect();
    let names = all.iter().map(|(name, _)| name.as_str());
    for name in names.chain(groups).chain([""]) {
        let command: Vec<&str> = name.split_whitespace().collect();
        let (narrow, wide) = (help(&command, "80"), help(&command, "1000"));
        for line in narrow.lines() {
            assert!(line.chars().count() <= 80, "{command:?}: {line}");
        }
        let examples = |text: &str| {
            let examples = text.split_once("\nExample");
            examples.map_or(String::new(), |(_, examples)| examples.to_owned())
        };
        let (narrow, wide) = (examples(&narrow), examples(&wide));
        let indented = |text: &str| {
            let lines = text.lines().filter(|line| line.starts_with("  "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(indented(&narrow), indented(&wide), "{command:?}");
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

/// Commands that print no result that a program could need as JSON, and why.
const WITHOUT_JSON: &[(&str, &str)] = &[
    ("serve", "runs until it is stopped"),
    ("exec", "its command's output"),
    ("init", "writes files"),
    ("policy new", "prints YAML"),
    ("policy fmt", "writes files"),
    ("policy schema", "prints JSON"),
    ("policy review", "prints Markdown"),
    ("policy import vault", "prints YAML"),
    ("policy import octo-sts", "prints YAML"),
    ("policy import aws", "prints YAML"),
    ("dev issuer", "runs until it is stopped"),
    ("target install", "prints SQL"),
    ("target uninstall", "prints SQL"),
    ("target passwords", "prints SQL"),
    ("keys generate", "prints a key"),
    ("keys recipient", "prints a key"),
    ("completions", "prints a script"),
    ("man", "prints a page"),
    ("demo", "shows how hallpass works"),
    ("dev", "runs until it is stopped"),
    ("dev token", "prints a token"),
    ("dev claims", "prints JSON"),
];

/// The names of all commands that can be run.
fn commands(of: &clap::Command, path: &str, all: &mut Vec<(String, bool)>) {
    for command in of.get_subcommands().filter(|one| one.get_name() != "help") {
        let name = format!("{path} {}", command.get_name());
        let name = name.trim_start().to_owned();
        let mut options = command.get_arguments();
        let has_json = options.any(|one| {
            let aliases = one.get_all_aliases().unwrap_or_default();
            one.get_long() == Some("output") || aliases.contains(&"output")
        });
        if !command.is_subcommand_required_set() {
            all.push((name.clone(), has_json));
        }
        commands(command, &name, all);
    }
}

#[test]
fn a_command_prints_json_or_is_listed_with_its_reason() {
    let mut all = Vec::new();
    commands(&hallpass::cli::command(), "", &mut all);
    assert!(all.len() > 20, "{all:?}");
    for (name, has_json) in &all {
        let is_listed = WITHOUT_JSON.iter().any(|(listed, _)| listed == name);
        assert_ne!(*has_json, is_listed, "{name}");
    }
    for (listed, _) in WITHOUT_JSON {
        assert!(all.iter().any(|(name, _)| name == listed), "{listed}");
    }
}

#[test]
fn get_takes_the_option_of_the_other_commands() {
    let fake = crate::client::fake::Fake::start();
    let output = fake
        .on_github(&["get", "deploy-api", "--output", "json"])
        .observed();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(stdout(&output).starts_with('{'));
}
