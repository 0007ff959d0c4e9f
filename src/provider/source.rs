//! Which claims a fact is read from, for proofs about all jobs. Not: how a token is read.

use super::claims::ClaimType;
use super::{ClaimMap, Fact, PropertyName, PropertyType, Provider, Reader};
use crate::token::json::pointer_to;

/// How a provider computes a fact that is no claim as sent. Claims are given by name.
#[derive(Clone, Copy, Debug)]
pub enum Derivation {
    /// A word for each known text of the claim, and one for every other text and an absent claim;
    /// `None`: the fact is absent.
    Words {
        claim: &'static str,
        /// The word, and the claim's text.
        words: &'static [(&'static str, &'static str)],
        other: Option<&'static str>,
    },
    /// The type of the ref: by the full ref where that says it, else by the claim.
    RefType {
        full: &'static str,
        word: &'static str,
    },
    /// The full ref as sent; where it is absent, it is built of a short name and its type.
    Ref {
        full: &'static str,
        name: &'static str,
        word: &'static str,
    },
    /// Whether two claims differ; absent if one of them is.
    Differ(&'static str, &'static str),
    /// The claim as sent, where another one is true.
    Confirmed {
        claim: &'static str,
        by: &'static str,
    },
    /// Whether there was a second factor, by the methods or the class of the sign-in: see
    /// [`SecondFactor`](super::SecondFactor).
    SecondFactor {
        methods: &'static str,
        class: &'static str,
    },
    /// The part of a workflow's path after the repository.
    File { claim: &'static str, cut: Cut },
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

/// What a fact is read from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The claim itself, by JSON pointer.
    Claim(String),
    Derived(Derivation),
    /// The trigger of a `generic` issuer: a word of the first claim, or of the second if the first is
    /// absent. A text that is no trigger is `other`.
    Trigger(Vec<String>),
    /// No token of the issuer has the fact.
    Never,
}

impl Reader {
    /// What the fact is read from.
    #[must_use]
    pub fn source(&self, fact: Fact) -> Source {
        let mut derived = self.provider.sources.iter();
        if let Some((_, derivation)) = derived.find(|(derived, _)| *derived == fact) {
            return Source::Derived(*derivation);
        }
        if self.provider.claims.is_empty() {
            return of_map(fact, &self.claim_map, self.has_events());
        }
        let mut lines = self.provider.claims.iter();
        match lines.find(|line| line.fact == Some(fact)) {
            Some(line) => Source::Claim(pointer_to(line.name)),
            None => Source::Never,
        }
    }

    /// The claim of a property, by JSON pointer, if the issuer declares the property.
    #[must_use]
    pub fn property_source(&self, name: &PropertyName) -> Option<(String, PropertyType)> {
        let property = self.property_type(name)?;
        Some((self.property_pointer(name)?, property))
    }

    /// The types that the reader demands of a claim, by JSON pointer. None: any value is accepted.
    #[must_use]
    pub fn claim_types(&self, pointer: &str) -> Vec<ClaimType> {
        let lines = self.provider.claims.iter();
        let lines = lines.filter(|line| pointer_to(line.name) == pointer);
        let mapped = self.claim_map.values();
        let mapped = mapped.filter(|mapped| mapped.pointer == pointer);
        let properties = self.properties.iter().filter(|(name, _)| {
            let own = self.property_pointer(&PropertyName::new(name));
            own.is_some_and(|own| own == pointer)
        });
        let properties = properties.map(|(_, property)| match property {
            PropertyType::Text => ClaimType::Text,
            PropertyType::Boolean => ClaimType::FlagText,
            PropertyType::List => ClaimType::List,
        });
        lines
            .map(|line| line.claim_type)
            .chain(mapped.map(|mapped| mapped.claim_type))
            .chain(properties)
            .collect()
    }
}

fn of_map(fact: Fact, map: &ClaimMap, has_events: bool) -> Source {
    let pointer = |fact: Fact| map.get(&fact).map(|mapped| mapped.pointer.clone());
    if fact == Fact::Trigger && has_events {
        let claims = [Fact::Trigger, Fact::Event].into_iter();
        return Source::Trigger(claims.filter_map(pointer).collect());
    }
    pointer(fact).map_or(Source::Never, Source::Claim)
}

impl Provider {
    /// The word of a claim's text, by a table of words.
    pub(super) fn word(
        words: &'static [(&'static str, &'static str)],
        text: &str,
    ) -> Option<&'static str> {
        let mut lines = words.iter();
        lines
            .find(|(_, known)| *known == text)
            .map(|(word, _)| *word)
    }
}
