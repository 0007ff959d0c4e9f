//! Ours.

use std::sync::Arc;

use ::hallpass::clock::SystemClock;
use ::hallpass::token::keys::FileKeys;
use ::hallpass::token::{
    Admission, KeySet, SubjectToken, TrustedIssuer, Verifier, VerifyError, verify_jws,
};

use crate::case::{Case, Opinion, Verdict};
use crate::tokens::{AUDIENCE, ISSUER};

pub(crate) const OPINION: Opinion = Opinion {
    name: "hallpass",
    of_signature,
    of_token,
};

fn of_signature(case: &Case) -> Verdict {
    let Ok(keys) = KeySet::from_jwks(case.keys.as_bytes(), &Admission::default()) else {
        return Verdict::Refuses;
    };
    match verify_jws(&case.token, &keys, &case.algorithms) {
        Ok(payload) => Verdict::Accepts(Some(payload)),
        Err(_) => Verdict::Refuses,
    }
}

fn of_token(case: &Case) -> Verdict {
    verify(case).into()
}

/// Why it is refused.
pub(crate) fn verify(case: &Case) -> Result<(), VerifyError> {
    let mut issuer = TrustedIssuer::new("ci", ISSUER);
    issuer.algorithms.clone_from(&case.algorithms);
    issuer.leeway = 0;
    let keys = FileKeys::new().with_document(&issuer, case.keys.as_bytes())?;
    let verifier = Verifier::new(
        AUDIENCE.to_owned(),
        vec![Arc::new(issuer)],
        Arc::new(keys),
        Arc::new(SystemClock::new()),
    );
    let token = SubjectToken::new(case.token.clone());
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(verifier.verify(&token))
        .map(|_| ())
}
