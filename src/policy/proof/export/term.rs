//! Terms of SMT-LIB 2.6 as text.

use std::fmt::Write as _;

use crate::text::escape;

/// A text as a literal: `"` is doubled, and `\` is spelled, since `\u` begins an escape.
pub(super) fn text(text: &str) -> String {
    let mut literal = String::with_capacity(text.len().saturating_add(2));
    literal.push('"');
    for character in text.chars() {
        match character {
            '"' => literal.push_str("\"\""),
            '\\' => literal.push_str("\\u{5c}"),
            ' '..='~' => literal.push(character),
            other => {
                // Writing to a string never fails.
                let _ = write!(literal, "\\u{{{:x}}}", u32::from(other));
            }
        }
    }
    literal.push('"');
    literal
}

pub(super) fn integer(number: i64) -> String {
    if number < 0 {
        format!("(- {})", number.unsigned_abs())
    } else {
        number.to_string()
    }
}

/// `(operator argument …)`.
pub(super) fn apply<T: AsRef<str>>(operator: &str, arguments: &[T]) -> String {
    let mut term = format!("({operator}");
    for argument in arguments {
        term.push(' ');
        term.push_str(argument.as_ref());
    }
    term.push(')');
    term
}

/// The operator on two or more terms; one term is itself, and `none` is the value without any.
fn fold(operator: &str, none: &str, terms: &[String]) -> String {
    match terms {
        [] => none.to_owned(),
        [one] => one.clone(),
        terms => apply(operator, terms),
    }
}

pub(super) fn all(terms: &[String]) -> String {
    fold("and", "true", terms)
}

pub(super) fn any(terms: &[String]) -> String {
    fold("or", "false", terms)
}

pub(super) fn not(term: &str) -> String {
    apply("not", &[term])
}

pub(super) fn equal(one: &str, other: &str) -> String {
    apply("=", &[one, other])
}

pub(super) fn implies(one: &str, other: &str) -> String {
    apply("=>", &[one, other])
}

/// The text is in the language.
pub(super) fn within(text: &str, language: &str) -> String {
    apply("str.in_re", &[text, language])
}

pub(super) fn union(languages: &[String]) -> String {
    fold("re.union", "re.none", languages)
}

pub(super) fn intersection(languages: &[String]) -> String {
    fold("re.inter", "re.all", languages)
}

pub(super) fn sequence(languages: &[String]) -> String {
    fold("re.++", "(str.to_re \"\")", languages)
}

pub(super) fn complement(language: &str) -> String {
    apply("re.comp", &[language])
}

/// The language of one text.
pub(super) fn word(word: &str) -> String {
    apply("str.to_re", &[text(word)])
}

/// A name in bars; `None` if it has characters that no name can have.
pub(super) fn name(name: &str) -> Option<String> {
    let fits = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'|' | b'\\');
    name.bytes().all(fits).then(|| format!("|{name}|"))
}

/// Lines of a comment. No text of a policy ends one.
pub(super) fn comment(text: &str) -> String {
    let lines = text.lines().map(|line| format!("; {}\n", escape(line)));
    lines.collect()
}

pub(super) fn declare(constant: &str, sort: &str) -> String {
    format!("(declare-const {constant} {sort})\n")
}

pub(super) fn assert(term: &str) -> String {
    format!("(assert {term})\n")
}
