//! The exchange pipeline: verify, identify, decide, admit, reserve, record, mint, record.
//!
//! Every endpoint that issues a credential calls [`Exchange::exchange`], so none can omit a check
//! (T-81). Each step returns the evidence that the next step takes by value. A step that fails or
//! times out is an error, and no default replaces missing evidence (T-98). Knows no HTTP, SQL, file
//! format or provider.

use std::sync::Arc;
use std::time::Duration;

use crate::credential::Revoked;
use crate::lease;
use crate::policy::{Ask, Denial, Permit};
use crate::provider::Job;
use crate::reason::Reason;
use crate::secret::Secret;
use crate::token::{SubjectToken, Verified, VerifyError};

mod breaker;
mod clock_watch;
mod completion;
mod components;
mod concurrency;
mod error;
mod issue;
mod line_limit;
mod new_claims;
mod notes;
mod rate_limit;
mod request;
pub mod self_test;

pub use breaker::{BreakerStatus, Paused};
pub use clock_watch::ClockError;
pub(crate) use completion::catch_panic;
pub use components::Components;
pub use error::{ExchangeError, RevokeError};
pub(crate) use line_limit::{LineLimiter, SuppressedLines};
pub use request::{CallerInfo, Explained, Granted, Request};

use breaker::{Admission, Breakers};
use clock_watch::ClockWatch;
use completion::run_to_completion;
use concurrency::{ConcurrencyLimiter, ConcurrencySlot};
use new_claims::NewClaims;
use notes::DenialSubject;
use rate_limit::RateLimiter;

/// Everything one exchange needs, in the order it needs it.
///
/// It never changes. A reload makes another one, and each request keeps the one it started with, so
/// no request is decided by two versions (T-77).
#[derive(Debug)]
pub struct Exchange {
    components: Components,
    state: Arc<ExchangeState>,
}

/// State that survives reloads: the counters and the clock watch.
#[derive(Debug)]
struct ExchangeState {
    clock_watch: ClockWatch,
    rates: RateLimiter,
    refusals: LineLimiter,
    new_claims: NewClaims,
    exchanges: ConcurrencyLimiter,
    revocations: ConcurrencyLimiter,
    breakers: Breakers,
}

impl Exchange {
    /// An exchange with these components.
    #[must_use]
    pub fn new(components: Components) -> Self {
        let state = ExchangeState {
            clock_watch: ClockWatch::new(Arc::clone(&components.clock)),
            rates: RateLimiter::new(Arc::clone(&components.clock)),
            refusals: LineLimiter::new(REFUSAL_EVENTS, Arc::clone(&components.clock)),
            new_claims: NewClaims::default(),
            exchanges: ConcurrencyLimiter::default(),
            revocations: ConcurrencyLimiter::default(),
            breakers: Breakers::new(Arc::clone(&components.clock)),
        };
        Self {
            components,
            state: Arc::new(state),
        }
    }

    /// An exchange with other components that keeps this one's state. What is known of a target that
    /// leads to another server now is forgotten.
    #[must_use]
    pub fn with(&self, components: Components) -> Self {
        let (before, after) = (&self.components.targets, &components.targets);
        self.state.breakers.keep(|name| {
            let same = before.get(name).zip(after.get(name));
            same.is_some_and(|(before, after)| after.continues(before.as_ref()))
        });
        Self {
            components,
            state: Arc::clone(&self.state),
        }
    }

    /// The components it was made of, for readiness and shutdown.
    #[must_use]
    pub const fn components(&self) -> &Components {
        &self.components
    }

    /// Whether the clock can be trusted now.
    ///
    /// # Errors
    /// It jumped, or is wrong.
    pub fn check_clock(&self) -> Result<(), ClockError> {
        self.state.clock_watch.check()
    }

    /// Whether requests for the target are refused because its server failed.
    #[must_use]
    pub fn breaker(&self, target: &str) -> BreakerStatus {
        self.state.breakers.status(target)
    }

    /// How many claims each issuer's tokens have that its provider's table has not.
    #[must_use]
    pub fn new_claims(&self) -> Vec<(String, usize)> {
        self.state.new_claims.counts()
    }

