//! What a credential is: the keys of its entry in both sets.

use std::collections::{BTreeMap, BTreeSet};

use super::KeyChange;
use crate::policy::CredentialDefinition;
use crate::policy::proof::some_text_is_new;
use crate::yaml::duration;
use crate::yaml::scalar::{list, scalar};

/// Whether they mint the same, scopes aside.
pub(super) fn defines_same(one: &CredentialDefinition, other: &CredentialDefinition) -> bool {
    one.kind.name == other.kind.name
        && one.target() == other.target()
        && one.specific.decisive() == other.specific.decisive()
}

/// The same, targets aside.
pub(super) fn defines_same_but_target(
    one: &CredentialDefinition,
    other: &CredentialDefinition,
) -> bool {
    let keys = |of: &CredentialDefinition| {
        let keys = of.specific.keys().into_iter();
        let keys = keys.filter(|(key, _)| !matches!(*key, "target" | "scopes"));
        keys.collect::<Vec<_>>()
    };
    one.kind.name == other.kind.name && keys(one) == keys(other)
}

/// The keys with another value, those of the definition first.
pub(super) fn keys(was: &CredentialDefinition, now: &CredentialDefinition) -> Vec<KeyChange> {
    changed(&entry(was), &entry(now))
}

/// The keys with another value, in the order of the old list and then of the new one.
pub(super) fn changed(old: &[(String, String)], new: &[(String, String)]) -> Vec<KeyChange> {
    if old == new {
        return Vec::new();
    }
    let of = |list: &[(String, String)]| list.iter().cloned().collect::<BTreeMap<_, _>>();
    let (by_key, by_new_key) = (of(old), of(new));
    let mut seen = BTreeSet::new();
    let keys = old.iter().chain(new).map(|(key, _)| key);
    let keys = keys.filter(|key| seen.insert(key.as_str()));
    keys.filter_map(|key| {
        KeyChange::of(key, by_key.get(key).cloned(), by_new_key.get(key).cloned())
    })
    .collect()
}

/// Each key that is given, with its value as in the file.
fn entry(one: &CredentialDefinition) -> Vec<(String, String)> {
    let mut keys = vec![("kind".to_owned(), one.kind.name.to_owned())];
    let mut push = |key: &str, value: String| keys.push((key.to_owned(), value));
    for (key, value) in one.specific.keys() {
        push(key, value);
    }
    push("max_ttl", duration::print(one.max_ttl));
    for (name, pattern) in &one.inputs {
        push(&format!("inputs.{name}"), pattern.to_string());
    }
    push("class", one.class.name().to_owned());
    push("owner", scalar(&one.owner));
    push("purpose", scalar(&one.purpose));
    if let Some(resource) = &one.resource {
        push("resource", scalar(resource));
    }
    if !one.dependents.is_empty() {
        push(
            "dependents",
            list(one.dependents.iter().map(String::as_str)),
        );
    }
    if let Some(rotation) = &one.rotate {
        let grace = rotation.grace.map(duration::print);
        let grace = grace.map_or_else(String::new, |grace| format!(", grace: {grace}"));
        let every = duration::print(rotation.every);
        push("rotate", format!("{{ every: {every}{grace} }}"));
    }
    for (name, value) in &one.labels {
        push(&format!("labels.{name}"), scalar(value));
    }
    keys
}

/// Whether the inputs of the new definition may have values that those of the old may not, and the
/// other way round.
pub(super) fn inputs(was: &CredentialDefinition, now: &CredentialDefinition) -> (bool, bool) {
    let more = |from: &CredentialDefinition, to: &CredentialDefinition| {
        let mut names = from.inputs.keys();
        names.any(|name| match (from.inputs.get(name), to.inputs.get(name)) {
            (Some(from), Some(to)) => from != to && some_text_is_new(from, to),
            (Some(_), None) => true,
            (None, _) => false,
        })
    };
    (more(was, now), more(now, was))
}
