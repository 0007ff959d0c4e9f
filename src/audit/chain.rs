//! Builds the hash chain of the audit log, and signs its checkpoints.
//!
//! Every line holds the hash of the line before it, so a changed, missing or moved line breaks the
//! chain. Anyone who can write the file can also recompute the hashes. So every ten seconds, and at
//! the end, the broker writes a checkpoint line signed with a key that only brokers have. A
//! checkpoint proves itself and every line before it.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};

use crate::clock::Timestamp;
use crate::rootkey::{Label, RingKey};
use crate::text::escape;

pub mod verify;

/// The state that one line hands to the next.
#[derive(Debug)]
pub(super) struct Chain {
    /// The replica's name: the `chain` of its lines.
    name: String,
    boot: String,
    sequence: u64,
    head: Head,
    key: CheckpointKey,
    /// Lines that no checkpoint covers yet.
    unsigned: u64,
    /// The second that `time` is the text of: formatting it costs as much as the rest of a line.
    second: Timestamp,
    time: String,
}

impl Chain {
    /// Continues after `head`, in a new boot.
    pub(super) fn new(name: &str, boot: &str, head: Head, key: CheckpointKey) -> Self {
        let second = Timestamp::default();
        Self {
            name: name.to_owned(),
            boot: boot.to_owned(),
            sequence: 0,
            head,
            key,
            unsigned: 0,
            second,
            time: second.to_string(),
        }
    }

    /// The next line, with its newline, of an event that was written as a JSON object.
    pub(super) fn append(&mut self, now: Timestamp, event: &[u8]) -> Vec<u8> {
        let mut line = self.begin(now, event);
        line.push(b'}');
        self.unsigned = self.unsigned.saturating_add(1);
        self.finish(line)
    }

    /// A signed line that covers all lines before it.
    pub(super) fn checkpoint(&mut self, now: Timestamp) -> Vec<u8> {
        let event = format!(
            r#"{{"event":"checkpoint","key":"{}"}}"#,
            self.key.public.to_text()
        );
        let mut line = self.begin(now, event.as_bytes());
        let signature = self.key.pair.sign(&to_sign(&line));
        line.extend_from_slice(SIGNATURE.as_bytes());
        line.extend_from_slice(BASE64URL_NOPAD.encode(signature.as_ref()).as_bytes());
        line.extend_from_slice(b"\"}");
        self.unsigned = 0;
        self.finish(line)
    }

    /// Lines that no checkpoint covers yet.
    pub(super) const fn unsigned(&self) -> u64 {
        self.unsigned
    }

    /// The hash of the last line.
    pub(super) const fn head(&self) -> Head {
        self.head
    }

    /// The number of the last line in this boot.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The line without its closing brace.
    fn begin(&mut self, now: Timestamp, event: &[u8]) -> Vec<u8> {
        if now != self.second {
            self.second = now;
            self.time = now.to_string();
        }
        self.sequence = self.sequence.saturating_add(1);
        let front = format!(
            r#"{{"v":1,"time":"{}","chain":"{}","boot":"{}","seq":{},"prev":"{}","#,
            self.time, self.name, self.boot, self.sequence, self.head
        );
        let event = event.strip_prefix(b"{").unwrap_or(event);
        let event = event.strip_suffix(b"}").unwrap_or(event);
        let room = front.len().saturating_add(event.len()).saturating_add(128);
        let mut line = Vec::with_capacity(room);
        line.extend_from_slice(front.as_bytes());
        line.extend_from_slice(event);
        line
    }

    fn finish(&mut self, mut line: Vec<u8>) -> Vec<u8> {
        self.head = Head::of(&line);
        line.push(b'\n');
        line
    }
}

/// The SHA-256 of a line without its newline. A saved head shows later whether that line and all
/// lines before it are still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Head([u8; 32]);

impl Head {
    /// The hash of a line.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, line);
        Self(hash.as_ref().try_into().unwrap_or_default())
    }

    /// The `prev` of the first line of a log: 64 zeros.
    #[must_use]
    pub fn is_origin(&self) -> bool {
        *self == Self::default()
    }

    /// Parses 64 hex digits, with or without `sha256:` in front.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let bytes = HEXLOWER.decode(digits.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// 64 hex digits.
impl std::fmt::Display for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The key that signs checkpoints.
#[derive(Debug)]
pub(super) struct CheckpointKey {
    pair: Ed25519KeyPair,
    public: AuditPublicKey,
}

impl CheckpointKey {
    /// Derives the audit key of a root. `None` if the cryptographic library rejects it, which it
    /// never should.
    pub(super) fn of(root: &RingKey) -> Option<Self> {
        let seed = root.derive(Label::AuditSigning, &[]);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).ok()?;
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .ok()
            .map(AuditPublicKey)?;
        Some(Self { pair, public })
    }

    pub(super) const fn public(&self) -> &AuditPublicKey {
        &self.public
    }
}

