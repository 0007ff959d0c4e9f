//! Reserves a token's one use per credential: trait [`UsedTokens`], and [`Reserved`] as evidence.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::{constant_time, digest, rand};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::clock::Timestamp;
use crate::credential::kind::Repeat;
use crate::length_prefix;
use crate::policy::{CredentialClass, Permit};
use crate::reason::Reason;
use crate::secret::Secret;

pub mod memory;
pub mod redis;
mod reserved;

pub use reserved::Reserved;

use reserved::{Take, reserve};

/// A store of used tokens. Single use is per token and credential: one token may fetch several
/// credentials once each.
///
/// A store never forgets a live entry and never evicts one; one that is full or cannot be reached
/// refuses (T-70).
#[async_trait]
pub trait UsedTokens: Send + Sync + fmt::Debug {
    /// Takes the token's one use for the permit's credential, atomically, until the token could no
    /// longer be accepted.
    ///
    /// With the same idempotency key and the same ask as before, the first reservation's times come
    /// back and [`Reserved::is_repeat`] holds. The same goes for another token of the subject whose
    /// login is [shared](Reserved::is_shared), while the window of its first request lasts.
    async fn reserve(
        &self,
        permit: Permit,
        key: Option<IdempotencyKey>,
        request_id: &str,
    ) -> Result<Reserved, ReplayError>;

    /// Gives a use back, after a mint that is known to have made nothing. Closes a window: the next
    /// token of its subject opens another one.
    ///
    /// A no-op for a repeated request, and for a use that was repeated: the repeat may have issued the
    /// credential.
    async fn release(&self, slot: &UseKey);

    /// Whether replicas see each other's entries.
    fn reach(&self) -> Reach;

    /// How the store is, for readiness and metrics.
    fn status(&self) -> StoreStatus {
        StoreStatus::default()
    }
}

/// Which store the settings choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSettings {
    /// In this process, for this replica alone.
    Memory {
        /// Live uses at most.
        capacity: usize,
    },
    /// On a Redis or Valkey server, shared by replicas.
    Redis(Box<redis::RedisSettings>),
}

impl StoreSettings {
    /// Live uses that a store in memory has room for unless the settings say otherwise: at sixty
    /// exchanges a minute of nearly three hundred repositories, for the hour a token may live.
    pub const CAPACITY: usize = 1 << 20;
    /// The most the settings can say: about two gigabytes.
    pub const MOST_CAPACITY: usize = 1 << 22;
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self::Memory {
            capacity: Self::CAPACITY,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Why it takes nothing now; nothing is minted meanwhile.
    pub problem: Option<String>,
    /// Uses that are remembered, where the store knows.
    pub used: Option<usize>,
    /// Uses it has room for, where the store knows.
    pub capacity: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// This process only: other replicas, and this one after a restart, do not see it.
    PerReplica,
    Shared,
}

impl Reach {
    /// The word for it in logs, events and readiness.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PerReplica => "per_replica",
            Self::Shared => "shared",
        }
    }
}

/// A caller's `Idempotency-Key`: at least 128 random bits, 22 to 64 characters (T-110).
#[derive(Clone, Debug)]
pub struct IdempotencyKey(Secret<String>);

impl IdempotencyKey {
    /// Accepts 22 to 64 characters of the base64url alphabet.
    ///
    /// # Errors
    /// Says what was found. The key itself is never part of the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let length = text.len();
        if !(22..=64).contains(&length) {
            return Err(format!(
                "`Idempotency-Key` has {length} characters, expected 22 to 64 (at least 128 random bits)"
            ));
        }
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            return Err("`Idempotency-Key` has characters outside A-Z a-z 0-9 - _".to_owned());
        }
        Ok(Self(Secret::new(text.to_owned())))
    }

    /// The key of all requests of a window: as random as a caller's.
    fn of_window(mark: &Mark) -> Self {
        Self(Secret::new(BASE64URL_NOPAD.encode(mark)))
    }

    /// The key as sent: secret, since a database password is derived from it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// Which use was taken: token and credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UseKey {
    pub issuer: String,
    /// The token's id within it.
    pub token: String,
    pub credential: String,
    /// Which reservation took it; none for an exchange that repeats another, which has no use to
    /// give back.
    taken_by: Option<Mark>,
    /// `token` is not the id of a token, but a hash of a subject and its ask.
    is_window: bool,
}

