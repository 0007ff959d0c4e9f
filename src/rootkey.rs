//! The root key ring, and the keys derived from it, one per label.
//!
//! The root key is the only secret that hallpass stores. Every other key is derived from it by
//! HKDF-SHA-256 (RFC 5869), so replicas have the same keys without synchronising. A new
//! `generation` in the settings withdraws them all.
//!
//! During a key rotation the ring holds both roots. The first is active and makes what is new. The
//! others only open and verify what they made, and publish their keys.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::{hmac, rand};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::length_prefix;
use crate::secret::Secret;
use crate::secret::file::{self, PrivateFileError};

/// One root key: 32 random bytes, as `hallpass keys generate` prints them.
#[derive(Clone, Debug)]
pub struct RootKey(Secret<[u8; KEY_BYTES]>);

impl RootKey {
    /// Generates a key from the system random source.
    ///
    /// # Errors
    /// The system random source failed.
    pub fn generate() -> Result<Self, RootKeyError> {
        let mut bytes = [0; KEY_BYTES];
        rand::fill(&mut bytes).map_err(|_| RootKeyError::Randomness)?;
        Ok(Self(Secret::new(bytes)))
    }

    /// Parses `hallpass-root-1:` and 43 base64url characters. Ignores surrounding white space.
    ///
    /// # Errors
    /// What was found. The message never quotes the text.
    pub fn parse(text: &str) -> Result<Self, RootKeyError> {
        let text = text.trim();
        let Some(encoded) = text.strip_prefix(TEXT_PREFIX) else {
            return Err(RootKeyError::Prefix {
                characters: text.chars().count(),
            });
        };
        let decoded = BASE64URL_NOPAD
            .decode(encoded.as_bytes())
            .map(Secret::new)
            .map_err(|_| RootKeyError::Encoding)?;
        let found = decoded.expose().len();
        let bytes = <[u8; KEY_BYTES]>::try_from(decoded.expose().as_slice())
            .map_err(|_| RootKeyError::Length { found })?;
        if bytes.iter().all(|byte| Some(byte) == bytes.first()) {
            return Err(RootKeyError::NotRandom);
        }
        Ok(Self(Secret::new(bytes)))
    }

    /// Reads a file with one key per line, the active key first. Ignores empty lines and lines that
    /// begin with `#`.
    ///
    /// # Errors
    /// The file is not private or cannot be read, or a line is no key: see [`parse`](Self::parse).
    pub fn read_ring(path: &Path) -> Result<Vec<Self>, RootKeyError> {
        let text = read_private(path)?;
        let keys = text
            .expose()
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(Self::parse)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| RootKeyError::in_file(path, error))?;
        if keys.is_empty() {
            let error = RootKeyError::Ring("no key");
            return Err(RootKeyError::in_file(path, error));
        }
        Ok(keys)
    }

    /// The text that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_text(&self) -> Secret<String> {
        let encoded = Secret::new(BASE64URL_NOPAD.encode(self.0.expose()));
        Secret::new(format!("{TEXT_PREFIX}{}", encoded.expose()))
    }
}

/// The root keys in use for one issuer and generation. Clones share the keys.
#[derive(Clone, Debug)]
pub struct RootKeys {
    issuer: Arc<str>,
    generation: u32,
    active: RingKey,
    others: Arc<[RingKey]>,
}

impl RootKeys {
    /// Makes a ring whose first key is active.
    ///
    /// # Errors
    /// The ring is empty, too long, or has one key twice.
    pub fn new(issuer: &str, generation: u32, keys: Vec<RootKey>) -> Result<Self, RootKeyError> {
        if keys.len() > LONGEST_RING {
            return Err(RootKeyError::Ring("more than 8 keys"));
        }
        let mut members = Vec::with_capacity(keys.len());
        for key in keys {
            let member = RingKey::new(issuer, generation, &key);
            if members.iter().any(|other: &RingKey| other.id == member.id) {
                return Err(RootKeyError::Ring("the same key twice"));
            }
            members.push(member);
        }
        let mut members = members.into_iter();
        let active = members.next().ok_or(RootKeyError::Ring("no key"))?;
        Ok(Self {
            issuer: issuer.into(),
            generation,
            active,
            others: members.collect(),
        })
    }

