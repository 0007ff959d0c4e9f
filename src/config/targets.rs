//! `targets:`: what credentials are made in, by name. Not: what a kind of target is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::credential::kind;
use crate::credential::target::{KINDS, TargetSettings};
use crate::yaml::settings::Item;

/// Reads `targets:`.
pub(super) fn read(item: &Item<'_>) -> Option<BTreeMap<String, Arc<dyn TargetSettings>>> {
    let section = item.section()?;
    let mut targets: BTreeMap<String, Arc<dyn TargetSettings>> = BTreeMap::new();
    let mut is_right = true;
    for (name, item) in section.entries() {
        let Some(target) = named(name, &item) else {
            is_right = false;
            continue;
        };
        for (other, settings) in &targets {
            if let Some((message, help)) = target.clash(other, settings.as_ref()) {
                is_right = item.wrong(&message, help).unwrap_or(false);
            }
        }
        targets.insert(name.to_owned(), target);
    }
    is_right.then_some(targets)
}

fn named(name: &str, item: &Item<'_>) -> Option<Arc<dyn TargetSettings>> {
    let target = target(item);
    if !is_name(name) {
        return item.wrong(
            "the name of a target must be 1 to 63 letters, digits, `-` or `_`",
            "rename it, also in the policies",
        );
    }
    if kind::find(name).is_some() {
        return item.wrong(
            &format!("target `{name}` has the name of the credential kind `{name}`"),
            "rename the target, also in the policies; `uses` of a team could not tell them apart",
        );
    }
    target
}

fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn target(item: &Item<'_>) -> Option<Arc<dyn TargetSettings>> {
    let section = item.section()?;
    let word = section.required("kind")?;
    let text = word.text()?;
    let Some(kind) = KINDS.iter().find(|kind| kind.name == text) else {
        let known = KINDS.iter().map(|kind| format!("`{}`", kind.name));
        let known = known.collect::<Vec<_>>().join(", ");
        return word.wrong(
            &format!("unknown kind of target `{text}`"),
            &format!("write one of {known}"),
        );
    };
    (kind.read)(&section)
}
