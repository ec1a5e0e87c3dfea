//! JSON lines whose trace id and route stand at the top level, beside the members of the event.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, span};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Fields of the request span that every line of the request has.
const MEMBERS: [&str; 2] = ["trace_id", "route"];

/// Keeps a span's [`MEMBERS`] as JSON text, `"name":"value",` each, so that a line only has to copy them.
#[derive(Debug, Clone, Copy)]
struct SpanMembers;

/// The lines: the event as `tracing-subscriber` writes it, with the members of the outermost span inserted.
///
/// The crate's own format nests span fields under `span`, where log queries do not look for them.
#[derive(Debug, Clone)]
struct Lines(Format<Json>);

/// Writes [`Lines`].
pub(super) fn subscriber<W>(level: Level, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let format = tracing_subscriber::fmt::format().json().flatten_event(true).with_target(false);
    let lines = Lines(format.with_current_span(false).with_span_list(false));
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    builder.fmt_fields(SpanMembers).event_format(lines).finish()
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let request = context.event_scope().and_then(|scope| scope.from_root().next());
        let extensions = request.as_ref().map(|span| span.extensions());
        let members = extensions.as_ref().and_then(|extensions| extensions.get::<FormattedFields<N>>());
        match (line.strip_prefix('{'), members) {
            (Some(rest), Some(members)) => write!(writer, "{{{members}{rest}"),
            _ => writer.write_str(&line),
        }
    }
}

impl<'w> FormatFields<'w> for SpanMembers {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut members = Members { writer, result: Ok(()) };
        fields.record(&mut members);
        members.result
    }

    fn add_fields(&self, current: &'w mut FormattedFields<Self>, fields: &span::Record<'_>) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
    }
}

struct Members<'w> {
    writer: Writer<'w>,
    result: fmt::Result,
}

impl Visit for Members<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if MEMBERS.contains(&field.name()) {
            self.result = self.result.and_then(|()| write_member(&mut self.writer, field.name(), value));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Trace ids and nearly all routes need no escapes, and every request writes both.
fn write_member(writer: &mut Writer<'_>, name: &str, value: &str) -> fmt::Result {
    if value.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        return write!(writer, "\"{name}\":{},", serde_json::Value::from(value));
    }
    writer.write_str(&["\"", name, "\":\"", value, "\","].concat())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing::field::Empty;

    use super::*;
    use crate::telemetry::TraceContext;

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

    /// The lines that some code logs, without their times.
    fn lines(level: Level, code: impl FnOnce()) -> Vec<Value> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        tracing::subscriber::with_default(subscriber(level, move || writer.clone()), code);
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let line = |line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            assert!(line.as_object_mut().unwrap().remove("timestamp").is_some());
            line
        };
        text.lines().map(line).collect()
    }

    #[test]
    fn trace_id_and_route_stand_beside_the_members_of_the_event() {
        let trace =
            TraceContext { trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(), sampled: true, is_continued: true };
        let lines = lines(Level::INFO, || {
            let span = trace.span();
            span.in_scope(|| tracing::info!("before the match"));
            span.record("route", "/api/\"quoted\"/{*path}");
            span.in_scope(|| {
                tracing::error_span!("inner", trace_id = "inner").in_scope(|| tracing::info!(code = 5, "x"))
            });
            tracing::info!("outside");
        });
        let before = json!({"level": "INFO", "message": "before the match", "trace_id": trace.trace_id});
        let inner = json!({"level": "INFO", "message": "x", "code": 5, "trace_id": trace.trace_id,
                           "route": "/api/\"quoted\"/{*path}"});
        assert_eq!(lines, [before, inner, json!({"level": "INFO", "message": "outside"})]);
    }

    #[test]
    fn errors_have_their_trace_id_where_nothing_else_is_logged() {
        let lines = lines(Level::ERROR, || {
            let trace = TraceContext { trace_id: "1".repeat(32), sampled: false, is_continued: true };
            trace.span().in_scope(|| {
                tracing::error!("logged");
                tracing::warn!("not logged");
            });
        });
        assert_eq!(lines, [json!({"level": "ERROR", "message": "logged", "trace_id": "1".repeat(32)})]);
    }

    #[test]
    fn a_span_without_members_adds_nothing() {
        let lines = lines(Level::INFO, || {
            tracing::error_span!("other", number = 1, route = Empty).in_scope(|| tracing::info!("x"));
        });
        assert_eq!(lines, [json!({"level": "INFO", "message": "x"})]);
    }
}
