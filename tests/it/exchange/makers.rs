//! Each piece of evidence has one maker, and credentials are minted in one place.

use crate::support::sources::sources;

/// What is compiled into the product: each file by its name in `src/`, without its tests.
fn product() -> Vec<(String, String)> {
    let files = sources(&["src"]).into_iter();
    let files = files.filter(|(name, _)| !name.ends_with("/tests.rs"));
    let without_tests = |(name, text): (String, String)| {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let name = name.trim_start_matches("src/").to_owned();
        (name, code.to_owned())
    };
    files.map(without_tests).collect()
}

/// T-37, T-81
#[test]
fn evidence_is_made_in_one_place_each_and_minting_is_asked_for_in_one() {
    let files = product();
    let where_is = |text: &str| {
        let has = |code: &str| code.lines().any(|line| line.trim_start().contains(text));
        let found = files.iter().filter(|(_, code)| has(code));
        found.map(|(name, _)| name.as_str()).collect::<Vec<_>>()
    };
    for (text, maker) in [
        (".used_tokens.reserve(", "exchange/issue.rs"),
        (".record_intent(", "exchange/issue.rs"),
        (".mints.mint(", "exchange/issue.rs"),
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
    let mut found = Vec::new();
    for (name, code) in product() {
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
