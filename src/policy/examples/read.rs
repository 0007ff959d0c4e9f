//! Test files to tests. Errors are reported with their position, all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Because, Example, Expected, LineKind, TestFile, job, lines};
use crate::policy::compile::Vocabulary;
use crate::policy::{Ask, Inputs, PolicySet};
use crate::provider::{Fact, is_property};
use crate::text::escape;
use crate::yaml::diagnostic::{Place, Problems, Source, Span, nearest};
use crate::yaml::reader::{Fields, MAX_TEXT, NodeReader, listed};
use crate::yaml::{self, Node};

/// The tests and the lines of one file.
pub(super) fn file(
    source: &Arc<Source>,
    set: &PolicySet,
    words: &Vocabulary,
    problems: &Problems,
) -> TestFile {
    let yaml = NodeReader::new(source, problems);
    let mut file = TestFile {
        name: source.name().to_owned(),
        shown: Place::new(Arc::clone(source), Span::default())
            .file()
            .to_owned(),
        tests: Vec::new(),
        lines: Vec::new(),
    };
    let Some(root) = yaml::parse(source, problems) else {
        return file;
    };
    let Some(fields) = yaml.fields(&root, "a test file", &["tests", "never", "only"]) else {
        return file;
    };
    let team = set.team_of(source.name());
    let kinds = [LineKind::Never, LineKind::Only];
    if fields.get("tests").is_none() && kinds.iter().all(|kind| fields.get(kind.name()).is_none()) {
        let help = Some("write a list `tests:`, `never:` or `only:`");
        yaml.error_help("empty", Span::default(), "a test file has no tests", help);
    }
    let mut names: BTreeMap<String, Place> = BTreeMap::new();
    let mut is_new = |what: &str, name: &str, place: &Place| {
        if let Some(first) = names.get(name) {
            let message = format!("{what} `{}` is defined twice", escape(name));
            let help = format!("the other one is at {first}");
            yaml.error_help("duplicate", place.span(), message, Some(help));
        }
        names.insert(name.to_owned(), place.clone());
    };
    let items = |name: &str| {
        let list = fields.get(name);
        let items = list.and_then(|list| yaml.items(list, format!("`{name}`")));
        items.unwrap_or_default()
    };
    for item in items("tests") {
        set.each_row(&yaml, source.name(), item, |item, row| {
            let yaml = NodeReader::new(source, problems).in_row(row);
            if let Some(test) = test(&yaml, item, set) {
                is_new("test", &test.name, &test.place);
                file.tests.push(test);
            }
        });
    }
    for kind in kinds {
        for item in items(kind.name()) {
            if let Some(line) = lines::read(&yaml, item, kind, words, team) {
                is_new("line", &line.name, &line.place);
                file.lines.push(line);
            }
        }
    }
    file
}

fn test(yaml: &NodeReader<'_>, node: &Node, set: &PolicySet) -> Option<Example> {
    let keys = ["name", "job", "asks", "gets", "refused", "at"];
    let fields = yaml.fields(node, "a test", &keys)?;
    let name_node = yaml.required(&fields, "name", "a test", node.span);
    let name = name_node.and_then(|node| yaml.ascii(node, "`name` of a test", MAX_TEXT));
    let what = name.map_or_else(|| "a test".to_owned(), |name| format!("test `{name}`"));
    let at = match fields.get("at") {
        Some(node) => yaml.time(node, format!("`at` of {what}")).map(Some),
        None => Some(None),
    };
    let job = yaml
        .required(&fields, "job", &what, node.span)
        .and_then(|node| job::read(yaml, node, &what, set));
    let ask = yaml
        .required(&fields, "asks", &what, node.span)
        .and_then(|node| ask(yaml, node, &what));
    let expected = expected(yaml, &fields, &what);
    Some(Example {
        name: name?.to_owned(),
        place: yaml.place(name_node?.span),
        job: job?,
        ask: ask?,
        expected: expected?,
        at: at?,
    })
}

