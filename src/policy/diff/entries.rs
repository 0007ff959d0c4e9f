//! Requirements and limits of teams: by name, what is written otherwise.

use std::collections::BTreeMap;

use super::definition::changed;
use super::{Change, EntryChange};
use crate::policy::{Block, PolicySet, Requirement};

/// The keys of an entry with their values.
type Keys = Vec<(String, String)>;

pub(super) fn changes(old: &PolicySet, new: &PolicySet) -> Vec<EntryChange> {
    let requirements = |set: &PolicySet| {
        let all = set.requirements.iter();
        all.map(|one| (one.name.clone(), keys(one))).collect()
    };
    let mut changes = compare("requirement", &requirements(old), &requirements(new));
    changes.extend(compare("team", &old.team_limits, &new.team_limits));
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

fn keys(one: &Requirement) -> Keys {
    let given = [
        ("of", Some(one.of.to_yaml())),
        ("jobs", Some(one.jobs.to_yaml())),
        ("unless", one.unless.as_ref().map(Block::to_yaml)),
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
