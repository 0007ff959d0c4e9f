//! Parses YAML text into a tree with positions and quoting style. Not: what the keys mean.
//!
//! A strict subset: one document; no anchors, aliases, merges, tags, directives or duplicate keys
//! (T-76, T-78). An alias is an error and never expanded.

use std::borrow::Cow;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};

mod characters;
pub mod diagnostic;
pub mod duration;
pub(crate) mod edit;
mod fault;
pub(crate) mod format;
mod node;
mod place;
pub(crate) mod reader;
pub(crate) mod scalar;
pub(crate) mod settings;
mod time;

pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity};
pub(crate) use node::{Entry, Node, NodeKind, Scalar, unknown_keys, value_of};

pub(crate) use diagnostic::Problems;
use diagnostic::{Source, Span};

/// Reads one document. Everything wrong with it goes to `problems`; `None` when the file is empty
/// or cannot be read to its end.
pub(crate) fn parse(source: &Arc<Source>, problems: &Problems) -> Option<Node> {
    let text = source.text();
    if text.starts_with('\u{feff}') {
        let span = Span { start: 0, end: 3 };
        let problem = error(
            source,
            "byte-order-mark",
            span,
            "the file starts with a byte order mark",
        );
        problems.push(problem.help("save it as UTF-8 without BOM"));
        return None;
    }
    if hides(source, problems) {
        return None;
    }
    let options = granit_parser::options! {
        emit_comments: false,
        disallow_directives: true,
        strict_indentation: true,
    };
    let mut builder = Builder {
        source,
        problems,
        parser: Parser::new_from_str_with_options(text, options),
        documents: 0,
        failed: false,
    };
    let root = builder.document();
    if builder.failed { None } else { root }
}

/// Reports characters that are allowed nowhere (T-134). Such a file is not parsed any further: a
/// reviewer may have seen another text in it.
fn hides(source: &Arc<Source>, problems: &Problems) -> bool {
    let before = problems.count();
    for found in characters::hidden(source.text()).take(MOST_HIDDEN) {
        let span = Span {
            start: found.at,
            end: found.at.saturating_add(found.character.len_utf8()),
        };
        let code = u32::from(found.character);
        let (message, help) = if found.character == '\r' {
            (
                "a carriage return without a line feed (U+000D) ends a line in some editors only"
                    .to_owned(),
                "save the file with LF or CRLF line ends",
            )
        } else {
            (
                format!("U+{code:04X} is not allowed: editors hide it or show something else"),
                "delete the character, or replace it with a visible one",
            )
        };
        problems.push(error(source, "hidden-character", span, &message).help(help));
    }
    problems.count() > before
}

fn error(source: &Arc<Source>, rule: &'static str, span: Span, message: &str) -> Diagnostic {
    Diagnostic::error(
        rule,
        Place::new(Arc::clone(source), span),
        message.to_owned(),
    )
}

