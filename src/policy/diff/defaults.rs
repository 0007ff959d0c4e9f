//! What a request gets that names neither lifetime nor scopes: of several grants the longest, then the one
//! with most scopes. A change of policies can give such a request something else and refuse nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::decide::Verdict;
use crate::policy::literals::Way;
use crate::policy::proof::{Answer, Question, Side};
use crate::policy::{Ask, Block, Policy};
use crate::provider::{Fact, FactValue, Facts};

/// A job that both sets serve, and that gets something else if it names neither lifetime nor scopes.
#[derive(Debug)]
pub struct DefaultChange {
    pub old: Given,
    pub new: Given,
    pub job: Facts,
}

/// What such a request gets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Given {
    pub policy: String,
    pub ttl: Duration,
    pub scopes: Vec<String>,
}

/// The changes that are found: with jobs of tests, and with one job for each two blocks of an old and a new
/// policy. There may be others.
pub(super) fn changes(
    old: Side<'_>,
    new: Side<'_>,
    at: Timestamp,
    known: &[Facts],
) -> Vec<DefaultChange> {
    let values = |side: Side<'_>| side.ways.iter().map(value).collect::<BTreeSet<_>>();
    let (before, after) = (values(old), values(new));
    if before.union(&after).count() < 2 {
        return Vec::new();
    }
    let mut found = Found {
        old,
        new,
        at,
        seen: BTreeSet::new(),
        changes: Vec::new(),
    };
    for job in known.iter().take(MOST_JOBS) {
        found.compare(job);
    }
    let mut questions = 0_usize;
    let pairs = pairs(old.ways, new.ways);
    for (was, now) in pairs
        .into_iter()
        .filter(|(was, now)| value(was) != value(now))
    {
        for (one, other) in blocks(was.policy, now.policy) {
            questions = questions.saturating_add(1);
            if questions > MOST_QUESTIONS || found.changes.len() >= MOST_CHANGES {
                return found.changes;
            }
            let question = Question {
                fits: vec![one, other],
                ..Question::any_job(new.set, new.credential, at)
            };
            if let Answer::Found(job) = question.answer() {
                found.compare(&job.witness.facts);
            }
        }
    }
    found.changes
}

/// What the way gives a request that names nothing.
fn value(way: &Way<'_>) -> (Duration, Vec<String>) {
    (way.grant.longest(), way.grant.scopes.clone())
}

/// Ways of the same issuer, those of one policy first.
fn pairs<'w>(old: &'w [Way<'w>], new: &'w [Way<'w>]) -> Vec<(&'w Way<'w>, &'w Way<'w>)> {
    let mut seen = BTreeSet::new();
    let mut all: Vec<_> = old
        .iter()
        .take(MOST_QUESTIONS)
        .flat_map(|was| new.iter().take(MOST_QUESTIONS).map(move |now| (was, now)))
        .filter(|(was, now)| was.reader.issuer.url == now.reader.issuer.url)
        .filter(|(was, now)| {
            seen.insert((&was.policy.name, value(was), &now.policy.name, value(now)))
        })
        .collect();
    all.sort_by_key(|(was, now)| was.policy.name != now.policy.name);
    all
}

fn blocks<'p>(old: &'p Policy, new: &'p Policy) -> impl Iterator<Item = (&'p Block, &'p Block)> {
    let pairs = |one: &'p Block| new.when.iter().map(move |other| (one, other));
    old.when.iter().flat_map(pairs)
}

struct Found<'a> {
    old: Side<'a>,
    new: Side<'a>,
    at: Timestamp,
    /// The changes that are known, by what is given.
    seen: BTreeSet<(Given, Given)>,
    changes: Vec<DefaultChange>,
}

impl Found<'_> {
    fn compare(&mut self, job: &Facts) {
        let given = (given(self.old, job, self.at), given(self.new, job, self.at));
        let (Some(old), Some(new)) = given else {
            return;
        };
        let is_same = (old.ttl, &old.scopes) == (new.ttl, &new.scopes);
        if !is_same && self.seen.insert((old.clone(), new.clone())) {
            let job = job.clone();
            self.changes.push(DefaultChange { old, new, job });
        }
    }
}

/// `None`: the side refuses it.
fn given(side: Side<'_>, job: &Facts, at: Timestamp) -> Option<Given> {
    let reader = side.set.reader_by_url(job.issuer_url())?;
    let address = match job.get(Fact::SourceIp) {
        Some(FactValue::Address(address)) => Some(*address),
        Some(_) | None => None,
    };
    let job = reader
        .facts(job.claims().clone())
        .ok()?
        .from_address(address);
    let ask = Ask {
        credential: side.credential.to_owned(),
        ..Ask::default()
    };
    match side.set.explain(&job.at(at), &ask, at).verdict {
        Verdict::Permitted {
            policy,
            ttl,
            scopes,
        } => Some(Given {
            policy,
            ttl,
            scopes,
        }),
        Verdict::Denied(_) => None,
    }
}

const MOST_JOBS: usize = 200;
const MOST_QUESTIONS: usize = 64;
const MOST_CHANGES: usize = 3;
