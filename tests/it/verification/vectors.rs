//! tests/vectors/jws: a token, its keys, and what must come of it. A new attack is a new file.

use std::fs;
use std::path::Path;

use data_encoding::BASE64URL_NOPAD;
use hallpass::token::{Admission, Algorithm, KeySet, verify_jws};

use crate::support::leaks;

struct Vector {
    keys: String,
    algorithms: Vec<Algorithm>,
    token: String,
    expect: String,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
        };
        let algorithms = match field("algorithms") {
            Some(names) => names
                .split(' ')
                .map(|name| Algorithm::from_name(name).unwrap())
                .collect(),
            None => Algorithm::ALL.to_vec(),
        };
        Self {
            keys: field("keys").unwrap(),
            algorithms,
            token: field("token").unwrap(),
            expect: field("expect").unwrap(),
        }
    }

    fn outcome(&self) -> String {
        leaks::token(&self.token);
        let keys = KeySet::from_jwks(self.keys.as_bytes(), &Admission::default()).unwrap();
        match verify_jws(&self.token, &keys, &self.algorithms) {
            Ok(payload) => format!("payload {}", BASE64URL_NOPAD.encode(&payload)),
            Err(error) => error.reason().to_owned(),
        }
    }
}

/// T-25, T-27, T-29, T-31, T-32, T-33, T-34, T-35, T-36
#[test]
fn every_vector_ends_as_its_file_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/jws");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let vector = Vector::read(&path);
        assert_eq!(vector.outcome(), vector.expect, "{}", path.display());
        count += 1;
    }
    assert!(count >= 140, "only {count} vectors were found");
}
