//! The provider for any other issuer: the policies map claims to facts.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::claims::{self, ClaimType};
use super::{
    ClaimError, ClaimMap, Fact, FactType, FactValue, Guide, Provider, Rules, TRIGGERS, Workflow,
};
use crate::token::json::Object;

/// Any other issuer of signed tokens.
pub(super) const PROVIDER: Provider = Provider {
    name: "generic",
    title: "Any other issuer",
    usual_issuer: None,
    issuers: &[],
    claims: &[],
    agreements: &[],
    tenant_ids: &[],
    rules: Rules::USUAL,
    property_claims: None,
    owner_in: None,
    needs: &[],
    misleading: &[],
    guide: GUIDE,
};

/// Whether the map has a claim for the event or the trigger. If so, the rule of ordinary triggers
/// applies to the issuer.
pub(super) fn has_events(map: &ClaimMap) -> bool {
    map.contains_key(&Fact::Event) || map.contains_key(&Fact::Trigger)
}

pub(super) fn facts(
    token: &Object,
    map: &ClaimMap,
) -> Result<BTreeMap<Fact, FactValue>, ClaimError> {
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
    if has_events(map) {
        let word = match facts
            .get(&Fact::Trigger)
            .or_else(|| facts.get(&Fact::Event))
        {
            Some(FactValue::Text(word)) => word.as_str(),
            Some(
                FactValue::Bool(_)
                | FactValue::List(_)
                | FactValue::Workflow(_)
                | FactValue::Address(_)
                | FactValue::Time(_),
            )
            | None => "",
        };
        let trigger = TRIGGERS.iter().find(|trigger| **trigger == word);
        let trigger = trigger.copied().unwrap_or("other");
        facts.insert(Fact::Trigger, FactValue::Text(trigger.to_owned()));
    }
    Ok(facts)
}

pub(super) fn write(facts: &BTreeMap<Fact, FactValue>, map: &ClaimMap) -> Map<String, Value> {
    let mut written = Map::new();
    for (fact, mapped) in map {
        if let Some(value) = facts.get(fact) {
            let value = claims::to_json(value, mapped.claim_type);
            // What could not be written is missed when the claims are read back.
            claims::set(&mut written, &mapped.pointer, value);
        }
    }
    written
}

fn of_fact(fact: Fact, value: FactValue) -> FactValue {
    match (fact.fact_type(), value) {
        (FactType::Workflow, FactValue::Text(text)) => FactValue::Workflow(Workflow::parse(&text)),
        (
            FactType::Text
            | FactType::Bool
            | FactType::List
            | FactType::Workflow
            | FactType::Network
            | FactType::Clock
            | FactType::Age,
            value,
        ) => value,
    }
}

/// The default type of a fact's claim; the issuer's `types` can override it.
pub(super) const fn usual_type(fact_type: FactType) -> ClaimType {
    match fact_type {
        // No claim holds what is of a request: see `Fact::is_of_request`.
        FactType::Text | FactType::Workflow | FactType::Network | FactType::Clock => {
            ClaimType::Text
        }
        FactType::Age => ClaimType::Number,
        FactType::Bool => ClaimType::Boolean,
        FactType::List => ClaimType::List,
    }
}

const GUIDE: Guide = Guide {
    token: r"# Put an ID token of the CI for the audience https://hallpass.example into HALLPASS_ID_TOKEN.
hallpass exec deploy-api -- ./deploy.sh",
    issuer: "url: https://ci.example, facts: { repository: /repository, repository_id: /repository_id, ref: /ref }",
    when: r#"repository: acme/shop
repository_id: "77"
ref: refs/heads/main"#,
    limits: &[
        "What its tokens say is not known: `facts` of the issuer names the claim of each fact.",
    ],
};
