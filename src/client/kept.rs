//! What one step of a job leaves for the next, so that both get the same login.
//!
//! A repeat gives the same login only for the same subject token *and* the same idempotency key. So:
//!
//! - The key is random. One derived from the token would let whoever steals the token repeat our
//!   exchange and be told our password (T-110); against a random key a stolen token is used up.
//! - On GitHub each request makes another token, so the token is kept beside the key, until it
//!   expires. That gives a step of the job nothing new: the file is ours alone (0600), and any step
//!   that can read it holds `ACTIONS_ID_TOKEN_REQUEST_TOKEN`, with which it can make tokens for any
//!   audience. The name holds the hash of that very token, since a runner's temporary folder may
//!   outlive the job: the next job finds nothing (T-136).
//! - On GitLab the token waits in a variable anyway, so only the key is kept, under a name that
//!   holds the token's hash: another job finds nothing.
//!
//! The credential itself is never kept. What cannot be kept, or was tampered with, is as if it had
//! never been: the step gets a login of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};

use super::Ask;
use super::address::BrokerAddress;
use super::error::ClientError;
use super::file::{private_folder, read_private, write_private_new};
use super::folder;
use super::source::Environment;
use super::token::IdToken;
use crate::clock::Timestamp;
use crate::length_prefix;
use crate::secret::Secret;

/// A folder of the job's, if it has one.
#[derive(Debug)]
pub(super) struct Kept(Option<PathBuf>);

impl Kept {
    pub(super) fn of(environment: &Environment) -> Self {
        Self(folder::of_job(environment))
    }

    /// Where steps leave what others find, if anywhere.
    pub(super) fn folder(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    /// What an earlier step kept under that name, if it can still be used.
    pub(super) fn find(&self, slot: &StateFile, now: Timestamp) -> Option<Pair> {
        let path = self.path(slot)?;
        private_folder(path.parent()?).ok()?;
        let bytes = Secret::new(read_private(&path, MAX_KEPT).ok()?);
        let raw: RawPair = serde_json::from_slice(bytes.expose()).ok()?;
        let pair = Pair::from_raw(raw)?;
        if pair.is_fresh(now) {
            Some(pair)
        } else {
            self.forget(slot);
            None
        }
    }

    /// Keeps `pair`, unless another step was faster: then what that one kept.
    pub(super) fn keep(&self, slot: &StateFile, pair: Pair, now: Timestamp) -> Pair {
        match self.try_keep(slot, &pair) {
            Ok(true) | Err(_) => pair,
            Ok(false) => self.find(slot, now).unwrap_or(pair),
        }
    }

    pub(super) fn forget(&self, slot: &StateFile) {
        if let Some(path) = self.path(slot)
            && fs::remove_file(path).is_err()
        {
            // Nothing was kept, or nothing can be removed here: then nothing was kept either.
        }
    }

    fn try_keep(&self, slot: &StateFile, pair: &Pair) -> io::Result<bool> {
        let path = self.path(slot).ok_or(io::ErrorKind::NotFound)?;
        private_folder(path.parent().ok_or(io::ErrorKind::NotFound)?)?;
        let raw = RawPair {
            key: pair.key.expose().clone(),
            token: pair.token.as_ref().map(|token| token.expose().to_owned()),
        };
        let text = Secret::new(serde_json::to_vec(&raw).map_err(io::Error::other)?);
        write_private_new(&path, text.expose(), 0o600)
    }

    fn path(&self, slot: &StateFile) -> Option<PathBuf> {
        Some(self.0.as_deref()?.join(Path::new(&slot.0)))
    }
}

/// An idempotency key, and the token it belongs to where a source makes many.
#[derive(Debug)]
pub(super) struct Pair {
    pub key: Secret<String>,
    pub token: Option<IdToken>,
}

impl Pair {
    /// 256 random bits, in the alphabet of the header.
    pub(super) fn new(token: Option<IdToken>) -> Result<Self, ClientError> {
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| {
            ClientError::Setting("the system's random number generator failed".to_owned())
        })?;
        Ok(Self {
            key: Secret::new(BASE64URL_NOPAD.encode(&random)),
            token,
        })
    }

    fn from_raw(raw: RawPair) -> Option<Self> {
        let key = Secret::new(raw.key);
        let token = match raw.token {
            Some(text) => Some(IdToken::parse(Secret::new(text), "the kept file").ok()?),
            None => None,
        };
        let is_whole = key.expose().len() == KEY_LENGTH
            && BASE64URL_NOPAD.decode(key.expose().as_bytes()).is_ok();
        is_whole.then_some(Self { key, token })
    }

    /// Its token lives long enough to arrive. A pair without token is as fresh as the job's.
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.token.as_ref().is_none_or(|token| {
            token
                .expires_at()
                .is_some_and(|expires_at| expires_at.since(now) > MARGIN)
        })
    }
}

/// A file name that differs as soon as the broker would tell two requests apart.
#[derive(Debug)]
pub(super) struct StateFile(String);

