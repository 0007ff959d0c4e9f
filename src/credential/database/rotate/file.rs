//! Replaces the password file: written beside it first, and put in its place by one rename.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// The file that takes the place of the password file. Dropped before [`commit`](Self::commit), it is
/// removed. One that a killed process left is written over.
#[derive(Debug)]
pub(super) struct NewFile {
    /// What is replaced; a link to it stays.
    replaced: PathBuf,
    beside: PathBuf,
    file: File,
    /// Its lock keeps out a second rotation of any file in it.
    folder: File,
    is_committed: bool,
}

impl NewFile {
    /// The file that is replaced, without links in its path.
    pub(super) fn replaced(&self) -> &Path {
        &self.replaced
    }

    /// Makes the file, for the owner and the group of the one that it replaces. No user gets more
    /// access than before: the owner may read and write it, and the group may read it if it may now.
    ///
    /// # Errors
    /// The folder cannot be written to, or another rotation is running.
    pub(super) fn begin(path: &Path) -> Result<Self, String> {
        let cannot = |what: &str, error: &io::Error| {
            format!("password file `{}` {what}: {error}", path.display())
        };
        let replaced = fs::canonicalize(path);
        let replaced = replaced.map_err(|error| cannot("cannot be found", &error))?;
        let before = fs::metadata(&replaced);
        let before = before.map_err(|error| cannot("cannot be read", &error))?;
        if !before.is_file() {
            return Err(format!(
                "password file `{}` is not a regular file",
                path.display()
            ));
        }
        let (Some(parent), Some(name)) = (replaced.parent(), replaced.file_name()) else {
            return Err(format!("password file `{}` has no folder", path.display()));
        };
        let folder = File::open(parent)
            .map_err(|error| cannot("is in a folder that cannot be read", &error))?;
        folder.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => format!(
                "another rotation is running in `{}`; wait until it ends",
                parent.display()
            ),
            fs::TryLockError::Error(error) => {
                cannot("is in a folder that cannot be locked", &error)
            }
        })?;
        let beside = parent.join(format!(".{}.rotating", name.to_string_lossy()));
        let made = remove_if_there(&beside).and_then(|()| {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)
        });
        let file = made
            .map_err(|error| cannot("cannot be replaced: its folder takes no new file", &error))?;
        let new = Self {
            replaced,
            beside,
            file,
            folder,
            is_committed: false,
        };
        let made = new.file.metadata().and_then(|made| {
            if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
                fchown(&new.file, Some(before.uid()), Some(before.gid()))?;
            }
            let for_group = before.mode() & 0o040;
            new.file
                .set_permissions(Permissions::from_mode(0o600 | for_group))
        });
        made.map_err(|error| {
            cannot(
                &format!(
                    "belongs to user {} and group {}, who could not read the new one (run this as root, or as that user)",
                    before.uid(),
                    before.gid()
                ),
                &error,
            )
        })?;
        Ok(new)
    }

    /// Writes the text, and waits until the disk has it.
    ///
    /// # Errors
    /// The disk is full, or fails.
    pub(super) fn write(&mut self, text: &Secret<String>) -> Result<(), String> {
        let written = self
            .file
            .write_all(text.expose().as_bytes())
            .and_then(|()| self.file.sync_all());
        written.map_err(|error| {
            format!(
                "the new password file `{}` cannot be written: {error}; nothing is changed",
                self.beside.display()
            )
        })
    }

    /// Puts it in the place of the password file.
    ///
    /// # Errors
    /// The password file is as it was.
    pub(super) fn commit(mut self) -> Result<(), String> {
        fs::rename(&self.beside, &self.replaced).map_err(|error| {
            format!(
                "password file `{}` cannot be replaced: {error}",
                self.replaced.display()
            )
        })?;
        self.is_committed = true;
        // A power cut may bring the old file back, whose login is still valid.
        let _ = self.folder.sync_all();
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_committed {
            // It names a login that is not in use, and the next rotation writes over it.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
