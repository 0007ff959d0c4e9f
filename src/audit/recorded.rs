//! Reads decisions back from audit lines: for whom, what was asked, and what was decided.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::text::escape;
use crate::yaml::duration;

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
    /// Reads a line; `None` if it is another event, a denial for a reason other than the policies,
    /// or no JSON, which verification reports.
    ///
    /// # Errors
    /// The event lacks a field, or has one of another type: the end of a sentence about it.
    pub fn parse(line: &[u8]) -> Result<Option<Self>, String> {
        let parsed: Line = match serde_json::from_slice(line) {
            Ok(parsed) => parsed,
            Err(error) if error.is_data() => {
                let problem = escape(&error.to_string());
                return Err(format!("is not an event of this version: {problem}"));
            }
            Err(_) => return Ok(None),
        };
        if !matches!(parsed.event.as_str(), "intent" | "denial") {
            return Ok(None);
        }
        let time = (parsed.time.parse::<Timestamp>()).map_err(|_| "has no RFC 3339 time")?;
        let asked = parsed.asked.map(Asked::of).transpose()?;
        let outcome = if parsed.event == "intent" {
            let ttl = match (parsed.ttl, parsed.expires_at.as_deref()) {
                (Some(ttl), _) => duration::parse(&ttl).map_err(|_| "has no duration in `ttl`")?,
                (None, Some(end)) => {
                    let end = end.parse::<Timestamp>();
                    let end = end.map_err(|_| "has no RFC 3339 time in `expires_at`")?;
                    Duration::from_secs(u64::try_from(end.since(time)).unwrap_or_default())
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
            time,
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

/// The fields of all events that are read; those of other events are absent.
#[derive(Debug, Deserialize)]
struct Line {
    event: String,
    time: String,
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
