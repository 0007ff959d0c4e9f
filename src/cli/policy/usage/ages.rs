//! Whether policies are older than the period in which they were not used.

use std::collections::BTreeMap;
use std::path::Path;

use super::DAY;
use super::log::{Log, Period};
use crate::cli::policy::sheet::Changes;
use crate::clock::Timestamp;
use crate::policy::{Policy, PolicySet};
use crate::text::escape;

/// Whether policies are old enough to be called unused.
pub(super) struct Ages<'a> {
    /// The log shows that a broker had exactly these policies before the period.
    is_old: bool,
    /// The begin of the period.
    pub(super) cutoff: Timestamp,
    changes: Changes<'a>,
    /// The last change of each file, by git.
    known: BTreeMap<String, Option<Timestamp>>,
}

impl<'a> Ages<'a> {
    pub(super) fn of(dir: &'a Path, days: u16, set: &PolicySet, log: &Log, period: Period) -> Self {
        let seconds = i64::from(days).saturating_mul(DAY);
        let cutoff = period.until.plus(seconds.saturating_neg());
        let served = log.served_since(set.revision());
        Self {
            is_old: served.is_some_and(|since| since <= cutoff),
            cutoff,
            changes: Changes::of(dir),
            known: BTreeMap::new(),
        }
    }

    /// Why the policy may be younger than the period.
    pub(super) fn too_young(&mut self, policy: &Policy) -> Option<String> {
        if self.is_old {
            return None;
        }
        let file = policy.place.source().name();
        let changed = if let Some(known) = self.known.get(file) {
            *known
        } else {
            let changed = self.changes.time_of(file);
            self.known.insert(file.to_owned(), changed);
            changed
        };
        match changed {
            Some(time) if time <= self.cutoff => None,
            Some(time) => Some(format!(
                "`{}`, or a roster, was changed at {time}",
                escape(policy.place.file())
            )),
            None => Some(
                "the age of the policies is not known: no earlier event shows these policies, and git has no commit of exactly these files"
                    .to_owned(),
            ),
        }
    }
}
