//! Findings that the new side accepts and the old side did not.

use crate::clock::Timestamp;
use crate::policy::PolicySet;

/// A waiver that was added or prolonged.
#[derive(Debug)]
pub struct WaiverChange {
    pub rule: &'static str,
    pub place: String,
    pub until: Timestamp,
    /// When it ended before; `None`: it is new.
    pub was_until: Option<Timestamp>,
    pub because: String,
}

pub(super) fn changes(old: &PolicySet, new: &PolicySet, at: Timestamp) -> Vec<WaiverChange> {
    let in_force = new.waivers.iter().filter(|one| one.until > at);
    let changes = in_force.filter_map(|one| {
        let file = one.place.source().name();
        let same = old
            .waivers
            .iter()
            .filter(|was| was.rule == one.rule && was.place.source().name() == file);
        let was_until = same.map(|was| was.until).max();
        was_until
            .is_none_or(|was| was < one.until)
            .then(|| WaiverChange {
                rule: one.rule,
                place: one.place.to_string(),
                until: one.until,
                was_until,
                because: one.because.clone(),
            })
    });
    changes.collect()
}