/// The public half of an audit key, as `hallpass keys show` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPublicKey([u8; 32]);

impl AuditPublicKey {
    /// The public audit key of a root.
    #[must_use]
    pub fn of(root: &RingKey) -> Option<Self> {
        CheckpointKey::of(root).map(|key| key.public)
    }

    /// Reads `hallpass-audit-1:` and 43 base64url characters.
    ///
    /// # Errors
    /// What was found and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let problem = || {
            format!(
                "`{}` is not an audit key; expected `{PUBLIC_PREFIX}` and 43 characters, as \
                 `hallpass keys show` prints it",
                escape(text)
            )
        };
        let encoded = text
            .trim()
            .strip_prefix(PUBLIC_PREFIX)
            .ok_or_else(problem)?;
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes());
        let bytes = bytes.map_err(|_| problem())?;
        bytes.try_into().map(Self).map_err(|_| problem())
    }

    /// The text that [`parse`](Self::parse) reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PUBLIC_PREFIX}{}", BASE64URL_NOPAD.encode(&self.0))
    }

    /// Whether this key signed a checkpoint line, given without its newline.
    fn has_signed(&self, line: &[u8]) -> bool {
        let Some((signed, signature)) = split_signature(line) else {
            return false;
        };
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&to_sign(signed), &signature)
            .is_ok()
    }
}

impl std::fmt::Display for AuditPublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// The signature is the last field of its line and covers every byte before it.
fn split_signature(line: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let tail = SIGNATURE
        .len()
        .saturating_add(SIGNATURE_DIGITS)
        .saturating_add(2);
    let (signed, tail) = line.split_at_checked(line.len().checked_sub(tail)?)?;
    let digits = tail
        .strip_prefix(SIGNATURE.as_bytes())?
        .strip_suffix(b"\"}")?;
    Some((signed, BASE64URL_NOPAD.decode(digits).ok()?))
}

/// A prefix that no other use of the key signs.
fn to_sign(line: &[u8]) -> Vec<u8> {
    [CHECKPOINT, line].concat()
}

const CHECKPOINT: &[u8] = b"hallpass audit checkpoint 1\n";
const SIGNATURE: &str = r#","signature":""#;
/// 64 bytes in base64url.
const SIGNATURE_DIGITS: usize = 86;
const PUBLIC_PREFIX: &str = "hallpass-audit-1:";

/// What every line begins with.
pub(super) const LINE_START: &[u8] = br#"{"v":1"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootkey::{RootKey, RootKeys};

    fn key() -> CheckpointKey {
        let root = RootKey::generate().unwrap();
        let roots = RootKeys::new("https://hallpass.example", 1, vec![root]).unwrap();
        CheckpointKey::of(roots.active()).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_unix(1_790_000_000)
    }

    #[test]
    fn a_line_is_json_with_the_hash_of_the_line_before() {
        let mut chain = Chain::new("replica-a", "b1", Head::default(), key());
        let first = chain.append(now(), br#"{"event":"stop"}"#);
        insta::assert_snapshot!(std::str::from_utf8(&first).unwrap().trim_end(), @r#"{"v":1,"time":"2026-09-21T14:13:20Z","chain":"replica-a","boot":"b1","seq":1,"prev":"0000000000000000000000000000000000000000000000000000000000000000","event":"stop"}"#);
        let second = chain.append(now(), br#"{"event":"stop"}"#);
        let second: serde_json::Value = serde_json::from_slice(&second).unwrap();
        assert_eq!(second["seq"], 2);
        assert_eq!(second["prev"], Head::of(first.trim_ascii_end()).to_string());
    }

    /// T-111
    #[test]
    fn a_checkpoint_covers_every_byte_of_its_line() {
        let key = key();
        let public = key.public().clone();
        let mut chain = Chain::new("replica-a", "b1", Head::default(), key);
        let line = chain.checkpoint(now());
        let line = line.trim_ascii_end();
        assert!(public.has_signed(line));
        assert!(!tests::key().public().has_signed(line));
        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert!(!public.has_signed(&changed), "byte {at}");
        }
        assert!(!public.has_signed(b""));
    }

    #[test]
    fn a_public_key_reads_back_and_other_text_does_not() {
        let key = key();
        assert_eq!(
            AuditPublicKey::parse(&key.public().to_text()),
            Ok(key.public().clone())
        );
        insta::assert_snapshot!(AuditPublicKey::parse("\x1b[2J").unwrap_err(), @r"`\u{1b}[2J` is not an audit key; expected `hallpass-audit-1:` and 43 characters, as `hallpass keys show` prints it");
    }

    #[test]
    fn a_head_reads_back_with_and_without_its_prefix() {
        let head = Head::of(b"line");
        assert_eq!(Head::parse(&head.to_string()), Some(head));
        assert_eq!(Head::parse(&format!("sha256:{head}")), Some(head));
        assert_eq!(Head::parse("sha256:00"), None);
        assert!(Head::default().is_origin());
    }
}
