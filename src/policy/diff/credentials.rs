//! The credentials of both sets: what jobs gain and lose.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::defaults;
use super::definition::{defines_same, inputs, keys};
use super::rows::{Index, Rows};
use super::{Change, CredentialChange, Gained};
use crate::clock::Timestamp;
use crate::policy::literals::{Granted, Way};
use crate::policy::proof::{Answer, Found, Gain, Side, Witness, gains};
use crate::policy::{CredentialDefinition, Policy, PolicySet, Requirement};
use crate::provider::{Facts, Reader};

pub(super) struct Comparison<'a> {
    old: &'a PolicySet,
    new: &'a PolicySet,
    at: Timestamp,
    known: &'a [Facts],
    rosters: Index,
    before: HashMap<&'a str, Vec<Granted<'a>>>,
    after: HashMap<&'a str, Vec<Granted<'a>>>,
    /// Issuers of which tokens are read alike in both sets, and which have the same tenants, by name.
    kept_issuers: HashSet<&'a str>,
    /// All requirements are written alike.
    are_requirements_kept: bool,
}

impl<'a> Comparison<'a> {
    pub(super) fn of(
        old: &'a PolicySet,
        new: &'a PolicySet,
        at: Timestamp,
        known: &'a [Facts],
    ) -> Self {
        Self {
            old,
            new,
            at,
            known,
            rosters: Index::of(new),
            before: old.granted(),
            after: new.granted(),
            kept_issuers: kept_issuers(old, new),
            are_requirements_kept: are_requirements_kept(old, new),
        }
    }
}

