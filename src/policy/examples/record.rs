//! Records the decisions of today as tests: for each policy a job that gets its credential, for each
//! condition and requirement a job that is refused by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::coverage::Entry;
use super::files::ENDING;
use super::{Because, Coverage, Found, NearestLines, decide, value_for};
use crate::clock::Timestamp;
use crate::policy::pattern::{Observed, Pattern};
use crate::policy::{Ask, Block, Condition, CredentialDefinition, Policy, PolicySet, Subject};
use crate::provider::{Fact, FactType, FactValue, ORDINARY_TRIGGERS, PropertyName, Reader};
use crate::text::escape;
use crate::token::json::{pointer_to, unescape_step};
use crate::yaml::scalar::{quoted, scalar};

/// Tests of one file that were made.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Entries for a list `tests:`, by the name of the test file within the folder.
    pub files: BTreeMap<String, Vec<String>>,
    /// What no test could be made for, with the reason.
    pub skipped: Vec<String>,
}

/// Makes a test for each entry that no test exercises. `taken` are the names of tests that exist.
#[must_use]
pub fn record(
    set: &PolicySet,
    coverage: &Coverage,
    taken: &BTreeSet<String>,
    now: Timestamp,
) -> Recorded {
    let mut recorded = Recorded::default();
    let mut taken = taken.clone();
    for uncovered in &coverage.uncovered {
        let Some(draft) = Draft::of(set, uncovered.entry) else {
            recorded
                .skipped
                .push(format!("{}: its job could not be found", uncovered.message));
            continue;
        };
        match draft.record(now, &mut taken) {
            Ok(text) => {
                let source = uncovered.place.source().name();
                let stem = source.strip_suffix(".yaml").unwrap_or(source);
                let file = recorded.files.entry(format!("{stem}{ENDING}")).or_default();
                file.push(text);
            }
            Err(problem) => recorded
                .skipped
                .push(format!("{}: {problem}", uncovered.message)),
        }
    }
    recorded
}

/// A job for a policy, and what is to be changed about it.
struct Draft<'a> {
    set: &'a PolicySet,
    reader: &'a Reader,
    policy: &'a Policy,
    block: usize,
    credential: &'a Arc<CredentialDefinition>,
    /// The condition that the job must not meet.
    without: Option<&'a Condition>,
    /// The requirement that the job must not meet.
    unmet: Option<&'a str>,
}

impl<'a> Draft<'a> {
    fn of(set: &'a PolicySet, entry: Entry) -> Option<Self> {
        let of_policy = |number: usize, block: usize, without, unmet, credential| {
            let policy: &Policy = set.policies.get(number)?;
            Some(Self {
                set,
                reader: &set.issuer_named(&policy.issuer)?.reader,
                policy,
                block,
                credential: match credential {
                    Some(credential) => credential,
                    None => &policy.grants.first()?.credential,
                },
                without,
                unmet,
            })
        };
        match entry {
            Entry::Policy(number) => of_policy(number, 0, None, None, None),
            Entry::Condition {
                policy,
                block,
                line,
            } => {
                let condition = set
                    .policies
                    .get(policy)?
                    .when
                    .get(block)?
                    .conditions
                    .get(line);
                of_policy(policy, block, condition, None, None)
            }
            Entry::Requirement(number) => {
                let requirement = set.requirements.get(number)?;
                let policies = set.policies.iter().enumerate();
                let mut granted = policies.flat_map(|(number, policy)| {
                    policy
                        .grants
                        .iter()
                        .map(move |grant| (number, &grant.credential))
                });
                let (policy, credential) =
                    granted.find(|(_, credential)| requirement.of.selects(credential))?;
                let without = requirement.jobs.conditions.first();
                of_policy(
                    policy,
                    0,
                    without,
                    Some(&requirement.name),
                    Some(credential),
                )
            }
        }
    }