fn ask(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Ask> {
    let what = format!("`asks` of {what}");
    let fields = yaml.fields(node, &what, &["credential", "ttl", "scopes", "inputs"])?;
    let credential = yaml.required(&fields, "credential", &what, node.span)?;
    let credential = yaml.ascii(credential, format!("`credential` in {what}"), MAX_TEXT);
    let ttl = match fields.get("ttl") {
        Some(node) => Some(yaml.duration(node, format!("`ttl` in {what}"))?),
        None => None,
    };
    let scopes = match fields.get("scopes") {
        Some(node) => Some(yaml.texts(node, format!("`scopes` in {what}"))?),
        None => None,
    };
    let mut inputs = Inputs::new();
    if let Some(node) = fields.get("inputs") {
        for entry in yaml.entries(node, format!("`inputs` in {what}"))? {
            let value = yaml.ascii(&entry.value, format!("an input in {what}"), LONGEST_INPUT)?;
            inputs.insert(entry.key.text.clone(), value.to_owned());
        }
    }
    Some(Ask {
        credential: credential?.to_owned(),
        scopes,
        ttl,
        inputs,
        ..Ask::default()
    })
}

fn expected(yaml: &NodeReader<'_>, fields: &Fields<'_>, what: &str) -> Option<Expected> {
    match (fields.get("gets"), fields.get("refused")) {
        (Some(node), None) => gets(yaml, node, what),
        (None, Some(node)) => refused(yaml, node, what),
        (Some(_), Some(node)) => {
            let message = format!("{what} has both `gets` and `refused`");
            yaml.error("duplicate", node.span, message);
            None
        }
        (None, None) => {
            let message = format!("{what} expects nothing");
            let help = "add `gets: { policy: NAME }` or `refused: { because: [FACT] }`";
            yaml.error_help("missing-key", fields.span(), message, Some(help));
            None
        }
    }
}

fn gets(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Expected> {
    let what = format!("`gets` of {what}");
    let fields = yaml.fields(node, &what, &["policy", "ttl", "scopes"])?;
    let policy = yaml.required(&fields, "policy", &what, node.span)?;
    let policy = yaml.ascii(policy, format!("`policy` in {what}"), MAX_TEXT)?;
    let ttl = match fields.get("ttl") {
        Some(node) => Some(yaml.duration(node, format!("`ttl` in {what}"))?),
        None => None,
    };
    let scopes = match fields.get("scopes") {
        Some(node) => Some(yaml.texts(node, format!("`scopes` in {what}"))?),
        None => None,
    };
    Some(Expected::Gets {
        policy: policy.to_owned(),
        ttl,
        scopes,
    })
}

fn refused(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Expected> {
    let what = format!("`refused` of {what}");
    let fields = yaml.fields(node, &what, &["because"])?;
    let because = yaml.required(&fields, "because", &what, node.span)?;
    let items = match because.items() {
        Some(_) => yaml.items(because, format!("`because` in {what}"))?,
        None => std::slice::from_ref(because),
    };
    let read: Option<BTreeSet<_>> = items.iter().map(|item| reason(yaml, item, &what)).collect();
    read.map(Expected::Refused)
}

fn reason(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Because> {
    if node.entries().is_some() {
        let fields = yaml.fields(node, format!("a reason in {what}"), &["requirement"])?;
        let name = yaml.required(&fields, "requirement", what, node.span)?;
        let name = yaml.ascii(name, format!("`requirement` in {what}"), MAX_TEXT)?;
        return Some(Because::Requirement(name.to_owned()));
    }
    let word = yaml.ascii(node, format!("a reason in {what}"), MAX_TEXT)?;
    let known = match word {
        "tenant" => Some(Because::Tenant),
        "credential" => Some(Because::Credential),
        "ttl" => Some(Because::Ttl),
        "scopes" => Some(Because::Scopes),
        "inputs" => Some(Because::Inputs),
        "until" => Some(Because::Line(word.to_owned())),
        _ if Fact::from_name(word).is_some() || word.starts_with('/') || is_property(word) => {
            Some(Because::Line(word.to_owned()))
        }
        _ => None,
    };
    if known.is_none() {
        let facts = Fact::ALL.iter().map(|fact| fact.name());
        let help = match nearest(word, facts.chain(REASONS)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!(
                "write a fact, {} or `{{ requirement: NAME }}`",
                listed(&REASONS)
            ),
        };
        let message = format!("unknown reason `{word}` in {what}");
        yaml.error_help("reason", node.span, message, Some(help));
    }
    known
}

/// The reasons beside facts and requirements.
const REASONS: [&str; 6] = ["tenant", "credential", "ttl", "scopes", "inputs", "until"];
/// Bytes of an input; a public key may be long.
const LONGEST_INPUT: usize = 16 * 1_024;
