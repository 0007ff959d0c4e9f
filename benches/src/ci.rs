//! The CI: an issuer that publishes its keys over TLS, and tokens signed with them.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use axum::Router;
use axum::http::header;
use axum::routing::get;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};

use crate::Result;
use crate::tls::{Certificate, Listener};

/// An issuer of this machine. It serves until the program ends.
pub(crate) struct Ci {
    pub(crate) url: String,
    jobs: Jobs,
    keys: Arc<RwLock<Keys>>,
    /// One that it does not publish.
    other: Key,
}

/// What its tokens are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jobs {
    pub(crate) algorithm: Algorithm,
    /// Whose jobs the tokens are of, in turn.
    pub(crate) repositories: usize,
    /// Seconds that a token lives.
    pub(crate) life: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Algorithm {
    /// As nearly all CIs have it: 0.6 ms for each signature.
    Rs256,
    /// Thirty times as fast to sign, for measurements that sign while they run.
    Es256,
}

impl Algorithm {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// What is wrong with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// It is signed with another key than the one it names.
    Signature,
    /// It names a key that the issuer does not publish.
    Key,
    /// The policies do not name its issuer.
    Issuer,
    Expired,
}

struct Keys {
    /// The oldest first.
    published: Vec<Arc<Key>>,
    signing: Arc<Key>,
}

struct Key {
    kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl Ci {
    /// Starts one on a free port. The certificate of its authority is `ca.pem` in `folder`.
    pub(crate) fn start(jobs: Jobs, folder: &Path) -> Result<Self> {
        let (host, ip) = name_of_this_machine().ok_or(NO_NAME)?;
        let certificate = Certificate::generate(&[&host], folder)?;
        fs::write(folder.join("ca.pem"), &certificate.ca_pem)?;
        let listener = TcpListener::bind(SocketAddr::from((ip, 0)))?;
        listener.set_nonblocking(true)?;
        let first = Arc::new(Key::generate(jobs.algorithm)?);
        let ci = Self {
            url: format!("https://{host}:{}", listener.local_addr()?.port()),
            jobs,
            keys: Arc::new(RwLock::new(Keys {
                published: vec![Arc::clone(&first)],
                signing: first,
            })),
            other: Key::generate(jobs.algorithm)?,
        };
        let (url, keys) = (ci.url.clone(), Arc::clone(&ci.keys));
        thread::spawn(move || {
            let ended = serve(&url, keys, listener, &certificate);
            eprintln!("hallpass-bench: the CI's issuer ended: {ended:?}");
        });
        Ok(ci)
    }

    pub(crate) const fn jobs(&self) -> Jobs {
        self.jobs
    }

    /// The public key, in DER, as hex.
    pub(crate) fn public_key(&self) -> String {
        HEXLOWER.encode(self.keys().signing.public())
    }

    /// The document with the published keys.
    pub(crate) fn key_set(&self) -> Value {
        self.keys().document()
    }

    /// Publishes one key more, which does not sign yet.
    pub(crate) fn publish(&self) -> Result<()> {
        let key = Arc::new(Key::generate(self.jobs.algorithm)?);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.published.push(key);
        Ok(())
    }

    /// Signs with the newest key from now on. Of the others only the last one stays published.
    pub(crate) fn switch(&self) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = keys.published.last().cloned() {
            keys.signing = newest;
        }
        let old = keys.published.len().saturating_sub(2);
        keys.published.drain(..old);
    }

