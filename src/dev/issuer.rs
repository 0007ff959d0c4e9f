//! The embedded CI issuer.
//!
//! Real HTTPS under an authority of its own, discovery, JWKS, RS256, and GitHub's endpoint that gives
//! a running job its token. It signs whatever it is asked to sign, so its keys are new at each start,
//! their ids begin with `dev-`, and it listens on loopback only. `serve` refuses both: such keys when it
//! verifies a token, and such an address when it reads the policies (T-117).
//!
//! [`Issuer::of_folder`] is the one that `serve` can be told to trust: its keys are in a folder of its
//! user, and its name is a host name.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use aws_lc_rs::{rand, rsa};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::broker::DEV_KID_PREFIX;
use crate::secret::Secret;
use crate::token::TrustedIssuer;

mod claims;
mod folder;
mod samples;
mod server;
mod subject;

pub use folder::{OfFolder, name_of_this_machine};
pub use server::KeptTls;

pub use claims::{GithubJob, GitlabJob, github_claims, gitlab_claims};
pub use samples::{sample_claims, sample_issuer, sampled};

/// A CI's token service on this machine, until dropped.
pub struct Issuer {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What the server's connections and the owner both see.
struct Shared {
    /// E.g. `https://localhost:34567/github`.
    url: String,
    /// The path of `url`: empty, or `/` and segments.
    path: String,
    ca_pem: String,
    state: Mutex<State>,
    discovery_requests: AtomicUsize,
    key_set_requests: AtomicUsize,
}

struct State {
    keys: Vec<Arc<SigningKey>>,
    offers: Vec<Offer>,
    audiences: Vec<String>,
}

/// A running job, as GitHub's token endpoint knows it.
struct Offer {
    request_token: Secret<String>,
    claims: Value,
}

impl Issuer {
    /// Starts on a free port of 127.0.0.1. The issuer's URL is `https://localhost:PORT` and `path`,
    /// which is empty or like `/github`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Keys cannot be made or no port can be had.
    pub async fn start(path: &str) -> Result<Self, IssuerError> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let port = listener.local_addr()?.port();
        let certificate = server::Certificate::generate(&["localhost", "127.0.0.1", "::1"])?;
        let url = format!("https://localhost:{port}{path}");
        let key = SigningKey::generate(DEV_KID_PREFIX)?;
        Self::serve(url, path, key, certificate, listener)
    }

    fn serve(
        url: String,
        path: &str,
        key: SigningKey,
        certificate: server::Certificate,
        listener: TcpListener,
    ) -> Result<Self, IssuerError> {
        let shared = Arc::new(Shared {
            url,
            path: path.to_owned(),
            ca_pem: certificate.ca_pem.clone(),
            state: Mutex::new(State {
                keys: vec![Arc::new(key)],
                offers: Vec::new(),
                audiences: Vec::new(),
            }),
            discovery_requests: AtomicUsize::new(0),
            key_set_requests: AtomicUsize::new(0),
        });
        let acceptor = certificate.acceptor()?;
        let server = tokio::spawn(server::serve(listener, acceptor, Arc::clone(&shared)));
        Ok(Self { shared, server })
    }

    /// The `iss` of its tokens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The certificate of the authority that signed its server's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.shared.ca_pem
    }

    /// The settings with which a broker made for it trusts it.
    #[must_use]
    pub fn trusted(&self, name: &str) -> TrustedIssuer {
        let mut issuer = TrustedIssuer::new(name, self.url());
        issuer.ca = Some(self.ca_pem().to_owned());
        issuer.networks = ["127.0.0.0/8", "::1/128"]
            .iter()
            .filter_map(|network| network.parse().ok())
            .collect();
        issuer
    }

    /// A token with exactly these claims, signed with the current key.
    ///
    /// # Errors
    /// The crypto backend cannot sign.
    pub fn sign(&self, claims: &Value) -> Result<String, IssuerError> {
        self.shared.sign(claims)
    }

    /// The key that signs now.
    ///
    /// # Errors
    /// There is none, which no issuer comes to.
    pub fn signing_key(&self) -> Result<Arc<SigningKey>, IssuerError> {
        let key = self.shared.state().keys.last().map(Arc::clone);
        key.ok_or(IssuerError::Crypto("sign"))
    }

    /// The key set as it is published now.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.shared.jwks()
    }

    /// Signs with a new key from now on. The old ones stay published only if `keep_old`.
    ///
    /// # Errors
    /// The crypto backend cannot make a key.
    pub fn rotate(&self, keep_old: bool) -> Result<(), IssuerError> {
        let key = Arc::new(SigningKey::generate(DEV_KID_PREFIX)?);
        let mut state = self.shared.state();
        if !keep_old {
            state.keys.clear();
        }
        state.keys.push(key);
        Ok(())
    }

    /// Lets a job with this request token fetch ID tokens, as GitHub does: what is returned is its
    /// `ACTIONS_ID_TOKEN_REQUEST_URL`, the request token its `ACTIONS_ID_TOKEN_REQUEST_TOKEN`. The
    /// claims are signed with a fresh `jti` and, where the job asks for one, its audience.
    #[must_use]
    pub fn offer(&self, request_token: &str, claims: Value) -> String {
        self.shared.state().offers.push(Offer {
            request_token: Secret::new(request_token.to_owned()),
            claims,
        });
        format!("{}{}?api-version=2.0", self.url(), server::ID_TOKEN_PATH)
    }

    /// The audiences that jobs asked for so far.
    #[must_use]
    pub fn requested_audiences(&self) -> Vec<String> {
        self.shared.state().audiences.clone()
    }

    /// How often the discovery document was fetched.
    #[must_use]
    pub fn discovery_requests(&self) -> usize {
        self.shared.discovery_requests.load(Ordering::Relaxed)
    }

    /// How often the key set was fetched.
    #[must_use]
    pub fn key_set_requests(&self) -> usize {
        self.shared.key_set_requests.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn discovery(&self) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": format!("{}{}", self.url, server::JWKS_PATH),
            "subject_types_supported": ["public"],
            "response_types_supported": ["id_token"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "scopes_supported": ["openid"],
        })
    }

    fn jwks(&self) -> Value {
        let keys: Vec<Value> = self.state().keys.iter().map(|key| key.jwk()).collect();
        json!({ "keys": keys })
    }

    fn sign(&self, claims: &Value) -> Result<String, IssuerError> {
        let key = self.state().keys.last().map(Arc::clone);
        key.ok_or(IssuerError::Crypto("sign"))?.sign(claims)
    }

    /// A token for the job with that request token; `None` when there is none.
    fn id_token(
        &self,
        request_token: &str,
        audience: Option<&str>,
    ) -> Option<Result<String, IssuerError>> {
        let mut claims = {
            let mut state = self.state();
            let claims = state
                .offers
                .iter()
                .find(|offer| offer.request_token.expose() == request_token)?
                .claims
                .clone();
            state.audiences.extend(audience.map(str::to_owned));
            claims
        };
        if let Value::Object(members) = &mut claims {
            members.insert("jti".to_owned(), fresh_id().into());
            if let Some(audience) = audience {
                members.insert("aud".to_owned(), audience.into());
            }
        }
        Some(self.sign(&claims))
    }
}

