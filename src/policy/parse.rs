//! Policy files to sections; file, line and column in every error, all errors at once.
//! The only reader of the format.

use std::sync::Arc;

use crate::yaml::diagnostic::{Problems, Source, Span};
use crate::yaml::reader::{MAX_TEXT, NodeReader};
use crate::yaml::{self, Entry, Node};

/// The untyped sections of one file. Their meaning depends on other files.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) source: Arc<Source>,
    pub(super) issuers: Vec<Entry>,
    pub(super) teams: Vec<Entry>,
    pub(super) rosters: Vec<Entry>,
    pub(super) credentials: Vec<Entry>,
    pub(super) policies: Vec<Node>,
    pub(super) requirements: Vec<Node>,
    pub(super) waivers: Vec<Node>,
    /// The zone of all local times.
    pub(super) zone: Option<Node>,
    /// The sections that only a file of the root may have.
    pub(super) of_root: Vec<(&'static str, Span)>,
    /// Who may write the file.
    pub(super) realm: Realm,
    /// Whether the whole file was read, so a missing definition is really missing.
    pub(super) is_whole: bool,
}

/// Who may write a file, which decides what it may define.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Realm {
    /// Those who may write the files directly in the folder.
    Root,
    /// A team, by its number.
    Team(usize),
    /// Not known after an error that is already reported.
    Unknown,
}

/// Reads one file. Adds errors to `problems` and reads on.
pub(super) fn parse(source: &Arc<Source>, problems: &Problems) -> Raw {
    let before = problems.count();
    let mut raw = sections(source, problems);
    raw.is_whole = problems.count() == before;
    raw
}

fn sections(source: &Arc<Source>, problems: &Problems) -> Raw {
    let is_root = !source.name().contains('/');
    let mut raw = Raw {
        source: Arc::clone(source),
        issuers: Vec::new(),
        teams: Vec::new(),
        rosters: Vec::new(),
        credentials: Vec::new(),
        policies: Vec::new(),
        requirements: Vec::new(),
        waivers: Vec::new(),
        zone: None,
        of_root: Vec::new(),
        realm: if is_root { Realm::Root } else { Realm::Unknown },
        is_whole: true,
    };
    let Some(root) = yaml::parse(source, problems) else {
        return raw;
    };
    let yaml = NodeReader::new(source, problems);
    let Some(lines) = yaml.entries(&root, "a policy file") else {
        return raw;
    };
    let sections = SECTIONS.iter().filter(|(_, in_teams)| !in_teams);
    raw.of_root = sections
        .filter_map(|(name, _)| {
            let line = lines.iter().find(|line| line.key.text == *name)?;
            Some((*name, line.span))
        })
        .collect();
    let all = SECTIONS.map(|(name, _)| name);
    let Some(fields) = yaml.fields(&root, "a policy file", &all) else {
        return raw;
    };
    let maps = [
        ("issuers", &mut raw.issuers),
        ("teams", &mut raw.teams),
        ("rosters", &mut raw.rosters),
        ("credentials", &mut raw.credentials),
    ];
    for (name, section) in maps {
        if let Some(node) = fields.get(name) {
            *section = entries(&yaml, node, &format!("`{name}`"));
        }
    }
    let lists = [
        ("policies", &mut raw.policies),
        ("require", &mut raw.requirements),
        ("waive", &mut raw.waivers),
    ];
    for (name, section) in lists {
        if let Some(node) = fields.get(name) {
            *section = items(&yaml, node, &format!("`{name}`"));
        }
    }
    raw.zone = fields.get("zone").cloned();
    raw
}

/// The sections of a file, and whether a team's file may have them.
const SECTIONS: [(&str, bool); 8] = [
    ("issuers", false),
    ("teams", false),
    ("rosters", true),
    ("credentials", true),
    ("policies", true),
    ("require", false),
    ("waive", true),
    ("zone", false),
];

fn entries(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Vec<Entry> {
    let Some(entries) = yaml.entries(node, what) else {
        return Vec::new();
    };
    if entries.is_empty() {
        yaml.error("empty", node.span, format!("{what} is empty"));
    }
    entries.to_vec()
}

fn items(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Vec<Node> {
    yaml.items(node, what).unwrap_or_default().to_vec()
}

/// Reads a name: letters and digits, and some punctuation in between.
pub(super) fn name<'n>(
    yaml: &NodeReader<'_>,
    text: &'n str,
    span: Span,
    what: &str,
) -> Option<&'n str> {
    let marks = |byte: u8| matches!(byte, b'.' | b'_' | b'-' | b'/');
    let fits = text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && !text.contains("//")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || marks(byte));
    if fits {
        return Some(text);
    }
    if text.contains(['{', '}']) {
        let message = format!("{what} `{text}` has a placeholder, but the entry has no `each`");
        let help = "add e.g. `each: { roster: apps }`";
        yaml.error_help("placeholder", span, message, Some(help));
        return None;
    }
    let message = format!(
        "{what} `{text}` must be at most {MAX_NAME} letters, digits, `-`, `_`, `.` and `/`"
    );
    yaml.error("name", span, message);
    None
}

/// Whether it is a valid `resource`: an absolute URI without a fragment (RFC 8693 section 2.1).
pub(crate) fn is_resource(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
        && url::Url::parse(text).is_ok_and(|url| url.fragment().is_none())
}

/// The longest `resource` of a credential, in bytes.
pub(crate) const MAX_RESOURCE: usize = MAX_TEXT;

/// The longest name of a credential, policy, issuer or requirement, in bytes.
pub(crate) use crate::wire::LONGEST_NAME as MAX_NAME;
