//! Lease names that carry their own expiry, and sealed lease handles.
//!
//! A lease is stored only at its target: the login's name holds its expiry. The handle that the job
//! receives is the lease itself, sealed with a key derived from the root key, so any replica can
//! open it.

use std::fmt::{self, Write as _};
use std::str;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use data_encoding::{BASE64URL_NOPAD, Encoding, Specification};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::rootkey::{KeyId, Label, RingKey, RootKeys};
use crate::secret::Secret;

/// The name of a login: `<prefix><expiry>_<random>`, e.g. `hp_1lg7ei3_0123456789abc`.
///
/// The expiry is 7 base32hex digits of Unix seconds, so names sort by time and show what has
/// expired. The random part is 13 digits (65 bits), derived from the token and the credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseName {
    prefix: String,
    expires_at: Timestamp,
    rand13: String,
}

impl LeaseName {
    /// A name from its parts.
    ///
    /// # Errors
    /// The prefix is not 1 to 5 characters of `a-z`, `0-9` and `_` that begin with a letter and end
    /// with `_`; the expiry has more than 7 digits; the random part is not 13 digits.
    pub fn new(prefix: &str, expires_at: Timestamp, rand13: &str) -> Result<Self, LeaseError> {
        if !is_prefix(prefix) {
            return Err(LeaseError::Name(
                "the prefix is not 2 to 5 characters a-z, 0-9 or `_`, a letter first and `_` last",
            ));
        }
        if !(0..LATEST).contains(&expires_at.unix()) {
            return Err(LeaseError::Name("the expiry has more than 7 digits"));
        }
        if rand13.len() != RANDOM_DIGITS || !is_base32hex(rand13) {
            return Err(LeaseError::Name(
                "the random part is not 13 digits 0-9 or a-v",
            ));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            expires_at,
            rand13: rand13.to_owned(),
        })
    }

    /// Reads a name back.
    ///
    /// # Errors
    /// The text is not a lease name.
    pub fn parse(text: &str) -> Result<Self, LeaseError> {
        const NO_NAME: LeaseError = LeaseError::Name("it is not `<prefix><expiry>_<random>`");
        if text.len() > LONGEST_NAME || !text.is_ascii() {
            return Err(NO_NAME);
        }
        let (front, rand13) = text.rsplit_once('_').ok_or(NO_NAME)?;
        let at = front.len().checked_sub(EXPIRY_DIGITS).ok_or(NO_NAME)?;
        let (prefix, expiry) = front.split_at_checked(at).ok_or(NO_NAME)?;
        let seconds = parse_expiry(expiry).ok_or(NO_NAME)?;
        Self::new(prefix, Timestamp::from_unix(seconds), rand13)
    }

    #[must_use]
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The random part.
    #[must_use]
    pub fn rand13(&self) -> &str {
        &self.rand13
    }
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)?;
        let seconds = self.expires_at.unix();
        for place in (0..EXPIRY_DIGITS).rev() {
            let digit = seconds >> place.saturating_mul(5) & 31;
            let symbol = usize::try_from(digit).ok().and_then(|at| DIGITS.get(at));
            f.write_char(symbol.map_or('0', |symbol| char::from(*symbol)))?;
        }
        write!(f, "_{}", self.rand13)
    }
}

impl str::FromStr for LeaseName {
    type Err = LeaseError;

    fn from_str(text: &str) -> Result<Self, LeaseError> {
        Self::parse(text)
    }
}

/// The random part of a name from a derived MAC: its first 65 bits.
#[must_use]
pub fn rand13(mac: &[u8; 32]) -> String {
    let mut digits = base32hex().encode(mac);
    digits.truncate(RANDOM_DIGITS);
    digits
}

/// What a handle holds. The names of its JSON are short.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseContents {
    /// The target in the settings.
    pub target: String,
    pub name: String,
    #[serde(rename = "exp", with = "seconds")]
    pub expires_at: Timestamp,
    /// The policy that granted it.
    pub policy: String,
    /// The issuer of the job's token.
    #[serde(rename = "iss")]
    pub issuer: String,
    /// The token's `sub`.
    #[serde(rename = "sub")]
    pub subject: String,
    /// The job's repository, if known.
    pub repository: Option<String>,
}

