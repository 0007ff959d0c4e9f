//! The signing keys: one per epoch and root, derived, held, and published before they sign.
//!
//! An epoch is a fixed span of Unix time, so replicas change keys at the same second with nothing to
//! synchronise. The key set shows the previous, the current and the next epoch of every root in the
//! ring: whoever caches it meets no key that it has not seen for a whole epoch (T-88).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::rootkey::{Label, Member, RootKeys};
use crate::secret::Secret;

/// The algorithms a derived key may sign with. RS256 needs a key of its own and cannot be derived.
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
}

/// The signing keys of now, with their neighbours.
pub struct Keys {
    roots: RootKeys,
    algorithm: SigningAlgorithm,
    /// Seconds.
    epoch: i64,
    held: ArcSwap<Held>,
}

impl Keys {
    /// Derives the keys of `now`.
    ///
    /// # Errors
    /// The epoch is shorter than the longest life of a token or longer than 90 days, or the
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
        let held = Held::derive(&roots, algorithm, seconds, epoch_of(now, seconds))?;
        Ok(Self {
            roots,
            algorithm,
            epoch: seconds,
            held: ArcSwap::from_pointee(held),
        })
    }

    /// The key set (RFC 7517 section 5) to publish at `now`.
    ///
    /// # Errors
    /// The cryptographic library refuses a key.
    pub fn jwks(&self, now: Timestamp) -> Result<Value, KeysError> {
        let held = self.held(now)?;
        let keys: Vec<_> = held.keys().map(|key| key.public.clone()).collect();
        Ok(json!({ "keys": keys }))
    }

    /// The RFC 7638 thumbprints of everything in the key set of `now`. An issuer that publishes one
    /// of these is us, or has our key, and is refused (T-84, T-109).
    ///
    /// # Errors
    /// The cryptographic library refuses a key.
    pub fn thumbprints(&self, now: Timestamp) -> Result<Vec<String>, KeysError> {
        let held = self.held(now)?;
        Ok(held.keys().map(|key| key.kid.clone()).collect())
    }

    /// The root keys they are derived from.
    #[must_use]
    pub const fn roots(&self) -> &RootKeys {
        &self.roots
    }

    /// What they sign with.
    #[must_use]
    pub const fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// The end of the epoch after `minted_at`'s: from then on its key is not published any more, so
    /// no token may live longer.
    #[must_use]
    pub const fn last_second(&self, minted_at: Timestamp) -> Timestamp {
        let next = epoch_of(minted_at, self.epoch).saturating_add(2);
        Timestamp::from_unix(next.saturating_mul(self.epoch))
    }

    /// The key that signs what was first minted at `minted_at`; for a repeat that may be the key of
    /// the previous epoch.
    pub(super) fn signer(
        &self,
        minted_at: Timestamp,
        now: Timestamp,
    ) -> Result<Arc<SigningKey>, KeysError> {
        let held = self.held(now)?;
        let wanted = epoch_of(minted_at, self.epoch);
        held.active
            .iter()
            .find(|key| key.epoch == wanted)
            .cloned()
            .ok_or(KeysError::Withdrawn)
    }

    /// The keys of `now`: derived by whoever comes first after the epoch has changed.
    fn held(&self, now: Timestamp) -> Result<Arc<Held>, KeysError> {
        let epoch = epoch_of(now, self.epoch);
        let held = self.held.load_full();
        if held.epoch == epoch {
            return Ok(held);
        }
        let held = Arc::new(Held::derive(
            &self.roots,
            self.algorithm,
            self.epoch,
            epoch,
        )?);
        self.held.store(Arc::clone(&held));
        Ok(held)
    }
}

/// Shows no key.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("roots", &self.roots)
            .field("algorithm", &self.algorithm)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// Why there is no signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// An epoch that cannot work.
    #[error(
        "the signing epoch is {seconds} s, expected 3600 s (the longest life of a token) to 7776000 s (90 days)"
    )]
    Epoch {
        /// Its length.
        seconds: i64,
    },
    /// Too long ago, or ahead of us.
    #[error("the key of that time does not sign any more")]
    Withdrawn,
    /// The cryptographic library refused a key, which it never should.
    #[error("the cryptographic library refused a derived key")]
    Crypto,
}

/// The keys of one epoch and its neighbours.
struct Held {
    epoch: i64,
    /// Of the active root.
    active: Vec<Arc<SigningKey>>,
    /// Of the other roots: published, never used.
    others: Vec<Arc<SigningKey>>,
}

