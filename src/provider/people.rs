//! People: ID tokens of an identity provider that a company signs in with, such as Keycloak or Okta.
//!
//! Their audience is the client ID of the sign-in, not the broker. What started the run is always
//! `person`, which is not ordinary, so that no policy for jobs lets a person in.

use serde_json::{Map, Value as Json};

use super::claims::ClaimType::{Boolean, FreeText, List, Number, Text};
use super::read;
use super::table::{Claim, Take, Way, When, context, id, name, sent, take, take_when, ways};
use super::{Fact, Guide, Provider, Rules};
use crate::token::json::{Object, Value};

pub(super) const PROVIDER: Provider = Provider {
    name: "people",
    title: "People, by an identity provider",
    usual_issuer: None,
    issuers: &[],
    claims: CLAIMS,
    agreements: &[],
    tenant_ids: &[Fact::UserId],
    rules: Rules::USUAL,
    property_claims: None,
    owner_in: None,
    needs: &[],
    misleading: &[],
    guide: GUIDE,
};

/// Which claims of an issuer say that a person signed in with a second factor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondFactor {
    /// Entries of `amr` (RFC 8176); one is enough.
    pub amr: Vec<String>,
    /// Values of `acr`.
    pub acr: Vec<String>,
}

/// `mfa` in `amr`, which RFC 8176 registers for it.
impl Default for SecondFactor {
    fn default() -> Self {
        Self {
            amr: vec!["mfa".to_owned()],
            acr: Vec::new(),
        }
    }
}

impl SecondFactor {
    /// The fact `mfa`; `None` if the token does not say how the person signed in.
    pub(super) fn shown_by(&self, claims: &Object) -> Option<bool> {
        let methods = match claims.get("amr") {
            Some(Value::List(methods)) if !methods.is_empty() => Some(methods),
            _ => None,
        };
        let class = read::text(claims, "acr");
        if methods.is_none() && class.is_none() {
            return None;
        }
        let is_named = |named: &[String], text: &str| named.iter().any(|one| one == text);
        let mut methods = methods.into_iter().flatten().filter_map(Value::as_text);
        Some(
            methods.any(|method| is_named(&self.amr, method))
                || class.is_some_and(|class| is_named(&self.acr, class)),
        )
    }

    /// Claims that read back as the fact.
    pub(super) fn write(&self, mfa: bool, claims: &mut Map<String, Json>) {
        let (name, value) = match (mfa, self.amr.first(), self.acr.first()) {
            (true, Some(method), _) => ("amr", vec![method.clone()].into()),
            (true, None, Some(class)) => ("acr", class.clone().into()),
            (true, None, None) | (false, ..) => ("amr", vec!["pwd".to_owned()].into()),
        };
        claims.insert(name.to_owned(), value);
    }
}

/// Claims of OpenID Connect Core 1.0, sections 2 and 5.1, and `groups`, which every product adds.
const CLAIMS: &[Claim] = &[
    id(
        "sub",
        Text,
        &[sent(Fact::UserId), ways(Fact::Trigger, TRIGGER)],
    ),
    // An address may have any characters; one outside ASCII is no fact.
    name("email", FreeText, &[ways(Fact::Email, EMAIL)]),
    context("email_verified", Boolean, &[]),
    context("groups", List, &[sent(Fact::Groups)]),
    context("amr", List, &[]),
    context("acr", Text, &[]),
    context("auth_time", Number, &[sent(Fact::SignedIn)]),
    context("azp", Text, &[]),
    name("name", FreeText, &[]),
    name("preferred_username", FreeText, &[]),
];

/// What started the run: a person, and no CI.
const TRIGGER: &[Way] = &[take("sub", Take::Always("person"))];

/// Anyone can type the address of another, until it is verified.
const EMAIL: &[Way] = &[take_when(
    "email",
    Take::Sent,
    &[When::True("email_verified")],
)];

const GUIDE: Guide = Guide {
    token: "# People cannot sign in with `hallpass` yet: a program of yours that signs them in sends the ID token,\n# as docs/http-api.md says.",
    issuer: "url: https://login.example/realms/acme, client_id: hallpass-login",
    when: r"groups: { member: on-call }
mfa: true
trigger: person",
    limits: &[
        "The audience is the client ID of the sign-in, not the broker.",
        "Only a policy that names `trigger: person` lets a person in.",
    ],
};
