//! Changes of a document that keep its comments and its layout. Not: what is changed, and why.

use std::collections::BTreeSet;

use super::diagnostic::Span;
use super::{Entry, Node};

/// A text in the place of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) span: Span,
    pub(crate) text: String,
}

impl Edit {
    const fn removal(span: Span) -> Self {
        Self {
            span,
            text: String::new(),
        }
    }
}

/// The edits in order. Those that overlap are one.
pub(crate) fn in_order(mut edits: Vec<Edit>) -> Vec<Edit> {
    edits.sort_by_key(|edit| edit.span);
    let mut merged: Vec<Edit> = Vec::with_capacity(edits.len());
    for edit in edits {
        match merged.last_mut() {
            Some(last) if edit.span.start < last.span.end => {
                last.span.end = last.span.end.max(edit.span.end);
                last.text.push_str(&edit.text);
            }
            Some(_) | None => merged.push(edit),
        }
    }
    merged
}

/// The text after the edits, which are [in order](in_order).
pub(crate) fn apply(text: &str, edits: &[Edit]) -> String {
    let mut after = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        after.push_str(text.get(at..edit.span.start).unwrap_or_default());
        after.push_str(&edit.text);
        at = edit.span.end;
    }
    after.push_str(text.get(at..).unwrap_or_default());
    after
}

/// Removes items of a list, each with the comments that are about it. At least one item stays.
/// `None`: the list has a layout that is not known here.
pub(crate) fn without_items(text: &str, list: &Node, gone: &BTreeSet<usize>) -> Option<Vec<Edit>> {
    let items = list.items()?;
    let is_flow = text.get(list.span.start..)?.starts_with('[');
    let remove = if is_flow { of_flow } else { of_block };
    let removals = runs(gone).into_iter();
    let removals = removals.map(|(first, last)| remove(text, items, first, last));
    removals.map(|span| span.map(Edit::removal)).collect()
}

/// Removes a line of a block mapping with its value. `None` as above.
pub(crate) fn without_entry(text: &str, entry: &Entry) -> Option<Edit> {
    let start = line_start(text, entry.span.start);
    let indent = text.get(start..entry.span.start)?;
    indent.trim().is_empty().then(|| {
        let end = entry.value.span.end;
        Edit::removal(block(text, start, indent.len(), end))
    })
}

/// Numbers that follow each other, as first and last.
fn runs(numbers: &BTreeSet<usize>) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.saturating_add(1) == *number => *last = *number,
            Some(_) | None => runs.push((*number, *number)),
        }
    }
    runs
}

fn of_flow(text: &str, items: &[Node], first: usize, last: usize) -> Option<Span> {
    let (start, end) = (items.get(first)?.span.start, items.get(last)?.span.end);
    let (line, next_line) = (line_start(text, start), line_end(text, end));
    let rest = text.get(end..next_line)?.trim();
    let after_comma = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    let is_alone = text.get(line..start)?.trim().is_empty()
        && (after_comma.is_empty() || after_comma.starts_with('#'));
    if is_alone {
        return Some(Span {
            start: line,
            end: next_line,
        });
    }
    if let Some(next) = items.get(last.saturating_add(1)) {
        let end = next.span.start;
        return Some(Span { start, end });
    }
    let before = items.get(first.checked_sub(1)?)?.span.end;
    if !text.get(before..start)?.contains('\n') {
        return Some(Span { start: before, end });
    }
    // The comma before it may have a comment. It may end the list.
    let comma = text.get(end..)?.find(',').filter(|_| rest.starts_with(','));
    let end = comma.map_or(end, |at| end.saturating_add(at).saturating_add(1));
    Some(Span { start, end })
}

fn of_block(text: &str, items: &[Node], first: usize, last: usize) -> Option<Span> {
    let item = items.get(first)?.span.start;
    let mut start = line_start(text, item);
    let lead = text.get(start..item)?;
    let indent = lead.find('-')?;
    let is_known = lead.trim().strip_prefix('-').is_some_and(str::is_empty);
    if !is_known {
        return None;
    }
    // Comments of the item above it. A deeper one is about the item before.
    while let Some((above, line)) = line_before(text, start) {
        if !is_comment(line) || indent_of(line) > indent {
            break;
        }
        start = above;
    }
    Some(block(text, start, indent, items.get(last)?.span.end))
}

