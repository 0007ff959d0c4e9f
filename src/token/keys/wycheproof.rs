//! Project Wycheproof: signatures that are not what they seem, against the key that checks ours.
//!
//! Its messages are no tokens, so they go in below the token reader: the key comes from a key set as
//! an issuer's does, the signature goes to the same function as a token's.

use ::wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::super::Algorithm;
use super::{Admission, Choice, KeySet};

/// What is asked of one key.
struct Group {
    key: Value,
    tests: Vec<Test>,
}

struct Test {
    number: usize,
    message: Vec<u8>,
    signature: Vec<u8>,
    expected: TestResult,
}

/// Every test of the groups; how many valid ones there were.
fn run(algorithm: Algorithm, groups: Vec<Group>) -> usize {
    let mut valid = 0;
    for Group { key, tests } in groups {
        let document = json!({ "keys": [key] }).to_string();
        let set = KeySet::from_jwks(document.as_bytes(), &Admission::default()).unwrap();
        let Choice::Key(key) = set.choose(None, algorithm, |_| false) else {
            panic!("{:?} of {document}", set.rejected());
        };
        for test in tests {
            let holds = key.verifies(algorithm, &test.message, &test.signature);
            match test.expected {
                TestResult::Valid => assert!(holds, "{algorithm} {}", test.number),
                TestResult::Invalid => assert!(!holds, "{algorithm} {}", test.number),
                // Odd but not wrong: either is right.
                TestResult::Acceptable => {}
            }
            valid += usize::from(test.expected == TestResult::Valid);
        }
    }
    valid
}

/// The tests of a group, which is a type of its own for each kind of key.
macro_rules! tests {
    ($group:expr) => {
        $group
            .tests
            .iter()
            .map(|test| Test {
                number: test.tc_id,
                message: test.msg.to_vec(),
                signature: test.sig.to_vec(),
                expected: test.result,
            })
            .collect()
    };
}

fn text(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// Without the zero byte that its encoding puts before a number with the highest bit set.
fn number(bytes: &[u8]) -> String {
    text(bytes.strip_prefix(&[0]).unwrap_or(bytes))
}

fn rsa(n: &[u8], e: &[u8]) -> Value {
    json!({ "kty": "RSA", "n": number(n), "e": number(e) })
}

/// T-36, T-39
#[test]
fn rsa_signatures_hold_exactly_where_they_are_valid() {
    use rsa_pkcs1_verify::{TestName, TestSet};
    for (name, algorithm) in [
        (TestName::Rsa2048Sha256, Algorithm::RS256),
        (TestName::Rsa2048Sha384, Algorithm::RS384),
        (TestName::Rsa2048Sha512, Algorithm::RS512),
        (TestName::Rsa3072Sha256, Algorithm::RS256),
        (TestName::Rsa3072Sha384, Algorithm::RS384),
        (TestName::Rsa3072Sha512, Algorithm::RS512),
        (TestName::Rsa4096Sha256, Algorithm::RS256),
        (TestName::Rsa4096Sha384, Algorithm::RS384),
        (TestName::Rsa4096Sha512, Algorithm::RS512),
        (TestName::Rsa8192Sha256, Algorithm::RS256),
        (TestName::Rsa8192Sha384, Algorithm::RS384),
        (TestName::Rsa8192Sha512, Algorithm::RS512),
    ] {
        let groups = TestSet::load(name).unwrap().test_groups;
        let groups = groups.iter().map(|group| Group {
            key: rsa(&group.key.n, &group.key.e),
            tests: tests!(group),
        });
        assert!(run(algorithm, groups.collect()) > 5, "{name:?}");
    }
}

/// T-36, T-39
#[test]
fn pss_signatures_hold_exactly_where_they_are_valid() {
    use rsa_pss_verify::{TestName, TestSet};
    for (name, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen32, Algorithm::PS256),
        (TestName::RsaPss2048Sha384Mgf1SaltLen48, Algorithm::PS384),
        (TestName::RsaPss3072Sha256Mgf1SaltLen32, Algorithm::PS256),
        (TestName::RsaPss4096Sha256Mgf1SaltLen32, Algorithm::PS256),
        (TestName::RsaPss4096Sha384Mgf1SaltLen48, Algorithm::PS384),
        (TestName::RsaPss4096Sha512Mgf1SaltLen64, Algorithm::PS512),
    ] {
        let groups = TestSet::load(name).unwrap().test_groups;
        let groups = groups.iter().map(|group| Group {
            key: rsa(&group.key.n, &group.key.e),
            tests: tests!(group),
        });
        assert!(run(algorithm, groups.collect()) > 5, "{name:?}");
    }
}

