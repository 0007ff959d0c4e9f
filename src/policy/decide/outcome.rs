//! A decision line by line: for the log, the offline explanation, and a job that may hear it.
//! Not: who may hear what.

use std::time::Duration;

use serde::Serialize;

use super::covered;
use crate::clock::Timestamp;
use crate::policy::condition::{Block, Condition, Subject};
use crate::policy::diagnostic::nearest;
use crate::policy::pattern::Seen;
use crate::policy::{Ask, Policy, PolicySet, duration};
use crate::provider::{Fact, Facts, ORDINARY_TRIGGERS};

/// What was decided, and everything that led to it.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// The issuer's name in the policies.
    pub issuer: String,
    /// The credential asked for.
    pub credential: String,
    /// The hash of the policies.
    pub revision: String,
    /// The outcome.
    pub verdict: Verdict,
    /// The issuer's tenants; empty where it serves all.
    pub tenants: Vec<BlockOutcome>,
    /// Every policy that could have held, nearest first.
    pub policies: Vec<PolicyOutcome>,
    /// The requirements on the credential.
    pub requirements: Vec<RequirementOutcome>,
    /// Some policy names the job's repository, so it may hear why it is refused.
    pub names_repository: bool,
}

/// Yes or no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It may.
    Permitted {
        /// The policy that allows it.
        policy: String,
        /// How long.
        #[serde(serialize_with = "seconds")]
        ttl: Duration,
        /// With which scopes.
        scopes: Vec<String>,
    },
    /// It may not.
    Denied(Cause),
}

/// Why not: the first step of the rule that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The job is of no tenant of its issuer.
    Tenant,
    /// No policy is about a job like this.
    Stranger,
    /// There is no such credential.
    Credential {
        /// The one that may have been meant, of those the job's repository may have.
        suggestion: Option<String>,
    },
    /// No policy on the job's repository grants it.
    NotGranted {
        /// What they do grant.
        granted: Vec<String>,
    },
    /// A policy that grants it does not hold.
    Conditions,
    /// The conditions hold, but no one grant has all the scopes.
    Scopes {
        /// What one may have.
        allowed: Vec<String>,
    },
    /// The conditions hold, but not for so long.
    Ttl {
        /// How long one may have it.
        #[serde(serialize_with = "seconds")]
        allowed: Duration,
    },
    /// A requirement does not hold.
    Requirement,
}

/// A policy that was considered.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyOutcome {
    /// Its name.
    pub policy: String,
    /// `file:line:column`.
    pub place: String,
    /// It names the job's repository exactly.
    pub names_repository: bool,
    /// Its blocks; one must hold.
    pub blocks: Vec<BlockOutcome>,
    /// The end of its time, where it has one.
    pub until: Option<ConditionOutcome>,
    /// What it gives to the ask.
    pub grant: GrantOutcome,
}

/// What a policy gives to the ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantOutcome {
    /// It does not grant the credential.
    None,
    /// One grant covers the whole ask.
    Covers,
    /// None of its grants has all the scopes.
    Scopes,
    /// None of its grants is for so long.
    Ttl,
}

