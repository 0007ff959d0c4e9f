//! Defines the closed list of audit events and their fields.
//!
//! No field can hold a secret: outside text is a [`Text`], which is escaped and bounded; reasons
//! are our own codes; no field has the type of a token, key or password.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

pub use super::asked::{AskedRecord, ClaimRecord};
use super::text::Text;
use crate::clock::Timestamp;
use crate::policy::CredentialDefinition;
use crate::provider::{FactValue, Facts, Job};
use crate::reason::Reason;
use crate::replay::{Reach, Reserved};
use crate::text::CUT_MARK;
use crate::yaml::duration;

/// One line of the log.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Start(StartRecord),
    /// The broker shuts down.
    Stop,
    /// New policies are in use from here on.
    Policies(PoliciesRecord),
    /// New settings are in use from here on.
    Settings(SettingsRecord),
    /// Something is about to be minted. Written before it is (T-89).
    Intent(IntentRecord),
    /// The result of an intent: exactly one per intent.
    Outcome(OutcomeRecord),
    /// A verified job was denied.
    Denial(DenialRecord),
    /// A request without a verified job was refused.
    Refusal(RefusalRecord),
    /// A count of refusals that were not recorded one by one, because there were too many in one
    /// second (T-97).
    LeftOut(LeftOutRecord),
    /// A token was used twice (T-69).
    Replay(ReplayRecord),
    /// A claim that the provider of an issuer did not send before.
    NewClaim(NewClaimRecord),
    Revocation(RevocationRecord),
    /// Expired leases were removed.
    Sweep(SweepRecord),
    /// The file of a sink was truncated in place, as by `copytruncate` (T-135).
    Truncated(LossRecord),
    /// The file of a sink was deleted or replaced (T-135).
    Removed(LossRecord),
    /// An operator is about to change a target directly. Written before it happens.
    Operation(OperationRecord),
    /// The result of an operation: exactly one per operation.
    OperationOutcome(OperationOutcomeRecord),
    Alert(AlertRecord),
}

#[derive(Clone, Debug, Serialize)]
pub struct StartRecord {
    pub version: &'static str,
    /// The public key of the checkpoints that follow.
    pub key: String,
}

/// New policies are in use from here on.
#[derive(Clone, Debug, Serialize)]
pub struct PoliciesRecord {
    pub revision: Text,
    /// The hash of those before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Text>,
    /// The commit of the policies, if the settings say where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Text>,
    /// Which brokers share the record of used tokens (T-72).
    #[serde(serialize_with = "reach")]
    pub replay: Reach,
}

/// New settings are in use from here on.
#[derive(Clone, Debug, Serialize)]
pub struct SettingsRecord {
    /// The settings that changed, and the files named by settings that changed.
    pub changed: Bounded<Text>,
}

/// The job, as its verified token describes it.
#[derive(Clone, Debug, Serialize)]
pub struct JobRecord {
    /// The `iss` claim.
    pub issuer: Text,
    /// 16 hex digits of the token's hash.
    pub token: Text,
    /// The `sub` claim.
    pub subject: Text,
    pub job: FactRecord,
    /// The raw claims that some policy reads.
    #[serde(skip_serializing_if = "ClaimRecord::is_empty")]
    pub claims: ClaimRecord,
}

impl JobRecord {
    /// The record of a job.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        let token = job.token();
        Self {
            issuer: Text::new(&token.issuer),
            token: Text::new(&token.digest),
            subject: Text::new(job.subject()),
            job: FactRecord::of(job.facts()),
            claims: ClaimRecord::of(job.facts()),
        }
    }

    /// The record of a job without its facts. Cheap enough to make before it is known to be needed.
    #[must_use]
    pub(crate) fn without_facts(job: &Job) -> Self {
        let token = job.token();
        Self {
            issuer: Text::new(&token.issuer),
            token: Text::new(&token.digest),
            subject: Text::new(job.subject()),
            job: FactRecord::default(),
            claims: ClaimRecord::default(),
        }
    }
}

