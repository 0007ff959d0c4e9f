//! The kind `jwt`: a token that audiences verify with our published keys.

use std::sync::Arc;

use super::keys::RS256;
use crate::credential::kind::{BoundRule, Definition, Form, Kind, Member, Repeat, TeamBound};
use crate::policy::{CredentialDefinition, DefinitionReader};
use crate::provider::Fact;
use crate::yaml::scalar::{list, scalar};

pub static KIND: Kind = Kind {
    name: "jwt",
    noun: "a signed token",
    urn: "urn:ietf:params:oauth:token-type:jwt",
    // Minted tokens are `at+jwt` (RFC 9068), and standard clients request nothing else.
    other_urns: &[
        "urn:ietf:params:oauth:token-type:access_token",
        "urn:hallpass:credential:jwt",
    ],
    token_type: "Bearer",
    keys: &["audience", "scopes", "claims", "algorithm"],
    shortest_life: 1,
    inputs: &[],
    members: &[
        Member::secret("token"),
        Member::public("token_type", Form::Text).or_absent(),
        Member::public("scopes", Form::List).or_absent(),
    ],
    repeat: Repeat::Same,
    revocable: false,
    teams: &[
        TeamBound {
            key: "audience",
            uses: "audiences",
            rule: BoundRule::Names,
        },
        TeamBound {
            key: "scopes",
            uses: "scopes",
            rule: BoundRule::Adds,
        },
    ],
    read,
};

/// The definition of a `jwt` credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtDefinition {
    /// The `aud` claim.
    pub audience: String,
    pub scopes: Vec<String>,
    /// The facts copied into its `job` object.
    pub claims: Vec<Fact>,
    /// Which of the broker's keys signs it.
    pub signer: Signer,
}

/// Which of the broker's keys signs a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The derived key of the epoch.
    Derived,
    /// The RSA key that the settings name under `signing.also`: `algorithm: RS256`.
    Rs256,
}

impl Definition for JwtDefinition {
    fn scopes(&self) -> &[String] {
        &self.scopes
    }

    fn keys(&self) -> Vec<(&'static str, String)> {
        let mut keys = vec![("audience", scalar(&self.audience))];
        if !self.scopes.is_empty() {
            keys.push(("scopes", list(self.scopes.iter().map(String::as_str))));
        }
        if !self.claims.is_empty() {
            keys.push(("claims", list(self.claims.iter().map(|fact| fact.name()))));
        }
        if self.signer == Signer::Rs256 {
            keys.push(("algorithm", RS256.to_owned()));
        }
        keys
    }

    fn decisive(&self) -> Vec<&[u8]> {
        let claims = self.claims.iter().map(|fact| fact.name().as_bytes());
        // Nothing for a derived key, so requests from before this option existed compare as before.
        let algorithm = match self.signer {
            Signer::Derived => None,
            Signer::Rs256 => Some(RS256.as_bytes()),
        };
        std::iter::once(self.audience.as_bytes())
            .chain(claims)
            .chain(algorithm)
            .collect()
    }
}

fn read(keys: &mut DefinitionReader<'_, '_>) -> Option<Arc<dyn Definition>> {
    let audience = keys.required_text("audience", DefinitionReader::LONGEST);
    let scopes = keys.scopes("scopes");
    let claims = keys.facts("claims");
    let signer = match keys.text("algorithm", DefinitionReader::LONGEST).as_deref() {
        None => Signer::Derived,
        Some(RS256) => Signer::Rs256,
        Some(_) => {
            keys.refuse(
                "algorithm",
                "must be `RS256`; leave it out for a token that is signed with the algorithm of the settings",
            );
            return None;
        }
    };
    Some(Arc::new(JwtDefinition {
        audience,
        scopes: scopes?,
        claims,
        signer,
    }))
}

/// Checks that the settings name the key that signs a credential. Other kinds need none.
///
/// # Errors
/// The credential without a key, and what to add to the settings.
pub fn check_signer(credential: &CredentialDefinition, has_rs256: bool) -> Result<(), String> {
    let definition = credential.of::<JwtDefinition>();
    match definition.map(|definition| definition.signer) {
        Some(Signer::Rs256) if !has_rs256 => Err(format!(
            "credential `{}` of the policies has `algorithm: {RS256}`, and the settings name no key for it; add `also: [ {{ kind: file, algorithm: {RS256}, key: {{ file: ... }} }} ]` under `signing:`",
            credential.name
        )),
        Some(Signer::Rs256 | Signer::Derived) | None => Ok(()),
    }
}
