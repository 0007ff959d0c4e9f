//! What can be told: the closed list of events and their fields. None can hold a secret.
//!
//! Outside text is a [`Text`] and so escaped and bounded by its type; reasons are our own codes; no
//! field is of a type that a token, key or password has.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

use super::text::Text;
use crate::clock::Timestamp;
use crate::provider::{FactValue, Facts, Job};
use crate::reason::Reason;
use crate::replay::{Reach, Reserved};

/// One line of the log.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Start(Start),
    /// It goes down in order.
    Stop,
    /// Other policies apply from here on.
    Policies(Policies),
    /// Other settings apply from here on.
    Settings(Settings),
    /// Something is about to be minted. Written before it is (T-89).
    Intent(Intent),
    /// What came of it: exactly one per intent.
    Outcome(OutcomeOf),
    /// A genuine job may not have what it asked for.
    Denial(Denial),
    /// A request that did not get as far as a genuine job.
    Refusal(Refusal),
    /// Refusals that have no line of their own, since too many came in one second (T-97).
    LeftOut(LeftOut),
    /// A token came twice (T-69).
    Replay(Replay),
    Revocation(Revocation),
    /// Expired leases were cleared away.
    Sweep(Sweep),
    /// The file of a sink lost lines in place, as `copytruncate` does it (T-135).
    Truncated(Loss),
    /// The file of a sink was deleted or replaced (T-135).
    Removed(Loss),
    /// An operator is about to act on targets directly. Written before it happens.
    Operation(Operation),
    /// What came of it: exactly one per operation.
    OperationOutcome(OperationOutcome),
    Alert(Alert),
}

#[derive(Clone, Debug, Serialize)]
pub struct Start {
    pub version: &'static str,
    /// The public key of the checkpoints that follow.
    pub key: String,
}

/// Other policies apply from here on.
#[derive(Clone, Debug, Serialize)]
pub struct Policies {
    pub revision: Text,
    /// The hash of those before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Text>,
    /// What is remembered of used tokens, and by whom (T-72).
    #[serde(serialize_with = "reach")]
    pub replay: Reach,
}

/// Other settings apply from here on.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The keys whose values changed, and the files named by them that did.
    pub changed: Bounded<Text>,
}

/// Who asks: what a verified token said.
#[derive(Clone, Debug, Serialize)]
pub struct JobRecord {
    /// The `iss` claim.
    pub issuer: Text,
    /// 16 hex digits of the token's hash.
    pub token: Text,
    /// The `sub` claim.
    pub subject: Text,
    pub job: FactRecord,
}

impl JobRecord {
    /// What the log keeps of a job.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let token = job.token();
        Self {
            issuer: Text::new(&token.issuer),
            token: Text::new(&token.digest),
            subject: Text::new(job.subject()),
            job: FactRecord::of(job.facts()),
        }
    }

    /// Who it is, without its facts: cheap enough to be made before anybody knows whether it will be
    /// told.
    #[must_use]
    pub(crate) fn without_facts(job: &Job) -> Self {
        let token = job.token();
        Self {
            issuer: Text::new(&token.issuer),
            token: Text::new(&token.digest),
            subject: Text::new(job.subject()),
            job: FactRecord::default(),
        }
    }
}

