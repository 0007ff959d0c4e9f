//! Reads `tests/vectors/jws`: a token, its keys, and what must come of it.

use std::fs;
use std::path::{Path, PathBuf};

use hallpass::token::Algorithm;

/// One file.
pub(crate) struct Vector {
    pub(crate) path: PathBuf,
    pub(crate) keys: String,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) token: String,
    pub(crate) expect: String,
}

impl Vector {
    /// Every file of the folder, which stands in `tests` of hallpass.
    pub(crate) fn all(tests: &Path) -> Vec<Self> {
        fs::read_dir(tests.join("vectors/jws"))
            .unwrap()
            .map(|entry| Self::read(entry.unwrap().path()))
            .collect()
    }

    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
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
            path,
        }
    }
}
