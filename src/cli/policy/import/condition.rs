//! A condition of another system in the words of hallpass. Not: where the condition was written.

use crate::policy::pattern::{Glob, Observed, Operator, Pattern};
use crate::policy::{Condition, Subject};
use crate::provider::{Fact, FactType, ORDINARY_TRIGGERS, Provider, Reader};
use crate::text::is_printable;
use crate::token::json::{self as strict, Limits};

/// A text that a claim may have, as another system compares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Exact(String),
    /// In the syntax of our globs: `*` within a `/` segment, `**` across segments.
    Glob(String),
}

/// A condition, and what a reader must know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) condition: Condition,
    pub(super) notes: Vec<String>,
}

/// Conditions that must all hold.
pub(super) type Lines = Vec<Line>;

impl Wanted {
    /// A text in which `*` fits anything, `/` included, as in Vault's globs and in `StringLike`.
    pub(super) fn with_stars(text: &str) -> Self {
        if !text.contains('*') {
            return Self::Exact(text.to_owned());
        }
        let mut glob = String::new();
        for character in text.chars() {
            match character {
                '*' if glob.ends_with("**") => {}
                '*' => glob.push_str("**"),
                other => glob.push(other),
            }
        }
        Self::Glob(glob)
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Glob(text) => text,
        }
    }

    /// Refuses a text that is compared as written and has a `*`, which no value of a CI has. Taken apart,
    /// its parts would be read as patterns, and let more jobs in.
    pub(super) fn check_stars(&self) -> Result<(), String> {
        match self {
            Self::Exact(text) if text.contains('*') => Err(format!(
                "`{text}` is compared as written there, so its `*` never fits"
            )),
            Self::Exact(_) | Self::Glob(_) => Ok(()),
        }
    }

    /// The same kind of comparison with another text.
    pub(super) fn of(&self, text: &str) -> Self {
        match self {
            Self::Glob(_) if text.contains('*') => Self::Glob(text.to_owned()),
            Self::Exact(_) | Self::Glob(_) => Self::Exact(text.to_owned()),
        }
    }

    fn pattern(&self) -> Result<Pattern, String> {
        match self {
            Self::Exact(text) => exact(text),
            Self::Glob(text) if text == "**" => Ok(Pattern::Present(true)),
            Self::Glob(text) => Ok(Pattern::All(vec![Operator::Glob(Glob::parse(text)?)])),
        }
    }
}

/// Text that a pattern can hold.
fn exact(text: &str) -> Result<Pattern, String> {
    if text.is_empty() || text.len() > 256 || !is_printable(text) {
        return Err(format!(
            "the text `{}` is not 1 to 256 characters of printable ASCII",
            crate::text::escape(text)
        ));
    }
    Ok(Pattern::Exact(text.to_owned()))
}

impl Line {
    pub(super) fn new(subject: Subject, pattern: Pattern) -> Self {
        Self {
            condition: Condition { subject, pattern },
            notes: Vec::new(),
        }
    }

