//! What a recorded permit means for a database: name, password and record of one login.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::Wanted;
use crate::audit::Recorded;
use crate::clock::Timestamp;
use crate::credential::MintError;
use crate::credential::target::LeaseRecord;
use crate::lease::{self, LeaseName};
use crate::provider::Fact;
use crate::reason::Reason;
use crate::replay::IdempotencyKey;
use crate::rootkey::{Label, RingKey, RootKeys};
use crate::secret::Secret;
use crate::token::TokenId;

/// One login to be made. The serving path makes it from a [`Recorded`] only; the fields are open for
/// the suite that attacks databases without a CI.
#[derive(Debug)]
pub struct Order {
    /// The target in the settings.
    pub target: String,
    /// What the definition asks of it.
    pub wanted: Wanted,
    pub life: u32,
    /// The random part of its name: the same for the same token and credential, on every replica.
    pub random: String,
    pub password: Secret<String>,
    /// What is kept with it in the database. Public: no secret, and nothing a job can change.
    pub record: String,
    /// The keyed hash of the idempotency key, as it stands in the record.
    pub key_hash: Option<String>,
    /// When it ends, by our clock.
    pub expires_at: Timestamp,
    /// When the token can no longer be used.
    pub used_until: Timestamp,
    /// Whose place it takes, as 32 hexadecimal digits.
    pub holder_hash: String,
    /// Make it if it is not there: off for a repeat, which brings nothing back (T-110).
    pub may_create: bool,
    /// For the handle: who gets it and why.
    pub holder: Holder,
}

/// Whom a lease is for.
#[derive(Clone, Debug)]
pub struct Holder {
    pub policy: String,
    /// The `iss` claim.
    pub issuer: String,
    /// The `sub` claim.
    pub subject: String,
    pub repository: Option<String>,
}

/// A password of 192 bits, new each time.
///
/// # Errors
/// The random source gives nothing.
pub fn random_password() -> Result<Secret<String>, MintError> {
    let mut bytes = Zeroizing::new([0; PASSWORD_BYTES]);
    rand::fill(&mut *bytes).map_err(|_| no_randomness())?;
    Ok(password_of(&*bytes))
}

/// The same for the same key, target and login: what makes a repeat give it again.
fn derived_password(
    keys: &RootKeys,
    target: &str,
    random: &str,
    key: &IdempotencyKey,
) -> Secret<String> {
    let context = [
        target.as_bytes(),
        random.as_bytes(),
        key.expose().as_bytes(),
    ];
    let derived = keys.derive(Label::Password, &context);
    let (bytes, _) = derived.expose().split_at(PASSWORD_BYTES);
    password_of(bytes)
}

fn password_of(bytes: &[u8]) -> Secret<String> {
    Secret::new(BASE64URL_NOPAD.encode(bytes))
}

impl Order {
    /// An order by its parts, with name, password and record made as for a real one. For the suite that
    /// attacks databases without a CI: the serving path has no such parts.
    ///
    /// # Errors
    /// The random source gives nothing.
    pub fn new(keys: &RootKeys, parts: Parts<'_>) -> Result<Self, MintError> {
        let Parts {
            target,
            credential,
            database,
            group,
            act_as_group,
            life,
            token,
            key,
            may_create,
            minted_at,
            expires_at,
            used_until,
            holder,
            run,
        } = parts;
        let random = random_part(keys, target, credential, token);
        let key_hash = key.map(|key| key_hash(keys, key));
        let password = match key {
            Some(key) => derived_password(keys, target, &random, key),
            None => random_password()?,
        };
        let about = json!({
            "v": 1,
            "pol": short(&holder.policy),
            "cred": short(credential),
            "db": database,
            "grp": group,
            "own": act_as_group,
            "iss": short(&holder.issuer),
            "repo": holder.repository.as_deref().map(short),
            "run": run.map(short),
            "iat": minted_at.unix(),
            "exp": expires_at.unix(),
            "idk": key_hash,
            "nonce": nonce()?,
        });
        Ok(Self {
            target: target.to_owned(),
            wanted: Wanted {
                database: database.map(str::to_owned),
                group: group.to_owned(),
                act_as_group,
            },
            life,
            record: sealed_record(keys, target, &random, about),
            random,
            password,
            key_hash,
            expires_at,
            used_until,
            holder_hash: holder_hash(&holder),
            may_create,
            holder,
        })
    }

    /// The order that a recorded permit is.
    pub(super) fn of(
        recorded: &Recorded,
        target: &str,
        wanted: &Wanted,
        keys: &RootKeys,
    ) -> Result<Self, MintError> {
        let reserved = recorded.reserved();
        let permit = reserved.permit();
        let credential = permit.credential();
        let job = permit.job();
        let parts = Parts {
            target,
            credential: &credential.name,
            database: wanted.database.as_deref(),
            group: &wanted.group,
            act_as_group: wanted.act_as_group,
            life: u32::try_from(reserved.life().as_secs()).unwrap_or(u32::MAX),
            token: &reserved.login_id(),
            key: reserved.key(),
            may_create: reserved.may_create(),
            minted_at: reserved.minted_at(),
            expires_at: reserved.expires_at(),
            used_until: job.usable_until(),
            run: job.facts().text(Fact::RunId),
            holder: Holder {
                policy: permit.policy().to_owned(),
                issuer: job.token().issuer.clone(),
                subject: job.subject().to_owned(),
                repository: job.facts().text(Fact::Repository).map(str::to_owned),
            },
        };
        Self::new(keys, parts)
    }
}

