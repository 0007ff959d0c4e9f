//! Opens the files of an audit log, for every command that reads one.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::Failure;
use crate::text::escape;

/// A file that is open, or standard input.
pub(super) struct AuditFile {
    /// The path as it was given.
    pub(super) name: String,
    pub(super) lines: Box<dyn BufRead>,
}

impl AuditFile {
    /// Opens `path`; `-` is standard input. `command` is what reads it, for the advice in an error.
    ///
    /// # Errors
    /// It cannot be read, is a folder, or is compressed.
    pub(super) fn open(path: &Path, command: &str) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let shown = escape(&name);
        let is_input = path == Path::new("-");
        if !is_input && path.is_dir() {
            return Err(Failure::Local(format!(
                "audit log `{shown}` is a folder; expected files of a broker: name them one by one"
            )));
        }
        let mut lines: Box<dyn BufRead> = if is_input {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(path).map_err(|error| unreadable(&name, &error))?;
            Box::new(BufReader::new(file))
        };
        let begin = lines.fill_buf();
        if begin
            .map_err(|error| unreadable(&name, &error))?
            .starts_with(GZIP)
        {
            let input = if is_input { "FILE" } else { &shown };
            return Err(Failure::Local(format!(
                "audit log `{shown}` is compressed; read it with `zcat {input} | hallpass {command} -`"
            )));
        }
        Ok(Self { name, lines })
    }
}

/// The error of a file that cannot be read.
pub(super) fn unreadable(name: &str, error: &io::Error) -> Failure {
    let name = escape(name);
    Failure::Local(format!("audit log `{name}` cannot be read: {error}"))
}

const GZIP: &[u8] = &[0x1f, 0x8b];
