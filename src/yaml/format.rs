//! Spacing of a document: blanks, line ends and the space around `:`, `,` and brackets. Not:
//! indentation, quotes, order or the text of a scalar, which stay as they are.

use std::sync::Arc;

use super::diagnostic::{Diagnostic, Place, Problems, Source, Span};
use super::{Node, NodeKind, parse};

/// The formatted text. `None` after a problem: the file does not parse, or would mean something
/// else afterwards.
pub(crate) fn format(source: &Arc<Source>, problems: &Problems) -> Option<String> {
    let before = problems.count();
    let root = parse(source, problems);
    if problems.count() > before {
        return None;
    }
    let mut scalars = Vec::new();
    if let Some(root) = &root {
        collect(root, &mut scalars);
    }
    scalars.sort();
    let after = lines(source.text(), &scalars);
    let place = Place::new(Arc::clone(source), Span::default());
    let written = Source::new(source.name(), place.file(), after.clone());
    let quiet = Problems::default();
    let again = parse(&written, &quiet);
    let is_same = match (&root, &again) {
        (Some(root), Some(again)) => same(root, again),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    if quiet.count() > 0 || !is_same {
        let message = "the formatted file would mean something else, so it is left as it is";
        problems.push(
            Diagnostic::error("format", place, message.to_owned())
                .help("write texts of several lines in one line, between quotes"),
        );
        return None;
    }
    Some(after)
}

/// Whether two trees are equal, apart from positions.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.kind, &b.kind) {
        (NodeKind::Scalar(a), NodeKind::Scalar(b)) => a.text == b.text && a.plain == b.plain,
        (NodeKind::List(a), NodeKind::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (NodeKind::Map(a), NodeKind::Map(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| {
                    a.key.text == b.key.text
                        && a.key.plain == b.key.plain
                        && same(&a.value, &b.value)
                })
        }
        (NodeKind::Scalar(_) | NodeKind::List(_) | NodeKind::Map(_), _) => false,
    }
}

/// The spans of all keys and values that are text.
fn collect(node: &Node, spans: &mut Vec<Span>) {
    match &node.kind {
        NodeKind::Scalar(_) => spans.push(node.span),
        NodeKind::List(items) => items.iter().for_each(|item| collect(item, spans)),
        NodeKind::Map(entries) => {
            for entry in entries {
                spans.push(entry.span);
                collect(&entry.value, spans);
            }
        }
    }
}

fn lines(text: &str, scalars: &[Span]) -> String {
    let mut after = String::with_capacity(text.len());
    let mut start = 0_usize;
    let mut is_blank = true;
    let mut rest = scalars;
    for line in text.split_inclusive('\n') {
        let end = start.saturating_add(line.len());
        let passed = rest.partition_point(|span| span.end <= start);
        rest = rest.get(passed..).unwrap_or_default();
        let here = rest.partition_point(|span| span.start < end);
        let here = rest.get(..here).unwrap_or_default();
        let is_within = here.iter().any(|span| {
            span.start < start || span.end > end.saturating_sub(1).max(start.saturating_add(1))
        });
        let is_within = is_within && here.iter().any(|span| several(text, *span));
        if is_within {
            after.push_str(line);
            is_blank = false;
        } else {
            let spaced = spaced(line, start, here);
            if !(spaced.is_empty() && is_blank) {
                after.push_str(&spaced);
                after.push('\n');
            }
            is_blank = spaced.is_empty();
        }
        start = end;
    }
    if is_blank && after.ends_with("\n\n") {
        after.pop();
    }
    after
}

/// Whether it is a text of several lines.
fn several(text: &str, span: Span) -> bool {
    text.get(span.start..span.end)
        .is_some_and(|text| text.contains('\n'))
}

/// A line of which `scalars` are left as they are.
fn spaced(line: &str, start: usize, scalars: &[Span]) -> String {
    let line = line.trim_end();
    let body = line.trim_start_matches([' ', '-']);
    let indent = line.len().saturating_sub(body.len());
    let indent = scalars.first().map_or(indent, |first| {
        indent.min(first.start.saturating_sub(start))
    });
    let mut after = line.get(..indent).unwrap_or_default().to_owned();
    let mut at = indent;
    // What is before the gap: a structural character, or `a` for a scalar.
    let mut last = None;
    for span in scalars.iter().filter(|span| span.start < span.end) {
        let from = span.start.saturating_sub(start);
        let to = span.end.saturating_sub(start).min(line.len());
        let gap = line.get(at..from).unwrap_or_default();
        last = space(&mut after, gap, last, Some('a'));
        after.push_str(line.get(from..to).unwrap_or_default());
        at = to;
    }
    let tail = line.get(at..).unwrap_or_default();
    let (gap, comment) = match tail.find('#') {
        Some(comment) => tail.split_at_checked(comment).unwrap_or((tail, "")),
        None => (tail, ""),
    };
    let blanks = gap.len().saturating_sub(gap.trim_end().len());
    space(&mut after, gap.trim_end(), last, None);
    if let Some(words) = comment.strip_prefix('#') {
        after.push_str(&" ".repeat(blanks));
        after.push('#');
        if words.starts_with(|first: char| first.is_alphanumeric()) {
            after.push(' ');
        }
        after.push_str(words);
    }
    after
}

/// Writes what is between two scalars, and returns what the second one is.
fn space(after: &mut String, gap: &str, last: Option<char>, next: Option<char>) -> Option<char> {
    if !gap.chars().all(|one| " \t:,{}[]".contains(one)) {
        after.push_str(gap);
        return next;
    }
    let mut last = last;
    for one in gap.chars().filter(|one| !one.is_whitespace()).chain(next) {
        let is_apart = match (last, one) {
            (None | Some('['), _) | (Some('{'), '}') => false,
            (Some(':' | '{'), _) | (_, '}') => true,
            (_, ',' | ':' | ']') => false,
            (Some(','), _) => true,
            _ => false,
        };
        if is_apart {
            after.push(' ');
        }
        if Some(one) != next || one != 'a' {
            after.push(one);
        }
        last = Some(one);
    }
    next
}
