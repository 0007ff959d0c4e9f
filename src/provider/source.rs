//! Which claims a fact is read from, for proofs about all jobs. Not: how a token is read.

use super::claims::ClaimType;
use super::table::{Claim, How, Reading, Take};
use super::{ClaimMap, Fact, PropertyName, PropertyType, Provider, Reader};

/// What a fact is read from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The claim itself, by JSON pointer.
    Claim(String),
    /// A line of the provider's table.
    Read(&'static Claim, &'static Reading),
    /// How a person signed in: see [`SecondFactor`](super::SecondFactor).
    SecondFactor,
    /// The trigger of a `generic` issuer: a word of the first claim, or of the second if the first is
    /// absent. A text that is no trigger is `other`.
    Trigger(Vec<String>),
    /// No token of the issuer has the fact.
    Never,
}

impl Reading {
    /// The claim that can say every value of the fact as sent, where other claims can say some of them
    /// too.
    pub(crate) fn shared(&self) -> Option<&'static str> {
        match self.how {
            How::Ways([first, _, ..])
                if matches!(first.take, Take::Sent) && first.when.is_empty() =>
            {
                Some(first.claim)
            }
            How::Ways(_) | How::Sent | How::Differs(_) | How::Below(_) => None,
        }
    }
}

impl Provider {
    /// Whether the claim is a list that is never sent as one text, by JSON pointer.
    #[must_use]
    pub fn is_json_list(&self, claim: &str) -> bool {
        let mut lines = self.claims.iter();
        lines.any(|line| !line.is_list_of_texts() && line.pointer() == claim)
    }
}

impl Reader {
    /// What the fact is read from.
    #[must_use]
    pub fn source(&self, fact: Fact) -> Source {
        if self.provider.claims.is_empty() {
            return of_map(fact, &self.claim_map, self.has_events());
        }
        match self.provider.reading(fact) {
            None if fact == Fact::Mfa && self.provider.is_of_people() => Source::SecondFactor,
            None => Source::Never,
            Some((line, reading)) => match reading.how {
                How::Sent => Source::Claim(line.pointer()),
                How::Ways(_) | How::Differs(_) | How::Below(_) => Source::Read(line, reading),
            },
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
        let lines = lines.filter(|line| line.pointer() == pointer);
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
