//! A job described by a file: the claims of its token, or the token itself. Nothing is verified.

use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;

use super::inputs::read_input;
use super::{Failure, Terminal};
use crate::policy::PolicySet;
use crate::provider::{self, Facts, PROVIDERS, Provider, Reader};
use crate::text::escape;
use crate::token::SubjectToken;
use crate::token::json::{self as strict, Object, Value};

/// The file that describes a job; `-` is standard input.
#[derive(Clone, Copy)]
pub(super) enum JobFile<'a> {
    Claims(&'a Path),
    Token(&'a Path),
}

impl<'a> JobFile<'a> {
    /// The one of both options that was given.
    pub(super) fn of(
        claims: Option<&'a PathBuf>,
        token: Option<&'a PathBuf>,
    ) -> Result<Self, Failure> {
        let claims = claims.map(|path| Self::Claims(path));
        claims
            .or_else(|| token.map(|path| Self::Token(path)))
            .ok_or_else(|| Failure::Usage(JOB_WANTED.to_owned()))
    }

    /// The job's facts, read as a broker with these policies reads them.
    pub(super) fn facts(self, set: &PolicySet, out: &mut Terminal) -> Result<Facts, Failure> {
        facts(set, self.claims(out)?)
    }

    /// The job's facts, read as a token of the CI that its claims show.
    pub(super) fn facts_by_claims(self, out: &mut Terminal) -> Result<Facts, Failure> {
        let claims = self.claims(out)?;
        let issuer = issuer(&claims)?;
        let provider = provider_of(&claims, &issuer).ok_or_else(|| {
            Failure::Usage(format!(
                "issuer `{}` is of no CI that hallpass recognises; describe the job with `--github` or `--gitlab`",
                escape(&issuer)
            ))
        })?;
        let facts = Reader::usual(provider, &issuer).facts(claims);
        facts.map_err(|error| Failure::Local(error.to_string()))
    }

    fn claims(self, out: &mut Terminal) -> Result<Object, Failure> {
        let (path, bytes) = match self {
            Self::Claims(path) => {
                let bytes = read(path)?;
                let is_json = bytes.trim_ascii_start().starts_with(b"{");
                if !is_json && payload(path, &bytes).is_ok() {
                    return Err(Failure::Usage(format!(
                        "`{}` holds a token, expected its claims as JSON; use `--token`",
                        escape(&path.to_string_lossy())
                    )));
                }
                (path, bytes)
            }
            Self::Token(path) => {
                let claims = payload(path, &read(path)?)?;
                out.error_report(NOT_VERIFIED);
                (path, claims)
            }
        };
        parse(path, &bytes)
    }
}

/// The note about a token whose claims are read as they are.
pub(super) const NOT_VERIFIED: &str = "The token was only decoded: its signature, issuer, audience and times were not checked. Anyone can write such a token.";

/// A token that is not verified yet.
pub(super) struct UnverifiedToken {
    pub(super) token: SubjectToken,
    claims: Object,
    /// The `iss` that it claims, or the URL of its trust domain's issuer.
    pub(super) issuer: String,
}

impl UnverifiedToken {
    pub(super) fn read(path: &Path, set: &PolicySet) -> Result<Self, Failure> {
        let bytes = read(path)?;
        let claims = parse(path, &payload(path, &bytes)?)?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        Ok(Self {
            token: SubjectToken::new(text),
            issuer: issuer_in(set, &claims)?,
            claims,
        })
    }

    /// The facts that it claims.
    pub(super) fn facts(self, set: &PolicySet) -> Result<Facts, Failure> {
        facts(set, self.claims)
    }
}

fn parse(path: &Path, claims: &[u8]) -> Result<Object, Failure> {
    strict::parse_object(claims, &strict::Limits::default())
        .map_err(|error| Failure::Local(format!("`{}`: {error}", path.display())))
}

/// Refuses a token where something else is expected, without a copy of it.
///
/// # Errors
/// It looks like a token: exit code 2.
pub(super) fn refuse_token(text: &str) -> Result<(), Failure> {
    let mut parts = text
        .split('.')
        .map(|part| BASE64URL_NOPAD.decode(part.as_bytes()));
    let is_token = matches!(
        (parts.next(), parts.next(), parts.next(), parts.next()),
        (Some(Ok(head)), Some(Ok(_)), Some(Ok(_)), None) if head.starts_with(b"{")
    );
    if is_token {
        return Err(Failure::Usage(
            "a token is on the command line, where other users of this machine can read it; write it to a file, or pass it on standard input as `-`".to_owned(),
        ));
    }
    Ok(())
}

/// Each command has both options, one of them under another name too.
const JOB_WANTED: &str = "which job? Give a file with its claims by `--claims FILE`, or with its token by `--token FILE`; `-` reads standard input";

/// The provider whose usual issuer it is, or by claims that only one CI's tokens have.
pub(super) fn provider_of(claims: &Object, issuer: &str) -> Option<&'static Provider> {
    let has = |claim: &str| claims.get(claim).is_some();
    let by_claims = || match () {
        () if has("workflow_ref") => provider::find("github"),
        () if has("pipeline_source") => provider::find("gitlab"),
        () => None,
    };
    let mut usual = PROVIDERS.iter().copied();
    usual
        .find(|provider| provider.usual_issuer == Some(issuer))
        .or_else(by_claims)
}

