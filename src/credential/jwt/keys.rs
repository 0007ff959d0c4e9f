//! The signing keys: one derived key per epoch and root, and the RS256 keys from files.
//!
//! An epoch is a fixed span of Unix time, so replicas change keys at the same second without
//! synchronising. The key set shows the previous, the current and the next epoch of every root in
//! the ring. So a relying party that caches the key set has every key a whole epoch before it signs
//! (T-88).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::JwkSet;

use super::rs256::Rs256Keys;
use super::signing_key::SigningKey;
use crate::clock::Timestamp;
use crate::rootkey::{RingKey, RootKeys};
use crate::secret::Secret;

/// The algorithms a derived key may sign with. An RS256 key cannot be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519 (RFC 8037).
    EdDsa,
}

impl SigningAlgorithm {
    /// The name in `alg` (RFC 7518 section 3.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) const fn jose(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

/// The current signing keys, with those of the epochs before and after.
#[derive(Debug)]
pub struct Keys {
    roots: RootKeys,
    algorithm: SigningAlgorithm,
    epoch: i64,
    held: ArcSwap<EpochKeys>,
    rs256: Option<Arc<Rs256Keys>>,
}

impl Keys {
    /// Derives the keys of `now`.
    ///
    /// # Errors
    /// The epoch is shorter than the maximum lifetime of a token or longer than 90 days, or the
    /// cryptographic library refuses a key.
    pub fn new(
        roots: RootKeys,
        algorithm: SigningAlgorithm,
        epoch: Duration,
        now: Timestamp,
    ) -> Result<Self, KeysError> {
        let seconds = i64::try_from(epoch.as_secs()).unwrap_or(i64::MAX);
        if !(SHORTEST_EPOCH..=LONGEST_EPOCH).contains(&seconds) {
            return Err(KeysError::Epoch { seconds });
        }
        let held = EpochKeys::derive(&roots, algorithm, seconds, epoch_of(now, seconds))?;
        Ok(Self {
            roots,
            algorithm,
            epoch: seconds,
            held: ArcSwap::from_pointee(held),
            rs256: None,
        })
    }

    /// Adds keys for credentials that require RS256.
    #[must_use]
    pub fn with_rs256(self, rs256: Option<Arc<Rs256Keys>>) -> Self {
        Self { rs256, ..self }
    }

    /// The key set (RFC 7517 section 5) to publish at `now`.
    ///
    /// # Errors
    /// The cryptographic library refuses a key.
    pub fn jwks(&self, now: Timestamp) -> Result<JwkSet, KeysError> {
        let held = self.held(now)?;
        let keys = self.published(&held).map(|key| key.public().clone());
        Ok(JwkSet {
            keys: keys.collect(),
        })
    }

    /// Whether the key with this RFC 7638 thumbprint is in the key set of `now`. An issuer that
    /// publishes it is this broker or has its key, and is rejected (T-84, T-109).
    ///
    /// # Errors
    /// The cryptographic library refuses a key.
    pub fn publishes(&self, thumbprint: &str, now: Timestamp) -> Result<bool, KeysError> {
        let held = self.held(now)?;
        Ok(self.published(&held).any(|key| key.kid() == thumbprint))
    }

    /// The names of all algorithms that tokens are signed with.
    pub fn algorithms(&self) -> impl Iterator<Item = &'static str> {
        let rs256 = self.rs256.iter().map(|_| RS256);
        std::iter::once(self.algorithm.name()).chain(rs256)
    }

    fn published<'a>(&'a self, held: &'a EpochKeys) -> impl Iterator<Item = &'a SigningKey> {
        let rs256 = self.rs256.iter().flat_map(|keys| keys.published());
        held.keys().chain(rs256)
    }

    /// The root keys they are derived from.
    #[must_use]
    pub const fn roots(&self) -> &RootKeys {
        &self.roots
    }

