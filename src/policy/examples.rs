//! Policy tests: jobs, and the decision that each must get. Files end in `.test.yaml` and are never
//! served.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::{Ask, PolicySet};
use crate::clock::Timestamp;
use crate::policy::decide::{Cause, Verdict};
use crate::provider::{Fact, Facts};
use crate::text::escape;
use crate::yaml::diagnostic::Place;
use crate::yaml::duration;

mod change;
mod coverage;
mod files;
mod job;
mod lines;
mod read;
mod record;
mod sample;

pub use change::smallest_change;
pub use coverage::{Coverage, Share, Uncovered};
pub use files::{TestFile, test_files, test_files_of_texts};
pub use job::job_of_text;
pub use lines::{Line, LineKind, LineOutcome, Remark, describe, prove};
pub use record::{Recorded, record};
pub(crate) use sample::{sample_names, usual_texts, value_for};

/// An entry of `tests:`.
#[derive(Clone, Debug)]
pub struct Example {
    pub name: String,
    /// The position of the name.
    pub place: Place,
    pub job: Facts,
    pub ask: Ask,
    pub expected: Expected,
    /// The time of the decision, if the test gives it.
    pub at: Option<Timestamp>,
}

/// The decision that a test expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Granted by this policy; lifetime and scopes are compared if they are given.
    Gets {
        policy: String,
        ttl: Option<Duration>,
        scopes: Option<Vec<String>>,
    },
    /// Refused for exactly these reasons.
    Refused(BTreeSet<Because>),
}

/// A reason for a refusal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Because {
    /// A line of the nearest policy: a fact, the pointer of a claim, or `until`.
    Line(String),
    /// The job belongs to no tenant.
    Tenant,
    /// No policy of the job's issuer grants the credential, or there is none of that name.
    Credential,
    /// A requirement, by name.
    Requirement(String),
    Ttl,
    Scopes,
    Inputs,
}

/// As in a test file.
impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(name) => f.write_str(&crate::yaml::scalar::scalar(name)),
            Self::Tenant => f.write_str("tenant"),
            Self::Credential => f.write_str("credential"),
            Self::Requirement(name) => {
                write!(
                    f,
                    "{{ requirement: {} }}",
                    crate::yaml::scalar::scalar(name)
                )
            }
            Self::Ttl => f.write_str("ttl"),
            Self::Scopes => f.write_str("scopes"),
            Self::Inputs => f.write_str("inputs"),
        }
    }
}

/// What a test found.
#[derive(Clone, Debug)]
pub struct Outcome<'a> {
    pub example: &'a Example,
    pub found: Found,
    /// The failing lines of the nearest policy, if the decision is a refusal by its lines.
    pub(super) nearest: Option<NearestLines>,
    /// The result depends on the clock, and the test does not say when it is.
    pub needs_time: bool,
}

/// The nearest policy of a refusal.
#[derive(Clone, Debug)]
pub(super) struct NearestLines {
    /// Its name and issuer.
    policy: (String, String),
    /// The address of its block in the set: a block has no name.
    block: usize,
    lines: Vec<usize>,
}

/// The decision of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Gets {
        policy: String,
        ttl: Duration,
        scopes: Vec<String>,
    },
    Refused {
        because: BTreeSet<Because>,
        /// The same for people: each line with what it expects and what the job has.
        lines: Vec<String>,
    },
}

impl Outcome<'_> {
    #[must_use]
    pub fn passed(&self) -> bool {
        match (&self.example.expected, &self.found) {
            (
                Expected::Gets {
                    policy,
                    ttl,
                    scopes,
                },
                Found::Gets {
                    policy: by,
                    ttl: life,
                    scopes: given,
                },
            ) => {
                policy == by
                    && ttl.is_none_or(|ttl| ttl == *life)
                    && scopes.as_ref().is_none_or(|scopes| same_set(scopes, given))
            }
            (Expected::Refused(expected), Found::Refused { because, .. }) => expected == because,
            (Expected::Gets { .. }, Found::Refused { .. })
            | (Expected::Refused(_), Found::Gets { .. }) => false,
        }
    }
}

fn same_set(a: &[String], b: &[String]) -> bool {
    let set = |list: &[String]| list.iter().cloned().collect::<BTreeSet<_>>();
    set(a) == set(b)
}

/// As in a test file.
impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gets {
                policy,
                ttl,
                scopes,
            } => gets(f, policy, *ttl, scopes.as_deref()),
            Self::Refused(because) => refused(f, because),
        }
    }
}

/// As in a test file.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gets {
                policy,
                ttl,
                scopes,
            } => {
                let scopes = (!scopes.is_empty()).then_some(scopes.as_slice());
                gets(f, policy, Some(*ttl), scopes)
            }
            Self::Refused { because, .. } => refused(f, because),
        }
    }
}

