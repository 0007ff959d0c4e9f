//! What a change of policies gives to jobs and takes from them, proven or with a job as witness.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::literals::Way;
use super::proof::{Answer, Found, Gain, Side, Witness, gains, some_text_is_new};
use super::{CredentialDefinition, PolicySet};
use crate::clock::Timestamp;
use crate::provider::{Facts, Reader};

/// A change of a credential, or of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It is something else under the same name, or is read by other rules.
    Redefined,
    /// Some job gets more, and none less.
    Wider,
    WiderAndNarrower,
    Added,
    /// A search came to no end.
    NotDecided,
    Narrower,
    Removed,
    Same,
}

impl Change {
    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redefined => "redefined",
            Self::Wider => "wider",
            Self::WiderAndNarrower => "wider and narrower",
            Self::Added => "added",
            Self::NotDecided => "not decided",
            Self::Narrower => "narrower",
            Self::Removed => "removed",
            Self::Same => "same",
        }
    }
}

/// A way by which some job gets more than before.
#[derive(Debug)]
pub struct Gained {
    pub policy: String,
    pub place: String,
    pub ttl: Duration,
    pub scopes: Vec<String>,
    pub found: Found,
}

/// A credential that is not the same in both sets.
#[derive(Debug)]
pub struct CredentialChange {
    pub name: String,
    /// Its old name, if it has another one now.
    pub was: Option<String>,
    pub change: Change,
    /// One per way.
    pub gained: Vec<Gained>,
    /// Old policies by which some job got more.
    pub lost: BTreeSet<String>,
    /// What the proof did not decide.
    pub undecided: BTreeSet<String>,
    /// Other changes, each as a sentence.
    pub notes: Vec<String>,
    /// It counts as wider whatever jobs get it.
    pub is_wider: bool,
}

impl CredentialChange {
    /// Whether some job may get more than before.
    #[must_use]
    pub fn is_wider(&self) -> bool {
        self.is_wider || !self.gained.is_empty()
    }
}

/// An issuer that is not the same in both sets.
#[derive(Debug)]
pub struct IssuerChange {
    pub name: String,
    pub url: String,
    pub change: Change,
}

/// The difference of two sets.
#[derive(Debug)]
pub struct Diff {
    pub at: Timestamp,
    pub issuers: Vec<IssuerChange>,
    pub credentials: Vec<CredentialChange>,
    /// New entries that have no effect yet.
    pub shadowed: Vec<String>,
    /// Credentials of both sets together.
    pub compared: usize,
}

impl Diff {
    /// Whether some job may get more than before, or tokens are read by other rules.
    #[must_use]
    pub fn is_wider(&self) -> bool {
        let issuers = &mut self.issuers.iter();
        self.credentials.iter().any(CredentialChange::is_wider)
            || issuers.any(|one| matches!(one.change, Change::Redefined | Change::Added))
    }

    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.credentials.iter().any(|one| !one.undecided.is_empty())
    }

    /// Compares the sets for requests from `at` on. Jobs of `known` are preferred as witnesses.
    #[must_use]
    pub fn of(old: &PolicySet, new: &PolicySet, at: Timestamp, known: &[Facts]) -> Self {
        let comparison = Comparison {
            old,
            new,
            at,
            known,
            before: old.all_ways(),
            after: new.all_ways(),
        };
        let mut credentials = comparison.credentials();
        let removed = credentials
            .iter()
            .filter(|one| one.change == Change::Removed);
        let compared = new.credentials.len().saturating_add(removed.count());
        credentials.sort_by(|one, other| (one.change, &one.name).cmp(&(other.change, &other.name)));
        Self {
            at,
            issuers: issuers(old, new),
            credentials,
            shadowed: shadowed(old, new),
            compared,
        }
    }
}

struct Comparison<'a> {
    old: &'a PolicySet,
    new: &'a PolicySet,
    at: Timestamp,
    known: &'a [Facts],
    before: BTreeMap<&'a str, Vec<Way<'a>>>,
    after: BTreeMap<&'a str, Vec<Way<'a>>>,
}

