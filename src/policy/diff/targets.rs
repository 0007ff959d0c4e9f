//! Where the targets of credentials lead: not the policies say it, but the settings of both sides.

use std::collections::BTreeMap;

use super::credentials::granting;
use super::definition::{changed, defines_same_but_target};
use super::{Change, CredentialChange, Diff};
use crate::policy::PolicySet;

/// The keys that decide where a credential leads, with their values, by credential.
pub type Destinations = BTreeMap<String, Vec<(String, String)>>;

impl Diff {
    /// Compares settings that decide what the policies and their conditions are about, by key. Each change
    /// counts as wider.
    pub fn compare_settings(&mut self, before: &[(String, String)], after: &[(String, String)]) {
        self.settings = changed(before, after);
    }

    /// Compares where the credentials lead. One that leads elsewhere is redefined; one whose target has
    /// another name and leads to the same place is not.
    pub fn compare_targets(
        &mut self,
        old: &PolicySet,
        new: &PolicySet,
        before: &Destinations,
        after: &Destinations,
    ) {
        let granted = new.granted();
        let granted_by = |name: &str| granted.get(name).map(|granted| granting(granted));
        let positions = self.positions();
        for credential in new.credentials() {
            let name = credential.name.as_str();
            let position = positions.get(name);
            let change = position.and_then(|number| self.credentials.get_mut(*number));
            let was = change.as_ref().and_then(|one| one.was.as_deref());
            let Some(was) = old.credential(was.unwrap_or(name)) else {
                continue;
            };
            let none = Vec::new();
            let keys = changed(
                before.get(&was.name).unwrap_or(&none),
                after.get(name).unwrap_or(&none),
            );
            let is_kept = keys.is_empty() && credential.target().is_some();
            match change {
                Some(change) if !keys.is_empty() => {
                    change.keys.extend(keys);
                    change.granted_by = granted_by(name).unwrap_or_default();
                    change.change = Change::Redefined;
                    change.is_wider = true;
                }
                Some(change)
                    if is_kept
                        && change.change == Change::Redefined
                        && defines_same_but_target(was, credential) =>
                {
                    change.is_wider = change.is_wider_as_defined;
                    change.granted_by.clear();
                    change.change = change.decided();
                }
                None if !keys.is_empty() => self.credentials.push(CredentialChange {
                    keys,
                    granted_by: granted_by(name).unwrap_or_default(),
                    change: Change::Redefined,
                    is_wider: true,
                    place: new.place_of(name).cloned(),
                    ..CredentialChange::of(name)
                }),
                Some(_) | None => {}
            }
        }
        self.sort();
    }
}
