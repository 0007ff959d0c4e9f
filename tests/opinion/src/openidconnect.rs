//! openidconnect: ID tokens over `RustCrypto`. The only module that names it.

use std::str::FromStr as _;

use ::openidconnect::core::{
    CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKey, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
};
use ::openidconnect::{ClientId, IssuerUrl, JsonWebKey as _, Nonce};
use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use hallpass::clock::{Clock as _, SystemClock};
use hallpass::token::Algorithm;

use crate::case::{Case, Opinion, Verdict};
use crate::tokens::{AUDIENCE, ISSUER};

pub(crate) const OPINION: Opinion = Opinion {
    name: "openidconnect",
    of_signature,
    of_token,
};

/// It has no reader of tokens without claims: so its keys are asked, and the text is taken apart
/// here.
fn of_signature(case: &Case) -> Verdict {
    match signed_payload(case) {
        Some(payload) => Verdict::Accepts(Some(payload)),
        None => Verdict::Refuses,
    }
}

fn signed_payload(case: &Case) -> Option<Vec<u8>> {
    let decoded = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
    let (signing_input, signature) = case.token.rsplit_once('.')?;
    let (header, payload) = signing_input.split_once('.')?;
    let header: serde_json::Value = serde_json::from_slice(&decoded(header)?).ok()?;
    let algorithm = case
        .algorithms
        .iter()
        .find(|algorithm| header["alg"] == algorithm.name())
        .map(|algorithm| theirs(*algorithm))?;
    let set: CoreJsonWebKeySet = serde_json::from_str(&case.keys).ok()?;
    let named = header["kid"].as_str();
    let key = chosen(set.keys(), named, &algorithm)?;
    key.verify_signature(&algorithm, signing_input.as_bytes(), &decoded(signature)?)
        .ok()?;
    decoded(payload)
}

/// As its verifier of ID tokens does: one key must be left, by `kid` and by what keys say of
/// themselves.
fn chosen<'a>(
    keys: &'a [CoreJsonWebKey],
    kid: Option<&str>,
    algorithm: &CoreJwsSigningAlgorithm,
) -> Option<&'a CoreJsonWebKey> {
    use ::openidconnect::{JsonWebKeyAlgorithm, JwsSigningAlgorithm as _};
    let mut fitting = keys.iter().filter(|key| {
        let own = match key.signing_alg() {
            JsonWebKeyAlgorithm::Unspecified => true,
            JsonWebKeyAlgorithm::Algorithm(own) => own == algorithm,
            JsonWebKeyAlgorithm::Unsupported => false,
        };
        own && algorithm.key_type().as_ref() == Some(key.key_type())
            && (kid.is_none() || kid == key.key_id().map(|kid| kid.as_str()))
    });
    let first = fitting.next();
    first.filter(|_| fitting.next().is_none())
}

fn of_token(case: &Case) -> Verdict {
    judge(case).into()
}

fn judge(case: &Case) -> Result<(), String> {
    let keys: CoreJsonWebKeySet =
        serde_json::from_str(&case.keys).map_err(|error| error.to_string())?;
    let now = SystemClock::new().now().unix();
    let verifier = CoreIdTokenVerifier::new_public_client(
        ClientId::new(AUDIENCE.to_owned()),
        IssuerUrl::new(ISSUER.to_owned()).unwrap(),
        keys,
    )
    .set_allowed_algs(case.algorithms.iter().map(|algorithm| theirs(*algorithm)))
    .set_time_fn(move || DateTime::<Utc>::from_timestamp(now, 0).unwrap());
    let token = CoreIdToken::from_str(&case.token).map_err(|error| error.to_string())?;
    token
        .claims(&verifier, |_: Option<&Nonce>| Ok(()))
        .map(|_| ())
        .map_err(|error| error.to_string())
}

const fn theirs(algorithm: Algorithm) -> CoreJwsSigningAlgorithm {
    match algorithm {
        Algorithm::RS256 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
        Algorithm::RS384 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
        Algorithm::RS512 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
        Algorithm::PS256 => CoreJwsSigningAlgorithm::RsaSsaPssSha256,
        Algorithm::PS384 => CoreJwsSigningAlgorithm::RsaSsaPssSha384,
        Algorithm::PS512 => CoreJwsSigningAlgorithm::RsaSsaPssSha512,
        Algorithm::ES256 => CoreJwsSigningAlgorithm::EcdsaP256Sha256,
        Algorithm::ES384 => CoreJwsSigningAlgorithm::EcdsaP384Sha384,
        Algorithm::EdDSA => CoreJwsSigningAlgorithm::EdDsa,
    }
}
