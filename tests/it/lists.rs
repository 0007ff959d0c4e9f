//! Every list in the code has its companions, and every row of the threat table its test.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use hallpass::client::format::FORMATS;
use hallpass::client::source::SOURCES;
use hallpass::policy::lint::RULES;
use hallpass::provider::PROVIDERS;

use crate::support::sources::{root, sources};

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn missing(paths: impl IntoIterator<Item = String>) -> Vec<String> {
    paths
        .into_iter()
        .filter(|path| !root().join(path).exists())
        .collect()
}

/// The rows that the doc comments of tests carry, and the names of those tests.
fn rows_in_tests() -> BTreeMap<u32, BTreeSet<String>> {
    let files = sources(&["src", "tests/it", "tests/memory", "tests/opinion/src"]);
    let mut rows: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for (_, text) in files {
        let (mut noted, mut is_test) = (Vec::new(), false);
        for line in text.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("///") {
                noted.extend(rows_of(comment));
            } else if line.starts_with("#[") || line.starts_with("#![") {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            } else {
                if let Some(name) = name_of_test(line, is_test) {
                    for row in noted.drain(..) {
                        rows.entry(row).or_default().insert(name.to_owned());
                    }
                }
                noted.clear();
                is_test = false;
            }
        }
    }
    rows
}

/// The name of the test that a line begins; some run on both versions of a server.
fn name_of_test(line: &str, has_attribute: bool) -> Option<&str> {
    if let Some(name) = line.strip_suffix("(stage) {") {
        return Some(name);
    }
    let function = line.strip_prefix("async ").unwrap_or(line);
    let function = function.strip_prefix("fn ").filter(|_| has_attribute)?;
    function.split('(').next()
}

fn rows_of(comment: &str) -> Vec<u32> {
    let words = comment.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-'));
    words
        .filter_map(|word| word.strip_prefix("T-")?.parse().ok())
        .collect()
}

/// A row of the table in `tests/README.md`: its number, its behaviour, and its tests.
struct Row {
    number: u32,
    behaviour: String,
    tests: BTreeSet<String>,
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let mut cells = line.strip_prefix("| T-")?.split(" | ");
        let number = cells.next()?.parse().ok()?;
        let behaviour = cells.next()?.trim_end_matches(" |").to_owned();
        let tests = cells.next().unwrap_or_default().trim_end_matches(" |");
        let tests = tests.split(", ").map(|name| name.trim_matches('`'));
        let tests = tests.filter(|name| !name.is_empty());
        Some(Self {
            number,
            behaviour,
            tests: tests.map(str::to_owned).collect(),
        })
    }

    fn print(&self) -> String {
        let tests: Vec<String> = self.tests.iter().map(|name| format!("`{name}`")).collect();
        let (number, behaviour) = (self.number, &self.behaviour);
        format!("| T-{number:02} | {behaviour} | {} |", tests.join(", "))
    }
}

#[test]
fn every_row_of_the_threat_table_names_its_tests_and_every_test_a_row() {
    let text = read(TABLE);
    let table: Vec<Row> = text.lines().filter_map(Row::parse).collect();
    assert!(table.len() > 100, "the table was not read");
    let mut tests = rows_in_tests();
    for row in &table {
        let found = tests.remove(&row.number).unwrap_or_default();
        let number = row.number;
        assert!(!found.is_empty(), "T-{number} has no test");
        assert_eq!(
            row.tests, found,
            "{TABLE} names other tests for T-{number} than carry its number; {WRITE}"
        );
    }
    assert!(
        tests.is_empty(),
        "tests of rows that {TABLE} does not have: {tests:?}"
    );
}

#[test]
#[ignore = "writes the names of tests into the threat table"]
fn write_the_threat_table() {
    let tests = rows_in_tests();
    let line = |line: &str| match Row::parse(line) {
        Some(row) => {
            let tests = tests.get(&row.number).cloned().unwrap_or_default();
            Row { tests, ..row }.print()
        }
        None => line.to_owned(),
    };
    let lines: Vec<String> = read(TABLE).lines().map(line).collect();
    fs::write(root().join(TABLE), lines.join("\n") + "\n").unwrap();
}

