//! Policy files to sections; file, line and column in every error, all errors at once.
//! The only reader of the format.

use std::sync::Arc;

use super::read::Sheet;
use crate::yaml::diagnostic::{Diagnostic, Source, Span};
use crate::yaml::{self, Entry, Node};

/// One file's sections, still untyped: what they mean depends on each other.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) source: Arc<Source>,
    pub(super) issuers: Vec<Entry>,
    pub(super) credentials: Vec<Entry>,
    pub(super) policies: Vec<Node>,
    pub(super) requirements: Vec<Node>,
    /// All of it was read, so that what is not defined here is not defined in this file.
    pub(super) is_whole: bool,
}

/// Reads one file. What is wrong with it goes to `problems`, and the rest is still read.
pub(super) fn parse(source: &Arc<Source>, problems: &mut Vec<Diagnostic>) -> Raw {
    let before = problems.len();
    let mut raw = sections(source, problems);
    raw.is_whole = problems.len() == before;
    raw
}

fn sections(source: &Arc<Source>, problems: &mut Vec<Diagnostic>) -> Raw {
    let mut raw = Raw {
        source: Arc::clone(source),
        issuers: Vec::new(),
        credentials: Vec::new(),
        policies: Vec::new(),
        requirements: Vec::new(),
        is_whole: true,
    };
    let Some(root) = yaml::parse(source, problems) else {
        return raw;
    };
    let mut sheet = Sheet { source, problems };
    let known = ["issuers", "credentials", "policies", "require"];
    let Some(fields) = sheet.fields(&root, "a policy file", &known) else {
        return raw;
    };
    if let Some(node) = fields.get("issuers") {
        raw.issuers = entries(&mut sheet, node, "`issuers`");
    }
    if let Some(node) = fields.get("credentials") {
        raw.credentials = entries(&mut sheet, node, "`credentials`");
    }
    if let Some(node) = fields.get("policies") {
        raw.policies = items(&mut sheet, node, "`policies`");
    }
    if let Some(node) = fields.get("require") {
        raw.requirements = items(&mut sheet, node, "`require`");
    }
    raw
}

fn entries(sheet: &mut Sheet<'_>, node: &Node, what: &str) -> Vec<Entry> {
    let Some(entries) = sheet.entries(node, what) else {
        return Vec::new();
    };
    if entries.is_empty() {
        sheet.error("empty", node.span, format!("{what} is empty"));
    }
    entries.to_vec()
}

fn items(sheet: &mut Sheet<'_>, node: &Node, what: &str) -> Vec<Node> {
    sheet.items(node, what).unwrap_or_default().to_vec()
}

/// A name of ours: letters, digits and the marks in between that read well.
pub(super) fn name<'n>(
    sheet: &mut Sheet<'_>,
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
        format!(
            "{what} `{text}` is not made of letters, digits, `-`, `_`, `.` and `/`, at most {MAX_NAME}"
        )
    };
    let rule = if text.contains(['{', '}']) {
        "not-supported"
    } else {
        "name"
    };
    sheet.error(rule, span, message);
    None
}

/// Whether it can be the `resource` of a request: an absolute URI without a fragment (RFC 8693
/// section 2.1).
pub(crate) fn is_resource(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
        && url::Url::parse(text).is_ok_and(|url| url.fragment().is_none())
}

/// The longest `resource` of a credential, in bytes.
pub(crate) const MAX_RESOURCE: usize = super::read::MAX_TEXT;

/// The longest name of a credential, policy, issuer or requirement, in bytes.
pub(crate) use crate::wire::LONGEST_NAME as MAX_NAME;
