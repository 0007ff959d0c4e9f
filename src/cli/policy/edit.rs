//! Writes a file of a policy folder: whole, in one step, and only if it is still what was read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::cli::Failure;
use crate::file::read_text;
use crate::text::escape;

/// The content of a file before and after a change.
pub(super) struct Change<'a> {
    /// The path within the folder.
    pub(super) name: &'a str,
    /// What was read; `None` if there was no file.
    pub(super) before: Option<&'a str>,
    pub(super) after: &'a str,
}

impl Change<'_> {
    /// Writes the file.
    ///
    /// # Errors
    /// It is not below the folder, is a link, or was changed since it was read.
    pub(super) fn write(&self, dir: &Path) -> Result<PathBuf, Failure> {
        let path = dir.join(self.name);
        let shown = escape(&path.display().to_string());
        let failed = |problem: &str| Failure::Local(format!("`{shown}` is not written: {problem}"));
        let unwritten = |error: io::Error| failed(&error.to_string());
        Self::check_place(dir, &path).map_err(|problem| failed(&problem))?;
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unwritten(error)),
        };
        let mode = match &found {
            Some(found) if !found.is_file() => return Err(failed("it is not a regular file")),
            Some(found) => found.mode() & 0o777,
            None => 0o644,
        };
        let now = match found {
            Some(_) => Some(read_text(&path, LARGEST).map_err(unwritten)?),
            None => None,
        };
        if now.as_deref() != self.before {
            return Err(failed(
                "it was changed since it was read; run the command again",
            ));
        }
        let draft = draft(&path);
        let written = write_new(&draft, self.after, mode).and_then(|()| match self.before {
            // A file that appeared meanwhile is left alone.
            None => fs::hard_link(&draft, &path).and_then(|()| fs::remove_file(&draft)),
            Some(_) => fs::rename(&draft, &path),
        });
        if let Err(error) = written {
            if fs::remove_file(&draft).is_err() {
                // It was renamed, or was never made.
            }
            return Err(unwritten(error));
        }
        Ok(path)
    }

    /// A name never leads out of the folder, not even by a link among its parents.
    fn check_place(dir: &Path, path: &Path) -> Result<(), String> {
        let unreadable = |error: io::Error| format!("its folder cannot be read: {error}");
        let root = dir.canonicalize().map_err(unreadable)?;
        let parent = path.parent().unwrap_or(dir);
        let parent = parent.canonicalize().map_err(unreadable)?;
        if parent.starts_with(&root) {
            return Ok(());
        }
        Err("it is outside the folder of policies".to_owned())
    }
}

/// A hidden file beside the path, which no reader of policies looks at.
fn draft(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The lines that a change removes and adds, each with its number.
pub(super) fn difference(before: &str, after: &str) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let same = |a: &[&str], b: &[&str]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let start = same(&old, &new);
    let reversed = |list: &[&str]| -> Vec<String> {
        list.iter()
            .skip(start)
            .rev()
            .map(|line| (*line).to_owned())
            .collect()
    };
    let (old_tail, new_tail) = (reversed(&old), reversed(&new));
    let tail = old_tail
        .iter()
        .zip(&new_tail)
        .take_while(|(a, b)| a == b)
        .count();
    let lines = |list: &[&str], mark: char| -> Vec<String> {
        let end = list.len().saturating_sub(tail);
        let lines = list.iter().enumerate().take(end).skip(start);
        lines
            .map(|(number, line)| {
                format!("{mark} {:>4} {}", number.saturating_add(1), escape(line))
            })
            .collect()
    };
    let mut difference = lines(&old, '-');
    difference.extend(lines(&new, '+'));
    difference
}

/// The largest policy file, in bytes.
pub(super) const LARGEST: u64 = 16 * 1_024 * 1_024;
