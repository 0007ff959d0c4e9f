//! Events to standard output, for whoever collects a container's output. Not: what the event means.

use std::fmt;
use std::io::{self, Write};

use super::Sink;

/// Standard output. Nothing else of `hallpass serve` is written there.
pub struct StdoutSink(Box<dyn Write + Send>);

impl StdoutSink {
    /// This process's standard output.
    #[must_use]
    pub fn new() -> Self {
        Self::over(io::stdout())
    }

    /// The same to another stream.
    pub fn over(stream: impl Write + Send + 'static) -> Self {
        Self(Box::new(stream))
    }
}

impl Default for StdoutSink {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for StdoutSink {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.0.write(lines)
    }

    fn settle(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl fmt::Debug for StdoutSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StdoutSink")
    }
}
