//! The second half of the pipeline: reserve, record, mint, record.
//!
//! Runs to completion once started, even if the caller is gone.

use std::time::Duration;

use super::breaker::Admission;
use super::completion::{Abandoned, Panicked, catch_panic};
use super::notes::DenialSubject;
use super::{Exchange, ExchangeError, Granted};
use crate::audit::event::{self, Event};
use crate::audit::{Outcome, Recorded, Text};
use crate::credential::{Credential, MintError, Revoked};
use crate::lease::{self, LeaseContents};
use crate::policy::{Permit, ShadowOutcome};
use crate::reason::Reason;
use crate::replay::{IdempotencyKey, ReplayError, Reserved, UseKey};

impl Exchange {
    /// Reserves the token's use, records the intent, mints, and records the outcome.
    pub(super) async fn issue(
        &self,
        permit: Permit,
        admission: Option<Admission>,
        key: Option<IdempotencyKey>,
        id: &str,
        abandoned: &Abandoned,
    ) -> Result<Granted, ExchangeError> {
        let mut draft = Draft::of(&permit, id, key.is_some());
        let reserved = self.reserve(permit, key, id).await?;
        draft.is_repeat = reserved.is_repeat();
        draft.is_shared = reserved.is_shared();
        let taken = TakenUses::of(&reserved);
        let recorded = match self.components.audit.record_intent(reserved, id).await {
            Ok(recorded) => recorded,
            Err(error) => {
                self.release(&taken, false).await;
                return Err(ExchangeError::Record(error));
            }
        };
        let intent = recorded.intent().to_owned();
        let minted = self.mint(recorded).await;
        if let Some(admission) = admission {
            admission.settle(&minted);
        }
        match minted {
            Ok(credential) => self.deliver(credential, draft, &intent, abandoned).await,
            Err(error) => Err(self.fail(error, &taken, &intent).await),
        }
    }

    async fn reserve(
        &self,
        permit: Permit,
        key: Option<IdempotencyKey>,
        id: &str,
    ) -> Result<Reserved, ExchangeError> {
        let who = DenialSubject::of(permit.job(), &permit.credential().name);
        let reserved = self.components.used_tokens.reserve(permit, key, id).await;
        match &reserved {
            // The request's log line reports an unavailable store.
            Ok(_) | Err(ReplayError::Unavailable { .. }) => {}
            // The intent of the first request names the job.
            Err(ReplayError::Replayed {
                credential,
                first_request_id,
            }) => self.note(&Event::Replay(event::ReplayRecord {
                request_id: Text::new(id),
                first_request_id: Text::new(first_request_id),
                job: None,
                credential: Text::new(credential),
            })),
            Err(
                error @ (ReplayError::KeyReused
                | ReplayError::IssuedBeforeStart { .. }
                | ReplayError::IssuedBeforeStore),
            ) => self.note_other_denial(who, id, error.reason(), error),
        }
        Ok(reserved?)
    }

    /// Mints within a time limit. After a panic or a timeout it is unknown whether a credential was
    /// made.
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError> {
        let unknown = |reason, message: &str| MintError {
            message: message.to_owned(),
            reason,
            nothing_made: false,
        };
        let minted = catch_panic(self.components.mints.mint(recorded));
        match tokio::time::timeout(MINT_TIME, minted).await {
            Ok(Ok(minted)) => minted,
            Ok(Err(Panicked)) => Err(unknown(
                Reason::BugPanic,
                "the credential could not be issued",
            )),
            Err(_) => Err(unknown(
                Reason::MintSlow,
                "the credential was not issued in time",
            )),
        }
    }

    /// Records a minted credential and returns it. If that fails, revokes it.
    async fn deliver(
        &self,
        credential: Credential,
        draft: Draft,
        intent: &str,
        abandoned: &Abandoned,
    ) -> Result<Granted, ExchangeError> {
        let (public_id, expires_at) = (Text::new(&credential.public_id), credential.expires_at);
        let (is_shared, is_repeat) = (draft.is_shared, draft.is_repeat);
        let was_abandoned = abandoned.is_set();
        let outcome = if was_abandoned {
            Outcome::Undelivered {
                public_id,
                expires_at,
                revoked: self.revoke_undelivered(&credential, &draft).await,
            }
        } else if draft.is_repeat {
            Outcome::Repeated {
                public_id,
                expires_at,
            }
        } else {
            Outcome::Minted {
                public_id,
                expires_at,
            }
        };
        if let Err(error) = self.components.audit.record_outcome(intent, outcome).await {
            // Other tokens of the subject may have a shared login, which is on record then.
            let revoked = !(is_shared && is_repeat) && self.revoke_unrecorded(&credential).await;
            tracing::error!(
                reason = Reason::SinkFailed.code(),
                request_id = %draft.request_id,
                lease = %credential.public_id,
                revoked,
                "the outcome of an issued credential could not be recorded; the credential is withheld"
            );
            return Err(ExchangeError::Record(error));
        }
        if abandoned.is_set() && !was_abandoned && !draft.is_kept() {
            // The outcome says that it was delivered. This event says that it was revoked since.
            if let Some((lease, ended)) = self.revoke_lease(&credential).await {
                self.note_revocation(&lease, &draft.request_id, ended);
            }
        }
        Ok(Granted {
            expires_in: expires_at.since(self.components.clock.now()).max(0),
            decision: draft.decision(&credential),
            policy: draft.policy,
            policy_url: draft.policy_url,
            revision: draft.revision,
            is_repeat,
            is_shared,
            credential,
        })
    }

