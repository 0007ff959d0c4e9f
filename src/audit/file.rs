//! The sink that appends events to a file.
//!
//! A line counts only if it is in the file at the configured path, where readers look (T-135). So
//! the sink compares its open file with the path before each batch, and again before the batch
//! counts. If the file was renamed, deleted or replaced, a new file continues the chain. If the
//! file is shorter than what was written, it has lost lines.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{AccessFlags, access};

use super::chain::{self, Head};
use super::sink::{SinkKind, SinkSettings};
use super::stream::LineWriter;
use super::{AuditLine, Confirmed, Found, LONGEST_LINE, Sink, SinkError};
use crate::yaml::settings::Section;

mod head;

use crate::reason::Reason;
use head::HeadFile;

/// `kind: file`
pub(super) const SINK: SinkKind = SinkKind { name: NAME, read };

fn read(section: &Section<'_>) -> Option<Arc<dyn SinkSettings>> {
    let path = section.required("path")?.path()?;
    Some(Arc::new(FileSettings { path }))
}

#[derive(Debug)]
struct FileSettings {
    path: PathBuf,
}

impl SinkSettings for FileSettings {
    fn description(&self) -> String {
        format!("{NAME} {}", self.path.display())
    }

    fn check(&self) -> Result<(), SinkError> {
        check(&self.path)
    }

    fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(FileSink::open(&self.path, true)?))
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

/// An append-only file, used by one broker at a time.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    durable: bool,
    open: OpenFile,
    writer: LineWriter,
    /// The head of the last line that counts.
    head: Option<Head>,
    head_file: Option<HeadFile>,
    /// Lines that were cut off while no broker was running.
    found_at_start: Option<Found>,
    /// A sync failed. The system may have discarded data, and a later successful sync does not show
    /// it.
    lost: bool,
}

impl FileSink {
    /// Opens the file, or creates it with mode 0640. With `durable`, an event counts as written
    /// once it is synced to disk. `<path>.head` keeps the head of the file, so a new file can
    /// continue the chain if this one is renamed.
    ///
    /// # Errors
    /// The file cannot be opened, is not a regular file, or is in use by another broker.
    pub fn open(path: &Path, durable: bool) -> Result<Self, SinkError> {
        let mut sink = Self::without_head_file(path, durable)?;
        if sink.open.is_regular {
            match HeadFile::open(path) {
                Ok(head_file) => sink.continue_after(head_file)?,
                Err(error) => tracing::warn!(
                    reason = Reason::AuditHead.code(),
                    path = %head::path_of(path).display(),
                    %error,
                    "cannot save the head of the audit log; if the file is renamed while the \
                     broker is stopped, the next start begins a new chain"
                ),
            }
        }
        Ok(sink)
    }