    /// Derives a key of the active root for one purpose and context.
    #[must_use]
    pub fn derive(&self, label: Label, context: &[&[u8]]) -> Secret<[u8; KEY_BYTES]> {
        self.active.derive(label, context)
    }

    /// The active root.
    #[must_use]
    pub const fn active(&self) -> &RingKey {
        &self.active
    }

    /// Every root of the ring, the active one first.
    pub fn members(&self) -> impl Iterator<Item = &RingKey> {
        std::iter::once(&self.active).chain(self.others.iter())
    }

    /// The root of that id, if it is still in the ring.
    #[must_use]
    pub fn member(&self, id: KeyId) -> Option<&RingKey> {
        self.members().find(|member| member.id == id)
    }

    /// The broker's issuer URL, which every derived key is bound to.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The generation that every derived key is bound to.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }
}

/// One root of a ring, ready to derive from.
#[derive(Clone, Debug)]
pub struct RingKey {
    id: KeyId,
    extracted: Arc<hmac::Key>,
    /// The parts of `info` that are the same for every derived key of one label.
    issuer: Arc<str>,
    generation: u32,
}

impl RingKey {
    fn new(issuer: &str, generation: u32, key: &RootKey) -> Self {
        // RFC 5869 section 2.2. The salt is a constant: the root is uniformly random already, and
        // replicas have nothing else in common.
        let salt = hmac::Key::new(hmac::HMAC_SHA256, SALT);
        let extracted = hmac::sign(&salt, key.0.expose());
        let mut member = Self {
            id: KeyId([0; KEY_ID_BYTES]),
            extracted: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref())),
            issuer: issuer.into(),
            generation,
        };
        let id = member.derive(Label::KeyId, &[]);
        copy_front(&mut member.id.0, id.expose());
        member
    }

    /// The ID of this root in handles. It is derived, so it reveals nothing about the root key.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.id
    }

    /// Derives a key of this root for one purpose and context: HKDF-Expand with `info` = label ‖
    /// issuer ‖ algorithm ‖ generation ‖ context, every part with its length in front, so that no
    /// two lists of parts give the same bytes.
    #[must_use]
    pub fn derive(&self, label: Label, context: &[&[u8]]) -> Secret<[u8; KEY_BYTES]> {
        let mut expand = hmac::Context::with_key(&self.extracted);
        let generation = self.generation.to_be_bytes();
        let fixed = [
            label.name().as_bytes(),
            self.issuer.as_bytes(),
            label.algorithm().as_bytes(),
            &generation,
        ];
        let parts = fixed.iter().chain(context);
        length_prefix::update_with(parts, |bytes| expand.update(bytes));
        // One block of output is one hash, which is what every derived key is long: T(1).
        expand.update(&[1]);
        let mut key = [0; KEY_BYTES];
        copy_front(&mut key, expand.sign().as_ref());
        Secret::new(key)
    }
}

/// The ID of a root. It reveals nothing about the root key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    /// How many bytes it has.
    pub const LENGTH: usize = KEY_ID_BYTES;

    /// Reads the ID in a handle.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY_ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_ID_BYTES] {
        &self.0
    }
}

/// 16 hex digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The purpose of a derived key. A closed list, so no two uses share a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// Names a root of the ring.
    KeyId,
    LeaseHandle,
    /// Makes the random part of lease names.
    LeaseName,
    /// Makes passwords that a repeated request must get again.
    Password,
    /// Signs the checkpoints of the audit log.
    AuditSigning,
    /// Makes the ES256 key of an epoch.
    TokenSigningEs256,
    /// Makes the Ed25519 key of an epoch.
    TokenSigningEdDsa,
    /// Makes the `jti` of minted tokens.
    TokenJti,
    /// Makes the public ids of credentials; the context begins with the kind.
    CredentialId,
    /// Hashes idempotency keys for a store that others can read.
    IdempotencyHash,
    /// Protects the records that targets keep with a lease.
    RecordMac,
}