/// What an order is made of.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The target in the settings.
    pub target: &'a str,
    pub credential: &'a str,
    /// The database it is sent to; the target's only one without.
    pub database: Option<&'a str>,
    pub group: &'a str,
    /// What the login makes belongs to the group.
    pub act_as_group: bool,
    pub life: u32,
    /// The token that asked for it.
    pub token: &'a TokenId,
    /// The key it was asked for with.
    pub key: Option<&'a IdempotencyKey>,
    /// Make it if it is not there: off for a repeat, which brings nothing back (T-110).
    pub may_create: bool,
    /// When it was first asked for, by our clock.
    pub minted_at: Timestamp,
    /// When it ends, by our clock.
    pub expires_at: Timestamp,
    /// When the token can no longer be used.
    pub used_until: Timestamp,
    pub run: Option<&'a str>,
    pub holder: Holder,
}

/// Outside text for the record: ASCII, since the server may keep another encoding, and short enough for
/// all of them to fit.
fn short(text: &str) -> String {
    crate::text::escape(text)
        .chars()
        .take(FIELD_CHARACTERS)
        .collect()
}

/// 65 bits from target, credential, issuer and token, the same on every broker (T-106).
fn random_part(keys: &RootKeys, target: &str, credential: &str, token: &TokenId) -> String {
    let context = [target, credential, &token.issuer, &token.id].map(str::as_bytes);
    lease::rand13(keys.derive(Label::LeaseName, &context).expose())
}

/// Leases are counted by repository (T-130), and by subject where a CI has none. The database
/// needs to tell holders apart, not to read them.
fn holder_hash(holder: &Holder) -> String {
    let whose = holder.repository.as_deref().unwrap_or(&holder.subject);
    let text = format!("{}\n{whose}", holder.issuer);
    let hash = digest(&SHA256, text.as_bytes());
    let (front, _) = hash.as_ref().split_at(MAC_BYTES);
    HEXLOWER.encode(front)
}

/// Tells two keys apart without showing either.
fn key_hash(keys: &RootKeys, key: &IdempotencyKey) -> String {
    let hash = keys.derive(Label::IdempotencyHash, &[key.expose().as_bytes()]);
    let (front, _) = hash.expose().split_at(MAC_BYTES);
    HEXLOWER.encode(front)
}

/// The record with its MAC, so that a login that somebody else made with the broker's stolen password
/// shows (T-104).
fn sealed_record(keys: &RootKeys, target: &str, random: &str, about: Value) -> String {
    let Value::Object(mut members) = about else {
        return String::new();
    };
    members.retain(|_, value| !value.is_null());
    let mac = record_mac(keys.active(), target, random, &members);
    members.insert("mac".to_owned(), mac.into());
    Value::Object(members).to_string()
}

impl LeaseRecord {
    /// Reads the record of a login, if one of our keys wrote it for this very login. Records are public:
    /// one copied to another login, or to one that lives longer or is in another group, does not count.
    /// `groups` are none for a login that is ending.
    #[must_use]
    pub fn read(
        keys: &RootKeys,
        target: &str,
        login: &str,
        groups: &[String],
        record: &str,
    ) -> Option<Self> {
        let name = LeaseName::parse(login).ok()?;
        let Ok(Value::Object(mut members)) = serde_json::from_str(record) else {
            return None;
        };
        let Some(Value::String(found)) = members.remove("mac") else {
            return None;
        };
        let is_ours = keys.members().any(|member| {
            let expected = record_mac(member, target, name.rand13(), &members);
            aws_lc_rs::constant_time::verify_slices_are_equal(found.as_bytes(), expected.as_bytes())
                .is_ok()
        });
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        let latest = members
            .get("exp")
            .and_then(Value::as_i64)?
            .saturating_add(CLOCKS_DIFFER);
        // A login that is ending has no groups any more.
        let is_its_group = groups.is_empty() || groups == [text("grp")?];
        let fits = name.expires_at().unix() <= latest && is_its_group;
        (is_ours && fits).then_some(Self {
            policy: text("pol")?,
            repository: text("repo"),
            run: text("run"),
            database: text("db"),
            act_as_group: members.get("own").and_then(Value::as_bool)?,
            key_hash: text("idk"),
        })
    }
}

fn record_mac(
    member: &RingKey,
    target: &str,
    random: &str,
    members: &Map<String, Value>,
) -> String {
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
    let message = "the random source failed".to_owned();
    MintError::new(Reason::MintRandom, message)
}

/// Seconds that the server's clock, which the name is made of, may be ahead of ours.
/// Seconds by which the clock of a server may differ from ours.
pub(super) const CLOCKS_DIFFER: i64 = 60;
/// Of the record's five outside texts; a record has at most 2048 bytes.
const FIELD_CHARACTERS: usize = 200;
const PASSWORD_BYTES: usize = 24;
const MAC_BYTES: usize = 16;