    /// The same for a file that no later run continues.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn without_head_file(path: &Path, durable: bool) -> Result<Self, SinkError> {
        let mut open = OpenFile::at(path, durable)?;
        let head = open
            .end_last_line()
            .map_err(|error| unusable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            durable,
            open,
            writer: LineWriter::default(),
            head,
            head_file: None,
            found_at_start: None,
            lost: false,
        })
    }

    /// Compares the file with the head saved beside it. After a crash that may be an earlier head,
    /// whose line the file has.
    fn continue_after(&mut self, head_file: HeadFile) -> Result<(), SinkError> {
        let noted = head_file.read();
        self.head_file = Some(head_file);
        let Some(noted) = noted.filter(|noted| self.head != Some(*noted)) else {
            return Ok(());
        };
        if self.head.is_some() {
            let is_there = self.open.has_line(noted);
            if is_there.map_err(|error| unusable(&self.path, &error))? {
                return Ok(());
            }
            self.found_at_start = Some(Found::Truncated(Some(noted)));
        }
        self.head = Some(noted);
        Ok(())
    }

    /// Continues in a new file, because the path no longer leads to the open one.
    fn reopen(&mut self, own: &Metadata, taken: &[AuditLine]) -> io::Result<Confirmed> {
        let other = |error: SinkError| io::Error::other(error.problem);
        let mut open = OpenFile::at(&self.path, self.durable).map_err(other)?;
        if !open.is_regular {
            return Err(io::Error::other(format!(
                "`{}` was replaced by something other than a regular file",
                self.path.display()
            )));
        }
        open.end_last_line()?;
        let confirmed = if own.nlink() == 0 {
            Confirmed {
                lines: 0,
                found: Some(Found::Removed(self.head)),
            }
        } else {
            // The system reports a failed sync only once, so a later sync would succeed.
            self.settle()?;
            Confirmed {
                lines: taken.len(),
                found: Some(Found::Renamed),
            }
        };
        self.open = open;
        self.writer.restart();
        Ok(confirmed)
    }

    /// Handles a file that became shorter. Lines accepted since the last confirmation may be lost
    /// too.
    fn after_truncation(&mut self, own: &Metadata, taken: &[AuditLine]) -> io::Result<Confirmed> {
        let mut bytes: Vec<u8> = Vec::new();
        for line in taken {
            bytes.extend_from_slice(&line.text);
        }
        bytes.extend_from_slice(self.writer.begun());
        let is_kept = self.open.ends_with(own.len(), &bytes)?;
        if is_kept {
            self.open.length = own.len();
        } else {
            self.open.end_last_line()?;
            self.writer.restart();
        }
        Ok(Confirmed {
            lines: if is_kept { taken.len() } else { 0 },
            found: Some(Found::Truncated(self.head)),
        })
    }

    fn note_head(&mut self, taken: &[AuditLine]) {
        let Some(last) = taken.last() else {
            return;
        };
        self.head = Some(last.head);
        let Some(Err(error)) = self.head_file.as_ref().map(|file| file.write(last.head)) else {
            return;
        };
        self.head_file = None;
        tracing::warn!(
            reason = Reason::AuditHead.code(),
            path = %head::path_of(&self.path).display(),
            %error,
            "can no longer save the head of the audit log"
        );
    }
}

impl Sink for FileSink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn head(&self) -> Option<Head> {
        self.head
    }

    fn write(&mut self, lines: &[AuditLine]) -> io::Result<usize> {
        self.writer.write(lines, &mut self.open)
    }

    fn settle(&mut self) -> io::Result<()> {
        if !self.durable {
            return Ok(());
        }
        if self.lost || self.open.file.sync_data().is_err() {
            self.lost = true;
            return Err(io::Error::other(
                "a sync to disk failed and may have lost events; restart the broker",
            ));
        }
        Ok(())
    }

    fn confirm(&mut self, taken: &[AuditLine]) -> io::Result<Confirmed> {
        let mut confirmed = Confirmed::all(taken);
        if self.open.is_regular {
            let own = self.open.file.metadata()?;
            if !is_at(&self.path, &own)? {
                confirmed = self.reopen(&own, taken)?;
            } else if own.len() < self.open.length {
                confirmed = self.after_truncation(&own, taken)?;
            }
        }
        confirmed.found = confirmed.found.or(self.found_at_start.take());
        if confirmed.lines == taken.len() {
            self.note_head(taken);
        }
        Ok(confirmed)
    }
}

/// An open audit file.
#[derive(Debug)]
struct OpenFile {
    file: File,
    /// Not a device.
    is_regular: bool,
    /// Its minimum length.
    length: u64,
}