    /// A token that no other has, of a push to `main`.
    pub(crate) fn token(&self, number: usize, flaw: Flaw) -> Result<String> {
        let named = match flaw {
            Flaw::Key => &self.other,
            _ => &*Arc::clone(&self.keys().signing),
        };
        let signing = match flaw {
            Flaw::Signature | Flaw::Issuer => &self.other,
            _ => named,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let (issued, ends) = match flaw {
            Flaw::Expired => (now - 1_000, now - 600),
            _ => (now, now + self.jobs.life),
        };
        let url = match flaw {
            Flaw::Issuer => "https://ci.other.example",
            _ => &self.url,
        };
        let repository = number % self.jobs.repositories;
        let name = format!("acme/repository-{repository}");
        let workflow = format!("{name}/.github/workflows/deploy.yml@refs/heads/main");
        let header = json!({ "alg": self.jobs.algorithm.name(), "typ": "JWT", "kid": named.kid });
        let claims = json!({
            "jti": format!("00000000-0000-4000-8000-{number:012x}"),
            "sub": format!("repo:{name}:ref:refs/heads/main"),
            "aud": AUDIENCE,
            "iss": url,
            "nbf": issued, "exp": ends, "iat": issued,
            "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "true",
            "sha": "5bf00af9db2b1b9d7e9c4dcf5a3a1c60ab6a2e19",
            "repository": name, "repository_id": repository_id(repository),
            "repository_owner": "acme", "repository_owner_id": "48213377",
            "repository_visibility": "private",
            "run_id": (12_884_901_000_usize + number).to_string(),
            "run_number": "318", "run_attempt": "1",
            "actor": "r-okafor", "actor_id": "5121998",
            "workflow": "deploy", "head_ref": "", "base_ref": "", "event_name": "push",
            "workflow_ref": workflow, "workflow_sha": "5bf00af9db2b1b9d7e9c4dcf5a3a1c60ab6a2e19",
            "job_workflow_ref": workflow,
            "job_workflow_sha": "5bf00af9db2b1b9d7e9c4dcf5a3a1c60ab6a2e19",
            "runner_environment": "github-hosted",
        });
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = signing.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn document(&self) -> Value {
        let keys: Vec<Value> = self.published.iter().map(|key| key.jwk()).collect();
        json!({ "keys": keys })
    }
}

impl Key {
    fn generate(algorithm: Algorithm) -> Result<Self> {
        let mut kid = [0; 8];
        rand::fill(&mut kid)?;
        let pair = match algorithm {
            Algorithm::Rs256 => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048)?),
            Algorithm::Es256 => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?),
        };
        Ok(Self {
            kid: HEXLOWER.encode(&kid),
            pair,
        })
    }

    fn public(&self) -> &[u8] {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref(),
            Pair::Ec(pair) => pair.public_key().as_ref(),
        }
    }

    fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(pair) => {
                let key = pair.public_key();
                let modulus = text(key.modulus().big_endian_without_leading_zero());
                let exponent = text(key.exponent().big_endian_without_leading_zero());
                json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": modulus, "e": exponent })
            }
            Pair::Ec(pair) => {
                // A byte that says the form, then both coordinates.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": text(x), "y": text(y) })
            }
        }
    }

    fn sign(&self, text: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)?;
                Ok(signature)
            }
            Pair::Ec(pair) => Ok(pair.sign(&random, text)?.as_ref().to_vec()),
        }
    }
}

/// Discovery and the key set, until the program ends.
fn serve(
    url: &str,
    keys: Arc<RwLock<Keys>>,
    listener: TcpListener,
    certificate: &Certificate,
) -> Result<()> {
    let json = |value: &Value| {
        (
            [(header::CONTENT_TYPE, "application/json")],
            value.to_string(),
        )
    };
    let discovery = json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks.json"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
    });
    let router = Router::new()
        .route(
            "/.well-known/openid-configuration",
            get(async move || json(&discovery)),
        )
        .route(
            "/jwks.json",
            get(async move || {
                let keys = keys.read().unwrap_or_else(PoisonError::into_inner);
                json(&keys.document())
            }),
        );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let listener = Listener::new(listener, &certificate.chain, &certificate.key)?;
        axum::serve(listener, router).await?;
        Ok(())
    })
}

/// A host name, other than `localhost`, that leads to this machine: a broker accepts no other issuer here.
fn name_of_this_machine() -> Option<(String, IpAddr)> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let lines = hosts.lines().filter_map(|line| line.split('#').next());
    let listed = lines.flat_map(|line| line.split_whitespace().skip(1));
    let mut names = std::iter::once(host.trim()).chain(listed);
    names.find_map(|name| {
        let name = name.to_ascii_lowercase();
        if name.is_empty() || name.ends_with("localhost") || name.parse::<IpAddr>().is_ok() {
            return None;
        }
        let found = (name.as_str(), 0).to_socket_addrs().ok()?;
        let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        let first = found.iter().copied().find(IpAddr::is_ipv4)?;
        found
            .iter()
            .all(IpAddr::is_loopback)
            .then_some((name, first))
    })
}

/// The id of a repository that tokens are of.
pub(crate) fn repository_id(number: usize) -> String {
    (702_114_000 + number).to_string()
}

/// The broker's name.
pub(crate) const AUDIENCE: &str = "http://127.0.0.1:8080";
const NO_NAME: &str = "no host name but `localhost` leads to this machine, and the CI's issuer needs one; add one: \
     `echo 127.0.0.1 ci.test | sudo tee -a /etc/hosts`";