    /// A credential for a subject token.
    ///
    /// From the reservation on it runs to completion, even if the caller drops this future (T-90).
    ///
    /// # Errors
    /// One variant per stage. No credential is issued.
    pub async fn exchange(self: &Arc<Self>, request: Request) -> Result<Granted, ExchangeError> {
        let in_flight = self.enter()?;
        let token = self
            .verify(&request.subject_token, &request.id, &request.caller)
            .await?;
        let (id, ask, caller) = (&request.id, Some(&request.ask), &request.caller);
        let job = self.identify(token, id, ask, caller)?;
        let permit = self.decide(job, &request)?;
        let admission = self.admit(&permit, &request)?;
        let (exchange, id, key) = (Arc::clone(self), request.id, request.key);
        let issued = run_to_completion(|abandoned| async move {
            let _in_flight = in_flight;
            exchange
                .issue(permit, admission, key, &id, &abandoned)
                .await
        });
        issued.await
    }

    /// Explains what the job would get, without minting. The request is verified, limited and
    /// counted like an exchange, but the token is not used up (T-119).
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange) up to the decision, which is part of the explanation.
    pub async fn explain(
        &self,
        id: &str,
        subject_token: &SubjectToken,
        ask: Option<&Ask>,
        caller: &CallerInfo,
    ) -> Result<Explained, ExchangeError> {
        let _in_flight = self.enter()?;
        let token = self.verify(subject_token, id, caller).await?;
        let (policies, now) = (&self.components.policies, self.components.clock.now());
        let job = self.identify(token, id, ask, caller)?.at(now);
        let Some(ask) = ask else {
            self.state.rates.listed(&job);
            return Ok(Explained::Available(policies.available(job.facts(), now)));
        };
        // No permit is made, so nothing can be minted from an explanation.
        let decision = policies.explain_nearest(job.facts(), ask, now);
        if !decision.is_permitted() {
            let denial = Denial::new(decision, job.facts());
            return Ok(Explained::Denied(Box::new(denial)));
        }
        let decision = Box::new(decision);
        Ok(match policies.check_inputs(ask) {
            Ok(()) => Explained::Permitted(decision),
            Err(problem) => Explained::Unfit(decision, ExchangeError::Input(problem)),
        })
    }

    /// Revokes the lease of a handle (RFC 7009) and returns the lease's name. Once started it runs
    /// to completion. After `patience` it returns [`Revoked::Pending`].
    ///
    /// # Errors
    /// No key of this broker opens the handle, or the target is not in the settings.
    pub async fn revoke(
        self: &Arc<Self>,
        handle: &Secret<String>,
        id: &str,
        patience: Duration,
    ) -> Result<(Revoked, String), RevokeError> {
        let in_flight = self.state.revocations.take(REVOCATIONS);
        let in_flight = in_flight.ok_or(RevokeError::Busy)?;
        let lease = lease::open(handle.expose(), &self.components.root_keys)?;
        let (exchange, id, name) = (Arc::clone(self), id.to_owned(), lease.name.clone());
        let ended = run_to_completion(|_| async move {
            let _in_flight = in_flight;
            let ended = exchange.components.targets.revoke(&lease).await;
            exchange.note_revocation(&lease, &id, ended.as_ref().ok().copied());
            ended.map(|ended| (ended, lease.name))
        });
        match tokio::time::timeout(patience, ended).await {
            Ok(ended) => Ok(ended?),
            Err(_) => Ok((Revoked::Pending, name)),
        }
    }

    fn enter(&self) -> Result<ConcurrencySlot, ExchangeError> {
        self.state.clock_watch.check()?;
        let in_flight = self.state.exchanges.take(self.components.max_concurrent);
        in_flight.ok_or(ExchangeError::Busy)
    }

    async fn verify(
        &self,
        token: &SubjectToken,
        id: &str,
        caller: &CallerInfo,
    ) -> Result<Verified, ExchangeError> {
        match self.components.verifier.verify(token).await {
            Ok(verified) => {
                caller.verified(&verified);
                // From here on, log lines of the store, the sinks and the targets name the issuer.
                tracing::Span::current().record("issuer", verified.issuer().name.as_str());
                Ok(verified)
            }
            Err(error) => {
                caller.refused(&self.components.verifier, token);
                self.note_refusal(id, error.reason(), &error.to_string(), caller);
                Err(error.into())
            }
        }
    }

    fn identify(
        &self,
        token: Verified,
        id: &str,
        ask: Option<&Ask>,
        caller: &CallerInfo,
    ) -> Result<Job, ExchangeError> {
        // The verifier knows the issuers of these policies and no others.
        let reader = self
            .components
            .policies
            .reader_by_url(&token.issuer().url)
            .ok_or(VerifyError::Issuer)?;
        let job = match reader.identify(token) {
            Ok(job) => job.from_address(caller.address()),
            Err(error) => {
                self.note_refusal(id, Reason::TokenClaim, &error.to_string(), caller);
                return Err(error.into());
            }
        };
        caller.identified(&job);
        let claims = job.facts().claims();
        for claim in self.state.new_claims.notice(reader, claims) {
            self.note_new_claim(&reader.issuer.name, &claim);
        }
        let rates = &self.state.rates;
        if ask.is_some() && rates.was_listed(&job) {
            return Ok(job);
        }
        let limited = rates.take(&job, self.components.per_repository);
        let Err(retry_after) = limited else {
            return Ok(job);
        };
        let error = ExchangeError::Rate { retry_after };
        let credential = ask.map_or("", |ask| &ask.credential);
        let who = || DenialSubject::of(&job, credential);
        self.note_limited_denial(who, id, caller, &error);
        Err(error)
    }

    /// Asks the breaker of the credential's target. Done before the reservation, so that the token of a
    /// request that is refused here stays usable.
    fn admit(
        &self,
        permit: &Permit,
        request: &Request,
    ) -> Result<Option<Admission>, ExchangeError> {
        let definition = permit.credential();
        let Some(target) = definition.target() else {
            return Ok(None);
        };
        self.state
            .breakers
            .admit(target)
            .map(Some)
            .map_err(|paused| {
                let error = ExchangeError::Paused(paused);
                let who = || DenialSubject::of(permit.job(), &definition.name);
                self.note_limited_denial(who, &request.id, &request.caller, &error);
                error
            })
    }

    fn decide(&self, job: Job, request: &Request) -> Result<Permit, ExchangeError> {
        let now = self.components.clock.now();
        let permit = match self.components.policies.decide(job, &request.ask, now) {
            Ok(permit) => {
                request.caller.shadowed(permit.shadow());
                request.caller.may_have(permit.credential());
                permit
            }
            Err(refused) => {
                let decision = refused.denial.decision();
                request.caller.shadowed(decision.shadow.as_ref());
                self.note_denial(&refused.job, &refused.denial, request);
                return Err(ExchangeError::Decide(Box::new(refused.denial)));
            }
        };
        let Some(error) = mismatch(&permit, request) else {
            return Ok(permit);
        };
        let who = DenialSubject::of(permit.job(), &permit.credential().name);
        self.note_other_denial(who, &request.id, error.reason(), &error);
        Err(error)
    }
}

/// Checks the token type, `resource` and inputs of the request against the credential. Done after
/// the decision, so only a permitted job learns anything about the credential.
fn mismatch(permit: &Permit, request: &Request) -> Option<ExchangeError> {
    let definition = permit.credential();
    let (credential, kind) = (definition.name.clone(), definition.kind.name);
    if request.kind.is_some_and(|wanted| wanted != kind) {
        return Some(ExchangeError::Kind { credential, kind });
    }
    let declares = |uri: &String| definition.resource.as_ref() == Some(uri);
    if !request.resource.iter().all(declares) {
        return Some(ExchangeError::Resource { credential });
    }
    let fits = definition.check_inputs(permit.inputs());
    fits.err().map(ExchangeError::Input)
}

/// Concurrent revocations. Counted apart from exchanges, so a flood of exchanges does not block
/// revocations.
const REVOCATIONS: usize = 64;

/// Events per second of tokens that were refused, for each reason and issuer.
const REFUSAL_EVENTS: u32 = 100;
/// Stands where a refused token names no issuer of ours.
pub(crate) const UNKNOWN: &str = "unknown";