/// Lines that must all hold.
#[derive(Clone, Debug, Serialize)]
pub struct BlockOutcome {
    /// One line each; the rule of ordinary triggers is one when it fails.
    pub conditions: Vec<ConditionOutcome>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConditionOutcome {
    /// What it looks at.
    pub fact: String,
    /// What that must be, as the policy spells it.
    pub expected: String,
    /// What the job says; `None` when it does not.
    pub actual: Option<String>,
    /// It holds.
    pub holds: bool,
    /// What is nearly right about it.
    pub hint: Option<String>,
}

/// A requirement on the credential.
#[derive(Clone, Debug, Serialize)]
pub struct RequirementOutcome {
    /// Its name.
    pub requirement: String,
    /// `file:line:column`.
    pub place: String,
    /// Why there is one.
    pub because: String,
    /// It holds, or its exemption does.
    pub holds: bool,
    /// Its lines.
    pub jobs: BlockOutcome,
    /// The lines of its exemption.
    pub unless: Option<BlockOutcome>,
}

impl Cause {
    /// The cause in a sentence, for those who may see the policies.
    #[must_use]
    pub fn sentence(&self) -> String {
        let listed = |words: &[String]| {
            if words.is_empty() {
                "nothing".to_owned()
            } else {
                words.join(", ")
            }
        };
        match self {
            Self::Tenant => "the job belongs to no tenant of its issuer".to_owned(),
            Self::Stranger => "no policy is about a job like this".to_owned(),
            Self::Credential {
                suggestion: Some(meant),
            } => {
                format!("there is no such credential; `{meant}` is one")
            }
            Self::Credential { suggestion: None } => "there is no such credential".to_owned(),
            Self::NotGranted { granted } => format!(
                "no policy that could be about this job grants it; its repository may have {}",
                listed(granted)
            ),
            Self::Conditions => "no policy that grants it holds".to_owned(),
            Self::Scopes { allowed } => {
                format!("more scopes than one grant has: {}", listed(allowed))
            }
            Self::Ttl { allowed } => {
                format!("not for so long: 1s to {}", duration::print(*allowed))
            }
            Self::Requirement => "a requirement does not hold".to_owned(),
        }
    }
}

impl Decision {
    pub(super) fn trace(set: &PolicySet, facts: &Facts, ask: &Ask, now: Timestamp) -> Self {
        let issuer = set.issuer_of(facts);
        let tells_events = issuer.is_none_or(|issuer| issuer.tells_events);
        let tenants = issuer
            .and_then(|issuer| issuer.tenants.as_deref())
            .unwrap_or_default();
        let serves = issuer.is_some_and(|issuer| issuer.serves(facts));
        let considered = if serves {
            set.index.about(facts)
        } else {
            Vec::new()
        };
        let policies = considered
            .iter()
            .filter_map(|number| set.policies.get(*number));
        let mut policies: Vec<_> = policies
            .filter(|policy| policy.matters(facts, ask))
            .map(|policy| PolicyOutcome::trace(policy, facts, ask, now, tells_events))
            .collect();
        policies.sort_by(|a, b| a.order().cmp(&b.order()));
        policies.truncate(MAX_CONSIDERED);
        let requirements = requirements(set, facts, ask);
        let names_repository = policies.iter().any(|policy| policy.names_repository);
        let verdict = match set.choose(facts, ask, now) {
            Some(chosen) => Verdict::Permitted {
                policy: chosen.policy.name.clone(),
                ttl: chosen.ttl,
                scopes: chosen.scopes(ask),
            },
            None if !serves => Verdict::Denied(Cause::Tenant),
            None => Verdict::Denied(cause(set, &considered, &policies, &requirements, ask)),
        };
        Self {
            issuer: facts.issuer().to_owned(),
            credential: ask.credential.clone(),
            revision: set.revision().to_owned(),
            verdict,
            tenants: tenants
                .iter()
                .map(|tenant| BlockOutcome::trace(tenant, facts))
                .collect(),
            policies,
            requirements,
            names_repository,
        }
    }

    /// It is a yes.
    #[must_use]
    pub const fn is_permitted(&self) -> bool {
        matches!(self.verdict, Verdict::Permitted { .. })
    }
}

impl Policy {
    /// It grants the credential or names the job's repository; wide policies on other credentials
    /// explain nothing.
    fn matters(&self, facts: &Facts, ask: &Ask) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.credential.name == ask.credential)
            || self.when.iter().any(|block| block.names_repository(facts))
    }
}

impl PolicyOutcome {
    fn trace(
        policy: &Policy,
        facts: &Facts,
        ask: &Ask,
        now: Timestamp,
        tells_events: bool,
    ) -> Self {
        let blocks = policy.when.iter().map(|block| {
            let mut outcome = BlockOutcome::trace(block, facts);
            if !block.lets_run(facts, tells_events) {
                outcome.conditions.push(trigger_rule(block, facts));
            }
            outcome
        });
        let mut named = policy.when.iter();
        let until = policy.until.map(|until| ConditionOutcome {
            fact: "until".to_owned(),
            expected: format!("before {until}"),
            actual: Some(now.to_string()),
            holds: !policy.is_past(now),
            hint: None,
        });
        Self {
            policy: policy.name.clone(),
            place: policy.place.to_string(),
            names_repository: named
                .any(|block| block.names_repository(facts) && block.lets_run(facts, tells_events)),
            blocks: blocks.collect(),
            until,
            grant: GrantOutcome::trace(policy, ask),
        }
    }

    /// Its conditions hold, whatever it grants.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.until.as_ref().is_none_or(|until| until.holds)
            && self.blocks.iter().any(BlockOutcome::holds)
    }

    /// The lines to put right: those of the block that is nearest.
    #[must_use]
    pub fn failed(&self) -> Vec<&ConditionOutcome> {
        let until = self.until.iter().filter(|until| !until.holds);
        let blocks = self.blocks.iter().map(BlockOutcome::failed);
        let nearest = blocks.min_by_key(Vec::len).unwrap_or_default();
        nearest.into_iter().chain(until).collect()
    }

    /// Those that grant the credential first, then those that name the repository, then the nearest.
    fn order(&self) -> (bool, bool, usize, &str, &str) {
        let ungranted = self.grant == GrantOutcome::None;
        (
            ungranted,
            !self.names_repository,
            self.failed().len(),
            &self.policy,
            &self.place,
        )
    }
}

