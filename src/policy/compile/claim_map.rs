//! `facts` and `types` of a `generic` issuer: which claim holds which fact, and how it is sent.
//! Not: what the claims say.

use super::conditions;
use super::trust::CUSTOMER;
use crate::provider::{ClaimMap, ClaimType, Fact, FactType, MappedClaim, Provider};
use crate::yaml::Entry;
use crate::yaml::diagnostic::Span;
use crate::yaml::reader::{Fields, NodeReader};

/// The claims that hold the facts of a `generic` issuer, with their types.
pub(super) fn claim_map(
    yaml: &NodeReader<'_>,
    fields: &Fields<'_>,
    provider: &'static Provider,
    what: &str,
    at: Span,
) -> ClaimMap {
    let mut map = ClaimMap::new();
    let named = fields.get("facts");
    if !provider.claims.is_empty() {
        for key in ["facts", "types"] {
            if let Some(node) = fields.get(key) {
                let message = format!("provider `{}` knows where its facts are", provider.name);
                yaml.error_help(
                    "unknown-key",
                    node.span,
                    message,
                    Some(format!("leave `{key}` out, or use provider `generic`")),
                );
            }
        }
        return map;
    }
    let Some(node) = named else {
        yaml.error_help(
            "missing-key",
            at,
            format!("key `facts` is missing from {what}"),
            Some(
                "say which claim holds which fact, such as `facts: { repository: /claim }`"
                    .to_owned(),
            ),
        );
        return map;
    };
    for entry in yaml.entries(node, "`facts`").unwrap_or_default() {
        let Some(fact) = fact_name(yaml, entry) else {
            continue;
        };
        if let Some(pointer) =
            conditions::pointer(yaml, &entry.value, &format!("claim of `{fact}`"))
        {
            map.insert(fact, MappedClaim::usual(fact, pointer));
        }
    }
    for entry in fields
        .get("types")
        .and_then(|node| yaml.entries(node, "`types`"))
        .unwrap_or_default()
    {
        claim_type(yaml, entry, &mut map);
    }
    map
}

fn claim_type(yaml: &NodeReader<'_>, entry: &Entry, map: &mut ClaimMap) {
    let Some(fact) = fact_name(yaml, entry) else {
        return;
    };
    let Some(word) = yaml.text(&entry.value, format!("type of `{fact}`")) else {
        return;
    };
    let claim_type = match (fact.fact_type(), word) {
        (FactType::Bool, "boolean") => ClaimType::Boolean,
        (FactType::Bool, "text") => ClaimType::FlagText,
        (FactType::Text, "number") => ClaimType::Number,
        (FactType::Text, "list") if can_be_list(fact) => ClaimType::List,
        (FactType::List, "list") => ClaimType::List,
        (FactType::Text | FactType::Workflow, "text") => ClaimType::Text,
        (
            FactType::Text
            | FactType::Bool
            | FactType::List
            | FactType::Workflow
            | FactType::Network
            | FactType::Clock,
            _,
        ) => {
            let help = match fact.fact_type() {
                FactType::Bool => {
                    "write `boolean`, or `text` where it is sent as \"true\" or \"false\""
                }
                FactType::Text if can_be_list(fact) => "write `text`, `number` or `list`",
                FactType::Text => "write `text` or `number`",
                FactType::List => "write `list`",
                FactType::Workflow | FactType::Network | FactType::Clock => "write `text`",
            };
            yaml.error_help(
                "claim-type",
                entry.value.span,
                format!("`{fact}` cannot be sent as `{word}`"),
                Some(help),
            );
            return;
        }
    };
    match map.get_mut(&fact) {
        Some(mapped) => mapped.claim_type = claim_type,
        None => yaml.error(
            "claim-type",
            entry.span,
            format!("`types` names `{fact}`, which `facts` does not"),
        ),
    }
}

/// Whom a job belongs to, and what it is a run of, is one thing and never several.
fn can_be_list(fact: Fact) -> bool {
    let single = [
        Fact::Event,
        Fact::Trigger,
        Fact::RefType,
        Fact::Runner,
        Fact::Ref,
    ];
    !fact.is_id() && !CUSTOMER.contains(&fact) && !single.contains(&fact)
}

fn fact_name(yaml: &NodeReader<'_>, entry: &Entry) -> Option<Fact> {
    let name = yaml.scalar(&entry.key, entry.span, "the name of a fact")?;
    let fact = Fact::from_name(name);
    let Some(fact) = fact else {
        conditions::unknown_fact(yaml, name, entry.span, Fact::ALL, None);
        return None;
    };
    if fact.is_of_request() {
        let message = format!("`{fact}` is read at each decision, not from a claim");
        let help = format!("leave it out: every policy can name `{fact}`");
        yaml.error_help("claim-type", entry.span, message, Some(help));
        return None;
    }
    Some(fact)
}
