//! josekit: JOSE over OpenSSL. The only module that names it.

use std::time::{Duration, UNIX_EPOCH};

use ::josekit::JoseError;
use ::josekit::jwk::{Jwk, JwkSet};
use ::josekit::jws::{self, JwsHeader, JwsVerifier};
use ::josekit::jwt::{self, JwtPayload, JwtPayloadValidator};
use hallpass::clock::{Clock as _, SystemClock};
use hallpass::token::Algorithm;

use crate::case::{Case, Opinion, Verdict};
use crate::tokens::{AUDIENCE, ISSUER};

pub(crate) const OPINION: Opinion = Opinion {
    name: "josekit",
    of_signature,
    of_token,
};

fn of_signature(case: &Case) -> Verdict {
    let verifiers = verifiers(case);
    let read = jws::JwsContext::new()
        .deserialize_compact_with_selector(&case.token, |header| Ok(choose(&verifiers, header)));
    match read {
        Ok((payload, _)) => Verdict::Accepts(Some(payload)),
        Err(_) => Verdict::Refuses,
    }
}

fn of_token(case: &Case) -> Verdict {
    let verifiers = verifiers(case);
    jwt::decode_with_verifier_selector(&case.token, |header| Ok(choose(&verifiers, header)))
        .and_then(|(claims, _)| check(&claims))
        .into()
}

fn check(claims: &JwtPayload) -> Result<(), JoseError> {
    let now = u64::try_from(SystemClock::new().now().unix()).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(now);
    let mut rules = JwtPayloadValidator::new();
    rules.set_base_time(now);
    rules.set_max_issued_time(now);
    rules.set_issuer(ISSUER);
    rules.set_audience(AUDIENCE);
    rules.validate(claims)
}

/// A verifier for each key and algorithm that go together.
struct Ready {
    kid: Option<String>,
    algorithm: Algorithm,
    verifier: Box<dyn JwsVerifier>,
}

fn verifiers(case: &Case) -> Vec<Ready> {
    let set = JwkSet::from_bytes(&case.keys);
    let keys = set.as_ref().map(JwkSet::keys).unwrap_or_default();
    keys.into_iter()
        .flat_map(|key| {
            case.algorithms.iter().filter_map(|algorithm| {
                Some(Ready {
                    kid: key.key_id().map(str::to_owned),
                    algorithm: *algorithm,
                    verifier: verifier(*algorithm, key)?,
                })
            })
        })
        .collect()
}

fn verifier(algorithm: Algorithm, key: &Jwk) -> Option<Box<dyn JwsVerifier>> {
    fn boxed<V: JwsVerifier + 'static>(
        verifier: Result<V, JoseError>,
    ) -> Option<Box<dyn JwsVerifier>> {
        verifier.ok().map(|verifier| Box::new(verifier) as Box<_>)
    }
    match algorithm {
        Algorithm::RS256 => boxed(jws::RS256.verifier_from_jwk(key)),
        Algorithm::RS384 => boxed(jws::RS384.verifier_from_jwk(key)),
        Algorithm::RS512 => boxed(jws::RS512.verifier_from_jwk(key)),
        Algorithm::PS256 => boxed(jws::PS256.verifier_from_jwk(key)),
        Algorithm::PS384 => boxed(jws::PS384.verifier_from_jwk(key)),
        Algorithm::PS512 => boxed(jws::PS512.verifier_from_jwk(key)),
        Algorithm::ES256 => boxed(jws::ES256.verifier_from_jwk(key)),
        Algorithm::ES384 => boxed(jws::ES384.verifier_from_jwk(key)),
        Algorithm::EdDSA => boxed(jws::EdDSA.verifier_from_jwk(key)),
    }
}

/// By `kid` and `alg`, as its documentation shows; without a `kid`, the only key that fits.
fn choose<'a>(verifiers: &'a [Ready], header: &JwsHeader) -> Option<&'a dyn JwsVerifier> {
    let mut fitting = verifiers.iter().filter(|ready| {
        header.algorithm() == Some(ready.algorithm.name())
            && (header.key_id().is_none() || header.key_id() == ready.kid.as_deref())
    });
    let first = fitting.next()?;
    (header.key_id().is_some() || fitting.next().is_none()).then_some(first.verifier.as_ref())
}
