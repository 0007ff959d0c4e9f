//! What a broker remembers of a target: the last listing, places that are being taken, and ends that are not
//! confirmed. A restart loses them; such a lease then ends at its expiry.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::contract::Lease;
use crate::clock::Timestamp;

#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// Holders of the leases in the last listing, by name.
    leases: BTreeMap<String, String>,
    listed_at: Option<Instant>,
    /// Logins that are being made, with their holders, until a listing has them.
    places: BTreeMap<String, (String, Instant)>,
    /// Leases that may have been made and that no job got, with their ends and the records of their orders.
    owed: BTreeMap<String, (Timestamp, String)>,
    /// Why leases have not ended yet, in the words of the other side.
    reasons: BTreeMap<String, String>,
    /// What the pass of the sweep found to be over.
    ended: Vec<String>,
}

impl Memory {
    fn locked(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_fresh(&self, interval: Duration) -> bool {
        let listed_at = self.locked().listed_at;
        listed_at.is_some_and(|at| at.elapsed() <= interval)
    }

    pub(super) fn note_listing(&self, leases: &[Lease]) {
        let mut remembered = self.locked();
        let holders = leases.iter();
        let holders = holders.map(|lease| (lease.name.clone(), lease.holder.clone()));
        remembered.leases = holders.collect();
        remembered.listed_at = Some(Instant::now());
        let Remembered { leases, places, .. } = &mut *remembered;
        places.retain(|name, (_, at)| !leases.contains_key(name) && at.elapsed() < LONGEST_MINT);
    }

    /// Takes a place for a login; else how many there are of all, and of the holder.
    pub(super) fn take_place(
        &self,
        name: &str,
        holder: &str,
        (most, most_of_holder): (u32, u32),
        is_live: impl Fn(&str) -> bool,
    ) -> Result<(), (u32, u32)> {
        let mut remembered = self.locked();
        let made = remembered.leases.iter();
        let places = remembered.places.iter();
        let places = places.map(|(name, (holder, _))| (name, holder));
        let places = places.filter(|(name, _)| !remembered.leases.contains_key(*name));
        let (mut all, mut of_holder) = (0_u32, 0_u32);
        for (other, whose) in made.chain(places) {
            if other != name && is_live(other) {
                all = all.saturating_add(1);
                of_holder = of_holder.saturating_add(u32::from(whose == holder));
            }
        }
        if all >= most || of_holder >= most_of_holder {
            return Err((all, of_holder));
        }
        let place = (holder.to_owned(), Instant::now());
        remembered.places.insert(name.to_owned(), place);
        Ok(())
    }

    pub(super) fn forget(&self, name: &str) {
        let mut remembered = self.locked();
        remembered.leases.remove(name);
        remembered.places.remove(name);
        remembered.owed.remove(name);
        remembered.reasons.remove(name);
    }

    /// The end of a lease that may have been made is owed.
    pub(super) fn owe(&self, name: &str, ends: Timestamp, record: &str) {
        let mut remembered = self.locked();
        if remembered.owed.len() < MOST {
            let owed = (ends, record.to_owned());
            remembered.owed.insert(name.to_owned(), owed);
        }
    }

    /// The record of the order whose lease with this random part is owed its end.
    pub(super) fn owes(&self, random: &str) -> Option<String> {
        let remembered = self.locked();
        let mut owed = remembered.owed.iter();
        let found = owed.find(|(name, _)| name.ends_with(random));
        found.map(|(_, (_, record))| record.clone())
    }

    /// Those whose time is over are found by their names from then on.
    pub(super) fn owed(&self, now: Timestamp) -> Vec<String> {
        let mut remembered = self.locked();
        remembered.owed.retain(|_, (ends, _)| *ends > now);
        remembered.owed.keys().cloned().collect()
    }

    pub(super) fn note_reason(&self, name: &str, reason: &str) {
        let mut remembered = self.locked();
        if remembered.reasons.len() < MOST {
            let reason = crate::text::escape_up_to(reason, LONGEST_REASON);
            remembered.reasons.insert(name.to_owned(), reason);
        }
    }

    pub(super) fn reason(&self, name: &str) -> Option<String> {
        self.locked().reasons.get(name).cloned()
    }

    pub(super) fn note_ended(&self, ended: Vec<String>) {
        self.locked().ended = ended;
    }

    pub(super) fn ended(&self, after: &str, most: usize) -> Vec<String> {
        let remembered = self.locked();
        let page = remembered.ended.iter();
        let page = page.filter(|name| name.as_str() > after);
        page.take(most).cloned().collect()
    }
}

/// A login that no listing has by then was not made.
const LONGEST_MINT: Duration = Duration::from_secs(30);
const MOST: usize = 10_000;
/// Characters.
const LONGEST_REASON: usize = 200;
