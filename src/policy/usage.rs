//! What was used of a set of policies: which grants, scopes, blocks and members of lists, and when.
//!
//! A use is what the audit log says of one intent. Where a log does not say enough, as for raw claims
//! or a value that was cut, the part counts as used.

mod narrow;
mod unused;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::pattern::{Observed, Pattern};
use super::{Block, Condition, Grant, Policy, PolicySet, Subject};
use crate::clock::Timestamp;
use crate::provider::{FactType, Workflow};
use crate::text::CUT_MARK;
use crate::yaml::diagnostic::Place;

pub(crate) use narrow::{Narrowing, Remark};
pub use unused::{Part, Unused};

/// One issued credential.
#[derive(Clone, Debug)]
pub struct Use<'a> {
    pub at: Timestamp,
    /// The `iss` claim of the job.
    pub issuer: &'a str,
    pub policy: &'a str,
    pub credential: &'a str,
    pub scopes: Vec<&'a str>,
    /// The life that it was issued for.
    pub life: Duration,
    /// The facts as the log has them, by name.
    pub job: BTreeMap<&'a str, Stated<'a>>,
}

/// The value of a fact in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stated<'a> {
    Text(&'a str),
    Bool(bool),
    List(Vec<String>),
}

/// What was used of each policy that is in force.
#[derive(Debug)]
pub struct Usage<'set> {
    pub policies: Vec<PolicyUse<'set>>,
    /// By the policy's name and the issuer's `url`.
    index: HashMap<(&'set str, &'set str), usize>,
    /// Uses by policies or grants that are not in the set.
    pub elsewhere: BTreeMap<Elsewhere, Times>,
}

/// A policy or a grant that is not in the set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Elsewhere {
    pub policy: String,
    pub issuer: String,
    pub credential: String,
}

/// How often something was used, and when last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub uses: u64,
    pub last: Option<Timestamp>,
}

impl Times {
    fn add(&mut self, at: Timestamp) {
        self.uses = self.uses.saturating_add(1);
        self.last = self.last.max(Some(at));
    }

    fn since(&self, from: Timestamp) -> bool {
        self.last.is_some_and(|last| last >= from)
    }
}

/// What was used of a policy.
#[derive(Debug)]
pub struct PolicyUse<'set> {
    pub policy: &'set Policy,
    pub times: Times,
    pub grants: Vec<GrantUse<'set>>,
    blocks: Vec<BlockUse<'set>>,
}

/// What was used of a grant.
#[derive(Debug)]
pub struct GrantUse<'set> {
    pub grant: &'set Grant,
    pub times: Times,
    /// The longest life of what it issued. In lines of earlier versions up to some seconds less.
    pub longest: Option<Duration>,
    /// Each scope of the grant.
    pub scopes: Vec<(&'set str, Times)>,
}

#[derive(Debug)]
struct BlockUse<'set> {
    block: &'set Block,
    times: Times,
    lists: Vec<ListUse<'set>>,
}

/// A condition that is a list.
#[derive(Debug)]
struct ListUse<'set> {
    condition: &'set Condition,
    place: &'set Place,
    members: Vec<(&'set Pattern, Times)>,
}

impl<'set> Usage<'set> {
    /// Nothing was used yet.
    #[must_use]
    pub fn of(set: &'set PolicySet) -> Self {
        let in_force = set.policies().iter();
        let in_force = in_force.filter(|policy| policy.shadow_until.is_none());
        let policies: Vec<_> = in_force.map(PolicyUse::of).collect();
        let urls: HashMap<&str, &str> = set
            .readers()
            .iter()
            .map(|reader| (reader.issuer.name.as_str(), reader.issuer.url.as_str()))
            .collect();
        let numbered = policies.iter().enumerate();
        let index = numbered.filter_map(|(number, one)| {
            let url = urls.get(one.policy.issuer.as_str())?;
            Some(((one.policy.name.as_str(), *url), number))
        });
        Self {
            index: index.collect(),
            policies,
            elsewhere: BTreeMap::new(),
        }
    }

