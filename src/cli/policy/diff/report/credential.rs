//! The parts of a report that are about credentials: what changed, and the jobs that show it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Report, SHOWN, harmless, quoted, word};
use crate::policy::diff::{CredentialChange, Gained, Given, Rows};
use crate::text::count;
use crate::yaml::duration;

impl Report<'_> {
    /// Credentials of one entry with the same change: one for many rows.
    pub(super) fn group(&mut self, group: &[&CredentialChange]) {
        let Some((one, others)) = group.split_first() else {
            return;
        };
        let (name, change) = (self.name(&one.name), word(one.change));
        let section = self.style.section;
        let more = match others.len() {
            0 => String::new(),
            more => format!(" and {more} more of the same entry"),
        };
        self.push(&format!("{section}{name}{more}: {change}\n\n"));
        if !others.is_empty() {
            let names = self.names(others.iter().map(|other| other.name.as_str()));
            self.push(&format!("- the others: {names}\n"));
        }
        self.rows(group);
        if let Some(was) = &one.was {
            let was = self.name(was);
            self.push(&format!("- renamed from {was}\n"));
        }
        for key in &one.keys {
            self.key(key);
        }
        for note in &one.notes {
            self.push(&format!("- {note}\n"));
        }
        if !one.granted_by.is_empty() {
            let names = self.names(one.granted_by.iter().map(String::as_str));
            self.push(&format!("- granted by {names}\n"));
        }
        if !one.lost.is_empty() {
            let names = self.names(one.lost.iter().map(String::as_str));
            self.push(&format!("- jobs get less by {names}\n"));
        }
        for default in &one.defaults {
            let given = |given: &Given| self.given(given);
            let (old, new) = (given(&default.old), given(&default.new));
            self.push(&format!(
                "- default changed: a request without lifetime and scopes gets {new}, before {old}\n"
            ));
        }
        for reason in &one.undecided {
            let reason = (self.style.sentence)(reason);
            self.push(&format!("- not decided: {reason}\n"));
        }
        // Two blocks of one policy give the same.
        let mut seen = BTreeSet::new();
        let ways = one.gained.iter();
        let ways = ways.filter(|one| seen.insert((&one.policy, one.ttl, &one.scopes)));
        let ways: Vec<_> = ways.collect();
        for (number, gained) in ways.iter().take(SHOWN).enumerate() {
            self.gain(&one.name, gained, number < self.style.witnesses);
        }
        if let Some(rest @ 1..) = ways.len().checked_sub(SHOWN) {
            let ways = count(rest, "more way");
            self.push(&format!("- and {ways}\n"));
        }
        self.push("\n");
    }

    fn rows(&mut self, group: &[&CredentialChange]) {
        let mut all = Rows::new();
        for one in group {
            for (roster, rows) in &one.rows {
                let known = all.entry(roster.clone()).or_default();
                known.touched.extend(&rows.touched);
                known.of = rows.of;
            }
        }
        for (roster, rows) in all {
            let (roster, of) = (self.name(&roster), count(rows.of, "row"));
            let touched = count(rows.touched.len(), "row");
            let touched = touched.split(' ').next().unwrap_or_default();
            self.push(&format!("- touches {touched} of {of} of {roster}\n"));
        }
    }

    fn given(&self, given: &Given) -> String {
        let policy = self.name(&given.policy);
        let extent = self.extent(given.ttl, &given.scopes);
        format!("{extent} by policy {policy}")
    }

    /// For how long, and with which scopes.
    fn extent(&self, ttl: Duration, scopes: &[String]) -> String {
        let ttl = duration::print(ttl);
        let scopes: Vec<_> = scopes.iter().map(|scope| self.name(scope)).collect();
        match scopes.as_slice() {
            [] => ttl,
            scopes => format!("{ttl} with {}", scopes.join(", ")),
        }
    }

    fn gain(&mut self, credential: &str, gained: &Gained, is_shown: bool) {
        let policy = self.name(&gained.policy);
        let place = self.name(&gained.place.to_string());
        let extent = self.extent(gained.ttl, &gained.scopes);
        self.push(&format!(
            "- policy {policy} ({place}) gives it for {extent}"
        ));
        let witness = self.witness(gained);
        if let Some(shown) = self.witnesses.get(&witness) {
            let shown = if shown == credential {
                " to the same job\n".to_owned()
            } else {
                format!(" to the job that is shown for {}\n", self.name(shown))
            };
            self.push(&shown);
        } else if is_shown && self.witnesses.len() < self.style.blocks {
            self.push(" to this job, which got less or nothing:\n");
            self.push(&witness);
            self.witnesses.insert(witness, credential.to_owned());
        } else if is_shown {
            let job = self.name(&Self::facts(gained).join(", "));
            self.push(&format!(" to this job, which got less or nothing: {job}\n"));
        } else {
            self.push(" to jobs that got less or nothing\n");
        }
    }

    fn witness(&self, gained: &Gained) -> String {
        let fence = self.style.fence;
        let lines = Self::facts(gained).join("\n  ");
        format!("{fence}  {lines}\n{fence}")
    }

    /// The job and the time, one part for each fact.
    fn facts(gained: &Gained) -> Vec<String> {
        let witness = &gained.found.witness;
        let mut lines = vec![format!("issuer: {}", quoted(witness.facts.issuer()))];
        let facts = gained.found.facts();
        lines.extend(facts.map(|(fact, value)| format!("{fact}: {}", quoted(&value))));
        let claims = witness.raw_claims();
        lines.extend(claims.map(|(name, value)| {
            format!("claim {}: {}", quoted(name), harmless(&value.to_string()))
        }));
        lines.push(format!("at: {}", gained.found.at));
        lines
    }
}