/// Tells one reservation from every other: random, so that a request sent again after a lost answer
/// knows its own, and no other request can claim it.
type Mark = [u8; 16];

impl UseKey {
    fn of(permit: &Permit, taken_by: Option<Mark>) -> Self {
        let token = permit.job().token();
        Self {
            issuer: token.issuer.clone(),
            token: token.id.clone(),
            credential: permit.credential().name.clone(),
            taken_by,
            is_window: false,
        }
    }

    /// The slot that all tokens of the permit's subject share for the same ask.
    fn of_window(permit: &Permit, taken_by: Option<Mark>) -> Self {
        let subject = permit.job().subject().as_bytes();
        Self {
            token: HEXLOWER.encode(&hash(&[subject, &ask_digest(permit)])),
            is_window: true,
            ..Self::of(permit, taken_by)
        }
    }

    /// The slot as such, whoever took it.
    fn place(&self) -> Self {
        Self {
            taken_by: None,
            ..self.clone()
        }
    }
}

/// What a store remembers of a use, and compares the next one with.
///
/// It stores only a hash of the key, whose 128 random bits cannot be guessed.
#[derive(Clone, Debug)]
struct Use {
    /// The place, without who took it: that is `mark`.
    slot: UseKey,
    mark: Mark,
    key: Option<[u8; 32]>,
    ask: [u8; 32],
    minted_at: Timestamp,
    expires_at: Timestamp,
    /// The last second the token could be accepted; the end of a window.
    usable_until: Timestamp,
    issued_at: Timestamp,
    is_critical: bool,
    request_id: String,
    /// Of a window: the use of the token that opens or joins it.
    joined_by: Option<UseKey>,
}

impl Use {
    fn of(
        permit: &Permit,
        key: Option<&IdempotencyKey>,
        request_id: &str,
        now: Timestamp,
    ) -> Result<Self, ReplayError> {
        let life = i64::try_from(permit.ttl().as_secs()).unwrap_or(i64::MAX);
        let mut mark = Mark::default();
        // What cannot be given again has no key that it could be asked for by.
        let may_repeat = permit.credential().kind.repeat != Repeat::Refused;
        rand::fill(&mut mark).map_err(|_| ReplayError::unavailable("has no random bytes"))?;
        Ok(Self {
            slot: UseKey::of(permit, None),
            mark,
            key: key
                .filter(|_| may_repeat)
                .map(|key| hash(&[key.expose().as_bytes()])),
            ask: ask_digest(permit),
            minted_at: now,
            expires_at: now.plus(life),
            usable_until: permit.job().usable_until(),
            issued_at: permit.job().issued_at(),
            is_critical: permit.credential().class == CredentialClass::Critical,
            request_id: request_id.to_owned(),
            joined_by: None,
        })
    }

    /// The window of a token's use, which has that mark. It is over after two thirds of the life, so that a later token never
    /// gets a login that is about to end.
    fn of_window(
        permit: &Permit,
        token: Mark,
        request_id: &str,
        now: Timestamp,
    ) -> Result<Self, ReplayError> {
        let window = Self::of(permit, None, request_id, now)?;
        let life = window.expires_at.since(window.minted_at);
        let open = life.saturating_mul(2).checked_div(3).unwrap_or(life);
        Ok(Self {
            slot: UseKey::of_window(permit, None),
            usable_until: window.minted_at.plus(open),
            joined_by: Some(UseKey::of(permit, Some(token))),
            ..window
        })
    }

    fn replayed(&self) -> ReplayError {
        ReplayError::Replayed {
            credential: self.slot.credential.clone(),
            first_request_id: self.request_id.clone(),
        }
    }

    /// What the first exchange for a slot gets.
    const fn taken(&self) -> Taken {
        Taken {
            mark: self.mark,
            minted_at: self.minted_at,
            expires_at: self.expires_at,
            is_repeat: false,
        }
    }

    /// What comes of another exchange for the slot that this use took.
    fn meet(&self, later: &Self) -> Result<Taken, ReplayError> {
        if later.slot.is_window {
            return Ok(Taken {
                is_repeat: true,
                ..self.taken()
            });
        }
        let same_key = match (&self.key, &later.key) {
            (Some(first), Some(again)) => {
                constant_time::verify_slices_are_equal(first, again).is_ok()
            }
            (Some(_) | None, _) => false,
        };
        // Past its end there is nothing to give again, and a repeat never makes it longer.
        if !same_key || later.minted_at >= self.expires_at {
            return Err(self.replayed());
        }
        if self.ask != later.ask {
            return Err(ReplayError::KeyReused);
        }
        Ok(Taken {
            is_repeat: true,
            ..self.taken()
        })
    }
}