impl OpenFile {
    fn at(path: &Path, durable: bool) -> Result<Self, SinkError> {
        if let Ok(metadata) = path.metadata() {
            check_type(path, &metadata)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .mode(0o640)
            .open(path)
            .map_err(|error| {
                let folder = check_folder(path).err();
                folder.unwrap_or_else(|| unusable(path, &error))
            })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(problem(
                    path,
                    "is in use by another broker; give each replica its own file",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(path, &error)),
        }
        let metadata = file.metadata().map_err(|error| unusable(path, &error))?;
        if metadata.is_file() {
            check_content(path, &file)?;
        }
        if durable && metadata.is_file() && metadata.len() == 0 {
            sync_folder(path);
        }
        Ok(Self {
            file,
            is_regular: metadata.is_file(),
            length: metadata.len(),
        })
    }

    /// The hash of the last line. A line torn by a crash is ended first, so the next line is
    /// separate. The torn line stays in the file, and verification reports it.
    fn end_last_line(&mut self) -> io::Result<Option<Head>> {
        if !self.is_regular {
            return Ok(None);
        }
        let mut end = self.file.seek(SeekFrom::End(0))?;
        let window = u64::try_from(LONGEST_LINE)
            .unwrap_or(u64::MAX)
            .saturating_add(2);
        self.file
            .seek(SeekFrom::Start(end.saturating_sub(window)))?;
        let mut tail = Vec::new();
        (&self.file).take(window).read_to_end(&mut tail)?;
        let text = tail.strip_suffix(b"\n").unwrap_or(&tail);
        if !tail.is_empty() && text.len() == tail.len() {
            self.file.write_all(b"\n")?;
            end = end.saturating_add(1);
        }
        self.length = end;
        Ok((!tail.is_empty()).then(|| Head::of(last_line(text))))
    }

    /// Whether any line has this hash. Reads the whole file.
    fn has_line(&mut self, head: Head) -> io::Result<bool> {
        self.file.seek(SeekFrom::Start(0))?;
        let longest = u64::try_from(LONGEST_LINE)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let mut reader = BufReader::new(&self.file);
        let mut line = Vec::new();
        loop {
            line.clear();
            if (&mut reader).take(longest).read_until(b'\n', &mut line)? == 0 {
                return Ok(false);
            }
            if Head::of(line.strip_suffix(b"\n").unwrap_or(&line)) == head {
                return Ok(true);
            }
        }
    }

    /// Whether the file, of this length, ends with these bytes.
    fn ends_with(&self, length: u64, bytes: &[u8]) -> io::Result<bool> {
        let from = length.checked_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let Some(from) = from else {
            return Ok(false);
        };
        let mut found = vec![0; bytes.len()];
        self.file.read_exact_at(&mut found, from)?;
        Ok(!bytes.is_empty() && found == bytes)
    }
}

impl Write for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        let length = u64::try_from(count).unwrap_or(u64::MAX);
        self.length = self.length.saturating_add(length);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Checks that an audit file can be appended to or created, without writing to it.
fn check(path: &Path) -> Result<(), SinkError> {
    let Ok(metadata) = path.metadata() else {
        return check_folder(path);
    };
    check_type(path, &metadata)?;
    let opened = OpenOptions::new().append(true).read(true).open(path);
    let file = opened.map_err(|error| unusable(path, &error))?;
    if metadata.is_file() {
        check_content(path, &file)?;
    }
    Ok(())
}

/// Opening a pipe would wait for its reader for ever.
fn check_type(path: &Path, metadata: &Metadata) -> Result<(), SinkError> {
    if metadata.is_dir() || metadata.file_type().is_fifo() {
        return Err(problem(
            path,
            "is a directory or a pipe, expected a regular file",
        ));
    }
    Ok(())
}

/// The folder that a new file goes into.
fn check_folder(path: &Path) -> Result<(), SinkError> {
    let folder = folder_of(path);
    let refused = |error: &dyn std::fmt::Display| {
        let text = format!(
            "cannot be created in `{}`: {error}; create the folder and give this user write access to it",
            folder.display()
        );
        problem(path, &text)
    };
    fs::read_dir(folder).map_err(|error| refused(&error))?;
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| refused(&errno.desc()))
}