fn gets(
    f: &mut fmt::Formatter<'_>,
    policy: &str,
    ttl: Option<Duration>,
    scopes: Option<&[String]>,
) -> fmt::Result {
    use crate::yaml::scalar::scalar;
    write!(f, "gets: {{ policy: {}", scalar(policy))?;
    if let Some(ttl) = ttl {
        write!(f, ", ttl: {}", duration::print(ttl))?;
    }
    if let Some(scopes) = scopes {
        let scopes: Vec<_> = scopes.iter().map(|scope| scalar(scope)).collect();
        write!(f, ", scopes: [{}]", scopes.join(", "))?;
    }
    f.write_str(" }")
}

fn refused(f: &mut fmt::Formatter<'_>, because: &BTreeSet<Because>) -> fmt::Result {
    let because: Vec<_> = because.iter().map(Because::to_string).collect();
    write!(f, "refused: {{ because: [{}] }}", because.join(", "))
}

/// Decides one test.
#[must_use]
pub fn run<'a>(set: &PolicySet, example: &'a Example, now: Timestamp) -> Outcome<'a> {
    let at = example.at.unwrap_or(now);
    let (found, nearest) = decide(set, &example.job, &example.ask, at);
    let ends = |policy: &super::Policy| {
        let grants = policy.grants.iter();
        (policy.until.is_some() || policy.when.iter().any(|block| block.has(Fact::Time)))
            && policy.issuer == example.job.issuer()
            && grants
                .into_iter()
                .any(|grant| grant.credential.name == example.ask.credential)
    };
    Outcome {
        example,
        found,
        nearest,
        needs_time: example.at.is_none()
            && (set.policies.iter().any(ends) || set.requires_time(&example.ask.credential)),
    }
}

/// The decision for a job, with the reasons that a test names.
pub(super) fn decide(
    set: &PolicySet,
    job: &Facts,
    ask: &Ask,
    at: Timestamp,
) -> (Found, Option<NearestLines>) {
    let job = &*job.at(at);
    let decision = set.explain(job, ask, at);
    let refused = |because: Because, lines: Vec<String>| {
        let because = [because].into();
        (Found::Refused { because, lines }, None)
    };
    let cause = match decision.verdict {
        Verdict::Permitted {
            policy,
            ttl,
            scopes,
        } => {
            return match set.check_inputs(ask) {
                Ok(()) => (
                    Found::Gets {
                        policy,
                        ttl,
                        scopes,
                    },
                    None,
                ),
                Err(error) => refused(Because::Inputs, vec![error.to_string()]),
            };
        }
        Verdict::Denied(cause) => cause,
    };
    let sentence = vec![cause.sentence()];
    match cause {
        Cause::Tenant => refused(Because::Tenant, sentence),
        Cause::Scopes { .. } => refused(Because::Scopes, sentence),
        Cause::Ttl { .. } => refused(Because::Ttl, sentence),
        Cause::Requirement => {
            let unmet = set.unmet(job, &ask.credential, at);
            let lines = unmet
                .iter()
                .map(|one| format!("requirement {}: {}", one.name, escape(&one.because)));
            let names = unmet
                .iter()
                .map(|one| Because::Requirement(one.name.clone()));
            let found = Found::Refused {
                because: names.collect(),
                lines: lines.collect(),
            };
            (found, None)
        }
        Cause::UnrelatedJob
        | Cause::Credential { .. }
        | Cause::NotGranted { .. }
        | Cause::Conditions => {
            let nearest = set.nearest(job, &ask.credential, at);
            match nearest.first() {
                Some(nearest) => by_lines(nearest, job),
                None => refused(Because::Credential, sentence),
            }
        }
    }
}

fn by_lines(nearest: &super::decide::Nearest<'_>, job: &Facts) -> (Found, Option<NearestLines>) {
    let policy = nearest.policy;
    let names = nearest.failed.iter();
    let because = names.map(|line| Because::Line(line.name.clone())).collect();
    let mut lines = vec![format!("policy {}:", policy.name)];
    for line in &nearest.failed {
        let limits = policy.within.iter().flat_map(|block| &block.conditions);
        let mut limits = limits.filter(|limit| limit.subject.name() == line.name);
        let condition = match line.condition {
            Some(number) => nearest.block.conditions.get(number),
            None => limits.find(|limit| !limit.holds(job)),
        };
        lines.push(match condition {
            Some(condition) => {
                let has = match condition.shown(job) {
                    None => "the job does not say".to_owned(),
                    Some(seen) => format!("the job has {}", escape(&seen)),
                };
                format!("{}: {}: {has}", line.name, condition.pattern)
            }
            None if line.name == "until" => "until: the policy has ended".to_owned(),
            None if line.name != Fact::Trigger.name() => format!(
                "{}: a person gets a critical credential only by a block that names `mfa: true` and `signed_in`",
                line.name
            ),
            None => {
                "trigger: anyone can start such a run; a policy must name the trigger".to_owned()
            }
        });
    }
    let blocks = policy.when.iter();
    let block = blocks
        .take_while(|block| !std::ptr::eq(*block, nearest.block))
        .count();
    let nearest = NearestLines {
        policy: (policy.name.clone(), policy.issuer.clone()),
        block,
        lines: nearest
            .failed
            .iter()
            .filter_map(|line| line.condition)
            .collect(),
    };
    (Found::Refused { because, lines }, Some(nearest))
}
