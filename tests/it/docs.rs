//! The documentation is true: links resolve, examples load, commands exist, and what can be written
//! from the code is.

#![cfg(test)]

use crate::support::leaks::Observed as _;
use crate::support::tokens::{TestKey, jwks};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use clap::Command;
use hallpass::client::format::FORMATS;
use hallpass::client::source::SOURCES;
use hallpass::config::Settings;
use hallpass::policy::PolicySet;
use hallpass::provider::Fact;

use crate::support::sources::{root, sources};

mod newcomer;
mod written;

/// A Markdown file of the repository.
struct Page {
    /// Its path from the root.
    path: String,
    text: String,
}

impl Page {
    fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path));
        Self {
            path: path.to_owned(),
            text: text.unwrap_or_else(|error| panic!("{path}: {error}")),
        }
    }

    /// The lines outside fenced blocks.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut is_code = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
    }

    /// The fenced blocks: the word after the fence, and the lines without the fence's indent.
    fn blocks(&self) -> Vec<(String, String)> {
        let mut blocks = Vec::new();
        let mut open: Option<(usize, String, String)> = None;
        for line in self.text.lines() {
            let start = line.trim_start();
            match (start.strip_prefix("```"), open.take()) {
                (Some(word), None) => {
                    let indent = line.len() - start.len();
                    open = Some((indent, word.to_owned(), String::new()));
                }
                (Some(_), Some((_, word, text))) => blocks.push((word, text)),
                (None, Some((indent, word, mut text))) => {
                    text.push_str(line.get(indent..).unwrap_or_default());
                    text.push('\n');
                    open = Some((indent, word, text));
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block does not end", self.path);
        blocks
    }

    /// The anchors of its headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        let headings = self.prose().filter_map(|line| {
            let text = line.trim_start_matches('#');
            (text.len() < line.len())
                .then(|| text.strip_prefix(' '))
                .flatten()
        });
        for heading in headings {
            let kept = heading.trim().to_lowercase();
            let kept = kept.chars().filter_map(|letter| match letter {
                ' ' => Some('-'),
                letter if letter.is_alphanumeric() || matches!(letter, '-' | '_') => Some(letter),
                _ => None,
            });
            let anchor: String = kept.collect();
            let is_new = anchors.insert(anchor.clone());
            assert!(is_new, "{}: two headings are `#{anchor}`", self.path);
        }
        anchors
    }

    /// Targets of its links, but for those to other hosts.
    fn links(&self) -> Vec<String> {
        let prose: Vec<&str> = self.prose().collect();
        let text = without_code(&prose.join("\n"));
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')').map(|(target, _)| target.to_owned()));
        targets
            .filter(|target| !target.starts_with("https://"))
            .collect()
    }

    /// A path in this page as a path from the root.
    fn resolve(&self, target: &str) -> String {
        let folder = Path::new(&self.path).parent().unwrap();
        let mut found = PathBuf::new();
        for part in folder.join(target).components() {
            match part {
                Component::ParentDir => assert!(found.pop(), "{}: {target}", self.path),
                Component::Normal(name) => found.push(name),
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        found.to_str().unwrap().to_owned()
    }
}

/// Text without its spans of code, in which brackets are no links.
fn without_code(text: &str) -> String {
    let paragraphs = text
        .split("\n\n")
        .map(|text| text.split('`').step_by(2).collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// Every page that users and contributors read.
fn pages() -> Vec<Page> {
    let mut paths: Vec<String> = ["README.md", "CHANGELOG.md", "tests/README.md"]
        .map(str::to_owned)
        .into();
    let mut folders = vec!["docs".to_owned(), ".github".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                folders.push(path);
            } else if Path::new(&path)
                .extension()
                .is_some_and(|ending| ending == "md")
            {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    let anchors: BTreeMap<&str, BTreeSet<String>> = pages
        .iter()
        .map(|page| (page.path.as_str(), page.anchors()))
        .collect();
    let mut broken = Vec::new();
    for page in &pages {
        for link in page.links() {
            let (target, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = if target.is_empty() {
                page.path.clone()
            } else {
                page.resolve(target)
            };
            let known = anchors.get(path.as_str());
            let has_anchor = anchor.is_empty() || known.is_some_and(|known| known.contains(anchor));
            if !root().join(&path).exists() || !has_anchor {
                broken.push(format!("{}: {link}", page.path));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn every_page_is_reachable_from_the_index() {
    let pages = pages();
    let pages: BTreeMap<&str, &Page> = pages.iter().map(|page| (&*page.path, page)).collect();
    let mut reached = BTreeSet::new();
    let mut next = vec!["docs/README.md".to_owned()];
    while let Some(path) = next.pop() {
        let Some(page) = pages.get(path.as_str()) else {
            continue;
        };
        if reached.insert(path) {
            let links = page.links();
            let targets = links.iter().filter_map(|link| link.split('#').next());
            let targets = targets.filter(|target| !target.is_empty());
            next.extend(targets.map(|target| page.resolve(target)));
        }
    }
    let missing: Vec<_> = pages
        .keys()
        .filter(|path| path.starts_with("docs/") && !reached.contains(**path))
        .collect();
    assert_eq!(missing, Vec::<&&str>::new());
    let readme = Page::read("README.md");
    assert!(readme.links().contains(&"docs/README.md".to_owned()));
}

/// A comment or message that names a document is of no use to a reader who does not have it.
#[test]
fn source_points_only_at_documents_that_exist() {
    let mut files = sources(&[
        "src",
        "benches",
        "tests/it",
        "tests/memory",
        "tests/opinion/src",
        "tests/fuzz",
    ]);
    for path in [
        "Makefile",
        "Cargo.toml",
        ".deny.toml",
        ".clippy.toml",
        ".ci/run",
        "deploy/container/Containerfile",
        "deploy/container/test.sh",
        "deploy/dev/install.sh",
        "policies/root.yaml",
        "policies/shop.yaml",
    ] {
        files.push((path.to_owned(), Page::read(path).text));
    }
    let mut missing = Vec::new();
    for (path, text) in &files {
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "._-/".contains(letter);
        let words = text.split(|letter| !is_letter(letter));
        for word in words.filter(|word| word.len() > 3 && word.strip_suffix(".md").is_some()) {
            let is_name = !word.starts_with(['.', '/']) && !root().join(word).exists();
            if is_name && !path.starts_with("tests/it/docs") {
                missing.push(format!("{path}: {word}"));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_docs_name_only_attacks_that_have_a_row() {
    let table = Page::read("tests/README.md").text;
    let mut missing = Vec::new();
    for page in pages() {
        let words = page
            .text
            .split(|letter: char| !letter.is_alphanumeric() && letter != '-');
        for row in words.filter(|word| {
            word.strip_prefix("T-")
                .is_some_and(|row| row.parse::<u32>().is_ok())
        }) {
            if page.path.starts_with("docs/") && !table.contains(&format!("| {row} |")) {
                missing.push(format!("{}: {row}", page.path));
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// What an example in YAML is, by the first key in it.
enum Example {
    Policies,
    Settings,
    /// Lines of a block of conditions.
    Conditions,
    /// An entry of `signing.also`.
    Key,
    /// A file of tests.
    Tests,
    /// A CI's own file.
    Ci,
}

impl Example {
    fn of(text: &str) -> Option<Self> {
        let is_content = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let first = text.lines().find(is_content)?;
        let value = text.lines().skip_while(|line| *line != first).nth(1);
        let is_list = value.is_some_and(|line| line.trim_start().starts_with("- "));
        if first.starts_with("- { kind: file") {
            return Some(Self::Key);
        }
        let (key, _) = first.split_once(':')?;
        if Fact::from_name(key).is_some() {
            return Some(Self::Conditions);
        }
        match key {
            "issuers" | "teams" | "rosters" | "credentials" | "require" => Some(Self::Policies),
            "policies" if is_list => Some(Self::Policies),
            "issuer" | "root_key" | "listen" | "policies" | "targets" | "signing" | "replay"
            | "audit" | "limits" | "disclose" | "blocked" => Some(Self::Settings),
            "tests" | "never" | "only" => Some(Self::Tests),
            "jobs" | "name" | "steps" | "version" => Some(Self::Ci),
            _ if text.contains("script:") || text.contains("include:") => Some(Self::Ci),
            _ => None,
        }
    }
}

/// The examples in YAML of all pages, each with where it is.
fn examples() -> Vec<(String, Example, String)> {
    let mut examples = Vec::new();
    for page in pages() {
        for (word, text) in page.blocks() {
            if word != "yaml" {
                continue;
            }
            let place = format!("{}:\n{text}", page.path);
            let example = match Example::of(&text) {
                // These pages show the files of many a CI.
                None | Some(Example::Conditions) if page.path.starts_with("docs/ci/") => {
                    Some(Example::Ci)
                }
                example => example,
            };
            let example = example.unwrap_or_else(|| panic!("what is this example? {place}"));
            examples.push((place, example, text));
        }
    }
    examples
}

#[test]
fn every_example_of_policies_loads() {
    let (base, shop) = (
        Page::read("policies/root.yaml").text,
        Page::read("policies/shop.yaml").text,
    );
    let (issuers, _) = base.split_once("\n# A team's files").unwrap();
    let (credentials, _) = shop.split_once("\npolicies:").unwrap();
    let keys = jwks(&[TestKey::rsa("k1").jwk()]);
    let keys = String::from_utf8(keys).unwrap();
    let mut count = 0;
    for (place, example, text) in examples() {
        let text = match example {
            Example::Policies => text,
            Example::Conditions => {
                let when = text.replace('\n', "\n      ");
                format!(
                    "zone: Europe/Berlin\npolicies:\n  - name: example\n    issuer: github\n    when:\n      {when}\n    grant: [ {{ credential: shop-db/read, ttl: 5m }} ]\n"
                )
            }
            Example::Settings | Example::Key | Example::Tests | Example::Ci => continue,
        };
        count += 1;
        let has = |section: &str| text.lines().any(|line| line.starts_with(section));
        let mut files = vec![("example.yaml", text.as_str())];
        if text.contains("keys/ci-lab.json") {
            files.push(("keys/ci-lab.json", &keys));
        }
        if !has("issuers:") {
            files.push(("issuers.yaml", issuers));
        }
        if !has("credentials:") {
            files.push(("credentials.yaml", credentials));
        }
        if let Err(problems) = PolicySet::from_texts(&files) {
            panic!("{place}\n{problems}");
        }
    }
    assert!(count > 8, "the examples were not found");
}

#[test]
fn every_example_of_tests_passes_on_the_policies_of_the_repository() {
    let mut count = 0;
    for (place, example, text) in examples() {
        if !matches!(example, Example::Tests) {
            continue;
        }
        count += 1;
        let folder = tempfile::tempdir().unwrap();
        let root = Page::read("policies/root.yaml").text;
        let (issuers, rest) = root.split_once("# A team's files").unwrap();
        let (_, require) = rest.split_once("\nrequire:").unwrap();
        let root = format!("{issuers}require:{require}");
        fs::write(folder.path().join("root.yaml"), root).unwrap();
        let shop = Page::read("policies/shop.yaml").text;
        fs::write(folder.path().join("shop.yaml"), shop).unwrap();
        fs::write(folder.path().join("shop.test.yaml"), text).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .args(["policy", "test"])
            .arg(folder.path())
            .observed();
        assert!(output.status.success(), "{place}: {output:?}");
    }
    assert!(count > 0);
}

#[test]
fn the_policies_that_a_new_user_copies_are_clean() {
    for path in ["README.md", "docs/getting-started.md"] {
        let folder = tempfile::tempdir().unwrap();
        let blocks = Page::read(path).blocks();
        let block = blocks.iter().find(|(_, text)| text.starts_with("issuers:"));
        let (_, text) = block.unwrap();
        fs::write(folder.path().join("example.yaml"), text).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_hallpass"))
            .args(["policy", "check"])
            .arg(folder.path())
            .observed();
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{path}: {told}");
        assert!(!told.contains("warning"), "{path}: {told}");
    }
}

#[test]
fn every_example_of_settings_loads() {
    let mut count = 0;
    for (place, example, text) in examples() {
        let text = match example {
            Example::Settings => text,
            Example::Key => {
                let entry = text.lines().next().unwrap();
                format!("signing:\n  also:\n    {entry}\n")
            }
            Example::Policies | Example::Conditions | Example::Tests | Example::Ci => continue,
        };
        count += 1;
        // A page that is about a few settings of a target shows those only.
        let is_part = text.contains("targets:") && !text.contains("kind:");
        let text = completed(text);
        let environment = |_: &str| None;
        let folder = Path::new("/etc/hallpass");
        let read = Settings::parse("hallpass.yaml", text.clone(), folder, &environment);
        let Err(problems) = read else { continue };
        let lacks = problems.iter().all(|problem| problem.rule == "missing-key");
        assert!(is_part && lacks, "{place}\n{problems}");
    }
    assert!(count > 6, "the examples were not found");
}

/// An example with the settings that every file must have.
fn completed(mut text: String) -> String {
    for (key, line) in [
        ("issuer", "issuer: https://hallpass.acme.dev"),
        ("root_key", "root_key: { file: root }"),
        ("policies", "policies: { path: policies }"),
        (
            "audit",
            "audit: { sinks: [ { kind: file, path: a.jsonl, required: true } ] }",
        ),
    ] {
        let start = format!("{key}:");
        if !text.lines().any(|line| line.starts_with(&start)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[test]
fn every_command_in_the_docs_exists_with_its_options() {
    let mut tree = hallpass::cli::command();
    tree.build();
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages() {
        if page.path == "CHANGELOG.md" {
            continue;
        }
        let prose: Vec<&str> = page.prose().collect();
        let prose = prose.join("\n");
        let spans = prose
            .split("\n\n")
            .flat_map(|text| text.split('`').skip(1).step_by(2));
        let spans: Vec<String> = spans.map(|span| span.replace('\n', " ")).collect();
        let blocks = page.blocks();
        let blocks = blocks.iter().map(|(_, text)| text.replace("\\\n", " "));
        let lines = blocks.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
        for line in spans.into_iter().chain(lines) {
            let line = line.split("  #").next().unwrap_or_default();
            for rest in line.split("hallpass ").skip(1) {
                let Some(problem) = slip(&tree, rest) else {
                    count += 1;
                    continue;
                };
                let before = line
                    .split("hallpass ")
                    .next()
                    .unwrap_or_default()
                    .trim_end();
                // At the beginning, in a pipe, behind a variable; else it is a user, an image, a name.
                let starts = ["(", "|", "&&", ")", "-", "run:"];
                if before.is_empty() || starts.iter().any(|start| before.ends_with(start)) {
                    wrong.push(format!("{}: `{line}` {problem}", page.path));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(count > 60, "only {count} commands were found");
}

/// What is wrong with the arguments of a command line.
fn slip(tree: &Command, rest: &str) -> Option<String> {
    let mut words = rest
        .split_whitespace()
        .map(|word| word.trim_matches(['"', '\'', ')', ',', ';', '.']))
        .peekable();
    let mut command = tree;
    while command.has_subcommands() {
        let word = words.next()?;
        if word.starts_with('-') {
            let is_known = ["--help", "--version"].contains(&word) || command.get_name() == "dev";
            return (!is_known).then(|| format!("has no option `{word}`"));
        }
        match command.find_subcommand(word) {
            Some(found) => command = found,
            // An optional command, or a placeholder.
            None if command.get_name() == "dev" || word == "COMMAND" => return None,
            None => return Some(format!("has no command `{word}`")),
        }
    }
    let own = words.take_while(|word| !matches!(*word, "--" | "|" | "&&" | ">" | "|\\"));
    for word in own {
        let Some(option) = word.strip_prefix("--") else {
            continue;
        };
        let option = option.split('=').next().unwrap_or_default();
        let mut arguments = command.get_arguments();
        if !arguments.any(|argument| argument.get_long() == Some(option)) {
            return Some(format!("has no option `--{option}`"));
        }
    }
    None
}

#[test]
fn the_pages_name_every_route_source_format_and_recorded_field() {
    let page = |path: &str| Page::read(path).text;
    let mut missing = Vec::new();
    let mut expect = |path: &str, text: &str, word: &str| {
        if !text.contains(&format!("`{word}`")) {
            missing.push(format!("{path}: `{word}`"));
        }
    };
    let api = page("docs/http-api.md");
    let routes = page("src/http/routes.rs");
    let routes = routes.split("path: \"/").skip(1);
    for path in routes.filter_map(|rest| rest.split('"').next()) {
        if !path.is_empty() && !api.contains(&format!(" /{path}`")) {
            expect("docs/http-api.md", &api, &format!("/{path}"));
        }
    }
    let clients = page("docs/clients.md");
    for source in SOURCES {
        expect("docs/clients.md", &clients, source.name);
    }
    for format in FORMATS
        .iter()
        .filter(|format| format.hint.is_none() || format.name == "ssh")
    {
        expect("docs/clients.md", &clients, format.name);
    }
    let audit = page("docs/audit.md");
    let events = page("src/audit/event.rs");
    let events = events.split("#[cfg(test)]").next().unwrap_or_default();
    let fields: BTreeSet<&str> = events
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(field, _)| field)
        .map(|field| field.strip_prefix("pub(super) ").unwrap_or(field))
        .map(|field| field.strip_prefix("pub ").unwrap_or(field))
        .filter(|field| {
            field
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        })
        .filter(|field| !["first", "total"].contains(field))
        .collect();
    assert!(fields.len() > 40, "{fields:?}");
    for field in fields {
        expect("docs/audit.md", &audit, field);
    }
    let logs = page("docs/logs.md");
    let log = page("src/http/log.rs");
    let (_, line) = log.split_once("tracing::$level!(").unwrap();
    let (line, _) = line.split_once("\"request\"").unwrap();
    let fields: Vec<&str> = line
        .lines()
        .filter_map(|line| line.trim().split([' ', ',']).next())
        .filter(|field| !field.is_empty())
        .collect();
    assert!(fields.len() > 10, "{fields:?}");
    for field in fields {
        expect("docs/logs.md", &logs, field);
    }
    assert_eq!(missing, Vec::<String>::new());
}
