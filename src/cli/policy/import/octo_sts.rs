//! Trust policies of octo-sts (`.github/chainguard/NAME.sts.yaml`).

use regex_syntax::hir::{Class, Hir, HirKind, Look};

use super::condition::{Lines, Wanted, blocks, both};
use super::draft::{Draft, PolicyDraft};
use super::subject::subject;
use super::{File, Target, life};
use crate::cli::Failure;
use crate::yaml::diagnostic::{Problems, Source};
use crate::yaml::{Diagnostics, Entry, Node, parse, value_of};

/// The draft of a trust policy.
pub(super) fn draft(file: &File, target: &Target) -> Result<Draft, Failure> {
    let Some(credential) = &target.credential else {
        return Err(Failure::Usage(
            "hallpass issues no tokens of a GitHub App; name the credential that the jobs get instead with `--credential NAME`"
                .to_owned(),
        ));
    };
    let problems = Problems::default();
    let source = Source::new(&file.path(), &file.path(), file.text.clone());
    let root = parse(&source, &problems);
    let problems = Diagnostics::from(problems);
    if !problems.is_empty() {
        return Err(Failure::Local(format!(
            "`{}` cannot be read\n{}",
            file.path(),
            problems.render(false)
        )));
    }
    let entries = root.as_ref().and_then(Node::entries);
    let Some(entries) = entries.filter(|entries| is_trust_policy(entries)) else {
        return Err(Failure::Local(format!(
            "`{}` is no trust policy, expected a mapping with `issuer` and `subject`, or with `issuer_pattern` and `subject_pattern`",
            file.path()
        )));
    };
    let name = file.name.trim_end_matches(".sts");
    let mut draft = Draft {
        source: format!("the trust policy `{name}` of octo-sts"),
        ..Draft::default()
    };
    for key in ["permissions", "repositories"] {
        if let Some(node) = value_of(entries, key) {
            let items = node.entries().unwrap_or_default().iter().map(|entry| {
                let level = entry
                    .value
                    .scalar()
                    .map_or("", |scalar| scalar.text.as_str());
                format!("{}: {level}", entry.key.text)
            });
            let names = node.items().unwrap_or_default().iter();
            let names = names.filter_map(|item| item.scalar().map(|scalar| scalar.text.clone()));
            let all: Vec<_> = items.chain(names).collect();
            draft.lost.push(format!(
                "`{key}` ({}): what a job gets is in the definition of `{credential}`",
                all.join(", ")
            ));
        }
    }
    let mut notes = Vec::new();
    if file.text.contains(".+") || file.text.contains("]+") {
        notes.push(
            "`+` fits at least one character there; `*` and `**` here also fit none".to_owned(),
        );
    }
    if let Some(audience) = text(entries, "audience").or_else(|| text(entries, "audience_pattern"))
    {
        notes.push(format!(
            "the audience there was {audience}; jobs now ask their CI for the broker's URL"
        ));
    }
    draft.policies.push(PolicyDraft {
        name: name.to_owned(),
        issuer: target.issuer.clone(),
        notes,
        when: conditions(entries, target),
        grants: vec![(credential.clone(), life(0))],
    });
    Ok(draft)
}

fn is_trust_policy(entries: &[Entry]) -> bool {
    let has = |key| value_of(entries, key).is_some();
    (has("issuer") || has("issuer_pattern")) && (has("subject") || has("subject_pattern"))
}

fn text<'a>(entries: &'a [Entry], key: &str) -> Option<&'a str> {
    let scalar = value_of(entries, key)?.scalar()?;
    Some(scalar.text.as_str()).filter(|text| !text.is_empty())
}

