//! The tree of a document. Not: what a value must be, or how an error is worded.

use super::diagnostic::{Span, nearest};

/// One node of a document.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: NodeKind,
}

#[derive(Clone, Debug)]
pub(crate) enum NodeKind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// Text as written. Its type is decided by the reader; nothing is guessed here.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Written without quotes, so that another YAML reader may read a number or a date.
    pub(crate) plain: bool,
}

/// One line of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Scalar,
    pub(crate) span: Span,
    pub(crate) value: Node,
}

impl Entry {
    /// The position of the value of `key`; that of the whole entry without such a key.
    pub(crate) fn span_of(&self, key: &str) -> Span {
        let entries = self.value.entries().unwrap_or_default();
        value_of(entries, key).map_or(self.span, |value| value.span)
    }
}

impl Node {
    /// The value is missing, or YAML's null.
    pub(crate) fn is_nothing(&self) -> bool {
        self.plain()
            .is_some_and(|text| ["", "~", "null"].contains(&text.to_ascii_lowercase().as_str()))
    }

    /// The entries of a mapping.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        match &self.kind {
            NodeKind::Map(entries) => Some(entries),
            NodeKind::Scalar(_) | NodeKind::List(_) => None,
        }
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Option<&[Self]> {
        match &self.kind {
            NodeKind::List(items) => Some(items),
            NodeKind::Scalar(_) | NodeKind::Map(_) => None,
        }
    }

    /// A scalar, also one that was left out.
    pub(crate) const fn scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            NodeKind::Scalar(scalar) => Some(scalar),
            NodeKind::List(_) | NodeKind::Map(_) => None,
        }
    }

    /// A scalar without quotes.
    pub(crate) fn plain(&self) -> Option<&str> {
        let scalar = self.scalar().filter(|scalar| scalar.plain)?;
        Some(&scalar.text)
    }

    /// `true` or `false` without quotes. `True`, `yes` and `on` are neither.
    pub(crate) fn truth(&self) -> Option<bool> {
        match self.plain()? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The name of its kind in an error.
    pub(crate) const fn is_a(&self) -> &'static str {
        match self.kind {
            NodeKind::Scalar(_) => "text",
            NodeKind::List(_) => "a list",
            NodeKind::Map(_) => "a mapping",
        }
    }
}

/// The value of a key of a mapping.
pub(crate) fn value_of<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Node> {
    let entry = entries.iter().find(|entry| entry.key.text == key)?;
    Some(&entry.value)
}

/// The entries whose keys are not in `known`, each with the closest known key.
pub(crate) fn unknown_keys<'n, 'k>(
    entries: &'n [Entry],
    known: &[&'k str],
) -> impl Iterator<Item = (&'n Entry, Option<&'k str>)> {
    entries
        .iter()
        .filter(|entry| !known.contains(&entry.key.text.as_str()))
        .map(|entry| (entry, nearest(&entry.key.text, known.iter().copied())))
}
