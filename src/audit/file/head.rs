//! Keeps the head of an audit file beside it, as `<audit file>.head`.
//!
//! If the audit file is renamed while no broker runs, the next file continues from this head. The
//! head also shows that lines were cut off in the meantime.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::audit::chain::Head;

/// The file that holds a head.
#[derive(Debug)]
pub(super) struct HeadFile(File);

impl HeadFile {
    /// Opens or creates the file that belongs to an audit file.
    pub(super) fn open(audit_file: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o640)
            .open(path_of(audit_file))?;
        Ok(Self(file))
    }

    /// The head it holds; `None` for a new file, or after a crash in the middle of a write.
    pub(super) fn read(&self) -> Option<Head> {
        let mut text = [0; LENGTH];
        self.0.read_exact_at(&mut text, 0).ok()?;
        Head::parse(std::str::from_utf8(&text).ok()?.trim_end())
    }

    /// Replaces the head. In place and without a sync: it is only a hint beside the audit file.
    pub(super) fn write(&self, head: Head) -> io::Result<()> {
        self.0
            .write_all_at(format!("sha256:{head}\n").as_bytes(), 0)
    }
}

/// `<audit file>.head`
pub(super) fn path_of(audit_file: &Path) -> PathBuf {
    let mut path = audit_file.as_os_str().to_owned();
    path.push(".head");
    path.into()
}

/// `sha256:`, 64 digits and a newline.
const LENGTH: usize = 72;