fn issuer(claims: &Object) -> Result<String, Failure> {
    match claims.get("iss") {
        Some(Value::Text(url)) => Ok(url.clone()),
        Some(_) | None => Err(Failure::Local("the claims have no `iss`".to_owned())),
    }
}

/// The issuer's URL: SPIFFE tokens name a trust domain instead.
fn issuer_in(set: &PolicySet, claims: &Object) -> Result<String, Failure> {
    match set.reader_by_trust_domain(claims) {
        Some(reader) => Ok(reader.issuer.url.clone()),
        None => issuer(claims),
    }
}

fn facts(set: &PolicySet, claims: Object) -> Result<Facts, Failure> {
    let url = issuer_in(set, &claims)?;
    let dev = reader_of_dev(set, &url);
    dev.map_or_else(|| trusted(set, &url), Ok)?
        .facts(claims)
        .map_err(|error| Failure::Denied(error.to_string()))
}

/// The reader of an issuer's tokens.
///
/// # Errors
/// The policies do not trust it: exit code 1.
pub(super) fn trusted<'a>(set: &'a PolicySet, url: &str) -> Result<&'a Reader, Failure> {
    set.reader_by_url(url).ok_or_else(|| {
        let known: Vec<_> = set
            .readers()
            .iter()
            .map(|reader| format!("`{}`", reader.issuer.url))
            .collect();
        Failure::Denied(format!(
            "issuer `{}` is not trusted; the policies trust {}",
            escape(url),
            known.join(", ")
        ))
    })
}

/// A token of `hallpass dev` is read as what its broker takes it for: one of the issuer that the CI
/// stands for.
#[cfg(feature = "dev")]
fn reader_of_dev<'a>(set: &'a PolicySet, url: &str) -> Option<&'a Reader> {
    let name = crate::cli::dev::issuer_at(url)?;
    set.readers()
        .iter()
        .find(|reader| reader.issuer.name == name)
}

/// Whether it is the URL of an issuer of a running `hallpass dev`.
#[cfg(feature = "dev")]
pub(super) fn is_of_dev(url: &str) -> bool {
    crate::cli::dev::issuer_at(url).is_some()
}

#[cfg(not(feature = "dev"))]
pub(super) const fn is_of_dev(_: &str) -> bool {
    false
}

#[cfg(not(feature = "dev"))]
const fn reader_of_dev<'a>(_: &'a PolicySet, _: &str) -> Option<&'a Reader> {
    None
}

/// The claims of a token, with nothing verified.
fn payload(path: &Path, token: &[u8]) -> Result<Vec<u8>, Failure> {
    let text = String::from_utf8_lossy(token);
    let mut parts = text.trim().split('.');
    let (Some(_), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::Local(format!(
            "`{}` does not hold a signed token: three parts with dots between",
            path.display()
        )));
    };
    BASE64URL_NOPAD.decode(payload.as_bytes()).map_err(|_| {
        Failure::Local(format!(
            "the claims in `{}` are not base64url",
            path.display()
        ))
    })
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    refuse_token(&path.to_string_lossy())?;
    read_input(path, MAX_INPUT, PATIENCE)
}

/// The most that is read of a file, in bytes.
const MAX_INPUT: u64 = 64 * 1_024;
/// For a pipe whose writer does not end.
const PATIENCE: Duration = Duration::from_secs(60);