impl Comparison<'_> {
    fn credentials(&self) -> Vec<CredentialChange> {
        let mut gone: Vec<&CredentialDefinition> = self
            .old
            .credentials()
            .filter(|one| self.new.credential(&one.name).is_none())
            .map(|one| &**one)
            .collect();
        let mut changes = Vec::new();
        for credential in self.new.credentials() {
            let same_name = self.old.credential(&credential.name).map(|one| &**one);
            let renamed = || {
                let position = gone.iter().position(|one| defines_same(one, credential))?;
                Some(gone.swap_remove(position))
            };
            let was = same_name.or_else(renamed);
            changes.extend(self.credential(was, credential));
        }
        changes.extend(gone.into_iter().map(|one| CredentialChange {
            name: one.name.clone(),
            was: None,
            change: Change::Removed,
            gained: Vec::new(),
            lost: BTreeSet::new(),
            undecided: BTreeSet::new(),
            notes: Vec::new(),
            is_wider: false,
        }));
        changes
    }

    fn side<'s>(set: &'s PolicySet, name: &'s str, ways: &'s [Way<'s>]) -> Side<'s> {
        Side {
            set,
            credential: name,
            ways,
        }
    }

    /// `None`: it is the same in both.
    fn credential(
        &self,
        was: Option<&CredentialDefinition>,
        now: &CredentialDefinition,
    ) -> Option<CredentialChange> {
        let old_name = was.map_or(now.name.as_str(), |was| was.name.as_str());
        let none = Vec::new();
        let before = self.before.get(old_name).filter(|_| was.is_some());
        let before = before.unwrap_or(&none);
        let after = self.after.get(now.name.as_str()).unwrap_or(&none);
        let is_unused = after.is_empty() && before.is_empty();
        let mut change = CredentialChange {
            name: now.name.clone(),
            was: Some(old_name.to_owned()).filter(|was| *was != now.name),
            change: Change::Same,
            gained: Vec::new(),
            lost: BTreeSet::new(),
            undecided: BTreeSet::new(),
            notes: was.map(|was| notes(was, now)).unwrap_or_default(),
            is_wider: false,
        };
        let old = Self::side(self.old, old_name, before);
        let new = Self::side(self.new, &now.name, after);
        let mut is_narrower = false;
        if !is_unused && !self.are_same(was, now, before, after) {
            for gain in gains(old, new, self.at, usize::MAX) {
                change.take(self.known(gain, old));
            }
            for loss in gains(new, old, self.at, usize::MAX) {
                let policy = loss.way.policy.name.clone();
                match loss.answer {
                    Answer::NotDecided(reason) => {
                        let reason = format!("what policy `{policy}` gave before: {reason}");
                        change.undecided.insert(reason);
                    }
                    Answer::Found(_) | Answer::Proven => {
                        is_narrower = true;
                        change.lost.insert(policy);
                    }
                }
            }
        }
        let is_redefined = was.is_some_and(|was| !defines_same(was, now));
        if let Some(was) = was {
            let (wider, narrower) = inputs(was, now);
            if wider {
                change
                    .notes
                    .push("its inputs may have more values".to_owned());
            }
            if narrower {
                change
                    .notes
                    .push("its inputs may have fewer values".to_owned());
            }
            let is_granted = !after.is_empty();
            change.is_wider = is_redefined || (wider && is_granted) || now.class < was.class;
            is_narrower |= narrower;
        }
        let is_wider = change.is_wider();
        change.change = match (was.is_some(), is_redefined, is_wider, is_narrower) {
            (true, true, _, _) => Change::Redefined,
            (false, _, _, _) => Change::Added,
            (true, false, true, true) => Change::WiderAndNarrower,
            (true, false, true, false) => Change::Wider,
            (true, false, false, _) if !change.undecided.is_empty() => Change::NotDecided,
            (true, false, false, true) => Change::Narrower,
            (true, false, false, false) => Change::Same,
        };
        let is_silent =
            change.change == Change::Same && change.was.is_none() && change.notes.is_empty();
        (!is_silent).then_some(change)
    }

    /// Whether the ways, and the requirements on the credential, are written alike.
    fn are_same(
        &self,
        was: Option<&CredentialDefinition>,
        now: &CredentialDefinition,
        before: &[Way<'_>],
        after: &[Way<'_>],
    ) -> bool {
        let Some(was) = was else { return false };
        let requirements = |set: &PolicySet, one: &CredentialDefinition| {
            let all = set.requirements.iter();
            let selected = all.filter(|each| each.shadow_until.is_none() && each.of.selects(one));
            let blocks = selected.map(|each| (each.jobs.clone(), each.unless.clone()));
            blocks.collect::<Vec<_>>()
        };
        before.len() == after.len()
            && before
                .iter()
                .zip(after)
                .all(|(one, other)| one.grants_same(other))
            && requirements(self.old, was) == requirements(self.new, now)
    }

    /// The same gain with a known job as witness, if one gains.
    fn known<'w>(&self, mut gain: Gain<'w>, old: Side<'_>) -> Gain<'w> {
        let Answer::Found(found) = &mut gain.answer else {
            return gain;
        };
        let url = &gain.way.reader.issuer.url;
        let of_issuer = |facts: &&Facts| facts.issuer_url() == url;
        for facts in self.known.iter().filter(of_issuer) {
            let facts = &*facts.at(found.at);
            let literals = &mut gain.way.literals.iter();
            if !literals.all(|literal| literal.holds(facts)) {
                continue;
            }
            let witness = Witness {
                facts: facts.clone(),
                claims: facts.claims().to_json(),
            };
            let candidate = Found {
                witness,
                ..(**found).clone()
            };
            if old.refuses(&candidate) && self.new.permits(facts, &candidate.ask, candidate.at) {
                **found = candidate;
                return gain;
            }
        }
        gain
    }
}

impl CredentialChange {
    fn take(&mut self, gain: Gain<'_>) {
        let policy = gain.way.policy.name.clone();
        match gain.answer {
            Answer::Found(found) => self.gained.push(Gained {
                policy,
                place: gain.way.policy.place.to_string(),
                ttl: gain.way.grant.longest(),
                scopes: gain.way.grant.scopes.clone(),
                found: *found,
            }),
            Answer::NotDecided(reason) => {
                let reason = format!("what policy `{policy}` gives now: {reason}");
                self.undecided.insert(reason);
            }
            Answer::Proven => {}
        }
    }
}

impl Way<'_> {
    /// Whether it is written like the other, for the same request at the same times.
    fn grants_same(&self, other: &Way<'_>) -> bool {
        let extent = |way: &Way<'_>| {
            let grant = way.grant;
            let times = (way.policy.until, way.policy.shadow_until);
            (grant.longest(), grant.scopes.clone(), times)
        };
        extent(self) == extent(other) && self.admits_same(other)
    }

    /// Whether its conditions are written alike and its tokens are read alike.
    pub(super) fn admits_same(&self, other: &Way<'_>) -> bool {
        let mut literals = self.literals.iter().zip(&other.literals);
        self.literals.len() == other.literals.len()
            && reads_same(self.reader, other.reader)
            && literals.all(|(one, other)| {
                (&one.variable, &one.constraint) == (&other.variable, &other.constraint)
            })
    }
}

