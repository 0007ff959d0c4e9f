//! What `hallpass dev token` reads of an issuer of this machine: a file that only its user can read.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::{fs, io};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::issuer::{Issuer, IssuerError, KeptTls, SigningKey};
use crate::client::{closed_folder, write_private_new};
use crate::secret::{Secret, file::read_private};

/// The issuers in a folder. No `Debug`: it holds their private keys.
#[derive(Deserialize, Serialize)]
pub struct State {
    /// The broker's URL, the usual audience of a token.
    pub broker: String,
    /// By the name that the policies give them.
    pub issuers: BTreeMap<String, Ci>,
    /// Of an issuer that starts again with the same certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<KeptTls>,
}

/// One issuer.
#[derive(Deserialize, Serialize)]
pub struct Ci {
    /// The provider whose tokens it signs; `None` if it signs those of any.
    pub provider: Option<String>,
    pub url: String,
    kid: String,
    key: String,
}

impl Ci {
    /// What another process needs to sign as this issuer.
    ///
    /// # Errors
    /// The crypto backend refuses.
    pub fn of(issuer: &Issuer, provider: Option<&str>) -> Result<Self, IssuerError> {
        let key = issuer.signing_key()?;
        let pkcs8 = key.to_pkcs8()?;
        Ok(Self {
            provider: provider.map(str::to_owned),
            url: issuer.url().to_owned(),
            kid: key.kid().to_owned(),
            key: BASE64.encode(pkcs8.expose()),
        })
    }

    /// Its signing key.
    ///
    /// # Errors
    /// The file was damaged.
    pub fn signing_key(&self) -> Result<SigningKey, IssuerError> {
        let key = BASE64.decode(self.key.as_bytes());
        let key = Secret::new(key.map_err(|_| IssuerError::Crypto("read a key"))?);
        SigningKey::from_pkcs8(&self.kid, key.expose())
    }
}

impl State {
    /// Reads the file of a folder.
    ///
    /// # Errors
    /// There is none, it is a link, others can read it or replace it, or it is damaged.
    pub fn read(folder: &Path) -> io::Result<Self> {
        check_folder(folder)?;
        let path = folder.join(FILE);
        // The owner of a link's target has not chosen this folder for it.
        if fs::symlink_metadata(&path)?.is_symlink() {
            return Err(io::Error::other("it is a link"));
        }
        let text = read_private(&path, MAX_BYTES)?;
        serde_json::from_str(text.expose())
            .map_err(|error| io::Error::other(format!("`{FILE}` is damaged: {error}")))
    }

    /// Writes the file, which must be new.
    ///
    /// # Errors
    /// It exists, or cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let text = Secret::new(serde_json::to_string(self)?);
        let path = folder.join(FILE);
        if write_private_new(&path, text.expose().as_bytes(), 0o600)? {
            Ok(())
        } else {
            Err(io::ErrorKind::AlreadyExists.into())
        }
    }
}

/// Checks that no other user can put files into the folder, or another folder in its place.
///
/// # Errors
/// The folder is missing, or other users can change it.
pub fn check_folder(folder: &Path) -> io::Result<()> {
    let folder = closed_folder(folder)?;
    // In a sticky folder, others could make the files first.
    if fs::metadata(&folder)?.mode() & GROUP_OR_OTHERS_WRITE == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "other users can make files in it; use a folder of this user alone, such as one of `mktemp -d`",
    ))
}

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
/// More than any number of issuers takes.
const MAX_BYTES: u64 = 1_048_576;
/// The file's name.
pub const FILE: &str = "dev.json";