impl Held {
    fn derive(
        roots: &RootKeys,
        algorithm: SigningAlgorithm,
        length: i64,
        epoch: i64,
    ) -> Result<Self, KeysError> {
        let of = |root: &Member| {
            [-1, 0, 1]
                .into_iter()
                .map(|step| epoch.saturating_add(step))
                .map(|epoch| SigningKey::derive(root, algorithm, length, epoch).map(Arc::new))
                .collect::<Result<Vec<_>, _>>()
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
        self.active.iter().chain(&self.others).map(Arc::as_ref)
    }
}

/// A key pair ready to sign. Parsed once: parsing costs as much as signing does.
pub(super) struct SigningKey {
    epoch: i64,
    kid: String,
    /// Its public half, with exactly the public members (T-87).
    public: Value,
    /// The encoded JOSE header and a dot: `alg` and `kid` are the key's, never a caller's.
    header: String,
    pair: Pair,
}

impl SigningKey {
    fn derive(
        root: &Member,
        algorithm: SigningAlgorithm,
        length: i64,
        epoch: i64,
    ) -> Result<Self, KeysError> {
        let context = [epoch.to_be_bytes(), length.to_be_bytes()];
        let pair = match algorithm {
            SigningAlgorithm::Es256 => Pair::es256(root, &context)?,
            SigningAlgorithm::EdDsa => Pair::ed_dsa(root, &context)?,
        };
        let (mut public, kid) = pair.public()?;
        let header = json!({ "alg": algorithm.name(), "kid": kid, "typ": "at+jwt" });
        if let Some(members) = public.as_object_mut() {
            members.insert("alg".to_owned(), algorithm.name().into());
            members.insert("kid".to_owned(), kid.clone().into());
            members.insert("use".to_owned(), "sig".into());
        }
        Ok(Self {
            epoch,
            kid,
            public,
            header: BASE64URL_NOPAD.encode(header.to_string().as_bytes()) + ".",
            pair,
        })
    }

    /// The compact serialisation (RFC 7515 section 3.1) of a token with these claims.
    pub(super) fn sign(&self, claims: &[u8]) -> Result<Secret<String>, KeysError> {
        // Room for both encodings and an ECDSA or Ed25519 signature, so that nothing moves.
        let room = self
            .header
            .len()
            .saturating_add(claims.len().saturating_mul(2));
        let mut token = String::with_capacity(room.saturating_add(128));
        token.push_str(&self.header);
        BASE64URL_NOPAD.encode_append(claims, &mut token);
        let signature = self.pair.sign(token.as_bytes())?;
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut token);
        Ok(Secret::new(token))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

enum Pair {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

impl Pair {
    /// FIPS 186-5 A.2.2: candidates until one is at most n − 2, and one more than that is the key.
    fn es256(root: &Member, context: &[[u8; 8]; 2]) -> Result<Self, KeysError> {
        let [epoch, length] = context;
        for counter in 0..CANDIDATES {
            let parts: [&[u8]; 3] = [epoch, length, &counter.to_be_bytes()];
            let candidate = root.derive(Label::TokenSigningEs256, &parts);
            let Some(scalar) = accept_candidate(&candidate) else {
                continue;
            };
            let refused = |_| KeysError::Crypto;
            let point = PrivateKey::from_private_key(&ECDH_P256, scalar.expose())
                .map_err(refused)?
                .compute_public_key()
                .map_err(|_| KeysError::Crypto)?;
            let pair = EcdsaKeyPair::from_private_key_and_public_key(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                scalar.expose(),
                point.as_ref(),
            );
            return pair.map(Self::Es256).map_err(refused);
        }
        Err(KeysError::Crypto)
    }

    fn ed_dsa(root: &Member, context: &[[u8; 8]; 2]) -> Result<Self, KeysError> {
        let [epoch, length] = context;
        let seed = root.derive(Label::TokenSigningEdDsa, &[epoch, length]);
        Ed25519KeyPair::from_seed_unchecked(seed.expose())
            .map(Self::EdDsa)
            .map_err(|_| KeysError::Crypto)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeysError> {
        let signature = match self {
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), message),
            Self::EdDsa(pair) => pair.try_sign(message),
        };
        let signature = signature.map_err(|_| KeysError::Crypto)?;
        Ok(signature.as_ref().to_vec())
    }