    pub(super) fn fact(fact: Fact, wanted: &Wanted) -> Result<Self, String> {
        Ok(Self::new(Subject::Fact(fact), wanted.pattern()?))
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// The conditions on a claim that may have any of some texts, as alternatives.
///
/// # Errors
/// Why hallpass has no such condition.
pub(super) fn blocks(
    provider: &'static Provider,
    claim: &str,
    wanted: &[Wanted],
) -> Result<Vec<Lines>, String> {
    let Some(fact) = provider.fact_of_claim(claim) else {
        let pointer = strict::pointer_to(claim);
        let pattern = any(wanted.iter().map(Wanted::pattern))?;
        return Ok(vec![vec![Line::new(Subject::Claim(pointer), pattern)]]);
    };
    if wanted.is_empty() {
        return Err(NO_VALUE.to_owned());
    }
    match fact.fact_type() {
        FactType::Bool => Ok(vec![vec![flag(fact, wanted)?]]),
        // A block has one file with one ref.
        FactType::Workflow => wanted
            .iter()
            .map(|one| Ok(vec![Line::new(Subject::Fact(fact), workflow(one)?)]))
            .collect(),
        FactType::Text => Ok(vec![texts(provider, fact, claim, wanted)?]),
        FactType::List => Err(format!(
            "hallpass compares entries of the list `{claim}`, not its text"
        )),
        FactType::Network | FactType::Clock => Err(format!(
            "the claim `{claim}` is of a token, and not of a request"
        )),
    }
}

fn texts(
    provider: &'static Provider,
    fact: Fact,
    claim: &str,
    wanted: &[Wanted],
) -> Result<Lines, String> {
    if fact == Fact::Event {
        return event(provider, claim, wanted);
    }
    if fact == Fact::Ref {
        return Ok(vec![reference(provider, wanted)?]);
    }
    let is_word = [Fact::Runner, Fact::RefType].contains(&fact);
    let patterns = wanted.iter().map(|wanted| {
        if is_word {
            word(provider, fact, claim, wanted)
        } else {
            wanted.pattern()
        }
    });
    Ok(vec![Line::new(Subject::Fact(fact), any(patterns)?)])
}

/// A claim of a closed vocabulary, by the provider's own reader.
fn word(
    provider: &'static Provider,
    fact: Fact,
    claim: &str,
    wanted: &Wanted,
) -> Result<Pattern, String> {
    let Wanted::Exact(text) = wanted else {
        return Err(format!(
            "`{claim}` has few values: name them instead of the pattern `{}`",
            wanted.text()
        ));
    };
    read(provider, claim, text, fact)
        .map(Pattern::Exact)
        .ok_or_else(|| {
            format!(
                "`{claim}` never is `{text}` in a token of {}",
                provider.name
            )
        })
}

/// The fact that a claim becomes in a token that has nothing else.
fn read(provider: &'static Provider, claim: &str, text: &str, fact: Fact) -> Option<String> {
    let token = serde_json::json!({ claim: text }).to_string();
    let claims = strict::parse_object(token.as_bytes(), &Limits::default()).ok()?;
    let facts = Reader::usual(provider, "https://issuer.invalid")
        .facts(claims)
        .ok()?;
    facts.text(fact).map(str::to_owned)
}

/// Refs are full in hallpass: `refs/heads/main`.
pub(super) fn reference(provider: &'static Provider, wanted: &[Wanted]) -> Result<Line, String> {
    let is_short = provider.name == "gitlab";
    let mut patterns = Vec::new();
    for one in wanted {
        one.check_stars()?;
        let text = one.text();
        if !is_short && !text.starts_with("refs/") && !text.starts_with('*') {
            return Err(format!(
                "`ref` is a full ref such as `refs/heads/main` in a token of {}, so `{text}` never fits",
                provider.name
            ));
        }
        if !is_short || text == "**" {
            patterns.push(one.pattern()?);
            continue;
        }
        for prefix in ["refs/heads/", "refs/tags/"] {
            patterns.push(one.of(&format!("{prefix}{text}")).pattern()?);
        }
    }
    let line = Line::new(Subject::Fact(Fact::Ref), any(patterns.into_iter().map(Ok))?);
    Ok(if is_short {
        line.note("GitLab's claim is a short name; hallpass compares full refs: keep the branch or the tag that you mean")
    } else {
        line
    })
}

/// The provider's word for what started the run. An extraordinary trigger has to be named.
fn event(provider: &'static Provider, claim: &str, wanted: &[Wanted]) -> Result<Lines, String> {
    let line = Line::new(
        Subject::Fact(Fact::Event),
        any(wanted.iter().map(Wanted::pattern))?,
    );
    let exact: Vec<_> = wanted
        .iter()
        .filter_map(|wanted| match wanted {
            Wanted::Exact(text) => read(provider, claim, text, Fact::Trigger),
            Wanted::Glob(_) => None,
        })
        .collect();
    if exact.len() < wanted.len() {
        return Ok(vec![line.note(NO_EXTRAORDINARY)]);
    }
    if exact
        .iter()
        .all(|trigger| ORDINARY_TRIGGERS.contains(&trigger.as_str()))
    {
        return Ok(vec![line]);
    }
    let mut triggers = exact;
    triggers.sort();
    triggers.dedup();
    let triggers = any(triggers
        .into_iter()
        .map(|trigger| Ok(Pattern::Exact(trigger))))?;
    let trigger = Line::new(Subject::Fact(Fact::Trigger), triggers)
        .note("outsiders can start such runs: hallpass lets them in only where a policy names the trigger");
    Ok(vec![line, trigger])
}

fn flag(fact: Fact, wanted: &[Wanted]) -> Result<Line, String> {
    let truths: Result<Vec<_>, String> = wanted
        .iter()
        .map(|wanted| match wanted.text() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("`{fact}` is true or false, not `{other}`")),
        })
        .collect();
    let truths = truths?;
    let first = truths.first().ok_or(NO_VALUE)?;
    let pattern = if truths.iter().all(|truth| truth == first) {
        Pattern::Is(*first)
    } else {
        Pattern::Present(true)
    };
    Ok(Line::new(Subject::Fact(fact), pattern).note("a boolean here, text in the token"))
}