/// The handle of a lease: `hpl_` and base64url of version, key id, nonce and AES-256-GCM. It is a
/// secret, because anyone who has it can revoke the lease.
///
/// # Errors
/// The contents are too long, or the random source failed.
pub fn seal(contents: &LeaseContents, keys: &RootKeys) -> Result<Secret<String>, LeaseError> {
    let member = keys.active();
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| LeaseError::Crypto)?;
    let mut sealed = serde_json::to_vec(contents).map_err(|_| LeaseError::Crypto)?;
    let front = front(member);
    aead_key(member)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(front),
            &mut sealed,
        )
        .map_err(|_| LeaseError::Crypto)?;
    let bytes = [front.as_slice(), &nonce, &sealed].concat();
    let handle = format!("{HANDLE_PREFIX}{}", BASE64URL_NOPAD.encode(&bytes));
    if handle.len() > LONGEST_HANDLE {
        return Err(LeaseError::TooLong);
    }
    Ok(Secret::new(handle))
}

/// Opens a handle, even if its lease has expired: it can still be revoked.
///
/// # Errors
/// The text is not a handle, no key of this broker sealed it, or it was changed.
pub fn open(handle: &str, keys: &RootKeys) -> Result<LeaseContents, LeaseError> {
    if handle.len() > LONGEST_HANDLE {
        return Err(LeaseError::TooLong);
    }
    let encoded = handle
        .strip_prefix(HANDLE_PREFIX)
        .ok_or(LeaseError::NotAHandle)?;
    let bytes = BASE64URL_NOPAD
        .decode(encoded.as_bytes())
        .map_err(|_| LeaseError::NotAHandle)?;
    let (version, rest) = bytes.split_first().ok_or(LeaseError::NotAHandle)?;
    if *version != VERSION {
        return Err(LeaseError::NotAHandle);
    }
    let (id, rest) = rest.split_first_chunk().ok_or(LeaseError::NotAHandle)?;
    let (nonce, sealed) = rest.split_first_chunk().ok_or(LeaseError::NotAHandle)?;
    let member = keys
        .member(KeyId::from_bytes(*id))
        .ok_or(LeaseError::UnknownKey)?;
    let mut sealed = sealed.to_vec();
    let opened = aead_key(member)?
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(front(member)),
            &mut sealed,
        )
        .map_err(|_| LeaseError::Changed)?;
    serde_json::from_slice(opened).map_err(|_| LeaseError::Changed)
}

/// Why a lease name or handle is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// An invalid name.
    #[error("not a lease name: {0}")]
    Name(&'static str),
    /// Not a handle, e.g. a token.
    #[error("not a lease handle; a handle begins with `hpl_` and is returned with the credential")]
    NotAHandle,
    /// Sealed by an unknown key.
    #[error(
        "no key of this broker opens the lease handle; another broker issued it, or the root \
         key or its generation was replaced"
    )]
    UnknownKey,
    /// Sealed by a key of this broker, but changed.
    #[error("the lease handle was cut or changed")]
    Changed,
    /// Longer than any handle.
    #[error("the lease handle has more than 4096 characters")]
    TooLong,
    /// The cryptographic library failed, which it never should.
    #[error("the lease handle could not be sealed or opened")]
    Crypto,
}

/// A time as Unix seconds.
mod seconds {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::clock::Timestamp;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes fields by reference"
    )]
    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(time.unix())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp::from_unix)
    }
}

/// The authenticated data in front of the sealed contents.
fn front(member: &RingKey) -> [u8; 1 + KeyId::LENGTH] {
    let mut front = [VERSION; 1 + KeyId::LENGTH];
    for (to, from) in front.iter_mut().skip(1).zip(member.key_id().as_bytes()) {
        *to = *from;
    }
    front
}

