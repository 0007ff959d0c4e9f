//! Where a file that is not well-formed went wrong: at the quote or the bracket that was opened, and
//! not where the parser noticed. Not: whether it is well-formed.

use std::sync::Arc;

use super::error;
use crate::yaml::diagnostic::{Diagnostic, Source, Span};

/// The error for a file that the parser gave up at byte `at`, which it explains with `said`.
pub(super) fn explain(source: &Arc<Source>, at: usize, said: &str) -> Diagnostic {
    let text = source.text();
    if let Some(word) = starred(text, at) {
        return alias(source, word);
    }
    let open = look_back(text, at);
    if let Some(quote) = open.quote {
        let span = one(quote);
        let message = "the quote that is opened here is not closed";
        return error(source, "malformed", span, message).help(QUOTE);
    }
    if let Some(quote) = open.ended.filter(|_| said.contains("after")) {
        let message =
            "the text in quotes that begins here ends too early, or its quote is one too many";
        return error(source, "malformed", one(quote), message).help(QUOTE);
    }
    if let Some(bracket) = open.bracket {
        let sign = text.get(bracket..bracket.saturating_add(1)).unwrap_or("[");
        let message = format!("the bracket `{sign}` that is opened here is not closed");
        let closing = if sign == "{" { "}" } else { "]" };
        let help = format!("close it with `{closing}`");
        return error(source, "malformed", one(bracket), &message).help(help);
    }
    let message = format!("the file is not well-formed YAML: {said}");
    error(source, "malformed", one(at), &message)
}

/// An alias, which most often was meant to be a text that begins with a star.
pub(super) fn alias(source: &Arc<Source>, span: Span) -> Diagnostic {
    let word = source.text().get(span.start..span.end).unwrap_or("*");
    let message = format!("`{word}` without quotes is an alias, and aliases are not allowed");
    let help = format!("a value that begins with `*` must be quoted: \"{word}\"");
    error(source, "alias", span, &message).help(help)
}

/// The word at that place, if it begins with a star.
fn starred(text: &str, at: usize) -> Option<Span> {
    let ends =
        |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'[' | b']' | b'{' | b'}');
    let (before, after) = text.as_bytes().split_at_checked(at)?;
    let start = before
        .iter()
        .rposition(|byte| ends(*byte))
        .map_or(0, |last| last.saturating_add(1));
    let rest = after.iter().position(|byte| ends(*byte));
    let end = rest.map_or(text.len(), |length| at.saturating_add(length));
    let word = text.get(start..end)?;
    word.starts_with('*').then_some(Span { start, end })
}

/// The quote and bracket that are open at a byte of the text.
#[derive(Default)]
struct Open {
    /// The quote of the text that the byte is in.
    quote: Option<usize>,
    /// The quote with which the last text in quotes before it began.
    ended: Option<usize>,
    bracket: Option<usize>,
}

/// Scans up to a byte. It knows comments, quotes and brackets only.
fn look_back(text: &str, at: usize) -> Open {
    let mut open = Open::default();
    let mut brackets: Vec<usize> = Vec::new();
    // Whether a value could begin here: quotes and brackets within a word mean nothing.
    let mut is_start = true;
    let mut previous = b'\n';
    let mut bytes = text.bytes().enumerate().take(at).peekable();
    while let Some((position, byte)) = bytes.next() {
        if let Some(quote) = open.quote {
            let opening = text.as_bytes().get(quote).copied();
            let is_doubled = byte == b'\'' && bytes.peek().is_some_and(|next| next.1 == b'\'');
            if byte == b'\\' && opening == Some(b'"') || is_doubled && opening == Some(b'\'') {
                bytes.next();
            } else if Some(byte) == opening {
                open.ended = open.quote.take();
                is_start = false;
            }
            previous = byte;
            continue;
        }
        match byte {
            b'#' if previous.is_ascii_whitespace() => {
                while bytes.next_if(|next| next.1 != b'\n').is_some() {}
            }
            b'"' | b'\'' if is_start => open.quote = Some(position),
            b'[' | b'{' if is_start => brackets.push(position),
            b']' | b'}' => {
                brackets.pop();
                is_start = false;
            }
            b'\n' | b',' | b':' | b'-' | b'?' => is_start = true,
            b' ' | b'\t' | b'\r' => {}
            _ => is_start = false,
        }
        previous = byte;
    }
    open.bracket = brackets.last().copied();
    open
}

const fn one(at: usize) -> Span {
    Span {
        start: at,
        end: at.saturating_add(1),
    }
}

const QUOTE: &str =
    "put a quote before and after the text; a quote within double quotes is written \\\"";