    /// The algorithm of the derived keys.
    #[must_use]
    pub const fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// The end of the epoch after that of `minted_at`. From then on its key is no longer published,
    /// so no token may live longer.
    #[must_use]
    pub const fn last_second(&self, minted_at: Timestamp) -> Timestamp {
        let next = epoch_of(minted_at, self.epoch).saturating_add(2);
        Timestamp::from_unix(next.saturating_mul(self.epoch))
    }

    /// The key that signs a token first minted at `minted_at`. For a repeat that may be the key of
    /// the previous epoch.
    pub(super) fn signer(
        &self,
        minted_at: Timestamp,
        now: Timestamp,
    ) -> Result<Arc<SigningKey>, KeysError> {
        let held = self.held(now)?;
        let wanted = epoch_of(minted_at, self.epoch);
        let active = held.active.iter().find(|(epoch, _)| *epoch == wanted);
        let (_, key) = active.ok_or(KeysError::Withdrawn)?;
        Ok(Arc::clone(key))
    }

    /// Signs something that is not an access token, with the derived key of now.
    ///
    /// # Errors
    /// The cryptographic library refuses a key.
    pub(crate) fn sign_as(
        &self,
        token_type: &str,
        claims: &[u8],
        now: Timestamp,
    ) -> Result<Secret<String>, KeysError> {
        self.signer(now, now)?.sign_as(token_type, claims)
    }

    /// The key of the settings that signs with RS256.
    pub(super) fn rs256_signer(&self) -> Result<Arc<SigningKey>, KeysError> {
        let keys = self.rs256.as_ref().ok_or(KeysError::NoRs256)?;
        Ok(Arc::clone(keys.signer()))
    }

    /// The keys of `now`. The first call after a change of epoch derives them.
    fn held(&self, now: Timestamp) -> Result<Arc<EpochKeys>, KeysError> {
        let epoch = epoch_of(now, self.epoch);
        let held = self.held.load_full();
        if held.epoch == epoch {
            return Ok(held);
        }
        let held = Arc::new(EpochKeys::derive(
            &self.roots,
            self.algorithm,
            self.epoch,
            epoch,
        )?);
        self.held.store(Arc::clone(&held));
        Ok(held)
    }
}

/// Why there is no signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// An invalid epoch.
    #[error(
        "the signing epoch is {seconds} s, expected 3600 s (the maximum lifetime of a token) to \
         7776000 s (90 days)"
    )]
    Epoch { seconds: i64 },
    /// Too long ago, or in the future.
    #[error("the signing key of that epoch is no longer used")]
    Withdrawn,
    /// The settings name no key for RS256.
    #[error("the settings have no RS256 key")]
    NoRs256,
    /// The cryptographic library rejected a key, which it never should.
    #[error("the cryptographic library refused a signing key")]
    Crypto,
}

/// The keys of one epoch and its neighbours.
#[derive(Debug)]
struct EpochKeys {
    epoch: i64,
    /// Of the active root, each with its epoch.
    active: Vec<(i64, Arc<SigningKey>)>,
    /// Of the other roots: published, never used.
    others: Vec<(i64, Arc<SigningKey>)>,
}

impl EpochKeys {
    fn derive(
        roots: &RootKeys,
        algorithm: SigningAlgorithm,
        length: i64,
        epoch: i64,
    ) -> Result<Self, KeysError> {
        let of = |root: &RingKey| {
            [-1, 0, 1]
                .into_iter()
                .map(|step| epoch.saturating_add(step))
                .map(|epoch| {
                    let key = SigningKey::derive(root, algorithm, length, epoch)?;
                    Ok((epoch, Arc::new(key)))
                })
                .collect::<Result<Vec<_>, KeysError>>()
        };
        let active = of(roots.active())?;
        let others = roots
            .members()
            .skip(1)
            .map(of)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            epoch,
            active,
            others: others.into_iter().flatten().collect(),
        })
    }

    fn keys(&self) -> impl Iterator<Item = &SigningKey> {
        let keys = self.active.iter().chain(&self.others);
        keys.map(|(_, key)| key.as_ref())
    }
}

