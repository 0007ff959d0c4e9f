//! What an exchange puts on record beside intents and outcomes. Not: what anything waits for.

use super::{Exchange, LeftOut, Request, Seen, UNKNOWN};
use crate::audit::Text;
use crate::audit::event::{self, Event, RevocationResult};
use crate::credential::Revoked;
use crate::lease::LeaseContents;
use crate::policy::{Denial, Disclosure};
use crate::provider::Job;
use crate::reason::Reason;

impl Exchange {
    pub(super) fn note_refusal(&self, id: &str, reason: Reason, message: &str, seen: &Seen) {
        let issuer = seen.issuer();
        // Anyone can send tokens that are refused: their events must not fill the sinks (T-97).
        let refusals = &self.lasting.refusals;
        let is_noted = refusals.take(reason, issuer.unwrap_or(UNKNOWN));
        self.note_left_out();
        if is_noted {
            self.note(&Event::Refusal(event::Refusal {
                request_id: Text::new(id),
                reason,
                message: Text::new(message),
                unverified_issuer: issuer.map(Text::new),
                unverified_iss: seen.foreign_issuer().map(Text::new),
            }));
        }
    }

    /// Tells how many refusals were not recorded in seconds that are over.
    pub(crate) fn note_left_out(&self) {
        for told in self.lasting.refusals.left_out() {
            self.note_left_out_of(&told);
        }
    }

    /// The same for all there are, at the end.
    pub(crate) fn note_all_left_out(&self) {
        for told in self.lasting.refusals.rest() {
            self.note_left_out_of(&told);
        }
    }

    fn note_left_out_of(&self, told: &LeftOut) {
        self.note(&Event::LeftOut(event::LeftOut {
            reason: told.reason,
            unverified_issuer: Text::new(&told.issuer),
            refusals: told.lines,
        }));
    }

    pub(super) fn note_denial(&self, job: &Job, denial: &Denial, request: &Request) {
        let everything = denial.answer(Disclosure::Always);
        let failed = everything.failed_conditions.iter();
        self.note(&Event::Denial(event::Denial {
            request_id: Text::new(&request.id),
            job: event::JobRecord::of(job),
            credential: Text::new(&request.ask.credential),
            reason: denial.reason(),
            decision: Text::new(&everything.description),
            revision: Text::new(self.parts.policies.revision()),
            failed_conditions: failed
                .map(|line| event::FailedCondition {
                    policy: Text::new(&line.policy),
                    fact: Text::new(&line.fact),
                    expected: Text::new(&line.expected),
                    actual: Text::new(line.actual.as_deref().unwrap_or("(absent)")),
                    hint: line.hint.as_deref().map(Text::new),
                })
                .collect(),
        }));
    }

    /// A genuine job may not have what it asked for, for another reason than its policies.
    pub(super) fn note_no(
        &self,
        who: Applicant,
        id: &str,
        reason: Reason,
        error: &(impl std::error::Error + ?Sized),
    ) {
        self.note(&Event::Denial(event::Denial {
            request_id: Text::new(id),
            job: who.job,
            credential: who.credential,
            reason,
            decision: Text::new(&error.to_string()),
            revision: Text::new(self.parts.policies.revision()),
            failed_conditions: std::iter::empty().collect(),
        }));
    }

    pub(super) fn note_revocation(&self, lease: &LeaseContents, id: &str, ended: Option<Revoked>) {
        self.note(&Event::Revocation(event::Revocation {
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

    /// Nothing is handed out here, so nothing waits for the sinks.
    pub(super) fn note(&self, event: &Event) {
        self.parts.audit.note_or_log(event);
    }
}

/// Who asks for what, kept while the permit is with the store of used tokens.
pub(super) struct Applicant {
    job: event::JobRecord,
    credential: Text,
}

impl Applicant {
    pub(super) fn of(job: &Job, credential: &str) -> Self {
        Self {
            job: event::JobRecord::without_facts(job),
            credential: Text::new(credential),
        }
    }
}
