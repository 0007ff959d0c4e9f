//! What a reservation gives: [`Reserved`], evidence of the use that was taken, and of the login that the
//! tokens of a subject share.

use std::time::Duration;

use async_trait::async_trait;
use data_encoding::HEXLOWER;

use super::{IdempotencyKey, Reach, ReplayError, Taken, Use, UseKey, UsedTokens};
use crate::clock::Timestamp;
use crate::policy::Permit;
use crate::token::TokenId;

/// Evidence that the token's one use for this credential is taken by this exchange.
#[derive(Debug)]
pub struct Reserved {
    permit: Permit,
    key: Option<IdempotencyKey>,
    taken: Taken,
    window: Option<Window>,
    now: Timestamp,
    reach: Reach,
}

/// The login that the tokens of one subject share.
#[derive(Debug)]
struct Window {
    taken: Taken,
    key: IdempotencyKey,
}

impl Reserved {
    #[must_use]
    pub const fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The key that a login is made with and found by: the window's, or the caller's if it sent one.
    #[must_use]
    pub fn key(&self) -> Option<&IdempotencyKey> {
        let window = self.window.as_ref().map(|window| &window.key);
        window.or(self.key.as_ref())
    }

    /// Other tokens of the subject get the same login.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.window.is_some()
    }

    /// What the name of a login is made of: the token, or the window.
    #[must_use]
    pub fn login_id(&self) -> TokenId {
        let token = self.permit.job().token();
        match &self.window {
            None => token.clone(),
            Some(window) => TokenId {
                id: format!("window:{}", HEXLOWER.encode(&window.taken.mark)),
                ..token.clone()
            },
        }
    }

    /// A login may be made, and not only found. One of a window may: its name is the window's, and a
    /// database makes no name twice.
    #[must_use]
    pub const fn may_create(&self) -> bool {
        !self.taken().is_repeat || self.window.is_some()
    }

    /// For how long a login is made now: a later request of a window makes no longer one.
    #[must_use]
    pub fn life(&self) -> Duration {
        if self.window.is_none() {
            return self.permit.ttl();
        }
        let left = self.taken().expires_at.since(self.now);
        Duration::from_secs(u64::try_from(left).unwrap_or(0)).min(self.permit.ttl())
    }

    const fn taken(&self) -> &Taken {
        match &self.window {
            Some(window) => &window.taken,
            None => &self.taken,
        }
    }

    /// When the credential was first asked for: the `iat` of what is minted, also of a repeat.
    #[must_use]
    pub const fn minted_at(&self) -> Timestamp {
        self.taken().minted_at
    }

    /// When the credential ends, by our clock; a repeat never moves it.
    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.taken().expires_at
    }

    /// The same ask came before, under the same key or in the same window.
    #[must_use]
    pub const fn is_repeat(&self) -> bool {
        self.taken().is_repeat
    }

    /// Who else knows of this use (T-72).
    #[must_use]
    pub const fn reach(&self) -> Reach {
        self.reach
    }

    /// The use that was taken.
    #[must_use]
    pub fn slot(&self) -> UseKey {
        let own = (!self.taken.is_repeat).then_some(self.taken.mark);
        UseKey::of(&self.permit, own)
    }

    /// The window, to be closed: by whichever request finds that its login has ended.
    #[must_use]
    pub fn window(&self) -> Option<UseKey> {
        let window = self.window.as_ref()?;
        Some(UseKey::of_window(&self.permit, Some(window.taken.mark)))
    }
}

/// Takes one use of a store.
#[async_trait]
pub(super) trait Take: UsedTokens {
    /// A token joins one window only, by the use that [`Use::joined_by`] names: its repeat gets that
    /// window while it is open, and never a later one (T-391).
    async fn take(&self, wanted: &Use) -> Result<Taken, ReplayError>;
}

/// [`UsedTokens::reserve`] of every store. A token has its one use also where its subject shares a
/// login; a window that cannot be reached gives that use back.
pub(super) async fn reserve(
    store: &impl Take,
    permit: Permit,
    key: Option<IdempotencyKey>,
    request_id: &str,
    now: Timestamp,
) -> Result<Reserved, ReplayError> {
    let wanted = Use::of(&permit, key.as_ref(), request_id, now)?;
    let taken = store.take(&wanted).await?;
    let mut reserved = Reserved {
        permit,
        key,
        taken,
        window: None,
        now,
        reach: store.reach(),
    };
    if !reserved.permit.shares_login() {
        return Ok(reserved);
    }
    let window = Use::of_window(&reserved.permit, reserved.taken.mark, request_id, now)?;
    match store.take(&window).await {
        Ok(taken) => {
            let key = IdempotencyKey::of_window(&taken.mark);
            reserved.window = Some(Window { taken, key });
            Ok(reserved)
        }
        Err(error) => {
            store.release(&reserved.slot()).await;
            Err(error)
        }
    }
}
