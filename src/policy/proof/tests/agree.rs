//! The search against enumeration: random pairs of sets, and every request of a small universe.
//!
//! A topic of a universe is about claims that no other topic is about. So each condition is asked of the
//! values of each topic alone, and values of which all conditions say the same are one class. The
//! decision is asked of one request for each combination of classes.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::thread;

use super::random::{Random, policies};
use super::worlds::{Part, Topic, WORLDS, World};
use super::*;
use crate::policy::Condition;
use crate::provider::{Fact, Facts, Job};
use crate::token::json::{Limits, parse_object};

/// T-332
#[test]
fn the_proof_agrees_with_enumeration() {
    agrees(1, 500, 100);
}

/// T-332
#[test]
#[ignore = "takes minutes: make test-long"]
fn long_the_proof_agrees_with_enumeration() {
    agrees(2, 10_000, usize::MAX);
}

/// What became of pairs.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    gained: usize,
    proven: usize,
    /// The search found a request that is not in the universe.
    outside: usize,
    /// The search said that it came to no end.
    undecided: usize,
    /// Requests that were decided by enumeration.
    requests: usize,
}

/// Of a universe with more than `most` combinations of classes, as many are tried as follow from the
/// seed.
fn agrees(seed: u64, pairs: usize, most: usize) {
    let counts = thread::scope(|scope| {
        let parts = [0, 1].map(|part| {
            scope.spawn(move || {
                let numbers = (part..pairs).step_by(2);
                numbers.map(|number| of_pair(seed, number, most)).collect()
            })
        });
        let counts = parts
            .into_iter()
            .flat_map(|part| -> Vec<Counts> { part.join().unwrap() });
        counts.fold(Counts::default(), |all, one| Counts {
            gained: all.gained + one.gained,
            proven: all.proven + one.proven,
            outside: all.outside + one.outside,
            undecided: all.undecided + one.undecided,
            requests: all.requests + one.requests,
        })
    });
    let Counts {
        gained,
        proven,
        outside,
        undecided,
        ..
    } = counts;
    assert!(
        gained > pairs / 10
            && proven > pairs / 10
            && outside < pairs / 20
            && undecided <= pairs / 1_000,
        "{counts:?}"
    );
}

fn of_pair(seed: u64, number: usize, most: usize) -> Counts {
    let random = &mut Random(seed.wrapping_mul(1 << 32).wrapping_add(number as u64));
    let world = &WORLDS[number % WORLDS.len()];
    let mut topics: Vec<&Topic> = world.topics.iter().take(2).collect();
    for _ in 0..3 {
        let topic = random.pick(&world.topics[2..]);
        if !topics.iter().any(|other| std::ptr::eq(*other, topic)) {
            topics.push(topic);
        }
    }
    let mut loaded = || {
        loop {
            let text = policies(random, world, &topics);
            if let Ok(loaded) = PolicySet::from_texts(&[("root.yaml", &text)]) {
                break (text, loaded.set);
            }
        }
    };
    let (old, new) = (loaded(), loaded());
    let about = format!(
        "pair {number} of seed {seed}:\nOLD\n{}\nNEW\n{}",
        old.0, new.0
    );
    let universe = Universe::new(world, &topics, &old.1, &new.1);
    let answers = gained(&old.1, &new.1);
    let undecided = answers
        .iter()
        .any(|answer| matches!(answer, Answer::NotDecided(_)));
    if undecided {
        return Counts {
            undecided: 1,
            ..Counts::default()
        };
    }
    for answer in &answers {
        match answer {
            Answer::Found(found) => universe.check(found, &about),
            other @ (Answer::Proven | Answer::NotDecided(_)) => panic!("{other:?} in {about}"),
        }
    }
    let (witness, requests) = universe.enumerate(random, most, &about);
    let mut counts = Counts {
        requests,
        ..Counts::default()
    };
    match (&witness, answers.is_empty()) {
        (Some(request), true) => panic!("{request} gains in {about}"),
        // The universe is too small. The decision agreed above.
        (None, false) => counts.outside = 1,
        (Some(_), false) => counts.gained = 1,
        (None, true) => counts.proven = 1,
    }
    counts
}