/// The times that go with a use, the first one's for a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    mark: Mark,
    minted_at: Timestamp,
    expires_at: Timestamp,
    is_repeat: bool,
}

/// Everything that decides what is minted. A definition that changed in between is another ask, so
/// that a repeat never gives something else under the first one's name.
fn ask_digest(permit: &Permit) -> [u8; 32] {
    let credential = permit.credential();
    let life = permit.ttl().as_secs().to_be_bytes();
    let mut parts: Vec<&[u8]> = vec![credential.kind.name.as_bytes(), &life];
    parts.extend(credential.specific.decisive());
    parts.push(b"scopes");
    // A list of scopes has no order (RFC 6749 section 3.3).
    let mut scopes: Vec<&[u8]> = permit.scopes().iter().map(String::as_bytes).collect();
    scopes.sort_unstable();
    parts.extend(scopes);
    if !permit.inputs().is_empty() {
        // No scope has this byte, so no list of scopes reads like inputs.
        parts.push(b"\0inputs");
        let inputs = permit.inputs().iter();
        parts.extend(inputs.flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]));
    }
    if let Some(recipient) = permit.seal_to() {
        // No input has a name with this byte.
        parts.extend([&b"\0sealed"[..], recipient.thumbprint().as_bytes()]);
    }
    hash(&parts)
}

/// SHA-256 over parts with their lengths in front.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    length_prefix::update_with(parts, |bytes| context.update(bytes));
    context.finish().as_ref().try_into().unwrap_or_default()
}

/// Why a use could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The token was used for this credential before, without this key.
    #[error(
        "the subject token was already used for credential `{credential}`; ask the CI for a new one, or repeat with the same `Idempotency-Key`"
    )]
    Replayed {
        credential: String,
        /// The request that used it first, for the log.
        first_request_id: String,
    },
    /// The key came before with another ask.
    #[error("`Idempotency-Key` was used before for another request; make a new one")]
    KeyReused,
    /// With a store of its own, a replica cannot know what was used before it started.
    #[error(
        "credential `{credential}` is of class critical and the subject token was issued before this broker started; ask the CI for a new token"
    )]
    IssuedBeforeStart { credential: String },
    /// A shared store began, or lost what it held, after the token was issued: nobody knows whether
    /// it was used.
    #[error(
        "the store of used tokens was reset after the subject token was issued; request a new ID token from the CI"
    )]
    IssuedBeforeStore,
    /// The store is full or cannot be reached.
    #[error("the store of used tokens {problem}")]
    Unavailable {
        /// E.g. `is full`.
        problem: String,
    },
}

impl ReplayError {
    /// The reason for logs, metrics and events.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Replayed { .. } => Reason::TokenReplayed,
            Self::KeyReused => Reason::RequestIdempotencyKey,
            Self::IssuedBeforeStart { .. } | Self::IssuedBeforeStore => Reason::TokenBeforeStart,
            Self::Unavailable { .. } => Reason::LimitReplay,
        }
    }

    fn unavailable(problem: &str) -> Self {
        Self::Unavailable {
            problem: problem.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T-110
    #[test]
    fn a_key_that_can_be_guessed_is_refused_without_being_shown() {
        insta::assert_snapshot!(IdempotencyKey::parse("canary-5d1f4c7e-short").unwrap_err(), @"`Idempotency-Key` has 21 characters, expected 22 to 64 (at least 128 random bits)");
        insta::assert_snapshot!(IdempotencyKey::parse("canary 5d1f4c7e with spaces").unwrap_err(), @"`Idempotency-Key` has characters outside A-Z a-z 0-9 - _");
        assert!(IdempotencyKey::parse(&"k".repeat(65)).is_err());
        for length in [22, 64] {
            let key = IdempotencyKey::parse(&"k".repeat(length)).unwrap();
            assert!(!format!("{key:?}").contains("kk"));
        }
    }

    #[test]
    fn the_hash_of_a_list_knows_where_its_parts_end() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"a"]), hash(&[b"a", b""]));
    }
}
