//! The shortest text that is in all of some sets.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::lang::{Lang, State};
use super::plausible;

/// Steps that a search may still take.
#[derive(Debug)]
pub(super) struct Budget(u64);

/// A search took too many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent;

impl Budget {
    pub(super) const fn new(steps: u64) -> Self {
        Self(steps)
    }

    pub(super) fn spend(&mut self, steps: u64) -> Result<(), Spent> {
        self.0 = self.0.checked_sub(steps).ok_or(Spent)?;
        Ok(())
    }
}

/// A text that is not empty and in every set: the first of `known` that is, else one that looks real,
/// else a shortest one.
pub(super) fn text(
    sets: &[&Lang],
    known: &[String],
    budget: &mut Budget,
) -> Result<Option<String>, Spent> {
    budget.spend(1)?;
    let fits = |text: &str| !text.is_empty() && sets.iter().all(|set| set.has(text));
    let few = sets.iter().filter_map(|set| set.finite());
    if let Some(few) = few.min_by_key(Vec::len) {
        let mut fitting: Vec<&str> = few.into_iter().filter(|text| fits(text)).collect();
        fitting.sort_by_key(|text| (rank(known, text), text.len()));
        return Ok(fitting.first().map(|text| (*text).to_owned()));
    }
    if let Some(text) = known.iter().find(|text| fits(text)) {
        return Ok(Some(text.clone()));
    }
    let Some(text) = walk(&joined(sets), budget)? else {
        return Ok(None);
    };
    if plausible::is_plain(&text) {
        return Ok(Some(text));
    }
    let mut others = plausible::texts(sets).into_iter();
    Ok(Some(others.find(|other| fits(other)).unwrap_or(text)))
}

fn rank(known: &[String], text: &str) -> usize {
    let found = known.iter().position(|one| one == text);
    found.unwrap_or(usize::MAX)
}

/// The sets, with all excluded words as one set: one automaton in place of thousands.
fn joined(sets: &[&Lang]) -> Vec<Lang> {
    let mut excluded = Vec::new();
    let mut others = Vec::new();
    for set in sets {
        let inner = if let Lang::Not(inner) = set {
            &**inner
        } else {
            &Lang::All
        };
        if let Lang::Words(words) = inner {
            excluded.extend(words.iter().cloned());
        } else if **set != Lang::All {
            others.push((*set).clone());
        }
    }
    if !excluded.is_empty() {
        others.push(Lang::Not(Arc::new(Lang::words(excluded))));
    }
    others.sort_unstable();
    others.dedup();
    others
}

/// Breadth first over the product of the automata.
fn walk(sets: &[Lang], budget: &mut Budget) -> Result<Option<String>, Spent> {
    let bytes = representatives(sets);
    let start: Vec<State> = sets.iter().map(Lang::start).collect();
    // Not the start: a longer text may come back to it.
    let mut seen = HashSet::new();
    // Each with the one before it and the byte between.
    let mut parents: Vec<(usize, u8)> = vec![(0, 0)];
    let mut open = VecDeque::from([(0_usize, start)]);
    while let Some((number, states)) = open.pop_front() {
        if number > 0 && sets.iter().zip(&states).all(|(set, now)| set.accepts(now)) {
            return Ok(Some(spelled(&parents, number)));
        }
        for byte in &bytes {
            budget.spend(1)?;
            let both = sets.iter().zip(&states);
            let next: Vec<State> = both.map(|(set, now)| set.step(now, *byte)).collect();
            let mut both = sets.iter().zip(&next);
            if both.any(|(set, now)| set.fate(now) == Some(false)) || seen.contains(&next) {
                continue;
            }
            seen.insert(next.clone());
            open.push_back((parents.len(), next));
            parents.push((number, *byte));
        }
    }
    Ok(None)
}

fn spelled(parents: &[(usize, u8)], mut number: usize) -> String {
    let mut text = Vec::new();
    while number > 0 {
        let Some((before, byte)) = parents.get(number) else {
            break;
        };
        text.push(char::from(*byte));
        number = *before;
    }
    text.into_iter().rev().collect()
}

/// One byte of each kind that the automata tell apart: letters first, so that texts can be read.
fn representatives(sets: &[Lang]) -> Vec<u8> {
    let mut special = [false; 256];
    for set in sets {
        set.bytes(&mut special);
    }
    let is_special = |byte: &u8| special.get(usize::from(*byte)).is_some_and(|is| *is);
    let letters = (b'a'..=b'z').chain(b'0'..=b'9').chain(b'A'..=b'Z');
    let all: Vec<u8> = letters.chain(b' '..=b'~').collect();
    let common = all.iter().copied().find(|byte| !is_special(byte));
    let mut bytes: Vec<u8> = common.into_iter().collect();
    for byte in all.into_iter().filter(is_special) {
        if !bytes.contains(&byte) {
            bytes.push(byte);
        }
    }
    bytes
}
