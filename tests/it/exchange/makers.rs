//! Each piece of evidence has one maker, and credentials are minted in one place.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("tests.rs")
        {
            found.push(path);
        }
    }
}

/// T-37, T-81
#[test]
fn evidence_is_made_in_one_place_each_and_minting_is_asked_for_in_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let where_is = |text: &str| {
        let mut found: Vec<_> = files
            .iter()
            .filter(|path| {
                let source = fs::read_to_string(path).unwrap();
                let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
                code.lines().any(|line| line.trim_start().contains(text))
            })
            .map(|path| path.strip_prefix(&root).unwrap().display().to_string())
            .collect();
        found.sort();
        found
    };
    for (text, maker) in [
        (".used_tokens.reserve(", "exchange.rs"),
        (".record_intent(", "exchange.rs"),
        (".mints.mint(", "exchange.rs"),
        (".decide(job", "exchange.rs"),
        (".verifier.verify(", "exchange.rs"),
        ("Ok(Permit {", "policy/decide.rs"),
        ("Ok(Recorded {", "audit/log.rs"),
    ] {
        assert_eq!(where_is(text), [maker], "{text}");
    }
}