/// Facts under our names, escaped and bounded.
#[derive(Clone, Debug, Default)]
pub struct FactRecord(
    Vec<(&'static str, FactText)>,
    /// The declared repository properties.
    BTreeMap<String, FactText>,
);

impl FactRecord {
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let properties = facts.properties();
        Self(
            (facts.iter())
                .map(|(fact, value)| (fact.name(), FactText::of(value)))
                .collect(),
            properties
                .map(|(name, value)| (name.name().to_owned(), FactText::of(value)))
                .collect(),
        )
    }
}

impl Serialize for FactRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (fact, value) in &self.0 {
            map.serialize_entry(fact, value)?;
        }
        if !self.1.is_empty() {
            map.serialize_entry("property", &self.1)?;
        }
        map.end()
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum FactText {
    Text(Text),
    Bool(bool),
    /// The mark of cut text follows the entries if there are more.
    List(Vec<Text>),
}

impl FactText {
    fn of(value: &FactValue) -> Self {
        match value {
            FactValue::Text(text) => Self::Text(Text::new(text)),
            FactValue::Bool(bool) => Self::Bool(*bool),
            FactValue::Time(time) => Self::Text(Text::new(&time.to_string())),
            FactValue::Address(address) => Self::Text(Text::new(&address.to_string())),
            FactValue::List(entries) => Self::List(list(entries)),
            FactValue::Workflow(workflow) => Self::Text(match &workflow.r#ref {
                Some(r#ref) => Text::new(&format!("{}@{ref}", workflow.path)),
                None => Text::new(&workflow.path),
            }),
        }
    }
}

/// The front of the list, and [`CUT_MARK`] as last entry if that is not all.
fn list(entries: &[String]) -> Vec<Text> {
    let mut bytes = 0_usize;
    let mut kept: Vec<Text> = entries
        .iter()
        .take(LONGEST_LIST)
        .map(Text::from)
        .take_while(|entry| {
            bytes = bytes.saturating_add(entry.as_str().len());
            bytes <= LONGEST_LISTED
        })
        .collect();
    if kept.len() < entries.len() {
        kept.push(Text::new(CUT_MARK));
    }
    kept
}

/// Something is about to be minted.
#[derive(Clone, Debug, Serialize)]
pub struct IntentRecord {
    /// The ID that the outcome repeats.
    pub intent: String,
    pub request_id: Text,
    #[serde(flatten)]
    pub job: JobRecord,
    pub credential: Text,
    pub kind: &'static str,
    pub class: &'static str,
    /// The `labels` of the credential.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Text>,
    pub scopes: Vec<Text>,
    /// The granted life, e.g. `15m`.
    pub ttl: String,
    /// What the request named.
    pub asked: AskedRecord,
    /// The inputs of the request, by name. Never a secret.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Text>,
    /// The thumbprint of the key that the answer is sealed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed_to: Option<Text>,
    /// The policy that grants it.
    pub policy: Text,
    /// The hash of the policies that decided.
    pub revision: Text,
    /// What would be different if the entries with `shadow_until` were in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Text>,
    #[serde(serialize_with = "time")]
    pub expires_at: Timestamp,
    /// The request repeats an earlier one with the same idempotency key.
    pub repeat: bool,
    /// Other tokens of the subject get the same login.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// Which brokers know that the token is used (T-72).
    #[serde(serialize_with = "reach")]
    pub replay: Reach,
}

impl IntentRecord {
    /// The intent for a reservation.
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
            labels: labels(credential),
            scopes: permit.scopes().iter().map(Text::from).collect(),
            ttl: duration::print(permit.ttl()),
            asked: AskedRecord::of(permit.ask(), Some(credential)),
            // The inputs were checked, so the names are those of the kind.
            inputs: permit
                .inputs()
                .iter()
                .map(|(name, value)| (name.clone(), Text::from(value)))
                .collect(),
            sealed_to: permit
                .seal_to()
                .map(|recipient| Text::new(recipient.thumbprint())),
            policy: Text::new(permit.policy()),
            revision: Text::new(permit.revision()),
            shadow: permit.shadow().map(|shadow| Text::new(&shadow.to_string())),
            expires_at: reserved.expires_at(),
            repeat: reserved.is_repeat(),
            shared: reserved.is_shared(),
            replay: reserved.reach(),
        }
    }
}

