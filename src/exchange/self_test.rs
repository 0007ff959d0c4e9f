//! Tests the cryptographic library before anything is served.
//!
//! A wrong feature of a dependency can build hallpass with another library, or with one that
//! accepts everything. So a known-good signature of each algorithm must verify, and the same
//! signature with one changed bit must not (T-99).

use data_encoding::BASE64URL_NOPAD;

use crate::token::{Admission, Algorithm, KeySet, TrustedIssuer, VerifyError};

/// The signature check: [`verify_jws`](crate::token::verify_jws), except in tests of a broken
/// build.
pub type VerifySignature = fn(&str, &KeySet, &[Algorithm]) -> Result<Vec<u8>, VerifyError>;

/// Verifies the signatures of `self_test.txt`: its first line is a key set, each other line a token
/// of one algorithm, in the order of [`Algorithm::ALL`]. Their private keys were thrown away.
///
/// # Errors
/// The algorithm that fails.
pub(crate) fn run(
    verify: impl Fn(&str, &KeySet, &[Algorithm]) -> Result<Vec<u8>, VerifyError>,
) -> Result<(), String> {
    let mut lines = VECTORS.lines();
    let mut issuer = TrustedIssuer::new("self-test", "https://self-test.invalid");
    issuer.algorithms = Algorithm::ALL.to_vec();
    let set = lines.next().unwrap_or_default().as_bytes();
    let keys = KeySet::from_jwks(set, &Admission::for_issuer(&issuer))
        .map_err(|error| error.to_string())?;
    for algorithm in Algorithm::ALL {
        let good = lines.next().unwrap_or_default();
        if verify(good, &keys, &[algorithm]).is_err() {
            return Err(format!("a valid {algorithm} signature was rejected"));
        }
        let bad = with_one_bit_changed(good).ok_or("the test vectors are damaged")?;
        if verify(&bad, &keys, &[algorithm]).is_ok() {
            return Err(format!("an invalid {algorithm} signature was accepted"));
        }
    }
    Ok(())
}

/// The token with one bit of its signature flipped.
fn with_one_bit_changed(token: &str) -> Option<String> {
    let (signed, signature) = token.rsplit_once('.')?;
    let mut bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).ok()?;
    *bytes.get_mut(20)? ^= 1;
    Some(format!("{signed}.{}", BASE64URL_NOPAD.encode(&bytes)))
}

const VECTORS: &str = include_str!("self_test.txt");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::verify_jws;

    /// T-99
    #[test]
    fn every_algorithm_verifies_its_good_signature_and_refuses_its_bad_one() {
        assert_eq!(run(verify_jws), Ok(()));
        assert_eq!(VECTORS.lines().count(), 1 + Algorithm::ALL.len());
    }

    /// A text that is no token at all would be refused by a backend that accepts everything.
    #[test]
    fn a_bad_signature_is_a_good_one_but_for_one_bit() {
        let bytes = BASE64URL_NOPAD.encode(&[0xff; 64]);
        let changed = with_one_bit_changed(&format!("a.b.{bytes}")).unwrap();
        let signature = changed.strip_prefix("a.b.").unwrap();
        let changed = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        let ones: u32 = changed.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!((changed.len(), ones), (64, 511));
    }

    /// T-98, T-99
    #[test]
    fn a_backend_that_is_wrong_about_one_algorithm_is_found() {
        for broken in Algorithm::ALL {
            let accepts = run(|token, keys, algorithms| {
                if algorithms == [broken] {
                    return Ok(Vec::new());
                }
                verify_jws(token, keys, algorithms)
            });
            assert_eq!(
                accepts,
                Err(format!("an invalid {broken} signature was accepted"))
            );
            let refuses = run(|token, keys, algorithms| {
                if algorithms == [broken] {
                    return Err(VerifyError::Signature);
                }
                verify_jws(token, keys, algorithms)
            });
            assert_eq!(
                refuses,
                Err(format!("a valid {broken} signature was rejected"))
            );
        }
    }
}
