//! Settings for the servers of this machine, made from those of a user: their targets and algorithms, with
//! new keys, passwords and addresses. Nothing that the user's settings keep secret is read.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use data_encoding::BASE64;
use serde_json::{Map, Value, json};
use ssh_key::LineEnding;
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData, PrivateKey};
use ssh_key::public::Ed25519PublicKey;

use super::issuer::IssuerError;
use super::postgres::Server;
use super::stage::{AUDIT, SETTINGS, StageError};
use crate::client::write_private_new;
use crate::config::Settings;
use crate::credential::database::postgres::PostgresSettings;
use crate::credential::jwt::SigningAlgorithm;
use crate::policy::decide::Disclosure;
use crate::rootkey::RootKey;
use crate::secret::Secret;
use crate::yaml::duration;

/// Writes settings, keys and passwords into the folder. It listens on loopback alone (T-251).
pub(super) fn write(
    folder: &Path,
    wanted: &Settings,
    url: &str,
    (public, operator): (SocketAddr, SocketAddr),
    databases: &BTreeMap<String, Server>,
) -> Result<(), StageError> {
    let failed = |error: &dyn std::fmt::Display| StageError::Settings(error.to_string());
    let root = RootKey::generate().map_err(|error| failed(&error))?;
    secret(folder, "root.key", &root.to_text())?;
    let mut targets = Map::new();
    for (name, target) in &wanted.targets {
        let target = if let (Some(target), Some(server)) =
            (target.of::<PostgresSettings>(), databases.get(name))
        {
            secret(folder, &format!("{name}.password"), server.password())?;
            postgres(name, target, server)
        } else {
            let key = ssh_ca().map_err(|error| failed(&error))?;
            secret(folder, &format!("{name}.ca"), &key)?;
            json!({ "kind": "ssh-ca", "key": { "file": format!("{name}.ca") } })
        };
        targets.insert(name.clone(), target);
    }
    let algorithm = match wanted.signing.algorithm {
        SigningAlgorithm::Es256 => "ES256",
        SigningAlgorithm::EdDsa => "EdDSA",
    };
    let mut signing = json!({ "algorithm": algorithm });
    if let (Some(_), Value::Object(members)) = (&wanted.signing.rs256, &mut signing) {
        secret(
            folder,
            "rs256.pem",
            &rs256().map_err(|error| failed(&error))?,
        )?;
        let key = json!({ "kind": "file", "algorithm": "RS256", "key": { "file": "rs256.pem" } });
        members.insert("also".to_owned(), json!([key]));
    }
    let disclose = match wanted.disclose {
        Disclosure::Never => "never",
        Disclosure::Repository => "repository",
        Disclosure::Always => "always",
    };
    let settings = json!({
        "issuer": url,
        "root_key": { "file": "root.key" },
        "listen": { "public": public.to_string(), "operator": operator.to_string() },
        "policies": { "path": wanted.policies, "reload": "1s" },
        "targets": targets,
        "signing": signing,
        "disclose": disclose,
        "audit": { "sinks": [{ "kind": "file", "path": AUDIT, "required": true }] },
    });
    // JSON is YAML too.
    fs::write(folder.join(SETTINGS), format!("{settings:#}\n"))?;
    Ok(())
}

/// The user's target, on a server of this machine.
fn postgres(name: &str, target: &PostgresSettings, server: &Server) -> Value {
    let password = json!({ "file": format!("{name}.password") });
    json!({
        "kind": "postgres",
        "host": "127.0.0.1",
        "port": server.port(),
        "databases": target.databases,
        "control_database": target.control_database,
        "prefix": target.prefix,
        "user": target.user,
        "password": password,
        "cleaner": { "user": target.cleaner.user, "password": password },
        "tls": "disable",
        "sweep": duration::print(target.sweep),
        "connections": target.connections,
    })
}

fn secret(folder: &Path, name: &str, text: &Secret<String>) -> Result<(), StageError> {
    write_private_new(&folder.join(name), text.expose().as_bytes(), 0o600)?;
    Ok(())
}

/// A new key of an SSH CA, as OpenSSH writes it.
fn ssh_ca() -> Result<Secret<String>, ssh_key::Error> {
    let mut seed = [0_u8; 32];
    rand::fill(&mut seed).map_err(|_| ssh_key::Error::Crypto)?;
    let seed = Secret::new(seed);
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose());
    let pair = pair.map_err(|_| ssh_key::Error::Crypto)?;
    let public = pair.public_key().as_ref().try_into();
    let pair = Ed25519Keypair {
        public: Ed25519PublicKey(public.map_err(|_| ssh_key::Error::Crypto)?),
        private: Ed25519PrivateKey::from_bytes(seed.expose()),
    };
    let key = PrivateKey::new(KeypairData::Ed25519(pair), "hallpass dev")?;
    Ok(Secret::new(key.to_openssh(LineEnding::LF)?.to_string()))
}

/// A new RSA key, as PEM.
fn rs256() -> Result<Secret<String>, IssuerError> {
    let failed = |_| IssuerError::Crypto("make a key");
    let key =
        RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| IssuerError::Crypto("make a key"))?;
    let der = AsDer::<Pkcs8V1Der<'static>>::as_der(&key).map_err(failed)?;
    let base64 = Secret::new(BASE64.encode(der.as_ref()));
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in base64.expose().as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Ok(Secret::new(pem))
}
