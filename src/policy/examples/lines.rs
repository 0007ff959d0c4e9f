//! `never:` and `only:` lines about all jobs, which the proof decides.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::policy::compile::{Vocabulary, is_below};
use crate::policy::pattern::Pattern;
use crate::policy::proof::{Answer, Fit, Found, Question, fit};
use crate::policy::{Block, CredentialDefinition, PolicySet, Selector, Subject};
use crate::text::escape;
use crate::yaml::Node;
use crate::yaml::diagnostic::Place;
use crate::yaml::reader::{MAX_TEXT, NodeReader};

/// An entry of `never:` or `only:`.
#[derive(Clone, Debug)]
pub struct Line {
    pub kind: LineKind,
    pub name: String,
    /// The position of the name.
    pub place: Place,
    pub of: Selector,
    pub jobs: Block,
    /// Only requests for one of these scopes; empty: every request.
    pub scopes: Vec<String>,
    /// Only lifetimes that are longer.
    pub longer_than: Option<Duration>,
    pub because: String,
    /// The folder of the team whose line it is; only credentials of its files are selected.
    pub team: Option<String>,
}

/// What a line says of the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineKind {
    /// No job that fits gets it.
    Never,
    /// Every job that gets it fits.
    Only,
}

impl LineKind {
    /// The section of the test file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Only => "only",
        }
    }
}

impl fmt::Display for LineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The result of a line.
#[derive(Clone, Debug)]
pub struct LineOutcome<'a> {
    pub line: &'a Line,
    /// Why it fails.
    pub problem: Option<Remark>,
    /// What a reader may not expect, although it passes.
    pub notes: Vec<Remark>,
}

/// A sentence about a line, and the job that shows it.
#[derive(Clone, Debug)]
pub struct Remark {
    pub text: String,
    pub witness: Option<Box<Found>>,
}

impl Remark {
    const fn new(text: String) -> Self {
        Self {
            text,
            witness: None,
        }
    }
}

/// Reads an entry of `never:` or `only:`.
pub(super) fn read(
    yaml: &NodeReader<'_>,
    node: &Node,
    kind: LineKind,
    words: &Vocabulary,
    team: Option<&str>,
) -> Option<Line> {
    let entry = format!("an entry of `{kind}`");
    let keys = ["name", "of", "jobs", "scopes", "longer_than", "because"];
    let fields = yaml.fields(node, &entry, &keys)?;
    let name_node = yaml.required(&fields, "name", &entry, node.span);
    let name = name_node.and_then(|node| yaml.ascii(node, format!("`name` of {entry}"), MAX_TEXT));
    let what = name.map_or(entry, |name| format!("line `{name}`"));
    let of = yaml
        .required(&fields, "of", &what, node.span)
        .and_then(|node| words.selector(yaml, node, &what));
    let jobs = yaml
        .required(&fields, "jobs", &what, node.span)
        .and_then(|node| words.jobs(yaml, node, &what));
    let scopes = match fields.get("scopes") {
        Some(node) => yaml.texts(node, format!("`scopes` of {what}")),
        None => Some(Vec::new()),
    };
    let longer_than = match fields.get("longer_than") {
        Some(node) => yaml
            .duration(node, format!("`longer_than` of {what}"))
            .map(Some),
        None => Some(None),
    };
    let because = yaml
        .required(&fields, "because", &what, node.span)
        .and_then(|node| yaml.text(node, format!("`because` of {what}")));
    Some(Line {
        kind,
        name: name?.to_owned(),
        place: yaml.place(name_node?.span),
        of: of?,
        jobs: jobs?,
        scopes: scopes?,
        longer_than: longer_than?,
        because: because?.to_owned(),
        team: team.map(str::to_owned),
    })
}

/// Proves one line, for every time from `at` on.
#[must_use]
pub fn prove<'a>(set: &PolicySet, line: &'a Line, at: Timestamp) -> LineOutcome<'a> {
    let mut notes = Vec::new();
    let problem = problem(set, line, at, &mut notes);
    if problem.is_some() {
        notes.clear();
    }
    LineOutcome {
        line,
        problem,
        notes,
    }
}

