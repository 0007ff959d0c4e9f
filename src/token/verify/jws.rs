//! Splits and decodes a compact JWS strictly. Verifies nothing.

use data_encoding::BASE64URL_NOPAD;

use super::error::{TokenPart, VerifyError};
use crate::text::all_bytes;
use crate::token::json::{self, Object, Value};
use crate::token::{Algorithm, keys};

/// The parts of a token. Only their form is checked.
#[expect(
    clippy::struct_field_names,
    reason = "the name says that the part is unverified"
)]
pub(super) struct UnverifiedToken<'a> {
    /// `alg`, from the closed list.
    pub(super) unverified_algorithm: Algorithm,
    /// `kid`, of 1 to 256 bytes.
    pub(super) unverified_kid: Option<String>,
    /// What is signed: the text up to the second dot, as received.
    pub(super) unverified_signing_input: &'a str,
    /// The second part, decoded.
    pub(super) unverified_payload: Vec<u8>,
    pub(super) unverified_signature: Vec<u8>,
    unverified_header: Object,
}

impl<'a> UnverifiedToken<'a> {
    /// A token of the usual size.
    pub(super) fn parse(text: &'a str) -> Result<Self, VerifyError> {
        Self::parse_up_to(text, LONGEST_TOKEN)
    }

    /// Size, shape, encoding and header rules, in that order. Bounded before anything is split,
    /// decoded or copied (T-01).
    pub(super) fn parse_up_to(text: &'a str, most: usize) -> Result<Self, VerifyError> {
        if text.len() > most {
            return Err(VerifyError::Size { most });
        }
        let [header, payload, signature] = split(text)?;
        let unverified_signing_input = text
            .get(..text.len().saturating_sub(signature.len()).saturating_sub(1))
            .ok_or(VerifyError::Shape)?;
        let header = parse_header(&decode(header)?)?;
        Ok(Self {
            unverified_algorithm: algorithm(&header)?,
            unverified_kid: kid(&header)?,
            unverified_signing_input,
            unverified_payload: decode(payload)?,
            unverified_signature: decode(signature)?,
            unverified_header: header,
        })
    }

    /// Whether `typ` is exactly that.
    pub(super) fn has_type(&self, wanted: &str) -> bool {
        let found = self.unverified_header.get("typ").and_then(Value::as_text);
        found == Some(wanted) && self.unverified_header.get("cty").is_none()
    }

    /// T-22: an access, logout or nested token of the right issuer is not an ID token.
    pub(super) fn check_type(&self, token_types: &[String]) -> Result<(), VerifyError> {
        if self.unverified_header.get("cty").is_some() {
            return Err(VerifyError::Type);
        }
        match self.unverified_header.get("typ") {
            None => Ok(()),
            Some(Value::Text(found)) => token_types
                .iter()
                .any(|allowed| is_same_type(found, allowed))
                .then_some(())
                .ok_or(VerifyError::Type),
            Some(_) => Err(VerifyError::Type),
        }
    }
}

/// RFC 7515 section 4.1.9: media types, compared without case, `application/` may be left out.
fn is_same_type(one: &str, other: &str) -> bool {
    fn bare(text: &str) -> &str {
        match text.split_at_checked(APPLICATION.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(APPLICATION) => rest,
            Some(_) | None => text,
        }
    }
    bare(one).eq_ignore_ascii_case(bare(other))
}

/// Exactly three parts, none empty (T-13). At most four are ever made.
fn split(text: &str) -> Result<[&str; 3], VerifyError> {
    if !all_bytes(text.as_bytes(), is_token_byte)
        && let Some(byte) = text.bytes().find(|byte| !is_token_byte(*byte))
    {
        // Another spelling of a token is T-14; anything else is not a token.
        return Err(match byte {
            b'=' | b'+' | b'/' | b' ' | b'\t' | b'\r' | b'\n' => VerifyError::Encoding,
            _ => VerifyError::Shape,
        });
    }
    let mut parts = text.splitn(4, '.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(payload), Some(signature), None)
            if !header.is_empty() && !payload.is_empty() && !signature.is_empty() =>
        {
            Ok([header, payload, signature])
        }
        _ => Err(VerifyError::Shape),
    }
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Canonical only: the decoder rejects padding and unused bits (RFC 4648 section 3.5), so encoding
/// the result gives the same text.
fn decode(part: &str) -> Result<Vec<u8>, VerifyError> {
    BASE64URL_NOPAD
        .decode(part.as_bytes())
        .map_err(|_| VerifyError::Encoding)
}

fn parse_header(bytes: &[u8]) -> Result<Object, VerifyError> {
    let header =
        json::parse_object(bytes, &json::Limits::for_bytes(LONGEST_HEADER)).map_err(|problem| {
            VerifyError::Json {
                part: TokenPart::Header,
                problem,
            }
        })?;
    match FORBIDDEN_MEMBERS
        .into_iter()
        .find(|name| header.get(name).is_some())
    {
        Some(member) => Err(VerifyError::Header { member }),
        None => Ok(header),
    }
}

fn algorithm(header: &Object) -> Result<Algorithm, VerifyError> {
    header
        .get("alg")
        .and_then(Value::as_text)
        .and_then(Algorithm::from_name)
        .ok_or(VerifyError::Algorithm)
}

fn kid(header: &Object) -> Result<Option<String>, VerifyError> {
    match header.get("kid") {
        None => Ok(None),
        Some(Value::Text(kid)) if keys::is_kid(kid) => Ok(Some(kid.clone())),
        Some(_) => Err(VerifyError::Key),
    }
}

/// Extensions we do not have (T-19), keys a token brings along (T-21), parts of encryption (T-23).
const FORBIDDEN_MEMBERS: [&str; 15] = [
    "crit", "b64", "jwk", "jku", "x5u", "x5c", "enc", "zip", "epk", "p2c", "p2s", "apu", "apv",
    "iv", "tag",
];
const APPLICATION: &str = "application/";
/// The longest subject token, in bytes (T-01).
pub(super) const LONGEST_TOKEN: usize = 16 * 1_024;
/// The longest decoded header, in bytes (T-16).
const LONGEST_HEADER: usize = 4 * 1_024;
