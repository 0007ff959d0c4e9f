//! What Docker reads from a credential helper's `get`.

use serde_json::json;

use super::{Format, FormatError, Options, Surroundings};
use crate::client::answer::{Material, Received};
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    name: "docker",
    summary: "a Docker credential helper's answer to get",
    wants_ca_file: false,
    environment: Surroundings::Apart,
    write,
    merge: None,
};

fn write(received: &Received, _: &Options<'_>) -> Result<Secret<String>, FormatError> {
    match &received.material {
        Material::Jwt { token, .. } => Ok(Secret::new(
            // The registry reads the token; the name is never looked at, but must not be empty.
            json!({ "ServerURL": "", "Username": "hallpass", "Secret": token.expose() })
                .to_string(),
        )),
        Material::Postgres(_) => Err(FormatError::new(
            FORMAT.name,
            received,
            "a registry wants a token; use `env`, `url` or `pgpass`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{jwt, login, refusal, write};
    use super::*;

    #[test]
    fn the_token_is_the_secret() {
        let document: serde_json::Value = serde_json::from_str(&write(&FORMAT, &jwt())).unwrap();
        assert_eq!(document["Username"], "hallpass");
        assert_eq!(document["Secret"], "header.claims.signature");
    }

    #[test]
    fn a_login_is_refused() {
        insta::assert_snapshot!(refusal(&FORMAT, &login()), @"format `docker` cannot hold `shop-db/migrate`, which is a PostgreSQL login: a registry wants a token; use `env`, `url` or `pgpass`");
    }
}
