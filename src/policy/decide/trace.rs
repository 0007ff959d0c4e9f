//! Writes out a decision line by line, within fixed limits.

use super::cause::{Cause, granted};
use super::disclosure::{Audience, Writer};
use super::examine::{Examination, Examined, Extent, Nearness, Relation};
use super::outcome::{
    BlockOutcome, ConditionOutcome, Decision, PolicyOutcome, RequirementOutcome, Verdict,
};
use super::{Survey, needs_sign_in};
use crate::clock::Timestamp;
use crate::policy::pattern::{Observed, Pattern};
use crate::policy::{Ask, Block, Condition, PolicySet, Requirement, Subject};
use crate::provider::{Fact, Facts, ORDINARY_TRIGGERS};

impl Decision {
    pub(super) fn trace(
        set: &PolicySet,
        survey: &Survey<'_>,
        facts: &Facts,
        ask: &Ask,
        now: Timestamp,
        extent: Extent,
    ) -> Self {
        let issuer = set.issuer_of(facts);
        let has_events = issuer.is_none_or(|issuer| issuer.has_events);
        let tenants = issuer
            .and_then(|issuer| issuer.tenants.as_deref())
            .unwrap_or_default();
        let examination = match survey.issuer {
            Some(_) => Examination::of(set, facts, ask, now, has_events, extent),
            None => Examination::default(),
        };
        let relation = examination.relation();
        let walk = Walk {
            facts,
            ask,
            now,
            has_events,
            needs_sign_in: needs_sign_in(facts, set.credential(&ask.credential)),
            extent,
        };
        let (policies, written) = walk.policies(&examination);
        set.work.explained(examination.blocks, written);
        let concerns = relation == Relation::Named || survey.best.is_some();
        let requirements = if concerns || extent.all_requirements {
            walk.requirements(set)
        } else {
            Vec::new()
        };
        let verdict = match survey.permitted() {
            Some(chosen) => Verdict::Permitted {
                policy: chosen.policy.name.clone(),
                ttl: chosen.ttl,
                scopes: chosen.scopes(ask),
            },
            None => Verdict::Denied(Cause::of(set, survey, &examination, ask)),
        };
        Self {
            issuer: facts.issuer().to_owned(),
            credential: ask.credential.clone(),
            revision: set.revision().to_owned(),
            verdict,
            tenants: walk.tenants(tenants),
            policies,
            requirements,
            shadow: survey.shadow(),
            names_repository: relation == Relation::Named,
            relation,
            granted: granted(&examination),
            trigger: extraordinary_trigger(facts, has_events),
        }
    }
}

/// A decision while it is written out.
#[derive(Clone, Copy)]
struct Walk<'a> {
    facts: &'a Facts,
    ask: &'a Ask,
    now: Timestamp,
    has_events: bool,
    /// It asks for a person what only a strong sign-in gets.
    needs_sign_in: bool,
    extent: Extent,
}

