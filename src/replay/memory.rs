//! Used tokens in this process's memory: refuses when full, forgets at a restart.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    IdempotencyKey, Reach, ReplayError, Reserved, StoreStatus, Take, Taken, Use, UseKey,
    UsedTokens, reserve,
};
use crate::clock::{Clock, Timestamp};
use crate::policy::Permit;

/// A bounded store that one replica has for itself.
///
/// It has no windows: settings and policies that would need them are refused together (T-390). It
/// forgets everything at a restart, so credentials of class `critical` are refused to tokens that
/// were issued before it was made (T-72).
#[derive(Debug)]
pub struct MemoryTokens {
    clock: Arc<dyn Clock>,
    capacity: usize,
    started: Timestamp,
    state: Mutex<TokenTable>,
}

impl MemoryTokens {
    /// An empty store of at most `capacity` live uses. One use takes about half a kilobyte.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, capacity: usize) -> Self {
        Self {
            started: clock.now(),
            clock,
            capacity,
            state: Mutex::new(TokenTable::default()),
        }
    }

    /// How many uses are remembered, for metrics.
    fn len(&self) -> usize {
        self.with_state(|state| state.uses.len())
    }

    fn take_now(&self, wanted: &Use) -> Result<Taken, ReplayError> {
        if wanted.slot.is_window {
            return Err(ReplayError::unavailable("is in memory, and has no windows"));
        }
        // Times are in whole seconds: one of the start's own second may have been used before it.
        if wanted.is_critical && wanted.issued_at <= self.started {
            return Err(ReplayError::IssuedBeforeStart {
                credential: wanted.slot.credential.clone(),
            });
        }
        let (now, uptime) = (self.clock.now(), self.clock.monotonic());
        self.with_state(|state| {
            state.forget_expired(now, uptime);
            if let Some(entry) = state.uses.get_mut(&wanted.slot) {
                let taken = entry.first.meet(wanted)?;
                entry.was_repeated = true;
                return Ok(taken);
            }
            if state.uses.len() >= self.capacity {
                return Err(ReplayError::Unavailable {
                    problem: full(self.capacity),
                });
            }
            Ok(state.insert(wanted.clone(), now, uptime))
        })
    }

    fn give_back(&self, slot: &UseKey) {
        let Some(mark) = slot.taken_by else {
            return;
        };
        let place = slot.place();
        self.with_state(|state| {
            let is_own = |entry: &Entry| !entry.was_repeated && entry.first.mark == mark;
            if state.uses.get(&place).is_some_and(is_own) {
                state.remove(&place);
            }
        });
    }

    fn with_state<T>(&self, act: impl FnOnce(&mut TokenTable) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl UsedTokens for MemoryTokens {
    async fn reserve(
        &self,
        permit: Permit,
        key: Option<IdempotencyKey>,
        request_id: &str,
    ) -> Result<Reserved, ReplayError> {
        reserve(self, permit, key, request_id, self.clock.now()).await
    }

    async fn release(&self, slot: &UseKey) {
        self.give_back(slot);
    }

    fn reach(&self) -> Reach {
        Reach::PerReplica
    }

    fn status(&self) -> StoreStatus {
        let used = self.len();
        StoreStatus {
            problem: (used >= self.capacity).then(|| full(self.capacity)),
            used: Some(used),
            capacity: Some(self.capacity),
        }
    }
}

#[async_trait]
impl Take for MemoryTokens {
    async fn take(&self, wanted: &Use) -> Result<Taken, ReplayError> {
        self.take_now(wanted)
    }
}

fn full(capacity: usize) -> String {
    format!("is full ({capacity} uses)")
}

#[derive(Debug, Default)]
struct TokenTable {
    uses: HashMap<UseKey, Entry>,
    /// By the end of each, so that what has ended is found without looking at the rest.
    ends: BTreeMap<End, UseKey>,
    made: u64,
}

/// When a use may be forgotten: by uptime, with a number that makes it unique.
type End = (Duration, u64);

#[derive(Debug)]
struct Entry {
    first: Use,
    end: End,
    was_repeated: bool,
}

impl TokenTable {
    fn insert(&mut self, first: Use, now: Timestamp, uptime: Duration) -> Taken {
        let taken = first.taken();
        let end = self.end(first.usable_until, now, uptime);
        self.ends.insert(end, first.slot.clone());
        let slot = first.slot.clone();
        let entry = Entry {
            first,
            end,
            was_repeated: false,
        };
        self.uses.insert(slot, entry);
        taken
    }

    fn remove(&mut self, slot: &UseKey) {
        if let Some(entry) = self.uses.remove(slot) {
            self.ends.remove(&entry.end);
        }
    }

    /// Forgets uses whose token can no longer be accepted.
    ///
    /// Both clocks must say so: wall time that jumps on and back again would otherwise open every
    /// token in between to a second use (T-73).
    fn forget_expired(&mut self, now: Timestamp, uptime: Duration) {
        while let Some(first) = self.ends.first_entry()
            && first.key().0 < uptime
        {
            let slot = first.remove();
            let until = self.uses.get(&slot).map(|entry| entry.first.usable_until);
            match until {
                Some(until) if now <= until => {
                    let end = self.end(until, now, uptime);
                    if let Some(entry) = self.uses.get_mut(&slot) {
                        entry.end = end;
                    }
                    self.ends.insert(end, slot);
                }
                Some(_) | None => {
                    self.uses.remove(&slot);
                }
            }
        }
    }

    fn end(&mut self, until: Timestamp, now: Timestamp, uptime: Duration) -> End {
        // One second more, since `now` has lost its fraction: never too early.
        let left = u64::try_from(until.since(now).saturating_add(1)).unwrap_or(0);
        self.made = self.made.wrapping_add(1);
        let end = uptime.saturating_add(Duration::from_secs(left));
        (end, self.made)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use proptest::prelude::*;

    use super::*;
    use crate::clock::FixedClock;

    const START: i64 = 1_790_000_000;

    fn store(capacity: usize) -> (Arc<FixedClock>, MemoryTokens) {
        let clock = Arc::new(FixedClock::at(Timestamp::from_unix(START)));
        let store = MemoryTokens::new(Arc::clone(&clock) as Arc<dyn Clock>, capacity);
        (clock, store)
    }

    fn slot(token: &str, credential: &str) -> UseKey {
        UseKey {
            issuer: "https://issuer.example".to_owned(),
            token: token.to_owned(),
            credential: credential.to_owned(),
            taken_by: None,
            is_window: false,
        }
    }

    /// The slot as the first exchange of it holds it.
    fn own(token: &str, credential: &str) -> UseKey {
        UseKey {
            taken_by: Some([3; 16]),
            ..slot(token, credential)
        }
    }

    /// A use of a token that expires 330 s after the start, for a credential that lives 600 s.
    fn wanted(token: &str, credential: &str) -> Use {
        Use {
            slot: slot(token, credential),
            mark: [3; 16],
            key: None,
            ask: [1; 32],
            minted_at: Timestamp::from_unix(START),
            expires_at: Timestamp::from_unix(START + 600),
            usable_until: Timestamp::from_unix(START + 330),
            issued_at: Timestamp::from_unix(START),
            is_critical: false,
            request_id: "req-1".to_owned(),
            joined_by: None,
        }
    }

    fn with_key(key: u8) -> Use {
        Use {
            key: Some([key; 32]),
            ..wanted("t", "c")
        }
    }

    fn replayed() -> ReplayError {
        ReplayError::Replayed {
            credential: "c".to_owned(),
            first_request_id: "req-1".to_owned(),
        }
    }

    /// T-69
    #[test]
    fn one_hundred_parallel_uses_of_one_token_give_one() {
        let (_clock, store) = store(1_000);
        let taken = thread::scope(|scope| {
            let threads: Vec<_> = (0..100)
                .map(|_| scope.spawn(|| store.take_now(&wanted("t", "c")).is_ok()))
                .collect();
            let taken = threads.into_iter().map(|thread| thread.join().unwrap());
            taken.filter(|is_taken| *is_taken).count()
        });
        assert_eq!((taken, store.len()), (1, 1));
    }

    /// T-69
    #[test]
    fn a_second_use_names_the_first_request() {
        let (_clock, store) = store(10);
        store.take_now(&wanted("t", "c")).unwrap();
        let again = Use {
            request_id: "req-2".to_owned(),
            ..wanted("t", "c")
        };
        let error = store.take_now(&again).unwrap_err();
        assert_eq!(error, replayed());
        insta::assert_snapshot!(error, @"the subject token was already used for credential `c`; ask the CI for a new one, or repeat with the same `Idempotency-Key`");
    }

    /// T-71
    #[test]
    fn a_use_is_per_token_issuer_and_credential() {
        let (_clock, store) = store(10);
        let mut elsewhere = wanted("t", "c");
        elsewhere.slot.issuer = "https://other.example".to_owned();
        for wanted in [
            wanted("t", "c"),
            wanted("u", "c"),
            wanted("t", "d"),
            elsewhere,
        ] {
            store.take_now(&wanted).unwrap();
        }
        assert_eq!(store.len(), 4);
    }

    /// T-70
    #[test]
    fn a_full_store_refuses_and_forgets_nothing() {
        let (clock, store) = store(2);
        store.take_now(&wanted("a", "c")).unwrap();
        store.take_now(&wanted("b", "c")).unwrap();
        let error = store.take_now(&wanted("new", "c")).unwrap_err();
        insta::assert_snapshot!(error, @"the store of used tokens is full (2 uses)");
        assert_eq!(store.take_now(&wanted("a", "c")).unwrap_err(), replayed());
        clock.advance(Duration::from_secs(332));
        store.take_now(&wanted("new", "c")).unwrap();
        assert_eq!(store.len(), 1);
    }

    /// T-70
    #[test]
    fn a_use_is_remembered_until_the_token_could_no_longer_be_accepted() {
        for (seconds, is_remembered) in [(0, true), (300, true), (330, true), (332, false)] {
            let (clock, store) = store(10);
            store.take_now(&wanted("t", "c")).unwrap();
            clock.advance(Duration::from_secs(seconds));
            assert_eq!(
                store.take_now(&wanted("t", "c")).is_err(),
                is_remembered,
                "{seconds}"
            );
        }
    }

    /// T-73
    #[test]
    fn a_clock_that_jumps_on_and_back_opens_no_token() {
        let (clock, store) = store(10);
        store.take_now(&wanted("t", "c")).unwrap();
        clock.step(Timestamp::from_unix(START + 100_000));
        store.take_now(&wanted("other", "c")).unwrap();
        clock.step(Timestamp::from_unix(START));
        assert_eq!(store.take_now(&wanted("t", "c")).unwrap_err(), replayed());
        // And one that is set back keeps what the token can still be used for.
        clock.advance(Duration::from_secs(400));
        clock.step(Timestamp::from_unix(START + 10));
        assert_eq!(store.take_now(&wanted("t", "c")).unwrap_err(), replayed());
        clock.advance(Duration::from_secs(322));
        store.take_now(&wanted("t", "c")).unwrap();
    }

    /// T-110
    #[test]
    fn the_key_decides_what_a_second_use_is() {
        let other_ask = Use {
            ask: [2; 32],
            ..with_key(7)
        };
        let late = Use {
            minted_at: Timestamp::from_unix(START + 600),
            ..with_key(7)
        };
        let in_time = Use {
            minted_at: Timestamp::from_unix(START + 599),
            expires_at: Timestamp::from_unix(START + 1_199),
            ..with_key(7)
        };
        let again = Taken {
            mark: [3; 16],
            minted_at: Timestamp::from_unix(START),
            expires_at: Timestamp::from_unix(START + 600),
            is_repeat: true,
        };
        for (case, first, second, expected) in [
            ("same key, same ask", with_key(7), with_key(7), Ok(again)),
            ("later, but in time", with_key(7), in_time, Ok(again)),
            ("after its end", with_key(7), late, Err(replayed())),
            ("another key", with_key(7), with_key(8), Err(replayed())),
            ("no key now", with_key(7), wanted("t", "c"), Err(replayed())),
            (
                "no key then",
                wanted("t", "c"),
                with_key(7),
                Err(replayed()),
            ),
            (
                "another ask",
                with_key(7),
                other_ask,
                Err(ReplayError::KeyReused),
            ),
        ] {
            let (_clock, store) = store(10);
            assert!(!store.take_now(&first).unwrap().is_repeat, "{case}");
            assert_eq!(store.take_now(&second), expected, "{case}");
        }
    }

    /// T-72
    #[test]
    fn critical_credentials_want_a_token_from_after_the_start() {
        let (_clock, store) = store(10);
        let critical = |issued_at| Use {
            is_critical: true,
            issued_at: Timestamp::from_unix(issued_at),
            ..wanted("t", "c")
        };
        let error = store.take_now(&critical(START - 1)).unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"credential `c` is of class critical and the subject token was issued before this broker started; ask the CI for a new token");
        assert_eq!(store.take_now(&critical(START)).unwrap_err(), error);
        store.take_now(&critical(START + 1)).unwrap();
        let early = Use {
            is_critical: false,
            ..critical(START - 1)
        };
        assert_eq!(store.take_now(&early).unwrap_err(), replayed());
        assert_eq!(store.reach(), Reach::PerReplica);
    }

    /// T-69
    #[test]
    fn a_use_that_made_nothing_is_given_back() {
        let (clock, store) = store(10);
        store.take_now(&wanted("t", "c")).unwrap();
        store.give_back(&own("t", "c"));
        assert!(store.len() == 0);
        store.take_now(&wanted("t", "c")).unwrap();
        // The first use's end does not take the second one along.
        clock.advance(Duration::from_secs(300));
        assert_eq!(store.take_now(&wanted("t", "c")).unwrap_err(), replayed());
    }

    /// T-90
    #[test]
    fn a_repeated_use_is_never_given_back() {
        let (_clock, store) = store(10);
        store.take_now(&with_key(7)).unwrap();
        store.give_back(&slot("t", "c"));
        assert_eq!(store.len(), 1, "a repeat has nothing to give back");
        store.give_back(&UseKey {
            taken_by: Some([4; 16]),
            ..slot("t", "c")
        });
        assert_eq!(store.len(), 1, "another reservation's use");
        store.take_now(&with_key(7)).unwrap();
        store.give_back(&own("t", "c"));
        assert_eq!(store.len(), 1, "the repeat may have minted");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u8),
        GiveBack(u8),
        Advance(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..8_u8).prop_map(Step::Take),
            (0..8_u8).prop_map(Step::GiveBack),
            (0..500_u16).prop_map(Step::Advance),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// T-69, T-70
        #[test]
        fn no_live_token_is_used_twice_and_the_store_stays_bounded(steps in steps()) {
            let (clock, store) = store(4);
            let mut live = HashSet::new();
            let mut generation = 0_u32;
            let mut until = Timestamp::from_unix(START + 330);
            for step in steps {
                match step {
                    Step::Take(token) => {
                        let name = format!("{generation}-{token}");
                        let wanted = Use { usable_until: until, ..wanted(&name, "c") };
                        let is_taken = store.take_now(&wanted).is_ok();
                        prop_assert_eq!(is_taken, live.len() < 4 && !live.contains(&name));
                        if is_taken {
                            live.insert(name);
                        }
                    }
                    Step::GiveBack(token) => {
                        let name = format!("{generation}-{token}");
                        store.give_back(&own(&name, "c"));
                        live.remove(&name);
                    }
                    Step::Advance(seconds) => {
                        clock.advance(Duration::from_secs(seconds.into()));
                        if clock.now() > until.plus(1) {
                            live.clear();
                            generation += 1;
                            until = clock.now().plus(330);
                        }
                    }
                }
                prop_assert!(store.len() <= 4);
            }
        }
    }
}
