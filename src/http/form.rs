//! One form body, read strictly: no parameter twice, no byte replaced, nothing guessed.
//!
//! A general form decoder replaces what is not UTF-8 and lets the first or the last of two values
//! win; two readers of one request can then see two requests (RFC 6749 section 3.2, T-05, T-07).

use std::sync::Arc;

use axum::extract::{FromRequest, Request};

use super::request::{self, RequestError};
use super::{Shared, body};
use crate::credential::{kind, sealed};
use crate::text::{all_bytes, is_printable};

/// The parameters of an `application/x-www-form-urlencoded` body, decoded.
///
/// A parameter without a value counts as not sent (RFC 6749 section 3.2), but still as present
/// when it is looked for twice. No `Debug`: a value may be a token.
pub struct Form {
    fields: Vec<(String, String)>,
}

impl FromRequest<Arc<Shared>> for Form {
    type Rejection = RequestError;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, RequestError> {
        let (parts, body) = request.into_parts();
        request::no_query(&parts)?;
        request::media_type(&parts.headers, "application/x-www-form-urlencoded")?;
        let bytes = body::read(body, shared.limits.body).await?;
        Self::parse(&bytes)
    }
}

impl Form {
    /// Reads a body. Only `&` separates; `+` and `%20` are a space.
    ///
    /// # Errors
    /// An incomplete or invalid escape, text that is not UTF-8, a raw byte outside ASCII, or more
    /// than 64 parameters.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let unreadable = |parameter| RequestError::Encoding { parameter };
        let text = std::str::from_utf8(body).map_err(|_| unreadable(None))?;
        let mut fields = Vec::new();
        for piece in text.split('&') {
            if piece.is_empty() {
                continue;
            }
            if fields.len() >= MAX_PARAMETERS {
                return Err(RequestError::Parameters);
            }
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            let name = decode(name).ok_or_else(|| unreadable(None))?;
            let value = decode(value).ok_or_else(|| unreadable(known(&name)))?;
            fields.push((name, value));
        }
        Ok(Self { fields })
    }

    /// The one value of `name`: printable ASCII, or `None` when it was not sent.
    ///
    /// # Errors
    /// It was sent twice, or holds a character that may not stand in it.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, RequestError> {
        let mut values = self.values(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(RequestError::Repeated { parameter: name });
        }
        match first {
            None | Some("") => Ok(None),
            Some(text) if is_printable(text) => Ok(Some(text)),
            Some(_) => Err(RequestError::Encoding {
                parameter: Some(name),
            }),
        }
    }

    /// The one value of `name`.
    ///
    /// # Errors
    /// As [`one`](Self::one), and when it was not sent.
    pub fn required(&self, name: &'static str) -> Result<&str, RequestError> {
        self.one(name)?
            .ok_or(RequestError::Missing { parameter: name })
    }

    /// Every value of a parameter that may repeat, as sent. An empty one counts as not sent
    /// (RFC 6749 section 3.1).
    ///
    /// # Errors
    /// One of them holds a character that may not stand in it.
    pub fn all(&self, name: &'static str) -> Result<Vec<&str>, RequestError> {
        let values = self.values(name).filter(|text| !text.is_empty());
        let values: Vec<&str> = values.collect();
        if values.iter().all(|text| is_printable(text)) {
            Ok(values)
        } else {
            Err(RequestError::Encoding {
                parameter: Some(name),
            })
        }
    }

    /// How many parameters there were that no name of ours fits: ignored (RFC 6749 section 3.2),
    /// and counted.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.fields
            .iter()
            .filter(|(name, _)| known(name).is_none())
            .count()
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A parameter's name as an error may repeat it: only names of our own list are repeated, so that
/// no text of a stranger gets into an answer.
fn known(name: &str) -> Option<&'static str> {
    let mut parameters = PARAMETERS.iter().copied();
    parameters
        .find(|known| *known == name)
        .or_else(|| kind::input(name).map(|input| input.name))
}

