//! Every list in the code has its companions, and every row of the threat table its test.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use hallpass::audit::sink;
use hallpass::client::format::FORMATS;
use hallpass::client::source::SOURCES;
use hallpass::credential::kind::{KINDS, Secrecy};
use hallpass::http::metrics;
use hallpass::policy::lint::RULES;
use hallpass::provider::PROVIDERS;
use hallpass::reason::{Class, Fault, Reason};
use hallpass::wire::BODIES;

use crate::audit::sinks::EACH_SINK;
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
fn every_reason_has_a_code_of_its_own_that_is_written_once() {
    let files = sources(&["src"]);
    let used: BTreeSet<&str> = files
        .iter()
        .filter(|(path, _)| !path.ends_with("reason.rs"))
        .flat_map(|(_, text)| text.split("Reason::").skip(1))
        .filter_map(|rest| rest.split(|letter: char| !letter.is_alphanumeric()).next())
        .collect();
    let mut codes = BTreeSet::new();
    for reason in Reason::ALL {
        let code = reason.code();
        assert!(codes.insert(code), "`{code}` is the code of two reasons");
        assert_eq!(Reason::from_code(code), Some(*reason));
        let name = format!("{reason:?}");
        assert!(used.contains(name.as_str()), "nothing uses `{name}`");
        let literal = format!("\"{code}\"");
        for (path, text) in &files {
            let is_spelled = code.contains('.') && text.contains(&literal);
            assert!(
                !is_spelled || path.ends_with("reason.rs"),
                "{path} spells the code {literal}"
            );
        }
    }
    // A code that is in the list of no reason.
    for (path, text) in &files {
        for rest in text.split("reason = \"").skip(1) {
            let text = rest.split('"').next().unwrap_or_default();
            assert!(
                text.contains(' '),
                "{path} has a reason `{text}` of its own"
            );
        }
    }
}

/// `docs/reasons.md`, as the list of reasons has it.
fn page_of_reasons() -> String {
    let mut text = "# Reason codes

Errors have one of these codes in their member `reason`, log lines and audit events in their field `reason`, and
metrics in their label `reason`. A code keeps its meaning. The status is that of an answer with the code; codes
without one are in the log and the audit log only. Trying again can help where the last column says when.

Made from `src/reason.rs`.

| Code | Meaning | Status | Try again |
|---|---|---|---|
"
    .to_owned();
    for reason in Reason::ALL {
        let (code, meaning, class) = (reason.code(), reason.meaning(), reason.class());
        let status = if matches!(class, Class::Unanswered | Class::Gone) {
            String::new()
        } else {
            class.status().to_string()
        };
        let again = match class.retry_after() {
            Some(1) => "after a second".to_owned(),
            Some(seconds) => format!("after {seconds} seconds"),
            None if class == Class::RateLimited => "after `Retry-After`".to_owned(),
            None => String::new(),
        };
        let row = [
            "|",
            &format!("`{code}`"),
            "|",
            meaning,
            "|",
            &status,
            "|",
            &again,
            "|\n",
        ];
        text += &row.join(" ");
    }
    text
}

#[test]
fn every_reason_is_documented() {
    assert_eq!(
        read("docs/reasons.md"),
        page_of_reasons(),
        "`cargo test --test it -- --ignored lists::write_the_page_of_reasons` writes them anew"
    );
}

#[test]
#[ignore = "writes docs/reasons.md"]
fn write_the_page_of_reasons() {
    fs::write(root().join("docs/reasons.md"), page_of_reasons()).unwrap();
}

/// `docs/metrics.md`, as the list of metrics has it.
fn page_of_metrics() -> String {
    let mut text = "# Metrics

`GET /metrics` on the operators' listener has these metrics, in the text format of Prometheus (0.0.4). A metric
without a series yet is left out. Values of labels come from closed lists: no caller can add a series.

Made from `src/http/metrics.rs`.

| Name | Type | Labels | Meaning |
|---|---|---|---|
"
    .to_owned();
    for metric in metrics::list() {
        let (name, kind, help) = (metric.name, &metric.kind, metric.help);
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        text += &format!("| `{name}` | {kind} | {} | {help} |\n", labels.join(", "))
            .replace("|  |", "| |");
    }
    text
}

#[test]
fn every_metric_is_documented() {
    assert_eq!(
        read("docs/metrics.md"),
        page_of_metrics(),
        "run `cargo test --test it -- --ignored lists::write_the_page_of_metrics`"
    );
}

#[test]
#[ignore = "writes docs/metrics.md"]
fn write_the_page_of_metrics() {
    fs::write(root().join("docs/metrics.md"), page_of_metrics()).unwrap();
}

