//! Facts that are computed from claims, as constraints on those claims.

use std::sync::Arc;

use super::lang::Lang;
use super::space::{Atom, Clause, Constraints, Space, Term};
use super::value::ValueSet;
use crate::provider::{Cut, Derivation, Fact, REF_TYPES, TRIGGERS};

/// The fact's value is in the set.
pub(super) fn read(
    space: &mut Space<'_>,
    fact: Fact,
    derivation: Derivation,
    set: ValueSet,
) -> Option<Constraints> {
    let mut claim = |name: &str| space.claim(&format!("/{name}"), Some(fact));
    match derivation {
        Derivation::Full(name) => Some(Constraints::single(claim(name)?, set)),
        Derivation::Words {
            claim: name,
            words,
            other,
        } => {
            let number = space.claim(&format!("/{name}"), None)?;
            Some(Constraints::single(number, of_words(words, other, &set)))
        }
        Derivation::File { claim: name, cut } => {
            let number = space.claim(&format!("/{name}"), Some(Fact::EntryWorkflow))?;
            Some(Constraints::single(number, of_file(cut, set)))
        }
        Derivation::RefType { full, word } => {
            let full = space.claim(&format!("/{full}"), Some(Fact::Ref))?;
            let word = space.claim(&format!("/{word}"), None)?;
            Some(Constraints {
                holds: ref_type(full, word, &set),
                fails: ref_type(full, word, &set.inverted()),
            })
        }
        Derivation::Differ(one, other) => {
            let pair = (claim(one)?, claim(other)?);
            if space.pair.is_some_and(|known| known != pair) {
                return None;
            }
            space.pair = Some(pair);
            Some(Constraints {
                holds: differ(pair, &set),
                fails: differ(pair, &set.inverted()),
            })
        }
    }
}

fn of_words(
    words: &[(&'static str, &'static str)],
    other: Option<&'static str>,
    set: &ValueSet,
) -> ValueSet {
    let texts = |wanted: bool| {
        let lines = words
            .iter()
            .filter(|(word, _)| set.text.has(word) == wanted);
        Lang::words(lines.map(|(_, text)| (*text).to_owned()))
    };
    let takes_others = other.map_or(set.absent, |word| set.text.has(word));
    if takes_others {
        ValueSet::optional(texts(false).inverted())
    } else {
        ValueSet::texts(texts(true))
    }
}

fn of_file(cut: Cut, set: ValueSet) -> ValueSet {
    let with = |files: Lang| Lang::Path(Arc::new(Lang::File(cut, Arc::new(files))));
    let texts = with(set.text);
    if set.absent {
        ValueSet::optional(texts.or(with(Lang::All).inverted()))
    } else {
        ValueSet::texts(texts)
    }
}

fn within(number: usize, set: ValueSet) -> Atom {
    Atom::In(number, Arc::new(set))
}

/// The texts that begin with a prefix that ends in `/`.
fn below(prefix: &str) -> Lang {
    let top = prefix.trim_end_matches('/');
    let parts = [Lang::Under(top.into()), Lang::word(top).inverted()];
    Lang::And(parts.map(Arc::new).to_vec())
}

fn ref_type(full: usize, word: usize, set: &ValueSet) -> Clause {
    let mut clause = Vec::new();
    let mut before = Vec::new();
    for (prefix, kind) in REF_TYPES {
        let mut parts = before.clone();
        before.push(Arc::new(below(prefix).inverted()));
        parts.push(Arc::new(below(prefix)));
        if set.text.has(kind) {
            let texts = ValueSet::texts(Lang::And(parts));
            clause.push(vec![within(full, texts)]);
        }
    }
    let known = ["branch", "tag"];
    let texts = |wanted: bool| {
        let words = known.iter().filter(|word| set.text.has(word) == wanted);
        Lang::words(words.map(|word| (*word).to_owned()))
    };
    let words = if set.text.has("other") {
        texts(false).inverted()
    } else {
        texts(true)
    };
    let mut words = ValueSet::texts(words);
    words.absent = set.absent;
    let unsaid = ValueSet::optional(Lang::And(before));
    clause.push(vec![within(full, unsaid), within(word, words)]);
    clause
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

/// The trigger is in the set: a word of the first claim that is present.
pub(super) fn trigger(
    space: &mut Space<'_>,
    pointers: &[String],
    set: &ValueSet,
) -> Option<Constraints> {
    let numbers = pointers.iter().map(|pointer| space.claim(pointer, None));
    let numbers: Vec<usize> = numbers.collect::<Option<_>>()?;
    Some(Constraints {
        holds: trigger_is(&numbers, set),
        fails: trigger_is(&numbers, &set.clone().inverted()),
    })
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