    /// Records a failed mint. Gives the use of the token back only if it is known that nothing was
    /// made.
    async fn fail(&self, error: MintError, taken: &TakenUses, intent: &str) -> ExchangeError {
        let is_over = taken.window.is_some() && error.reason == Reason::LeaseOver;
        let error = if is_over { revoked() } else { error };
        let outcome = Outcome::Failed {
            reason: error.reason,
            message: Text::new(&error.message),
            nothing_made: error.nothing_made,
        };
        if self
            .components
            .audit
            .record_outcome(intent, outcome)
            .await
            .is_err()
        {
            tracing::error!(
                reason = Reason::SinkFailed.code(),
                intent,
                "an outcome could not be recorded"
            );
        }
        if error.nothing_made {
            self.release(taken, is_over).await;
        }
        if error.reason == Reason::BugPanic {
            ExchangeError::Bug
        } else {
            ExchangeError::Mint(error)
        }
    }

    /// Gives back what the exchange took. A window that others opened is closed only if its login has
    /// ended.
    async fn release(&self, taken: &TakenUses, is_over: bool) {
        let used_tokens = &self.components.used_tokens;
        used_tokens.release(&taken.token).await;
        let window = taken.window.as_ref();
        if let Some(window) = window.filter(|_| is_over || taken.opened) {
            used_tokens.release(window).await;
        }
    }

    /// Revokes a credential that was not delivered. With an idempotency key the caller is expected
    /// to retry, and a revoked lease cannot be reissued, so that credential is left to expire. So is a
    /// shared one.
    async fn revoke_undelivered(&self, credential: &Credential, draft: &Draft) -> bool {
        !draft.is_kept() && self.revoke_unrecorded(credential).await
    }

    async fn revoke_unrecorded(&self, credential: &Credential) -> bool {
        let ended = self.revoke_lease(credential).await;
        matches!(ended, Some((_, Some(Revoked::Gone | Revoked::Closed))))
    }

    /// Revokes the lease of a credential, if it has one, and returns the lease and the result.
    async fn revoke_lease(
        &self,
        credential: &Credential,
    ) -> Option<(LeaseContents, Option<Revoked>)> {
        let handle = credential.lease.as_ref()?;
        let lease = lease::open(handle.expose(), &self.components.root_keys).ok()?;
        let ended = self.components.targets.revoke(&lease).await.ok();
        Some((lease, ended))
    }
}

/// What an exchange took in the store of used tokens.
#[derive(Debug)]
struct TakenUses {
    token: UseKey,
    window: Option<UseKey>,
    /// This exchange opened the window.
    opened: bool,
}

impl TakenUses {
    fn of(reserved: &Reserved) -> Self {
        Self {
            token: reserved.slot(),
            window: reserved.window(),
            opened: !reserved.is_repeat(),
        }
    }
}

/// A shared login that was revoked: nothing was made, and the same request gets another login.
fn revoked() -> MintError {
    MintError {
        message: "the login that the tokens of this subject shared was revoked; the same request gets another one".to_owned(),
        reason: Reason::LeaseRevoked,
        nothing_made: true,
    }
}

/// What the response says beside the credential. Kept because the permit is consumed.
#[derive(Debug)]
struct Draft {
    request_id: String,
    policy: String,
    policy_url: Option<String>,
    revision: String,
    /// A requirement that will refuse such requests.
    refused_by: Option<String>,
    is_repeat: bool,
    is_shared: bool,
    may_retry: bool,
}

impl Draft {
    fn of(permit: &Permit, id: &str, may_retry: bool) -> Self {
        let refused_by = match permit.shadow() {
            Some(ShadowOutcome::WouldRefuse { requirement }) => Some(requirement.clone()),
            // What a policy would grant is not the job's to know before it does.
            Some(ShadowOutcome::WouldGrant { .. }) | None => None,
        };
        Self {
            refused_by,
            request_id: id.to_owned(),
            policy: permit.policy().to_owned(),
            policy_url: permit.policy_url().map(str::to_owned),
            revision: permit.revision().to_owned(),
            is_repeat: false,
            is_shared: false,
            may_retry,
        }
    }

    /// The credential stays if it is not delivered: a retry gets it, or another token of the subject.
    const fn is_kept(&self) -> bool {
        self.may_retry || self.is_shared
    }

    fn decision(&self, credential: &Credential) -> String {
        let mut decision = format!(
            "policy `{}` grants `{}` until {}",
            self.policy, credential.definition.name, credential.expires_at
        );
        if let Some(requirement) = &self.refused_by {
            decision.extend(["; will be refused by requirement `", requirement, "`"]);
        }
        decision
    }
}

/// The time limit of a mint. The request times out earlier, and the mint continues without it.
const MINT_TIME: Duration = Duration::from_secs(30);