/// With random nonces one key seals up to 2^32 handles safely (NIST SP 800-38D section 8.3).
fn aead_key(member: &RingKey) -> Result<LessSafeKey, LeaseError> {
    let key = member.derive(Label::LeaseHandle, &[]);
    let key = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| LeaseError::Crypto)?;
    Ok(LessSafeKey::new(key))
}

fn is_prefix(text: &str) -> bool {
    (2..=LONGEST_PREFIX).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.ends_with('_')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_base32hex(text: &str) -> bool {
    text.bytes().all(|byte| DIGITS.contains(&byte))
}

fn parse_expiry(text: &str) -> Option<i64> {
    text.bytes().try_fold(0_i64, |seconds, byte| {
        let digit = DIGITS.iter().position(|symbol| *symbol == byte)?;
        seconds
            .checked_mul(32)?
            .checked_add(i64::try_from(digit).ok()?)
    })
}

fn base32hex() -> Encoding {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("0123456789abcdefghijklmnopqrstuv");
    // The symbols are 32 distinct ASCII characters, which is all that can be wrong with them.
    specification
        .encoding()
        .unwrap_or(data_encoding::BASE32HEX_NOPAD)
}

/// base32hex (RFC 4648 section 7) in lower case: its digits sort like their values.
const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const EXPIRY_DIGITS: usize = 7;
const RANDOM_DIGITS: usize = 13;
const LONGEST_PREFIX: usize = 5;
/// The longest identifier of PostgreSQL; ours are far shorter.
const LONGEST_NAME: usize = 63;
/// The first second that needs an eighth digit: the year 3058.
const LATEST: i64 = 1 << 35;
const HANDLE_PREFIX: &str = "hpl_";
const LONGEST_HANDLE: usize = 4_096;
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rootkey::RootKey;

    fn root() -> RootKey {
        RootKey::generate().unwrap()
    }

    fn keys(keys: Vec<RootKey>) -> RootKeys {
        RootKeys::new("https://hallpass.example", 1, keys).unwrap()
    }

    fn contents() -> LeaseContents {
        LeaseContents {
            target: "shop-db".to_owned(),
            name: "hp_1lg7ei3_0123456789abc".to_owned(),
            expires_at: Timestamp::from_unix(1),
            policy: "shop-migrate".to_owned(),
            issuer: "https://token.actions.githubusercontent.com".to_owned(),
            subject: "repo:acme/shop:ref:refs/heads/main".to_owned(),
            repository: Some("acme/shop".to_owned()),
        }
    }

    #[test]
    fn a_name_says_when_it_ends() {
        let name = LeaseName::new("hp_", Timestamp::from_unix(1_795_406_403), "0123456789abc");
        let name = name.unwrap().to_string();
        assert_eq!(name, "hp_1lg7ei3_0123456789abc");
        let parsed: LeaseName = name.parse().unwrap();
        assert_eq!(parsed.expires_at().unix(), 1_795_406_403);
        assert_eq!((&*parsed.prefix, parsed.rand13()), ("hp_", "0123456789abc"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            "_",
            "hp_",
            "shop_owner",
            "hp_1lg7ei3_0123456789abw",
            "hp_1lg7ei3_0123456789ab",
            "hp_1lg7ei3_0123456789abcd",
            "hp_1lg7eiw_0123456789abc",
            "hp_1LG7EI3_0123456789abc",
            "1lg7ei3_0123456789abc",
            "p1lg7ei3_0123456789abc",
            "toolong_1lg7ei3_0123456789abc",
            "Hp_1lg7ei3_0123456789abc",
            "9p_1lg7ei3_0123456789abc",
            "hp_1lg7ei3_0123456789ab\u{e9}",
            "h\u{e9}_1lg7ei3_0123456789abc",
            "\u{e9}_0123456789abc",
        ] {
            assert!(LeaseName::parse(text).is_err(), "{text}");
        }
    }

    /// T-74
    #[test]
    fn an_expiry_no_name_can_hold_is_refused() {
        for seconds in [i64::MIN, -1, LATEST, i64::MAX] {
            let name = LeaseName::new("hp_", Timestamp::from_unix(seconds), "0123456789abc");
            assert!(name.is_err(), "{seconds}");
        }
    }

    #[test]
    fn the_random_part_is_the_front_of_the_mac() {
        let mut mac = [0; 32];
        mac[0] = 0b1111_1000;
        mac[8] = 0b1000_0000;
        assert_eq!(rand13(&mac), "v000000000001");
    }

    proptest! {
        /// T-85
        #[test]
        fn names_read_back_sort_by_time_and_keep_to_their_alphabet(
            early in 0..LATEST, late in 0..LATEST, mac in any::<[u8; 32]>(),
        ) {
            let name = |at| LeaseName::new("hp_", Timestamp::from_unix(at), &rand13(&mac)).unwrap();
            let text = name(early).to_string();
            prop_assert_eq!(LeaseName::parse(&text).unwrap(), name(early));
            prop_assert!(text.len() <= LONGEST_NAME);
            prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            prop_assert_eq!(early.cmp(&late), text.cmp(&name(late).to_string()));
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(text in ".{0,80}", bytes in any::<Vec<u8>>()) {
            let keys = keys(vec![root()]);
            let _ = LeaseName::parse(&text);
            prop_assert!(open(&text, &keys).is_err());
            let handle = format!("hpl_{}", BASE64URL_NOPAD.encode(&bytes));
            prop_assert!(open(&handle, &keys).is_err());
        }
    }

    /// T-113
    #[test]
    fn an_expired_handle_still_opens_on_any_replica() {
        let root = root();
        let handle = seal(&contents(), &keys(vec![root.clone()])).unwrap();
        assert!(handle.expose().starts_with("hpl_"));
        let opened = open(handle.expose(), &keys(vec![root])).unwrap();
        assert_eq!(opened, contents());
    }

    /// T-113
    #[test]
    fn a_handle_opens_while_its_root_is_in_the_ring() {
        let (old, new) = (root(), root());
        let handle = seal(&contents(), &keys(vec![old.clone()])).unwrap();
        let both = keys(vec![new.clone(), old]);
        assert_eq!(open(handle.expose(), &both), Ok(contents()));
        let retired = open(handle.expose(), &keys(vec![new])).unwrap_err();
        insta::assert_snapshot!(retired, @"no key of this broker opens the lease handle; \
            another broker issued it, or the root key or its generation was replaced");
    }

    /// T-113
    #[test]
    fn what_we_did_not_seal_does_not_open() {
        let keys = keys(vec![root()]);
        let handle = seal(&contents(), &keys).unwrap();
        let bytes = BASE64URL_NOPAD
            .decode(&handle.expose().as_bytes()[4..])
            .unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let changed = format!("hpl_{}", BASE64URL_NOPAD.encode(&changed));
            assert!(open(&changed, &keys).is_err(), "byte {at}");
            let cut = format!("hpl_{}", BASE64URL_NOPAD.encode(&bytes[..at]));
            assert!(open(&cut, &keys).is_err(), "cut at {at}");
        }
        assert_eq!(
            open("eyJhbGciOiJFUzI1NiJ9.e30.c2ln", &keys),
            Err(LeaseError::NotAHandle)
        );
        let long = format!("hpl_{}", "A".repeat(5_000));
        assert_eq!(open(&long, &keys), Err(LeaseError::TooLong));
    }

    #[test]
    fn two_seals_of_one_lease_differ_and_show_nothing_of_it() {
        let keys = keys(vec![root()]);
        let (one, two) = (
            seal(&contents(), &keys).unwrap(),
            seal(&contents(), &keys).unwrap(),
        );
        assert_ne!(one.expose(), two.expose());
        let bytes = BASE64URL_NOPAD
            .decode(&one.expose().as_bytes()[4..])
            .unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"shop-db"));
    }

    #[test]
    fn contents_too_long_for_a_handle_are_refused() {
        let mut long = contents();
        long.subject = "x".repeat(4_000);
        assert_eq!(
            seal(&long, &keys(vec![root()])).unwrap_err(),
            LeaseError::TooLong
        );
    }
}