/// The lines from `start` to the one that has `end`, with comments that are deeper than the block, and
/// with one of the blank lines around it.
fn block(text: &str, start: usize, indent: usize, end: usize) -> Span {
    let written = text.get(..end).map_or(end, |text| text.trim_end().len());
    let (mut start, mut end) = (start, line_end(text, written));
    while let Some((below, line)) = line_after(text, end) {
        if !is_comment(line) || indent_of(line) <= indent {
            break;
        }
        end = below;
    }
    let is_blank_before = |start| {
        line_before(text, start).is_none_or(|(_, line): (usize, &str)| line.trim().is_empty())
    };
    if is_blank_before(start) {
        while let Some((below, line)) = line_after(text, end) {
            if !line.trim().is_empty() {
                break;
            }
            end = below;
        }
    }
    if end >= text.len() {
        while let Some((above, line)) = line_before(text, start) {
            if !line.trim().is_empty() {
                break;
            }
            start = above;
        }
    }
    Span { start, end }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

fn indent_of(line: &str) -> usize {
    line.len().saturating_sub(line.trim_start().len())
}

/// Where the line with this byte begins.
pub(crate) fn line_start(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or(text);
    before.rfind('\n').map_or(0, |end| end.saturating_add(1))
}

/// Where the line after this byte begins.
pub(crate) fn line_end(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let length = rest
        .find('\n')
        .map_or(rest.len(), |end| end.saturating_add(1));
    at.saturating_add(length)
}

/// The line that ends at `at`, with its start.
fn line_before(text: &str, at: usize) -> Option<(usize, &str)> {
    let start = line_start(text, at.checked_sub(1)?);
    Some((start, text.get(start..at)?))
}

/// The line that begins at `at`, with its end.
fn line_after(text: &str, at: usize) -> Option<(usize, &str)> {
    let end = line_end(text, at);
    (end > at).then_some((end, text.get(at..end)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::diagnostic::{Problems, Source};
    use crate::yaml::{parse, value_of};

    /// The text without these items of `list`, which then holds the others.
    fn without(text: &str, gone: &[usize]) -> String {
        let list_of = |text: &str| {
            let source = Source::new("a.yaml", "a.yaml", text.to_owned());
            let problems = Problems::default();
            let root = parse(&source, &problems).unwrap();
            assert_eq!(problems.count(), 0, "{text}");
            value_of(root.entries().unwrap(), "list").unwrap().clone()
        };
        let list = list_of(text);
        let edits = without_items(text, &list, &gone.iter().copied().collect()).unwrap();
        let after = apply(text, &in_order(edits));
        let left = list_of(&after).items().unwrap().len();
        assert_eq!(left, list.items().unwrap().len() - gone.len(), "{after}");
        after
    }

    #[test]
    fn items_go_with_their_comments_and_the_rest_stays_as_it_is() {
        for (text, gone, expected) in [
            ("list: [a, b, c]\n", &[0][..], "list: [b, c]\n"),
            ("list: [a, b, c] # x\n", &[1, 2], "list: [a] # x\n"),
            ("list: [ a, \"b\", c, ]\n", &[0, 2], "list: [ \"b\", ]\n"),
            (
                "list: [\n  a, # one\n  b # two\n  ]\n",
                &[1],
                "list: [\n  a, # one\n  ]\n",
            ),
            ("list: [a, # one\n  b,]\n", &[1], "list: [a, # one\n  ]\n"),
            (
                "list: [{ a: 1 }, { b: [2, 3] }]\n",
                &[1],
                "list: [{ a: 1 }]\n",
            ),
            ("list:\n- a\n- b # x\n- c\n", &[1], "list:\n- a\n- c\n"),
            (
                "list:\n  # of a\n  - a: 1\n    b: 2\n    # of a too\n\n  # of c\n  - c: 3\n\n# end\nd: 1\n",
                &[0],
                "list:\n\n  # of c\n  - c: 3\n\n# end\nd: 1\n",
            ),
            (
                "list:\n  - a: 1\n\n  # of b\n  - b: >\n      text\n      more\n\n  - c: 3\n",
                &[1],
                "list:\n  - a: 1\n\n  - c: 3\n",
            ),
            (
                "list:\r\n  - a\r\n\r\n  - b\r\n",
                &[1],
                "list:\r\n  - a\r\n",
            ),
        ] {
            assert_eq!(without(text, gone), expected, "{text}");
        }
    }
}
