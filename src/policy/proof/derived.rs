//! Facts that are computed from claims, as constraints on those claims.

use std::sync::Arc;

use super::constraints::{Atom, Clause, Constraints, Term, within};
use super::entries;
use super::lang::Lang;
use super::space::{Space, is_set};
use super::value::ValueSet;
use crate::provider::{Cut, Derivation, Fact, REF_TYPES, Reader, TRIGGERS};

/// The fact's value is in the set.
pub(super) fn read(
    space: &mut Space<'_>,
    fact: Fact,
    derivation: Derivation,
    set: ValueSet,
    reader: &Reader,
) -> Option<Constraints> {
    let mut claim = |name: &str| space.claim(&format!("/{name}"), Some(fact));
    match derivation {
        Derivation::Ref { full, name, word } => {
            let number = claim(full);
            // Every ref can be said in full, unless a condition is about how it is said.
            if !space.names(full) && !space.names(name) {
                return Some(Constraints::single(number, set));
            }
            let name = space.claim(&format!("/{name}"), None);
            let word = space.claim(&format!("/{word}"), None);
            Some(Constraints {
                holds: built([number, name, word], &set),
                fails: built([number, name, word], &set.inverted()),
            })
        }
        Derivation::Words {
            claim: name,
            words,
            other,
        } => {
            let number = space.claim(&format!("/{name}"), None);
            Some(Constraints::single(number, of_words(words, other, &set)))
        }
        Derivation::File { claim: name, cut } => {
            let number = space.claim(&format!("/{name}"), Some(Fact::EntryWorkflow));
            Some(Constraints::single(number, of_file(cut, set)))
        }
        Derivation::RefType { full, word } => {
            let full = space.claim(&format!("/{full}"), Some(Fact::Ref));
            let word = space.claim(&format!("/{word}"), None);
            Some(Constraints {
                holds: ref_type(full, word, &set),
                fails: ref_type(full, word, &set.inverted()),
            })
        }
        Derivation::Differ(one, other) => {
            let pair = (claim(one), claim(other));
            if space.pair.is_some_and(|known| known != pair) {
                return None;
            }
            space.pair = Some(pair);
            Some(Constraints {
                holds: differ(pair, &set),
                fails: differ(pair, &set.inverted()),
            })
        }
        Derivation::Confirmed { claim: name, by } => {
            let pair = (claim(name), space.claim(&format!("/{by}"), None));
            Some(Constraints {
                holds: confirmed(pair, &set),
                fails: confirmed(pair, &set.inverted()),
            })
        }
        Derivation::SecondFactor { methods, class } => {
            let methods = space.claim(&format!("/{methods}"), None);
            let class = space.claim(&format!("/{class}"), None);
            second_factor(space, methods, class, &set, reader)
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

/// The texts that begin with a prefix that ends in `/`.
fn below(prefix: &str) -> Lang {
    let top = prefix.trim_end_matches('/');
    let parts = [Lang::Under(top.into()), Lang::word(top).inverted()];
    Lang::And(parts.map(Arc::new).to_vec())
}

/// The full ref, or one that is built where it is absent.
fn built([full, name, word]: [usize; 3], set: &ValueSet) -> Clause {
    let unsaid = || ValueSet::optional(Lang::none());
    let texts = Arc::new(set.text.clone());
    let mut clause = vec![vec![within(full, ValueSet::texts(set.text.clone()))]];
    let kinds = [("branch", "refs/heads/"), ("tag", "refs/tags/")];
    for (kind, prefix) in kinds {
        let names = Lang::After(prefix.into(), Arc::clone(&texts));
        clause.push(vec![
            within(full, unsaid()),
            within(word, ValueSet::texts(Lang::word(kind))),
            within(name, ValueSet::texts(names)),
        ]);
    }
    if set.absent {
        let words = Lang::words(kinds.map(|(kind, _)| kind.to_owned()));
        let others = ValueSet::texts(words).inverted();
        clause.push(vec![within(full, unsaid()), within(word, others)]);
        clause.push(vec![within(full, unsaid()), within(name, unsaid())]);
    }
    clause
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

/// The text of the first claim, where the second one is true.
fn confirmed((claim, by): (usize, usize), set: &ValueSet) -> Clause {
    let texts = ValueSet::texts(set.text.clone());
    let mut clause = vec![vec![within(claim, texts), within(by, is_set())]];
    if set.absent {
        let no_text = ValueSet::texts(Lang::All).inverted();
        clause.push(vec![within(claim, no_text)]);
        clause.push(vec![within(by, is_set().inverted())]);
    }
    clause
}

/// Whether a second factor is named among the methods of the sign-in, or is its class; absent where the
/// token says neither.
fn second_factor(
    space: &mut Space<'_>,
    methods: usize,
    class: usize,
    set: &ValueSet,
    reader: &Reader,
) -> Option<Constraints> {
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