#[test]
fn what_a_reason_says_of_a_request_holds_together() {
    for reason in Reason::ALL {
        let (code, class) = (reason.code(), reason.class());
        let status = class.status();
        let is_ours = matches!(
            class,
            Class::Unavailable { .. } | Class::Broken | Class::Bug | Class::Unanswered
        );
        assert_eq!(is_ours, status >= 500, "{code}");
        // What is not ready is the answer that was asked for; a holder of a login may end it.
        let is_answer = matches!(reason, Reason::NotReady | Reason::LeaseRevoked);
        let expected = is_ours && !is_answer;
        assert_eq!(reason.fault() == Fault::Ours, expected, "{code}");
        let is_retried = class.retry_after().is_some();
        assert!(!(is_retried && reason.is_lasting()), "{code}");
        assert!(class.retry_after() != Some(0), "{code}");
    }
}

#[test]
fn every_sink_has_its_file_runs_the_shared_suite_and_is_documented() {
    let names: BTreeSet<&str> = sink::KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(names.len(), sink::KINDS.len(), "a name is listed twice");
    let files = names.iter().map(|name| format!("src/audit/{name}.rs"));
    assert_eq!(missing(files), Vec::<String>::new());
    let page = read("docs/audit.md");
    for name in names {
        assert!(
            EACH_SINK.iter().any(|(sink, _)| *sink == name),
            "the sink suite does not run {name}"
        );
        assert!(
            page.contains(&format!("kind: {name}")),
            "docs/audit.md has no example of `kind: {name}`"
        );
    }
}

/// That each has its sample token is a test of the samples, and that each is exchanged one of
/// `exchange::every_provider`.
#[test]
fn every_provider_has_its_file_and_its_part_of_the_page() {
    let names = || PROVIDERS.iter().map(|provider| provider.name);
    let files = names().map(|name| format!("src/provider/{}.rs", name.replace('-', "_")));
    assert_eq!(missing(files), Vec::<String>::new());
    let page = read("docs/providers.md");
    for name in names() {
        assert!(page.contains(&format!("| `{name}` |")), "{name}");
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
    for name in SOURCES.iter().map(|source| source.name) {
        assert!(
            help.contains(name),
            "source {name} is not in the help of `get`"
        );
    }
}

#[test]
fn kinds_have_names_and_uris_of_their_own_and_one_secret() {
    let (mut names, mut urns) = (BTreeSet::new(), BTreeSet::new());
    for kind in KINDS {
        let name = kind.name;
        assert!(names.insert(name), "{name} is listed twice");
        for urn in kind.urns() {
            assert!(urns.insert(urn), "{urn} is listed twice");
        }
        assert!(
            urns.contains(format!("urn:hallpass:credential:{name}").as_str()),
            "{name} cannot be asked for by urn:hallpass:credential:{name}"
        );
        let secrets = kind.members.iter();
        let secrets = secrets.filter(|member| member.secrecy == Secrecy::Secret);
        assert_eq!(secrets.count(), 1, "{name}");
        let members: BTreeSet<&str> = kind.members.iter().map(|member| member.name).collect();
        assert_eq!(members.len(), kind.members.len(), "{name}");
        assert!(
            !members.contains("kind") && !members.contains("name"),
            "{name}"
        );
        assert!(!kind.teams.is_empty(), "teams are not bounded in {name}");
        let uses: BTreeSet<&str> = kind.teams.iter().map(|bound| bound.uses).collect();
        assert_eq!(uses.len(), kind.teams.len(), "{name}");
        for bound in kind.teams {
            assert!(kind.keys.contains(&bound.key), "{name}: {}", bound.key);
        }
    }
}

#[test]
fn every_kind_is_documented_with_its_keys_inputs_and_an_example() {
    let mut text = String::new();
    for (_, page) in sources_of_docs() {
        text.push_str(&page);
    }
    let words: BTreeSet<&str> = text
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .collect();
    for kind in KINDS {
        let example = format!("kind: {}", kind.name);
        assert!(text.contains(&example), "no example has `{example}`");
        let inputs = kind.inputs.iter().map(|input| input.name);
        for word in kind.keys.iter().copied().chain(inputs) {
            assert!(
                words.contains(word),
                "`{word}` of kind {} is not documented",
                kind.name
            );
        }
    }
}

/// An input is a parameter of the form too, and none of its other parameters.
#[test]
fn inputs_are_no_other_parameters_and_mean_the_same_in_every_kind() {
    let form = read("src/http/form.rs");
    let list = form.split("const PARAMETERS").nth(1).unwrap();
    let list = list.split("];").next().unwrap();
    let mut summaries: BTreeMap<&str, &str> = BTreeMap::new();
    for input in KINDS.iter().flat_map(|kind| kind.inputs) {
        let name = input.name;
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        assert!(name.bytes().all(is_plain), "{name}");
        assert!(!list.contains(&format!("\"{name}\"")), "{name}");
        let known = summaries.insert(name, input.summary);
        assert!(known.is_none_or(|known| known == input.summary), "{name}");
    }
}

#[test]
fn every_format_fits_some_kind_or_says_what_to_do_instead() {
    for format in FORMATS {
        let fits = KINDS
            .iter()
            .any(|kind| format.check("a", kind, None).is_ok());
        assert!(fits || format.hint.is_some(), "{}", format.name);
    }
    for kind in KINDS {
        for name in ["json", "env"] {
            let format = hallpass::client::format::find(name).unwrap();
            format.check("a", kind, None).unwrap();
        }
    }
}

/// The bodies of the API and the inputs of the kinds, as `docs/http-api.md` has them.
fn api() -> String {
    let mut lines = vec!["| Body | Member | |".to_owned(), "|---|---|---|".to_owned()];
    for body in BODIES {
        let mut of = body.of;
        for (name, meaning) in body.members {
            lines.push(format!("| {of} | `{name}` | {meaning} |"));
            of = "";
        }
    }
    for kind in KINDS {
        let mut of = format!("inputs of kind `{}`", kind.name);
        for input in kind.inputs {
            let need = if input.required { "" } else { "optional: " };
            lines.push(format!(
                "| {of} | `{}` | {need}{} |",
                input.name, input.summary
            ));
            of.clear();
        }
        let mut of = format!("members of kind `{}`", kind.name);
        for member in kind.members {
            let need = if member.always { "" } else { "optional; " };
            let secrecy = match member.secrecy {
                Secrecy::Public => "public",
                Secrecy::Secret => "the secret",
                Secrecy::HoldsSecret => "holds the secret",
            };
            lines.push(format!("| {of} | `{}` | {need}{secrecy} |", member.name));
            of.clear();
        }
    }
    lines.join("\n")
}

/// The page before, inside and after the table.
fn page_around_the_api() -> (String, String, String) {
    let text = read(API);
    let (before, rest) = text.split_once(API_BEGINS).expect("the page has the table");
    let (table, after) = rest.split_once(API_ENDS).expect("the table has its end");
    (before.to_owned(), table.to_owned(), after.to_owned())
}

#[test]
fn the_page_of_the_api_has_its_bodies() {
    let (_, table, _) = page_around_the_api();
    assert_eq!(
        table,
        api(),
        "`cargo test --test it -- --ignored lists::write_the_api_table` writes it anew"
    );
}

#[test]
#[ignore = "writes the table of docs/http-api.md"]
fn write_the_api_table() {
    let (before, _, after) = page_around_the_api();
    let text = format!("{before}{API_BEGINS}{}{API_ENDS}{after}", api());
    fs::write(root().join(API), text).unwrap();
}

const API: &str = "docs/http-api.md";
const API_BEGINS: &str = "<!-- generated: bodies of the API -->\n\n";
const API_ENDS: &str = "\n\n<!-- end -->";

fn sources_of_docs() -> Vec<(String, String)> {
    let mut pages = Vec::new();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                pages.push((path.display().to_string(), text));
            }
        }
    }
    pages
}

