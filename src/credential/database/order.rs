//! What a recorded permit means for a database: name, password and record of one login.

use aws_lc_rs::rand;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use postgres_protocol::password::scram_sha_256;
use serde_json::{Map, Value, json};

use crate::audit::Recorded;
use crate::credential::MintError;
use crate::lease;
use crate::policy::Kind;
use crate::provider::Fact;
use crate::replay::IdempotencyKey;
use crate::rootkey::{Label, Member, RootKeys};
use crate::secret::Secret;
use crate::token::TokenId;

/// One login to be made. The serving path makes it from a [`Recorded`] only; the fields are open for
/// the suite that attacks databases without a CI.
#[derive(Debug)]
pub struct Order {
    /// The target in the settings.
    pub target: String,
    /// The NOLOGIN role.
    pub group: String,
    /// What the login makes belongs to the group.
    pub act_as_group: bool,
    /// Seconds it may live.
    pub life: u32,
    /// The random part of its name: the same for the same token and credential, on every replica.
    pub random: String,
    /// Its password.
    pub password: Password,
    /// What is kept with it in the database. Public: no secret, and nothing a job can change.
    pub record: String,
    /// The keyed hash of the idempotency key, as it stands in the record.
    pub key_hash: Option<String>,
    /// Make it if it is not there: off for a repeat, which brings nothing back (T-110).
    pub may_create: bool,
    /// For the handle: who gets it and why.
    pub holder: Holder,
}

/// Whom a lease is for.
#[derive(Clone, Debug)]
pub struct Holder {
    /// The policy.
    pub policy: String,
    /// The `iss` claim.
    pub issuer: String,
    /// The `sub` claim.
    pub subject: String,
    /// The repository.
    pub repository: Option<String>,
}

/// A password and what a server checks it with.
#[derive(Debug)]
pub struct Password {
    /// What the job gets.
    pub text: Secret<String>,
    /// What the server gets, so that no log of its own has the password (databases.md 1.7).
    pub verifier: String,
}

impl Password {
    /// 192 bits, new each time.
    ///
    /// # Errors
    /// The random source gives nothing.
    pub fn random() -> Result<Self, MintError> {
        let mut bytes = [0; PASSWORD_BYTES];
        rand::fill(&mut bytes).map_err(|_| no_randomness())?;
        Ok(Self::of(&bytes))
    }

    /// The same for the same key, target and login: what makes a repeat give it again.
    fn derived(keys: &RootKeys, target: &str, random: &str, key: &IdempotencyKey) -> Self {
        let context = [target.as_bytes(), random.as_bytes(), key.expose().as_bytes()];
        let derived = keys.derive(Label::Password, &context);
        let (bytes, _) = derived.expose().split_at(PASSWORD_BYTES);
        Self::of(bytes)
    }

    fn of(bytes: &[u8]) -> Self {
        let text = Secret::new(BASE64URL_NOPAD.encode(bytes));
        let verifier = scram_sha_256(text.expose().as_bytes());
        Self { text, verifier }
    }
}

impl Order {
    /// The order that a recorded permit is.
    pub(super) fn of(recorded: &Recorded, keys: &RootKeys) -> Result<Self, MintError> {
        let reserved = recorded.reserved();
        let permit = reserved.permit();
        let credential = permit.credential();
        let Kind::Postgres { target, group, act_as_group } = &credential.kind else {
            return Err(MintError {
                message: format!("credential `{}` is no database login", credential.name),
                reason: "mint.kind",
                nothing_made: true,
                ours: true,
            });
        };
        let job = permit.job();
        let random = random_part(keys, target, &credential.name, job.token());
        let key_hash = reserved.key().map(|key| key_hash(keys, key));
        let password = match reserved.key() {
            Some(key) => Password::derived(keys, target, &random, key),
            None => Password::random()?,
        };
        let about = json!({
            "v": 1,
            "pol": permit.policy(),
            "cred": credential.name,
            "iss": job.facts().issuer(),
            "repo": job.facts().text(Fact::Repository),
            "run": job.facts().text(Fact::RunId),
            "iat": reserved.minted_at().unix(),
            "exp": reserved.expires_at().unix(),
            "idk": key_hash,
            "nonce": nonce()?,
        });
        Ok(Self {
            target: target.clone(),
            group: group.clone(),
            act_as_group: *act_as_group,
            life: u32::try_from(permit.ttl().as_secs()).unwrap_or(u32::MAX),
            record: sealed_record(keys, target, &random, about),
            random,
            password,
            key_hash,
            may_create: !reserved.is_repeat(),
            holder: Holder {
                policy: permit.policy().to_owned(),
                issuer: job.token().issuer.clone(),
                subject: job.subject().to_owned(),
                repository: job.facts().text(Fact::Repository).map(str::to_owned),
            },
        })
    }
}

/// 65 bits from target, credential, issuer and token (design.md 7).
fn random_part(keys: &RootKeys, target: &str, credential: &str, token: &TokenId) -> String {
    let context = [target, credential, &token.issuer, &token.id].map(str::as_bytes);
    lease::rand13(keys.derive(Label::LeaseName, &context).expose())
}

/// Tells two keys apart without showing either.
fn key_hash(keys: &RootKeys, key: &IdempotencyKey) -> String {
    let hash = keys.derive(Label::IdempotencyHash, &[key.expose().as_bytes()]);
    let (front, _) = hash.expose().split_at(MAC_BYTES);
    HEXLOWER.encode(front)
}

/// The record with its MAC, so that a login that somebody else made with the broker's stolen password
/// shows (databases.md P-4).
fn sealed_record(keys: &RootKeys, target: &str, random: &str, about: Value) -> String {
    let Value::Object(mut members) = about else { return String::new() };
    members.retain(|_, value| !value.is_null());
    let mac = record_mac(keys.active(), target, random, &members);
    members.insert("mac".to_owned(), mac.into());
    Value::Object(members).to_string()
}

/// Whether a record was written by a broker with one of our keys, for this very login.
pub(super) fn is_our_record(keys: &RootKeys, target: &str, random: &str, record: &str) -> bool {
    let Ok(Value::Object(mut members)) = serde_json::from_str(record) else { return false };
    let Some(Value::String(found)) = members.remove("mac") else { return false };
    keys.members().any(|member| {
        let expected = record_mac(member, target, random, &members);
        aws_lc_rs::constant_time::verify_slices_are_equal(found.as_bytes(), expected.as_bytes())
            .is_ok()
    })
}

fn record_mac(member: &Member, target: &str, random: &str, members: &Map<String, Value>) -> String {
    // Members of a JSON map come sorted, so that the text is the same after a round trip.
    let sorted: std::collections::BTreeMap<_, _> = members.iter().collect();
    let text = serde_json::to_string(&sorted).unwrap_or_default();
    let context = [target.as_bytes(), random.as_bytes(), text.as_bytes()];
    let mac = member.derive(Label::RecordMac, &context);
    let (front, _) = mac.expose().split_at(MAC_BYTES);
    HEXLOWER.encode(front)
}

fn nonce() -> Result<String, MintError> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| no_randomness())?;
    Ok(HEXLOWER.encode(&bytes))
}

fn no_randomness() -> MintError {
    MintError {
        message: "the random source gives nothing".to_owned(),
        reason: "mint.random",
        nothing_made: true,
        ours: true,
    }
}

const PASSWORD_BYTES: usize = 24;
const MAC_BYTES: usize = 16;
