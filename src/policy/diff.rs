//! What a change of policies gives to jobs and takes from them, proven or with a job as witness.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::proof::Found;
use super::{Block, PolicySet};
use crate::clock::Timestamp;
use crate::provider::Facts;
use crate::yaml::Place;

mod credentials;
mod defaults;
mod definition;
mod entries;
mod implied;
mod issuers;
mod lines;
mod rows;
mod targets;
mod waivers;

use credentials::Comparison;
pub use defaults::{DefaultChange, Given};
pub use lines::{LineChange, RemovedTests, Tested};
pub use rows::{RosterRows, Rows};
pub use targets::Destinations;
pub use waivers::WaiverChange;

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
    /// The word in reports for programs; with spaces for `_`, in those for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redefined => "redefined",
            Self::Wider => "wider",
            Self::WiderAndNarrower => "wider_and_narrower",
            Self::Added => "added",
            Self::NotDecided => "not_decided",
            Self::Narrower => "narrower",
            Self::Removed => "removed",
            Self::Same => "same",
        }
    }
}

/// A key with other values in the two sets, as in the files. `None`: it is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    pub key: String,
    pub old: Option<String>,
    pub new: Option<String>,
}

impl KeyChange {
    /// `None` if both values are the same.
    fn of(key: &str, old: Option<String>, new: Option<String>) -> Option<Self> {
        (old != new).then(|| Self {
            key: key.to_owned(),
            old,
            new,
        })
    }
}

/// A way by which some job gets more than before.
#[derive(Debug)]
pub struct Gained {
    pub policy: String,
    pub place: Place,
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
    /// What requests get that name neither lifetime nor scopes, if that is something else.
    pub defaults: Vec<DefaultChange>,
    /// The new policies that grant it, if it was redefined: their jobs get something else.
    pub granted_by: BTreeSet<String>,
    /// Old policies by which some job got more.
    pub lost: BTreeSet<String>,
    /// What the proof did not decide.
    pub undecided: BTreeSet<String>,
    /// The keys of its entry with another value.
    pub keys: Vec<KeyChange>,
    /// What these keys do, each as a sentence.
    pub notes: Vec<String>,
    /// The rows of rosters that make it wider, by roster.
    pub rows: Rows,
    /// The place of its entry, in the new set unless it was removed.
    pub place: Option<Place>,
    /// It counts as wider whatever jobs get it.
    pub is_wider: bool,
    /// The same, the definition aside.
    is_wider_as_defined: bool,
    /// Some job gets less, or may send less.
    is_narrower: bool,
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
    /// Its old name, if it has another one now.
    pub was: Option<String>,
    pub url: String,
    pub change: Change,
    /// The keys of its entry with another value.
    pub keys: Vec<KeyChange>,
    /// Credentials that jobs of it get and did not get before.
    pub widened: usize,
}

/// A requirement, the limits of a team, or the key `zone`, that is not the same in both sets.
#[derive(Debug)]
pub struct EntryChange {
    /// `requirement`, `team` or `key`.
    pub sort: &'static str,
    pub name: String,
    /// `added`, `removed` or `redefined`.
    pub change: Change,
    pub keys: Vec<KeyChange>,
}