    /// Counts a use.
    pub fn add(&mut self, one: &Use<'_>) {
        let number = self.index.get(&(one.policy, one.issuer));
        let policy = number.and_then(|number| self.policies.get_mut(*number));
        if policy.is_some_and(|policy| policy.add(one)) {
            return;
        }
        let elsewhere = Elsewhere {
            policy: one.policy.to_owned(),
            issuer: one.issuer.to_owned(),
            credential: one.credential.to_owned(),
        };
        self.elsewhere.entry(elsewhere).or_default().add(one.at);
    }

    /// Counts a use of everything that may have given the credential to a job of the issuer: what was
    /// needed is not known.
    pub fn add_all(&mut self, issuer: &str, credential: &str, at: Timestamp) {
        let url = issuer;
        let numbers = self.index.iter().filter(|((_, issuer), _)| *issuer == url);
        let numbers: Vec<usize> = numbers.map(|(_, number)| *number).collect();
        for number in numbers {
            if let Some(policy) = self.policies.get_mut(number) {
                policy.add_all(credential, at);
            }
        }
    }

    /// What was not used since `from`. Of a policy that was not used at all, only the policy.
    #[must_use]
    pub fn unused_since(&self, from: Timestamp) -> Vec<Unused<'set>> {
        self.policies
            .iter()
            .flat_map(|policy| policy.unused_since(from))
            .collect()
    }
}

impl<'set> PolicyUse<'set> {
    fn of(policy: &'set Policy) -> Self {
        Self {
            policy,
            times: Times::default(),
            grants: policy.grants.iter().map(GrantUse::of).collect(),
            blocks: policy.when.iter().map(BlockUse::of).collect(),
        }
    }

    /// Whether one of its grants may have given it.
    fn add(&mut self, one: &Use<'_>) -> bool {
        let mut is_known = false;
        for grant in &mut self.grants {
            if grant.may_have_given(one) {
                grant.add(one);
                is_known = true;
            }
        }
        if is_known {
            self.times.add(one.at);
            for block in &mut self.blocks {
                block.add(one);
            }
        }
        is_known
    }

    fn add_all(&mut self, credential: &str, at: Timestamp) {
        let mut is_of_it = false;
        let of_it = |one: &&mut GrantUse<'_>| one.grant.credential.name == credential;
        for grant in self.grants.iter_mut().filter(of_it) {
            is_of_it = true;
            grant.times.add(at);
            grant.longest = Some(grant.grant.longest());
            for (_, times) in &mut grant.scopes {
                times.add(at);
            }
        }
        if !is_of_it {
            return;
        }
        self.times.add(at);
        for block in &mut self.blocks {
            block.times.add(at);
            for (_, times) in block.lists.iter_mut().flat_map(|list| &mut list.members) {
                times.add(at);
            }
        }
    }

    fn unused_since(&self, from: Timestamp) -> Vec<Unused<'set>> {
        let policy = self.policy;
        let unused = |part, place, last| Unused {
            part,
            policy,
            place,
            last,
        };
        if !self.times.since(from) {
            return vec![unused(Part::Policy, &policy.place, self.times.last)];
        }
        let mut found = Vec::new();
        for one in &self.grants {
            let (grant, place) = (one.grant, &one.grant.place);
            if !one.times.since(from) {
                found.push(unused(Part::Grant(grant), place, one.times.last));
                continue;
            }
            let scopes = one.scopes.iter().filter(|(_, times)| !times.since(from));
            found.extend(
                scopes.map(|(scope, times)| unused(Part::Scope(grant, scope), place, times.last)),
            );
        }
        for one in &self.blocks {
            if !one.times.since(from) {
                // The one block of a policy that was used has changed since.
                let place = one.block.places.first().unwrap_or(&policy.place);
                found.push(unused(Part::Block, place, one.times.last));
                continue;
            }
            for ListUse {
                condition,
                place,
                members,
            } in &one.lists
            {
                let members = members.iter().filter(|(_, times)| !times.since(from));
                found.extend(members.map(|(member, times)| {
                    unused(Part::Member(condition, member), place, times.last)
                }));
            }
        }
        found
    }
}