/// Values of parts of a request.
type Values = Vec<(Part, String)>;

struct Universe<'a> {
    world: &'a World,
    old: &'a PolicySet,
    new: &'a PolicySet,
    /// The values of each topic.
    topics: Vec<Vec<Values>>,
    /// Of each topic one of each class.
    classes: Vec<Vec<Values>>,
}

impl<'a> Universe<'a> {
    fn new(world: &'a World, topics: &[&Topic], old: &'a PolicySet, new: &'a PolicySet) -> Self {
        let mut universe = Self {
            world,
            old,
            new,
            topics: topics.iter().map(|topic| values_of(topic)).collect(),
            classes: Vec::new(),
        };
        if !topics.iter().any(|topic| has_moments(topic)) {
            let ends = ENDS.iter().map(|at| vec![(Part::Moment, at.to_string())]);
            universe.topics.push(ends.collect());
        }
        let conditions = [old, new].map(conditions);
        let classes = universe.topics.iter().map(|values| {
            let mut seen = HashSet::new();
            let mut classes = values.clone();
            classes.retain(|values| {
                let kind = universe.kind(values, &conditions);
                kind.is_some_and(|kind| seen.insert(kind))
            });
            classes
        });
        universe.classes = classes.collect();
        universe
    }

    /// What conditions say of the values alone; `None`: a reader refuses the token.
    fn kind(
        &self,
        values: &Values,
        conditions: &[Vec<&Condition>; 2],
    ) -> Option<(Vec<bool>, String)> {
        let (before, after) = (self.read(self.old, values)?, self.read(self.new, values)?);
        let mut said = Vec::new();
        for (facts, conditions) in [&before, &after].into_iter().zip(conditions) {
            said.extend(conditions.iter().map(|condition| condition.holds(facts)));
        }
        let at = before.decided_at().unwrap();
        let policies = [self.old, self.new]
            .into_iter()
            .flat_map(|set| &set.policies);
        said.extend(policies.map(|policy| policy.until.is_none_or(|until| at < until)));
        Some((
            said,
            after.text(Fact::Trigger).unwrap_or_default().to_owned(),
        ))
    }

    /// The facts that a set reads in a request.
    fn read(&self, set: &PolicySet, values: &Values) -> Option<Facts> {
        let at = values.iter().find(|(part, _)| *part == Part::Moment);
        let at = at.map_or(NOW, |(_, at)| Timestamp::from_unix(at.parse().unwrap()));
        let mut address = None;
        let mut token = format!("{{\"iss\":\"{}\"", self.world.url);
        for (part, value) in values {
            match part {
                Part::Claim(name) => write!(token, ",\"{name}\":{value}").unwrap(),
                Part::Age => {
                    let signed_in = at.plus(-value.parse::<i64>().unwrap()).unix();
                    write!(token, ",\"auth_time\":{signed_in}").unwrap();
                }
                Part::Address => address = Some(value.parse().unwrap()),
                Part::Moment => {}
            }
        }
        token.push('}');
        let claims = parse_object(token.as_bytes(), &Limits::default()).unwrap();
        let facts = set.reader_by_url(self.world.url).unwrap().facts(claims);
        Some(facts.ok()?.from_address(address).at(at).into_owned())
    }

    /// The decision itself, on the request of a witness.
    fn check(&self, found: &Found, about: &str) {
        let decide = |set: &PolicySet| {
            let text = serde_json::Value::Object(found.witness.claims.clone()).to_string();
            let claims = parse_object(text.as_bytes(), &Limits::default()).unwrap();
            let facts = set
                .reader_by_url(self.world.url)
                .unwrap()
                .facts(claims)
                .unwrap();
            let address = match found.witness.facts.get(Fact::SourceIp) {
                Some(FactValue::Address(address)) => Some(*address),
                _ => None,
            };
            let found_job = Job::of_facts(facts.from_address(address));
            set.decide(found_job, &found.ask, found.at).is_ok()
        };
        assert!(decide(self.new), "{found:?} in {about}");
        assert!(!decide(self.old), "{found:?} in {about}");
    }

