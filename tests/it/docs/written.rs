//! Parts of the documentation that are written from the code, and the writer of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use clap::{Arg, Command};
use hallpass::client::source::{SOURCES, Way};
use hallpass::policy::lint::RULES;
use hallpass::provider::{Fact, FactType, PROVIDERS, Provider};

use super::Page;
use crate::support::sources::root;

/// A part of a page that is written from the code.
struct Part {
    path: &'static str,
    /// The word in `<!-- generated: … -->`.
    name: String,
    text: String,
}

impl Part {
    fn begins(&self) -> String {
        format!("<!-- generated: {} -->\n\n", self.name)
    }

    /// The page before, inside and after the part.
    fn around(&self) -> (String, String, String) {
        let (path, name) = (self.path, &self.name);
        let text = Page::read(path).text;
        let found = text.split_once(&self.begins());
        let (before, rest) = found.unwrap_or_else(|| panic!("{path} has no part `{name}`"));
        let (inside, after) = rest.split_once(ENDS).expect("the end of a part");
        (before.to_owned(), inside.to_owned(), after.to_owned())
    }
}

const ENDS: &str = "\n\n<!-- end -->";

fn parts() -> Vec<Part> {
    let mut parts = vec![
        Part {
            path: CONDITIONS,
            name: "facts".to_owned(),
            text: facts(),
        },
        Part {
            path: "docs/policies/check.md",
            name: "lint rules".to_owned(),
            text: rules(),
        },
        Part {
            path: "docs/policies/lint.md",
            name: "every rule".to_owned(),
            text: rules_with_examples(),
        },
    ];
    parts.push(Part {
        path: "docs/clients.md",
        name: "sources".to_owned(),
        text: token_sources(),
    });
    parts.extend(["github", "gitlab", "people"].map(|name| Part {
        path: "docs/providers.md",
        name: format!("claims of {name}"),
        text: claims(hallpass::provider::find(name).unwrap()),
    }));
    parts.push(Part {
        path: "docs/providers.md",
        name: "other providers".to_owned(),
        text: other_providers(),
    });
    parts
}

const CONDITIONS: &str = "docs/policies/conditions.md";

/// The vocabulary, with what the page itself says of each fact in the last column.
fn facts() -> String {
    let page = Page::read(CONDITIONS).text;
    let meaning = |fact: Fact| {
        let start = format!("| `{fact}` |");
        let row = page.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("{CONDITIONS} has no row of `{fact}`; add one"));
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(!cell.trim_matches(['|', ' ']).is_empty(), "{fact}");
        cell.to_owned()
    };
    let [github, gitlab] = ["github", "gitlab"].map(|name| hallpass::provider::find(name).unwrap());
    let mut text = "| Fact | Type | GitHub | GitLab | Meaning |\n|---|---|---|---|---|".to_owned();
    for fact in Fact::ALL.iter().copied() {
        let cells = [
            format!("`{fact}`"),
            type_of(fact).to_owned(),
            source_of(github, fact),
            source_of(gitlab, fact),
            meaning(fact),
        ];
        write!(text, "\n| {} |", cells.join(" | ")).unwrap();
    }
    text
}

fn type_of(fact: Fact) -> &'static str {
    if [Fact::Trigger, Fact::RefType, Fact::Runner].contains(&fact) {
        return "word";
    }
    match fact.fact_type() {
        FactType::Text => "text",
        FactType::Bool => "boolean",
        FactType::List => "list",
        FactType::Workflow => "workflow",
        FactType::Network => "network",
        FactType::Clock => "clock",
        FactType::Age => "age",
    }
}

