//! The step of the demo that compares a change of the policies.

use super::{Demo, DemoError, MIGRATE, expect};
use crate::clock::Clock as _;
use crate::dev::stage::POLICIES;
use crate::policy::PolicySet;
use crate::policy::diff::{Change, Diff};
use crate::yaml::Diagnostics;

impl Demo<'_> {
    /// Step 9: a change of the policies, before it is merged.
    pub(super) fn compare_a_change(&mut self) -> Result<(), DemoError> {
        self.title(
            "A pull request writes `environment: { glob: \"prod*\" }` in policy shop-migrate",
        );
        let (from, to) = (
            "environment: production",
            "environment: { glob: \"prod*\" }",
        );
        let changed = POLICIES.map(|(name, text)| match name {
            "shop.yaml" => (name, text.replacen(from, to, 1)),
            _ => (name, text.to_owned()),
        });
        let changed: Vec<(&str, &str)> = changed
            .iter()
            .map(|(name, text)| (*name, text.as_str()))
            .collect();
        let [old, new] = [&POLICIES[..], changed.as_slice()].map(PolicySet::from_texts);
        let broken = |errors: Diagnostics| DemoError::otherwise(errors.to_string());
        let (old, new) = (old.map_err(broken)?.set, new.map_err(broken)?.set);
        let diff = Diff::of(&old, &new, self.clock.now(), &[]);
        self.say("hallpass policy diff main");
        let wider = diff.credentials.iter().find(|one| one.name == MIGRATE);
        let change = wider.map_or(Change::Same, |one| one.change);
        expect(
            change.name(),
            Change::Wider.name(),
            "the change of shop-db/migrate",
        )?;
        self.did("shop-db/migrate: wider, proven by this job, which got nothing before");
        let gained = wider.and_then(|one| one.gained.first());
        let gained = gained.ok_or_else(|| DemoError::otherwise("no job was found"))?;
        for (fact, value) in gained.found.witness.facts.iter() {
            self.say(&format!("  {fact}: {value}"));
        }
        self.did("a pull request gets this as a comment: docs/ci/policy-review.md");
        Ok(())
    }
}