/// Valid signatures, but for salts or masks that JWS does not have (RFC 7518 section 3.5).
///
/// T-36
#[test]
fn pss_signatures_with_other_parameters_do_not_hold() {
    use rsa_pss_verify::{TestName, TestSet};
    for (name, algorithm) in [
        (TestName::RsaPss2048Sha256Mgf1SaltLen0, Algorithm::PS256),
        (TestName::RsaPss2048Sha256Mgf1Sha1_20, Algorithm::PS256),
        (TestName::RsaPss4096Sha512Mgf1SaltLen32, Algorithm::PS512),
    ] {
        let groups = TestSet::load(name).unwrap().test_groups;
        for group in &groups {
            let mut tests: Vec<Test> = tests!(group);
            // One that is invalid there can have just the salt that JWS wants.
            tests.retain(|test| test.expected == TestResult::Valid);
            for test in &mut tests {
                test.expected = TestResult::Invalid;
            }
            let key = rsa(&group.key.n, &group.key.e);
            assert_eq!(run(algorithm, vec![Group { key, tests }]), 0);
        }
    }
}

/// T-35, T-36, T-39
#[test]
fn ecdsa_signatures_hold_exactly_where_they_are_valid() {
    use ecdsa::{TestName, TestSet};
    for (name, algorithm, curve) in [
        (
            TestName::EcdsaSecp256r1Sha256P1363,
            Algorithm::ES256,
            "P-256",
        ),
        (
            TestName::EcdsaSecp384r1Sha384P1363,
            Algorithm::ES384,
            "P-384",
        ),
    ] {
        let groups = TestSet::load(name).unwrap().test_groups;
        let groups = groups.iter().map(|group| {
            // 4, x, y.
            let point = &group.key.key[1..];
            let (x, y) = point.split_at(point.len() / 2);
            Group {
                key: json!({ "kty": "EC", "crv": curve, "x": text(x), "y": text(y) }),
                tests: tests!(group),
            }
        });
        assert!(run(algorithm, groups.collect()) > 50, "{name:?}");
    }
}

/// T-36, T-39
#[test]
fn ecdsa_signatures_in_der_never_hold() {
    use ecdsa::{TestName, TestSet};
    let groups = TestSet::load(TestName::EcdsaSecp256r1Sha256)
        .unwrap()
        .test_groups;
    for group in &groups {
        let (x, y) = group.key.key[1..].split_at(32);
        let key = json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) });
        let mut tests: Vec<Test> = tests!(group);
        for test in &mut tests {
            test.expected = TestResult::Invalid;
        }
        assert_eq!(run(Algorithm::ES256, vec![Group { key, tests }]), 0);
    }
}

/// T-36, T-39
#[test]
fn ed25519_signatures_hold_exactly_where_they_are_valid() {
    use eddsa::{TestName, TestSet};
    let groups = TestSet::load(TestName::Ed25519).unwrap().test_groups;
    let groups = groups.iter().map(|group| Group {
        key: json!({ "kty": "OKP", "crv": "Ed25519", "x": text(&group.key.pk) }),
        tests: tests!(group),
    });
    assert!(run(Algorithm::EdDSA, groups.collect()) > 50);
}
