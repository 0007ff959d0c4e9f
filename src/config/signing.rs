//! `signing:`: the keys that sign tokens.

use std::time::Duration;

use crate::credential::jwt::{Rs256Files, SigningAlgorithm};
use crate::yaml::settings::{Item, Section};

/// How minted tokens are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// `ES256` or `EdDSA`.
    pub algorithm: SigningAlgorithm,
    /// How long one signing key signs.
    pub epoch: Duration,
    /// Raised to withdraw every derived key at once (T-112).
    pub generation: u32,
    /// The RSA keys for credentials with `algorithm: RS256`: `also`.
    pub rs256: Option<Rs256Files>,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            algorithm: SigningAlgorithm::Es256,
            epoch: Duration::from_secs(7 * 86_400),
            generation: 1,
            rs256: None,
        }
    }
}

pub(super) fn read(section: &Section<'_>) -> Signing {
    let mut signing = Signing::default();
    section.planned("kind", "signing keys are derived from the root key");
    section.set("algorithm", &mut signing.algorithm, |item| {
        match item.text()?.as_str() {
            "ES256" => Some(SigningAlgorithm::Es256),
            "EdDSA" => Some(SigningAlgorithm::EdDsa),
            "RS256" => item.wrong(
                "`RS256` cannot be derived from the root key",
                "write `ES256` or `EdDSA`; a key for relying parties that take RS256 only goes under `also`",
            ),
            other => item.wrong(
                &format!("we do not sign with `{other}`"),
                "write `ES256` or `EdDSA`",
            ),
        }
    });
    section.set("epoch", &mut signing.epoch, |item| {
        item.duration(MIN_EPOCH, MAX_EPOCH)
    });
    section.set("generation", &mut signing.generation, |item| {
        u32::try_from(item.number(1, 1_000_000)?).ok()
    });
    section.set("also", &mut signing.rs256, |item| also(item).map(Some));
    section.finish();
    signing
}

/// A list of further keys, at most one entry for each algorithm; RS256 is the only one yet.
fn also(list: &Item<'_>) -> Option<Rs256Files> {
    let mut found = None;
    for entry in list.list()? {
        let files = rs256(&entry)?;
        if found.replace(files).is_some() {
            return entry.wrong(
                "a second entry of `also` for `RS256`",
                "keep one; a key that is to sign later is its `next`",
            );
        }
    }
    match found {
        Some(files) => Some(files),
        None => list.wrong("`also` is empty", "name a key, or leave `also` out"),
    }
}

/// `{ kind: file, algorithm: RS256, key: { file: … }, next: { file: … } }`.
fn rs256(entry: &Item<'_>) -> Option<Rs256Files> {
    let section = entry.section()?;
    let kind = section.required("kind").and_then(|kind| {
        let text = kind.text()?;
        match text.as_str() {
            "file" => Some(()),
            other => kind.wrong(&format!("unknown kind of key `{other}`"), "write `file`"),
        }
    });
    let algorithm = section.required("algorithm").and_then(|algorithm| {
        let text = algorithm.text()?;
        match text.as_str() {
            "RS256" => Some(()),
            other => algorithm.wrong(
                &format!("a key under `also` does not sign with `{other}`"),
                "write `RS256`",
            ),
        }
    });
    let file = |item: Item<'_>, what| {
        let section = item.section_or_secret(what)?;
        let file = section.required("file").and_then(|file| file.path());
        section.finish();
        file
    };
    let key = section.required("key").and_then(|item| file(item, "key"));
    let next = section.optional("next").map(|item| file(item, "next"));
    section.finish();
    let ((), ()) = (kind?, algorithm?);
    Some(Rs256Files {
        key: key?,
        next: match next {
            Some(next) => Some(next?),
            None => None,
        },
    })
}

const MIN_EPOCH: Duration = Duration::from_secs(3_600);
const MAX_EPOCH: Duration = Duration::from_secs(90 * 86_400);