    fn record(&self, now: Timestamp, taken: &mut BTreeSet<String>) -> Result<String, String> {
        let Made {
            facts: given,
            properties,
            claims,
            at,
            ..
        } = self.job(now)?;
        let mut raw = claims.clone();
        let of_properties = properties.iter();
        raw.extend(
            of_properties.filter_map(|(name, value)| self.reader.property_claim(name, value)),
        );
        let facts = self.reader.facts_of(&given, &raw);
        let facts = facts.map_err(|problem| format!("no job could be made: it {problem}"))?;
        let ask = Ask {
            credential: self.credential.name.clone(),
            ..Ask::default()
        };
        let (found, nearest) = decide(self.set, &facts, &ask, at);
        self.check(&found, nearest.as_ref())?;
        let name = free(&self.name(), taken);
        let mut text = format!("  - name: {}\n", scalar(&name));
        text.push_str("    job:\n");
        push_line(&mut text, "issuer", &scalar(&self.policy.issuer));
        for (fact, value) in &given {
            push_line(&mut text, fact.name(), &written(value));
        }
        if !properties.is_empty() {
            let lines: Vec<_> = properties
                .iter()
                .map(|(name, value)| format!("{}: {}", quoted(name.name()), written(value)))
                .collect();
            push_line(
                &mut text,
                "property",
                &format!("{{ {} }}", lines.join(", ")),
            );
        }
        if !claims.is_empty() {
            let claims: Vec<_> = claims
                .iter()
                .map(|(name, value)| {
                    let text = value.as_str().map(quoted);
                    let value = text.unwrap_or_else(|| value.to_string());
                    format!("{}: {value}", quoted(&pointer_to(name)))
                })
                .collect();
            push_line(&mut text, "claim", &format!("{{ {} }}", claims.join(", ")));
        }
        let credential = scalar(&ask.credential);
        text.extend(["    asks: { credential: ", &credential, " }\n"]);
        text.extend(["    ", &found.to_string(), "\n"]);
        if self.policy.until.is_some() || self.names_time() {
            text.extend(["    at: ", &at.to_string(), "\n"]);
        }
        Ok(text)
    }

    /// A test that shows something else than it is made for would say nothing.
    fn check(&self, found: &Found, nearest: Option<&NearestLines>) -> Result<(), String> {
        let is_meant = match (found, self.without, self.unmet) {
            (Found::Gets { policy, .. }, None, None) => *policy == self.policy.name,
            (Found::Refused { because, .. }, Some(_), Some(name)) => {
                because.contains(&Because::Requirement(name.to_owned()))
            }
            (Found::Refused { .. }, Some(condition), None) => {
                nearest.is_some_and(|nearest| self.is_of(nearest, condition))
            }
            _ => false,
        };
        if is_meant {
            return Ok(());
        }
        Err(format!(
            "the job that was made for it has another decision: {found}"
        ))
    }

    /// Whether the job is refused by this condition of this policy: another policy may be nearer, and the
    /// condition would still have no test.
    fn is_of(&self, nearest: &NearestLines, condition: &Condition) -> bool {
        let (name, issuer) = &nearest.policy;
        let mut blocks = self.policy.when.iter().skip(self.block);
        let conditions = blocks.next().map_or(&[][..], |block| &block.conditions);
        let is_line = |line: &usize| conditions.get(*line) == Some(condition);
        (name, issuer, nearest.block) == (&self.policy.name, &self.policy.issuer, self.block)
            && nearest.lines.iter().any(is_line)
    }

    fn name(&self) -> String {
        let policy = &self.policy.name;
        match (self.without, self.unmet) {
            (_, Some(requirement)) => format!("{policy} is refused by {requirement}"),
            (Some(condition), None) => {
                format!("{policy} without {}", escape(condition.subject.name()))
            }
            (None, None) => format!("{policy} gets {}", self.credential.name),
        }
    }

