//! What kubectl reads from an `exec` credential plugin (client.authentication.k8s.io/v1).

use serde_json::json;

use super::{Format, Options};
use crate::client::answer::Received;
use crate::secret::Secret;

pub(super) const FORMAT: Format = Format {
    needs: &["token"],
    ..Format::new(
        "kube-exec",
        "kubectl's exec credential plugin: an ExecCredential",
        text,
    )
};

fn text(received: &Received, _: &Options<'_>) -> Option<Secret<String>> {
    let document = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {
            "expirationTimestamp": received.expires_at.to_string(),
            "token": received.members.text("token")?.expose(),
        },
    });
    Some(Secret::new(document.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{jwt, login, refusal, write};
    use super::*;

    #[test]
    fn kubectl_learns_the_token_and_its_end() {
        let document: serde_json::Value = serde_json::from_str(&write(&FORMAT, &jwt())).unwrap();
        assert_eq!(document["kind"], "ExecCredential");
        assert_eq!(document["status"]["token"], "header.claims.signature");
        assert_eq!(
            document["status"]["expirationTimestamp"],
            "2026-09-21T14:23:20Z"
        );
    }

    #[test]
    fn a_login_is_refused() {
        insta::assert_snapshot!(refusal(&FORMAT, &login()), @"format `kube-exec` needs member `token`, which `shop-db/migrate`, a PostgreSQL login, does not have: use one of `json`, `env`, `fish`, `powershell`, `dotenv`, `url`, `pgpass`, `pg-service`");
    }
}