/// The `labels` of a credential, by name.
pub(crate) fn labels(credential: &CredentialDefinition) -> BTreeMap<String, Text> {
    let labels = credential.labels.iter();
    labels
        .map(|(name, value)| (name.clone(), Text::from(value)))
        .collect()
}

/// The outcome of one intent.
#[derive(Clone, Debug, Serialize)]
pub struct OutcomeRecord {
    pub(super) intent: String,
    pub(super) request_id: Text,
    pub(super) credential: Text,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// A claim that the provider of an issuer did not send before.
#[derive(Clone, Debug, Serialize)]
pub struct NewClaimRecord {
    /// The issuer's name in the policies.
    pub issuer: Text,
    /// The name of the claim, without its value.
    pub claim: Text,
}

/// The result of an intent.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// A credential was issued.
    Minted {
        /// The login's name or the token's `jti`.
        public_id: Text,
        #[serde(serialize_with = "time")]
        expires_at: Timestamp,
    },
    /// The credential of an earlier request was issued again.
    Repeated {
        /// The login's name or the token's `jti`.
        public_id: Text,
        /// When it expires, as before.
        #[serde(serialize_with = "time")]
        expires_at: Timestamp,
    },
    Failed {
        /// Our code, e.g. `database.unreachable`.
        reason: Reason,
        /// The error message.
        message: Text,
        /// It is known that nothing was made.
        nothing_made: bool,
    },
    /// A credential was issued, but the caller was gone (T-90).
    Undelivered {
        /// The login's name or the token's `jti`.
        public_id: Text,
        /// When it expires, unless it was revoked.
        #[serde(serialize_with = "time")]
        expires_at: Timestamp,
        revoked: bool,
    },
    /// The broker shut down before the result was known.
    Unknown,
}

/// A verified job was denied.
#[derive(Clone, Debug, Serialize)]
pub struct DenialRecord {
    pub request_id: Text,
    #[serde(flatten)]
    pub job: JobRecord,
    /// The requested credential. Empty if the job listed its credentials.
    pub credential: Text,
    /// What the request named beside it. Absent if the reason is not one of the policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedRecord>,
    /// The `labels` of the credential, if it exists.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Text>,
    pub reason: Reason,
    /// The decision in a sentence.
    pub decision: Text,
    /// The hash of the policies that decided.
    pub revision: Text,
    /// What would be different if the entries with `shadow_until` were in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Text>,
    /// Every failed condition, including those not disclosed to the job. At most [`LONGEST_LIST`]
    /// are kept.
    pub failed_conditions: Bounded<FailedConditionRecord>,
}

/// A condition that a job did not meet.
#[derive(Clone, Debug, Serialize)]
pub struct FailedConditionRecord {
    pub policy: Text,
    pub fact: Text,
    pub expected: Text,
    pub actual: Text,
    /// What almost matched, such as a name that differs only in case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<Text>,
}

/// A request without a verified job was refused.
#[derive(Clone, Debug, Serialize)]
pub struct RefusalRecord {
    pub request_id: Text,
    /// Our code, e.g. `token.signature`.
    pub reason: Reason,
    /// The error message.
    pub message: Text,
    /// The issuer's name in the policies, if the token names one. Not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified_issuer: Option<Text>,
    /// The token's `iss`, if it is not in the policies. Not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified_iss: Option<Text>,
}

/// A count of refusals that were not recorded one by one.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOutRecord {
    /// Their code, e.g. `token.signature`.
    pub reason: Reason,
    /// The issuer's name in the policies that the tokens named, or `unknown`.
    pub unverified_issuer: Text,
    pub refusals: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct ReplayRecord {
    /// The request that was refused.
    pub request_id: Text,
    /// The request that used the token first.
    pub first_request_id: Text,
    /// The job in the token.
    #[serde(flatten)]
    pub job: Option<JobRecord>,
    pub credential: Text,
}

