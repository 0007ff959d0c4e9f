//! Nodes to patterns, typed by what they are compared with. Not: which facts there are.
//!
//! A pattern that no value of its type can match is an error, so that none looks like a limit and is
//! none.

use super::network;
use crate::policy::pattern::{Glob, Operator, Pattern, check_text};
use crate::provider::FactType;
use crate::yaml::diagnostic::nearest;
use crate::yaml::reader::{NodeReader, listed};
use crate::yaml::{Node, NodeKind};

/// What a pattern is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    Fact(FactType),
    /// A fact with a closed list of words: each is named by its exact text, since `not` and `glob`
    /// would let in every word that comes to be.
    Word(&'static [&'static str]),
    /// A raw claim without a declared type: text, or a boolean.
    Claim,
}

/// The position of a part within a pattern. What is allowed differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Top,
    List,
    Not,
}

/// The pattern of a condition on `what`.
pub(super) fn pattern(
    yaml: &NodeReader<'_>,
    node: &Node,
    what: &str,
    compared: Compared,
) -> Option<Pattern> {
    match compared {
        Compared::Fact(FactType::Text) => any_text(yaml, node, what, Where::Top),
        Compared::Fact(FactType::Bool) => truth(yaml, node, what),
        Compared::Fact(FactType::List) => list(yaml, node, what),
        Compared::Word(known) => word(yaml, node, what, known),
        Compared::Fact(FactType::Workflow) => workflow(yaml, node, what),
        Compared::Fact(FactType::Network) => network::pattern(yaml, node, what),
        Compared::Fact(FactType::Age) => age(yaml, node, what),
        // Times have a zone, which is read where conditions are: see `time::pattern`.
        Compared::Fact(FactType::Clock) => None,
        Compared::Claim => match &node.kind {
            NodeKind::Scalar(scalar) if scalar.plain && is_truth(&scalar.text) => {
                truth(yaml, node, what)
            }
            NodeKind::Scalar(_) | NodeKind::List(_) | NodeKind::Map(_) => {
                any_text(yaml, node, what, Where::Top)
            }
        },
    }
}

fn any_text(yaml: &NodeReader<'_>, node: &Node, what: &str, place: Where) -> Option<Pattern> {
    match &node.kind {
        NodeKind::Scalar(_) => Some(Pattern::Exact(text(yaml, node, what)?)),
        NodeKind::Map(_) => operators(yaml, node, what, place),
        NodeKind::List(_) if place == Where::List => {
            yaml.error(
                "pattern",
                node.span,
                format!("lists of `{what}` do not nest"),
            );
            None
        }
        NodeKind::List(_) => {
            let inner = if place == Where::Not {
                Where::Not
            } else {
                Where::List
            };
            let items = yaml.items(node, format!("the list of `{what}`"))?;
            let read: Vec<_> = items
                .iter()
                .map(|item| match (&item.kind, inner) {
                    (NodeKind::List(_), _) => any_text(yaml, item, what, Where::List),
                    (NodeKind::Scalar(_) | NodeKind::Map(_), inner) => {
                        any_text(yaml, item, what, inner)
                    }
                })
                .collect();
            read.into_iter()
                .collect::<Option<Vec<_>>>()
                .map(Pattern::Any)
        }
    }
}