/// One RSA key, 2048 bits, for RS256.
pub struct SigningKey {
    kid: String,
    pair: RsaKeyPair,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    fn generate(prefix: &str) -> Result<Self, IssuerError> {
        Ok(Self {
            kid: format!("{prefix}{}", fresh_id()),
            pair: RsaKeyPair::generate(KeySize::Rsa2048)
                .map_err(|_| IssuerError::Crypto("make a key"))?,
        })
    }

    /// The key that [`to_pkcs8`](Self::to_pkcs8) gave, in another process.
    ///
    /// # Errors
    /// The bytes are no RSA key.
    pub fn from_pkcs8(kid: &str, key: &[u8]) -> Result<Self, IssuerError> {
        Ok(Self {
            kid: kid.to_owned(),
            pair: RsaKeyPair::from_pkcs8(key).map_err(|_| IssuerError::Crypto("read a key"))?,
        })
    }

    /// The private key, PKCS#8, for `hallpass dev token`: it signs for no issuer but this one, and is
    /// worth nothing once that has stopped.
    ///
    /// # Errors
    /// The crypto backend refuses.
    pub fn to_pkcs8(&self) -> Result<Secret<Vec<u8>>, IssuerError> {
        let der = AsDer::<Pkcs8V1Der<'static>>::as_der(&self.pair)
            .map_err(|_| IssuerError::Crypto("write a key"))?;
        Ok(Secret::new(der.as_ref().to_vec()))
    }

    /// The key's id, which begins with `dev-`.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    fn jwk(&self) -> Value {
        let public: &rsa::PublicKey = self.pair.public_key();
        json!({
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.kid,
            "n": BASE64URL_NOPAD.encode(public.modulus().big_endian_without_leading_zero()),
            "e": BASE64URL_NOPAD.encode(public.exponent().big_endian_without_leading_zero()),
        })
    }

    /// A token with exactly these claims.
    ///
    /// # Errors
    /// The crypto backend cannot sign.
    pub fn sign(&self, claims: &Value) -> Result<String, IssuerError> {
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": self.kid });
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signing_input = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &rand::SystemRandom::new(),
                signing_input.as_bytes(),
                &mut signature,
            )
            .map_err(|_| IssuerError::Crypto("sign"))?;
        Ok(format!(
            "{signing_input}.{}",
            BASE64URL_NOPAD.encode(&signature)
        ))
    }
}

/// Why the embedded issuer does not run.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    #[error("the embedded issuer could not {0}")]
    Crypto(&'static str),
    /// Its TLS certificate could not be made.
    #[error("the embedded issuer's certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// Its TLS could not be set up.
    #[error("the embedded issuer's TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// It could not listen.
    #[error("the embedded issuer could not listen on 127.0.0.1: {0}")]
    Listen(#[from] std::io::Error),
    /// An issuer of a folder cannot start as it was asked to.
    #[error("{0}")]
    Kept(String),
}

/// 122 random bits in the form of a UUID (RFC 9562 section 5.4), as CIs give their tokens.
fn fresh_id() -> String {
    let mut bytes = [0_u8; 16];
    // The ids only have to differ; a backend without randomness cannot have made the keys either.
    let _ = rand::fill(&mut bytes);
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    let mut id = HEXLOWER.encode(&bytes);
    for dash in [8, 13, 18, 23] {
        id.insert(dash, '-');
    }
    id
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_uuids_and_differ() {
        let ids: BTreeSet<String> = (0..100).map(|_| fresh_id()).collect();
        assert_eq!(ids.len(), 100);
        for id in ids {
            let shape: String = id
                .chars()
                .map(|character| if character == '-' { '-' } else { 'x' })
                .collect();
            assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
            assert_eq!(id.chars().nth(14), Some('4'), "{id}");
            assert!(
                matches!(id.chars().nth(19), Some('8' | '9' | 'a' | 'b')),
                "{id}"
            );
        }
    }
}
