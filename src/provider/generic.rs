//! Any issuer: the policies name the claims that hold the facts.
//! Not: the network, policies, the other providers.

use std::collections::BTreeMap;

use super::claims::{self, ClaimType};
use super::{
    ClaimError, ClaimMap, Fact, FactType, FactValue, Provider, TRIGGERS, Workflow, set_text,
};
use crate::token::json::Object;

/// Any other issuer of signed tokens.
pub(super) const PROVIDER: Provider = Provider {
    name: "generic",
    usual_issuer: None,
    claims: &[],
    derived: &[],
    tenant_ids: &[],
    // Unless the map names a claim for one: see `tells_events`.
    has_events: false,
    max_lifetime: 3_600,
    max_age: 3_600,
    identify,
};

/// An issuer whose map names a claim for the event or the trigger tells what started its runs, so
/// the rule of ordinary triggers applies to it.
pub(super) fn tells_events(map: &ClaimMap) -> bool {
    map.contains_key(&Fact::Event) || map.contains_key(&Fact::Trigger)
}

fn identify(token: &Object, map: &ClaimMap) -> Result<BTreeMap<Fact, FactValue>, ClaimError> {
    let mut facts = BTreeMap::new();
    for (fact, mapped) in map {
        let Some(value) = token.pointer(&mapped.pointer) else {
            continue;
        };
        let value = if mapped.claim_type == ClaimType::List {
            claims::list(&mapped.pointer, value)?
        } else {
            claims::fact_value(&mapped.pointer, value, mapped.claim_type)?
        };
        if let Some(value) = value {
            facts.insert(*fact, of_fact(*fact, value));
        }
    }
    if tells_events(map) {
        let word = match facts
            .get(&Fact::Trigger)
            .or_else(|| facts.get(&Fact::Event))
        {
            Some(FactValue::Text(word)) => word.as_str(),
            Some(FactValue::Bool(_) | FactValue::List(_) | FactValue::Workflow(_)) | None => "",
        };
        let trigger = TRIGGERS.iter().find(|trigger| **trigger == word);
        let trigger = trigger.copied().unwrap_or("other");
        set_text(&mut facts, Fact::Trigger, trigger);
    }
    Ok(facts)
}

fn of_fact(fact: Fact, value: FactValue) -> FactValue {
    match (fact.fact_type(), value) {
        (FactType::Workflow, FactValue::Text(text)) => FactValue::Workflow(Workflow::parse(&text)),
        (FactType::Text | FactType::Bool | FactType::List | FactType::Workflow, value) => value,
    }
}

/// How the claim of a fact is sent, unless the issuer's `types` say otherwise.
pub(super) const fn usual_type(fact_type: FactType) -> ClaimType {
    match fact_type {
        FactType::Text | FactType::Workflow => ClaimType::Text,
        FactType::Bool => ClaimType::Boolean,
        FactType::List => ClaimType::List,
    }
}