#[test]
fn every_route_is_requested_by_a_test_of_http() {
    let list = read("src/http/routes.rs");
    let paths: Vec<&str> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("path: \"/")?.strip_suffix("\","))
        .collect();
    assert!(paths.len() > 10, "the list was not read");
    let tests: String = fs::read_dir(root().join("tests/it/http"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for path in paths {
        assert!(
            tests.contains(&format!("\"/{path}\"")),
            "no test in tests/it/http requests `/{path}`"
        );
    }
}

#[test]
fn every_provider_has_its_file_vector_and_exchange_tests() {
    let companions = PROVIDERS.iter().flat_map(|provider| {
        let name = provider.name;
        [
            format!("src/provider/{name}.rs"),
            format!("tests/it/exchange/{name}.rs"),
        ]
    });
    assert_eq!(missing(companions), Vec::<String>::new());
    let vectors: Vec<String> = fs::read_dir(root().join("tests/vectors/ci-tokens"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    for name in ["github", "gitlab"] {
        assert!(
            vectors.iter().any(|vector| vector.starts_with(name)),
            "no vector of {name}"
        );
    }
}

#[test]
fn every_lint_rule_has_its_file_and_both_examples() {
    let companions = RULES.iter().flat_map(|rule| {
        let file = rule.id.replace('-', "_");
        [
            format!("src/policy/lint/{file}.rs"),
            format!("tests/lint/{}/bad.yaml", rule.id),
            format!("tests/lint/{}/good.yaml", rule.id),
        ]
    });
    assert_eq!(missing(companions), Vec::<String>::new());
}

#[test]
fn every_source_and_format_is_in_the_help() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_hallpass"))
        .args(["get", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for name in FORMATS.iter().map(|format| format.name) {
        assert!(
            help.contains(name),
            "format {name} is not in the help of `get`"
        );
    }
    for name in SOURCES.iter().map(|source| source.name()) {
        assert!(
            help.contains(name),
            "source {name} is not in the help of `get`"
        );
    }
}

#[test]
fn every_setting_is_in_the_readme() {
    let readme = read("README.md");
    let words: BTreeSet<&str> = readme
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .collect();
    let mut settings = BTreeSet::new();
    for (_, text) in sources(&["src/config"]) {
        settings.extend(keys(&text));
    }
    settings.extend(keys(&read("src/config.rs")));
    assert!(settings.len() > 40, "{settings:?}");
    settings.retain(|key| !words.contains(key.as_str()));
    assert!(
        settings.is_empty(),
        "README.md does not name the settings {settings:?}"
    );
}

/// The keys that a reader of settings asks for.
fn keys(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code.split_whitespace().collect();
    let asked = ["optional(\"", "required(\"", "count(\"", "time(\""];
    asked
        .iter()
        .flat_map(|call| code.split(call).skip(1))
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

/// T-37
#[test]
fn evidence_has_one_maker_each() {
    let makers = [
        ("Verified {", "src/token/verify"),
        ("Permit {", "src/policy/decide"),
        ("Reserved {", "src/replay/"),
        ("Recorded {", "src/audit/"),
    ];
    let files = sources(&["src"]);
    for (making, place) in makers {
        for (name, text) in &files {
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let made = code.lines().map(str::trim).filter(|line| {
                let declares = ["pub struct ", "impl ", "fn ", "///", "//"];
                line.contains(making)
                    && !declares.iter().any(|word| line.starts_with(word))
                    && !line.contains("let ")
                    && !line.contains("-> ")
                    && line
                        .split(making)
                        .next()
                        .is_some_and(|before| !before.ends_with(|l: char| l.is_alphanumeric()))
            });
            let made: Vec<&str> = made.collect();
            assert!(
                made.is_empty() || name.starts_with(place),
                "{name} makes a {making}: {made:?}"
            );
        }
    }
}

const TABLE: &str = "tests/README.md";

/// What brings the table up to date.
const WRITE: &str =
    "`cargo test --test it -- --ignored lists::write_the_threat_table` writes them anew";