impl GrantOutcome {
    fn trace(policy: &Policy, ask: &Ask) -> Self {
        let mut outcome = Self::None;
        for grant in policy
            .grants
            .iter()
            .filter(|grant| grant.credential.name == ask.credential)
        {
            if covered(grant, ask).is_some() {
                return Self::Covers;
            }
            let scopes = Ask {
                ttl: None,
                ..ask.clone()
            };
            outcome = match covered(grant, &scopes) {
                Some(_) => Self::Ttl,
                None if outcome == Self::Ttl => Self::Ttl,
                None => Self::Scopes,
            };
        }
        outcome
    }
}

impl BlockOutcome {
    fn trace(block: &Block, facts: &Facts) -> Self {
        let id_fits = |id: Fact| {
            block
                .pattern(id)
                .is_some_and(|pattern| pattern.fits(facts.get(id).into()))
        };
        let conditions = block.conditions.iter().map(|condition| {
            let mut outcome = ConditionOutcome::trace(condition, facts);
            if !outcome.holds && outcome.hint.is_none() {
                outcome.hint = renamed(&condition.subject, id_fits).map(str::to_owned);
            }
            outcome
        });
        Self {
            conditions: conditions.collect(),
        }
    }

    /// Every line holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.conditions.iter().all(|condition| condition.holds)
    }

    /// The lines that do not.
    #[must_use]
    pub fn failed(&self) -> Vec<&ConditionOutcome> {
        self.conditions
            .iter()
            .filter(|condition| !condition.holds)
            .collect()
    }
}

impl ConditionOutcome {
    fn trace(condition: &Condition, facts: &Facts) -> Self {
        let seen = condition.subject.seen(facts);
        let holds = condition.pattern.fits(seen);
        let actual = shown(seen);
        let hint = match (&actual, holds) {
            (None, false) => absent(&condition.subject).map(str::to_owned),
            (Some(actual), false) => case(condition, actual),
            (_, true) => None,
        };
        Self {
            fact: condition.subject.name().to_owned(),
            expected: condition.pattern.to_string(),
            actual,
            holds,
            hint,
        }
    }
}

/// The rule of ordinary triggers as a line that failed (T-52).
fn trigger_rule(block: &Block, facts: &Facts) -> ConditionOutcome {
    let hint = match block.pattern(Fact::Trigger) {
        Some(_) => "only the exact word in `trigger` lets such a run in, never a pattern",
        None => {
            "a policy lets such a run in only by naming this trigger, since strangers can start one"
        }
    };
    ConditionOutcome {
        fact: Fact::Trigger.name().to_owned(),
        expected: format!("[{}]", ORDINARY_TRIGGERS.join(", ")),
        actual: facts.text(Fact::Trigger).map(str::to_owned),
        holds: false,
        hint: Some(hint.to_owned()),
    }
}

fn requirements(set: &PolicySet, facts: &Facts, ask: &Ask) -> Vec<RequirementOutcome> {
    let Some(credential) = set.credentials.get(&ask.credential) else {
        return Vec::new();
    };
    let selected = set
        .requirements
        .iter()
        .filter(|requirement| requirement.of.selects(credential));
    selected
        .map(|requirement| RequirementOutcome {
            requirement: requirement.name.clone(),
            place: requirement.place.to_string(),
            because: requirement.because.clone(),
            holds: requirement.holds(facts),
            jobs: BlockOutcome::trace(&requirement.jobs, facts),
            unless: requirement
                .unless
                .as_ref()
                .map(|unless| BlockOutcome::trace(unless, facts)),
        })
        .collect()
}

fn cause(
    set: &PolicySet,
    considered: &[usize],
    policies: &[PolicyOutcome],
    requirements: &[RequirementOutcome],
    ask: &Ask,
) -> Cause {
    if policies.is_empty() {
        return Cause::Stranger;
    }
    if !set.credentials.contains_key(&ask.credential) {
        let granted = granted(set, considered, policies);
        let suggestion = nearest(&ask.credential, granted.iter().map(String::as_str));
        return Cause::Credential {
            suggestion: suggestion.map(str::to_owned),
        };
    }
    let granting = || {
        policies
            .iter()
            .filter(|policy| policy.grant != GrantOutcome::None)
    };
    if granting().next().is_none() {
        return Cause::NotGranted {
            granted: granted(set, considered, policies),
        };
    }
    let Some(holding) =
        granting()
            .filter(|policy| policy.holds())
            .min_by_key(|policy| match policy.grant {
                GrantOutcome::Covers => 0,
                GrantOutcome::Ttl => 1,
                GrantOutcome::Scopes => 2,
                GrantOutcome::None => 3,
            })
    else {
        return Cause::Conditions;
    };
    match holding.grant {
        GrantOutcome::Covers if requirements.iter().any(|requirement| !requirement.holds) => {
            Cause::Requirement
        }
        GrantOutcome::Covers | GrantOutcome::None => Cause::Conditions,
        GrantOutcome::Ttl => Cause::Ttl {
            allowed: longest(set, considered, holding, ask),
        },
        GrantOutcome::Scopes => Cause::Scopes {
            allowed: scopes(set, considered, holding, ask),
        },
    }
}

