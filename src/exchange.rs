//! The story in one function: verify, identify, decide, reserve, record, mint, record.
//! Not: HTTP, SQL, file formats, any provider by name.
//!
//! Every door goes through [`Exchange::exchange`], so that none can forget a check its sibling has
//! (T-81). Each step makes the evidence the next one takes; a step that fails, or takes too long,
//! is an error, and no default stands for evidence (T-98).

use std::sync::Arc;
use std::time::Duration;

use crate::audit::event::{self, Event};
use crate::audit::{Outcome, Recorded, Text};
use crate::credential::{Credential, MintError, Revoked};
use crate::lease::{self, LeaseContents};
use crate::policy::{Ask, Denial, Permit};
use crate::provider::Job;
use crate::reason::Reason;
use crate::replay::{IdempotencyKey, ReplayError, Slot};
use crate::secret::Secret;
use crate::token::{SubjectToken, Verified, VerifyError};

mod clock_watch;
mod error;
mod finish;
mod flood;
mod notes;
mod parts;
mod places;
mod rates;
mod request;
pub mod self_test;

pub use clock_watch::ClockError;
pub use error::{Error, RevokeError};
pub(crate) use finish::caught;
pub(crate) use flood::{Flood, LeftOut};
pub use parts::Parts;
pub use request::{Explained, Granted, Request, Seen};

use clock_watch::ClockWatch;
use finish::{Waiting, to_the_end};
use notes::Applicant;
use places::{Place, Places};
use rates::Rates;

/// The broker: everything one exchange needs, in the order it needs it.
///
/// It never changes. A reload makes another one, and each request keeps the one it began with, so
/// that nothing is decided by two versions (T-77).
#[derive(Debug)]
pub struct Exchange {
    parts: Parts,
    lasting: Arc<Lasting>,
}

/// What goes on through every reload: what is counted, and the watch over the clock.
#[derive(Debug)]
struct Lasting {
    clock_watch: ClockWatch,
    rates: Rates,
    refusals: Flood,
    places: Places,
    revocations: Places,
}

