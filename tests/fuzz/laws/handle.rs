//! A lease handle: nothing opens but what we sealed, and what we sealed opens as it was.

use std::sync::LazyLock;

use hallpass::clock::Timestamp;
use hallpass::lease::{LeaseContents, LeaseError, LeaseName, open, seal};
use hallpass::rootkey::{RootKey, RootKeys};

pub(crate) fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match open(text, &KEYS) {
        Ok(contents) => assert!(SEALED.contains(&text), "{contents:?} was opened"),
        Err(error) => {
            assert!(!SEALED.contains(&text), "{error}");
            assert_ne!(error, LeaseError::Crypto);
        }
    }
    if let Ok(name) = LeaseName::parse(text) {
        assert_eq!(name.to_string(), text);
    }
    let contents = LeaseContents {
        target: "shop-db".to_owned(),
        name: "hp_1lg7ei3_0123456789abc".to_owned(),
        expires_at: Timestamp::from_unix(i64::from(input.first().copied().unwrap_or_default())),
        policy: "shop-migrate".to_owned(),
        issuer: "https://ci.example".to_owned(),
        subject: text.to_owned(),
        repository: input.len().is_multiple_of(2).then(|| text.to_owned()),
    };
    match seal(&contents, &KEYS) {
        Ok(handle) => assert_eq!(open(handle.expose(), &KEYS), Ok(contents)),
        Err(error) => assert!(error == LeaseError::TooLong && text.len() > 200, "{error}"),
    }
}

/// Made for this test, with the handles below.
static KEYS: LazyLock<RootKeys> = LazyLock::new(|| {
    let key = RootKey::parse("hallpass-root-1:dGhpcyBpcyB0aGUga2V5IG9mIHRoZSBmdXp6IHRlc3Q")
        .expect("a root key");
    RootKeys::new("https://hallpass.example", 1, vec![key]).expect("a ring")
});

/// Handles sealed by that key, each in one line.
static SEALED: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("sealed.txt").lines().collect());
