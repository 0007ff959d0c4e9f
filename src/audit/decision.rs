//! Reads a line of an audit log back: which event it is, and of a decision for whom, what was asked,
//! and what was decided.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::text::escape;
use crate::yaml::duration;

/// A line, and what every event has.
#[derive(Debug, Deserialize)]
pub struct RecordedLine<'a> {
    v: u32,
    #[serde(borrow)]
    time: Cow<'a, str>,
    /// The name of the replica.
    #[serde(borrow, default)]
    pub chain: Cow<'a, str>,
    /// The start of the broker.
    #[serde(borrow)]
    pub boot: Cow<'a, str>,
    /// The number of the line since that start.
    pub seq: u64,
    /// The hash of the line before.
    #[serde(borrow)]
    pub prev: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(skip)]
    text: &'a [u8],
}

/// What an event says of policies.
#[derive(Debug)]
pub enum Said {
    /// A grant, or a denial by the policies.
    Decision(Box<RecordedDecision>),
    /// Policies of this revision are in use from now on.
    Policies { revision: String },
    /// Nothing.
    Other,
}

impl<'a> RecordedLine<'a> {
    /// Reads what every event has.
    ///
    /// # Errors
    /// It is no event of this version: the end of a sentence about the line.
    pub fn parse(text: &'a [u8]) -> Result<Self, String> {
        let head: Self = parse(text)?;
        if head.v != 1 {
            return Err(format!("has version {}, expected 1", head.v));
        }
        Ok(Self { text, ..head })
    }

    /// When it was written.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn at(&self) -> Result<Timestamp, String> {
        time(&self.time)
    }

    /// Reads the rest of the event.
    ///
    /// # Errors
    /// The event lacks a field, or has one of another type: the end of a sentence about the line.
    pub fn said(&self) -> Result<Said, String> {
        match &*self.event {
            "intent" | "denial" => {
                let decision = RecordedDecision::parse(self.at()?, self.text)?;
                Ok(decision.map_or(Said::Other, |one| Said::Decision(Box::new(one))))
            }
            "policies" => {
                let PoliciesLine { revision } = parse(self.text)?;
                Ok(Said::Policies { revision })
            }
            _ => Ok(Said::Other),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| {
        format!(
            "is not an event of an audit log ({})",
            escape(&error.to_string())
        )
    })
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| format!("has the time `{}`, expected RFC 3339", escape(text)))
}

/// A decision by the policies, as its event describes it. Not verified: see
/// [`Verification`](super::verify::Verification).
#[derive(Clone, Debug)]
pub struct RecordedDecision {
    pub time: Timestamp,
    pub request_id: String,
    /// The ID of the intent, if it was granted.
    pub intent: Option<String>,
    /// The `iss` claim.
    pub issuer: String,
    pub job: Map<String, Value>,
    /// Raw claims by JSON pointer.
    pub claims: Map<String, Value>,
    pub credential: String,
    /// What the request named; `None` in lines of earlier versions.
    pub asked: Option<Asked>,
    pub inputs: Map<String, Value>,
    /// The hash of the policies that decided.
    pub revision: String,
    pub outcome: RecordedOutcome,
}

/// The scopes and the life that a request named.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// `Err`: there were more than an event keeps, or some that the credential did not have.
    pub scopes: Option<Result<Vec<String>, TooMany>>,
    pub ttl: Option<Duration>,
}

/// The list of scopes is not complete.
#[derive(Clone, Copy, Debug)]
pub struct TooMany;

#[derive(Clone, Debug)]
pub enum RecordedOutcome {
    Granted {
        policy: String,
        scopes: Vec<String>,
        /// The granted life. In lines of earlier versions up to some seconds less.
        ttl: Duration,
    },
    Denied {
        /// Our code, e.g. `policy.conditions`.
        reason: String,
        decision: String,
    },
}

impl RecordedDecision {
    fn parse(at: Timestamp, line: &[u8]) -> Result<Option<Self>, String> {
        let parsed: Line = parse(line)?;
        let is_intent = parsed.is_intent()?;
        let asked = parsed.asked.map(Asked::of).transpose()?;
        let outcome = if is_intent {
            let ttl = match (parsed.ttl, parsed.expires_at.as_deref()) {
                (Some(ttl), _) => duration::parse(&ttl).map_err(|_| "has no duration in `ttl`")?,
                (None, Some(end)) => {
                    let end = time(end)?;
                    Duration::from_secs(u64::try_from(end.since(at)).unwrap_or_default())
                }
                (None, None) => return Err("has no `expires_at`".to_owned()),
            };
            RecordedOutcome::Granted {
                policy: parsed.policy.ok_or("has no `policy`")?,
                scopes: parsed.scopes.unwrap_or_default(),
                ttl,
            }
        } else {
            let reason = parsed.reason.unwrap_or_default();
            let is_ours = reason.starts_with("policy.") && !parsed.credential.is_empty();
            if !is_ours || parsed.job.is_empty() {
                return Ok(None);
            }
            RecordedOutcome::Denied {
                reason,
                decision: parsed.decision.unwrap_or_default(),
            }
        };
        Ok(Some(Self {
            time: at,
            request_id: parsed.request_id,
            intent: parsed.intent,
            issuer: parsed.issuer,
            job: parsed.job,
            claims: parsed.claims,
            credential: parsed.credential,
            asked,
            inputs: parsed.inputs,
            revision: parsed.revision,
            outcome,
        }))
    }
}

impl Asked {
    fn of(line: AskedLine) -> Result<Self, String> {
        let ttl = line.ttl.as_deref().map(duration::parse).transpose();
        Ok(Self {
            scopes: line.scopes.map(|list| {
                if list.first.len() == list.total {
                    Ok(list.first)
                } else {
                    Err(TooMany)
                }
            }),
            ttl: ttl.map_err(|_| "has no duration in `asked.ttl`")?,
        })
    }
}

#[derive(Debug, Deserialize)]
struct PoliciesLine {
    revision: String,
}

/// The fields of both events; those of the other one are absent.
#[derive(Debug, Deserialize)]
struct Line {
    event: String,
    #[serde(default)]
    request_id: String,
    intent: Option<String>,
    #[serde(default)]
    issuer: String,
    #[serde(default)]
    job: Map<String, Value>,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    credential: String,
    asked: Option<AskedLine>,
    #[serde(default)]
    inputs: Map<String, Value>,
    #[serde(default)]
    revision: String,
    policy: Option<String>,
    scopes: Option<Vec<String>>,
    ttl: Option<String>,
    expires_at: Option<String>,
    reason: Option<String>,
    decision: Option<String>,
}

impl Line {
    /// Whether it is a grant, which has more fields than a denial.
    fn is_intent(&self) -> Result<bool, String> {
        if self.event != "intent" {
            return Ok(false);
        }
        for (field, value) in [("issuer", &self.issuer), ("credential", &self.credential)] {
            if value.is_empty() {
                return Err(format!("has no `{field}`"));
            }
        }
        Ok(true)
    }
}

#[derive(Debug, Deserialize)]
struct AskedLine {
    scopes: Option<ListLine>,
    ttl: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ListLine {
    first: Vec<String>,
    total: usize,
}
