//! Events to a file that only grows. Not: what the event means.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::chain::Head;
use super::{LONGEST_LINE, Sink, SinkError};

/// A file that is appended to, by one broker at a time.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    head: Option<Head>,
    durable: bool,
    /// A sync that failed once: the system may have thrown away what it could not write, and a later
    /// sync that works says nothing about it.
    lost: bool,
}

impl FileSink {
    /// Opens the file, or creates it with mode 0640. With `durable`, an event counts as written when
    /// the disk has it, not before.
    ///
    /// # Errors
    /// The file cannot be opened, is no file, or another broker writes to it.
    pub fn open(path: &Path, durable: bool) -> Result<Self, SinkError> {
        let problem = |problem: String| SinkError {
            sink: NAME.to_owned(),
            problem: format!("`{}` {problem}", path.display()),
        };
        let unusable = |error: io::Error| problem(format!("cannot be used: {error}"));
        // Opening a pipe would wait for its reader for ever.
        if let Ok(metadata) = path.metadata()
            && (metadata.is_dir() || metadata.file_type().is_fifo())
        {
            return Err(problem(
                "is a directory or a pipe, expected a file".to_owned(),
            ));
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o640)
            .open(path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(problem(
                    "is written to by another broker; give each replica a file of its own"
                        .to_owned(),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let is_file = file.metadata().map_err(unusable)?.is_file();
        let head = if is_file {
            last_line(&mut file).map_err(unusable)?
        } else {
            None
        };
        Ok(Self {
            file,
            head,
            durable,
            lost: false,
        })
    }
}

impl Sink for FileSink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn head(&self) -> Option<Head> {
        self.head
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.file.write(lines)
    }

    fn settle(&mut self) -> io::Result<()> {
        if !self.durable {
            return Ok(());
        }
        if self.lost || self.file.sync_data().is_err() {
            self.lost = true;
            return Err(io::Error::other(
                "the disk lost events: after a failed sync only a restart helps",
            ));
        }
        Ok(())
    }
}

/// The hash of the last line. One that was torn by a crash is ended first, so that the next line
/// stands alone; it stays in the file, and verification will name it.
fn last_line(file: &mut File) -> io::Result<Option<Head>> {
    let end = file.seek(SeekFrom::End(0))?;
    let window = u64::try_from(LONGEST_LINE)
        .unwrap_or(u64::MAX)
        .saturating_add(2);
    file.seek(SeekFrom::Start(end.saturating_sub(window)))?;
    let mut tail = Vec::new();
    file.take(window).read_to_end(&mut tail)?;
    if tail.is_empty() {
        return Ok(None);
    }
    let text = tail.strip_suffix(b"\n").unwrap_or(&tail);
    if text.len() == tail.len() {
        file.write_all(b"\n")?;
    }
    let line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or(text);
    Ok(Some(Head::of(line)))
}

const NAME: &str = "file";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_new_file_has_no_head_and_no_readers_beyond_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let sink = FileSink::open(&path, false).unwrap();
        assert_eq!(sink.head(), None);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o027, 0);
    }

    #[test]
    fn the_head_is_the_last_line_also_of_a_torn_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, "one\ntwo\n").unwrap();
        let sink = FileSink::open(&path, false).unwrap();
        assert_eq!(sink.head(), Some(Head::of(b"two")));
        drop(sink);
        fs::write(&path, "one\ntw").unwrap();
        let sink = FileSink::open(&path, false).unwrap();
        assert_eq!(sink.head(), Some(Head::of(b"tw")));
        assert_eq!(fs::read(&path).unwrap(), b"one\ntw\n");
    }

    #[test]
    fn two_brokers_do_not_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let _first = FileSink::open(&path, false).unwrap();
        let error = FileSink::open(&path, false).unwrap_err().to_string();
        let error = error.replace(&folder.path().display().to_string(), "FOLDER");
        insta::assert_snapshot!(error, @"sink `file` did not accept the event: `FOLDER/audit.jsonl` is written to by another broker; give each replica a file of its own");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = FileSink::open(folder.path(), false).unwrap_err();
        assert!(
            error
                .problem
                .ends_with("is a directory or a pipe, expected a file")
        );
        let error = FileSink::open(&folder.path().join("no/such"), false).unwrap_err();
        assert!(
            error
                .problem
                .ends_with("cannot be used: No such file or directory (os error 2)")
        );
    }
}