fn reads_same(one: &Reader, other: &Reader) -> bool {
    let identity = |reader: &Reader| (reader.issuer.url.clone(), reader.issuer.name.clone());
    identity(one) == identity(other) && one.reads_like(other)
}

/// Whether they mint the same, scopes aside.
fn defines_same(one: &CredentialDefinition, other: &CredentialDefinition) -> bool {
    one.kind.name == other.kind.name
        && one.target() == other.target()
        && one.specific.decisive() == other.specific.decisive()
}

fn notes(was: &CredentialDefinition, now: &CredentialDefinition) -> Vec<String> {
    let mut notes = Vec::new();
    if was.class != now.class {
        let word = if now.class < was.class {
            "lowered"
        } else {
            "raised"
        };
        notes.push(format!("class {word} from {} to {}", was.class, now.class));
    }
    let texts = [
        ("owner", was.owner != now.owner),
        ("purpose", was.purpose != now.purpose),
        ("resource", was.resource != now.resource),
        ("dependents", was.dependents != now.dependents),
        ("rotation", was.rotate != now.rotate),
        ("labels", was.labels != now.labels),
    ];
    let changed = texts.into_iter().filter(|(_, is_changed)| *is_changed);
    notes.extend(changed.map(|(name, _)| format!("{name} changed")));
    notes
}