#[test]
fn every_setting_is_documented() {
    let page = read("docs/settings.md");
    let words: BTreeSet<&str> = page
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .collect();
    let mut settings = BTreeSet::new();
    for (_, text) in sources(&["src/config"]) {
        settings.extend(keys(&text));
    }
    for path in [
        "src/config.rs",
        "src/credential/database/mysql/read.rs",
        "src/credential/database/postgres/certificate/target.rs",
        "src/credential/database/postgres/read.rs",
        "src/credential/database/redis/read.rs",
        "src/credential/database/webhook/read.rs",
        "src/credential/ssh/target.rs",
    ] {
        settings.extend(keys(&read(path)));
    }
    assert!(settings.len() > 40, "{settings:?}");
    settings.retain(|key| !words.contains(key.as_str()));
    assert!(
        settings.is_empty(),
        "docs/settings.md does not name the settings {settings:?}"
    );
}

/// The keys that a reader of settings asks for.
fn keys(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code.split_whitespace().collect();
    let asked = [
        "optional(\"",
        "required(\"",
        "count(\"",
        "time(\"",
        "section.set(\"",
    ];
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

/// A kind of target has one line in the list, and a page that says how to set it up.
#[test]
fn every_kind_of_target_has_a_name_of_its_own_and_its_page() {
    let docs = sources_of_docs();
    let names: BTreeSet<&str> = hallpass::credential::target::KINDS
        .iter()
        .map(|kind| kind.name)
        .collect();
    assert_eq!(names.len(), hallpass::credential::target::KINDS.len());
    for name in names {
        let line = format!("kind: {name}");
        assert!(
            docs.iter().any(|(_, text)| text.contains(&line)),
            "no page under docs/ shows `{line}`"
        );
    }
}
