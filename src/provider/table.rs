//! The form of a provider's table: its claims, what kind each is, and the facts that it becomes. Not:
//! how the table is read ([`read`](super::read)) and written back ([`write`](super::write)).
//!
//! Readers, writers, proofs and documentation are computed from the table, so nothing about a claim is
//! written twice.

use super::claims::ClaimType;
use super::{Fact, Provider};
use crate::token::json::pointer_to;

/// A claim that a provider's tokens can hold. Each has one type (T-46).
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Its name; of a member of an object its JSON pointer, e.g. `/kubernetes.io/namespace`.
    pub name: &'static str,
    pub claim_type: ClaimType,
    pub kind: Kind,
    /// The facts that are read from it, alone or with other claims.
    pub facts: &'static [Reading],
}

/// How far a claim can be trusted to be what it was yesterday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An ID that is never given to another.
    Id,
    /// A name, which can be changed and then registered by others.
    Name,
    /// What the CI says about this run.
    Context,
    /// Text that can be chosen by those who push, open a pull request or edit the job.
    Chosen,
}

impl Kind {
    /// The word in documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::Context => "context",
            Self::Chosen => "chosen",
        }
    }
}

/// A fact, and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub fact: Fact,
    pub how: How,
}

/// How a fact is read. Claims are given by name.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// The claim as sent.
    Sent,
    /// The first of these ways that applies.
    Ways(&'static [Way]),
    /// Whether the claim differs from another one; absent if one of them is.
    Differs(&'static str),
    /// The text of another claim, `/`, and the text of this one; absent if one of them is.
    Below(&'static str),
}

/// One way to read a fact.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The claim; it must hold text.
    pub claim: &'static str,
    pub take: Take,
    /// What must hold, so that the way applies.
    pub when: &'static [When],
}

/// What is made of the claim's text. Without a text, no way but [`Always`](Self::Always) applies.
#[derive(Clone, Copy, Debug)]
pub enum Take {
    /// The text.
    Sent,
    /// The text behind this prefix, which the claim does not have.
    Prefixed(&'static str),
    /// The whole text, which must start like this.
    Starting(&'static str),
    /// A part of the text; where the text has another shape, the way does not apply.
    Part(Shape),
    /// Of a workflow, the path of the file within its repository.
    File(Cut),
    /// A word for each known text, and one for every other text. `None`: the way does not apply.
    Words {
        /// The word, and the claim's text; the usual text of a word first.
        words: &'static [(&'static str, &'static str)],
        other: Option<&'static str>,
    },
    /// A word for the start of the text, the first that fits.
    Starts(&'static [(&'static str, &'static str)]),
    /// This word, whatever the text.
    Word(&'static str),
    /// This word, whether or not there is a text.
    Always(&'static str),
}

/// A condition on another claim.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// It has this text.
    Is(&'static str, &'static str),
    /// It is `true`.
    True(&'static str),
    /// It is absent, or an empty text.
    Absent(&'static str),
}

impl When {
    /// The claim.
    #[must_use]
    pub const fn claim(&self) -> &'static str {
        match self {
            Self::Is(claim, _) | Self::True(claim) | Self::Absent(claim) => claim,
        }
    }
}

/// Where the path of a file begins in the path of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cut {
    /// After the second `/`.
    SecondSlash,
    /// After the first `//`.
    DoubleSlash,
}

impl Cut {
    /// The rest of the path.
    #[must_use]
    pub fn rest(self, path: &str) -> Option<&str> {
        match self {
            Self::SecondSlash => {
                let (_, rest) = path.split_once('/')?;
                rest.split_once('/')
            }
            Self::DoubleSlash => path.split_once("//"),
        }
        .map(|(_, rest)| rest)
    }
}

/// The shape of a text with a part that is wanted: `<>`. It and `*` are at least one byte, up to the
/// byte that follows in the shape, or without `/` at the end. `<**>` and `**` are the rest; `**` may be
/// empty. Everything else is literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape(pub &'static str);

/// A piece of a [`Shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    Literal(u8),
    /// Up to that byte.
    Segment {
        until: u8,
        is_wanted: bool,
    },
    Rest {
        is_wanted: bool,
    },
}

impl Shape {
    /// The piece at that position, and the position after it.
    #[must_use]
    pub fn piece(self, at: usize) -> Option<(Piece, usize)> {
        let rest = self.0.get(at..)?;
        let pieces = [("<**>", true), ("**", false)].into_iter();
        for (text, is_wanted) in pieces {
            if rest.starts_with(text) {
                return Some((Piece::Rest { is_wanted }, at.saturating_add(text.len())));
            }
        }
        for (text, is_wanted) in [("<>", true), ("*", false)] {
            if let Some(after) = rest.strip_prefix(text) {
                let until = after.bytes().next().unwrap_or(b'/');
                let piece = Piece::Segment { until, is_wanted };
                return Some((piece, at.saturating_add(text.len())));
            }
        }
        let byte = rest.bytes().next()?;
        Some((Piece::Literal(byte), at.saturating_add(1)))
    }

    /// The wanted part of a text.
    #[must_use]
    pub fn part(self, text: &str) -> Option<&str> {
        let (mut at, mut rest, mut wanted) = (0, text, None);
        while let Some((piece, next)) = self.piece(at) {
            let (found, after, is_wanted) = match piece {
                Piece::Literal(byte) => {
                    let end = usize::from(rest.as_bytes().first() == Some(&byte));
                    (rest.get(..end)?, rest.get(end..)?, false)
                }
                Piece::Segment { until, is_wanted } => {
                    let end = rest.bytes().position(|byte| byte == until);
                    let end = end.unwrap_or(rest.len());
                    (rest.get(..end)?, rest.get(end..)?, is_wanted)
                }
                Piece::Rest { is_wanted } => (rest, "", is_wanted),
            };
            if found.is_empty() && piece != (Piece::Rest { is_wanted: false }) {
                return None;
            }
            if is_wanted {
                wanted = Some(found);
            }
            (at, rest) = (next, after);
        }
        wanted.filter(|_| rest.is_empty())
    }
}

/// Two claims that say the same: where both are there, the reader demands it.
#[derive(Clone, Copy, Debug)]
pub struct Agreement {
    pub claim: &'static str,
    /// The claim with a part that must be the same text.
    pub with: &'static str,
    pub shape: Shape,
}

const fn claim(
    name: &'static str,
    claim_type: ClaimType,
    kind: Kind,
    facts: &'static [Reading],
) -> Claim {
    Claim {
        name,
        claim_type,
        kind,
        facts,
    }
}

/// A line about an ID.
pub(super) const fn id(
    name: &'static str,
    claim_type: ClaimType,
    facts: &'static [Reading],
) -> Claim {
    claim(name, claim_type, Kind::Id, facts)
}

/// A line about a name that can be registered again.
pub(super) const fn name(
    name: &'static str,
    claim_type: ClaimType,
    facts: &'static [Reading],
) -> Claim {
    claim(name, claim_type, Kind::Name, facts)
}

/// A line about the run.
pub(super) const fn context(
    name: &'static str,
    claim_type: ClaimType,
    facts: &'static [Reading],
) -> Claim {
    claim(name, claim_type, Kind::Context, facts)
}

/// A line about text that others can choose.
pub(super) const fn chosen(
    name: &'static str,
    claim_type: ClaimType,
    facts: &'static [Reading],
) -> Claim {
    claim(name, claim_type, Kind::Chosen, facts)
}

/// The claim as sent.
pub(super) const fn sent(fact: Fact) -> Reading {
    Reading {
        fact,
        how: How::Sent,
    }
}

/// The first way that applies.
pub(super) const fn ways(fact: Fact, ways: &'static [Way]) -> Reading {
    Reading {
        fact,
        how: How::Ways(ways),
    }
}

/// Whether the claim differs from the other one.
pub(super) const fn differs(fact: Fact, other: &'static str) -> Reading {
    Reading {
        fact,
        how: How::Differs(other),
    }
}

/// The text of the claim `top`, `/`, and the text of this one.
pub(super) const fn below(fact: Fact, top: &'static str) -> Reading {
    Reading {
        fact,
        how: How::Below(top),
    }
}

/// A way without conditions.
pub(super) const fn take(claim: &'static str, take: Take) -> Way {
    Way {
        claim,
        take,
        when: &[],
    }
}

/// A way that applies when all conditions hold.
pub(super) const fn take_when(claim: &'static str, take: Take, when: &'static [When]) -> Way {
    Way { claim, take, when }
}

/// The words of a trigger that has one for every run: an event that is not known is `other` (T-52).
pub(super) const fn triggers(
    claim: &'static str,
    words: &'static [(&'static str, &'static str)],
) -> [Way; 2] {
    let other = Some("other");
    [
        take(claim, Take::Words { words, other }),
        take(claim, Take::Always("other")),
    ]
}

/// The type of a ref: by the full ref, else by the provider's own word.
pub(super) const fn ref_types(
    full: &'static str,
    word: &'static str,
    words: &'static [(&'static str, &'static str)],
) -> [Way; 2] {
    let other = Some("other");
    [
        take(full, Take::Starts(&REF_TYPES)),
        take(word, Take::Words { words, other }),
    ]
}

/// The types of full refs by prefix, the first that fits.
pub const REF_TYPES: [(&str, &str); 5] = [
    ("refs/heads/", "branch"),
    ("refs/tags/", "tag"),
    ("refs/pull/", "pull"),
    ("refs/merge-requests/", "pull"),
    ("refs/", "other"),
];

/// The words of Git for the two types of refs that it has.
pub(super) const GIT_REF_TYPES: [(&str, &str); 2] = [("branch", "branch"), ("tag", "tag")];

impl Claim {
    /// Its JSON pointer.
    #[must_use]
    pub fn pointer(&self) -> String {
        pointer(self.name)
    }

    /// Whether it becomes a list of texts, so that one text with commas is accepted too.
    #[must_use]
    pub const fn is_list_of_texts(&self) -> bool {
        matches!(self.claim_type, ClaimType::List) && !self.facts.is_empty()
    }
}

/// The JSON pointer of a claim of a table.
#[must_use]
pub fn pointer(name: &str) -> String {
    if name.starts_with('/') {
        name.to_owned()
    } else {
        pointer_to(name)
    }
}

impl Reading {
    /// The claims that it reads, that of its own line first; not those of conditions.
    #[must_use]
    pub fn claims(&self, line: &'static str) -> Vec<&'static str> {
        match self.how {
            How::Sent => vec![line],
            How::Differs(other) | How::Below(other) => vec![line, other],
            How::Ways(ways) => {
                let mut claims: Vec<_> = ways.iter().map(|way| way.claim).collect();
                claims.dedup();
                claims
            }
        }
    }
}

impl Provider {
    /// Every reading, with the claim of its line.
    pub fn readings(&self) -> impl Iterator<Item = (&'static Claim, &'static Reading)> {
        let lines = self.claims.iter();
        lines.flat_map(|line| line.facts.iter().map(move |reading| (line, reading)))
    }

    /// How the fact is read, with the claim of its line.
    #[must_use]
    pub fn reading(&self, fact: Fact) -> Option<(&'static Claim, &'static Reading)> {
        self.readings().find(|(_, reading)| reading.fact == fact)
    }

    /// The facts that are read from the claim.
    #[must_use]
    pub fn facts_of_claim(&self, name: &str) -> Vec<Fact> {
        let own = self.claims.iter().filter(|line| line.name == name);
        let own = own.flat_map(|line| line.facts.iter().map(|reading| reading.fact));
        let mut facts: Vec<Fact> = own.collect();
        for (line, reading) in self.readings() {
            if !facts.contains(&reading.fact) && reading.claims(line.name).contains(&name) {
                facts.push(reading.fact);
            }
        }
        facts
    }

    /// The trigger's word of each event that the provider is known to have, the usual event of a
    /// word first. Empty where a run has no event.
    #[must_use]
    pub fn events(&self) -> Vec<(&'static str, &'static str)> {
        let event = self.reading(Fact::Event).map(|(line, _)| line.name);
        let ways = self.trigger_ways().iter();
        let of_event = ways.filter(|way| Some(way.claim) == event);
        of_event
            .flat_map(|way| match way.take {
                Take::Words { words, .. } => words.to_vec(),
                Take::Starts(words) => words.iter().map(|(start, word)| (*word, *start)).collect(),
                Take::Sent
                | Take::Prefixed(_)
                | Take::Starting(_)
                | Take::Part(_)
                | Take::File(_)
                | Take::Word(_)
                | Take::Always(_) => Vec::new(),
            })
            .collect()
    }

    /// The triggers that runs can have.
    #[must_use]
    pub fn triggers(&self) -> Vec<&'static str> {
        let mut triggers: Vec<_> = self
            .trigger_ways()
            .iter()
            .flat_map(|way| match way.take {
                Take::Words { words, other } => {
                    let words = words.iter().map(|(word, _)| *word);
                    words.chain(other).collect()
                }
                Take::Starts(words) => words.iter().map(|(_, word)| *word).collect(),
                Take::Word(word) | Take::Always(word) => vec![word],
                Take::Sent
                | Take::Prefixed(_)
                | Take::Starting(_)
                | Take::Part(_)
                | Take::File(_) => Vec::new(),
            })
            .collect();
        let mut seen = Vec::new();
        triggers.retain(|word| {
            let is_new = !seen.contains(word);
            seen.push(*word);
            is_new
        });
        triggers
    }

    fn trigger_ways(&self) -> &'static [Way] {
        match self.reading(Fact::Trigger).map(|(_, reading)| reading.how) {
            Some(How::Ways(ways)) => ways,
            Some(How::Sent | How::Differs(_) | How::Below(_)) | None => &[],
        }
    }

    /// Whether the fact is a short name of a ref, such as `main`: then a branch and a tag of one name are
    /// the same.
    #[must_use]
    pub fn has_short(&self, fact: Fact) -> bool {
        // Without a full ref there is no type either.
        let has_short_ref =
            || self.reading(Fact::Ref).is_some() && self.reading(Fact::RefType).is_none();
        fact == Fact::BaseRef || (fact == Fact::Ref && has_short_ref())
    }

    /// Whether its tokens say of every run what started it, so that the rule of ordinary triggers
    /// applies to all.
    #[must_use]
    pub fn has_events(&self) -> bool {
        let mut ways = self.trigger_ways().iter();
        ways.any(|way| matches!(way.take, Take::Always(_)) && way.when.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_taken_only_from_a_text_of_the_shape() {
        for (shape, text, part) in [
            ("p://<>/*/*", "p://acme/Payments/deploy", Some("acme")),
            ("p://*/*/<>", "p://acme/Payments/deploy", Some("deploy")),
            ("p://*/*/<>", "p://acme/Payments/folder/deploy", None),
            ("p://<>/*/*", "sc://acme/Payments/deploy", None),
            ("p://<>/*/*", "p:///Payments/deploy", None),
            ("p://<>/*/*", "p://acme/Payments", None),
            ("*/<**>", "github.com/acme/shop", Some("acme/shop")),
            ("*/<>/**", "github.com/acme/shop", Some("acme")),
            ("*/<>/**", "github.com/acme/", Some("acme")),
            ("<>/**", "github.com", None),
            ("a:<>:*", "a:x/y:z", Some("x/y")),
            ("x/<>", "x/", None),
            ("x/<>", "x/y/z", None),
            ("x/<**>", "x/", None),
        ] {
            assert_eq!(Shape(shape).part(text), part, "{shape} of {text}");
        }
    }
}