    /// The members that make up the public key, and their RFC 7638 thumbprint.
    fn public(&self) -> Result<(Value, String), KeysError> {
        match self {
            Self::Es256(pair) => {
                // SEC 1 section 2.3.3: 4, then both coordinates.
                let point = pair.public_key().as_ref();
                let coordinates = point.strip_prefix(&[4]).ok_or(KeysError::Crypto)?;
                let (x, y) = coordinates.split_at_checked(32).ok_or(KeysError::Crypto)?;
                let (x, y) = (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y));
                let kid = ec_thumbprint(&x, &y);
                Ok((json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }), kid))
            }
            Self::EdDsa(pair) => {
                let x = BASE64URL_NOPAD.encode(pair.public_key().as_ref());
                let kid = okp_thumbprint(&x);
                Ok((json!({ "kty": "OKP", "crv": "Ed25519", "x": x }), kid))
            }
        }
    }
}

/// The RFC 7638 thumbprint of a P-256 key with these base64url coordinates.
#[must_use]
pub fn ec_thumbprint(x: &str, y: &str) -> String {
    thumbprint(&format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#
    ))
}

/// The RFC 7638 thumbprint of an Ed25519 key with this base64url coordinate (RFC 8037 section 2).
#[must_use]
pub fn okp_thumbprint(x: &str) -> String {
    thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#))
}

fn thumbprint(canonical: &str) -> String {
    BASE64URL_NOPAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
}

/// The private key that a candidate makes: `candidate + 1`, unless that were n or more.
fn accept_candidate(candidate: &Secret<[u8; 32]>) -> Option<Secret<[u8; 32]>> {
    if *candidate.expose() > ORDER_LESS_2 {
        return None;
    }
    let mut scalar = *candidate.expose();
    for byte in scalar.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    Some(Secret::new(scalar))
}

const fn epoch_of(time: Timestamp, length: i64) -> i64 {
    match time.unix().checked_div_euclid(length) {
        Some(epoch) => epoch,
        // A length of zero is refused when the keys are made.
        None => 0,
    }
}

/// n − 2 for the order n of P-256 (SP 800-186 section 3.2.1.3), big-endian like the candidates.
const ORDER_LESS_2: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x4f,
];
/// A candidate is refused once in 2^32 times.
const CANDIDATES: u32 = 16;
/// The longest life of any credential, so that a token always ends before its key is withdrawn.
const SHORTEST_EPOCH: i64 = 3_600;
const LONGEST_EPOCH: i64 = 90 * 86_400;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
        let found = keys.thumbprints(Timestamp::from_unix(at)).unwrap();
        found.into_iter().collect()
    }

    fn signer(keys: &Keys, at: i64) -> String {
        let at = Timestamp::from_unix(at);
        keys.signer(at, at).unwrap().kid.clone()
    }

    /// T-87
    #[test]
    fn the_key_set_has_exactly_the_public_members() {
        for (algorithm, members) in [
            (SigningAlgorithm::Es256, "alg crv kid kty use x y"),
            (SigningAlgorithm::EdDsa, "alg crv kid kty use x"),
        ] {
            let keys = keys_of(vec![root('a')], 1, algorithm);
            let jwks = keys.jwks(Timestamp::from_unix(5)).unwrap();
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
            keys.signer(first, now).unwrap().kid,
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

    #[test]
    fn the_thumbprint_is_rfc_7638() {
        // RFC 8037 appendix A.3.
        assert_eq!(
            okp_thumbprint("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn candidates_beyond_the_order_are_refused() {
        let order_less_1 = {
            let mut bytes = ORDER_LESS_2;
            bytes[31] += 1;
            bytes
        };
        assert!(accept_candidate(&Secret::new(order_less_1)).is_none());
        assert!(accept_candidate(&Secret::new([0xff; 32])).is_none());
        let largest = accept_candidate(&Secret::new(ORDER_LESS_2)).unwrap();
        assert_eq!(largest.expose(), &order_less_1);
        PrivateKey::from_private_key(&ECDH_P256, largest.expose()).unwrap();
        let smallest = accept_candidate(&Secret::new([0; 32])).unwrap();
        assert_eq!(smallest.expose()[31], 1);
        let mut carry = [0; 32];
        carry[31] = 0xff;
        assert_eq!(
            accept_candidate(&Secret::new(carry)).unwrap().expose()[30..],
            [1, 0]
        );
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
            format!("SigningKey {{ kid: \"{}\", .. }}", key.kid)
        );
    }
}