/// Facts under our names, escaped and bounded.
#[derive(Clone, Debug, Default)]
pub struct FactRecord(Vec<(&'static str, FactText)>);

impl FactRecord {
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let facts = facts.iter().map(|(fact, value)| {
            let text = match value {
                FactValue::Text(text) => FactText::Text(Text::new(text)),
                FactValue::Bool(bool) => FactText::Bool(*bool),
                FactValue::List(entries) => FactText::Text(Text::new(&entries.join(","))),
                FactValue::Workflow(workflow) => FactText::Text(match &workflow.r#ref {
                    Some(r#ref) => Text::new(&format!("{}@{ref}", workflow.path)),
                    None => Text::new(&workflow.path),
                }),
            };
            (fact.name(), text)
        });
        Self(facts.collect())
    }
}

impl Serialize for FactRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (fact, value) in &self.0 {
            map.serialize_entry(fact, value)?;
        }
        map.end()
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum FactText {
    Text(Text),
    Bool(bool),
}

/// Something is about to be minted.
#[derive(Clone, Debug, Serialize)]
pub struct Intent {
    /// Ties the outcome to it.
    pub intent: String,
    pub request_id: Text,
    #[serde(flatten)]
    pub job: JobRecord,
    pub credential: Text,
    pub kind: &'static str,
    pub class: &'static str,
    pub scopes: Vec<Text>,
    /// What the request brought, by name: never a secret.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Text>,
    /// The policy that allows it.
    pub policy: Text,
    /// The hash of the policies that were asked.
    pub revision: Text,
    #[serde(serialize_with = "time")]
    pub expires_at: Timestamp,
    /// The same ask came before under the same key.
    pub repeat: bool,
    /// Who else knows that the token is used (T-72).
    #[serde(serialize_with = "reach")]
    pub replay: Reach,
}

impl Intent {
    /// What is about to be minted for a reservation.
    #[must_use]
    pub fn of(reserved: &Reserved, intent: String, request_id: &str) -> Self {
        let permit = reserved.permit();
        let credential = permit.credential();
        Self {
            intent,
            request_id: Text::new(request_id),
            job: JobRecord::of(permit.job()),
            credential: Text::new(&credential.name),
            kind: credential.kind.name,
            class: credential.class.name(),
            scopes: permit.scopes().iter().map(Text::from).collect(),
            // The names are those of the kind, since the inputs were checked.
            inputs: permit
                .inputs()
                .iter()
                .map(|(name, value)| (name.clone(), Text::from(value)))
                .collect(),
            policy: Text::new(permit.policy()),
            revision: Text::new(permit.revision()),
            expires_at: reserved.expires_at(),
            repeat: reserved.is_repeat(),
            replay: reserved.reach(),
        }
    }
}

/// The outcome of one intent.
#[derive(Clone, Debug, Serialize)]
pub struct OutcomeOf {
    pub(super) intent: String,
    pub(super) request_id: Text,
    pub(super) credential: Text,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// What came of an intent.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// A credential was made and answered.
    Minted {
        /// The login's name or the token's `jti`.
        public_id: Text,
        #[serde(serialize_with = "time")]
        expires_at: Timestamp,
    },
    /// The credential of an earlier request was given again.
    Repeated {
        /// The login's name or the token's `jti`.
        public_id: Text,
        /// When it ends, as before.
        #[serde(serialize_with = "time")]
        expires_at: Timestamp,
    },
    Failed {
        /// Our code, e.g. `database.unreachable`.
        reason: Reason,
        /// The sentence that goes with it.
        message: Text,
        /// It is known that nothing was made.
        nothing_made: bool,
    },
    /// A credential was made, and nobody was there to take it (T-90).
    Undelivered {
        /// The login's name or the token's `jti`.
        public_id: Text,
        /// When it ends, unless it was revoked.
        #[serde(serialize_with = "time")]
        expires_at: Timestamp,
        revoked: bool,
    },
    /// The broker went down before it knew.
    Unknown,
}

/// A genuine job may not have what it asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Denial {
    pub request_id: Text,
    #[serde(flatten)]
    pub job: JobRecord,
    /// What for; empty where the job had not said so yet.
    pub credential: Text,
    pub reason: Reason,
    /// The decision in a sentence.
    pub decision: Text,
    /// The hash of the policies that were asked.
    pub revision: Text,
    /// Every condition that failed: here always all of them, whatever the job was told. Those
    /// beyond [`LONGEST_LIST`] are left out.
    pub failed_conditions: Bounded<FailedCondition>,
}

/// A condition that a job did not meet.
#[derive(Clone, Debug, Serialize)]
pub struct FailedCondition {
    pub policy: Text,
    pub fact: Text,
    pub expected: Text,
    pub actual: Text,
    /// What is nearly right about it, such as a name that differs only in case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Text>,
}

/// A request that did not get as far as a genuine job.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    pub request_id: Text,
    /// Our code, e.g. `token.signature`.
    pub reason: Reason,
    /// The sentence that goes with it.
    pub message: Text,
    /// The issuer's name in the policies, when the token named one of them. Nobody has verified it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified_issuer: Option<Text>,
    /// The token's `iss` where it is none of theirs. Nobody has verified it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified_iss: Option<Text>,
}

/// Refusals that have no line of their own.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    /// Their code, e.g. `token.signature`.
    pub reason: Reason,
    /// The issuer's name in the policies that their tokens named, or `unknown`.
    pub unverified_issuer: Text,
    pub refusals: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Replay {
    /// The request that was refused.
    pub request_id: Text,
    /// The request that used the token first.
    pub first_request_id: Text,
    /// Who the token says it is.
    #[serde(flatten)]
    pub job: Option<JobRecord>,
    pub credential: Text,
}