impl<'set> GrantUse<'set> {
    fn of(grant: &'set Grant) -> Self {
        let scopes = grant.scopes.iter();
        Self {
            grant,
            times: Times::default(),
            longest: None,
            scopes: scopes
                .map(|scope| (scope.as_str(), Times::default()))
                .collect(),
        }
    }

    /// Several grants of a policy may have given the same: each of them counts as used.
    fn may_have_given(&self, one: &Use<'_>) -> bool {
        let has = |scope: &&str| self.grant.scopes.iter().any(|own| own == scope);
        let longest = self.grant.longest().saturating_add(ROUNDING);
        self.grant.credential.name == one.credential
            && one.scopes.iter().all(has)
            && one.life <= longest
    }

    fn add(&mut self, one: &Use<'_>) {
        self.times.add(one.at);
        self.longest = self.longest.max(Some(one.life));
        for (scope, times) in &mut self.scopes {
            if one.scopes.contains(scope) {
                times.add(one.at);
            }
        }
    }
}

impl<'set> BlockUse<'set> {
    fn of(block: &'set Block) -> Self {
        let lines = block.conditions.iter().zip(&block.places);
        let lists = lines.filter_map(|(condition, place)| {
            let Pattern::Any(members) = &condition.pattern else {
                return None;
            };
            let members = members.iter().map(|member| (member, Times::default()));
            Some(ListUse {
                condition,
                place,
                members: members.collect(),
            })
        });
        Self {
            block,
            times: Times::default(),
            lists: lists.collect(),
        }
    }

    fn add(&mut self, one: &Use<'_>) {
        let mut conditions = self.block.conditions.iter();
        if !conditions.all(|condition| may_fit(&condition.subject, &condition.pattern, one)) {
            return;
        }
        self.times.add(one.at);
        for list in &mut self.lists {
            for (member, times) in &mut list.members {
                if may_fit(&list.condition.subject, member, one) {
                    times.add(one.at);
                }
            }
        }
    }
}

/// Whether the job's value fits the pattern, as far as the log says.
fn may_fit(subject: &Subject, pattern: &Pattern, one: &Use<'_>) -> bool {
    let Subject::Fact(fact) = subject else {
        return true;
    };
    let text = match one.job.get(fact.name()) {
        // What is not in the token is not in the log.
        None if matches!(fact.fact_type(), FactType::Network | FactType::Clock) => return true,
        None => return pattern.fits(Observed::Absent),
        Some(Stated::Bool(value)) => return pattern.fits(Observed::Bool(*value)),
        Some(Stated::List(entries)) => {
            return entries.iter().any(|entry| !is_exact(entry))
                || pattern.fits(Observed::List(entries))
                || pattern.fits(Observed::Text(&entries.join(",")));
        }
        Some(Stated::Text(text)) => *text,
    };
    if !is_exact(text) {
        return true;
    }
    let entries: Vec<_> = text.split(',').map(str::to_owned).collect();
    match fact.fact_type() {
        FactType::Workflow => pattern.fits(Observed::Workflow(&Workflow::parse(text))),
        FactType::Network => {
            let address = text.parse();
            address.is_ok_and(|address| pattern.fits(Observed::Address(address)))
        }
        // Compared with the time of the decision, which is not looked at.
        FactType::Clock | FactType::Age => true,
        // Earlier versions stated a list as one text, and only the issuer says which facts are lists. A
        // comma in it may be one of an entry.
        FactType::Text | FactType::Bool | FactType::List => {
            let is_unsure = text.contains(',') && (pattern.names_comma() || pattern.negates());
            is_unsure
                || pattern.fits(Observed::Text(text))
                || pattern.fits(Observed::List(&entries))
        }
    }
}

/// Whether a text of the log is the value itself.
fn is_exact(text: &str) -> bool {
    !text.ends_with(CUT_MARK) && !text.contains("\\u{")
}

/// Lines of earlier versions have the end in whole seconds instead of the life.
const ROUNDING: Duration = Duration::from_secs(2);