impl Comparison<'_> {
    pub(super) fn credentials(&self) -> Vec<CredentialChange> {
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
            change: Change::Removed,
            place: self.old.place_of(&one.name).cloned(),
            ..CredentialChange::of(&one.name)
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
        let before = self.before.get(old_name).filter(|_| was.is_some());
        let before = before.map_or(&[][..], Vec::as_slice);
        let after = self.after.get(now.name.as_str());
        let after = after.map_or(&[][..], Vec::as_slice);
        let is_unused = after.is_empty() && before.is_empty();
        let are_same = is_unused || self.are_same(was, now, before, after);
        let changed = was.filter(|was| *was != now);
        let keys = changed.map(|was| keys(was, now)).unwrap_or_default();
        // Of two grants that give as much, the name decides.
        let [old_names, new_names] =
            [before, after].map(|granted| granted.iter().map(|(policy, _)| policy.name.as_str()));
        let are_named_alike = old_names.eq(new_names);
        let is_unchanged = are_same && are_named_alike && was.is_some();
        if is_unchanged && keys.is_empty() && old_name == now.name {
            return None;
        }
        let mut change = CredentialChange {
            was: Some(old_name.to_owned()).filter(|was| *was != now.name),
            keys,
            place: self.new.place_of(&now.name).cloned(),
            ..CredentialChange::of(&now.name)
        };
        let mut is_narrower = false;
        if !are_same || (was.is_some() && !are_named_alike) {
            let (before, after) = (self.old.ways_of(before), self.new.ways_of(after));
            let old = Self::side(self.old, old_name, &before);
            let new = Self::side(self.new, &now.name, &after);
            if was.is_some() {
                change.defaults = defaults::changes(old, new, self.at, self.known);
            }
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
            let is_lowered = now.class < was.class;
            if is_lowered {
                let note = format!(
                    "its class was lowered: what is required of class `{}` is not required of it",
                    was.class
                );
                change.notes.push(note);
            }
            change.is_wider_as_defined = (wider && is_granted) || is_lowered;
            change.is_wider = is_redefined || change.is_wider_as_defined;
            is_narrower |= narrower;
        }
        change.is_narrower = is_narrower;
        change.change = match was {
            None => Change::Added,
            Some(_) if is_redefined => {
                change.granted_by = granting(after);
                Change::Redefined
            }
            Some(_) => change.decided(),
        };
        if change.is_wider() {
            let gained = change.gained.iter().map(|one| &one.place);
            change.rows = self.rosters.rows(gained.chain(&change.place));
        }
        let is_silent = change.change == Change::Same
            && change.was.is_none()
            && change.keys.is_empty()
            && change.defaults.is_empty();
        (!is_silent).then_some(change)
    }

    /// Whether the grants, and the requirements on the credential, are written alike.
    fn are_same(
        &self,
        was: Option<&CredentialDefinition>,
        now: &CredentialDefinition,
        before: &[Granted<'_>],
        after: &[Granted<'_>],
    ) -> bool {
        let Some(was) = was else { return false };
        let is_selected_alike = self.are_requirements_kept
            && (&was.name, &was.owner, was.target()) == (&now.name, &now.owner, now.target());
        (was.class, was.kind.name) == (now.class, now.kind.name)
            && before.len() == after.len()
            && before
                .iter()
                .zip(after)
                .all(|(one, other)| self.grants_same(*one, *other))
            && (is_selected_alike || self.is_required_alike(was, now))
    }

    /// Whether it is granted to the same jobs, for the same request at the same times.
    fn grants_same(&self, (was, one): Granted<'_>, (now, other): Granted<'_>) -> bool {
        let times = |policy: &Policy| (policy.until, policy.shadow_until);
        was.issuer == now.issuer
            && self.kept_issuers.contains(now.issuer.as_str())
            && times(was) == times(now)
            && one.longest() == other.longest()
            && one.scopes == other.scopes
            && was.within == now.within
            && was.when == now.when
    }

    fn is_required_alike(&self, was: &CredentialDefinition, now: &CredentialDefinition) -> bool {
        let (before, after) = (required(self.old, was), required(self.new, now));
        let mut both = before.iter().zip(&after);
        before.len() == after.len()
            && both.all(|(one, other)| (&one.jobs, &one.unless) == (&other.jobs, &other.unless))
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

/// The policies of the grants, those without effect aside.
pub(super) fn granting(granted: &[Granted<'_>]) -> BTreeSet<String> {
    let policies = granted.iter().map(|(policy, _)| policy);
    let in_force = policies.filter(|policy| policy.shadow_until.is_none());
    in_force.map(|policy| policy.name.clone()).collect()
}

impl CredentialChange {
    pub(super) fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            was: None,
            change: Change::Same,
            gained: Vec::new(),
            defaults: Vec::new(),
            granted_by: BTreeSet::new(),
            lost: BTreeSet::new(),
            undecided: BTreeSet::new(),
            keys: Vec::new(),
            notes: Vec::new(),
            rows: Rows::new(),
            place: None,
            is_wider: false,
            is_wider_as_defined: false,
            is_narrower: false,
        }
    }

    /// What the jobs gain and lose, of a credential that is defined alike in both sets.
    pub(super) fn decided(&self) -> Change {
        match (self.is_wider(), self.is_narrower) {
            (true, true) => Change::WiderAndNarrower,
            (true, false) => Change::Wider,
            (false, _) if !self.undecided.is_empty() => Change::NotDecided,
            (false, true) => Change::Narrower,
            (false, false) => Change::Same,
        }
    }

    fn take(&mut self, gain: Gain<'_>) {
        let policy = gain.way.policy.name.clone();
        match gain.answer {
            Answer::Found(found) => self.gained.push(Gained {
                policy,
                place: gain.way.policy.place.clone(),
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
    /// Whether its conditions are written alike and its tokens are read alike.
    pub(in crate::policy) fn admits_same(&self, other: &Way<'_>) -> bool {
        let mut literals = self.literals.iter().zip(&other.literals);
        self.literals.len() == other.literals.len()
            && reads_same(self.reader, other.reader)
            && literals.all(|(one, other)| {
                (&one.variable, &one.constraint) == (&other.variable, &other.constraint)
            })
    }
}

fn reads_same(one: &Reader, other: &Reader) -> bool {
    one.issuer.url == other.issuer.url
        && one.issuer.name == other.issuer.name
        && one.reads_like(other)
}

/// The requirements on the credential that are in force.
fn required<'a>(set: &'a PolicySet, one: &CredentialDefinition) -> Vec<&'a Requirement> {
    let all = set.requirements.iter();
    let selected = all.filter(|each| each.shadow_until.is_none() && each.of.selects(one));
    selected.collect()
}

fn are_requirements_kept(old: &PolicySet, new: &PolicySet) -> bool {
    let mut both = old.requirements.iter().zip(&new.requirements);
    old.requirements.len() == new.requirements.len()
        && both.all(|(one, other)| {
            (&one.of, &one.jobs, &one.unless) == (&other.of, &other.jobs, &other.unless)
                && one.shadow_until == other.shadow_until
        })
}

fn kept_issuers<'a>(old: &PolicySet, new: &'a PolicySet) -> HashSet<&'a str> {
    let issuers = new.issuers.iter();
    let kept = issuers.filter(|now| {
        let was = old.issuer_named(&now.reader.issuer.name);
        was.is_some_and(|was| {
            reads_same(&was.reader, &now.reader)
                && was.tenants == now.tenants
                && was.has_events == now.has_events
        })
    });
    kept.map(|now| now.reader.issuer.name.as_str()).collect()
}