fn decode(text: &str) -> Option<String> {
    // Without `%` and `+`.
    let is_itself = |byte| matches!(byte, b'!'..=b'$' | b'&'..=b'*' | b','..=b'~');
    if all_bytes(text.as_bytes(), is_itself) {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let high = hex(bytes.next()?)?;
                let low = hex(bytes.next()?)?;
                out.push(high << 4 | low);
            }
            b'!'..=b'~' => out.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(out).ok()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// More than any request of ours needs, and few enough to look through one by one.
const MAX_PARAMETERS: usize = 64;

/// Every parameter we read or refuse.
const PARAMETERS: [&str; 14] = [
    "grant_type",
    "subject_token",
    "subject_token_type",
    "requested_token_type",
    "actor_token",
    "actor_token_type",
    "audience",
    "resource",
    "scope",
    "ttl",
    sealed::PARAMETER,
    "token",
    "token_type_hint",
    "client_id",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error<T>(result: Result<T, RequestError>) -> String {
        result.err().map(|error| error.to_string()).unwrap()
    }

    /// T-05
    #[test]
    fn a_parameter_sent_twice_is_refused_however_it_is_spelled() {
        for body in [
            "scope=a&scope=a",
            "scope=a&scope=b",
            "scope=a&s%63ope=a",
            "scope=&scope=a",
            "scope&scope=a",
        ] {
            let form = Form::parse(body.as_bytes()).unwrap();
            assert_eq!(
                error(form.one("scope")),
                "parameter `scope` was sent more than once",
                "{body}"
            );
        }
    }

    /// T-07
    #[test]
    fn bytes_that_are_not_utf_8_are_refused_and_not_replaced() {
        for body in [
            &b"scope=%ff"[..],
            b"scope=%c3",
            b"scope=\xff",
            b"scope=\xc3\xa4",
            b"scope=%",
            b"scope=%4",
            b"scope=%zz",
            b"scope=a b",
            b"scope=a\nb",
            b"%ff=a",
        ] {
            assert!(Form::parse(body).is_err(), "{body:?}");
        }
    }

    /// T-07
    #[test]
    fn control_characters_and_replacement_characters_are_refused() {
        for value in [
            "%00",
            "%0a",
            "%0d",
            "%7f",
            "%ef%bf%bd",
            "%c3%a4",
            "%e2%80%ae",
        ] {
            let body = format!("scope=a{value}&audience=b{value}");
            let form = Form::parse(body.as_bytes()).unwrap();
            assert_eq!(
                error(form.one("scope")),
                "parameter `scope` has characters that are not printable ASCII"
            );
            assert!(form.all("audience").is_err());
        }
    }

    /// T-07
    #[test]
    fn a_semicolon_does_not_separate() {
        let form = Form::parse(b"scope=a;audience=b").unwrap();
        assert_eq!(form.one("scope").unwrap(), Some("a;audience=b"));
        assert_eq!(form.all("audience").unwrap(), Vec::<&str>::new());
    }

    #[test]
    fn an_empty_value_counts_as_not_sent() {
        let form = Form::parse(b"scope=&&=&ttl").unwrap();
        assert_eq!(form.one("scope").unwrap(), None);
        assert_eq!(error(form.required("ttl")), "parameter `ttl` is missing");
        let form = Form::parse(b"audience=&audience=a&audience&resource=").unwrap();
        assert_eq!(form.all("audience").unwrap(), ["a"]);
        assert_eq!(form.all("resource").unwrap(), Vec::<&str>::new());
    }

    /// T-06
    #[test]
    fn unknown_parameters_are_counted() {
        let form = Form::parse(b"scope=a&colour=red&colour=blue").unwrap();
        assert_eq!(form.unknown(), 2);
    }

    /// T-01
    #[test]
    fn parameters_without_end_are_refused() {
        let body = "a=b&".repeat(65);
        assert!(Form::parse(body.as_bytes()).is_err());
    }

    proptest! {
        /// T-07
        #[test]
        fn what_is_accepted_survives_encoding_and_decoding(text in "[ -~]{1,64}") {
            let encoded: Vec<_> = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let encoded = encoded.concat();
            let form = Form::parse(format!("scope={encoded}").as_bytes()).unwrap();
            prop_assert_eq!(form.one("scope").unwrap(), Some(text.as_str()));
        }

        /// T-94
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            if let Ok(form) = Form::parse(&body) {
                let _ = form.one("scope");
                let _ = form.all("audience");
            }
        }
    }
}
