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
    pub(super) credentials: Vec<Entry>,
    pub(super) policies: Vec<Node>,
    pub(super) requirements: Vec<Node>,
    pub(super) waivers: Vec<Node>,
    /// Whether the whole file was read, so a missing definition is really missing.
    pub(super) is_whole: bool,
}

/// Reads one file. Adds errors to `problems` and reads on.
pub(super) fn parse(source: &Arc<Source>, problems: &Problems) -> Raw {
    let before = problems.count();
    let mut raw = sections(source, problems);
    raw.is_whole = problems.count() == before;
    raw
}

fn sections(source: &Arc<Source>, problems: &Problems) -> Raw {
    let mut raw = Raw {
        source: Arc::clone(source),
        issuers: Vec::new(),
        credentials: Vec::new(),
        policies: Vec::new(),
        requirements: Vec::new(),
        waivers: Vec::new(),
        is_whole: true,
    };
    let Some(root) = yaml::parse(source, problems) else {
        return raw;
    };
    let yaml = NodeReader::new(source, problems);
    let known = ["issuers", "credentials", "policies", "require", "waive"];
    let Some(fields) = yaml.fields(&root, "a policy file", &known) else {
        return raw;
    };
    if let Some(node) = fields.get("issuers") {
        raw.issuers = entries(&yaml, node, "`issuers`");
    }
    if let Some(node) = fields.get("credentials") {
        raw.credentials = entries(&yaml, node, "`credentials`");
    }
    if let Some(node) = fields.get("policies") {
        raw.policies = items(&yaml, node, "`policies`");
    }
    if let Some(node) = fields.get("require") {
        raw.requirements = items(&yaml, node, "`require`");
    }
    if let Some(node) = fields.get("waive") {
        raw.waivers = items(&yaml, node, "`waive`");
    }
    raw
}

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
    let message = if text.contains(['{', '}']) {
        format!("{what} `{text}` holds a template; rosters are not supported yet")
    } else {
        format!("{what} `{text}` must be at most {MAX_NAME} letters, digits, `-`, `_`, `.` and `/`")
    };
    let rule = if text.contains(['{', '}']) {
        "not-supported"
    } else {
        "name"
    };
    yaml.error(rule, span, message);
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