impl Walk<'_> {
    /// The nearest policies, and how many blocks were written for them. Policies that explain
    /// nothing are dropped after they were written, so the cost does not depend on what exists
    /// (T-82).
    fn policies(&self, examination: &Examination<'_>) -> (Vec<PolicyOutcome>, usize) {
        let mut left = self.extent.written;
        let mut policies = Vec::new();
        for examined in &examination.policies {
            if left == 0 {
                break;
            }
            let policy = self.policy(examined, left);
            left = left.saturating_sub(policy.blocks.len());
            if examined.matters() {
                policies.push(policy);
            }
        }
        (policies, self.extent.written.saturating_sub(left))
    }

    fn policy(&self, examined: &Examined<'_>, most: usize) -> PolicyOutcome {
        let policy = examined.policy;
        let mut blocks: Vec<_> = policy.when.iter().take(self.extent.examined).collect();
        if blocks.len() > most {
            blocks.sort_by_cached_key(|block| Nearness::of(block, self.facts, self.has_events));
            blocks.truncate(most);
        }
        let within = policy.within.as_deref();
        let blocks = blocks.into_iter().map(|block| self.block(block, within));
        let until = policy.until.map(|until| ConditionOutcome {
            fact: "until".to_owned(),
            expected: format!("before {until}"),
            actual: Some(self.now.to_string()),
            holds: !policy.is_past(self.now),
            hint: None,
            disclosed: None,
        });
        PolicyOutcome {
            policy: policy.name.clone(),
            place: policy.place.clone(),
            names_repository: examined.relation == Relation::Named,
            blocks: blocks.collect(),
            until,
            shadow_until: policy.shadow_until.map(|until| until.to_string()),
            grant: examined.grant,
        }
    }

    /// A block of a policy, with the lines that its team adds.
    fn block(&self, block: &Block, within: Option<&Block>) -> BlockOutcome {
        let mut outcome = self.lines(block);
        let limits = within.map(|within| self.lines(within).conditions);
        outcome.conditions.extend(limits.into_iter().flatten());
        outcome.relation = Relation::of(block, self.facts, self.has_events);
        if !block.lets_run(self.facts, self.has_events) {
            outcome.conditions.push(trigger_rule(block, self.facts));
        }
        if self.needs_sign_in {
            let lines = block
                .sign_in_lacks()
                .map(|fact| sign_in_rule(fact, self.facts));
            outcome.conditions.extend(lines);
        }
        outcome
    }

    /// Writes a block. If it has too many conditions, failed ones come first.
    fn lines(&self, block: &Block) -> BlockOutcome {
        let facts = self.facts;
        let id_fits = |id: Fact| {
            block
                .pattern(id)
                .is_some_and(|pattern| pattern.fits(facts.get(id).into()))
        };
        let mut conditions: Vec<_> = block.conditions.iter().collect();
        if conditions.len() > self.extent.lines {
            conditions.sort_by_cached_key(|condition| condition.holds(facts));
            conditions.truncate(self.extent.lines);
        }
        let conditions = conditions.into_iter().map(|condition| {
            let mut outcome = ConditionOutcome::trace(condition, facts, self.extent);
            if !outcome.holds && outcome.hint.is_none() {
                outcome.hint = renamed(&condition.subject, id_fits).map(str::to_owned);
            }
            outcome
        });
        BlockOutcome {
            conditions: conditions.collect(),
            relation: Relation::Unrelated,
        }
    }

    /// Writes the tenants of the issuer. If there are too many, those of the job come first.
    fn tenants(&self, tenants: &[Block]) -> Vec<BlockOutcome> {
        let mut tenants: Vec<_> = tenants.iter().collect();
        if tenants.len() > self.extent.written {
            tenants.sort_by_cached_key(|tenant| !tenant.holds(self.facts));
            tenants.truncate(self.extent.written);
        }
        let tenants = tenants.into_iter();
        tenants.map(|tenant| self.lines(tenant)).collect()
    }

    /// Writes the requirements on the credential. If there are too many, failed ones come first.
    fn requirements(&self, set: &PolicySet) -> Vec<RequirementOutcome> {
        let Some(credential) = set.credentials.get(&self.ask.credential) else {
            return Vec::new();
        };
        let all = set.requirements.iter();
        let all = all.filter(|one| self.extent.shadowed || one.shadow_until.is_none());
        let mut selected: Vec<_> = all.filter(|one| one.of.selects(credential)).collect();
        if selected.len() > self.extent.written {
            selected.sort_by_cached_key(|one| one.holds(self.facts));
            selected.truncate(self.extent.written);
        }
        let selected = selected.into_iter();
        selected.map(|one| self.requirement(one)).collect()
    }

    fn requirement(&self, requirement: &Requirement) -> RequirementOutcome {
        let unless = requirement.unless.as_ref();
        RequirementOutcome {
            requirement: requirement.name.clone(),
            place: requirement.place.clone(),
            because: requirement.because.clone(),
            shadow_until: requirement.shadow_until.map(|until| until.to_string()),
            holds: requirement.holds(self.facts),
            jobs: self.lines(&requirement.jobs),
            unless: unless.map(|unless| self.lines(unless)),
        }
    }
}

impl ConditionOutcome {
    fn trace(condition: &Condition, facts: &Facts, extent: Extent) -> Self {
        let seen = condition.subject.seen(facts);
        let holds = condition.pattern.fits(seen);
        let actual = condition.shown(facts);
        let hint = match (&actual, holds) {
            (None, false) => absent(&condition.subject).map(str::to_owned),
            (Some(actual), false) => case(condition, actual),
            (_, true) => None,
        };
        let Condition { subject, pattern } = condition;
        let written = |audience| {
            let writer = Writer::new(subject, facts, audience, extent.entries);
            writer.expected(pattern, seen)
        };
        let everything = written(Audience::Everybody);
        let disclosed = written(Audience::Repository);
        Self {
            fact: condition.subject.name().to_owned(),
            disclosed: (disclosed != everything).then_some(disclosed),
            expected: everything,
            actual,
            holds,
            hint,
        }
    }
}

