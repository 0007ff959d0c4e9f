//! tests/vectors/jws, each file a class of its own.

use std::path::Path;

use crate::case::Case;
use crate::vector::Vector;

pub(crate) fn cases() -> Vec<Case> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut cases: Vec<Case> = Vector::all(&tests).into_iter().map(case).collect();
    assert!(cases.len() >= 40, "only {} vectors were found", cases.len());
    cases.sort_by(|one, other| one.class.cmp(&other.class));
    cases
}

fn case(vector: Vector) -> Case {
    Case {
        class: vector
            .path
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned(),
        keys: vector.keys,
        algorithms: vector.algorithms,
        token: vector.token,
        genuine: vector.expect.starts_with("payload "),
    }
}