/// What the policies that name the job's repository grant.
fn granted(set: &PolicySet, considered: &[usize], policies: &[PolicyOutcome]) -> Vec<String> {
    let about = |policy: &&Policy| {
        let mut outcomes = policies.iter();
        outcomes.any(|outcome| outcome.names_repository && outcome.policy == policy.name)
    };
    let grants = considered
        .iter()
        .filter_map(|number| set.policies.get(*number))
        .filter(about)
        .flat_map(|policy| &policy.grants);
    let mut names: Vec<_> = grants.map(|grant| grant.credential.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn grants_of<'a>(
    set: &'a PolicySet,
    considered: &'a [usize],
    policy: &'a PolicyOutcome,
    ask: &'a Ask,
) -> impl Iterator<Item = &'a crate::policy::Grant> {
    considered
        .iter()
        .filter_map(|number| set.policies.get(*number))
        .filter(|candidate| candidate.name == policy.policy)
        .flat_map(|policy| &policy.grants)
        .filter(|grant| grant.credential.name == ask.credential)
}

fn longest(set: &PolicySet, considered: &[usize], policy: &PolicyOutcome, ask: &Ask) -> Duration {
    let scopes = Ask {
        ttl: None,
        ..ask.clone()
    };
    let lives = grants_of(set, considered, policy, ask).filter_map(|grant| covered(grant, &scopes));
    lives.max().unwrap_or_default()
}

fn scopes(set: &PolicySet, considered: &[usize], policy: &PolicyOutcome, ask: &Ask) -> Vec<String> {
    let grants = grants_of(set, considered, policy, ask);
    grants
        // Of equally many the first by name, so that the order of entries never matters.
        .max_by_key(|grant| (grant.scopes.len(), std::cmp::Reverse(&grant.scopes)))
        .map(|grant| grant.scopes.clone())
        .unwrap_or_default()
}

/// What the job says, as text.
fn shown(seen: Seen<'_>) -> Option<String> {
    match seen {
        Seen::Absent => None,
        Seen::Text(text) => Some(text.to_owned()),
        Seen::Bool(value) => Some(value.to_string()),
        Seen::List(entries) => Some(entries.join(",")),
        Seen::Workflow(workflow) => Some(match &workflow.r#ref {
            Some(r#ref) => format!("{}@{ref}", workflow.path),
            None => workflow.path.clone(),
        }),
        Seen::Other => Some("neither text nor a boolean".to_owned()),
        Seen::Foreign => Some("text outside printable ASCII".to_owned()),
    }
}

/// T-48: nothing is folded, but a reader is told.
fn case(condition: &Condition, actual: &str) -> Option<String> {
    let texts = condition.pattern.exact_texts()?;
    let same = texts.iter().any(|text| text.eq_ignore_ascii_case(actual));
    same.then(|| "differs in upper and lower case only".to_owned())
}

fn absent(subject: &Subject) -> Option<&'static str> {
    match subject {
        Subject::Fact(Fact::Environment) => Some("the job names no environment"),
        Subject::Fact(_) | Subject::Claim(_) => Some("the token does not say"),
        Subject::Issuer => None,
    }
}

/// The name does not fit, but the id beside it does.
fn renamed(subject: &Subject, id_fits: impl Fn(Fact) -> bool) -> Option<&'static str> {
    let renamed = match subject {
        Subject::Fact(Fact::Repository) => id_fits(Fact::RepositoryId),
        Subject::Fact(Fact::Owner) => id_fits(Fact::OwnerId),
        Subject::Fact(Fact::Project) => id_fits(Fact::ProjectId),
        Subject::Fact(_) | Subject::Claim(_) | Subject::Issuer => false,
    };
    renamed.then_some("the id fits: it was renamed or moved")
}

fn seconds<S: serde::Serializer>(ttl: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration::print(*ttl))
}

/// The most policies a decision lists; the verdict considers all.
const MAX_CONSIDERED: usize = 256;
