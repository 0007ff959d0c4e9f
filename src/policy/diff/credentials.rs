//! The credentials of both sets: what jobs gain and lose.

use std::collections::{BTreeMap, BTreeSet};

use super::definition::{defines_same, inputs, keys};
use super::rows::{Index, Rows};
use super::{Change, CredentialChange, Gained};
use crate::clock::Timestamp;
use crate::policy::literals::Way;
use crate::policy::proof::{Answer, Found, Gain, Side, Witness, gains};
use crate::policy::{CredentialDefinition, PolicySet};
use crate::provider::{Facts, Reader};

pub(super) struct Comparison<'a> {
    old: &'a PolicySet,
    new: &'a PolicySet,
    at: Timestamp,
    known: &'a [Facts],
    rosters: Index,
    before: BTreeMap<&'a str, Vec<Way<'a>>>,
    after: BTreeMap<&'a str, Vec<Way<'a>>>,
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
            before: old.all_ways(),
            after: new.all_ways(),
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
        let none = Vec::new();
        let before = self.before.get(old_name).filter(|_| was.is_some());
        let before = before.unwrap_or(&none);
        let after = self.after.get(now.name.as_str()).unwrap_or(&none);
        let is_unused = after.is_empty() && before.is_empty();
        let mut change = CredentialChange {
            was: Some(old_name.to_owned()).filter(|was| *was != now.name),
            keys: was.map(|was| keys(was, now)).unwrap_or_default(),
            place: self.new.place_of(&now.name).cloned(),
            ..CredentialChange::of(&now.name)
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
            let is_lowered = now.class < was.class;
            if is_lowered {
                let note = format!(
                    "its class was lowered: what is required of class `{}` is not required of it",
                    was.class
                );
                change.notes.push(note);
            }
            change.is_wider = is_redefined || (wider && is_granted) || is_lowered;
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
        if is_wider || is_redefined {
            let gained = change.gained.iter().map(|one| &one.place);
            change.rows = self.rosters.rows(gained.chain(&change.place));
        }
        let is_silent =
            change.change == Change::Same && change.was.is_none() && change.keys.is_empty();
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
    fn of(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            was: None,
            change: Change::Same,
            gained: Vec::new(),
            lost: BTreeSet::new(),
            undecided: BTreeSet::new(),
            keys: Vec::new(),
            notes: Vec::new(),
            rows: Rows::new(),
            place: None,
            is_wider: false,
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
    let identity = |reader: &Reader| (reader.issuer.url.clone(), reader.issuer.name.clone());
    identity(one) == identity(other) && one.reads_like(other)
}