impl Label {
    const fn name(self) -> &'static str {
        match self {
            Self::KeyId => "hallpass key id",
            Self::LeaseHandle => "hallpass lease handle",
            Self::LeaseName => "hallpass lease name",
            Self::Password => "hallpass password",
            Self::AuditSigning => "hallpass audit signing",
            Self::TokenSigningEs256 | Self::TokenSigningEdDsa => "hallpass token signing",
            Self::TokenJti => "hallpass token jti",
            Self::CredentialId => "hallpass credential id",
            Self::IdempotencyHash => "hallpass idempotency hash",
            Self::RecordMac => "hallpass record mac",
        }
    }

    /// A key is used with one algorithm only.
    const fn algorithm(self) -> &'static str {
        match self {
            Self::KeyId => "none",
            Self::LeaseHandle => "A256GCM",
            Self::LeaseName
            | Self::Password
            | Self::TokenJti
            | Self::CredentialId
            | Self::IdempotencyHash
            | Self::RecordMac => "HS256",
            Self::AuditSigning | Self::TokenSigningEdDsa => "EdDSA",
            Self::TokenSigningEs256 => "ES256",
        }
    }
}

/// Why root keys are rejected.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// The text is not a root key.
    #[error(
        "the root key does not begin with `hallpass-root-1:` ({characters} characters found); make one with `hallpass keys generate`"
    )]
    Prefix {
        /// How long the text is.
        characters: usize,
    },
    /// The text after the prefix is not base64url.
    #[error(
        "the root key is not base64url without padding after `hallpass-root-1:`; was it \
         truncated or changed when it was copied? make one with `hallpass keys generate`"
    )]
    Encoding,
    /// Not 32 bytes.
    #[error("the root key has {found} bytes, expected 32; make one with `hallpass keys generate`")]
    Length {
        /// How many bytes it has.
        found: usize,
    },
    /// A placeholder, not a key.
    #[error(
        "the root key repeats a single byte, so it is not random; make one with `hallpass keys generate`"
    )]
    NotRandom,
    /// A ring that cannot be used.
    #[error("the root key ring has {0}")]
    Ring(&'static str),
    #[error("cannot get random bytes for a root key")]
    Randomness,
    /// The file cannot be read, or others can read or change it.
    #[error("root key file `{path}` {problem}", path = .path.display())]
    File {
        path: PathBuf,
        /// What is wrong with it.
        problem: PrivateFileError,
    },
    /// The file does not hold a root key.
    #[error("root key file `{path}`: {source}", path = .path.display())]
    InFile {
        path: PathBuf,
        /// What is wrong with its text.
        source: Box<Self>,
    },
}

impl RootKeyError {
    fn in_file(path: &Path, error: Self) -> Self {
        Self::InFile {
            path: path.to_owned(),
            source: Box::new(error),
        }
    }
}

/// Reads a file that only its owner and group can read.
fn read_private(path: &Path) -> Result<Secret<String>, RootKeyError> {
    file::read_private(path, LARGEST_FILE).map_err(|problem| RootKeyError::File {
        path: path.to_owned(),
        problem,
    })
}

