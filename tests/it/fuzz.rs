//! The corpus of the fuzz targets, replayed through their laws: what was found once stays found.
#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../fuzz/laws/discovery.rs"]
mod discovery;
#[path = "../fuzz/laws/form.rs"]
mod form;
#[path = "../fuzz/laws/glob.rs"]
mod glob;
#[path = "../fuzz/laws/handle.rs"]
mod handle;
#[path = "../fuzz/laws/json.rs"]
mod json;
#[path = "../fuzz/laws/keys.rs"]
mod keys;
#[path = "../fuzz/laws/policy.rs"]
mod policy;
#[path = "../fuzz/laws/split.rs"]
mod split;
#[path = "../fuzz/laws/ssh_key.rs"]
mod ssh_key;
#[path = "../fuzz/laws/text.rs"]
mod text;

const TARGETS: [&str; 9] = [
    "discovery",
    "form",
    "glob",
    "handle",
    "json",
    "keys",
    "policy",
    "split",
    "ssh_key",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn names(path: &Path) -> BTreeSet<String> {
    fs::read_dir(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect()
}

/// Each file of the corpus through the law.
fn replay(target: &str, holds: fn(&[u8])) {
    let mut count = 0;
    for entry in fs::read_dir(folder().join("corpus").join(target)).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        let kept = std::panic::catch_unwind(|| holds(&input));
        assert!(kept.is_ok(), "{} breaks the law", path.display());
        count += 1;
    }
    assert!(count >= 5, "only {count} files were found");
}

/// T-13, T-14, T-16, T-20, T-23
#[test]
fn the_corpus_of_tokens_keeps_the_laws() {
    replay("split", split::holds);
}

/// T-16, T-17, T-18
#[test]
fn the_corpus_of_strict_json_keeps_the_laws() {
    replay("json", json::holds);
}

/// T-29, T-31, T-32, T-33, T-35, T-38
#[test]
fn the_corpus_of_key_sets_keeps_the_laws() {
    replay("keys", keys::holds);
}

/// T-54, T-59
#[test]
fn the_corpus_of_discovery_documents_keeps_the_laws() {
    replay("discovery", discovery::holds);
}

/// T-05, T-07
#[test]
fn the_corpus_of_form_bodies_keeps_the_laws() {
    replay("form", form::holds);
}

/// T-75
#[test]
fn the_corpus_of_globs_keeps_the_laws() {
    replay("glob", glob::holds);
}

/// T-49, T-76, T-78, T-91
#[test]
fn the_corpus_of_policies_keeps_the_laws() {
    replay("policy", policy::holds);
}

/// T-113
#[test]
fn the_corpus_of_lease_handles_keeps_the_laws() {
    replay("handle", handle::holds);
}

/// T-144
#[test]
fn the_corpus_of_public_keys_keeps_the_laws() {
    replay("ssh_key", ssh_key::holds);
}

#[test]
fn every_target_has_its_law_its_program_and_its_corpus() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names(&folder().join("targets")), targets);
    assert_eq!(names(&folder().join("corpus")), targets);
    let laws = names(&folder().join("laws"));
    assert!(targets.is_subset(&laws), "{laws:?}");
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for target in targets {
        assert!(
            manifest.contains(&format!("path = \"targets/{target}.rs\"")),
            "{target} is not in tests/fuzz/Cargo.toml"
        );
        let count = names(&folder().join("corpus").join(&target)).len();
        assert!(count <= 60, "the corpus of {target} has {count} files");
    }
}
