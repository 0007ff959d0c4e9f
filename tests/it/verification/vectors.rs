//! tests/vectors/jws: a token, its keys, and what must come of it. A new attack is a new file.

use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use hallpass::token::{Admission, KeySet, verify_jws};

use crate::support::leaks;
use crate::support::vectors::Vector;

fn outcome(vector: &Vector) -> String {
    leaks::token(&vector.token);
    let keys = KeySet::from_jwks(vector.keys.as_bytes(), &Admission::default()).unwrap();
    match verify_jws(&vector.token, &keys, &vector.algorithms) {
        Ok(payload) => format!("payload {}", BASE64URL_NOPAD.encode(&payload)),
        Err(error) => error.reason().code().to_owned(),
    }
}

/// T-25, T-27, T-29, T-31, T-32, T-33, T-34, T-35, T-36
#[test]
fn every_vector_ends_as_its_file_says() {
    let vectors = Vector::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    for vector in &vectors {
        assert_eq!(outcome(vector), vector.expect, "{}", vector.path.display());
    }
    let count = vectors.len();
    assert!(count >= 140, "only {count} vectors were found");
}