    /// A request of the universe that gets something in the new set and not in the old one, and how many
    /// were tried.
    fn enumerate(&self, random: &mut Random, most: usize, about: &str) -> (Option<String>, usize) {
        let asks = asks(self.new);
        let sizes: Vec<usize> = self.classes.iter().map(Vec::len).collect();
        let size: usize = sizes.iter().product();
        for number in 0..size.min(most) {
            let mut number = if size > most {
                random.number(size)
            } else {
                number
            };
            let mut request = Values::new();
            for (classes, size) in self.classes.iter().zip(&sizes) {
                request.extend(classes[number % size].iter().cloned());
                number /= size;
            }
            if self.gains(&asks, &request) {
                return (Some(format!("{request:?}")), number + 1);
            }
        }
        // Values themselves, and not one for each class.
        for _ in 0..3 {
            let parts = self.topics.iter().filter(|values| !values.is_empty());
            let request = parts
                .flat_map(|values| random.pick(values).clone())
                .collect();
            assert!(
                size > most || !self.gains(&asks, &request),
                "{request:?} in {about}"
            );
        }
        (None, size.min(most))
    }

    fn gains(&self, asks: &[Ask], request: &Values) -> bool {
        let Some(after) = self.read(self.new, request) else {
            return false;
        };
        let at = after.decided_at().unwrap();
        let granted = asks.iter().filter(|ask| self.new.permits(&after, ask, at));
        let granted: Vec<_> = granted.collect();
        if granted.is_empty() {
            return false;
        }
        let before = self.read(self.old, request);
        before.is_some_and(|before| {
            granted
                .iter()
                .any(|ask| !self.old.permits(&before, ask, at))
        })
    }
}

/// Every condition of a set.
fn conditions(set: &PolicySet) -> Vec<&Condition> {
    let policies = set.policies.iter().flat_map(|policy| &policy.when);
    let requirements = set.requirements.iter();
    let requirements = requirements.flat_map(|one| [&one.jobs].into_iter().chain(&one.unless));
    let tenants = set
        .issuers
        .iter()
        .filter_map(|issuer| issuer.tenants.as_ref());
    let blocks = policies.chain(requirements).chain(tenants.flatten());
    blocks.flat_map(|block| &block.conditions).collect()
}

fn has_moments(topic: &Topic) -> bool {
    topic.parts.iter().any(|(part, _)| *part == Part::Moment)
}

/// Every combination of values of the parts of a topic.
fn values_of(topic: &Topic) -> Vec<Values> {
    let mut all = vec![Values::new()];
    for (part, values) in topic.parts {
        if *part == Part::Moment {
            all = MOMENTS
                .iter()
                .map(|at| vec![(*part, at.to_string())])
                .collect();
            continue;
        }
        let with = all.iter().flat_map(|before| {
            values.iter().map(move |value| {
                let mut with = before.clone();
                with.push((*part, (*value).to_owned()));
                with
            })
        });
        let with: Vec<Values> = with.collect();
        all.extend(with);
    }
    all
}

/// The first moment, and the ends of policies.
const ENDS: [i64; 4] = [NOW.unix(), 1_795_132_800, 1_795_521_600, 1_830_297_600];

/// The full hours of eight days of the winter, and of a week after the last end.
static MOMENTS: LazyLock<Vec<i64>> = LazyLock::new(|| {
    let hours = [(ENDS[0], 8), (ENDS[3], 7)]
        .into_iter()
        .flat_map(|(from, days)| {
            let first = (from / 3_600 + 1) * 3_600;
            (0..days * 24).map(move |hour| first + hour * 3_600)
        });
    ENDS.into_iter().chain(hours).collect()
});

/// The largest request that each grant covers: the others are covered by more.
fn asks(set: &PolicySet) -> Vec<Ask> {
    let mut asks: Vec<Ask> = Vec::new();
    for way in set.ways("api") {
        let ask = most(&way);
        if !asks.contains(&ask) {
            asks.push(ask);
        }
    }
    asks
}
