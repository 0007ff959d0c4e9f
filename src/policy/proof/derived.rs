//! Facts that are computed from claims, as constraints on those claims.

use std::sync::Arc;

use super::constraints::{Atom, Clause, Constraints, Term, within};
use super::entries;
use super::joined;
use super::lang::Lang;
use super::space::Space;
use super::value::ValueSet;
use crate::provider::{
    Claim, Fact, FactType, How, Reader, Reading, TRIGGERS, Take, Way, When, pointer,
};

/// The fact's value is in the set.
pub(super) fn read(
    space: &mut Space<'_>,
    line: &Claim,
    reading: &Reading,
    set: ValueSet,
) -> Option<Constraints> {
    let fact = Some(reading.fact);
    match reading.how {
        How::Sent => Some(Constraints::single(space.claim(&line.pointer(), fact), set)),
        How::Ways(ways) => {
            if let Some(name) = reading.shared() {
                let mut claims = ways.iter().map(|way| pointer(way.claim));
                // It can say every value, unless a condition is about how it is said.
                if !claims.any(|claim| space.names(&claim)) {
                    let number = space.claim(&pointer(name), fact);
                    return Some(Constraints::single(number, set));
                }
            }
            let set = as_words(reading.fact, set);
            let (holds, fails) = (
                of_ways(space, ways, &set),
                of_ways(space, ways, &set.inverted()),
            );
            Some(collapsed(&holds).unwrap_or(Constraints { holds, fails }))
        }
        How::Differs(other) => {
            let pair = (
                space.claim(&line.pointer(), fact),
                space.claim(&pointer(other), fact),
            );
            if space.pair.is_some_and(|known| known != pair) {
                return None;
            }
            space.pair = Some(pair);
            Some(Constraints {
                holds: differ(pair, &set),
                fails: differ(pair, &set.inverted()),
            })
        }
        How::Below(top) => {
            let top = space.claim(&pointer(top), None);
            joined::read((top, space.claim(&line.pointer(), None)), &set)
        }
    }
}

/// The words that the ways make of a boolean fact.
fn as_words(fact: Fact, mut set: ValueSet) -> ValueSet {
    if fact.fact_type() == FactType::Bool {
        let words = [("true", set.yes), ("false", set.no)].into_iter();
        let words = words.filter(|(_, is)| *is);
        set.text = Lang::words(words.map(|(word, _)| word.to_owned()));
    }
    set
}

/// A claim and values of it.
type Part = (usize, ValueSet);

/// The first way that applies makes a value of the set, or none applies and the set has the absent
/// value.
fn of_ways(space: &mut Space<'_>, ways: &[Way], set: &ValueSet) -> Clause {
    let mut clause = Vec::new();
    let mut before: Vec<Vec<Part>> = vec![Vec::new()];
    for way in ways {
        let mut applies: Vec<Part> = Vec::new();
        for when in way.when {
            applies.push((space.claim(&pointer(when.claim()), None), satisfying(when)));
        }
        let mut fits = applies.clone();
        if let Take::Always(word) = way.take {
            if !set.text.has(word) {
                fits.push((0, ValueSet::none()));
            }
        } else {
            let number = space.claim(&pointer(way.claim), None);
            let (takes, fitting) = taken(way.take, &set.text);
            applies.push((number, ValueSet::texts(takes)));
            fits.push((number, ValueSet::texts(fitting)));
        }
        clause.extend(before.iter().filter_map(|term| both(term, &fits)));
        before = before
            .iter()
            .flat_map(|term| {
                let failing = applies.iter();
                failing.filter_map(|(number, set)| both(term, &[(*number, set.clone().inverted())]))
            })
            .collect();
    }
    if set.absent {
        clause.extend(before);
    }
    let atoms = |term: Vec<Part>| {
        let parts = term.into_iter();
        parts.map(|(number, set)| within(number, set)).collect()
    };
    clause.into_iter().map(atoms).collect()
}

/// Both hold; `None` if it is plain that they cannot.
fn both(term: &[Part], others: &[Part]) -> Option<Vec<Part>> {
    let mut joined = term.to_vec();
    for (number, set) in others {
        if *set == ValueSet::none() {
            return None;
        }
        match joined.iter_mut().find(|(known, _)| known == number) {
            Some((_, known)) => *known = known.clone().and(set.clone()),
            None => joined.push((*number, set.clone())),
        }
    }
    Some(joined)
}

/// One constraint, if all are on one claim.
fn collapsed(clause: &Clause) -> Option<Constraints> {
    let mut all: Option<Part> = None;
    for term in clause {
        let [Atom::In(number, set)] = term.as_slice() else {
            return None;
        };
        let set = ValueSet::clone(set);
        all = match all {
            None => Some((*number, set)),
            Some((known, _)) if known != *number => return None,
            Some((known, joined)) => Some((known, joined.or(set))),
        };
    }
    let (number, set) = all?;
    Some(Constraints::single(number, set))
}

fn satisfying(when: &When) -> ValueSet {
    match when {
        When::Is(_, text) => ValueSet::texts(Lang::word(text)),
        When::True(_) => ValueSet {
            yes: true,
            ..ValueSet::none()
        },
        When::Absent(_) => ValueSet::optional(Lang::none()),
    }
}

