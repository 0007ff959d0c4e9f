//! `inputs:` of a credential: the values of its kind's inputs that a request may bring. Not: how a
//! request is compared with them.

use std::collections::BTreeMap;

use super::patterns::{self, Compared};
use crate::credential::kind::{Input, Kind};
use crate::policy::pattern::{Observed, Operator, Pattern};
use crate::provider::FactType;
use crate::yaml::reader::NodeReader;
use crate::yaml::{Node, NodeKind};

/// Patterns for inputs of the kind. One that no request can fit is an error: the credential could never
/// be issued.
pub(super) fn read(
    yaml: &NodeReader<'_>,
    node: &Node,
    kind: &Kind,
    what: &str,
) -> BTreeMap<String, Pattern> {
    let mut bounds = BTreeMap::new();
    let names: Vec<&str> = kind.inputs.iter().map(|input| input.name).collect();
    if names.is_empty() {
        let message = format!("{what} has `inputs`, but kind `{}` takes none", kind.name);
        yaml.error_help("input", node.span, message, Some("leave `inputs` out"));
        return bounds;
    }
    let of = format!("`inputs` of {what}");
    let Some(fields) = yaml.fields(node, &of, &names) else {
        return bounds;
    };
    if matches!(&node.kind, NodeKind::Map(entries) if entries.is_empty()) {
        let message = format!("{of} is empty");
        let help = format!("bound one of {}, or leave `inputs` out", names.join(", "));
        yaml.error_help("empty", node.span, message, Some(help));
    }
    for input in kind.inputs {
        let Some(node) = fields.get(input.name) else {
            continue;
        };
        let compared = Compared::Fact(FactType::Text);
        if let Some(pattern) = patterns::pattern(yaml, node, input.name, compared) {
            check(yaml, node, input, &pattern, &of);
            bounds.insert(input.name.to_owned(), pattern);
        }
    }
    bounds
}

/// Reports what no value of the input can fit: of a list, each such entry.
fn check(yaml: &NodeReader<'_>, node: &Node, input: &Input, pattern: &Pattern, of: &str) {
    if let (Pattern::Any(entries), NodeKind::List(nodes)) = (pattern, &node.kind) {
        for (entry, node) in entries.iter().zip(nodes) {
            check(yaml, node, input, entry, of);
        }
        return;
    }
    let name = input.name;
    if let Pattern::Present(_) = pattern {
        let message = format!("`{name}` in {of} has `present`, but what is bounded must be sent");
        let help = "write the values that are allowed, or a pattern for them";
        yaml.error_help("input", node.span, message, Some(help));
    } else if let Some(problem) = mismatch(input, pattern) {
        let message = format!("`{name}` in {of} never matches: {problem}");
        let help = "correct the value, or leave it out";
        yaml.error_help("input", node.span, message, Some(help));
    }
}

/// Why no value fits, of patterns that one text at most can fit.
fn mismatch(input: &Input, pattern: &Pattern) -> Option<String> {
    let text = match pattern {
        Pattern::Exact(text) => text.as_str(),
        Pattern::All(operators) => operators.iter().find_map(only_text)?,
        Pattern::Any(_)
        | Pattern::Is(_)
        | Pattern::Present(_)
        | Pattern::Workflow { .. }
        | Pattern::Network(_)
        | Pattern::Time(_) => return None,
    };
    if input.is_list && text.contains(',') {
        return Some("it is compared with one entry of the list, which has no comma".to_owned());
    }
    if let Err(problem) = input.check_value(text) {
        return Some(format!("a value {problem}"));
    }
    let fits = pattern.fits(Observed::Text(text));
    (!fits).then(|| "its operators exclude each other".to_owned())
}

/// A glob without a star fits itself only.
fn only_text(operator: &Operator) -> Option<&str> {
    match operator {
        Operator::Glob(glob) => (!glob.text().contains('*')).then(|| glob.text()),
        Operator::Under(_) | Operator::Member(_) | Operator::Not(_) => None,
    }
}
