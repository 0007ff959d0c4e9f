//! Files that only their owner can read: written whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::clock::{Clock as _, SystemClock};
use crate::file::{check_length, open_at_once, read_up_to};
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

/// Whether [`write_private`] may write to `path`: to a file, or where nothing is. A link, a pipe or a
/// device would be replaced by a file, which is not what its name was given for.
///
/// # Errors
/// Something else is there.
pub fn check_target(path: &Path) -> Result<(), FileError> {
    let problem = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => error,
        Ok(there) if there.is_file() => return Ok(()),
        Ok(there) if there.is_symlink() => {
            io::Error::other("it is a link, which would be replaced; name the file it leads to")
        }
        Ok(there) if there.is_dir() => io::ErrorKind::IsADirectory.into(),
        Ok(_) => io::Error::other(
            "it is a pipe, a socket or a device, which would be replaced; let the shell redirect the output to it",
        ),
    };
    Err(FileError::new(path.to_owned(), "written", problem))
}

/// Writes `contents` with mode 0600 beside `path` and puts it in place in one step, so that nobody
/// reads half a secret and no earlier, looser mode is kept.
///
/// # Errors
/// The folder is missing or cannot be written to, or `path` fails [`check_target`].
pub fn write_private(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    check_target(path)?;
    replace_private(path, contents)
        .map_err(|source| FileError::new(path.to_owned(), "written", source))
}

/// [`write_private`] in a folder of our own: whatever is there is replaced.
pub(super) fn replace_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let draft = draft_beside(path)?;
    write_new(&draft, contents, 0o600)
        .and_then(|_| fs::rename(&draft, path))
        .inspect_err(|_| discard(&draft))
}

/// What a file of ours holds so far, to add to it; nothing where there is none. A file of another
/// user is refused, since [`write_private`] would make it ours.
///
/// # Errors
/// The file cannot be read, or is not ours.
pub fn read_own(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let read = || {
        let file = match open_at_once(path, OFlag::O_NOFOLLOW) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::other("it is not a file of this user"));
        }
        read_up_to(file, limit)
    };
    read().map_err(|source| FileError::new(path.to_owned(), "read", source))
}

/// Writes a new file whole, with this mode, and leaves one alone that is already there; `false` then.
///
/// # Errors
/// The folder is missing or cannot be written to.
pub fn write_private_new(path: &Path, contents: &[u8], mode: u32) -> io::Result<bool> {
    let draft = draft_beside(path)?;
    let result = write_new(&draft, contents, mode).and_then(|_| fs::hard_link(&draft, path));
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
    let file = open_at_once(path, OFlag::O_NOFOLLOW)?;
    let metadata = file.metadata()?;
    if !(metadata.is_file() && is_private(&metadata)) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    read_up_to(file, limit)
}

/// Reads at most `limit` bytes; a longer file is an error, not a shorter text. A pipe is read to its
/// end, but for no longer than `patience`.
///
/// # Errors
/// The file cannot be read in time, or is longer.
pub fn read_bounded(path: &Path, limit: u64, patience: Duration) -> Result<Vec<u8>, FileError> {
    let read = || {
        let file = open_at_once(path, OFlag::empty())?;
        if file.metadata()?.is_file() {
            read_up_to(file, limit)
        } else {
            read_stream(file, limit, patience)
        }
    };
    read().map_err(|source| FileError::new(path.to_owned(), "read", source))
}

fn read_stream(mut file: File, limit: u64, patience: Duration) -> io::Result<Vec<u8>> {
    let clock = SystemClock::new();
    let deadline = clock.monotonic().saturating_add(patience);
    let (mut contents, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let left = deadline.saturating_sub(clock.monotonic());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], left) {
            Ok(0) => {
                let problem = "its writer did not finish in time";
                return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        match file.read(&mut buffer) {
            Ok(0) => return Ok(contents),
            Ok(count) => contents.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        check_length(&contents, limit)?;
    }
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
            "the folder belongs to another user or others can access it",
        ))
    }
}

/// Ours, and without any right for group and others.
fn is_private(metadata: &Metadata) -> bool {
    let rights_of_others = metadata.mode() & 0o077;
    metadata.uid() == nix::unistd::geteuid().as_raw() && rights_of_others == 0
}

pub(super) fn draft_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut draft = name.to_owned();
    draft.push(format!(".{}.tmp", random_word()?));
    Ok(path.with_file_name(draft))
}

/// A part of a name that nobody guesses.
pub(super) fn random_word() -> io::Result<String> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(HEXLOWER.encode(&random))
}

pub(super) fn write_new(path: &Path, contents: &[u8], mode: u32) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()?;
    Ok(file)
}

pub(super) fn discard(draft: &Path) {
    if fs::remove_file(draft).is_err() {
        // It was renamed, or was never made.
    }
}

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
    fn a_new_file_is_never_overwritten_and_leaves_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root");
        assert!(write_private_new(&path, b"first", 0o400).unwrap());
        assert!(!write_private_new(&path, b"second", 0o400).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o400);
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

    /// T-137
    #[test]
    fn only_files_are_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "old").unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink("nowhere", path("broken")).unwrap();
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["link", "broken", "pipe"] {
            let kind = fs::symlink_metadata(path(name)).unwrap().file_type();
            assert!(write_private(&path(name), b"new").is_err(), "{name}");
            assert_eq!(
                fs::symlink_metadata(path(name)).unwrap().file_type(),
                kind,
                "{name}"
            );
        }
        assert_eq!(fs::read(path("file")).unwrap(), b"old");
        assert!(write_private(Path::new("/dev/null"), b"new").is_err());
        let text = |name: &str| {
            let error = check_target(&path(name)).unwrap_err().to_string();
            error.replace(folder.path().to_str().unwrap(), "")
        };
        insta::assert_snapshot!(text("link"), @"file `/link` cannot be written: it is a link, which would be replaced; name the file it leads to");
        insta::assert_snapshot!(text("pipe"), @"file `/pipe` cannot be written: it is a pipe, a socket or a device, which would be replaced; let the shell redirect the output to it");
    }

    /// T-136
    #[test]
    fn a_pipe_is_read_to_its_end_or_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read_private(&path, 10).is_err());
        let error = read_bounded(&path, 10, Duration::from_millis(10)).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("its writer did not finish in time"),
            "{error}"
        );
        for (text, limit) in [("written late", 12), ("too long", 7)] {
            let writer = std::thread::spawn({
                let path = path.clone();
                move || fs::write(path, text)
            });
            let read = read_bounded(&path, limit, Duration::from_mins(1));
            writer.join().unwrap().unwrap();
            let expected = (limit == 12).then(|| text.as_bytes().to_vec());
            assert_eq!(read.ok(), expected, "{text}");
        }
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
