//! Reads CSV tables (RFC 4180) with the position of each row. Not: what the columns mean.

use std::iter::Peekable;
use std::str::CharIndices;

use crate::yaml::diagnostic::Span;

/// A record: its fields, and its position.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) fields: Vec<String>,
    pub(super) span: Span,
}

/// The records of a text, the header among them. Nothing is trimmed, and every field is text.
///
/// # Errors
/// The first problem, with its position.
pub(super) fn read(text: &str) -> Result<Vec<Record>, (Span, String)> {
    let mut reader = Reader {
        text,
        characters: text.char_indices().peekable(),
    };
    let mut records = Vec::new();
    while let Some((start, _)) = reader.characters.peek().copied() {
        records.push(reader.record(start)?);
    }
    Ok(records)
}

struct Reader<'a> {
    text: &'a str,
    characters: Peekable<CharIndices<'a>>,
}

impl Reader<'_> {
    /// A record, with its line end.
    fn record(&mut self, start: usize) -> Result<Record, (Span, String)> {
        let mut fields = Vec::new();
        loop {
            fields.push(self.field()?);
            let (at, next) = match self.characters.next() {
                None => (self.text.len(), '\n'),
                Some((at, '\r')) if self.characters.next_if(|next| next.1 == '\n').is_some() => {
                    (at, '\n')
                }
                Some(next) => next,
            };
            match next {
                ',' => {}
                '\n' => {
                    let span = Span { start, end: at };
                    return Ok(Record { fields, span });
                }
                '\r' => {
                    let message = "a carriage return without a line feed".to_owned();
                    return Err((one(at), message));
                }
                other => {
                    let message = format!("`{}` after a closing quote", other.escape_default());
                    return Err((one(at), message));
                }
            }
        }
    }

    fn field(&mut self) -> Result<String, (Span, String)> {
        let mut field = String::new();
        let Some((start, _)) = self.characters.next_if(|next| next.1 == '"') else {
            while let Some((at, next)) = self.characters.next_if(|(_, next)| !ends_field(*next)) {
                if next == '"' {
                    let message = "a quote within a field that does not begin with one";
                    return Err((one(at), message.to_owned()));
                }
                field.push(next);
            }
            return Ok(field);
        };
        while let Some((_, next)) = self.characters.next() {
            if next == '"' && self.characters.next_if(|after| after.1 == '"').is_none() {
                return Ok(field);
            }
            field.push(next);
        }
        Err((
            one(start),
            "the quote that is opened here is not closed".to_owned(),
        ))
    }
}

const fn ends_field(character: char) -> bool {
    matches!(character, ',' | '\n' | '\r')
}

const fn one(at: usize) -> Span {
    Span {
        start: at,
        end: at.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Vec<Vec<String>>, String> {
        let records = read(text).map_err(|(span, problem)| format!("{}: {problem}", span.start))?;
        Ok(records.into_iter().map(|record| record.fields).collect())
    }

    #[test]
    fn records_are_read_as_the_rfc_writes_them() {
        for (text, expected) in [
            ("a,b\n1,2\n", vec![vec!["a", "b"], vec!["1", "2"]]),
            ("a,b\r\n1,2", vec![vec!["a", "b"], vec!["1", "2"]]),
            ("\"a,b\",\"c\"\"d\"\n", vec![vec!["a,b", "c\"d"]]),
            ("\"a\nb\",\n", vec![vec!["a\nb", ""]]),
            (" a , b\n", vec![vec![" a ", " b"]]),
            ("a\n\nb\n", vec![vec!["a"], vec![""], vec!["b"]]),
        ] {
            assert_eq!(fields(text).unwrap(), expected, "{text:?}");
        }
        assert_eq!(fields("").unwrap(), Vec::<Vec<String>>::new());
    }

    #[test]
    fn misplaced_quotes_are_errors_at_their_position() {
        for (text, expected) in [
            ("a,\"b", "2: the quote that is opened here is not closed"),
            (
                "a,b\"c\n",
                "3: a quote within a field that does not begin with one",
            ),
            ("\"a\"b\n", "3: `b` after a closing quote"),
            ("a\rb\n", "1: a carriage return without a line feed"),
        ] {
            assert_eq!(fields(text).unwrap_err(), expected, "{text:?}");
        }
    }
}
