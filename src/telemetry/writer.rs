//! Threads that write the log, so that no request waits for stdout or stderr.

use std::io::{Write, stderr, stdout};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::MakeWriterExt;

/// Most lines that wait to be written to each of stdout and stderr. Further ones are dropped and counted: a host that
/// stops reading must neither stop the gateway nor fill its memory.
const QUEUED_LINES: usize = 2_048;
/// Longest wait for the queued lines when the process ends.
const FLUSH: Duration = Duration::from_secs(2);
/// How often dropped lines are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

static DROPPED: OnceLock<[ErrorCounter; 2]> = OnceLock::new();
static REPORTED: AtomicUsize = AtomicUsize::new(0);

/// Writes the queued lines when it is dropped. `main` holds it until the process ends.
#[must_use]
#[derive(Debug)]
pub struct LogGuard(Option<[WorkerGuard; 2]>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        report_dropped();
        let threads = self.0.take();
        // In a thread, because it prints to stdout if the queue stays full, which blocks while stdout is not read.
        let flush = std::thread::spawn(move || drop(threads));
        let start = Instant::now();
        while !flush.is_finished() && start.elapsed() < FLUSH {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Warnings and errors go to stderr, other lines to stdout.
pub(super) fn start() -> (impl for<'a> MakeWriter<'a> + Send + Sync + 'static, LogGuard) {
    let (out, out_thread) = queue(stdout());
    let (err, err_thread) = queue(stderr());
    // Only tests start it twice.
    let _ = DROPPED.set([out.error_counter(), err.error_counter()]);
    (err.with_max_level(Level::WARN).or_else(out), LogGuard(Some([out_thread, err_thread])))
}

fn queue(stream: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).lossy(true).thread_name("log").finish(stream)
}

/// Reports dropped lines for as long as the process runs.
pub async fn report_dropped_lines() {
    loop {
        tokio::time::sleep(REPORT_INTERVAL).await;
        report_dropped();
    }
}

fn report_dropped() {
    let total = DROPPED.get().into_iter().flatten().map(ErrorCounter::dropped_lines).sum();
    let new = total - REPORTED.swap(total, Ordering::Relaxed).min(total);
    if new > 0 {
        tracing::warn!(lines = new, "log lines were dropped: stdout or stderr is read too slowly");
    }
}
