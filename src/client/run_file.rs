//! A secret file that exists while one command runs: new, replaced in one step, and removed at the end.
//!
//! The folder must be one that no other user can change, at every level: otherwise another user could
//! put a link or a folder of their own in its place (T-241).

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::file::{FileError, discard, draft_beside, write_new};

/// A file of [`write`](Self::write)'s contents, which only this user can read.
#[derive(Debug)]
pub struct RunFile {
    path: PathBuf,
    /// The file as it was written last. While it is open, no other file can have its inode.
    written: Option<File>,
}

impl RunFile {
    /// Checks that a file at `path` would be new, in a folder that no other user can change.
    ///
    /// # Errors
    /// Something exists at `path`, or its folder is missing or can be changed by other users.
    pub fn new(path: &Path) -> Result<Self, FileError> {
        let checked = resolve(path).and_then(|path| match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
            Err(error) => Err(error),
            Ok(_) => Err(exists()),
        });
        match checked {
            Ok(path) => Ok(Self {
                path,
                written: None,
            }),
            Err(error) => Err(FileError::new(path.to_owned(), "written", error)),
        }
    }

    /// Its path, without links in its folder's.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file, or replaces what was written before, in one step. If that fails, the file is
    /// as it was.
    ///
    /// # Errors
    /// It cannot be written, or another program put a file in its place.
    pub fn write(&mut self, contents: &[u8]) -> Result<(), FileError> {
        let write = || {
            let draft = draft_beside(&self.path)?;
            let file = write_new(&draft, contents, 0o600).inspect_err(|_| discard(&draft))?;
            let placed = if self.written.is_none() {
                // Unlike a rename, a link never replaces a file.
                let placed = fs::hard_link(&draft, &self.path);
                discard(&draft);
                placed.map_err(|error| {
                    if error.kind() == io::ErrorKind::AlreadyExists {
                        exists()
                    } else {
                        error
                    }
                })
            } else {
                self.check_is_ours()
                    .and_then(|()| fs::rename(&draft, &self.path))
                    .inspect_err(|_| discard(&draft))
            };
            placed.map(|()| file)
        };
        let written = write();
        self.written = Some(written.map_err(|error| self.error("written", error))?);
        Ok(())
    }

    /// Removes the file, unless another program put one of its own in its place.
    ///
    /// # Errors
    /// It cannot be removed, or is not the file that was written.
    pub fn remove(&mut self) -> Result<(), FileError> {
        if self.written.is_none() {
            return Ok(());
        }
        let removed = match self.check_is_ours() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => fs::remove_file(&self.path),
        };
        self.written = None;
        removed.map_err(|error| self.error("removed", error))
    }

    fn check_is_ours(&self) -> io::Result<()> {
        let there = identity(&fs::symlink_metadata(&self.path)?);
        let ours = self.written.as_ref().map(File::metadata).transpose()?;
        if ours.is_some_and(|ours| identity(&ours) == there) {
            return Ok(());
        }
        Err(io::Error::other(
            "another program replaced it, so it is left as it is",
        ))
    }

    fn error(&self, action: &'static str, error: io::Error) -> FileError {
        FileError::new(self.path.clone(), action, error)
    }
}

/// An early return must not leave a secret behind.
impl Drop for RunFile {
    fn drop(&mut self) {
        if self.remove().is_err() {
            // Whoever can report it has called `remove`.
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn exists() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        "it already exists; remove it or choose another path",
    )
}

/// The path with its folder resolved, if no other user can change where it leads.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(io::Error::other("it is not the path of a file"));
    };
    Ok(closed_folder(folder)?.join(name))
}

/// The folder without links in its path, if no other user can change where the path leads.
///
/// # Errors
/// The folder is missing, or other users can change it or a folder above it.
pub fn closed_folder(folder: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(folder)?;
    let resolved = fs::canonicalize(&absolute)
        .map_err(|error| io::Error::new(error.kind(), format!("its folder: {error}")))?;
    for folder in absolute.ancestors().chain(resolved.ancestors()) {
        check_folder(folder)?;
    }
    Ok(resolved)
}

/// Whether a folder, or a link to one, is ours or the system's, and others can change nothing in it
/// that is not theirs.
fn check_folder(folder: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(folder)?;
    let is_trusted = metadata.uid() == 0 || metadata.uid() == nix::unistd::geteuid().as_raw();
    let is_closed = metadata.mode() & GROUP_OR_OTHERS_WRITE == 0;
    let is_sticky = metadata.mode() & STICKY != 0;
    let problem = match () {
        () if !is_trusted => "belongs to another user",
        () if metadata.is_symlink() || is_closed || is_sticky => return Ok(()),
        () => "can be changed by other users",
    };
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "folder `{}` {problem}; use a folder that only this user can change, such as one of `mktemp -d`",
            crate::text::escape(&folder.to_string_lossy())
        ),
    ))
}

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
/// Others can neither remove nor rename what is not theirs, as in `/tmp`.
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    /// T-241
    #[test]
    fn a_file_is_new_private_replaced_whole_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login");
        let mut file = RunFile::new(&path).unwrap();
        file.write(b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let inode = fs::metadata(&path).unwrap().ino();
        file.write(b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_ne!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// T-241
    #[test]
    fn what_exists_is_neither_replaced_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("theirs"), "theirs").unwrap();
        symlink(path("theirs"), path("link")).unwrap();
        symlink("nowhere", path("broken")).unwrap();
        for name in ["theirs", "link", "broken"] {
            let error = RunFile::new(&path(name)).unwrap_err().to_string();
            assert!(error.contains("it already exists"), "{error}");
        }
        // Made after the check, and in place of the file that was written.
        let mut late = RunFile::new(&path("late")).unwrap();
        fs::write(path("late"), "theirs").unwrap();
        assert!(late.write(b"secret").is_err());
        drop(late);
        let mut taken = RunFile::new(&path("taken")).unwrap();
        taken.write(b"secret").unwrap();
        fs::remove_file(path("taken")).unwrap();
        fs::write(path("taken"), "theirs").unwrap();
        assert!(taken.write(b"secret").is_err());
        assert!(taken.remove().is_err());
        for name in ["theirs", "late", "taken"] {
            assert_eq!(fs::read(path(name)).unwrap(), b"theirs", "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
    }

    /// T-241
    #[test]
    fn a_folder_that_others_can_change_is_refused_at_every_level() {
        let base = tempfile::tempdir().unwrap();
        let open = base.path().join("open");
        let inside = open.join("inside");
        fs::create_dir_all(&inside).unwrap();
        symlink(&inside, base.path().join("link")).unwrap();
        let mode = |mode| fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        let paths = [open.join("a"), inside.join("a"), base.path().join("link/a")];
        for refused in [0o777, 0o775, 0o707] {
            mode(refused);
            for path in &paths {
                let error = RunFile::new(path).unwrap_err().to_string();
                assert!(error.contains("can be changed by other users"), "{error}");
            }
        }
        for taken in [0o755, 0o1777] {
            mode(taken);
            for path in &paths {
                assert_eq!(RunFile::new(path).unwrap().path().file_name().unwrap(), "a");
            }
        }
        assert!(RunFile::new(&base.path().join("missing/a")).is_err());
        assert!(RunFile::new(Path::new("/")).is_err());
    }
}