fn conditions(entries: &[Entry], target: &Target) -> Result<Vec<Lines>, String> {
    let provider = target.provider;
    if let Some(pattern) = text(entries, "issuer_pattern") {
        return Err(format!(
            "`issuer_pattern` is `{pattern}`; a policy of hallpass names its issuer"
        ));
    }
    target.check_issuer(text(entries, "issuer").unwrap_or_default())?;
    let subjects = match (text(entries, "subject"), text(entries, "subject_pattern")) {
        (Some(exact), None) => vec![Wanted::Exact(exact.to_owned())],
        (None, Some(pattern)) => wanted(pattern)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err("it needs one of `subject` and `subject_pattern`".to_owned());
        }
    };
    let subjects = subjects
        .iter()
        .map(|one| subject(provider, one))
        .collect::<Result<Vec<_>, _>>()?;
    let mut all = both(&[Lines::new()], &subjects)?;
    let claims = match value_of(entries, "claim_pattern").filter(|node| !node.is_nothing()) {
        None => &[][..],
        Some(node) => node
            .entries()
            .ok_or_else(|| format!("`claim_pattern` is {}, expected a mapping", node.is_a()))?,
    };
    for entry in claims {
        let pattern = entry
            .value
            .scalar()
            .map_or("", |scalar| scalar.text.as_str());
        all = both(&all, &blocks(provider, &entry.key.text, &wanted(pattern)?)?)?;
    }
    Ok(all)
}

/// The texts that an anchored regular expression accepts, as our patterns.
fn wanted(pattern: &str) -> Result<Vec<Wanted>, String> {
    let cannot =
        |why: &str| format!("the regular expression `{pattern}` {why}; write its pattern by hand");
    let hir = regex_syntax::parse(pattern).map_err(|_| cannot("cannot be read"))?;
    if let Some(part) = bare_dot(&hir) {
        return Err(format!(
            "the `.` in `{part}` of the regular expression `{pattern}` fits any character: `.` must be written `\\.`"
        ));
    }
    let texts =
        globs(&hir).ok_or_else(|| cannot("has more than text, alternatives, `.*` and `[^/]*`"))?;
    texts
        .into_iter()
        .map(|pieces| {
            let is_exact = pieces.iter().all(|piece| matches!(piece, Piece::Text(_)));
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Text(part) if !is_exact && part.contains('*') => {
                        return Err(cannot("has a literal `*` beside other signs"));
                    }
                    Piece::Text(part) => text.push_str(&part),
                    Piece::Segment => text.push('*'),
                    Piece::Anything => text.push_str("**"),
                }
            }
            Ok(if is_exact {
                Wanted::Exact(text)
            } else {
                Wanted::Glob(text)
            })
        })
        .collect()
}

#[derive(Clone)]
enum Piece {
    Text(String),
    /// `[^/]*`
    Segment,
    /// `.*`
    Anything,
}

/// Every alternative; `None` for what no pattern of ours says.
fn globs(hir: &Hir) -> Option<Vec<Vec<Piece>>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(Look::Start | Look::End) => Some(vec![Vec::new()]),
        HirKind::Look(_) => None,
        HirKind::Literal(literal) => {
            let text = String::from_utf8(literal.0.to_vec()).ok()?;
            Some(vec![vec![Piece::Text(text)]])
        }
        HirKind::Class(class) => few(class),
        HirKind::Capture(capture) => globs(&capture.sub),
        HirKind::Repetition(repetition) => {
            let HirKind::Class(class) = repetition.sub.kind() else {
                return None;
            };
            if repetition.max.is_some() || repetition.min > 1 {
                return None;
            }
            Some(vec![vec![wide(class)?]])
        }
        HirKind::Alternation(all) => {
            let all: Option<Vec<_>> = all.iter().map(globs).collect();
            Some(all?.concat())
        }
        HirKind::Concat(all) => {
            let mut texts = vec![Vec::new()];
            for part in all {
                let parts = globs(part)?;
                if texts.len().saturating_mul(parts.len()) > MOST_ALTERNATIVES {
                    return None;
                }
                texts = texts
                    .iter()
                    .flat_map(|text: &Vec<Piece>| {
                        parts.iter().map(|part| [text.as_slice(), part].concat())
                    })
                    .collect();
            }
            Some(texts)
        }
    }
}