/// A lease was revoked, or an attempt failed.
#[derive(Clone, Debug, Serialize)]
pub struct RevocationRecord {
    /// The request, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Text>,
    pub target: Text,
    pub lease: Text,
    /// The policy that granted it.
    pub policy: Text,
    /// The issuer of the job that had it.
    pub issuer: Text,
    /// The `sub` of that job.
    pub subject: Text,
    pub result: RevocationResult,
}

/// The result of a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationResult {
    /// The login is gone.
    Gone,
    /// The login is closed and its code disarmed; objects it left keep its name for now.
    Closed,
    /// The login is not closed or its code not disarmed yet; the sweep tries again.
    Pending,
    Failed,
}

/// Expired leases were removed.
#[derive(Clone, Debug, Serialize)]
pub struct SweepRecord {
    pub target: Text,
    /// The removed logins. Beyond [`LONGEST_LIST`] only their number is kept.
    pub removed: Bounded<Text>,
    /// The logins that could not be removed.
    pub left: Bounded<Text>,
}

/// The file of a sink lost lines.
#[derive(Clone, Debug, Serialize)]
pub struct LossRecord {
    pub sink: Text,
    /// The hash of its last known line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Text>,
}

/// An operator is about to change a target directly.
#[derive(Clone, Debug, Serialize)]
pub struct OperationRecord {
    /// The ID that the outcome repeats.
    pub intent: String,
    /// Who runs the command, and where.
    pub operator: Operator,
    /// The command, e.g. `leases revoke`.
    pub command: &'static str,
    /// The target in the settings.
    pub target: Text,
    /// The login, if the command names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Text>,
}

/// The user who runs a hallpass command, and where.
#[derive(Clone, Debug, Serialize)]
pub struct Operator {
    /// The user of the process.
    pub user: Text,
    pub uid: u32,
    /// The user who logged in to the machine, if the system records it. `su` and `sudo` do not
    /// change it.
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

/// The result of one operation.
#[derive(Clone, Debug, Serialize)]
pub struct OperationOutcomeRecord {
    pub intent: String,
    /// `gone` or `pending` for a revocation, `swept` for a sweep, or `failed`.
    pub outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Text>,
    /// The names of logins that are gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<Bounded<Text>>,
    /// The logins that could not be removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Bounded<Text>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AlertRecord {
    /// Our code, e.g. `clock.jump`.
    pub reason: Reason,
    /// What happened, in a sentence.
    pub message: Text,
    /// The request, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Text>,
}

/// A list of bounded length: the first [`LONGEST_LIST`] entries, and the total number.
#[derive(Clone, Debug, Serialize)]
pub struct Bounded<T> {
    first: Vec<T>,
    total: usize,
}

impl<T> Bounded<T> {
    /// Entries of a list that has more than these.
    pub(super) fn of_longer(entries: impl IntoIterator<Item = T>, total: usize) -> Self {
        let first: Vec<_> = entries.into_iter().take(LONGEST_LIST).collect();
        Self { first, total }
    }
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
/// Bytes of all entries of a list from a token.
pub(super) const LONGEST_LISTED: usize = 1_024;

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

    /// T-405
    #[test]
    fn a_list_of_a_token_keeps_its_entries_apart_and_is_bounded() {
        let recorded = |entries: &[String]| {
            let value = FactText::of(&FactValue::List(entries.to_vec()));
            serde_json::to_string(&value).unwrap()
        };
        let names = ["cn=sre,dc=acme".to_owned(), "x\u{1b}".to_owned()];
        assert_eq!(recorded(&names), r#"["cn=sre,dc=acme","x\\u{1b}"]"#);
        for many in [vec!["x".to_owned(); 10_000], vec!["x".repeat(400); 10]] {
            let recorded = recorded(&many);
            assert!(recorded.len() < 2_000, "{recorded}");
            assert!(recorded.ends_with(r#","[cut]"]"#), "{recorded}");
        }
    }

    #[test]
    fn an_outcome_is_flat() {
        let event = Event::Outcome(OutcomeRecord {
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