/// Rejects a file that another program wrote. A file is accepted if it is empty or begins like an
/// event, perhaps torn by a crash.
fn check_content(path: &Path, file: &File) -> Result<(), SinkError> {
    let mut start = Vec::new();
    let longest = u64::try_from(chain::LINE_START.len()).unwrap_or(u64::MAX);
    let mut handle = file;
    let read = handle
        .seek(SeekFrom::Start(0))
        .and_then(|_| handle.take(longest).read_to_end(&mut start));
    read.map_err(|error| unusable(path, &error))?;
    let line = start
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    if chain::LINE_START.starts_with(line) && (line.len() == start.len() || !line.is_empty()) {
        return Ok(());
    }
    Err(problem(
        path,
        "is not a hallpass audit file: its first line is not an event; choose another path, or \
         move this file away",
    ))
}

/// Whether the file at a path is the one with this metadata.
fn is_at(path: &Path, own: &Metadata) -> io::Result<bool> {
    match path.metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn last_line(lines: &[u8]) -> &[u8] {
    lines.rsplit(|byte| *byte == b'\n').next().unwrap_or(lines)
}

/// A new file outlives a power cut only when its folder is on the disk too. Some file systems cannot
/// sync a folder.
fn sync_folder(path: &Path) {
    let folder = File::open(folder_of(path));
    if let Err(error) = folder.and_then(|folder| folder.sync_all()) {
        tracing::debug!(%error, "the folder of the audit file cannot be synced");
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

fn problem(path: &Path, problem: &str) -> SinkError {
    SinkError {
        sink: NAME.to_owned(),
        problem: format!("`{}` {problem}", path.display()),
    }
}

fn unusable(path: &Path, error: &io::Error) -> SinkError {
    problem(path, &format!("cannot be used: {error}"))
}

const NAME: &str = "file";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::super::lines;
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
        fs::write(&path, "{\"v\":1\ntwo\n").unwrap();
        let sink = FileSink::open(&path, false).unwrap();
        assert_eq!(sink.head(), Some(Head::of(b"two")));
        drop(sink);
        fs::write(&path, "{\"v\":1\ntw").unwrap();
        let sink = FileSink::open(&path, false).unwrap();
        assert_eq!(sink.head(), Some(Head::of(b"tw")));
        assert_eq!(fs::read(&path).unwrap(), b"{\"v\":1\ntw\n");
    }

    fn taken(sink: &mut FileSink, text: &[u8]) {
        let lines = lines(1, text);
        assert_eq!(sink.write(&lines).unwrap(), lines.len());
        sink.settle().unwrap();
        assert_eq!(sink.confirm(&lines).unwrap(), Confirmed::all(&lines));
    }

    /// T-135
    #[test]
    fn a_new_file_continues_the_head_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut sink = FileSink::open(&path, false).unwrap();
        taken(&mut sink, b"{\"v\":1\ntwo\n");
        drop(sink);
        fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
        let mut sink = FileSink::open(&path, false).unwrap();
        assert_eq!(sink.head(), Some(Head::of(b"two")));
        assert_eq!(sink.confirm(&[]).unwrap().found, None);
        let noted = fs::read_to_string(folder.path().join("audit.jsonl.head")).unwrap();
        assert_eq!(noted, format!("sha256:{}\n", Head::of(b"two")));
    }

    /// T-135
    #[test]
    fn lines_that_were_cut_off_while_no_broker_ran_are_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut sink = FileSink::open(&path, false).unwrap();
        taken(&mut sink, b"{\"v\":1\ntwo\nthree\n");
        drop(sink);
        fs::write(&path, "{\"v\":1\ntwo\n").unwrap();
        let mut sink = FileSink::open(&path, false).unwrap();
        let three = Head::of(b"three");
        assert_eq!(sink.head(), Some(three));
        let found = sink.confirm(&[]).unwrap().found;
        assert_eq!(found, Some(Found::Truncated(Some(three))));
        assert_eq!(sink.confirm(&[]).unwrap().found, None);
    }

    #[test]
    fn a_head_that_is_older_than_the_file_is_no_truncation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut sink = FileSink::open(&path, false).unwrap();
        taken(&mut sink, b"{\"v\":1\n");
        drop(sink);
        // As a broker leaves it that was killed between a write and its confirmation.
        fs::write(&path, "{\"v\":1\ntwo\nthr").unwrap();
        let mut sink = FileSink::open(&path, false).unwrap();
        assert_eq!(sink.head(), Some(Head::of(b"thr")));
        assert_eq!(sink.confirm(&[]).unwrap().found, None);
        let head = folder.path().join("audit.jsonl.head");
        for damaged in [
            "",
            "sha256:00",
            "no head at all, and longer than one is: 0123456789012345678901234567890123456789",
        ] {
            drop(sink);
            fs::write(&head, damaged).unwrap();
            sink = FileSink::open(&path, false).unwrap();
            assert_eq!(sink.head(), Some(Head::of(b"thr")));
        }
    }

    /// What happens, how; the lines that remain, what is found, and what is in the file then.
    type Case<'a> = (&'a str, &'a dyn Fn(), usize, Option<Found>, &'a str);

    /// T-135
    #[test]
    fn what_was_taken_is_confirmed_as_far_as_readers_find_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("log"), folder.path().join("old"));
        let (both, begun) = (lines(1, b"two\nthree\n"), b"thr");
        let cases: [Case<'_>; 5] = [
            ("nothing", &|| (), 1, None, "{\"v\":1\ntwo\nthr"),
            (
                "renamed",
                &|| fs::rename(&path, &old).unwrap(),
                1,
                Some(Found::Renamed),
                "",
            ),
            (
                "removed",
                &|| fs::remove_file(&path).unwrap(),
                0,
                Some(Found::Removed(Some(Head::of(b"{\"v\":1")))),
                "",
            ),
            (
                "truncated before it was taken",
                &|| fs::write(&path, "two\nthr").unwrap(),
                1,
                Some(Found::Truncated(Some(Head::of(b"{\"v\":1")))),
                "two\nthr",
            ),
            (
                "truncated after it was taken",
                &|| fs::write(&path, "{\"v\":1\ntw").unwrap(),
                0,
                Some(Found::Truncated(Some(Head::of(b"{\"v\":1")))),
                "{\"v\":1\ntw\n",
            ),
        ];
        for (what, happens, kept, found, left) in cases {
            let _absent = fs::remove_file(&path);
            let mut sink = FileSink::without_head_file(&path, true).unwrap();
            taken(&mut sink, b"{\"v\":1\n");
            assert_eq!(sink.write(&both[..1]).unwrap(), 1);
            sink.open.write_all(begun).unwrap();
            sink.writer.begin(begun);
            happens();
            let confirmed = sink.confirm(&both[..1]).unwrap();
            assert_eq!(confirmed, Confirmed { lines: kept, found }, "{what}");
            assert_eq!(fs::read_to_string(&path).unwrap(), left, "{what}");
            assert_eq!(sink.write(&both[kept..]).unwrap(), 2 - kept, "{what}");
            let text = fs::read_to_string(&path).unwrap();
            let ends = if kept == 0 { "two\nthree\n" } else { "three\n" };
            assert!(text.ends_with(ends), "{what}: {text}");
            assert_eq!(text.matches("three").count(), 1, "{what}: {text}");
        }
    }

    #[test]
    fn two_brokers_do_not_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let _first = FileSink::open(&path, false).unwrap();
        let error = FileSink::open(&path, false).unwrap_err().to_string();
        let error = error.replace(&folder.path().display().to_string(), "FOLDER");
        insta::assert_snapshot!(error, @"audit sink `file`: \
            `FOLDER/audit.jsonl` is in use by another broker; give each replica its own file");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = FileSink::open(folder.path(), false).unwrap_err();
        assert!(
            error
                .problem
                .ends_with("is a directory or a pipe, expected a regular file")
        );
        let error = FileSink::open(&folder.path().join("no/such"), false).unwrap_err();
        assert!(
            error
                .problem
                .ends_with("(os error 2); create the folder and give this user write access to it")
        );
    }
}