const fn epoch_of(time: Timestamp, length: i64) -> i64 {
    match time.unix().checked_div_euclid(length) {
        Some(epoch) => epoch,
        // A length of zero is rejected when the keys are created.
        None => 0,
    }
}

/// The name in `alg`, in settings and in definitions.
pub(super) const RS256: &str = "RS256";
/// The maximum lifetime of any credential, so a token always expires before its key is withdrawn.
const SHORTEST_EPOCH: i64 = 3_600;
const LONGEST_EPOCH: i64 = 90 * 86_400;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use data_encoding::BASE64URL_NOPAD;
    use serde_json::json;

    use super::*;
    use crate::rootkey::RootKey;

    const WEEK: i64 = 604_800;

    fn root(letter: char) -> RootKey {
        let bytes: Vec<u8> = (0..32).map(|at| at ^ letter as u8).collect();
        RootKey::parse(&format!(
            "hallpass-root-1:{}",
            BASE64URL_NOPAD.encode(&bytes)
        ))
        .unwrap()
    }

    fn keys_of(roots: Vec<RootKey>, generation: u32, algorithm: SigningAlgorithm) -> Keys {
        let roots = RootKeys::new("https://hallpass.example", generation, roots).unwrap();
        let epoch = Duration::from_secs(WEEK.unsigned_abs());
        Keys::new(roots, algorithm, epoch, Timestamp::from_unix(0)).unwrap()
    }

    fn keys() -> Keys {
        keys_of(vec![root('a')], 1, SigningAlgorithm::Es256)
    }

    fn set(keys: &Keys, at: i64) -> BTreeSet<String> {
        let at = Timestamp::from_unix(at);
        let published = json!(keys.jwks(at).unwrap());
        let published = published["keys"].as_array().unwrap().iter();
        let found = published.map(|key| key["kid"].as_str().unwrap().to_owned());
        let found: BTreeSet<String> = found.collect();
        assert!(found.iter().all(|kid| keys.publishes(kid, at).unwrap()));
        assert!(!keys.publishes("other", at).unwrap());
        found
    }

    fn signer(keys: &Keys, at: i64) -> String {
        let at = Timestamp::from_unix(at);
        keys.signer(at, at).unwrap().kid().to_owned()
    }

    /// T-87
    #[test]
    fn the_key_set_has_exactly_the_public_members() {
        for (algorithm, members) in [
            (SigningAlgorithm::Es256, "alg crv kid kty use x y"),
            (SigningAlgorithm::EdDsa, "alg crv kid kty use x"),
        ] {
            let keys = keys_of(vec![root('a')], 1, algorithm);
            let jwks = json!(keys.jwks(Timestamp::from_unix(5)).unwrap());
            let published = jwks["keys"].as_array().unwrap();
            assert_eq!(published.len(), 3);
            for key in published {
                let mut found: Vec<_> = key.as_object().unwrap().keys().cloned().collect();
                found.sort();
                assert_eq!(found.join(" "), members);
                assert_eq!(key["alg"], algorithm.name());
                assert_eq!(key["use"], "sig");
            }
        }
    }

    /// T-88
    #[test]
    fn a_cached_key_set_holds_every_key_that_signs_meanwhile() {
        let keys = keys();
        let cache = 300;
        for now in (WEEK - 1_000..3 * WEEK + 1_000).step_by(3_599) {
            let seen = set(&keys, now);
            assert!(seen.contains(&signer(&keys, now)));
            assert!(seen.contains(&signer(&keys, now + cache)), "at {now}");
            // What was minted up to the longest life before is still verified.
            assert!(
                seen.contains(&signer(&keys, now - SHORTEST_EPOCH)),
                "at {now}"
            );
        }
    }

    #[test]
    fn keys_change_at_the_epoch_and_replicas_agree() {
        let (one, two) = (keys(), keys());
        assert_eq!(signer(&one, WEEK - 1), signer(&two, 0));
        assert_ne!(signer(&one, WEEK - 1), signer(&one, WEEK));
        assert_eq!(signer(&one, 7 * WEEK + 3), signer(&two, 7 * WEEK + 9));
    }

    /// What is derived must not drift between releases: replicas of two releases run side by side.
    /// The expected ids were computed apart, from the documented derivation.
    #[test]
    fn the_derivation_is_pinned() {
        insta::assert_snapshot!(signer(&keys(), 1_790_000_000), @"_NUkoduuvi210KjWY4tyIAW3y5-mszlY6JAkVZOveNw");
        let ed_dsa = keys_of(vec![root('a')], 1, SigningAlgorithm::EdDsa);
        insta::assert_snapshot!(signer(&ed_dsa, 1_790_000_000), @"hmAVpgfVMneN1de4ab8Z5JVtZToLSxE5g0sBbm0Wv40");
    }

    #[test]
    fn a_repeat_is_signed_by_the_key_of_its_first_time() {
        let keys = keys();
        let (first, now) = (
            Timestamp::from_unix(WEEK - 1),
            Timestamp::from_unix(WEEK + 9),
        );
        assert_eq!(
            keys.signer(first, now).unwrap().kid(),
            signer(&keys, first.unix())
        );
        let late = Timestamp::from_unix(2 * WEEK + 1);
        assert_eq!(keys.signer(first, late).unwrap_err(), KeysError::Withdrawn);
    }

    /// T-112
    #[test]
    fn a_raised_generation_withdraws_every_key() {
        let raised = keys_of(vec![root('a')], 2, SigningAlgorithm::Es256);
        assert!(set(&keys(), 9).is_disjoint(&set(&raised, 9)));
    }

    /// T-112
    #[test]
    fn a_new_root_is_published_before_it_signs() {
        let (old, new) = (root('a'), root('b'));
        let steps = [
            vec![old.clone()],
            vec![old.clone(), new.clone()],
            vec![new.clone(), old],
            vec![new],
        ];
        let steps: Vec<_> = steps
            .into_iter()
            .map(|roots| keys_of(roots, 1, SigningAlgorithm::Es256))
            .collect();
        for pair in steps.windows(2) {
            assert!(set(&pair[0], 9).contains(&signer(&pair[1], 9)));
            assert!(set(&pair[1], 9).contains(&signer(&pair[0], 9)));
        }
        assert_eq!(set(&steps[1], 9).len(), 6);
    }

    /// T-74
    #[test]
    fn times_no_calendar_reaches_do_not_break_keys() {
        let keys = keys();
        for at in [i64::MIN, -1, 0, i64::MAX] {
            let at = Timestamp::from_unix(at);
            keys.jwks(at).unwrap();
            let _ = keys.last_second(at);
        }
    }

    #[test]
    fn an_epoch_shorter_than_a_token_lives_is_refused() {
        let roots = || RootKeys::new("https://hallpass.example", 1, vec![root('a')]).unwrap();
        for seconds in [0, 3_599, 90 * 86_400 + 1, u64::MAX] {
            let epoch = Duration::from_secs(seconds);
            let now = Timestamp::from_unix(0);
            let error = Keys::new(roots(), SigningAlgorithm::Es256, epoch, now).unwrap_err();
            assert!(matches!(error, KeysError::Epoch { .. }));
        }
    }

    /// T-92
    #[test]
    fn debug_shows_no_private_key() {
        let keys = keys();
        let key = keys
            .signer(Timestamp::from_unix(0), Timestamp::from_unix(0))
            .unwrap();
        assert_eq!(
            format!("{key:?}"),
            format!("SigningKey {{ kid: \"{}\", .. }}", key.kid())
        );
    }
}
