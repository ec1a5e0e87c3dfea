//! Text lines for a terminal: the fields of events and spans as `name="value"`, as `tracing-subscriber` writes them.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FormatFields, MakeWriter};

/// Writes fields. The crate's own formatter takes a text through [`fmt::Debug`], which costs thousands of instructions
/// for the fields of the span that every request has.
#[derive(Debug, Clone, Copy)]
struct Fields;

struct Visitor<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

/// Writes text lines, with colors if `is_terminal`.
pub(super) fn subscriber<W>(level: Level, is_terminal: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(writer);
    builder.fmt_fields(Fields).with_ansi(is_terminal).finish()
}

impl<'w> FormatFields<'w> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = Visitor { writer, is_first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

impl Visitor<'_> {
    fn write(&mut self, [name, before, value, after]: [&str; 4]) {
        let space = if std::mem::take(&mut self.is_first) { "" } else { " " };
        let mut parts = [space, name, before, value, after].into_iter();
        self.result = self.result.and_then(|()| parts.try_for_each(|part| self.writer.write_str(part)));
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let needs_no_escape = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        if needs_no_escape && field.name() != "message" {
            self.write([field.name(), "=\"", value, "\""]);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        if field.name() == "message" {
            self.write(["", "", &value, ""]);
        } else {
            self.write([field.name(), "=", &value, ""]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What some code logs, without the times.
    fn lines(subscriber: impl FnOnce(Buffer) -> tracing::Dispatch, code: impl FnOnce()) -> Vec<String> {
        let buffer = Buffer::default();
        tracing::dispatcher::with_default(&subscriber(buffer.clone()), code);
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    fn log() {
        let span = tracing::error_span!("request", trace_id = "0af7", route = tracing::field::Empty);
        span.record("route", "/api/\"quoted\"/{*path}");
        span.in_scope(|| {
            tracing::info!(api = "graph", status = 200, name = "line\nbreak", problem = %"shown", "a message of {}", 1);
            tracing::warn!(text = "ü", yes = true, list = ?["a"]);
        });
        tracing::error!("plain");
    }

    /// The formatter that this one replaces says the same.
    #[test]
    fn lines_are_those_of_the_crates_own_formatter() {
        let ours = |buffer: Buffer| tracing::Dispatch::new(subscriber(Level::INFO, false, move || buffer.clone()));
        let own = |buffer: Buffer| {
            let builder = tracing_subscriber::fmt().with_max_level(Level::INFO).with_target(false).with_ansi(false);
            tracing::Dispatch::new(builder.with_writer(move || buffer.clone()).finish())
        };
        let expected = lines(own, log);
        assert_eq!(lines(ours, log), expected);
        assert!(
            expected[0].contains("request{trace_id=\"0af7\" route=\"/api/\\\"quoted\\\"/{*path}\"}"),
            "{expected:?}"
        );
        assert_eq!(expected.len(), 3);
    }
}