impl Exchange {
    /// A broker of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let lasting = Lasting {
            clock_watch: ClockWatch::new(Arc::clone(&parts.clock)),
            rates: Rates::new(Arc::clone(&parts.clock)),
            refusals: Flood::new(REFUSAL_EVENTS, Arc::clone(&parts.clock)),
            places: Places::default(),
            revocations: Places::default(),
        };
        Self {
            parts,
            lasting: Arc::new(lasting),
        }
    }

    /// A broker of other parts that goes on counting where this one is.
    #[must_use]
    pub fn with(&self, parts: Parts) -> Self {
        Self {
            parts,
            lasting: Arc::clone(&self.lasting),
        }
    }

    /// The parts it was made of, for readiness and shutdown.
    #[must_use]
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Whether the clock can be trusted now.
    ///
    /// # Errors
    /// It jumped, or is wrong.
    pub fn check_clock(&self) -> Result<(), ClockError> {
        self.lasting.clock_watch.check()
    }

    /// A credential for a subject token.
    ///
    /// From the reservation on it runs to its end, also when the caller drops this future (T-90).
    ///
    /// # Errors
    /// One variant per stage; nothing is handed out.
    pub async fn exchange(self: &Arc<Self>, request: Request) -> Result<Granted, Error> {
        let place = self.enter()?;
        let token = self
            .verify(&request.subject_token, &request.id, &request.seen)
            .await?;
        let (id, ask, seen) = (&request.id, Some(&request.ask), &request.seen);
        let job = self.identify(&token, id, ask, seen)?;
        let permit = self.decide(job, &request)?;
        let (exchange, id, key) = (Arc::clone(self), request.id, request.key);
        let issued = to_the_end(|waiting| async move {
            let _place = place;
            exchange.issue(permit, key, &id, &waiting).await
        });
        issued.await
    }

    /// The second half: reserve, record, mint, record.
    async fn issue(
        &self,
        permit: Permit,
        key: Option<IdempotencyKey>,
        id: &str,
        waiting: &Waiting,
    ) -> Result<Granted, Error> {
        let mut draft = Draft::of(&permit, id, key.is_some());
        let reserved = self.reserve(permit, key, id).await?;
        draft.is_repeat = reserved.is_repeat();
        let slot = reserved.slot();
        let recorded = match self.parts.audit.record_intent(reserved, id).await {
            Ok(recorded) => recorded,
            Err(error) => {
                self.parts.used_tokens.release(&slot).await;
                return Err(Error::Record(error));
            }
        };
        let intent = recorded.intent().to_owned();
        match self.mint(recorded).await {
            Ok(credential) => self.deliver(credential, draft, &intent, waiting).await,
            Err(error) => Err(self.give_up(error, &slot, &intent).await),
        }
    }

    /// What this job would get, without minting: verified, limited and counted like an exchange,
    /// and the token stays unused (T-119).
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange) up to the decision, which is part of the explanation.
    pub async fn explain(
        &self,
        id: &str,
        subject_token: &SubjectToken,
        ask: Option<&Ask>,
        seen: &Seen,
    ) -> Result<Explained, Error> {
        let _place = self.enter()?;
        let token = self.verify(subject_token, id, seen).await?;
        let job = self.identify(&token, id, ask, seen)?;
        let (policies, now) = (&self.parts.policies, self.parts.clock.now());
        let Some(ask) = ask else {
            self.lasting.rates.listed(&job);
            return Ok(Explained::Available(policies.available(job.facts(), now)));
        };
        // No permit is made: nothing can be minted from an explanation.
        let decision = policies.explain_nearest(job.facts(), ask, now);
        if !decision.is_permitted() {
            let denial = Denial::new(decision, job.facts());
            return Ok(Explained::Denied(Box::new(denial)));
        }
        let decision = Box::new(decision);
        Ok(match policies.check_inputs(ask) {
            Ok(()) => Explained::Permitted(decision),
            Err(problem) => Explained::Unfit(decision, Error::Input(problem)),
        })
    }

    /// Ends the lease of a handle (RFC 7009); says which lease it was. Once begun it runs to its
    /// end; what takes longer than `patience` is pending.
    ///
    /// # Errors
    /// No key of ours opens the handle, or its target is not ours.
    pub async fn revoke(
        self: &Arc<Self>,
        handle: &Secret<String>,
        id: &str,
        patience: Duration,
    ) -> Result<(Revoked, String), RevokeError> {
        let place = self.lasting.revocations.take(REVOCATIONS);
        let place = place.ok_or(RevokeError::Busy)?;
        let lease = lease::open(handle.expose(), &self.parts.root_keys)?;
        let (exchange, id, name) = (Arc::clone(self), id.to_owned(), lease.name.clone());
        let ended = to_the_end(|_| async move {
            let _place = place;
            let ended = exchange.parts.targets.revoke(&lease).await;
            exchange.note_revocation(&lease, &id, ended.as_ref().ok().copied());
            ended.map(|ended| (ended, lease.name))
        });
        match tokio::time::timeout(patience, ended).await {
            Ok(ended) => Ok(ended?),
            Err(_) => Ok((Revoked::Pending, name)),
        }
    }

    fn enter(&self) -> Result<Place, Error> {
        self.lasting.clock_watch.check()?;
        let place = self.lasting.places.take(self.parts.places);
        place.ok_or(Error::Busy)
    }

    async fn verify(&self, token: &SubjectToken, id: &str, seen: &Seen) -> Result<Verified, Error> {
        match self.parts.verifier.verify(token).await {
            Ok(verified) => {
                seen.verified(&verified);
                // Lines of the store, the sinks and the targets name it from here on.
                tracing::Span::current().record("issuer", verified.issuer().name.as_str());
                Ok(verified)
            }
            Err(error) => {
                seen.refused(&self.parts.verifier, token);
                self.note_refusal(id, error.reason(), &error.to_string(), seen);
                Err(error.into())
            }
        }
    }

    fn identify(
        &self,
        token: &Verified,
        id: &str,
        ask: Option<&Ask>,
        seen: &Seen,
    ) -> Result<Job, Error> {
        // The verifier knows the issuers of these policies and no others.
        let reader = self
            .parts
            .policies
            .reader_by_url(&token.issuer().url)
            .ok_or(VerifyError::Issuer)?;
        let job = match reader.identify(token) {
            Ok(job) => job,
            Err(error) => {
                self.note_refusal(id, Reason::TokenClaim, &error.to_string(), seen);
                return Err(error.into());
            }
        };
        seen.identified(&job);
        let rates = &self.lasting.rates;
        if ask.is_some() && rates.was_listed(&job) {
            return Ok(job);
        }
        let share = rates.take(&job, self.parts.per_repository);
        let Err(retry_after) = share else {
            return Ok(job);
        };
        let error = Error::Rate { retry_after };
        // A job in a loop must not fill the sinks (T-97).
        let issuer = seen.issuer().unwrap_or(UNKNOWN);
        let is_noted = self.lasting.refusals.take(error.reason(), issuer);
        self.note_left_out();
        if is_noted {
            let credential = ask.map_or("", |ask| &ask.credential);
            let who = Applicant::of(&job, credential);
            self.note_no(who, id, error.reason(), &error);
        }
        Err(error)
    }

    fn decide(&self, job: Job, request: &Request) -> Result<Permit, Error> {
        let now = self.parts.clock.now();
        let permit = match self.parts.policies.decide(job, &request.ask, now) {
            Ok(permit) => permit,
            Err(refused) => {
                self.note_denial(&refused.job, &refused.denial, request);
                return Err(Error::Decide(Box::new(refused.denial)));
            }
        };
        let Some(error) = misfit(&permit, request) else {
            return Ok(permit);
        };
        let who = Applicant::of(permit.job(), &permit.credential().name);
        self.note_no(who, &request.id, error.reason(), &error);
        Err(error)
    }

    async fn reserve(
        &self,
        permit: Permit,
        key: Option<IdempotencyKey>,
        id: &str,
    ) -> Result<crate::replay::Reserved, Error> {
        let who = Applicant::of(permit.job(), &permit.credential().name);
        let reserved = self.parts.used_tokens.reserve(permit, key, id).await;
        match &reserved {
            // Our own trouble is told by the request's line.
            Ok(_) | Err(ReplayError::Unavailable { .. }) => {}
            // Whose token it was stands in the intent of the first request.
            Err(ReplayError::Replayed {
                credential,
                first_request_id,
            }) => self.note(&Event::Replay(event::Replay {
                request_id: Text::new(id),
                first_request_id: Text::new(first_request_id),
                job: None,
                credential: Text::new(credential),
            })),
            Err(
                error @ (ReplayError::KeyReused
                | ReplayError::IssuedBeforeStart { .. }
                | ReplayError::IssuedBeforeStore),
            ) => self.note_no(who, id, error.reason(), error),
        }
        Ok(reserved?)
    }

    /// Mints, within its time; a panic is an error like any other, of which nobody knows what it
    /// left behind.
    async fn mint(&self, recorded: Recorded) -> Result<Credential, MintError> {
        let unknown = |reason, message: &str| MintError {
            message: message.to_owned(),
            reason,
            nothing_made: false,
        };
        let minted = caught(self.parts.mints.mint(recorded));
        match tokio::time::timeout(MINT_TIME, minted).await {
            Ok(Ok(minted)) => minted,
            Ok(Err(finish::Panicked)) => Err(unknown(
                Reason::BugPanic,
                "the credential could not be made",
            )),
            Err(_) => Err(unknown(
                Reason::MintSlow,
                "the credential was not made in time",
            )),
        }
    }

    /// A credential was made: it is recorded and handed over, or else taken back.
    async fn deliver(
        &self,
        credential: Credential,
        draft: Draft,
        intent: &str,
        waiting: &Waiting,
    ) -> Result<Granted, Error> {
        let (public_id, expires_at) = (Text::new(&credential.public_id), credential.expires_at);
        let was_over = waiting.is_over();
        let outcome = if was_over {
            Outcome::Undelivered {
                public_id,
                expires_at,
                revoked: self.take_back(&credential, &draft).await,
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
        if let Err(error) = self.parts.audit.record_outcome(intent, outcome).await {
            let revoked = self.revoke_unrecorded(&credential).await;
            tracing::error!(
                reason = Reason::SinkFailed.code(),
                request_id = %draft.request_id,
                lease = %credential.public_id,
                revoked,
                "a credential was made whose outcome could not be recorded; it is not handed over"
            );
            return Err(Error::Record(error));
        }
        if waiting.is_over() && !was_over && !draft.may_retry {
            // The record says that it was handed over; this says what became of it.
            if let Some((lease, ended)) = self.end(&credential).await {
                self.note_revocation(&lease, &draft.request_id, ended);
            }
        }
        Ok(Granted {
            expires_in: expires_at.since(self.parts.clock.now()).max(0),
            decision: draft.decision(&credential),
            policy: draft.policy,
            revision: draft.revision,
            is_repeat: draft.is_repeat,
            credential,
        })
    }

    /// Nothing was made, or nobody knows: the token's use is given back only when it is known.
    async fn give_up(&self, error: MintError, slot: &Slot, intent: &str) -> Error {
        let outcome = Outcome::Failed {
            reason: error.reason,
            message: Text::new(&error.message),
            nothing_made: error.nothing_made,
        };
        if self
            .parts
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
            self.parts.used_tokens.release(slot).await;
        }
        if error.reason == Reason::BugPanic {
            Error::Bug
        } else {
            Error::Mint(error)
        }
    }

    /// Ends what nobody received. A caller with an idempotency key is expected to ask again, and a
    /// lease that was ended is never made again: so its credential is left to expire.
    async fn take_back(&self, credential: &Credential, draft: &Draft) -> bool {
        !draft.may_retry && self.revoke_unrecorded(credential).await
    }

    async fn revoke_unrecorded(&self, credential: &Credential) -> bool {
        let ended = self.end(credential).await;
        matches!(ended, Some((_, Some(Revoked::Gone | Revoked::Closed))))
    }

    /// Ends the lease of a credential that has one, and tells which and what came of it.
    async fn end(&self, credential: &Credential) -> Option<(LeaseContents, Option<Revoked>)> {
        let handle = credential.lease.as_ref()?;
        let lease = lease::open(handle.expose(), &self.parts.root_keys).ok()?;
        let ended = self.parts.targets.revoke(&lease).await.ok();
        Some((lease, ended))
    }
}

