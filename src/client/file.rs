//! Files that only their owner can read: written whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

use crate::text::escape;

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("file `{}` cannot be {action}: {source}", escape(&.path.to_string_lossy()))]
pub struct FileError {
    path: PathBuf,
    action: &'static str,
    source: io::Error,
}

impl FileError {
    /// Which file, what was tried (`read`, `written`), and why it failed.
    #[must_use]
    pub const fn new(path: PathBuf, action: &'static str, source: io::Error) -> Self {
        Self {
            path,
            action,
            source,
        }
    }
}

/// Writes `contents` with mode 0600 beside `path` and puts it in place in one step, so that nobody
/// reads half a secret and no earlier, looser mode is kept.
///
/// # Errors
/// The folder is missing or cannot be written to.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    let failed = |source| FileError::new(path.to_owned(), "written", source);
    let draft = draft_beside(path).map_err(failed)?;
    write_new(&draft, contents)
        .and_then(|()| fs::rename(&draft, path))
        .map_err(|source| {
            discard(&draft);
            failed(source)
        })
}

/// Like [`write_private`], but leaves a file alone that is already there; `false` then.
pub(super) fn write_private_new(path: &Path, contents: &[u8]) -> io::Result<bool> {
    let draft = draft_beside(path)?;
    let result = write_new(&draft, contents).and_then(|()| fs::hard_link(&draft, path));
    discard(&draft);
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads a file that only we can have written: a plain file of ours that others cannot read, and no
/// link to one. At most `limit` bytes.
pub(super) fn read_private(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(NO_FOLLOW)
        .open(path)?;
    let metadata = file.metadata()?;
    let is_ours = metadata.is_file() && is_private(&metadata);
    if !is_ours || metadata.len() > limit {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    read_up_to(file, limit)
}

/// Reads at most `limit` bytes; a longer file is an error, not a shorter text.
///
/// # Errors
/// The file cannot be read, or is longer.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    File::open(path)
        .and_then(|file| read_up_to(file, limit))
        .map_err(|source| FileError::new(path.to_owned(), "read", source))
}

/// A folder of ours that others can neither read nor write: made, or found so.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_dir() && is_private(&metadata) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the folder belongs to somebody else or is open to others",
        ))
    }
}

/// Ours, and without any right for group and others.
fn is_private(metadata: &Metadata) -> bool {
    let rights_of_others = metadata.mode() & 0o077;
    metadata.uid() == nix::unistd::geteuid().as_raw() && rights_of_others == 0
}

fn read_up_to(file: impl io::Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut contents)?;
    if u64::try_from(contents.len()).unwrap_or(u64::MAX) > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(contents)
}

fn draft_beside(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random bytes"))?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut draft = name.to_owned();
    draft.push(format!(".{}.tmp", HEXLOWER.encode(&random)));
    Ok(path.with_file_name(draft))
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn discard(draft: &Path) {
    if fs::remove_file(draft).is_err() {
        // It was renamed, or was never made.
    }
}

/// `O_NOFOLLOW` of Linux; the standard library has no name for it.
const NO_FOLLOW: i32 = nix::fcntl::OFlag::O_NOFOLLOW.bits();

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_private_file_has_mode_0600_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a-folder");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "").unwrap();
        assert!(write_private(&path, b"new").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_or_an_open_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        write_private(&path, b"kept").unwrap();
        assert_eq!(read_private(&path, 10).unwrap(), b"kept");
        assert!(read_private(&path, 3).is_err());
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(read_private(&link, 10).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read_private(&path, 10).is_err());
    }

    #[test]
    fn a_folder_open_to_others_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hallpass");
        private_folder(&path).unwrap();
        private_folder(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(private_folder(&path).is_err());
    }
}
