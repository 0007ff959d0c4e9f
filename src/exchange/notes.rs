//! Records the events of an exchange other than intents and outcomes. Nothing waits for them.

use std::collections::BTreeMap;

use super::{CallerInfo, Exchange, ExchangeError, Request, SuppressedLines, UNKNOWN};
use crate::audit::Text;
use crate::audit::event::{self, Event, RevocationResult};
use crate::credential::Revoked;
use crate::lease::LeaseContents;
use crate::policy::{Denial, Disclosure};
use crate::provider::Job;
use crate::reason::Reason;

impl Exchange {
    pub(super) fn note_refusal(
        &self,
        id: &str,
        reason: Reason,
        message: &str,
        caller: &CallerInfo,
    ) {
        let issuer = caller.issuer();
        // Anyone can send tokens that are refused. Their events must not fill the sinks (T-97).
        let refusals = &self.state.refusals;
        let is_noted = refusals.take(reason, issuer.unwrap_or(UNKNOWN));
        self.note_suppressed();
        if is_noted {
            self.note(&Event::Refusal(event::RefusalRecord {
                request_id: Text::new(id),
                reason,
                message: Text::new(message),
                unverified_issuer: issuer.map(Text::new),
                unverified_iss: caller.foreign_issuer().map(Text::new),
            }));
        }
    }

    /// Records how many refusals were suppressed in earlier seconds.
    pub(crate) fn note_suppressed(&self) {
        for suppressed in self.state.refusals.left_out() {
            self.note_suppressed_lines(&suppressed);
        }
    }

    /// Records all suppressed refusals, at shutdown.
    pub(crate) fn note_all_suppressed(&self) {
        for suppressed in self.state.refusals.rest() {
            self.note_suppressed_lines(&suppressed);
        }
    }

    fn note_suppressed_lines(&self, suppressed: &SuppressedLines) {
        self.note(&Event::LeftOut(event::LeftOutRecord {
            reason: suppressed.reason,
            unverified_issuer: Text::new(&suppressed.issuer),
            refusals: suppressed.lines,
        }));
    }

    pub(super) fn note_new_claim(&self, issuer: &str, claim: &str) {
        tracing::warn!(
            reason = Reason::TokenNewClaim.code(),
            issuer,
            claim,
            "a verified token has a claim that its provider did not send before; no job is refused for it"
        );
        self.note(&Event::NewClaim(event::NewClaimRecord {
            issuer: Text::new(issuer),
            claim: Text::new(claim),
        }));
    }

    pub(super) fn note_denial(&self, job: &Job, denial: &Denial, request: &Request) {
        let everything = denial.answer(Disclosure::Always);
        let definition = self.components.policies.credential(&request.ask.credential);
        let failed = everything.failed_conditions.iter();
        self.note(&Event::Denial(event::DenialRecord {
            request_id: Text::new(&request.id),
            job: event::JobRecord::of(job),
            credential: Text::new(&request.ask.credential),
            asked: Some(event::AskedRecord::of(
                &request.ask,
                definition.map(AsRef::as_ref),
            )),
            labels: self.labels_of(&request.ask.credential),
            reason: denial.reason(),
            decision: Text::new(&everything.description),
            revision: Text::new(self.components.policies.revision()),
            shadow: (denial.decision().shadow.as_ref())
                .map(|shadow| Text::new(&shadow.to_string())),
            failed_conditions: failed
                .map(|line| event::FailedConditionRecord {
                    policy: Text::new(&line.policy),
                    fact: Text::new(&line.fact),
                    expected: Text::new(&line.expected),
                    actual: Text::new(line.actual.as_deref().unwrap_or("(absent)")),
                    hint: line.hint.as_deref().map(Text::new),
                })
                .collect(),
        }));
    }

    /// Records a denial that has another reason than the policies.
    pub(super) fn note_other_denial(
        &self,
        who: DenialSubject,
        id: &str,
        reason: Reason,
        error: &(impl std::error::Error + ?Sized),
    ) {
        self.note(&Event::Denial(event::DenialRecord {
            request_id: Text::new(id),
            job: who.job,
            asked: None,
            labels: self.labels_of(&who.name),
            credential: Text::new(&who.name),
            reason,
            decision: Text::new(&error.to_string()),
            revision: Text::new(self.components.policies.revision()),
            shadow: None,
            failed_conditions: std::iter::empty().collect(),
        }));
    }

    /// The same, but only so often: a job in a loop must not fill the sinks (T-97).
    pub(super) fn note_limited_denial(
        &self,
        who: impl FnOnce() -> DenialSubject,
        id: &str,
        caller: &CallerInfo,
        error: &ExchangeError,
    ) {
        let issuer = caller.issuer().unwrap_or(UNKNOWN);
        let is_noted = self.state.refusals.take(error.reason(), issuer);
        self.note_suppressed();
        if is_noted {
            self.note_other_denial(who(), id, error.reason(), error);
        }
    }

    /// The labels of a credential; none if there is no such credential.
    fn labels_of(&self, credential: &str) -> BTreeMap<String, Text> {
        let credential = self.components.policies.credential(credential);
        credential.map_or_else(BTreeMap::new, |credential| event::labels(credential))
    }

    pub(super) fn note_revocation(&self, lease: &LeaseContents, id: &str, ended: Option<Revoked>) {
        self.note(&Event::Revocation(event::RevocationRecord {
            request_id: Some(Text::new(id)),
            target: Text::new(&lease.target),
            lease: Text::new(&lease.name),
            policy: Text::new(&lease.policy),
            issuer: Text::new(&lease.issuer),
            subject: Text::new(&lease.subject),
            result: match ended {
                Some(Revoked::Gone) => RevocationResult::Gone,
                Some(Revoked::Closed) => RevocationResult::Closed,
                Some(Revoked::Pending) => RevocationResult::Pending,
                None => RevocationResult::Failed,
            },
        }));
    }

    /// Nothing is issued here, so nothing waits for the sinks.
    pub(super) fn note(&self, event: &Event) {
        self.components.audit.note_or_log(event);
    }
}

/// The job and credential of a possible denial. Kept while the store of used tokens has the permit.
pub(super) struct DenialSubject {
    job: event::JobRecord,
    /// The name of the credential, perhaps of none that exists.
    name: String,
}

impl DenialSubject {
    pub(super) fn of(job: &Job, credential: &str) -> Self {
        Self {
            job: event::JobRecord::without_facts(job),
            name: credential.to_owned(),
        }
    }
}