/// What else the caller said of the credential does not fit it. Looked at after the permit, so that
/// only a job that may have the credential learns anything of it.
fn misfit(permit: &Permit, request: &Request) -> Option<Error> {
    let definition = permit.credential();
    let (credential, kind) = (definition.name.clone(), definition.kind.name);
    if request.kind.is_some_and(|wanted| wanted != kind) {
        return Some(Error::Kind { credential, kind });
    }
    let declares = |uri: &String| definition.resource.as_ref() == Some(uri);
    if !request.resource.iter().all(declares) {
        return Some(Error::Resource { credential });
    }
    let fits = definition.check_inputs(permit.inputs());
    fits.err().map(Error::Input)
}

/// What the answer says beside the credential, kept while the permit goes its way.
#[derive(Debug)]
struct Draft {
    request_id: String,
    policy: String,
    revision: String,
    is_repeat: bool,
    may_retry: bool,
}

impl Draft {
    fn of(permit: &Permit, id: &str, may_retry: bool) -> Self {
        Self {
            request_id: id.to_owned(),
            policy: permit.policy().to_owned(),
            revision: permit.revision().to_owned(),
            is_repeat: false,
            may_retry,
        }
    }

    fn decision(&self, credential: &Credential) -> String {
        format!(
            "policy `{}` grants `{}` until {}",
            self.policy, credential.definition.name, credential.expires_at
        )
    }
}

/// What a mint may take in all; a request is answered sooner, and the mint goes on without it.
const MINT_TIME: Duration = Duration::from_secs(30);

/// Revocations at once: apart from exchanges, so that a flood of those does not keep leases alive.
const REVOCATIONS: usize = 64;

/// Events per second of tokens that were refused, for each reason and issuer.
const REFUSAL_EVENTS: u32 = 100;
/// Stands where a refused token names no issuer of ours.
pub(crate) const UNKNOWN: &str = "unknown";
