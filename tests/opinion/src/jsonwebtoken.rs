//! jsonwebtoken: the usual crate, over the same cryptographic library as ours.

use std::collections::HashSet;

use ::jsonwebtoken::jwk::{Jwk, JwkSet};
use ::jsonwebtoken::{Algorithm as Theirs, DecodingKey, Validation, decode, decode_header};
use hallpass::token::Algorithm;
use serde_json::Value;

use crate::case::{Case, Opinion, Verdict};
use crate::tokens::{AUDIENCE, ISSUER};

pub(crate) const OPINION: Opinion = Opinion {
    name: "jsonwebtoken",
    of_signature,
    of_token,
};

fn of_signature(case: &Case) -> Verdict {
    ask(case, |rules| {
        rules.required_spec_claims = HashSet::new();
        rules.validate_exp = false;
        rules.validate_aud = false;
    })
}

fn of_token(case: &Case) -> Verdict {
    ask(case, |rules| {
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[AUDIENCE]);
        rules.validate_nbf = true;
        rules.leeway = 0;
    })
}

fn ask(case: &Case, set: impl FnOnce(&mut Validation)) -> Verdict {
    let Some(key) = chosen(case) else {
        return Verdict::Refuses;
    };
    let mut rules = Validation::new(Theirs::RS256);
    // It wants algorithms of one family, that of the key.
    rules.algorithms = case
        .algorithms
        .iter()
        .map(|algorithm| theirs(*algorithm))
        .filter(|algorithm| algorithm.family() == key.family())
        .collect();
    set(&mut rules);
    decode::<Value>(&case.token, &key, &rules).into()
}

/// By `kid`, as its documentation shows; without one, the only key of the algorithm's family.
fn chosen(case: &Case) -> Option<DecodingKey> {
    let header = decode_header(&case.token).ok()?;
    let set: JwkSet = serde_json::from_str(&case.keys).ok()?;
    let ready = |key: &Jwk| DecodingKey::from_jwk(key).ok();
    if let Some(kid) = header.kid {
        return ready(set.find(&kid)?);
    }
    let mut fitting = set
        .keys
        .iter()
        .filter_map(ready)
        .filter(|key| key.family() == header.alg.family());
    let first = fitting.next();
    first.filter(|_| fitting.next().is_none())
}

const fn theirs(algorithm: Algorithm) -> Theirs {
    match algorithm {
        Algorithm::RS256 => Theirs::RS256,
        Algorithm::RS384 => Theirs::RS384,
        Algorithm::RS512 => Theirs::RS512,
        Algorithm::PS256 => Theirs::PS256,
        Algorithm::PS384 => Theirs::PS384,
        Algorithm::PS512 => Theirs::PS512,
        Algorithm::ES256 => Theirs::ES256,
        Algorithm::ES384 => Theirs::ES384,
        Algorithm::EdDSA => Theirs::EdDSA,
    }
}
