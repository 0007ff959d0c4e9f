//! The sink that writes events to standard output, for a collector of container output.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use super::sink::{SinkKind, SinkSettings};
use super::stream::LineWriter;
use super::{AuditLine, Sink, SinkError};
use crate::stdio::check_open;

/// `kind: stdout`
pub(super) const SINK: SinkKind = SinkKind {
    name: NAME,
    read: |_| Some(Arc::new(StdoutSettings)),
};

#[derive(Debug)]
struct StdoutSettings;

impl SinkSettings for StdoutSettings {
    fn description(&self) -> String {
        NAME.to_owned()
    }

    fn check(&self) -> Result<(), SinkError> {
        Ok(())
    }

    fn open(&self) -> Result<Box<dyn Sink>, SinkError> {
        let open = check_open(&io::stdout()).and_then(|()| StdoutSink::new());
        let sink = open.map_err(|error| SinkError {
            sink: NAME.to_owned(),
            problem: format!("standard output cannot be written: {error}"),
        })?;
        Ok(Box::new(sink))
    }
}

/// Standard output. Nothing else of `hallpass serve` is written there.
pub struct StdoutSink {
    stream: Box<dyn Write + Send>,
    writer: LineWriter,
}

impl StdoutSink {
    /// This process's standard output, past the standard library's buffer, which takes a write that the
    /// system refuses with `EBADF` for done.
    ///
    /// # Errors
    /// The descriptor cannot be copied.
    pub fn new() -> io::Result<Self> {
        let copy = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::over(File::from(copy)))
    }

    /// The same to another stream.
    pub fn over(stream: impl Write + Send + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            writer: LineWriter::default(),
        }
    }
}

impl Sink for StdoutSink {
    fn name(&self) -> &'static str {
        NAME
    }

    fn write(&mut self, lines: &[AuditLine]) -> io::Result<usize> {
        self.writer.write(lines, &mut self.stream)
    }

    fn settle(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl fmt::Debug for StdoutSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StdoutSink")
    }
}

const NAME: &str = "stdout";
