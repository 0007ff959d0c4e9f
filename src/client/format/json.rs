//! Everything, for programs: the answer of the broker's JSON endpoint.

use serde_json::{Value, json};

use super::{Format, FormatError, Options, Surroundings};
use crate::client::answer::{Material, Received};
use crate::client::format::url::connection_url;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    name: "json",
    summary: "programs: everything, as the broker's /api/credentials answers",
    wants_ca_file: false,
    environment: Surroundings::Apart,
    write,
    merge: None,
};

#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature is that of every format"
)]
fn write(received: &Received, _: &Options<'_>) -> Result<Secret<String>, FormatError> {
    let document = json!({
        "credential": credential(received),
        "expires_at": received.expires_at.to_string(),
        "lease": received.lease.as_ref().map(Secret::expose),
        "policy": received.policy,
        "policies_revision": received.policies_revision,
        "decision": received.decision,
    });
    Ok(Secret::new(document.to_string()))
}

fn credential(received: &Received) -> Value {
    match &received.material {
        Material::Jwt { token, scope } => json!({
            "kind": "jwt",
            "name": received.name,
            "token": token.expose(),
            "scope": scope,
        }),
        Material::Postgres(login) => json!({
            "kind": "postgres",
            "name": received.name,
            "username": login.username,
            "password": login.password.expose(),
            "host": login.host,
            "port": login.port,
            "database": login.database,
            "sslmode": login.sslmode,
            "ca": login.ca,
            "options": login.options,
            "url": connection_url(login, None).expose(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PASSWORD, jwt, login, write};
    use super::*;

    #[test]
    fn a_login_is_whole() {
        let document: Value = serde_json::from_str(&write(&FORMAT, &login())).unwrap();
        assert_eq!(document["credential"]["password"], PASSWORD);
        assert_eq!(document["credential"]["kind"], "postgres");
        assert_eq!(document["expires_at"], "2026-09-21T14:23:20Z");
        assert_eq!(document["lease"], "hpl_abc");
    }

    #[test]
    fn a_signed_token_has_no_lease() {
        let document: Value = serde_json::from_str(&write(&FORMAT, &jwt())).unwrap();
        assert_eq!(document["credential"]["token"], "header.claims.signature");
        assert_eq!(document["lease"], Value::Null);
    }
}