/// A `.` that is not repeated, with the text around it: most often a dot that lacks its backslash.
fn bare_dot(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Class(class) if is_any(class) => Some(".".to_owned()),
        HirKind::Capture(capture) => bare_dot(&capture.sub),
        HirKind::Alternation(all) => all.iter().find_map(bare_dot),
        HirKind::Concat(all) => {
            let (number, dot) = (0..).zip(all).find_map(|(number, part)| {
                let dot = bare_dot(part)?;
                Some((number, dot))
            })?;
            let number: usize = number;
            let near = |number: Option<usize>| {
                let HirKind::Literal(literal) = number.and_then(|number| all.get(number))?.kind()
                else {
                    return None;
                };
                String::from_utf8(literal.0.to_vec()).ok()
            };
            let before = near(number.checked_sub(1)).unwrap_or_default();
            let after = near(number.checked_add(1)).unwrap_or_default();
            let before = before.rsplit('/').next().unwrap_or_default();
            let after = after.split('/').next().unwrap_or_default();
            Some([before, &dot, after].concat())
        }
        HirKind::Class(_)
        | HirKind::Empty
        | HirKind::Literal(_)
        | HirKind::Look(_)
        | HirKind::Repetition(_) => None,
    }
}

fn is_any(class: &Class) -> bool {
    matches!(wide(class), Some(Piece::Anything))
}

/// A class of a few characters, one alternative each.
fn few(class: &Class) -> Option<Vec<Vec<Piece>>> {
    let Class::Unicode(class) = class else {
        return None;
    };
    let characters: Vec<_> = class
        .iter()
        .flat_map(|range| range.start()..=range.end())
        .take(MOST_ALTERNATIVES)
        .collect();
    (characters.len() < MOST_ALTERNATIVES).then(|| {
        characters
            .into_iter()
            .map(|c| vec![Piece::Text(c.to_string())])
            .collect()
    })
}

/// A class of all characters, or of all but `/`.
fn wide(class: &Class) -> Option<Piece> {
    let Class::Unicode(class) = class else {
        return None;
    };
    let has = |c: char| {
        class
            .iter()
            .any(|range| range.start() <= c && c <= range.end())
    };
    let others = (' '..='~').filter(|c| *c != '/').all(has);
    match (others, has('/')) {
        (true, true) => Some(Piece::Anything),
        (true, false) => Some(Piece::Segment),
        (false, _) => None,
    }
}

const MOST_ALTERNATIVES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_become_texts_and_globs() {
        for (pattern, expected) in [
            (
                "repo:acme/shop:ref:refs/heads/main",
                "repo:acme/shop:ref:refs/heads/main",
            ),
            (
                r"^repo:acme/shop:ref:refs/tags/v.*$",
                "repo:acme/shop:ref:refs/tags/v**",
            ),
            (r"refs/heads/(main|dev)", "refs/heads/main refs/heads/dev"),
            (r"a|b", "a b"),
            (r"acme/[^/]+/x\.yml", "acme/*/x.yml"),
        ] {
            let texts = wanted(pattern).unwrap();
            let texts: Vec<_> = texts.iter().map(Wanted::text).collect();
            assert_eq!(texts.join(" "), expected, "{pattern}");
        }
        for pattern in [r"v\d+", "a{3}", "(ab)*", "a.b", r"\bx", "[", r".*\*"] {
            assert!(wanted(pattern).is_err(), "{pattern}");
        }
        for (pattern, part) in [
            (
                r"acme/ci/.github/workflows/x\.yml@refs/heads/main",
                "`.github`",
            ),
            ("acme/ci/(build|deploy.yml)", "`deploy.yml`"),
            ("repo:acme/shop:.*/a.b", "`a.b`"),
        ] {
            let Err(error) = wanted(pattern) else {
                panic!("{pattern}");
            };
            assert!(error.contains(part), "{error}");
            assert!(error.ends_with(r"`.` must be written `\.`"), "{error}");
        }
    }
}
