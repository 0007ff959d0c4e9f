//! The automata against the functions that decisions use.

use std::sync::Arc;

use super::random::Random;
use crate::policy::pattern::Glob;
use crate::policy::proof::lang::{GlobText, Lang};
use crate::policy::proof::plausible;
use crate::policy::proof::shortest::{Budget, text};
use crate::provider::Cut;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn language(random: &mut Random, depth: usize) -> Lang {
    let inner = |random: &mut Random| Arc::new(language(random, depth - 1));
    match random.number(if depth == 0 { 4 } else { 10 }) {
        0 => Lang::words((0..=random.number(3)).map(|_| sample(random))),
        1 => {
            let globs = [
                "a*",
                "**/b",
                "refs/heads/*",
                "*a*@*",
                "**",
                "a/**/b",
                "refs/**",
            ];
            Lang::Glob(Arc::new(GlobText(
                Glob::parse(random.pick::<&str>(&globs)).unwrap(),
            )))
        }
        2 => Lang::Under((*random.pick(&["a", "a/b", "refs/heads"])).into()),
        3 => Lang::Decimal,
        4 => Lang::Not(inner(random)),
        5 => Lang::And(vec![inner(random), inner(random)]),
        6 => Lang::Or(vec![inner(random), inner(random)]),
        7 => Lang::Path(inner(random)),
        8 => Lang::Ref {
            texts: inner(random),
            absent: random.one_in(2),
        },
        _ => {
            let cut = *random.pick(&[Cut::SecondSlash, Cut::DoubleSlash]);
            Lang::File(cut, inner(random))
        }
    }
}

fn sample(random: &mut Random) -> String {
    let parts = [
        "a", "b", "/", "//", "@", "@refs/", "refs/", "heads/", "0", "-", "12", COMMIT, "@refs", " ",
    ];
    (0..=random.number(5))
        .map(|_| *random.pick(&parts))
        .collect()
}

/// T-331
#[test]
fn an_automaton_accepts_what_the_pattern_matches() {
    let mut random = Random(7);
    for _ in 0..4_000 {
        let lang = language(&mut random, 3);
        for _ in 0..8 {
            let text = sample(&mut random);
            let mut state = lang.start();
            for (read, byte) in text.bytes().enumerate() {
                if let Some(fate) = lang.fate(&state) {
                    assert_eq!(fate, lang.has(&text), "{lang:?} {text:?} after {read}");
                }
                state = lang.step(&state, byte);
            }
            assert_eq!(lang.accepts(&state), lang.has(&text), "{lang:?} {text:?}");
        }
    }
}

/// T-331
#[test]
fn a_text_is_found_where_there_is_one() {
    let mut random = Random(11);
    for _ in 0..1_500 {
        let sets = [(); 2].map(|()| language(&mut random, 2));
        let found = text(&sets.each_ref(), &[], &mut Budget::new(2_000_000)).unwrap();
        if let Some(found) = &found {
            assert!(sets.iter().all(|set| set.has(found)), "{found:?} {sets:?}");
        }
        for _ in 0..20 {
            let text = sample(&mut random);
            if sets.iter().all(|set| set.has(&text)) {
                let shortest = found
                    .as_ref()
                    .unwrap_or_else(|| panic!("{text:?} {sets:?}"));
                // One that looks real may be longer.
                assert!(
                    sets.iter().any(|set| set.finite().is_some())
                        || shortest.len() <= text.len()
                        || plausible::texts(&sets.each_ref()).contains(shortest)
                );
            }
        }
    }
}