fn problem(set: &PolicySet, line: &Line, at: Timestamp, notes: &mut Vec<Remark>) -> Option<Remark> {
    let selected: Vec<_> = set
        .credentials()
        .filter(|one| line.selects(set, one))
        .collect();
    if selected.is_empty() {
        let own = line.team.as_ref().map_or("", |_| " of the team");
        let scopes = if line.scopes.is_empty() {
            ""
        } else {
            " with one of `scopes`"
        };
        return Some(Remark::new(format!(
            "`of` selects no credential{own}{scopes}"
        )));
    }
    match fit(set, &line.jobs, at) {
        Fit::Possible => {}
        Fit::Impossible => {
            return Some(Remark::new("no job of any tenant fits `jobs`".to_owned()));
        }
        Fit::NotDecided(reason) => {
            let text = format!("not decided whether any job fits `jobs`: {reason}");
            return Some(Remark::new(text));
        }
    }
    for credential in selected {
        let name = &credential.name;
        for scopes in line.requests(credential) {
            let question = Question {
                longer_than: line.longer_than,
                scopes,
                ..Question::any_job(set, name, at)
            };
            let asked = match line.kind {
                LineKind::Never => Question {
                    fits: vec![&line.jobs],
                    ..question.clone()
                },
                LineKind::Only => Question {
                    unfit: Some(&line.jobs),
                    ..question.clone()
                },
            };
            match asked.answer() {
                Answer::Proven => {}
                Answer::NotDecided(reason) => {
                    let text = format!("not decided for `{name}`: {reason}");
                    return Some(Remark::new(text));
                }
                Answer::Found(witness) => {
                    let text = match line.kind {
                        LineKind::Never => format!("a job that fits `jobs` gets `{name}`"),
                        LineKind::Only => format!("a job that does not fit `jobs` gets `{name}`"),
                    };
                    return Some(Remark {
                        text,
                        witness: Some(witness),
                    });
                }
            }
            if line.kind == LineKind::Never {
                notes.extend(silent(&question, line));
            }
        }
    }
    None
}

/// Jobs that do not fit the block only because they do not say something, and get it. One for each
/// condition.
fn silent(question: &Question<'_>, line: &Line) -> Vec<Remark> {
    let conditions = line.jobs.conditions.iter().enumerate();
    let notes = conditions.filter_map(|(number, condition)| {
        let cannot_be_absent = matches!(condition.pattern, Pattern::Present(_));
        if cannot_be_absent || condition.subject == Subject::Issuer {
            return None;
        }
        let mut block = line.jobs.clone();
        block.conditions.get_mut(number)?.pattern = Pattern::Present(false);
        let without = Question {
            fits: vec![&block],
            ..question.clone()
        };
        let Answer::Found(witness) = without.answer() else {
            return None;
        };
        Some(Remark {
            text: format!(
                "a job that does not say `{}` gets `{}`, and does not fit `jobs`",
                condition.subject.name(),
                question.credential
            ),
            witness: Some(witness),
        })
    });
    notes.collect()
}

impl Line {
    /// Whether it is about the credential.
    pub(in crate::policy) fn selects(
        &self,
        set: &PolicySet,
        credential: &Arc<CredentialDefinition>,
    ) -> bool {
        let is_own = self.team.as_deref().is_none_or(|team| {
            let place = set.place_of(&credential.name);
            place.is_some_and(|place| is_below(place.source().name(), team))
        });
        let has_scope = self.scopes.is_empty()
            || self
                .scopes
                .iter()
                .any(|one| credential.scopes().contains(one));
        is_own && has_scope && self.of.selects(credential)
    }

    /// The scopes of each request that it is about: one at a time, since a job may ask for any of them.
    fn requests(&self, credential: &CredentialDefinition) -> Vec<&[String]> {
        if self.scopes.is_empty() {
            return vec![&[]];
        }
        let scopes = self
            .scopes
            .iter()
            .filter(|one| credential.scopes().contains(one));
        scopes.map(std::slice::from_ref).collect()
    }
}

/// The job in one line for each fact, and what it gets.
#[must_use]
pub fn describe(found: &Found) -> Vec<String> {
    let facts = &found.witness.facts;
    let mut lines = vec![format!("issuer: {}", facts.issuer())];
    lines.extend(
        found
            .facts()
            .map(|(fact, value)| format!("{fact}: {value}")),
    );
    let raw = found.witness.raw_claims();
    lines.extend(raw.map(|(name, value)| format!("claim {name}: {value}")));
    lines.push(format!("at: {}", found.at));
    lines.iter().map(|line| escape(line)).collect()
}
