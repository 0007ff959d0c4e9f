//! The log as a stream: whose lines are written, and the last escape before they are.

use std::fmt;
use std::io::{self, Write};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{Writer, format};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::text::{ascii_json, escape};

/// JSON lines to `writer`: ours from `level` on (`error` to `trace`).
///
/// Libraries may warn and no more: what they say in detail could hold what a caller sent, or a
/// database's password (T-92). Whoever wrote a line, it leaves as one line of printable ASCII (T-91).
/// A line written while a request is served has its `request_id` and, once its token is verified, the
/// `issuer`.
pub fn log_subscriber<W>(
    level: &str,
    writer: W,
) -> impl Subscriber + for<'span> LookupSpan<'span> + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .fmt_fields(CarriedFields)
        .event_format(WithCarried(
            format()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false),
        ))
        .with_env_filter(EnvFilter::new(format!("warn,hallpass={level}")))
        .with_writer(Ascii(writer))
        .finish()
}

/// Keeps the fields of [`CARRIED`] of a span as words of plain text, and no other: a span is made for
/// every request, but few requests write a line that needs them. A field that is recorded later is
/// appended.
#[derive(Debug)]
struct CarriedFields;

impl<'writer> FormatFields<'writer> for CarriedFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = CarriedVisitor {
            writer,
            result: Ok(()),
        };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct CarriedVisitor<'writer> {
    writer: Writer<'writer>,
    result: fmt::Result,
}

impl Visit for CarriedVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if CARRIED.contains(&field.name()) && self.result.is_ok() {
            self.result = write!(self.writer, "{}={} ", field.name(), escape(value));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Appends the carried fields of the spans to the JSON of events that have none of their own.
#[derive(Debug)]
struct WithCarried<F>(F);

impl<S, N, F> FormatEvent<S, N> for WithCarried<F>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let fields = event.metadata().fields();
        let carried = carried(context, |name| fields.field(name).is_none());
        if carried.is_empty() {
            return self.0.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.0
            .format_event(context, Writer::new(&mut line), event)?;
        match line.strip_suffix("}\n") {
            Some(open) => writeln!(writer, "{open}{carried}}}"),
            None => writer.write_str(&line),
        }
    }
}

/// The carried fields that an event lacks, as further members of its JSON object.
fn carried<S, N>(context: &FmtContext<'_, S, N>, is_wanted: impl Fn(&str) -> bool) -> String
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    let mut members = String::new();
    for span in context.event_scope().into_iter().flatten() {
        let extensions = span.extensions();
        let Some(kept) = extensions.get::<FormattedFields<N>>() else {
            continue;
        };
        let words = kept.fields.split_ascii_whitespace();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let is_new = !members.contains(&format!(",\"{name}\":"));
            if is_new && is_wanted(name) {
                members.extend([",\"", name, "\":", &Value::from(value).to_string()]);
            }
        }
    }
    members
}

/// The fields of spans that their lines carry. Their values have no blanks.
const CARRIED: [&str; 2] = ["request_id", "issuer"];

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

    use super::*;
    use crate::reason::Reason;

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

    #[test]
    fn a_line_has_the_request_id_of_its_span_once_at_every_level() {
        for level in ["error", "info", "trace"] {
            let log = written(level, || {
                let span = tracing::error_span!(
                    target: "hallpass::http", "request", request_id = "req_1", route = "/token"
                );
                span.in_scope(|| {
                    tracing::error!(target: "hallpass::audit", reason = Reason::SinkFailed.code(), "one");
                    tracing::error!(target: "hallpass::http", request_id = "req_1", "two");
                    tracing::warn!(target: "hyper::proto", "three");
                });
                tracing::error!(target: "hallpass::audit", "four");
            });
            let lines: Vec<&str> = log.lines().collect();
            assert_eq!(lines.len(), 4, "{log}");
            for (index, line) in lines.iter().enumerate() {
                let json: Value = serde_json::from_str(line).unwrap();
                assert!(json.get("route").is_none(), "{line}");
                let expected = usize::from(index < 3);
                assert_eq!(line.matches("request_id").count(), expected, "{line}");
                assert_eq!(json["request_id"] == "req_1", index < 3, "{line}");
            }
        }
    }

    #[test]
    fn an_issuer_that_is_recorded_later_is_in_the_lines_from_then_on() {
        let log = written("info", || {
            let span = tracing::error_span!(
                target: "hallpass::http", "request", request_id = "req_1", issuer = tracing::field::Empty
            );
            let inner = tracing::error_span!(target: "hallpass::http", parent: &span, "inner");
            tracing::error!(target: "hallpass::http", parent: &inner, "one");
            span.record("issuer", "github");
            tracing::error!(target: "hallpass::http", parent: &inner, "two");
            tracing::error!(target: "hallpass::http", parent: &inner, issuer = "gitlab", "three");
        });
        let issuers: Vec<Value> = log
            .lines()
            .map(|line| {
                let json: Value = serde_json::from_str(line).unwrap();
                assert_eq!(json["request_id"], "req_1", "{line}");
                assert!(line.matches("\"issuer\"").count() <= 1, "{line}");
                json["issuer"].clone()
            })
            .collect();
        assert_eq!(issuers, [Value::Null, "github".into(), "gitlab".into()]);
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