struct Builder<'a> {
    source: &'a Arc<Source>,
    problems: &'a Problems,
    parser: Parser<'a, StrInput<'a>>,
    documents: usize,
    failed: bool,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Option<Node> {
        let mut root = None;
        while let Some((event, span)) = self.next() {
            if let Event::DocumentStart(..) = event {
                self.documents = self.documents.saturating_add(1);
                if self.documents > 1 {
                    let problem = error(
                        self.source,
                        "several-documents",
                        span,
                        "the file holds more than one document",
                    );
                    self.problems
                        .push(problem.help("put each document into a file of its own"));
                    self.failed = true;
                    return None;
                }
            } else if event.is_node() {
                root = self.node(event, span, 0);
            }
        }
        root
    }

    fn next(&mut self) -> Option<(Event<'a>, Span)> {
        match self.parser.next_event()? {
            Ok((event, span)) => {
                let range = span.byte_range().unwrap_or_default();
                Some((
                    event,
                    Span {
                        start: range.start,
                        end: range.end,
                    },
                ))
            }
            Err(problem) => {
                let at = problem.marker().byte_offset().unwrap_or_default();
                self.problems
                    .push(fault::explain(self.source, at, &problem.info()));
                self.failed = true;
                None
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            self.fail("nested", span, "the file is nested too deeply");
            return None;
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_properties(anchor, tag.as_ref(), span);
                let plain = style == ScalarStyle::Plain;
                // The parser spells a value that was left out as `~`.
                let is_left_out = plain && span.start == span.end;
                let scalar = Scalar {
                    text: if is_left_out {
                        String::new()
                    } else {
                        text.into_owned()
                    },
                    plain,
                };
                Some(Node {
                    span,
                    kind: NodeKind::Scalar(scalar),
                })
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_properties(anchor, tag.as_ref(), span);
                self.list(span, depth)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_properties(anchor, tag.as_ref(), span);
                self.map(span, depth)
            }
            Event::Alias(_) | _ => {
                self.problems.push(fault::alias(self.source, span));
                self.failed = true;
                None
            }
        }
    }

    fn list(&mut self, start: Span, depth: usize) -> Option<Node> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next() {
            if event == Event::SequenceEnd {
                let span = covering(start, items.last().map(|node: &Node| node.span), span);
                return Some(Node {
                    span,
                    kind: NodeKind::List(items),
                });
            }
            items.push(self.node(event, span, depth.saturating_add(1))?);
        }
        None
    }

    fn map(&mut self, start: Span, depth: usize) -> Option<Node> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = std::collections::HashMap::new();
        while let Some((event, span)) = self.next() {
            if event == Event::MappingEnd {
                let last = entries.last().map(|entry| entry.value.span);
                let span = covering(start, last, span);
                return Some(Node {
                    span,
                    kind: NodeKind::Map(entries),
                });
            }
            let key = self.node(event, span, depth.saturating_add(1))?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth.saturating_add(1))?;
            if let Some(key) = self.key(key, &mut seen) {
                entries.push(Entry {
                    key: key.0,
                    span: key.1,
                    value,
                });
            }
        }
        None
    }

    fn key(
        &mut self,
        node: Node,
        seen: &mut std::collections::HashMap<String, Span>,
    ) -> Option<(Scalar, Span)> {
        let span = node.span;
        let NodeKind::Scalar(scalar) = node.kind else {
            self.problems
                .push(error(self.source, "key", span, "a key must be text"));
            return None;
        };
        if scalar.plain && scalar.text == "<<" {
            let problem = error(self.source, "merge", span, "merges (`<<`) are not allowed");
            self.problems.push(problem.help("write the keys out"));
            return None;
        }
        if let Some(first) = seen.get(&scalar.text) {
            let first = Place::new(Arc::clone(self.source), *first).position().0;
            let message = format!(
                "key `{}` is defined twice; the first definition is in line {first}",
                scalar.text
            );
            self.problems
                .push(error(self.source, "duplicate-key", span, &message));
            return None;
        }
        seen.insert(scalar.text.clone(), span);
        Some((scalar, span))
    }

    fn refuse_properties(&mut self, anchor: usize, tag: Option<&Cow<'a, Tag>>, span: Span) {
        if anchor != 0 {
            let problem = error(self.source, "anchor", span, "anchors are not allowed");
            self.problems
                .push(problem.help("write the text out where it is needed"));
        }
        if let Some(tag) = tag {
            let message = format!("tags are not allowed, found `{}`", tag.original());
            let problem = error(self.source, "tag", span, &message);
            self.problems.push(problem.help("quote the text instead"));
        }
    }

    fn fail(&mut self, rule: &'static str, span: Span, message: &str) {
        self.problems.push(error(self.source, rule, span, message));
        self.failed = true;
    }
}

/// From the start of a collection to the end of what is in it.
fn covering(start: Span, last: Option<Span>, end: Span) -> Span {
    let last = last.map_or(start.end, |span| span.end);
    // The end mark of a block collection is where the next thing begins.
    let end = if end.end.saturating_sub(end.start) > 0 {
        end.end
    } else {
        last
    };
    Span {
        start: start.start,
        end: end.max(last),
    }
}

const MAX_DEPTH: usize = 32;
/// The most characters that are reported of one file.
const MOST_HIDDEN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let problems = Problems::default();
        let source = Source::new("a.yaml", "a.yaml", text.to_owned());
        parse(&source, &problems);
        let rules = Diagnostics::from(problems);
        rules.iter().map(|one| one.rule.to_owned()).collect()
    }

    /// T-76, T-78
    #[test]
    fn everything_outside_the_subset_is_refused_by_name() {
        for (text, rule) in [
            ("a: &x 1\n", "anchor"),
            ("a: &x 1\nb: *x\n", "alias"),
            ("a: {<<: {b: 1}}\n", "merge"),
            ("a: !!str 1\n", "tag"),
            ("a: !own 1\n", "tag"),
            ("a: 1\na: 2\n", "duplicate-key"),
            ("a: 1\n---\nb: 2\n", "several-documents"),
            ("\u{feff}a: 1\n", "byte-order-mark"),
            ("a: [1\n", "malformed"),
            ("a: *nowhere\n", "alias"),
            ("a: **\n", "alias"),
            ("a: [*]\n", "alias"),
            ("a: b # \u{200b}\n", "hidden-character"),
            ("a: b # c\rd: e\n", "hidden-character"),
            ("a: b\u{85}\n", "hidden-character"),
            ("%YAML 1.2\n---\na: 1\n", "malformed"),
            ("? [a]\n: 1\n", "key"),
        ] {
            assert!(
                problems(text).contains(&rule.to_owned()),
                "{text:?}: {:?}",
                problems(text)
            );
        }
        let deep = format!("a: {}{}", "[".repeat(100), "]".repeat(100));
        assert!(problems(&deep).contains(&"nested".to_owned()));
        assert_eq!(problems("a: {b: [c, 'd']}\n"), [""; 0]);
    }

    /// T-78: nothing is expanded, so a bomb is no larger than its text.
    #[test]
    fn a_billion_laughs_is_refused_without_being_expanded() {
        let mut text = "a0: &a0 [lol]\n".to_owned();
        for level in 1..60 {
            let below = level - 1;
            let line = format!("a{level}: &a{level} [*a{below}, *a{below}, *a{below}]\n");
            text.push_str(&line);
        }
        assert!(problems(&text).contains(&"alias".to_owned()));
    }
}
