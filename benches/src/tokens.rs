//! The CI: an issuer of `hallpass dev`, and tokens signed with its key.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use serde_json::{Value, json};

use crate::Result;
use crate::process::{Process, free_address};

/// The issuer, which publishes its key over TLS.
pub(crate) struct Ci {
    _server: Process,
    pub(crate) url: String,
    kid: String,
    key: RsaKeyPair,
    /// A key that the issuer does not publish.
    other: RsaKeyPair,
}

impl Ci {
    /// Starts one whose folder is `ci` in `folder`.
    pub(crate) fn start(hallpass: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(hallpass);
        let address = free_address()?;
        let port = address.port().to_string();
        command.args(["dev", "issuer", "--folder", "ci", "--port", &port]);
        command.current_dir(folder);
        let server = Process::start(&command, &[], &folder.join("ci.log"), address)?;
        let state = folder.join("ci/dev.json");
        // It is written a moment after the issuer listens.
        let is_late = || (0..500).all(|_| !state.exists() && wait());
        if is_late() {
            return Err(format!("{} was not written", state.display()).into());
        }
        let state: Value = serde_json::from_slice(&fs::read(state)?)?;
        let text = |name: &str| {
            let value = state["issuers"]["ci"][name].as_str();
            value
                .map(str::to_owned)
                .ok_or(format!("dev.json has no {name}"))
        };
        let key = BASE64.decode(text("key")?.as_bytes())?;
        Ok(Self {
            _server: server,
            url: text("url")?,
            kid: text("kid")?,
            key: RsaKeyPair::from_pkcs8(&key)?,
            other: RsaKeyPair::generate(KeySize::Rsa2048)?,
        })
    }

    /// The public key, in DER, as hex.
    pub(crate) fn public_key(&self) -> String {
        HEXLOWER.encode(self.key.public_key().as_ref())
    }

    /// A token that no other has, of a push to `main` of `acme/shop`.
    pub(crate) fn token(&self, number: usize) -> Result<String> {
        self.signed(&self.url, &self.key, number)
    }

    pub(crate) fn with_bad_signature(&self, number: usize) -> Result<String> {
        self.signed(&self.url, &self.other, number)
    }

    pub(crate) fn of_another_issuer(&self, number: usize) -> Result<String> {
        self.signed("https://ci.other.example", &self.other, number)
    }

    fn signed(&self, issuer: &str, key: &RsaKeyPair, number: usize) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.kid });
        let workflow = "acme/shop/.github/workflows/deploy.yml@refs/heads/main";
        let claims = json!({
            "jti": format!("00000000-0000-4000-8000-{number:012x}"),
            "sub": "repo:acme/shop:ref:refs/heads/main",
            "aud": AUDIENCE,
            "iss": issuer,
            "nbf": now - 600, "exp": now + 6_000, "iat": now,
            "ref": "refs/heads/main", "ref_type": "branch", "ref_protected": "true",
            "sha": "5bf00af9db2b1b9d7e9c4dcf5a3a1c60ab6a2e19",
            "repository": "acme/shop", "repository_id": "702114589",
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
        let mut signature = vec![0; key.public_modulus_len()];
        let random = SystemRandom::new();
        key.sign(
            &RSA_PKCS1_SHA256,
            &random,
            signed.as_bytes(),
            &mut signature,
        )?;
        Ok(format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature)))
    }
}

/// A moment.
fn wait() -> bool {
    thread::sleep(Duration::from_millis(10));
    true
}

pub(crate) const AUDIENCE: &str = "http://127.0.0.1:8080";