    /// Whether the decision depends on the hour.
    fn names_time(&self) -> bool {
        let required = self.set.requirements_on(self.credential);
        let required = required.flat_map(|one| std::iter::once(&one.jobs).chain(&one.unless));
        let mut blocks = self.policy.when.iter().chain(required);
        blocks.any(|block| block.has(Fact::Time) || block.has(Fact::SignedIn))
    }

    /// The job and its request.
    fn job(&self, now: Timestamp) -> Result<Made<'_>, String> {
        let mut job = Made {
            reader: self.reader,
            facts: BTreeMap::new(),
            properties: BTreeMap::new(),
            claims: Map::new(),
            at: now,
            without: self.without,
        };
        let block = self.policy.when.get(self.block).ok_or("it has no block")?;
        job.add(block)?;
        if let Some(limits) = &self.policy.within {
            job.add(limits)?;
        }
        job.add_owner();
        let issuer = self.set.issuer_named(&self.policy.issuer);
        let tenants = issuer.and_then(|issuer| issuer.tenants.as_deref());
        if let Some(tenant) = tenants.and_then(|tenants| {
            let fitting = tenants.iter().find(|tenant| job.can_be(tenant));
            fitting.or(tenants.first())
        }) {
            job.add(tenant)?;
        }
        let requirements = self.set.requirements_on(self.credential);
        for requirement in requirements {
            job.add(&requirement.jobs)?;
        }
        if self.reader.has_events() && !job.leaves_out(Fact::Trigger) {
            let push = FactValue::Text("push".to_owned());
            job.facts.entry(Fact::Trigger).or_insert(push);
        }
        if self.reader.has_events() && !job.facts.contains_key(&Fact::Trigger) {
            // A run has a trigger: here one that only the condition refuses, if there is one.
            let pattern = self.without.map(|condition| &condition.pattern);
            let is_refused =
                |word: &&&str| pattern.is_none_or(|pattern| !pattern.fits(Observed::Text(word)));
            let word = ORDINARY_TRIGGERS
                .iter()
                .find(is_refused)
                .unwrap_or(&"other");
            let word = FactValue::Text((*word).to_owned());
            job.facts.insert(Fact::Trigger, word);
        }
        Ok(job)
    }
}

/// A job while it is made.
struct Made<'a> {
    reader: &'a Reader,
    facts: BTreeMap<Fact, FactValue>,
    properties: BTreeMap<PropertyName, FactValue>,
    claims: Map<String, Value>,
    /// When it asks.
    at: Timestamp,
    without: Option<&'a Condition>,
}

