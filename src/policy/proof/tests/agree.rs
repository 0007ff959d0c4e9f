//! The search against enumeration: random pairs of sets, and every job of a small universe.

use serde_json::{Map, Value, json};

use super::random::{Random, Topic, WORLDS, World, policies};
use super::*;
use crate::provider::{Facts, Job, Reader};
use crate::token::json::{Limits, parse_object};

/// T-332
#[test]
fn the_proof_agrees_with_enumeration() {
    agrees(1, 1_000, 100);
}

/// T-332
#[test]
#[ignore = "takes minutes: make test-long"]
fn long_the_proof_agrees_with_enumeration() {
    agrees(2, 10_000, usize::MAX);
}

/// Of a universe with more than `jobs` jobs, as many are tried as follow from the seed.
fn agrees(seed: u64, pairs: usize, jobs: usize) {
    let mut random = Random(seed);
    let (mut gained, mut proven, mut outside) = (0, 0, 0);
    for number in 0..pairs {
        let world = &WORLDS[number % WORLDS.len()];
        let mut topics: Vec<&Topic> = world.topics.iter().take(2).collect();
        for _ in 0..2 {
            let topic = random.pick(&world.topics[2..]);
            if !topics.iter().any(|other| std::ptr::eq(*other, topic)) {
                topics.push(topic);
            }
        }
        let (old, new) = loop {
            let old = policies(&mut random, world, &topics);
            let new = policies(&mut random, world, &topics);
            if let (Ok(old_set), Ok(new_set)) = (load(&old), load(&new)) {
                break ((old, old_set), (new, new_set));
            }
        };
        let about = || {
            format!(
                "pair {number} of seed {seed}:\nOLD\n{}\nNEW\n{}",
                old.0, new.0
            )
        };
        let answers = gained_of(&old.1, &new.1);
        let found = answers
            .iter()
            .any(|answer| matches!(answer, Answer::Found(_)));
        for answer in &answers {
            match answer {
                Answer::Found(found) => check(&old.1, &new.1, found, &about()),
                other @ (Answer::Proven | Answer::NotDecided(_)) => {
                    panic!("{other:?} in {}", about())
                }
            }
        }
        let witness = enumerate(&mut random, jobs, (world, &topics), &old.1, &new.1);
        match (&witness, found) {
            (Some(job), false) => panic!("{job} gains in {}", about()),
            // The universe is too small. The decision agreed above.
            (None, true) => outside += 1,
            (Some(_), true) => gained += 1,
            (None, false) => proven += 1,
        }
    }
    assert!(
        gained > pairs / 10 && proven > pairs / 10 && outside < pairs / 20,
        "{gained} {proven} {outside}"
    );
}

fn load(text: &str) -> Result<PolicySet, String> {
    let loaded = PolicySet::from_texts(&[("root.yaml", text)]);
    loaded
        .map(|loaded| loaded.set)
        .map_err(|errors| errors.to_string())
}

fn gained_of(old: &PolicySet, new: &PolicySet) -> Vec<Answer> {
    gained(old, new)
}

/// The decision itself, on the job of a witness.
fn check(old: &PolicySet, new: &PolicySet, found: &Found, about: &str) {
    let facts = |set: &PolicySet| {
        let text = Value::Object(found.witness.claims.clone()).to_string();
        let claims = parse_object(text.as_bytes(), &Limits::default()).unwrap();
        set.readers()[0].facts(claims).unwrap()
    };
    let decide = |set: &PolicySet| {
        set.decide(Job::of_facts(facts(set)), &found.ask, found.at)
            .is_ok()
    };
    assert!(decide(new), "{found:?} in {about}");
    assert!(!decide(old), "{found:?} in {about}");
}

/// A job of the universe that gets something in `new` and not in `old`, at a time that matters.
fn enumerate(
    random: &mut Random,
    jobs: usize,
    (world, topics): (&World, &[&Topic]),
    old: &PolicySet,
    new: &PolicySet,
) -> Option<String> {
    let claims: Vec<_> = topics.iter().flat_map(|topic| topic.claims).collect();
    let sizes: Vec<usize> = claims.iter().map(|(_, values)| values.len() + 1).collect();
    let size: usize = sizes.iter().product();
    let asks = asks(new);
    for number in 0..size.min(jobs) {
        let mut number = if size > jobs {
            random.number(size)
        } else {
            number
        };
        let mut job = Map::new();
        job.insert("iss".to_owned(), world.url.into());
        for ((pointer, values), size) in claims.iter().zip(&sizes) {
            if let Some(value) = values.get(number % size) {
                let value: Value = serde_json::from_str(value).unwrap();
                job.insert(pointer.replace('/', ""), value);
            }
            number /= size;
        }
        let text = json!(job).to_string();
        if let (Some(before), Some(after)) = (read(old, &text), read(new, &text)) {
            // Before, between and after the times of `until`.
            let times = [1_795_000_000, 1_800_000_000, 1_850_000_000].map(Timestamp::from_unix);
            for (ask, at) in asks.iter().flat_map(|ask| times.map(|at| (ask, at))) {
                if new.permits(&after, ask, at) && !old.permits(&before, ask, at) {
                    return Some(text);
                }
            }
        }
    }
    None
}

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

fn read(set: &PolicySet, text: &str) -> Option<Facts> {
    let reader: &Reader = &set.readers()[0];
    reader
        .facts(parse_object(text.as_bytes(), &Limits::default()).unwrap())
        .ok()
}