/// Whether the inputs of the new definition may have values that those of the old may not, and the
/// other way round.
fn inputs(was: &CredentialDefinition, now: &CredentialDefinition) -> (bool, bool) {
    let more = |from: &CredentialDefinition, to: &CredentialDefinition| {
        let mut names = from.inputs.keys();
        names.any(|name| match (from.inputs.get(name), to.inputs.get(name)) {
            (Some(from), Some(to)) => from != to && some_text_is_new(from, to),
            (Some(_), None) => true,
            (None, _) => false,
        })
    };
    (more(was, now), more(now, was))
}

fn issuers(old: &PolicySet, new: &PolicySet) -> Vec<IssuerChange> {
    let change = |reader: &Reader, change| IssuerChange {
        name: reader.issuer.name.clone(),
        url: reader.issuer.url.clone(),
        change,
    };
    let mut changes = Vec::new();
    for reader in new.readers() {
        match old.reader_by_url(&reader.issuer.url) {
            None => changes.push(change(reader, Change::Added)),
            Some(was) if was.provider.name != reader.provider.name => {
                changes.push(change(reader, Change::Redefined));
            }
            Some(was) => {
                let found = trust(was, reader);
                if found != Change::Same {
                    changes.push(change(reader, found));
                }
            }
        }
    }
    let gone = |reader: &&Reader| new.reader_by_url(&reader.issuer.url).is_none();
    let gone = old.readers().iter().filter(gone);
    changes.extend(gone.map(|reader| change(reader, Change::Removed)));
    changes
}

/// How the tokens of the issuer are checked and read. Fewer keys, algorithms, audiences, networks and
/// hosts, and shorter times, are narrower; every other difference is a redefinition.
fn trust(was: &Reader, now: &Reader) -> Change {
    let (old, new) = (&was.issuer, &now.issuer);
    let mut narrowed = (**old).clone();
    narrowed.name.clone_from(&new.name);
    if new
        .algorithms
        .iter()
        .all(|one| old.algorithms.contains(one))
    {
        narrowed.algorithms.clone_from(&new.algorithms);
    }
    let audiences = &mut new.tolerated_audiences.iter();
    if audiences.all(|one| old.tolerated_audiences.contains(one)) {
        narrowed
            .tolerated_audiences
            .clone_from(&new.tolerated_audiences);
    }
    if new.networks.iter().all(|one| old.networks.contains(one)) {
        narrowed.networks.clone_from(&new.networks);
    }
    if new.key_hosts.iter().all(|one| old.key_hosts.contains(one)) {
        narrowed.key_hosts.clone_from(&new.key_hosts);
    }
    if old
        .blocked_kids
        .iter()
        .all(|one| new.blocked_kids.contains(one))
    {
        narrowed.blocked_kids.clone_from(&new.blocked_kids);
    }
    for (narrowed, new) in [
        (&mut narrowed.leeway, new.leeway),
        (&mut narrowed.max_lifetime, new.max_lifetime),
        (&mut narrowed.max_age, new.max_age),
    ] {
        *narrowed = new.min(*narrowed);
    }
    if narrowed != **new || !was.reads_like(now) {
        return Change::Redefined;
    }
    narrowed.name.clone_from(&old.name);
    if narrowed == **old {
        Change::Same
    } else {
        Change::Narrower
    }
}

/// New entries with `shadow_until`, as in the file.
fn shadowed(old: &PolicySet, new: &PolicySet) -> Vec<String> {
    let entries = |set: &PolicySet| {
        let policies = set.policies.iter().filter(|one| one.shadow_until.is_some());
        let policies = policies.map(|one| format!("policy `{}`", one.name));
        let requirements = set.requirements.iter();
        let requirements = requirements.filter(|one| one.shadow_until.is_some());
        let requirements = requirements.map(|one| format!("requirement `{}`", one.name));
        policies.chain(requirements).collect::<BTreeSet<String>>()
    };
    let known = entries(old);
    entries(new).difference(&known).cloned().collect()
}

impl PolicySet {
    /// Lets entries with `shadow_until` be in force, to see what that would change.
    pub fn enforce_shadowed(&mut self) {
        for policy in &mut self.policies {
            policy.shadow_until = None;
        }
        for requirement in &mut self.requirements {
            requirement.shadow_until = None;
        }
    }
}
