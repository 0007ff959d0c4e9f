//! The log as a stream: whose lines are written, and the last escape before they are.

use std::io::{self, Write};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::registry::LookupSpan;

use crate::text::ascii_json;

/// JSON lines to `writer`: ours from `level` on (`error` to `trace`).
///
/// Libraries may warn and no more: what they say in detail could hold what a caller sent, or a
/// database's password (T-92). Whoever wrote a line, it leaves as one line of printable ASCII (T-91).
pub fn log_subscriber<W>(
    level: &str,
    writer: W,
) -> impl Subscriber + for<'span> LookupSpan<'span> + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(EnvFilter::new(format!("warn,hallpass={level}")))
        .with_writer(Ascii(writer))
        .finish()
}

/// Makes writers that spell out what is not printable ASCII.
#[derive(Debug)]
struct Ascii<W>(W);

impl<'writer, W: MakeWriter<'writer>> MakeWriter<'writer> for Ascii<W> {
    type Writer = AsciiLine<W::Writer>;

    fn make_writer(&'writer self) -> Self::Writer {
        AsciiLine(self.0.make_writer())
    }
}

/// Gets one event's JSON at a time, with its line end.
#[derive(Debug)]
struct AsciiLine<W>(W);

impl<W: Write> Write for AsciiLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(ascii_json(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    /// What is written while `work` runs.
    fn written(level: &str, work: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        let writer = move || Kept(Arc::clone(&kept));
        tracing::subscriber::with_default(log_subscriber(level, writer), work);
        let bytes = lines.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// T-92
    #[test]
    fn libraries_may_warn_and_no_more_whatever_the_level() {
        for level in ["error", "info", "trace"] {
            let log = written(level, || {
                tracing::trace!(target: "rustls::conn", "canary");
                tracing::debug!(target: "hyper::proto", "canary");
                tracing::info!(target: "tokio_postgres", "canary");
                tracing::warn!(target: "hyper::proto", "a warning");
            });
            assert!(!log.contains("canary"), "{log}");
            assert_eq!(log.lines().count(), 1, "{log}");
        }
    }

    /// T-91
    #[test]
    fn a_line_of_a_library_is_one_line_of_printable_ascii_too() {
        let hostile = "\u{1b}[31m\r\n\u{2028}\u{202e}\u{7f}\u{9b}\u{85}##[add-mask]";
        let log = written("info", || {
            tracing::warn!(target: "hyper::proto", text = hostile, "{hostile}");
            tracing::error!(target: "hyper::proto", text = ?hostile, "odd");
        });
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 2, "{log}");
        for line in &lines {
            assert!(
                line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{line}"
            );
            assert!(!line.contains("##"), "{line}");
        }
        let first: Value = serde_json::from_str(lines[0]).unwrap();
        assert_eq!(first["text"], hostile);
    }
}
