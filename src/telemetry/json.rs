//! JSON lines whose trace id and route stand at the top level, beside the members of the event.

use std::fmt;

use serde_json::Value;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::request;

/// The lines: the event as `tracing-subscriber` writes it, with trace id and route of the request inserted.
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
    builder.fmt_fields(JsonFields::new()).event_format(lines).finish()
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(request) = request::current() else { return self.0.format_event(context, writer, event) };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let Some(rest) = line.strip_prefix('{') else { return writer.write_str(&line) };
        write!(writer, "{{\"trace_id\":{},", Value::from(request.trace.trace_id.as_str()))?;
        if let Some(invocation_id) = request.invocation_id() {
            write!(writer, "\"invocation_id\":{},", Value::from(invocation_id))?;
        }
        if let Some(route) = request.route() {
            write!(writer, "\"route\":{},", Value::from(route))?;
        }
        writer.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use serde_json::json;

    use super::*;
    use crate::telemetry::TraceContext;
    use crate::telemetry::request::{RequestContext, in_request};

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
            let request = RequestContext::of(trace.clone(), None);
            in_request(&mut Some(Arc::clone(&request)), || tracing::info!("before the match"));
            request.set_route("/api/\"quoted\"/{*path}".into());
            in_request(&mut Some(request), || {
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
            in_request(&mut Some(RequestContext::of(trace, None)), || {
                tracing::error!("logged");
                tracing::warn!("not logged");
            });
        });
        assert_eq!(lines, [json!({"level": "ERROR", "message": "logged", "trace_id": "1".repeat(32)})]);
    }
}
