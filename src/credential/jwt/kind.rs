//! The kind `jwt`: a token that audiences verify with our published keys.

use std::sync::Arc;

use crate::credential::kind::{Definition, Form, Kind, Member, Repeat, TeamBound};
use crate::policy::DefinitionReader;
use crate::provider::Fact;

/// A signed token.
pub static KIND: Kind = Kind {
    name: "jwt",
    noun: "a signed token",
    urn: "urn:ietf:params:oauth:token-type:jwt",
    // What we sign is an `at+jwt` (RFC 9068), and standard clients ask for nothing else.
    other_urns: &[
        "urn:ietf:params:oauth:token-type:access_token",
        "urn:hallpass:credential:jwt",
    ],
    token_type: "Bearer",
    keys: &["audience", "scopes", "claims"],
    inputs: &[],
    members: &[
        Member::secret("token"),
        Member::public("token_type", Form::Text).or_absent(),
        Member::public("scopes", Form::List).or_absent(),
    ],
    repeat: Repeat::Same,
    revocable: false,
    teams: &[TeamBound {
        key: "audience",
        uses: "audiences",
    }],
    read,
};

/// What is signed under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtDefinition {
    /// Who it is for: the `aud` claim.
    pub audience: String,
    /// Every scope there is.
    pub scopes: Vec<String>,
    /// The facts copied into its `job` object.
    pub claims: Vec<Fact>,
}

impl Definition for JwtDefinition {
    fn scopes(&self) -> &[String] {
        &self.scopes
    }

    fn decisive(&self) -> Vec<&[u8]> {
        let claims = self.claims.iter().map(|fact| fact.name().as_bytes());
        std::iter::once(self.audience.as_bytes())
            .chain(claims)
            .collect()
    }
}

fn read(keys: &mut DefinitionReader<'_, '_>) -> Option<Arc<dyn Definition>> {
    let audience = keys.required_text("audience", DefinitionReader::LONGEST);
    let scopes = keys.scopes("scopes");
    let claims = keys.facts("claims");
    Some(Arc::new(JwtDefinition {
        audience,
        scopes: scopes?,
        claims,
    }))
}
