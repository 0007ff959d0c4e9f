//! All opinions on all cases, against the table.

use std::collections::{BTreeMap, BTreeSet};

use crate::case::{Case, OPINIONS, Opinion, Verdict};
use crate::table::TABLE;
use crate::{generated, vectors};

/// T-13, T-15, T-17, T-36
#[test]
fn who_disagrees_on_a_vector_is_in_the_table() {
    let found = disagreements(&vectors::cases(), |o| o.of_signature);
    assert!(found.is_empty(), "{found}");
}

/// T-13, T-14, T-15, T-18, T-19, T-20, T-21, T-22, T-23, T-24, T-25, T-27, T-29, T-31
#[test]
fn who_disagrees_on_a_token_is_in_the_table() {
    let found = disagreements(&generated::cases(), |o| o.of_token);
    assert!(found.is_empty(), "{found}");
}

#[test]
fn every_row_of_the_table_happens() {
    let happening: BTreeSet<String> = vectors::cases()
        .into_iter()
        .chain(generated::cases())
        .map(|case| case.class)
        .collect();
    let mut seen = BTreeSet::new();
    for row in TABLE {
        for class in row.classes {
            assert!(happening.contains(*class), "no case is of class `{class}`");
            assert!(seen.insert(*class), "`{class}` stands in two rows");
        }
        let accepted_by = row.accepted_by.len();
        assert!(
            row.panics || (1..OPINIONS.len()).contains(&accepted_by),
            "{:?} is no disagreement",
            row.classes
        );
        assert!(!row.why.is_empty() && !row.source.is_empty());
    }
}

/// One line for each class that does not end as the table says, or where ours is wrong.
fn disagreements(cases: &[Case], ask: fn(&Opinion) -> fn(&Case) -> Verdict) -> String {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for case in cases {
        let verdicts = OPINIONS.map(|opinion| (opinion.name, verdict(&opinion, ask, case)));
        let accepted_by: Vec<&str> = verdicts
            .iter()
            .filter(|(_, verdict)| matches!(verdict, Verdict::Accepts(_)))
            .map(|(name, _)| *name)
            .collect();
        let panics = verdicts
            .iter()
            .any(|(_, verdict)| *verdict == Verdict::Panics);
        let mut note = |text: String| {
            found.entry(case.class.clone()).or_default().insert(text);
        };
        if accepted_by.contains(&"hallpass") != case.genuine {
            note(format!("hallpass is wrong about {}", case.token));
        }
        let payloads: BTreeSet<&Vec<u8>> = verdicts
            .iter()
            .filter_map(|(_, verdict)| match verdict {
                Verdict::Accepts(payload) => payload.as_ref(),
                Verdict::Refuses | Verdict::Panics => None,
            })
            .collect();
        if payloads.len() > 1 {
            note("they read different payloads".to_owned());
        }
        let expected = TABLE
            .iter()
            .find(|row| row.classes.contains(&case.class.as_str()));
        let is_expected = match expected {
            Some(row) => row.accepted_by == accepted_by && row.panics == panics,
            None => (accepted_by.is_empty() || accepted_by.len() == OPINIONS.len()) && !panics,
        };
        if !is_expected {
            note(format!("accepted by {accepted_by:?}, panics: {panics}"));
        }
    }
    let lines: Vec<String> = found
        .into_iter()
        .map(|(class, notes)| format!("{class}: {}", Vec::from_iter(notes).join("; ")))
        .collect();
    lines.join("\n")
}

/// A panic of ours fails the test, one of theirs is an answer.
fn verdict(opinion: &Opinion, ask: fn(&Opinion) -> fn(&Case) -> Verdict, case: &Case) -> Verdict {
    let ask = ask(opinion);
    if opinion.name == "hallpass" {
        return ask(case);
    }
    std::panic::catch_unwind(|| ask(case)).unwrap_or(Verdict::Panics)
}
