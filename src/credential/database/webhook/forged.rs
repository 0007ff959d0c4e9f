//! Requests with one thing wrong, which the other side must refuse.

use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use super::Webhook;
use super::conformance::{Outcome, body};
use super::contract::{CHECK, CREATE, END, LIST, LONG, code};
use super::token::{Claims, TYPE};
use crate::credential::database::Order;
use crate::credential::database::findings::Findings;
use crate::credential::jwt::Keys;
use crate::rootkey::{RootKey, RootKeys};
use crate::secret::Secret;

impl Webhook {
    /// A request that is not signed as it must be does nothing (T-452, T-453).
    pub(super) async fn try_signatures(&self, order: &Order, findings: &mut Findings) {
        let lease = match self.lease(order, 0) {
            Ok(lease) => lease,
            Err(problem) => return findings.no_name(&problem),
        };
        let asked = body(&lease, order, json!({}));
        for (rule, forge) in FORGERIES {
            let outcome = self.try_forgery(CREATE, *forge, &asked).await;
            findings.rule(rule, outcome);
        }
        let outcome = self.is_listed(&lease.to_string(), None).await;
        findings.rule("a refused request makes nothing", outcome);
        let end = json!({ "name": lease.to_string() }).to_string();
        let list = json!({ "prefix": self.settings.prefix, "after": "", "limit": 1 }).to_string();
        for (path, body) in [(END, end.as_str()), (LIST, &list), (CHECK, "{}")] {
            for (what, forge) in FORGERIES_ELSEWHERE {
                let outcome = self.try_forgery(path, *forge, body.as_bytes()).await;
                findings.rule(&format!("`{path}`: {what} is refused"), outcome);
            }
        }
        let _ = self.end(&lease.to_string()).await;
    }

    async fn try_forgery(&self, path: &str, forge: Forge, body: &[u8]) -> Outcome {
        let (sent, token) = self.forged(path, forge, body)?;
        let answer = self.peer.send(path, sent, token.as_ref(), LONG).await;
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.refusal() {
            Some(refusal) if answer.status == 401 && refusal.error == code::TOKEN => Ok(()),
            Some(_) | None => Err(format!(
                "status {}, expected 401 with `error` `{}`",
                answer.status,
                code::TOKEN
            )),
        }
    }

    /// The body and the token of a request with one thing wrong.
    fn forged(
        &self,
        path: &str,
        forge: Forge,
        body: &[u8],
    ) -> Result<(Vec<u8>, Option<Secret<String>>), String> {
        let keys = self.peer.keys();
        let now = self.clock.now();
        let claims = self.peer.claims(path, body);
        let mut claims = claims.map_err(|error| error.to_string())?;
        let mut sent = body.to_vec();
        let sign = |claims: &Claims, token_type: &str| claims.sign(&keys, token_type, now);
        let token = match forge {
            Forge::NoToken => return Ok((sent, None)),
            Forge::Unsigned => without_signature(&claims)?,
            Forge::Signature => broken(&sign(&claims, TYPE)?)?,
            Forge::Key => claims.sign(&self.other_keys(&keys)?, TYPE, now)?,
            Forge::Old => {
                claims.iat = claims.iat.saturating_sub(TOO_OLD);
                claims.exp = claims.exp.saturating_sub(TOO_OLD);
                sign(&claims, TYPE)?
            }
            Forge::Early => {
                claims.iat = claims.iat.saturating_add(TOO_OLD);
                claims.exp = claims.exp.saturating_add(TOO_OLD);
                sign(&claims, TYPE)?
            }
            Forge::Lasting => {
                claims.exp = claims.exp.saturating_add(TOO_OLD);
                sign(&claims, TYPE)?
            }
            Forge::Issuer => {
                "https://other.example".clone_into(&mut claims.iss);
                sign(&claims, TYPE)?
            }
            Forge::Path => {
                claims.aud = self.peer.url(if path == END { CREATE } else { END });
                sign(&claims, TYPE)?
            }
            Forge::Host => {
                claims.aud = format!("https://other.example{path}");
                sign(&claims, TYPE)?
            }
            Forge::Type => sign(&claims, ACCESS_TOKEN)?,
            Forge::Body => {
                let token = sign(&claims, TYPE)?;
                sent.push(b' ');
                token
            }
            Forge::NoHash => {
                claims.body_sha256 = None;
                sign(&claims, TYPE)?
            }
        };
        Ok((sent, Some(token)))
    }

    /// Keys of another broker with our issuer.
    fn other_keys(&self, keys: &Keys) -> Result<Keys, String> {
        let root = RootKey::generate().map_err(|error| error.to_string())?;
        let roots = RootKeys::new(keys.roots().issuer(), 1, vec![root]);
        let roots = roots.map_err(|error| error.to_string())?;
        let epoch = std::time::Duration::from_secs(EPOCH);
        let keys = Keys::new(roots, keys.algorithm(), epoch, self.clock.now());
        keys.map_err(|error| error.to_string())
    }
}

/// What is wrong with a request.
#[derive(Clone, Copy)]
enum Forge {
    NoToken,
    Unsigned,
    Signature,
    Key,
    Old,
    Early,
    Lasting,
    Issuer,
    Path,
    Host,
    Type,
    Body,
    NoHash,
}

const FORGERIES: &[(&str, Forge)] = &[
    ("a request without a token is refused", Forge::NoToken),
    ("a token without a signature is refused", Forge::Unsigned),
    ("a changed signature is refused", Forge::Signature),
    (
        "a key that the broker does not publish is refused",
        Forge::Key,
    ),
    ("an old token is refused", Forge::Old),
    ("a token from the future is refused", Forge::Early),
    (
        "a token that lives longer than a minute is refused",
        Forge::Lasting,
    ),
    ("another `iss` is refused", Forge::Issuer),
    ("an `aud` with another path is refused", Forge::Path),
    ("an `aud` with another host is refused", Forge::Host),
    (
        "another `typ`, as tokens for jobs have, is refused",
        Forge::Type,
    ),
    ("a changed body is refused", Forge::Body),
    ("a token without `body_sha256` is refused", Forge::NoHash),
];

/// A service may verify at one path and not at another.
const FORGERIES_ELSEWHERE: &[(&str, Forge)] = &[
    ("a request without a token", Forge::NoToken),
    ("a changed signature", Forge::Signature),
    ("an `aud` with another path", Forge::Path),
    ("another `typ`", Forge::Type),
    ("a changed body", Forge::Body),
];

/// A token with `alg: none` (RFC 7519 section 6).
fn without_signature(claims: &Claims) -> Result<Secret<String>, String> {
    let header = json!({ "alg": "none", "typ": TYPE }).to_string();
    let claims = serde_json::to_vec(claims).map_err(|error| error.to_string())?;
    let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    Ok(Secret::new(format!(
        "{}.{}.",
        encode(header.as_bytes()),
        encode(&claims)
    )))
}

/// The token with another first letter of its signature.
fn broken(token: &Secret<String>) -> Result<Secret<String>, String> {
    let (front, signature) = token.expose().rsplit_once('.').ok_or("no signature")?;
    let mut letters = signature.chars();
    let first = if letters.next() == Some('A') {
        'B'
    } else {
        'A'
    };
    Ok(Secret::new(format!("{front}.{first}{}", letters.as_str())))
}

const ACCESS_TOKEN: &str = "at+jwt";
/// Seconds, with what clocks may differ.
const TOO_OLD: i64 = 600;
const EPOCH: u64 = 86_400;
