//! Reads a file that holds a private key, if nobody beyond its owner and group can.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::str;

use nix::fcntl::OFlag;

use super::Secret;

/// Reads the text of a file of fewer than `limit` bytes.
///
/// The opened file is looked at, not the path, so that nothing can be put in its place in between.
pub(crate) fn read_private(path: &Path, limit: usize) -> Result<Secret<String>, PrivateFileError> {
    // Opening a pipe would wait for its writer for ever.
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
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
    Ok(read_bounded(&file, limit)?)
}

/// Why a private file was not read.
#[derive(Debug)]
pub(crate) enum PrivateFileError {
    /// What the system says, or what the file is instead of text.
    Unreadable(io::Error),
    /// A directory, a pipe, a device.
    NotAFile(&'static str),
    /// Others can read it, or it can be run.
    Mode(u32),
}

impl From<io::Error> for PrivateFileError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

fn read_bounded(file: &File, limit: usize) -> io::Result<Secret<String>> {
    let mut bytes = Vec::with_capacity(limit);
    let length = file
        .take(u64::try_from(limit).unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)?;
    let bytes = Secret::new(bytes);
    if length >= limit {
        let text = "it is far too long for a private key";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    match str::from_utf8(bytes.expose()) {
        Ok(text) => Ok(Secret::new(text.to_owned())),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not text")),
    }
}

/// Of a file that nobody beyond its owner and group can read, and nobody runs.
pub(crate) const PRIVATE_MODES: [u32; 4] = [0o400, 0o440, 0o600, 0o640];
