//! Reading files: opened without waiting, and never more than a limit. Not: whose file it is.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;

/// Opens for reading without waiting: a pipe without a writer would block for ever (T-136).
pub(crate) fn open_at_once(path: &Path, more: OFlag) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | more).bits())
        .open(path)
}

/// Everything, if it is at most `limit` bytes; more is an error and not a shorter text.
pub(crate) fn read_up_to(source: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    // With room for all of a secret, so that growing leaves no copy of it behind.
    let mut contents = Vec::with_capacity(SECRETS_FIT);
    source
        .take(limit.saturating_add(1))
        .read_to_end(&mut contents)?;
    check_length(&contents, limit)?;
    Ok(contents)
}

pub(crate) fn check_length(contents: &[u8], limit: u64) -> io::Result<()> {
    if u64::try_from(contents.len()).is_ok_and(|length| length <= limit) {
        return Ok(());
    }
    let problem = format!("it has more than {limit} bytes");
    Err(io::Error::new(io::ErrorKind::FileTooLarge, problem))
}

/// Opens a regular file. A pipe or a device could keep its reader waiting for ever, or give other text
/// to the next one (T-136).
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file = open_at_once(path, OFlag::empty())?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let problem = "it is not a regular file";
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// The text of a file that the settings name, as [`read_up_to`].
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let contents = read_up_to(open_regular(path)?, limit)?;
    String::from_utf8(contents)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

const SECRETS_FIT: usize = 32 * 1024;