/// The difference of two sets.
#[derive(Debug)]
pub struct Diff {
    pub at: Timestamp,
    pub issuers: Vec<IssuerChange>,
    pub credentials: Vec<CredentialChange>,
    /// `never:` and `only:` lines that were removed or loosened.
    pub lines: Vec<LineChange>,
    /// Waivers that were added or prolonged.
    pub waivers: Vec<WaiverChange>,
    /// Tests that the new side does not have.
    pub removed_tests: Vec<RemovedTests>,
    /// The test files of the old side do not load.
    pub are_lines_unread: bool,
    /// New and changed entries that have no effect yet: the sort of entry, and its name.
    pub shadowed: Vec<(&'static str, String)>,
    /// Requirements and the limits of teams that are not the same. What jobs gain by them is with the
    /// credentials.
    pub entries: Vec<EntryChange>,
    /// Settings beside the targets that are not the same; see [`Diff::compare_settings`].
    pub settings: Vec<KeyChange>,
    /// Credentials of both sets together.
    pub compared: usize,
}

impl Diff {
    /// Whether some job may get more than before, tokens are read by other rules, or less is checked.
    #[must_use]
    pub fn is_wider(&self) -> bool {
        let issuers = &mut self.issuers.iter();
        self.credentials.iter().any(CredentialChange::is_wider)
            || !self.lines.is_empty()
            || !self.waivers.is_empty()
            || !self.settings.is_empty()
            || issuers.any(|one| matches!(one.change, Change::Redefined | Change::Added))
    }

    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.are_lines_unread || self.credentials.iter().any(|one| !one.undecided.is_empty())
    }

    /// Compares the sets for requests from `at` on. Jobs of `known` are preferred as witnesses.
    #[must_use]
    pub fn of(old: &PolicySet, new: &PolicySet, at: Timestamp, known: &[Facts]) -> Self {
        let credentials = Comparison::of(old, new, at, known).credentials();
        let removed = credentials
            .iter()
            .filter(|one| one.change == Change::Removed);
        let compared = new.credentials.len().saturating_add(removed.count());
        let mut issuers = issuers::changes(old, new);
        for issuer in &mut issuers {
            let is_of_issuer =
                |gained: &Gained| gained.found.witness.facts.issuer_url() == issuer.url;
            let widened = credentials.iter();
            let widened = widened.filter(|one| one.gained.iter().any(is_of_issuer));
            issuer.widened = widened.count();
        }
        let mut diff = Self {
            at,
            issuers,
            credentials,
            lines: Vec::new(),
            waivers: waivers::changes(old, new, at),
            removed_tests: Vec::new(),
            are_lines_unread: false,
            shadowed: shadowed(old, new),
            entries: entries::changes(old, new),
            settings: Vec::new(),
            compared,
        };
        diff.sort();
        diff
    }

    /// Where each credential of the new set is in the list.
    fn positions(&self) -> HashMap<String, usize> {
        let all = self.credentials.iter().enumerate();
        let new = all.filter(|(_, one)| one.change != Change::Removed);
        new.map(|(number, one)| (one.name.clone(), number))
            .collect()
    }

    /// What counts as wider comes first.
    fn sort(&mut self) {
        let all = &mut self.credentials;
        all.sort_by(|one, other| (one.change, &one.name).cmp(&(other.change, &other.name)));
    }
}

/// Entries with `shadow_until` that are new or were changed.
fn shadowed(old: &PolicySet, new: &PolicySet) -> Vec<(&'static str, String)> {
    let all = |set: &PolicySet| {
        let policies = set.policies.iter().filter(|one| one.shadow_until.is_some());
        let policies = policies.map(|one| ("policy", one.name.clone(), one.to_yaml()));
        let requirements = set.requirements.iter();
        let requirements = requirements.filter(|one| one.shadow_until.is_some());
        let requirements = requirements.map(|one| {
            let keys = format!("{:?}", entries::keys(set, one));
            ("requirement", one.name.clone(), keys)
        });
        policies.chain(requirements).collect::<BTreeSet<_>>()
    };
    let (known, now) = (all(old), all(new));
    let changed = now.difference(&known);
    let changed: BTreeSet<_> = changed
        .map(|(sort, name, _)| (*sort, name.clone()))
        .collect();
    changed.into_iter().collect()
}

impl PolicySet {
    /// The block with the addresses of issuers in place of their names, which another set may give to
    /// other issuers.
    fn by_url(&self, block: &Block) -> Block {
        block.with_issuers(|name| {
            let issuer = self.issuer_named(name);
            issuer.map(|issuer| issuer.reader.issuer.url.as_str())
        })
    }

    fn zone_name(&self) -> Option<&str> {
        self.zone.name()
    }

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
