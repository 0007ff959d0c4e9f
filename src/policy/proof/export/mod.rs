//! The questions of a comparison in SMT-LIB 2.6, so that an independent solver can be asked too.
//!
//! This is a second writing of the question, from the conditions in the files. It shares no step with
//! the search: not its literals, sets of texts, simplifications or ways, and not its choice of the
//! largest request and of two times. Of a token it says what the reader does. A condition that it has
//! no term for is a constant that may be true or false, so that `unsat` stays an answer.

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

use super::gain::{Side, gains};
use super::{Answer, Way};
use crate::clock::Timestamp;
use crate::policy::{Block, CredentialDefinition, Grant, Policy, PolicySet};

mod address;
mod claims;
mod facts;
mod language;
mod line;
mod question;
mod term;

use question::{Asked, Half, is_open, requirements};

/// Which of the two sets permits what the other refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The new one.
    Gained,
    /// The old one.
    Lost,
}

impl Direction {
    /// The word in the names of files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gained => "gained",
            Self::Lost => "lost",
        }
    }

    /// The set that permits, and the one that refuses.
    const fn sets(self) -> (&'static str, &'static str) {
        match self {
            Self::Gained => ("new", "old"),
            Self::Lost => ("old", "new"),
        }
    }
}

/// Our own answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Sat,
    Unsat,
    /// The reason.
    Unknown(String),
}

impl Status {
    /// The word of SMT-LIB.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Sat => "sat",
            Self::Unsat => "unsat",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// A question, written as a file.
#[derive(Clone, Debug)]
pub struct Question {
    pub direction: Direction,
    /// The credential in the set that permits.
    pub credential: String,
    pub status: Status,
    pub text: String,
    /// The conditions that the file leaves open.
    pub unsaid: Vec<String>,
}

/// Two sets that are compared for requests from `at` on.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    pub old: &'a PolicySet,
    pub new: &'a PolicySet,
    pub at: Timestamp,
}

impl Compared<'_> {
    /// Writes each question about the credential, by its old name, if it has one, and its new one: for
    /// each block and grant of a policy that the other set does not have alike. Ends with the first
    /// error of `take`.
    ///
    /// # Errors
    /// What `take` returned.
    pub fn questions<E>(
        &self,
        was: Option<&str>,
        now: &str,
        take: &mut impl FnMut(Question) -> Result<(), E>,
    ) -> Result<(), E> {
        let old = Half {
            set: self.old,
            credential: was.and_then(|was| self.old.credential(was)),
        };
        let new = Half {
            set: self.new,
            credential: self.new.credential(now),
        };
        self.in_direction(Direction::Gained, new, old, take)?;
        self.in_direction(Direction::Lost, old, new, take)
    }

    fn in_direction<E>(
        &self,
        direction: Direction,
        granting: Half<'_>,
        other: Half<'_>,
        take: &mut impl FnMut(Question) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(credential) = granting.credential else {
            return Ok(());
        };
        let mut ways: Vec<Way<'_>> = Vec::new();
        let mut asked = Vec::new();
        for (policy, position, block, grant) in grants(granting.set, credential) {
            let Some(issuer) = granting.set.issuer_named(&policy.issuer) else {
                continue;
            };
            let one = Asked {
                direction,
                granting,
                other,
                issuer,
                policy,
                position,
                block,
                grant,
                at: self.at,
            };
            if is_open(block, &issuer.reader, credential) && !one.is_kept() {
                let first = ways.len();
                ways.extend(granting.set.ways_through(policy, block, &[grant]));
                asked.push((one, first..ways.len()));
            }
        }
        let other_name = other.credential.map_or("", |one| one.name.as_str());
        let other_ways = other.set.ways(other_name);
        let old = Side {
            set: other.set,
            credential: other_name,
            ways: &other_ways,
        };
        let new = Side {
            set: granting.set,
            credential: &credential.name,
            ways: &ways,
        };
        let gained = gains(old, new, self.at, usize::MAX);
        let gained = gained
            .iter()
            .map(|gain| (ptr::from_ref(gain.way), &gain.answer));
        let gained: HashMap<_, _> = gained.collect();
        for (one, range) in asked {
            let ways = ways.get(range).unwrap_or_default().iter();
            let answers = ways.filter_map(|way| gained.get(&ptr::from_ref(way)).copied());
            let status = one.status(&answers.collect::<Vec<_>>());
            let written = one.write(&status);
            take(Question {
                direction,
                credential: credential.name.clone(),
                status,
                text: written.text,
                unsaid: written.unsaid,
            })?;
        }
        Ok(())
    }
}

