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

/// Whether a line of code compares something secret by its first difference: an operand of `==` or
/// `!=` that is exposed, or is named like a MAC, a hash or a secret. Lengths tell nothing.
fn compares_a_secret(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.replace("!=", "==")
        .split("==")
        .collect::<Vec<_>>()
        .windows(2)
        .any(|sides| {
            let part_of_a_name =
                |letter: char| letter.is_alphanumeric() || "_.()[]?:&*".contains(letter);
            let left = sides[0]
                .trim_end()
                .rsplit(|letter| !part_of_a_name(letter))
                .next();
            let right = sides[1]
                .trim_start()
                .split(|letter| !part_of_a_name(letter))
                .next();
            [left, right].into_iter().flatten().any(|operand| {
                let operand = operand.to_ascii_lowercase();
                let words: Vec<&str> = operand
                    .split(|letter: char| !letter.is_alphanumeric())
                    .collect();
                let is_secret = SECRET_WORDS.iter().any(|word| words.contains(word));
                is_secret
                    && !["len()", "is_none()", "is_some()", "is_empty()"]
                        .iter()
                        .any(|end| operand.ends_with(end))
            })
        })
}

const SECRET_WORDS: [&str; 9] = [
    "expose",
    "mac",
    "hmac",
    "tag",
    "hash",
    "secret",
    "password",
    "handle",
    "idempotency",
];

/// T-95
#[test]
fn secrets_and_macs_are_compared_by_the_backend() {
    for bad in [
        "if found.expose() == token {",
        "record.mac != expected",
        "first.key_hash == again.key_hash",
        "password == &order.password",
        "if made_with != order.key_hash.as_deref() {",
    ] {
        assert!(compares_a_secret(bad), "{bad}");
    }
    for good in [
        "key.expose().len() == KEY_LENGTH",
        "if order.credential == name {",
        "let hash = digest(text); // hash == hash",
        "verify_slices_are_equal(mac, expected).is_ok()",
    ] {
        assert!(!compares_a_secret(good), "{good}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut found = Vec::new();
    for path in files {
        let source = fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        for line in code
            .lines()
            .map(str::trim)
            .filter(|line| compares_a_secret(line))
        {
            // The demo's servers are not reached by anybody.
            if !name.starts_with("dev/") {
                found.push(format!("{name}: {line}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