impl Made<'_> {
    fn leaves_out(&self, fact: Fact) -> bool {
        let subject = self.without.map(|condition| &condition.subject);
        subject == Some(&Subject::Fact(fact))
    }

    /// Adds what a block needs and the job does not have yet.
    fn add(&mut self, block: &Block) -> Result<(), String> {
        for condition in &block.conditions {
            let is_left_out = self
                .without
                .is_some_and(|one| one.subject == condition.subject);
            match (&condition.subject, &condition.pattern) {
                (Subject::Fact(_), Pattern::Time(window)) => {
                    let at = window.next(self.at, !is_left_out);
                    self.at = at.ok_or_else(|| format!("no time for `time: {window}`"))?;
                }
                (Subject::Fact(fact), Pattern::Age(_)) => {
                    if !is_left_out {
                        let at = self.at.plus(-1);
                        self.facts.entry(*fact).or_insert(FactValue::Time(at));
                    }
                }
                (Subject::Fact(fact), _) => {
                    if self.facts.contains_key(fact) {
                        continue;
                    }
                    let fact_type = self.reader.fact_type(*fact);
                    if let Some(value) = value_of(condition, is_left_out, fact_type)? {
                        self.facts.insert(*fact, value);
                    }
                }
                (Subject::Property(name), _) => {
                    let declared = self.reader.property_type(name);
                    let Some(declared) = declared.filter(|_| !self.properties.contains_key(name))
                    else {
                        continue;
                    };
                    let fact_type = declared.fact_type();
                    if let Some(value) = value_of(condition, is_left_out, fact_type)? {
                        self.properties.insert(name.clone(), value);
                    }
                }
                (Subject::Claim(pointer), _) if !is_left_out => {
                    self.add_claim(pointer, &condition.pattern)?;
                }
                (Subject::Claim(_) | Subject::Issuer, _) => {}
            }
        }
        Ok(())
    }

    fn add_claim(&mut self, pointer: &str, pattern: &Pattern) -> Result<(), String> {
        let name = pointer.strip_prefix('/').filter(|name| !name.contains('/'));
        let name = name.and_then(unescape_step);
        let name = name.ok_or_else(|| format!("the claim `{pointer}` is inside another"))?;
        let value = match pattern {
            Pattern::Is(value) => Value::Bool(*value),
            Pattern::Present(false) => return Ok(()),
            Pattern::Exact(_)
            | Pattern::Any(_)
            | Pattern::All(_)
            | Pattern::Present(true)
            | Pattern::Network(_)
            | Pattern::Time(_)
            | Pattern::Age(_)
            | Pattern::Workflow { .. } => {
                let value = value_for(pattern, FactType::Text);
                let Some(FactValue::Text(text)) = value else {
                    return Err(format!("no value for the claim `{pointer}`"));
                };
                text.into()
            }
        };
        self.claims.insert(name, value);
        Ok(())
    }

    /// The owner in the name of the repository, where a provider has it there.
    fn add_owner(&mut self) {
        if self.leaves_out(Fact::Owner) {
            return;
        }
        if let Some(FactValue::Text(repository)) = self.facts.get(&Fact::Repository)
            && let Some(owner) = self.reader.provider.owner_of(repository)
        {
            let owner = FactValue::Text(owner.to_owned());
            self.facts.entry(Fact::Owner).or_insert(owner);
        }
    }

    /// Whether no fact of the job excludes the tenant.
    fn can_be(&self, tenant: &Block) -> bool {
        tenant.conditions.iter().all(|condition| {
            let Subject::Fact(fact) = &condition.subject else {
                return true;
            };
            let value = self.facts.get(fact);
            value.is_none() || condition.pattern.fits(value.into())
        })
    }
}

/// The value that a condition needs, or the one that it must not find; `None` if the job has none.
fn value_of(
    condition: &Condition,
    is_left_out: bool,
    fact_type: FactType,
) -> Result<Option<FactValue>, String> {
    let is_absence = condition.pattern == Pattern::Present(false);
    // To fail `{ present: false }`, the job must have a value.
    let pattern = match (is_absence, is_left_out) {
        (true, false) | (false, true) => return Ok(None),
        (true, true) => &Pattern::Present(true),
        (false, false) => &condition.pattern,
    };
    let name = condition.subject.name();
    let value = value_for(pattern, fact_type);
    value
        .map(Some)
        .ok_or_else(|| format!("no value for `{name}: {pattern}`"))
}

fn free(name: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..=u32::MAX).map(|number| format!("{name} {number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

fn push_line(text: &mut String, key: &str, value: &str) {
    if writeln!(text, "      {key}: {value}").is_err() {
        // Writing to a String does not fail.
    }
}

fn written(value: &FactValue) -> String {
    match value {
        FactValue::Text(text) => scalar(text),
        FactValue::Bool(value) => value.to_string(),
        FactValue::Address(address) => scalar(&address.to_string()),
        FactValue::Time(time) => time.to_string(),
        FactValue::List(entries) => {
            let entries: Vec<_> = entries.iter().map(|entry| scalar(entry)).collect();
            format!("[{}]", entries.join(", "))
        }
        FactValue::Workflow(workflow) => match &workflow.r#ref {
            Some(r#ref) => format!(
                "{{ path: {}, ref: {} }}",
                scalar(&workflow.path),
                scalar(r#ref)
            ),
            None => format!("{{ path: {} }}", scalar(&workflow.path)),
        },
    }
}