/// Every block and grant by which jobs may get the credential.
fn grants<'a>(
    set: &'a PolicySet,
    credential: &'a Arc<CredentialDefinition>,
) -> impl Iterator<Item = (&'a Policy, usize, &'a Block, &'a Grant)> {
    let policies = set.policies().iter();
    let in_force = policies.filter(|policy| policy.shadow_until.is_none());
    in_force.flat_map(move |policy| {
        let grants = policy.grants.iter();
        let grants = grants.filter(move |grant| grant.credential.name == credential.name);
        grants.flat_map(move |grant| {
            let blocks = policy.when.iter().enumerate();
            blocks.map(move |(position, block)| (policy, position, block, grant))
        })
    })
}

impl Asked<'_> {
    /// Whether the other set has the policy, the block, at least the grant, the tenants and the
    /// requirements written alike. Then the diff does not ask.
    fn is_kept(&self) -> bool {
        let name = &self.issuer.reader.issuer.name;
        let issuer = self.other.set.issuer_named(name);
        let is_issuer_kept = issuer.is_some_and(|issuer| {
            issuer.reader.issuer.url == self.issuer.reader.issuer.url
                && issuer.reader.reads_like(&self.issuer.reader)
                && issuer.tenants == self.issuer.tenants
        });
        let blocks = |half| {
            let all = requirements(half).map(|one| (&one.jobs, &one.unless));
            all.collect::<Vec<_>>()
        };
        let policies = &mut self.other.set.policies().iter();
        is_issuer_kept
            && blocks(self.granting) == blocks(self.other)
            && policies.any(|policy| self.is_kept_by(policy))
    }

    fn is_kept_by(&self, policy: &Policy) -> bool {
        let lasts = match (policy.until, self.policy.until) {
            (None, _) => true,
            (Some(other), Some(own)) => other >= own,
            (Some(_), None) => false,
        };
        let name = self.other.credential.map(|one| &one.name);
        let grants = &mut policy.grants.iter();
        lasts
            && (&policy.name, &policy.issuer) == (&self.policy.name, &self.policy.issuer)
            && policy.shadow_until.is_none()
            && policy.within == self.policy.within
            && policy.when.contains(self.block)
            && grants.any(|grant| {
                let scopes = &mut self.grant.scopes.iter();
                Some(&grant.credential.name) == name
                    && grant.longest() >= self.grant.longest()
                    && grant.credential.class == self.grant.credential.class
                    && scopes.all(|scope| grant.scopes.contains(scope))
            })
    }

    /// Of the answers to all tenants that are not `proven`, the one that counts.
    fn status(&self, answers: &[&Answer]) -> Status {
        let mut undecided = None;
        for answer in answers {
            match answer {
                Answer::Found(_) => return Status::Sat,
                Answer::NotDecided(reason) => undecided = Some(reason.clone()),
                Answer::Proven => {}
            }
        }
        if let Some(reason) = undecided {
            return Status::Unknown(reason);
        }
        if self.reads_alike() {
            Status::Unsat
        } else {
            Status::Unknown(REDEFINED.to_owned())
        }
    }
}

const REDEFINED: &str = "the two sets read the tokens of the issuer by other rules, which counts as wider, and \
                         the search does not compare which tokens they accept";
