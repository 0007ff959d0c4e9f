//! Makes a recorded decision again, by other policies.

use std::time::Duration;

use super::request::Request;
use crate::audit::{RecordedDecision, RecordedOutcome};
use crate::policy::PolicySet;
use crate::policy::decide::Verdict;
use crate::text::escape;
use crate::yaml::duration;

/// A decision by the other policies.
pub(super) enum Now {
    Granted {
        policy: String,
        ttl: Duration,
        scopes: Vec<String>,
        /// The event did not say what was asked: it was decided for an open request.
        is_open: bool,
    },
    Refused(String),
}

/// In a sentence.
impl std::fmt::Display for Now {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Granted {
                policy,
                ttl,
                scopes,
                ..
            } => f.write_str(&granted(policy, *ttl, scopes)),
            Self::Refused(why) => write!(f, "refused: {why}"),
        }
    }
}

pub(super) fn granted(policy: &str, ttl: Duration, scopes: &[String]) -> String {
    let scopes = match scopes.join(" ") {
        scopes if scopes.is_empty() => scopes,
        scopes => format!(", scopes {}", escape(&scopes)),
    };
    let (policy, ttl) = (escape(policy), duration::print(ttl));
    format!("granted by policy {policy} for {ttl}{scopes}")
}

/// Decides again.
///
/// # Errors
/// It cannot be decided: why, in a sentence.
pub(super) fn again(set: &PolicySet, decision: &RecordedDecision) -> Result<Now, String> {
    let Some(reader) = set.reader_by_url(&decision.issuer) else {
        return Ok(Now::Refused("the issuer is not trusted".to_owned()));
    };
    let job = reader.recorded(&decision.job, &decision.claims)?;
    let request = Request::of(decision)?;
    let (credential, at) = (&decision.credential, decision.time);
    if let Some(problem) = set.undecided_by(&job, credential, at) {
        return Err(problem);
    }
    let explained = set.explain_nearest(&job.facts, &request.ask, at);
    let (policy, ttl, scopes) = match explained.verdict {
        Verdict::Permitted {
            policy,
            ttl,
            scopes,
        } => (policy, ttl, scopes),
        Verdict::Denied(cause) => {
            let nearest = set.nearest(&job.facts, credential, at);
            let lines = nearest.first().map(|one| {
                let mut names: Vec<_> = one.failed.iter().map(|line| line.name.as_str()).collect();
                names.dedup();
                names.join(", ")
            });
            let lines = lines.filter(|lines| !lines.is_empty());
            let lines = lines.map(|lines| format!(" ({lines})")).unwrap_or_default();
            return Ok(Now::Refused(format!("{}{lines}", cause.sentence())));
        }
    };
    let was_granted = matches!(decision.outcome, RecordedOutcome::Granted { .. });
    if !request.is_whole && !was_granted {
        return Err("the event does not record the requested life and scopes".to_owned());
    }
    if request.has_inputs {
        if let Err(error) = set.check_inputs(&request.ask) {
            return Ok(Now::Refused(error.to_string()));
        }
    } else if set.bounds_inputs(credential) {
        return Err("the event does not record the inputs of the request".to_owned());
    }
    Ok(Now::Granted {
        policy,
        ttl,
        scopes,
        is_open: !request.is_whole,
    })
}
