//! Text lines for a terminal, as `tracing-subscriber` writes them: the request as if it were a span, then the fields of
//! the event.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::request;

/// The lines.
struct Lines;

/// Writes text lines.
pub(super) fn subscriber<W>(level: Level, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt().with_max_level(level).with_writer(writer).with_ansi(false).event_format(Lines).finish()
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if SystemTime.format_time(&mut writer).is_err() {
            writer.write_str("<unknown time>")?;
        }
        write!(writer, " {:>5} ", event.metadata().level())?;
        if let Some(request) = request::current() {
            write!(writer, "request{{trace_id={:?}", request.trace.trace_id)?;
            if let Some(invocation_id) = request.invocation_id() {
                write!(writer, " invocation_id={invocation_id:?}")?;
            }
            if let Some(route) = request.route() {
                write!(writer, " route={route:?}")?;
            }
            writer.write_str("}: ")?;
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing::Dispatch;
    use tracing::field::Empty;

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

    /// What some code logs, without the times.
    fn lines(subscriber: impl FnOnce(Buffer) -> Dispatch, code: impl FnOnce()) -> Vec<String> {
        let buffer = Buffer::default();
        tracing::dispatcher::with_default(&subscriber(buffer.clone()), code);
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
    }

    fn log() {
        tracing::info!(api = "graph", status = 200, name = "line\nbreak", problem = %"shown", "a message of {}", 1);
        tracing::warn!(text = "ü", yes = true, list = ?["a"]);
    }

    /// A request stands where the formatter of `tracing-subscriber` writes a span.
    #[test]
    fn lines_are_those_of_the_crates_own_formatter() {
        let route = "/api/\"quoted\"/{*path}";
        let ours = |buffer: Buffer| Dispatch::new(subscriber(Level::INFO, move || buffer.clone()));
        let own = |buffer: Buffer| {
            let builder = tracing_subscriber::fmt().with_max_level(Level::INFO).with_target(false).with_ansi(false);
            Dispatch::new(builder.with_writer(move || buffer.clone()).finish())
        };
        let expected = lines(own, || {
            let span = tracing::error_span!("request", trace_id = "0af7", route = Empty);
            span.in_scope(log);
            span.record("route", route);
            span.in_scope(log);
            tracing::error!("plain");
        });
        let found = lines(ours, || {
            let trace = TraceContext { trace_id: "0af7".to_owned(), sampled: true, is_continued: true };
            let request = RequestContext::of(trace, None);
            in_request(&mut Some(Arc::clone(&request)), log);
            request.set_route(route.into());
            in_request(&mut Some(request), log);
            tracing::error!("plain");
        });
        assert_eq!(found, expected);
        assert!(
            expected[2].contains("request{trace_id=\"0af7\" route=\"/api/\\\"quoted\\\"/{*path}\"}"),
            "{expected:?}"
        );
        assert_eq!(expected.len(), 5);
    }
}