/// The claims that hold a fact; *derived* where it is computed.
fn source_of(provider: &Provider, fact: Fact) -> String {
    if fact.is_of_request() {
        return "request".to_owned();
    }
    let Some((line, reading)) = provider.reading(fact) else {
        return if provider.provides(fact) {
            "derived".to_owned()
        } else {
            String::new()
        };
    };
    let names = reading.claims(line.name);
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Where a job's token comes from.
fn token_sources() -> String {
    let mut text =
        "| Source | Of | Recognised by | Token | Audience |\n|---|---|---|---|---|".to_owned();
    for source in SOURCES {
        let marks: Vec<String> = source
            .marks
            .iter()
            .map(|mark| format!("`{mark}`"))
            .collect();
        let marks = if matches!(source.way, Way::Ours) {
            "either variable".to_owned()
        } else {
            marks.join(", ")
        };
        let (name, title) = (source.name, source.title);
        let (way, audience) = (source.way, source.audience);
        write!(
            text,
            "\n| `{name}` | {title} | {marks} | {way} | {audience} |"
        )
        .unwrap();
    }
    text
}

fn claims(provider: &Provider) -> String {
    let mut text = "| Claim | Type | Kind | Facts |\n|---|---|---|---|".to_owned();
    for line in provider.description().claims {
        let facts: Vec<_> = line.facts.iter().map(|fact| format!("`{fact}`")).collect();
        let (name, sent, kind) = (line.name, line.claim_type, line.kind);
        write!(
            text,
            "\n| `{name}` | {sent} | {kind} | {} |",
            facts.join(", ")
        )
        .unwrap();
    }
    text
}

/// A section for each provider that the page does not describe itself.
fn other_providers() -> String {
    let own = ["github", "gitlab", "people", "generic"];
    let others = PROVIDERS.iter().filter(|one| !own.contains(&one.name));
    let sections = others.map(|provider| {
        let shown = provider.description();
        let mut text = format!(
            "### {}\n\nProvider `{}`.\n\n",
            shown.title, shown.name
        );
        for rule in &shown.rules {
            writeln!(text, "- {rule}").unwrap();
        }
        write!(
            text,
            "\nHow a job gets a credential, with `HALLPASS_BROKER` set to the broker's address:\n\n```text\n{}\n```\n\nPolicies to start from:\n\n```yaml\n{}```\n\n{}\n",
            shown.token,
            shown.policies,
            claims(provider)
        )
        .unwrap();
        for limit in shown.limits {
            write!(text, "\n- {limit}").unwrap();
        }
        if !shown.findings.is_empty() {
            let rule = "[`policy check`](policies/lint.md#missing-condition)";
            write!(text, "\n\n{rule} finds a policy that\n").unwrap();
        }
        for one in &shown.findings {
            write!(text, "\n- {}", one.shown()).unwrap();
        }
        text
    });
    sections.collect::<Vec<_>>().join("\n\n")
}

fn rules() -> String {
    let mut text = "| Rule | Severity | Finds |\n|---|---|---|".to_owned();
    for rule in RULES {
        let severity = rule.severity.name();
        let link = format!("[`{0}`](lint.md#{0})", rule.id);
        write!(text, "\n| {link} | {severity} | {} |", rule.summary).unwrap();
    }
    text
}

/// A section for each rule, with its examples.
fn rules_with_examples() -> String {
    let mut text = String::new();
    for rule in RULES {
        let example = |name: &str| Page::read(&format!("tests/lint/{}/{name}.yaml", rule.id)).text;
        write!(
            text,
            "## {}\n\nSeverity: {}. Finds: {}.\n\n{}\n\nIt comes from: {}.\n\nBad:\n\n```yaml\n{}```\n\nGood:\n\n```yaml\n{}```\n\n",
            rule.id,
            rule.severity.name(),
            rule.summary,
            rule.why,
            rule.incident,
            example("bad"),
            example("good"),
        )
        .unwrap();
    }
    text.trim_end().to_owned()
}

#[test]
fn the_parts_of_pages_that_are_written_from_the_code_are_up_to_date() {
    for part in parts() {
        let (_, inside, _) = part.around();
        let name = format!("{}: {}", part.path, part.name);
        same(&name, &inside, &part.text);
    }
    same(CLI, &Page::read(CLI).text, &command_line());
}

/// A page is long, so only the first line that differs is shown.
fn same(name: &str, found: &str, expected: &str) {
    let mut lines = found.lines().zip(expected.lines());
    let first = lines.find(|(found, expected)| found != expected);
    assert!(found == expected, "{name} differs at {first:?}; {WRITE}");
}

#[test]
#[ignore = "writes docs/cli.md and the tables of docs/policies/ and docs/providers.md"]
fn write_the_generated_parts() {
    for part in parts() {
        let (before, _, after) = part.around();
        let text = format!("{before}{}{}{ENDS}{after}", part.begins(), part.text);
        fs::write(root().join(part.path), text).unwrap();
    }
    fs::write(root().join(CLI), command_line()).unwrap();
}

const CLI: &str = "docs/cli.md";
const WRITE: &str = "`cargo test --test it -- --ignored docs::written` writes it";

/// The reference of the command line.
fn command_line() -> String {
    let mut tree = hallpass::cli::command();
    tree.build();
    let mut text = "# Command line\n\nWritten from the command tree. `hallpass COMMAND --help` prints the same. [clients.md](clients.md) \
describes the\ncommands of a job, [operations.md](operations.md) those of a broker.\n\n".to_owned();
    let commands = leaves(&tree);
    for (name, command) in &commands {
        let anchor = name.replace(' ', "-");
        let about = command.get_about().map(ToString::to_string);
        let about = about.unwrap_or_default();
        writeln!(text, "- [`{name}`](#{anchor}): {about}").unwrap();
    }
    let shared = commands
        .iter()
        .flat_map(|(_, command)| command.get_arguments())
        .filter(|argument| argument.get_help_heading() == Some(SHARED));
    let mut seen = BTreeSet::new();
    let shared: Vec<&Arg> = shared
        .filter(|one| seen.insert(one.get_id().as_str()))
        .collect();
    text.push_str("\n## Options of commands that ask a broker\n\n");
    for argument in shared {
        text.push_str(&option(argument));
    }
    for (name, command) in &commands {
        text.push_str(&section(name, command));
    }
    text
}

/// The heading of options that several commands have.
const SHARED: &str = "Broker";

/// Every command that runs something, by its name without the program's.
fn leaves(tree: &Command) -> Vec<(String, &Command)> {
    let mut found = Vec::new();
    for command in tree.get_subcommands() {
        let name = command.get_name();
        if name == "help" {
            continue;
        }
        if !command.has_subcommands() || !command.is_subcommand_required_set() {
            found.push((name.to_owned(), command));
        }
        for (rest, command) in leaves(command) {
            found.push((format!("{name} {rest}"), command));
        }
    }
    found
}

fn section(name: &str, command: &Command) -> String {
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    let mut text = format!("\n## {name}\n\n{}\n\n```\n{usage}\n```\n", about.trim());
    let arguments: Vec<&Arg> = command.get_arguments().collect();
    let own: Vec<&Arg> = arguments
        .iter()
        .copied()
        .filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
        .filter(|argument| argument.get_help_heading() != Some(SHARED))
        .collect();
    if !own.is_empty() {
        text.push('\n');
    }
    for argument in own {
        text.push_str(&option(argument));
    }
    if arguments
        .iter()
        .any(|argument| argument.get_help_heading() == Some(SHARED))
    {
        text.push_str("\nIt also takes the [options of commands that ask a broker](#options-of-commands-that-ask-a-broker).\n");
    }
    if let Some(example) = command.get_after_help() {
        let example = example.to_string();
        write!(text, "\n```\n{}\n```\n", example.trim_end()).unwrap();
    }
    text
}

fn option(argument: &Arg) -> String {
    let mut names = argument.to_string();
    if let (true, Some(default)) = (
        argument.get_action().takes_values(),
        argument.get_default_values().first(),
    ) {
        write!(names, "`, default `{}", default.to_string_lossy()).unwrap();
    }
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    let mut lines = help.lines();
    let mut text = format!("- `{names}`: {}\n", lines.next().unwrap_or_default());
    let rest: Vec<&str> = lines.collect();
    if !rest.is_empty() {
        writeln!(text, "\n  ```\n  {}\n  ```\n", rest.join("\n  ").trim_end()).unwrap();
    }
    let values = argument.get_possible_values();
    if argument.get_action().takes_values() && !values.is_empty() {
        let values: Vec<String> = values
            .iter()
            .filter(|value| !value.is_hide_set())
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        writeln!(text, "  Values: {}.", values.join(", ")).unwrap();
    }
    text
}