/// Somebody ended a lease, or tried to.
#[derive(Clone, Debug, Serialize)]
pub struct Revocation {
    /// The request, when it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Text>,
    pub target: Text,
    pub lease: Text,
    /// The policy that had allowed it.
    pub policy: Text,
    /// The issuer of the job that had it.
    pub issuer: Text,
    /// The `sub` of that job.
    pub subject: Text,
    pub result: RevocationResult,
}

/// What came of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationResult {
    /// The login is gone, now or before.
    Gone,
    /// The login is closed and its code disarmed; objects it left keep its name for now.
    Closed,
    /// The login is not closed or its code not disarmed yet; the sweep tries again.
    Pending,
    Failed,
}

/// Expired leases were cleared away.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    pub target: Text,
    /// The names of those that are gone; beyond [`LONGEST_LIST`] only their number is kept.
    pub removed: Bounded<Text>,
    /// The names of those that would not go.
    pub left: Bounded<Text>,
}

/// The file of a sink no longer has what it had.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    pub sink: Text,
    /// The hash of the last line it is known to have had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Text>,
}

/// An operator is about to act on a target.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    /// Ties the outcome to it.
    pub intent: String,
    /// Who runs the command, and where.
    pub operator: Operator,
    /// The command, e.g. `leases revoke`.
    pub command: &'static str,
    /// The target in the settings.
    pub target: Text,
    /// The login, when the command is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Text>,
}

/// Who runs a command of ours, and where.
#[derive(Clone, Debug, Serialize)]
pub struct Operator {
    /// The user of the process.
    pub user: Text,
    pub uid: u32,
    /// The user who logged in to the machine, whom `su` and `sudo` do not change, where the system
    /// keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login_user: Option<Text>,
    /// `SUDO_USER`, as the environment says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo_user: Option<Text>,
    pub host: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal: Option<Text>,
    /// The client's address in `SSH_CONNECTION`, as the environment says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_client: Option<Text>,
}

/// The outcome of one operation.
#[derive(Clone, Debug, Serialize)]
pub struct OperationOutcome {
    pub intent: String,
    /// `gone` or `pending` for a revocation, `swept` for a sweep, or `failed`.
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
    /// The names of logins that are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<Bounded<Text>>,
    /// The names of those that would not go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Bounded<Text>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Alert {
    /// Our code, e.g. `clock.jump`.
    pub reason: Reason,
    /// What happened, in a sentence.
    pub message: Text,
    /// The request, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Text>,
}

/// A list that no caller can make a line too long with: the first [`LONGEST_LIST`], and how many
/// there were.
#[derive(Clone, Debug, Serialize)]
pub struct Bounded<T> {
    first: Vec<T>,
    total: usize,
}

impl<T> FromIterator<T> for Bounded<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items = items.into_iter();
        let first: Vec<_> = items.by_ref().take(LONGEST_LIST).collect();
        let total = first.len().saturating_add(items.count());
        Self { first, total }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes fields by reference"
)]
fn reach<S: Serializer>(reach: &Reach, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reach.name())
}

/// Entries of a list that a line keeps.
pub const LONGEST_LIST: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_front_and_its_length() {
        let list: Bounded<usize> = (0..100).collect();
        assert_eq!((list.first.len(), list.total), (LONGEST_LIST, 100));
        let list: Bounded<usize> = (0..3).collect();
        assert_eq!((list.first, list.total), (vec![0, 1, 2], 3));
    }

    #[test]
    fn an_outcome_is_flat() {
        let event = Event::Outcome(OutcomeOf {
            intent: "b.1".to_owned(),
            request_id: Text::new("req-1"),
            credential: Text::new("shop-db/migrate"),
            outcome: Outcome::Minted {
                public_id: Text::new("hp_1lg7ei3_0123456789abc"),
                expires_at: Timestamp::from_unix(1_790_000_000),
            },
        });
        insta::assert_snapshot!(serde_json::to_string(&event).unwrap(), @r#"{"event":"outcome","intent":"b.1","request_id":"req-1","credential":"shop-db/migrate","outcome":"minted","public_id":"hp_1lg7ei3_0123456789abc","expires_at":"2026-09-21T14:13:20Z"}"#);
    }
}
