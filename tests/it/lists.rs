//! Every list in the code has its companions, and every row of the threat table its test.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hallpass::client::format::FORMATS;
use hallpass::client::source::SOURCES;
use hallpass::policy::lint::RULES;
use hallpass::provider::PROVIDERS;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn missing(paths: impl IntoIterator<Item = String>) -> Vec<String> {
    paths
        .into_iter()
        .filter(|path| !root().join(path).exists())
        .collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The rows that the doc comments of tests carry.
fn rows_in_tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    rust_files(&root().join("tests/it"), &mut files);
    let mut rows = BTreeSet::new();
    for file in files {
        let mut noted = Vec::new();
        for line in fs::read_to_string(&file).unwrap().lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("///") {
                noted.extend(rows_of(comment));
            } else if line.starts_with("fn ")
                || line.starts_with("async fn ")
                // A test that runs on both versions of a server.
                || line.ends_with("(stage) {")
            {
                rows.extend(noted.drain(..));
            } else if !line.starts_with("#[") && !line.starts_with("#![") {
                noted.clear();
            }
        }
    }
    rows
}

fn rows_of(comment: &str) -> Vec<String> {
    let words = comment.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-'));
    words
        .filter(|word| {
            word.strip_prefix("T-").is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
            })
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_row_of_the_threat_table_has_a_test_and_every_test_a_row() {
    let table: BTreeSet<String> = read("tests/README.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| T-"))
        .filter_map(|line| line.split(' ').next())
        .map(|number| format!("T-{number}"))
        .collect();
    assert!(table.len() > 100, "the table was not read");
    let tests = rows_in_tests();
    let untested: Vec<_> = table.difference(&tests).collect();
    assert!(untested.is_empty(), "rows without a test: {untested:?}");
    let unknown: Vec<_> = tests.difference(&table).collect();
    assert!(
        unknown.is_empty(),
        "tests of rows that the table does not have: {unknown:?}"
    );
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

/// T-37
#[test]
fn evidence_has_one_maker_each() {
    let makers = [
        ("Verified {", "src/token/verify"),
        ("Permit {", "src/policy/decide"),
        ("Reserved {", "src/replay/"),
        ("Recorded {", "src/audit/"),
    ];
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    for (making, place) in makers {
        for file in &files {
            let name = file
                .strip_prefix(root())
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(file).unwrap();
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
