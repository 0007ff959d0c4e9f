//! Reads private key files. Rejects a file that other users own or can read.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::str;

use nix::fcntl::OFlag;

use super::Secret;
use crate::file::{open_at_once, read_up_to};

/// Reads the text of a file of at most `limit` bytes.
///
/// Checks the opened file, not the path, so the file cannot be replaced in between.
pub(crate) fn read_private(path: &Path, limit: u64) -> Result<Secret<String>, PrivateFileError> {
    let file = open_at_once(path, OFlag::empty())?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(PrivateFileError::NotAFile(if metadata.is_dir() {
            "a directory"
        } else {
            "a pipe or a device"
        }));
    }
    let mode = metadata.mode() & 0o7777;
    if !PRIVATE_MODES.contains(&mode) {
        return Err(PrivateFileError::Mode(mode));
    }
    let (owner, ours) = (metadata.uid(), nix::unistd::geteuid().as_raw());
    if !is_trusted(owner, ours) {
        return Err(PrivateFileError::Owner(Owner { owner, ours }));
    }
    let bytes = Secret::new(read_up_to(file, limit)?);
    match str::from_utf8(bytes.expose()) {
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not text").into()),
    }
}

/// Another user could replace the key at any time.
const fn is_trusted(owner: u32, ours: u32) -> bool {
    owner == ROOT || owner == ours
}

/// Why a private file was not read, as the end of a sentence that begins with its name.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The error of the system, or why the contents are rejected.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// A directory, a pipe, a device.
    #[error("is {0}, expected a regular file")]
    NotAFile(&'static str),
    /// Others can read it, or it is executable.
    #[error(
        "has mode {0:04o}, expected 0400, 0440, 0600 or 0640; fix it with `chmod 0400`, in Kubernetes with `defaultMode: 0440` in the secret volume"
    )]
    Mode(u32),
    #[error(transparent)]
    Owner(Owner),
}

/// Keeps the kind of an error of the system, such as that there is no file.
impl From<PrivateFileError> for io::Error {
    fn from(error: PrivateFileError) -> Self {
        match error {
            PrivateFileError::Unreadable(error) => error,
            PrivateFileError::NotAFile(_)
            | PrivateFileError::Mode(_)
            | PrivateFileError::Owner(_) => Self::other(error),
        }
    }
}

/// A file's owner that is neither root nor the user of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "belongs to user {owner}, expected root or the broker's user {ours}; fix it with `chown {ours}`"
)]
pub struct Owner {
    owner: u32,
    ours: u32,
}

const ROOT: u32 = 0;
/// The modes of a file that only its owner and group can read, and that is not executable.
pub(crate) const PRIVATE_MODES: [u32; 4] = [0o400, 0o440, 0o600, 0o640];

#[cfg(test)]
mod tests {
    use super::*;

    /// T-149
    #[test]
    fn a_private_file_is_roots_or_ours() {
        assert!(is_trusted(0, 10_001) && is_trusted(10_001, 10_001) && is_trusted(0, 0));
        assert!(!is_trusted(1_000, 10_001) && !is_trusted(1_000, 0));
        let owner = Owner {
            owner: 1_000,
            ours: 10_001,
        };
        insta::assert_snapshot!(owner, @"belongs to user 1000, expected root or the broker's user 10001; fix it with `chown 10001`");
    }
}
