//! Patterns as regular languages of SMT-LIB.

use super::term::{complement, intersection, sequence, union, word};
use crate::policy::pattern::{Glob, Observed, Operator, Pattern};
use crate::provider::Cut;

/// The texts that match the pattern.
pub(super) fn of_pattern(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Exact(text) => word(text),
        Pattern::Any(patterns) => union(&patterns.iter().map(of_pattern).collect::<Vec<_>>()),
        Pattern::All(operators) => {
            intersection(&operators.iter().map(of_operator).collect::<Vec<_>>())
        }
        Pattern::Present(true) => EVERYTHING.to_owned(),
        Pattern::Present(false)
        | Pattern::Is(_)
        | Pattern::Workflow { .. }
        | Pattern::Network(_)
        | Pattern::Time(_)
        | Pattern::Age(_) => NOTHING.to_owned(),
    }
}

pub(super) fn of_operator(operator: &Operator) -> String {
    match operator {
        Operator::Glob(glob) => of_glob(glob),
        Operator::Under(top) => {
            let below = sequence(&[word("/"), PRINTABLE.to_owned()]);
            sequence(&[word(top), format!("(re.opt {below})")])
        }
        Operator::Member(_) => NOTHING.to_owned(),
        Operator::Not(pattern) => complement(&of_pattern(pattern)),
    }
}

fn of_glob(glob: &Glob) -> String {
    let mut parts = Vec::new();
    for (number, across) in glob.text().split("**").enumerate() {
        if number > 0 {
            parts.push(PRINTABLE.to_owned());
        }
        for (number, literal) in across.split('*').enumerate() {
            if number > 0 {
                parts.push(SEGMENT.to_owned());
            }
            if !literal.is_empty() {
                parts.push(word(literal));
            }
        }
    }
    sequence(&parts)
}

/// The claims of workflows with such a path and such a ref. A workflow is cut at the first `@refs/`, or
/// else at the last `@` before a full commit id.
pub(super) fn of_workflow(path: Option<&Pattern>, r#ref: Option<&Pattern>) -> String {
    let paths = path.map_or_else(|| EVERYTHING.to_owned(), of_pattern);
    let refs = r#ref.map_or_else(|| EVERYTHING.to_owned(), of_pattern);
    let may_lack_ref = r#ref.is_none_or(|pattern| pattern.fits(Observed::Absent));
    with_parts(&paths, &refs, may_lack_ref)
}

fn with_parts(paths: &str, refs: &str, may_lack_ref: bool) -> String {
    let everything = || EVERYTHING.to_owned();
    let uncut = complement(&sequence(&[everything(), word("@refs/"), everything()]));
    let commit = commit();
    let full = sequence(&[
        intersection(&[paths.to_owned(), uncut.clone()]),
        word("@"),
        intersection(&[refs.to_owned(), sequence(&[word("refs/"), everything()])]),
    ]);
    let at_commit = sequence(&[
        paths.to_owned(),
        word("@"),
        intersection(&[refs.to_owned(), commit.clone()]),
    ]);
    let mut forms = vec![full, intersection(&[uncut.clone(), at_commit])];
    if may_lack_ref {
        let ends_in_commit = sequence(&[everything(), word("@"), commit]);
        forms.push(intersection(&[
            paths.to_owned(),
            uncut,
            complement(&ends_in_commit),
        ]));
    }
    union(&forms)
}

/// The claims of workflows whose file, after the repository, is in the language.
pub(super) fn of_file(cut: Cut, files: &str) -> String {
    let files = intersection(&[files.to_owned(), TEXTS.to_owned()]);
    let paths = match cut {
        Cut::SecondSlash => {
            let part = SEGMENT.to_owned();
            sequence(&[part.clone(), word("/"), part, word("/"), files])
        }
        Cut::DoubleSlash => {
            let everything = || EVERYTHING.to_owned();
            let twice = sequence(&[everything(), word("//"), everything()]);
            let ends = sequence(&[everything(), word("/")]);
            let before = intersection(&[complement(&twice), complement(&ends)]);
            sequence(&[before, word("//"), files])
        }
    };
    with_parts(&paths, EVERYTHING, true)
}

fn commit() -> String {
    let digit = "(re.union (re.range \"0\" \"9\") (re.range \"a\" \"f\"))";
    union(&[
        format!("((_ re.^ 40) {digit})"),
        format!("((_ re.^ 64) {digit})"),
    ])
}

/// The texts that, cut at commas, have the entry.
pub(super) fn with_entry(entry: &str) -> String {
    if entry.contains(',') {
        return NOTHING.to_owned();
    }
    let before = sequence(&[PRINTABLE.to_owned(), word(",")]);
    let after = sequence(&[word(","), PRINTABLE.to_owned()]);
    sequence(&[
        format!("(re.opt {before})"),
        word(entry),
        format!("(re.opt {after})"),
    ])
}

/// JSON's whole numbers.
pub(super) const DECIMAL: &str = "(re.++ (re.opt (str.to_re \"-\")) (re.union (str.to_re \"0\") (re.++ (re.range \"1\" \"9\") (re.* (re.range \"0\" \"9\")))))";
/// Texts that are not empty: what claims and facts hold.
pub(super) const TEXTS: &str = "(re.+ (re.range \" \" \"~\"))";
const PRINTABLE: &str = "(re.* (re.range \" \" \"~\"))";
/// What `*` stands for: no `/`.
const SEGMENT: &str = "(re.* (re.union (re.range \" \" \".\") (re.range \"0\" \"~\")))";
/// Every text of a claim, and the empty one. Solvers are faster with it than with `re.all`.
pub(super) const EVERYTHING: &str = PRINTABLE;
const NOTHING: &str = "re.none";
