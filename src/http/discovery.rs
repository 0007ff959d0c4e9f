//! Our own issuer metadata and public keys, so that others can verify what we mint and find where to
//! ask for it (OpenID Connect Discovery 1.0 section 3, RFC 8414, RFC 7517).

use std::sync::Arc;

use axum::extract::State;
use serde_json::{Value, json};

use super::Shared;
use super::answer::{Answer, Refusal, Reply};
use crate::reason::Reason;

/// `GET /.well-known/openid-configuration`, and the same for clients of OAuth 2.0 under
/// `/.well-known/oauth-authorization-server`.
pub(super) async fn metadata(State(shared): State<Arc<Shared>>) -> Answer {
    let issuer = &shared.issuer;
    cached(&json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "token_endpoint": format!("{issuer}/token"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "revocation_endpoint_auth_methods_supported": ["none"],
        "grant_types_supported": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "token_endpoint_auth_methods_supported": ["none"],
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": shared.signing.algorithms().collect::<Vec<_>>(),
    }))
}

/// `GET /.well-known/jwks.json`: the public keys of previous, current and next epoch, and those of
/// the RS256 keys.
pub(super) async fn keys(State(shared): State<Arc<Shared>>) -> Answer {
    match shared.signing.jwks(shared.clock.now()) {
        Ok(keys) => cached(&json!(keys)),
        Err(error) => Refusal::new(Reason::KeysSigning, error.to_string()).into(),
    }
}

fn cached(document: &Value) -> Answer {
    Reply {
        cache: CACHED,
        ..Reply::ok(document)
    }
    .into()
}

/// At most five minutes, so that a withdrawn key is soon unknown (T-88).
const CACHED: &str = "public, max-age=300";