/// The rule of ordinary triggers as a line that failed (T-52).
fn trigger_rule(block: &Block, facts: &Facts) -> ConditionOutcome {
    let hint = match block.pattern(Fact::Trigger) {
        Some(_) => {
            "anyone can start such a run; a policy must list the exact trigger, not a pattern"
        }
        None => "anyone can start such a run; a policy must list this trigger to allow it",
    };
    ConditionOutcome {
        fact: Fact::Trigger.name().to_owned(),
        expected: format!("[{}]", ORDINARY_TRIGGERS.join(", ")),
        actual: facts.text(Fact::Trigger).map(str::to_owned),
        holds: false,
        hint: Some(hint.to_owned()),
        disclosed: None,
    }
}

/// The rule of critical credentials for people, as a line that failed (T-298).
fn sign_in_rule(fact: Fact, facts: &Facts) -> ConditionOutcome {
    let expected = if fact == Fact::Mfa {
        "true"
    } else {
        "{ within: ... }"
    };
    ConditionOutcome {
        fact: fact.name().to_owned(),
        expected: expected.to_owned(),
        actual: shown(Subject::Fact(fact).seen(facts)),
        holds: false,
        hint: Some("a person gets a critical credential only by a block that names `mfa: true` and `signed_in`".to_owned()),
        disclosed: None,
    }
}

/// The run's trigger, if it is not ordinary. A run without one is `other`.
fn extraordinary_trigger(facts: &Facts, has_events: bool) -> Option<String> {
    let unsaid = has_events.then_some("other");
    let trigger = facts.text(Fact::Trigger).or(unsaid)?;
    (!ORDINARY_TRIGGERS.contains(&trigger)).then(|| trigger.to_owned())
}

/// The job's value as text.
pub(in crate::policy) fn shown(seen: Observed<'_>) -> Option<String> {
    match seen {
        Observed::Absent => None,
        Observed::Text(text) => Some(text.to_owned()),
        Observed::Bool(value) => Some(value.to_string()),
        Observed::List(entries) => Some(entries.join(",")),
        Observed::Workflow(workflow) => Some(match &workflow.r#ref {
            Some(r#ref) => format!("{}@{ref}", workflow.path),
            None => workflow.path.clone(),
        }),
        Observed::Address(address) => Some(address.to_string()),
        Observed::Time(at) => Some(at.to_string()),
        Observed::Age(seconds) => Some(format!("{seconds}s ago")),
        Observed::Other => Some("neither text nor a boolean".to_owned()),
        Observed::Foreign => Some("text outside printable ASCII".to_owned()),
    }
}

/// T-48: case is never folded, but a difference in case is pointed out.
fn case(condition: &Condition, actual: &str) -> Option<String> {
    let is_same = |pattern: &Pattern| matches!(pattern, Pattern::Exact(text) if text.eq_ignore_ascii_case(actual));
    let same = if let Pattern::Any(patterns) = &condition.pattern {
        patterns.iter().take(MOST_ENTRIES).any(is_same)
    } else {
        is_same(&condition.pattern)
    };
    same.then(|| "differs in upper and lower case only".to_owned())
}

fn absent(subject: &Subject) -> Option<&'static str> {
    match subject {
        Subject::Fact(Fact::Environment) => Some("the job names no environment"),
        Subject::Fact(Fact::SourceIp) => Some("the address of the request is not known"),
        Subject::Fact(_) | Subject::Claim(_) | Subject::Property(_) => {
            Some("the token does not say")
        }
        Subject::Issuer => None,
    }
}

/// The name does not match, but the ID beside it does.
fn renamed(subject: &Subject, id_fits: impl Fn(Fact) -> bool) -> Option<&'static str> {
    let renamed = match subject {
        Subject::Fact(Fact::Repository) => id_fits(Fact::RepositoryId),
        Subject::Fact(Fact::Owner) => id_fits(Fact::OwnerId),
        Subject::Fact(Fact::Project) => id_fits(Fact::ProjectId),
        Subject::Fact(_) | Subject::Claim(_) | Subject::Property(_) | Subject::Issuer => false,
    };
    renamed.then_some("the id fits: it was renamed or moved")
}

/// Entries of a list that are compared for a hint.
const MOST_ENTRIES: usize = 1_024;
