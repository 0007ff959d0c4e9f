//! Requirements and limits of teams: by name, what is written otherwise.

use std::collections::BTreeMap;

use super::definition::changed;
use super::{Change, EntryChange, KeyChange};
use crate::policy::{Block, PolicySet, Requirement};

/// The keys of an entry with their values.
type Keys = Vec<(String, String)>;

pub(super) fn changes(old: &PolicySet, new: &PolicySet) -> Vec<EntryChange> {
    let requirements = |set: &PolicySet| {
        let all = set.requirements.iter();
        all.map(|one| (one.name.clone(), keys(set, one))).collect()
    };
    let mut changes = compare("requirement", &requirements(old), &requirements(new));
    changes.extend(compare("team", &old.team_limits, &new.team_limits));
    let zone = |set: &PolicySet| set.zone_name().map(str::to_owned);
    let zone = KeyChange::of("zone", zone(old), zone(new));
    changes.extend(zone.map(|zone| EntryChange {
        sort: "key",
        name: "zone".to_owned(),
        change: Change::Redefined,
        keys: vec![zone],
    }));
    changes
}

fn compare(
    sort: &'static str,
    old: &BTreeMap<String, Keys>,
    new: &BTreeMap<String, Keys>,
) -> Vec<EntryChange> {
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    let gone = gone.map(|(name, keys)| (name, keys, Change::Removed));
    let now = new.iter().map(|(name, keys)| match old.get(name) {
        Some(_) => (name, keys, Change::Redefined),
        None => (name, keys, Change::Added),
    });
    let none = Keys::new();
    let changes = gone.chain(now).filter_map(|(name, keys, change)| {
        let keys = if change == Change::Removed {
            changed(keys, &none)
        } else {
            changed(old.get(name).unwrap_or(&none), keys)
        };
        (!keys.is_empty()).then(|| EntryChange {
            sort,
            name: name.clone(),
            change,
            keys,
        })
    });
    changes.collect()
}

/// With the addresses of issuers in place of their names.
pub(super) fn keys(set: &PolicySet, one: &Requirement) -> Keys {
    let block = |block: &Block| set.by_url(block).to_yaml();
    let given = [
        ("of", Some(one.of.to_yaml())),
        ("jobs", Some(block(&one.jobs))),
        ("unless", one.unless.as_ref().map(block)),
        (
            "shadow_until",
            one.shadow_until.map(|until| until.to_string()),
        ),
    ];
    let given = given.into_iter();
    given
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}
