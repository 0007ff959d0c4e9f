//! People: ID tokens of an identity provider that a company signs in with, such as Keycloak or Okta.
//!
//! Their audience is the client ID of the sign-in, not the broker. What started the run is always
//! `person`, which is not ordinary, so that no policy for jobs lets a person in.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::claims::ClaimType::{Boolean, FreeText, List, Number, Text};
use super::claims::{self, Claim, claim, text_of};
use super::{ClaimError, ClaimMap, Derivation, Fact, FactValue, Provider, set_text};
use crate::clock::Timestamp;
use crate::text::is_printable;
use crate::token::json::{Object, Value};

pub(super) const PROVIDER: Provider = Provider {
    name: "people",
    usual_issuer: None,
    claims: CLAIMS,
    derived: &[Fact::Trigger, Fact::Mfa],
    tenant_ids: &[Fact::UserId],
    has_events: true,
    max_lifetime: 3_600,
    max_age: 3_600,
    identify,
    write,
    property_claims: None,
    events: &[(PERSON, PERSON)],
    sources: &[
        // The word is the same whatever the token says.
        (
            Fact::Trigger,
            Derivation::Words {
                claim: "sub",
                words: &[],
                other: Some(PERSON),
            },
        ),
        (
            Fact::Email,
            Derivation::Confirmed {
                claim: "email",
                by: "email_verified",
            },
        ),
        (
            Fact::Mfa,
            Derivation::SecondFactor {
                methods: "amr",
                class: "acr",
            },
        ),
    ],
    split_owner: |_| None,
};

/// What started the run: a person, and no CI.
const PERSON: &str = "person";

fn identify(token: &Object, _: &ClaimMap) -> Result<BTreeMap<Fact, FactValue>, ClaimError> {
    claims::check(token, CLAIMS)?;
    let mut facts = BTreeMap::new();
    if let Some(subject) = claims::text(token, "sub") {
        set_text(&mut facts, Fact::UserId, subject);
    }
    // Anyone can type the address of another, until it is verified.
    let is_verified = matches!(token.get("email_verified"), Some(Value::Bool(true)));
    if let Some(email) = claims::text(token, "email").filter(|email| is_printable(email))
        && is_verified
    {
        set_text(&mut facts, Fact::Email, email);
    }
    if let Some(groups) = token.get("groups")
        && let Some(groups) = claims::list("groups", groups)?
    {
        facts.insert(Fact::Groups, groups);
    }
    if let Some(Value::Number(at)) = token.get("auth_time") {
        let at = at.literal().parse().map_err(|_| ClaimError {
            claim: "auth_time".to_owned(),
            problem: "is not a time in seconds".to_owned(),
        })?;
        let at = FactValue::Time(Timestamp::from_unix(at));
        facts.insert(Fact::SignedIn, at);
    }
    set_text(&mut facts, Fact::Trigger, PERSON);
    Ok(facts)
}

fn write(facts: &BTreeMap<Fact, FactValue>, _: &ClaimMap) -> Map<String, Json> {
    let mut claims = claims::write(facts, CLAIMS, &[]);
    if text_of(facts, Fact::Email).is_some() {
        claims.insert("email_verified".to_owned(), true.into());
    }
    claims
}

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
        let class = claims::text(claims, "acr").filter(|class| !class.is_empty());
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
    claim("sub", Text, Some(Fact::UserId)),
    // An address may have any characters; one outside ASCII is no fact.
    claim("email", FreeText, Some(Fact::Email)),
    claim("email_verified", Boolean, None),
    claim("groups", List, Some(Fact::Groups)),
    claim("amr", List, None),
    claim("acr", Text, None),
    claim("auth_time", Number, Some(Fact::SignedIn)),
    claim("azp", Text, None),
    claim("name", FreeText, None),
    claim("preferred_username", FreeText, None),
];