fn text(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<String> {
    let text = yaml.text(node, format!("`{what}`"))?;
    if let Err(problem) = check_text(text) {
        yaml.error("pattern", node.span, format!("`{what}`: {problem}"));
        return None;
    }
    Some(text.to_owned())
}

fn operators(yaml: &NodeReader<'_>, node: &Node, what: &str, place: Where) -> Option<Pattern> {
    let fields = yaml.fields(node, format!("the pattern of `{what}`"), &OPERATORS)?;
    let entries = yaml.entries(node, what)?;
    if entries.is_empty() {
        yaml.error(
            "empty",
            node.span,
            format!("the pattern of `{what}` is empty"),
        );
        return None;
    }
    if let Some(present) = fields.get("present") {
        if entries.len() > 1 || place != Where::Top {
            yaml.error(
                "pattern",
                present.span,
                "`present` must be the only operator of its pattern",
            );
            return None;
        }
        return yaml.boolean(present, "`present`").map(Pattern::Present);
    }
    let mut operators = Vec::new();
    for entry in entries {
        let name = entry.key.text.as_str();
        let key = format!("{name} of {what}");
        operators.push(match name {
            "glob" => {
                let text = yaml.text(&entry.value, format!("`{key}`"))?;
                match Glob::parse(text) {
                    Ok(glob) => Operator::Glob(glob),
                    Err(problem) => {
                        yaml.error("glob", entry.value.span, problem);
                        return None;
                    }
                }
            }
            "under" => Operator::Under(path(yaml, &entry.value, &key)?),
            "member" => {
                let help = "only an issuer of provider `generic` can declare a fact to be a list, under `types`; compare text with text, a list of texts, `glob` or `under`";
                yaml.error_help(
                    "wrong-type",
                    entry.span,
                    format!("`{what}` is text, and `member` is one entry of a list"),
                    Some(help),
                );
                return None;
            }
            "not" if place == Where::Not => {
                yaml.error("pattern", entry.span, "`not` is not allowed inside `not`");
                return None;
            }
            "not" => Operator::Not(Box::new(any_text(yaml, &entry.value, what, Where::Not)?)),
            // Reported as an unknown key above.
            _ => return None,
        });
    }
    Some(Pattern::All(operators))
}

fn path(yaml: &NodeReader<'_>, node: &Node, key: &str) -> Option<String> {
    let text = text(yaml, node, key)?;
    if text.ends_with('/') || text.contains('*') {
        let message = format!("`{key}` must be a path without `*` and without a trailing `/`");
        yaml.error("pattern", node.span, message);
        return None;
    }
    Some(text)
}

/// `{ member: x }`, `{ not: { member: x } }`, both, a list of these, or `{ present: … }`.
fn list(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Pattern> {
    match &node.kind {
        NodeKind::List(_) => {
            let items = yaml.items(node, format!("the list of `{what}`"))?;
            let read: Vec<_> = items
                .iter()
                .map(|item| members(yaml, item, what, false).map(Pattern::All))
                .collect();
            read.into_iter()
                .collect::<Option<Vec<_>>>()
                .map(Pattern::Any)
        }
        NodeKind::Map(entries) if entries.iter().any(|entry| entry.key.text == "present") => {
            operators(yaml, node, what, Where::Top)
        }
        NodeKind::Map(_) | NodeKind::Scalar(_) => {
            members(yaml, node, what, false).map(Pattern::All)
        }
    }
}

fn members(
    yaml: &NodeReader<'_>,
    node: &Node,
    what: &str,
    within_not: bool,
) -> Option<Vec<Operator>> {
    let NodeKind::Map(entries) = &node.kind else {
        let help = match &node.kind {
            NodeKind::Scalar(scalar) => format!("write {{ member: {} }}", scalar.text),
            NodeKind::List(_) | NodeKind::Map(_) => "write { member: x }".to_owned(),
        };
        let message = format!("`{what}` is a list, which is compared entry by entry");
        yaml.error_help("wrong-type", node.span, message, Some(help));
        return None;
    };
    let known: &[&str] = if within_not {
        &["member"]
    } else {
        &["member", "not"]
    };
    yaml.fields(node, format!("the pattern of `{what}`, a list"), known)?;
    let mut operators = Vec::new();
    for entry in entries {
        operators.push(match entry.key.text.as_str() {
            "member" => Operator::Member(text(yaml, &entry.value, &format!("member of {what}"))?),
            "not" if !within_not => {
                let inner = members(yaml, &entry.value, what, true)?;
                Operator::Not(Box::new(Pattern::All(inner)))
            }
            // Reported as an unknown key above.
            _ => return None,
        });
    }
    if operators.is_empty() {
        let message = format!("the pattern of `{what}` is empty");
        yaml.error("empty", node.span, message);
        return None;
    }
    Some(operators)
}

/// One word of a closed list, several, or `{ present: … }`. Another word is a mistake, as no job
/// can have it.
fn word(
    yaml: &NodeReader<'_>,
    node: &Node,
    what: &str,
    known: &'static [&'static str],
) -> Option<Pattern> {
    match &node.kind {
        NodeKind::Scalar(_) => one_word(yaml, node, what, known).map(Pattern::Exact),
        NodeKind::List(_) => {
            let items = yaml.items(node, format!("the list of `{what}`"))?;
            let read: Vec<_> = items
                .iter()
                .map(|item| one_word(yaml, item, what, known).map(Pattern::Exact))
                .collect();
            read.into_iter()
                .collect::<Option<Vec<_>>>()
                .map(Pattern::Any)
        }
        NodeKind::Map(entries) => {
            let odd = entries.iter().find(|entry| entry.key.text != "present");
            let Some(odd) = odd else {
                return operators(yaml, node, what, Where::Top);
            };
            let name = &odd.key.text;
            let message =
                format!("`{what}` is one of a closed list of words, and takes no `{name}`");
            let help = format!("list the words that are meant, of {}", listed(known));
            yaml.error_help("wrong-type", odd.span, message, Some(help));
            None
        }
    }
}

fn one_word(yaml: &NodeReader<'_>, node: &Node, what: &str, known: &[&str]) -> Option<String> {
    let text = text(yaml, node, what)?;
    if known.contains(&text.as_str()) {
        return Some(text);
    }
    let help = match nearest(&text, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("it is one of {}", listed(known)),
    };
    let message = format!("`{what}` is never `{text}`");
    let known = known.iter().copied();
    yaml.error_instead("unknown-word", node.span, (message, help), &text, known);
    None
}

fn truth(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Pattern> {
    match &node.kind {
        NodeKind::Scalar(scalar) if scalar.plain && is_truth(&scalar.text) => {
            Some(Pattern::Is(scalar.text == "true"))
        }
        NodeKind::Map(_) => {
            let fields = yaml.fields(node, format!("the pattern of `{what}`"), &["present"])?;
            let present = yaml.required(
                &fields,
                "present",
                format!("the pattern of `{what}`"),
                node.span,
            )?;
            yaml.boolean(present, "`present`").map(Pattern::Present)
        }
        NodeKind::Scalar(scalar) => {
            let lower = scalar.text.to_ascii_lowercase();
            let right = if is_truth(&lower) {
                lower
            } else {
                "true".to_owned()
            };
            let help = format!("write {what}: {right}, without quotes");
            yaml.error_help(
                "wrong-type",
                node.span,
                format!(
                    "`{what}` is true or false, found the text `{}`",
                    scalar.text
                ),
                Some(help),
            );
            None
        }
        NodeKind::List(_) => {
            let help = Some("either value will do: { present: true }");
            yaml.error_help(
                "wrong-type",
                node.span,
                format!("`{what}` is true or false, not a list"),
                help,
            );
            None
        }
    }
}

/// `{ within: 1h }`.
fn age(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Pattern> {
    let NodeKind::Map(_) = &node.kind else {
        let message = format!("`{what}` is compared with the time of the decision");
        yaml.error_help(
            "wrong-type",
            node.span,
            message,
            Some("write { within: 1h }"),
        );
        return None;
    };
    let of = format!("the pattern of `{what}`");
    let fields = yaml.fields(node, &of, &["within"])?;
    let within = yaml.required(&fields, "within", &of, node.span)?;
    let within = yaml.duration(within, format!("`within` of `{what}`"))?;
    Some(Pattern::Age(within))
}

fn is_truth(text: &str) -> bool {
    matches!(text, "true" | "false")
}

fn workflow(yaml: &NodeReader<'_>, node: &Node, what: &str) -> Option<Pattern> {
    let NodeKind::Map(entries) = &node.kind else {
        let help =
            Some("write { path: acme/ci/.github/workflows/deploy.yml, ref: refs/heads/main }");
        yaml.error_help(
            "wrong-type",
            node.span,
            format!("`{what}` is a mapping of `path` and `ref`"),
            help,
        );
        return None;
    };
    let fields = yaml.fields(
        node,
        format!("the pattern of `{what}`"),
        &["path", "ref", "present"],
    )?;
    if let Some(present) = fields.get("present") {
        if entries.len() > 1 {
            yaml.error(
                "pattern",
                present.span,
                "`present` must be the only operator of its pattern",
            );
            return None;
        }
        return yaml.boolean(present, "`present`").map(Pattern::Present);
    }
    if fields.get("path").is_none() && fields.get("ref").is_none() {
        yaml.error(
            "empty",
            node.span,
            format!("`{what}` wants `path`, `ref` or both"),
        );
        return None;
    }
    let part = |key: &str| match fields.get(key) {
        Some(node) => {
            any_text(yaml, node, &format!("{what}.{key}"), Where::Top).map(|p| Some(Box::new(p)))
        }
        None => Some(None),
    };
    let (path, r#ref) = (part("path"), part("ref"));
    Some(Pattern::Workflow {
        path: path?,
        r#ref: r#ref?,
    })
}

const OPERATORS: [&str; 5] = ["glob", "under", "member", "not", "present"];
