//! A credential in the text of a format, and that text in a file: the last step of `get`, `unseal` and
//! `exec --file`.

use std::path::{Path, PathBuf};

use super::broker::warn_of_rivals;
use super::{Failure, Terminal};
use crate::client::format::{Format, Options, Prefix, Surroundings};
use crate::client::{Client, Received, ca_file, read_own, write_private};
use crate::secret::Secret;

/// How a credential is written.
#[derive(Clone, Copy)]
pub(super) struct Delivery<'a> {
    pub(super) client: &'a Client,
    pub(super) format: &'a Format,
    pub(super) prefix: Option<&'a Prefix>,
    /// Where the database's CA goes, instead of the job's folder.
    pub(super) database_ca: Option<&'a Path>,
}

impl Delivery<'_> {
    /// The credential as text, with the file of its CA where the format names one. Variables of this
    /// environment that would override it are reported to `out`.
    pub(super) fn text(
        &self,
        received: &Received,
        out: Option<&mut Terminal>,
    ) -> Result<Secret<String>, Failure> {
        let ca = if self.format.wants_ca_file || self.database_ca.is_some() {
            database_ca(self.client, received, self.database_ca)?
        } else {
            None
        };
        let is_cleared = self.format.environment == Surroundings::Cleared && self.prefix.is_none();
        if let Some(out) = out
            && self.format.environment != Surroundings::Apart
            && !is_cleared
        {
            warn_of_rivals(self.client.environment(), received, ca.as_deref(), out);
        }
        let options = Options {
            prefix: self.prefix,
            ca_file: ca.as_deref(),
        };
        self.format
            .write(received, &options)
            .map_err(Failure::usage)
    }
}

/// Writes the text to a private file. A format of files with several entries keeps the others.
pub(super) fn to_file(
    path: &Path,
    format: &Format,
    name: Option<&str>,
    text: &Secret<String>,
) -> Result<(), Failure> {
    let contents = match (format.merge, name) {
        (Some(merge), Some(name)) => {
            let there = Secret::new(read_own(path, MAX_FILE)?);
            merge(there.expose(), name, text)
        }
        (_, _) => Secret::new(format!("{}\n", text.expose()).into_bytes()),
    };
    Ok(write_private(path, contents.expose())?)
}

/// The certificates that the database is checked with as a file, if any are.
pub(super) fn database_ca(
    client: &Client,
    received: &Received,
    wanted: Option<&Path>,
) -> Result<Option<PathBuf>, Failure> {
    let Some(pem) = received.authorities(|| client.roots()) else {
        return Ok(None);
    };
    let Some(path) = wanted else {
        return Ok(Some(ca_file(client.environment(), &pem)?));
    };
    write_private(path, pem.as_bytes())?;
    Ok(Some(path.to_owned()))
}

/// Bytes of a file that a credential is added to.
const MAX_FILE: u64 = 1024 * 1024;