/// `owner/repository/path@ref`, cut as tokens are.
fn workflow(wanted: &Wanted) -> Result<Pattern, String> {
    wanted.check_stars()?;
    let text = wanted.text();
    let (path, at) = match text.split_once("@refs/") {
        Some((path, name)) => (path, Some(format!("refs/{name}"))),
        None => match text.rsplit_once('@') {
            Some((path, "**" | "*")) => (path, None),
            Some((path, at)) => (path, Some(at.to_owned())),
            None if text.ends_with("**") => (text, None),
            None => {
                return Err(format!(
                    "`{text}` has no `@ref`, so it never fits a workflow"
                ));
            }
        },
    };
    let part = |text: &str| {
        let pattern = wanted.of(text).pattern()?;
        Ok::<_, String>((pattern != Pattern::Present(true)).then(|| Box::new(pattern)))
    };
    let (path, r#ref) = (part(path)?, at.map_or(Ok(None), |at| part(&at))?);
    if path.is_none() && r#ref.is_none() {
        return Ok(Pattern::Present(true));
    }
    Ok(Pattern::Workflow { path, r#ref })
}

/// One of several patterns.
fn any(patterns: impl Iterator<Item = Result<Pattern, String>>) -> Result<Pattern, String> {
    let mut patterns = patterns.collect::<Result<Vec<_>, _>>()?;
    if patterns.contains(&Pattern::Present(true)) {
        return Ok(Pattern::Present(true));
    }
    match (patterns.len(), patterns.pop()) {
        (_, None) => Err(NO_VALUE.to_owned()),
        (1, Some(one)) => Ok(one),
        (_, Some(last)) => {
            patterns.push(last);
            Ok(Pattern::Any(patterns))
        }
    }
}

/// Both sets of alternatives at once. Alternatives that no job can meet are left out.
///
/// # Errors
/// Two conditions on one subject that no single pattern expresses.
pub(super) fn both(left: &[Lines], right: &[Lines]) -> Result<Vec<Lines>, String> {
    let mut joined = Vec::new();
    for one in left {
        for other in right {
            if let Some(lines) = join(one, other)? {
                joined.push(lines);
            }
        }
    }
    Ok(joined)
}

fn join(one: &[Line], other: &[Line]) -> Result<Option<Lines>, String> {
    let mut lines = one.to_vec();
    for more in other {
        let subject = &more.condition.subject;
        let Some(known) = lines
            .iter_mut()
            .find(|line| line.condition.subject == *subject)
        else {
            lines.push(more.clone());
            continue;
        };
        let (a, b) = (&known.condition.pattern, &more.condition.pattern);
        known.condition.pattern = match (a.exact_texts(), b.exact_texts()) {
            _ if a == b => a.clone(),
            (Some(texts), _) => match common(&texts, b) {
                Some(pattern) => pattern,
                None => return Ok(None),
            },
            (None, Some(texts)) => match common(&texts, a) {
                Some(pattern) => pattern,
                None => return Ok(None),
            },
            (None, None) => {
                return Err(format!(
                    "it has two conditions on `{}`: `{a}` and `{b}`",
                    subject.name()
                ));
            }
        };
        known.notes.extend(more.notes.iter().cloned());
    }
    Ok(Some(lines))
}

/// The texts that the pattern accepts too.
fn common(texts: &[&str], pattern: &Pattern) -> Option<Pattern> {
    let kept = texts
        .iter()
        .filter(|text| pattern.fits(Observed::Text(text)));
    any(kept.map(|text| Ok(Pattern::Exact((*text).to_owned())))).ok()
}

const NO_VALUE: &str = "it allows no value at all";

pub(super) const NO_EXTRAORDINARY: &str = "pull requests and other runs that outsiders can start stay refused: name them under `trigger` if they \
     should get it";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider;

    #[test]
    fn a_star_of_another_system_crosses_segments() {
        for (text, expected) in [
            (
                "refs/heads/main",
                Wanted::Exact("refs/heads/main".to_owned()),
            ),
            ("refs/tags/*", Wanted::Glob("refs/tags/**".to_owned())),
            ("*", Wanted::Glob("**".to_owned())),
            ("a**b***", Wanted::Glob("a**b**".to_owned())),
            ("*a*", Wanted::Glob("**a**".to_owned())),
        ] {
            assert_eq!(Wanted::with_stars(text), expected, "{text}");
        }
    }

    #[test]
    fn conditions_on_one_claim_are_joined_or_refused() {
        let github = provider::find("github").unwrap();
        let of = |texts: &[&str]| {
            let wanted: Vec<_> = texts.iter().map(|text| Wanted::with_stars(text)).collect();
            blocks(github, "ref", &wanted).unwrap()
        };
        let shown = |left: &[&str], right: &[&str]| {
            both(&of(left), &of(right)).map(|blocks| {
                let lines = blocks.iter().flatten();
                lines
                    .map(|line| line.condition.to_yaml())
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(
            shown(&["refs/heads/*"], &["refs/heads/main", "refs/tags/v1"]).unwrap(),
            ["ref: refs/heads/main"]
        );
        assert!(
            shown(&["refs/heads/main"], &["refs/heads/dev"])
                .unwrap()
                .is_empty()
        );
        assert!(shown(&["refs/heads/*"], &["refs/*/main"]).is_err());
    }
}