impl StateFile {
    /// `job` is what tells the job from others: its one token, or else [`Source::job`], since a
    /// source that makes new tokens has them kept inside.
    ///
    /// [`Source::job`]: super::Source::job
    pub(super) fn of(broker: &BrokerAddress, ask: &Ask, job: &[&str]) -> Self {
        let scopes = ask.scopes.join(" ");
        let ttl = ask.ttl.as_deref().unwrap_or_default();
        let asked = [broker.as_str(), &ask.credential, &scopes, ttl];
        let inputs = ask.inputs.iter();
        let inputs = inputs.flat_map(|(name, value)| ["input", name.as_str(), value.as_str()]);
        let recipient = ask.seal_to.iter();
        let recipient = recipient.flat_map(|key| ["sealed to", key.thumbprint()]);
        let parts = asked.into_iter().chain(inputs).chain(recipient);
        let parts = parts.chain(job.iter().copied());
        let mut hash = digest::Context::new(&digest::SHA256);
        length_prefix::update_with(parts, |bytes| hash.update(bytes));
        Self(HEXLOWER.encode(hash.finish().as_ref()))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPair {
    key: String,
    token: Option<String>,
}

/// 32 bytes in base64url.
const KEY_LENGTH: usize = 43;
const MAX_KEPT: u64 = 64 * 1024;
/// Seconds a kept token must still live.
const MARGIN: i64 = 30;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::super::token::tests::unsigned;
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

    fn kept_in(folder: &Path) -> Kept {
        let environment: Environment = [
            ("GITHUB_ACTIONS", "true"),
            ("RUNNER_TEMP", folder.to_str().unwrap()),
        ]
        .into_iter()
        .collect();
        Kept::of(&environment)
    }

    fn slot(credential: &str) -> StateFile {
        let broker = BrokerAddress::parse("https://hallpass.example").unwrap();
        StateFile::of(&broker, &Ask::new(credential).unwrap(), &["job"])
    }

    fn token(expires_at: i64) -> IdToken {
        let claims = serde_json::json!({ "aud": "https://hallpass.example", "exp": expires_at });
        IdToken::parse(unsigned(&claims).into(), "the test").unwrap()
    }

    /// T-110
    #[test]
    fn a_key_is_random_and_long_enough() {
        let (one, two) = (Pair::new(None).unwrap(), Pair::new(None).unwrap());
        assert_ne!(one.key.expose(), two.key.expose());
        assert_eq!(one.key.expose().len(), KEY_LENGTH);
    }

    /// T-110
    #[test]
    fn what_is_kept_is_found_for_the_same_ask_only() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept_in(folder.path());
        let pair = Pair::new(Some(token(NOW.unix() + 300))).unwrap();
        let key = pair.key.expose().clone();
        kept.keep(&slot("shop-db/migrate"), pair, NOW);
        let found = kept.find(&slot("shop-db/migrate"), NOW).unwrap();
        assert_eq!(found.key.expose(), &key);
        assert!(kept.find(&slot("shop-db/read"), NOW).is_none());
    }

    /// T-136
    #[test]
    fn what_is_kept_is_found_by_the_same_job_only() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept_in(folder.path());
        let broker = BrokerAddress::parse("https://hallpass.example").unwrap();
        let slot = |job: &[&str]| StateFile::of(&broker, &Ask::new("a").unwrap(), job);
        kept.keep(&slot(&["token", "1"]), Pair::new(None).unwrap(), NOW);
        assert!(kept.find(&slot(&["token", "1"]), NOW).is_some());
        for other in [&["token", "2"][..], &["token"], &["token1", ""], &[]] {
            assert!(kept.find(&slot(other), NOW).is_none(), "{other:?}");
        }
    }

    #[test]
    fn the_faster_step_wins() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept_in(folder.path());
        let first = kept.keep(&slot("a"), Pair::new(None).unwrap(), NOW);
        let second = kept.keep(&slot("a"), Pair::new(None).unwrap(), NOW);
        assert_eq!(first.key.expose(), second.key.expose());
    }

    #[test]
    fn a_token_about_to_expire_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept_in(folder.path());
        let pair = Pair::new(Some(token(NOW.unix() + 300))).unwrap();
        kept.keep(&slot("a"), pair, NOW);
        assert!(kept.find(&slot("a"), NOW.plus(271)).is_none());
        assert!(kept.find(&slot("a"), NOW).is_none());
    }

    /// T-92
    #[test]
    fn what_is_kept_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept_in(folder.path());
        kept.keep(&slot("a"), Pair::new(None).unwrap(), NOW);
        let inside = kept.folder().unwrap();
        assert_eq!(fs::metadata(inside).unwrap().mode() & 0o777, 0o700);
        let files: Vec<_> = fs::read_dir(inside).unwrap().collect();
        assert_eq!(files.len(), 1);
        let file = files[0].as_ref().unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(kept.find(&slot("a"), NOW).is_none());
    }

    #[test]
    fn a_tampered_file_is_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let kept = kept_in(folder.path());
        private_folder(kept.folder().unwrap()).unwrap();
        for text in ["", "{}", r#"{"key":"short","token":null}"#, "[1]"] {
            let path = kept.path(&slot("a")).unwrap();
            super::super::file::write_private(&path, text.as_bytes()).unwrap();
            assert!(kept.find(&slot("a"), NOW).is_none(), "{text}");
        }
    }

    #[test]
    fn without_a_job_folder_nothing_is_kept() {
        let kept = Kept::of(&Environment::default());
        let pair = Pair::new(None).unwrap();
        let key = pair.key.expose().clone();
        assert_eq!(kept.keep(&slot("a"), pair, NOW).key.expose(), &key);
        assert!(kept.find(&slot("a"), NOW).is_none());
    }
}
