//! Everything, for programs: the answer of the broker's JSON endpoint.

use serde_json::{Map, json};

use super::libpq::login;
use super::redis;
use super::{Format, Holds, Options, join_with};
use crate::client::answer::{Received, Value};
use crate::credential::database::postgres::url::connection_url;
use crate::credential::database::redis::url::connection_url as redis_url;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    holds: Holds::Everything,
    join: Some(|texts| {
        let list = join_with(",", texts);
        Secret::new(format!(r#"{{"credentials":[{}]}}"#, list.expose()))
    }),
    ..Format::new(
        "json",
        "programs: the answer of /api/credentials, and for ssh the private_key",
        text,
    )
};

#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature is that of every format"
)]
fn text(received: &Received, _: &Options<'_>) -> Option<Secret<String>> {
    let mut document = json!({
        "credential": credential(received),
        "expires_at": received.expires_at.to_string(),
        "lease": received.lease.as_ref().map(Secret::expose),
        "policy": received.policy,
        "policies_revision": received.policies_revision,
        "decision": received.decision,
    });
    if let (Some(url), Some(members)) = (&received.policy_url, document.as_object_mut()) {
        members.insert("policy_url".to_owned(), url.as_str().into());
    }
    if let (true, Some(members)) = (received.is_shared, document.as_object_mut()) {
        members.insert("shared".to_owned(), true.into());
    }
    Some(Secret::new(document.to_string()))
}

/// The members as the broker names them. Its connection URL is written anew from the others, so that
/// nothing but our own text is ever an address.
fn credential(received: &Received) -> Map<String, serde_json::Value> {
    let mut credential: Map<String, serde_json::Value> = received
        .members
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Text(text) => text.expose().as_str().into(),
                Value::List(texts) => texts.as_slice().into(),
                Value::Number(number) => (*number).into(),
                Value::Named(texts) => {
                    let texts = texts.iter();
                    let texts =
                        texts.map(|(name, text)| (name.clone(), text.expose().clone().into()));
                    serde_json::Value::Object(texts.collect())
                }
                Value::Nothing => serde_json::Value::Null,
            };
            (name.to_owned(), value)
        })
        .collect();
    credential.insert("kind".to_owned(), received.kind.name.into());
    credential.insert("name".to_owned(), received.name.as_str().into());
    if let Some(login) = login(received) {
        let url = connection_url(&login);
        credential.insert("url".to_owned(), url.expose().as_str().into());
    }
    if let Some(login) = redis::login(received) {
        let url = redis_url(&login);
        credential.insert("url".to_owned(), url.expose().as_str().into());
    }
    credential
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::{PASSWORD, jwt, login, write};
    use super::FORMAT;

    #[test]
    fn a_login_is_whole() {
        let document: Value = serde_json::from_str(&write(&FORMAT, &login())).unwrap();
        assert_eq!(document["credential"]["password"], PASSWORD);
        assert_eq!(document["credential"]["kind"], "postgres");
        assert_eq!(document["expires_at"], "2026-09-21T14:23:20Z");
        assert_eq!(document["lease"], "hpl_abc");
    }

    #[test]
    fn the_link_to_the_policy_is_there_if_the_broker_makes_one() {
        let with = |policy_url: Option<&str>| {
            let mut login = login();
            login.policy_url = policy_url.map(str::to_owned);
            let document: Value = serde_json::from_str(&write(&FORMAT, &login)).unwrap();
            document.get("policy_url").cloned()
        };
        let url = "https://git.acme.dev/0a1b/shop.yaml#L7";
        assert_eq!(with(Some(url)), Some(url.into()));
        assert_eq!(with(None), None);
    }

    #[test]
    fn a_signed_token_has_no_lease() {
        let document: Value = serde_json::from_str(&write(&FORMAT, &jwt())).unwrap();
        assert_eq!(document["credential"]["token"], "header.claims.signature");
        assert_eq!(document["credential"]["token_type"], "Bearer");
        assert_eq!(document["credential"]["scopes"][0], "deploy:staging");
        assert_eq!(document["lease"], Value::Null);
    }
}
