//! tests/vectors/jws, each file a class of its own.

use std::fs;
use std::path::Path;

use hallpass::token::Algorithm;

use crate::case::Case;

pub(crate) fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/jws");
    let mut cases: Vec<Case> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| read(&entry.unwrap().path()))
        .collect();
    assert!(cases.len() >= 40, "only {} vectors were found", cases.len());
    cases.sort_by(|one, other| one.class.cmp(&other.class));
    cases
}

fn read(path: &Path) -> Case {
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
    Case {
        class: path.file_stem().unwrap().to_string_lossy().into_owned(),
        keys: field("keys").unwrap(),
        algorithms,
        token: field("token").unwrap(),
        genuine: field("expect").unwrap().starts_with("payload "),
    }
}
