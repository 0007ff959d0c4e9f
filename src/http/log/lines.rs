//! The log as a stream: whose lines are written, and how an event becomes one.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::text::{all_bytes, escape};

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
        .event_format(JsonLines)
        .with_env_filter(EnvFilter::new(format!("warn,hallpass={level}")))
        .with_writer(writer)
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

/// An event as one JSON object: time, level, its fields, the carried fields of its spans that it lacks,
/// and its target. Every request writes
/// one, so it is written in one go: not serialised first and escaped then.
#[derive(Debug)]
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(event.metadata().level().as_str())?;
        writer.write_char('"')?;
        let mut members = Members {
            writer,
            target: None,
            result: Ok(()),
        };
        event.record(&mut members);
        let fields = event.metadata().fields();
        add_carried(context, &mut members, |name| fields.field(name).is_none());
        let target = members.target.take();
        members.add(
            "target",
            target.as_deref().unwrap_or(event.metadata().target()),
        );
        members.result?;
        members.writer.write_str("}\n")
    }
}

/// Writes members into an open JSON object.
struct Members<'writer> {
    writer: Writer<'writer>,
    /// Where a line of the crate `log` came from.
    target: Option<String>,
    result: fmt::Result,
}

impl Members<'_> {
    fn add(&mut self, name: &str, text: impl fmt::Display) {
        self.write(name, |writer| {
            writer.write_char('"')?;
            write!(EscapingWriter::new(writer), "{text}")?;
            writer.write_char('"')
        });
    }

    fn write(&mut self, name: &str, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        // What the crate `log` knows of its own line, beside the target.
        if self.result.is_err() || name.starts_with("log.") {
            return;
        }
        let writer = &mut self.writer;
        self.result = writer
            .write_str(",\"")
            .and_then(|()| EscapingWriter::new(writer).write_str(name))
            .and_then(|()| writer.write_str("\":"))
            .and_then(|()| value(writer));
    }
}

impl Visit for Members<'_> {
    fn record_str(&mut self, field: &Field, text: &str) {
        if field.name() == "log.target" {
            self.target = Some(text.to_owned());
        }
        self.write(field.name(), |writer| {
            writer.write_char('"')?;
            EscapingWriter::new(writer).write_str(text)?;
            writer.write_char('"')
        });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field.name(), |writer| write!(writer, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field.name(), |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field.name(), |writer| write!(writer, "{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), format_args!("{value:?}"));
    }
}

/// Writes what stands between the quotes of a JSON text, in printable ASCII (T-91). The second of two `#`
/// is escaped, because some CI runners interpret `##[` anywhere in a line as a command.
struct EscapingWriter<'a, 'writer> {
    writer: &'a mut Writer<'writer>,
    /// The last character was a `#` as it is.
    after_hash: bool,
}

impl<'a, 'writer> EscapingWriter<'a, 'writer> {
    const fn new(writer: &'a mut Writer<'writer>) -> Self {
        Self {
            writer,
            after_hash: false,
        }
    }
}

impl Write for EscapingWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Without `"`, `#` and `\`.
        let is_itself = |byte| matches!(byte, b' ' | b'!' | b'$'..=b'[' | b']'..=b'~');
        if all_bytes(text.as_bytes(), is_itself) {
            self.after_hash &= text.is_empty();
            return self.writer.write_str(text);
        }
        for character in text.chars() {
            let is_second_hash = character == '#' && self.after_hash;
            match character {
                '"' | '\\' => {
                    self.writer.write_char('\\')?;
                    self.writer.write_char(character)?;
                }
                ' '..='~' if !is_second_hash => self.writer.write_char(character)?,
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(self.writer, "\\u{unit:04x}")?;
                    }
                }
            }
            self.after_hash = character == '#' && !is_second_hash;
        }
        Ok(())
    }
}

/// Adds the carried fields of the spans around an event.
fn add_carried<S, N>(
    context: &FmtContext<'_, S, N>,
    members: &mut Members<'_>,
    is_wanted: impl Fn(&str) -> bool,
) where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    let mut seen = Vec::new();
    for span in context.event_scope().into_iter().flatten() {
        let extensions = span.extensions();
        let Some(kept) = extensions.get::<FormattedFields<N>>() else {
            continue;
        };
        let words = kept.fields.split_ascii_whitespace();
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let known = CARRIED.iter().find(|carried| **carried == name);
            if let Some(name) = known
                && !seen.contains(name)
                && is_wanted(name)
            {
                seen.push(*name);
                members.add(name, value);
            }
        }
    }
}

/// The fields of spans that their lines carry. Their values have no blanks.
const CARRIED: [&str; 2] = ["request_id", "issuer"];

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

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

    #[test]
    fn a_line_is_json_with_typed_fields() {
        let log = written("info", || {
            tracing::info!(
                target: "hallpass::http", text = "a\"b\\c\td", none = Option::<&str>::None, shown = %"x",
                debugged = ?"y", number = 7_u64, below = -7_i64, is_so = true, hashes = "a##b###c", "said"
            );
        });
        let (front, rest) = log.split_once(",\"level\"").unwrap();
        assert!(front.starts_with("{\"timestamp\":\"20"), "{log}");
        insta::assert_snapshot!(rest.trim_end(), @r##":"INFO","message":"said","text":"a\"b\\c\u0009d","shown":"x","debugged":"\"y\"","number":7,"below":-7,"is_so":true,"hashes":"a#\u0023b#\u0023#c","target":"hallpass::http"}"##);
        let json: Value = serde_json::from_str(&log).unwrap();
        assert_eq!(json["hashes"], "a##b###c");
        assert_eq!(json["text"], "a\"b\\c\td");
    }

    proptest::proptest! {
        /// T-91
        #[test]
        fn any_field_is_read_back_from_one_line_of_printable_ascii(text in proptest::prelude::any::<String>()) {
            let log = written("info", || {
                tracing::info!(target: "hallpass::http", text, shown = %format_args!("{text}#{text}"));
            });
            let line = log.strip_suffix('\n').unwrap();
            proptest::prop_assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            proptest::prop_assert!(!line.contains("##"));
            let json: Value = serde_json::from_str(line).unwrap();
            proptest::prop_assert_eq!(&json["shown"], &format!("{text}#{text}"));
            proptest::prop_assert_eq!(&json["text"], &text);
        }
    }
}