/// The texts of which something is made, and those of which a text of the set is.
fn taken(take: Take, set: &Lang) -> (Lang, Lang) {
    let in_set = |word: &str| set.has(word);
    match take {
        Take::Sent => (Lang::All, set.clone()),
        Take::Prefixed(prefix) => {
            let texts = Lang::After(prefix.into(), Arc::new(set.clone()));
            (Lang::All, texts)
        }
        Take::Starting(start) => {
            let texts = starting(start);
            (texts.clone(), texts.and(set.clone()))
        }
        Take::Part(shape) => {
            let with = |parts: Lang| Lang::Part(shape, Arc::new(parts));
            (with(Lang::All), with(set.clone()))
        }
        Take::File(cut) => {
            let with = |files: Lang| Lang::Path(Arc::new(Lang::File(cut, Arc::new(files))));
            (with(Lang::All), with(set.clone()))
        }
        Take::Words { words, other } => {
            let texts = |is_wanted: &dyn Fn(&str) -> bool| {
                let lines = words.iter().filter(|(word, _)| is_wanted(word));
                Lang::words(lines.map(|(_, text)| (*text).to_owned()))
            };
            match other {
                None => (texts(&|_| true), texts(&in_set)),
                Some(other) if in_set(other) => {
                    (Lang::All, texts(&|word| !in_set(word)).inverted())
                }
                Some(_) => (Lang::All, texts(&in_set)),
            }
        }
        Take::Starts(words) => {
            let (mut takes, mut fits) = (Lang::none(), Lang::none());
            for (start, word) in words {
                let texts = starting(start).and(takes.clone().inverted());
                if in_set(word) {
                    fits = fits.or(texts);
                }
                takes = takes.or(starting(start));
            }
            (takes, fits)
        }
        Take::Word(word) | Take::Always(word) => {
            let fits = if in_set(word) {
                Lang::All
            } else {
                Lang::none()
            };
            (Lang::All, fits)
        }
    }
}

/// The texts that start like this, and go on.
fn starting(start: &'static str) -> Lang {
    Lang::Starting(start)
}

fn differ((one, other): (usize, usize), set: &ValueSet) -> Clause {
    let mut clause = Vec::new();
    for (is_wanted, equal) in [(set.yes, false), (set.no, true)] {
        if is_wanted {
            let text = || ValueSet::texts(Lang::All);
            let both = [within(one, text()), within(other, text())];
            clause.push(both.into_iter().chain([Atom::Equal(equal)]).collect());
        }
    }
    if set.absent {
        let absent = || ValueSet::optional(Lang::none());
        clause.extend([one, other].map(|number| vec![within(number, absent())]));
    }
    clause
}

/// Whether a second factor is named among the methods of the sign-in, or is its class; absent where the
/// token says neither.
pub(super) fn second_factor(
    space: &mut Space<'_>,
    set: &ValueSet,
    reader: &Reader,
) -> Option<Constraints> {
    let [methods, class] = ["/amr", "/acr"].map(|claim| space.claim(claim, None));
    let named = &reader.second_factor;
    let single = Constraints::single;
    let mut shown = single(class, ValueSet::texts(Lang::words(named.acr.clone())));
    for method in &named.amr {
        shown = shown.or(entries::has(space, methods, method))?;
    }
    let unsaid = ValueSet::optional(Lang::none());
    let said = single(methods, unsaid.clone()).and(single(class, unsaid))?;
    let said = said.inverted();
    let mut all = Constraints::constant(false);
    for (is_wanted, value) in [
        (set.yes, shown.clone()),
        (set.no, said.clone().and(shown.inverted())?),
        (set.absent, said.inverted()),
    ] {
        if is_wanted {
            all = all.or(value)?;
        }
    }
    Some(all)
}

/// The trigger is in the set: a word of the first claim that is present.
pub(super) fn trigger(space: &mut Space<'_>, pointers: &[String], set: &ValueSet) -> Constraints {
    let numbers = pointers.iter().map(|pointer| space.claim(pointer, None));
    let numbers: Vec<usize> = numbers.collect();
    Constraints {
        holds: trigger_is(&numbers, set),
        fails: trigger_is(&numbers, &set.clone().inverted()),
    }
}

fn trigger_is(numbers: &[usize], set: &ValueSet) -> Clause {
    let mut clause = Vec::new();
    let mut before: Term = Vec::new();
    let texts = |wanted: bool| {
        let words = TRIGGERS.iter().filter(|word| set.text.has(word) == wanted);
        Lang::words(words.map(|word| (*word).to_owned()))
    };
    let takes_others = set.text.has("other");
    for number in numbers {
        let words = if takes_others {
            texts(false).inverted()
        } else {
            texts(true)
        };
        let mut term = before.clone();
        term.push(within(*number, ValueSet::texts(words)));
        clause.push(term);
        before.push(within(*number, ValueSet::optional(Lang::none())));
    }
    if takes_others {
        clause.push(before);
    }
    clause
}
