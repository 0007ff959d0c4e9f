//! What Docker reads from a credential helper's `get`.

use serde_json::json;

use super::{Format, Options};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    needs: &["token"],
    ..Format::new("docker", "a Docker credential helper's answer to get", text)
};

fn text(received: &Received, _: &Options<'_>) -> Option<Secret<String>> {
    let token = received.members.text("token")?.expose();
    Some(Secret::new(
        // The registry reads the token; the name is never looked at, but must not be empty.
        json!({ "ServerURL": "", "Username": "hallpass", "Secret": token }).to_string(),
    ))
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
        insta::assert_snapshot!(refusal(&FORMAT, &login()), @"format `docker` needs member `token`, which `shop-db/migrate`, a PostgreSQL login, does not have: use one of `json`, `env`, `fish`, `powershell`, `dotenv`, `url`, `pgpass`, `pg-service`");
    }
}
