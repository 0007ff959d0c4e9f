//! Was this token used for this before? trait UsedTokens; Reserved (its only maker).

use std::fmt;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::policy::Permit;
use crate::secret::Secret;

pub mod memory;

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
    /// back and [`Reserved::is_repeat`] holds.
    async fn reserve(
        &self,
        permit: Permit,
        key: Option<IdempotencyKey>,
        request_id: &str,
    ) -> Result<Reserved, ReplayError>;

    /// Gives a use back, after a mint that is known to have made nothing.
    async fn release(&self, slot: &Slot);

    /// Whether replicas see each other's entries.
    fn reach(&self) -> Reach;
}

/// Who shares a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nobody: a second replica, or this one after a restart, knows nothing of it.
    PerReplica,
    /// Every replica.
    Shared,
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

    /// The key as sent: secret, since a database password is derived from it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

/// Which use was taken: token and credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The token's issuer.
    pub issuer: String,
    /// The token's id within it.
    pub token: String,
    /// The credential's name.
    pub credential: String,
}

/// Evidence that the token's one use for this credential is taken by this exchange.
#[derive(Debug)]
pub struct Reserved {
    permit: Permit,
    key: Option<IdempotencyKey>,
    minted_at: Timestamp,
    expires_at: Timestamp,
    is_repeat: bool,
}

impl Reserved {
    /// What was permitted.
    #[must_use]
    pub const fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The caller's key, if it sent one.
    #[must_use]
    pub const fn key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }

    /// When the credential was first asked for: the `iat` of what is minted, also of a repeat.
    #[must_use]
    pub const fn minted_at(&self) -> Timestamp {
        self.minted_at
    }

    /// When the credential ends, by our clock; a repeat never moves it.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The same ask came before under the same key.
    #[must_use]
    pub const fn is_repeat(&self) -> bool {
        self.is_repeat
    }

    /// The use that was taken.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot::of(&self.permit)
    }
}

impl Slot {
    fn of(permit: &Permit) -> Self {
        let token = permit.job().token();
        Self {
            issuer: token.issuer.clone(),
            token: token.id.clone(),
            credential: permit.credential().name.clone(),
        }
    }
}

/// Why a use could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The token was used for this credential before, without this key.
    #[error(
        "the subject token was already used for credential `{credential}`; ask the CI for a new one, or repeat with the same `Idempotency-Key`"
    )]
    Replayed {
        /// The credential asked for.
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
    IssuedBeforeStart {
        /// The credential asked for.
        credential: String,
    },
    /// The store is full or cannot be reached.
    #[error("the store of used tokens {problem}")]
    Unavailable {
        /// E.g. `is full`.
        problem: String,
    },
}