/// As many bytes as `to` holds; both are of fixed length, so none is missing.
fn copy_front(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Bytes of a root key and of everything derived.
const KEY_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;
const TEXT_PREFIX: &str = "hallpass-root-1:";
const SALT: &[u8] = b"hallpass-root-1";
const LONGEST_RING: usize = 8;
const LARGEST_FILE: u64 = 4_096;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use aws_lc_rs::hkdf;

    use super::*;
    use crate::secret::file::PRIVATE_MODES;

    fn key(byte: u8) -> RootKey {
        let mut bytes = [byte; KEY_BYTES];
        bytes[0] = byte.wrapping_add(1);
        RootKey(Secret::new(bytes))
    }

    fn ring(keys: Vec<RootKey>) -> RootKeys {
        RootKeys::new("https://hallpass.example", 1, keys).unwrap()
    }

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_printed_key_reads_back() {
        let key = RootKey::generate().unwrap();
        let text = key.to_text();
        assert_eq!(text.expose().len(), 16 + 43);
        let again = RootKey::parse(&format!("{}\n", text.expose())).unwrap();
        assert_eq!(again.0.expose(), key.0.expose());
    }

    #[test]
    fn derivation_is_hkdf_sha_256() {
        struct Length;
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                32
            }
        }
        let root = key(7);
        let mut info = Vec::new();
        let parts: [&[u8]; 6] = [
            b"hallpass password",
            b"https://hallpass.example",
            b"HS256",
            &[0, 0, 0, 1],
            b"one",
            b"two",
        ];
        for part in parts {
            info.extend(u64::try_from(part.len()).unwrap().to_be_bytes());
            info.extend(part);
        }
        let mut expected = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"hallpass-root-1")
            .extract(root.0.expose())
            .expand(&[&info], Length)
            .unwrap()
            .fill(&mut expected)
            .unwrap();
        let derived = ring(vec![root]).derive(Label::Password, &[b"one", b"two"]);
        assert_eq!(derived.expose(), &expected);
    }

    #[test]
    fn every_part_of_a_derivation_counts() {
        let mut seen = HashSet::new();
        let mut add = |secret: Secret<[u8; 32]>| assert!(seen.insert(*secret.expose()));
        let one = ring(vec![key(1), key(2)]);
        let labels = [
            Label::KeyId,
            Label::LeaseHandle,
            Label::LeaseName,
            Label::Password,
            Label::AuditSigning,
            Label::TokenSigningEs256,
            Label::TokenSigningEdDsa,
            Label::TokenJti,
            Label::CredentialId,
            Label::IdempotencyHash,
            Label::RecordMac,
        ];
        for label in labels {
            add(one.derive(label, &[]));
        }
        add(one.derive(Label::Password, &[b"ab", b"c"]));
        add(one.derive(Label::Password, &[b"a", b"bc"]));
        add(one.derive(Label::Password, &[b"abc"]));
        add(one.derive(Label::Password, &[b"abc", b""]));
        for other in one.members().skip(1) {
            add(other.derive(Label::Password, &[]));
        }
        // T-112: a new generation withdraws every key.
        let raised = RootKeys::new("https://hallpass.example", 2, vec![key(1)]).unwrap();
        add(raised.derive(Label::Password, &[]));
        assert_ne!(raised.active().key_id(), one.active().key_id());
        let elsewhere = RootKeys::new("https://other.example", 1, vec![key(1)]).unwrap();
        add(elsewhere.derive(Label::Password, &[]));
    }

    #[test]
    fn the_first_key_is_active_and_others_are_found_by_id() {
        let both = ring(vec![key(1), key(2)]);
        let old = ring(vec![key(2)]);
        let found = both.member(old.active().key_id()).unwrap();
        assert_eq!(
            found.derive(Label::LeaseHandle, &[]).expose(),
            old.derive(Label::LeaseHandle, &[]).expose()
        );
        assert_eq!(
            both.derive(Label::LeaseHandle, &[]).expose(),
            ring(vec![key(1)]).derive(Label::LeaseHandle, &[]).expose()
        );
        assert!(old.member(both.active().key_id()).is_none());
    }

    #[test]
    fn a_ring_without_sense_is_refused() {
        let issuer = "https://hallpass.example";
        let error = |keys| RootKeys::new(issuer, 1, keys).unwrap_err().to_string();
        assert_eq!(error(vec![]), "the root key ring has no key");
        assert_eq!(
            error(vec![key(1), key(1)]),
            "the root key ring has the same key twice"
        );
        assert_eq!(
            error((0..9).map(key).collect()),
            "the root key ring has more than 8 keys"
        );
    }

    /// T-92
    #[test]
    fn debug_shows_no_byte_of_a_key() {
        let root = key(0x41);
        let text = format!("{root:?} {:?}", ring(vec![root.clone()]));
        assert!(text.contains("[secret]"), "{text}");
        assert!(!text.contains("65"), "{text}");
        assert!(!text.contains(&BASE64URL_NOPAD.encode(&root.0.expose()[1..9])));
    }

    #[test]
    fn text_that_is_no_root_key_is_refused_with_what_was_found() {
        let error = |text: &str| RootKey::parse(text).unwrap_err().to_string();
        insta::assert_snapshot!(error("hunter2"), @"the root key does not begin with `hallpass-root-1:` (7 characters found); make one with `hallpass keys generate`");
        insta::assert_snapshot!(error("hallpass-root-1:AAECAwQFBgcICQoLDA0ODw"), @"the root key has 16 bytes, expected 32; make one with `hallpass keys generate`");
        insta::assert_snapshot!(error("hallpass-root-1:!"), @"the root key is not base64url \
            without padding after `hallpass-root-1:`; was it truncated or changed when it was \
            copied? make one with `hallpass keys generate`");
        insta::assert_snapshot!(error(&format!("hallpass-root-1:{}", "A".repeat(43))), @"the \
            root key repeats a single byte, so it is not random; make one with `hallpass keys generate`");
    }

    /// T-87
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let text = key(1).to_text();
        for mode in PRIVATE_MODES {
            let (_folder, path) = file(text.expose(), mode);
            // Without root's rights only the owner bits decide, and all four have them.
            RootKey::read_ring(&path).unwrap();
        }
        for mode in [0o644, 0o604, 0o444, 0o660, 0o700, 0o666, 0o4400] {
            let (_folder, path) = file(text.expose(), mode);
            let error = RootKey::read_ring(&path).unwrap_err();
            assert!(
                matches!(
                    &error,
                    RootKeyError::File {
                        problem: PrivateFileError::Mode(_),
                        ..
                    }
                ),
                "{mode:o}: {error}"
            );
        }
        let (_folder, path) = file(text.expose(), 0o644);
        let error = RootKey::read_ring(&path).unwrap_err().to_string();
        let error = error.replace(&path.display().to_string(), "FILE");
        insta::assert_snapshot!(error, @"root key file `FILE` has mode 0644, expected 0400, 0440, 0600 or 0640; fix it with `chmod 0400`, in Kubernetes with `defaultMode: 0440` in the secret volume");
    }

    #[test]
    fn what_is_no_file_with_one_key_is_refused() {
        let (folder, path) = file("hallpass-root-1:AAECAw\n", 0o400);
        let shorten = |error: RootKeyError| {
            error
                .to_string()
                .replace(&folder.path().display().to_string(), "FOLDER")
        };
        insta::assert_snapshot!(shorten(RootKey::read_ring(&path).unwrap_err()), @"root key file `FOLDER/root`: the root key has 4 bytes, expected 32; make one with `hallpass keys generate`");
        insta::assert_snapshot!(shorten(RootKey::read_ring(folder.path()).unwrap_err()), @"root key file `FOLDER` is a directory, expected a regular file");
        let missing = folder.path().join("missing");
        insta::assert_snapshot!(shorten(RootKey::read_ring(&missing).unwrap_err()), @"root key file `FOLDER/missing` cannot be read: No such file or directory (os error 2)");
        let long = folder.path().join("long");
        fs::write(&long, "#".repeat(4_097)).unwrap();
        fs::set_permissions(&long, fs::Permissions::from_mode(0o600)).unwrap();
        insta::assert_snapshot!(shorten(RootKey::read_ring(&long).unwrap_err()), @"root key file `FOLDER/long` cannot be read: it has more than 4096 bytes");
    }

    #[test]
    fn a_ring_file_has_one_key_per_line() {
        let text = format!(
            "# active since June\n{}\n\n{}\n",
            key(1).to_text().expose(),
            key(2).to_text().expose()
        );
        let (_folder, path) = file(&text, 0o440);
        assert_eq!(RootKey::read_ring(&path).unwrap().len(), 2);
    }
}
