//! The threads that serve connections (contract 17.5).
//!
//! Each thread has a runtime of its own, and a connection stays on its thread, as do the connections to APIs that its
//! calls use (`upstream.rs`). What an instance promises is kept in the parts of [`crate::app::App`], which all threads
//! share.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use futures_util::FutureExt;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The threads; dropping them ends all but the current one.
#[derive(Debug)]
pub(super) struct Threads(Vec<Thread>);

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    /// Each connection has a clone.
    connections: Arc<()>,
    _stop: oneshot::Sender<()>,
}

impl Threads {
    /// The current thread, on its runtime, and as many more as are missing.
    ///
    /// # Errors
    /// The operating system gives no more threads.
    pub(super) fn start(count: NonZeroUsize) -> io::Result<Self> {
        let (_stop, _) = oneshot::channel();
        let current = Thread { runtime: Handle::current(), connections: Arc::default(), _stop };
        let others = (1..count.get()).map(|number| Thread::start(&format!("serve-{number}")));
        Ok(Self([Ok(current)].into_iter().chain(others).collect::<io::Result<_>>()?))
    }

    /// Runs the future of a connection on the thread with the fewest connections.
    #[expect(clippy::expect_used, reason = "`start` makes no empty list")]
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let thread = self.0.iter().min_by_key(|thread| Arc::strong_count(&thread.connections));
        let thread = thread.expect("the current thread is one of them");
        let counted = Arc::clone(&thread.connections);
        // Within an `async` block the future would take its room twice.
        thread.runtime.spawn(connection.map(move |()| drop(counted)));
    }
}

impl Thread {
    fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (_stop, stopped) = oneshot::channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(stopped))?;
        Ok(Self { runtime: handle, connections: Arc::default(), _stop })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn connections_are_spread_over_all_threads_and_a_free_thread_gets_the_next() {
        let threads = Threads::start(NonZeroUsize::new(3).unwrap()).unwrap();
        let (report, mut reports) = mpsc::unbounded_channel();
        let mut ends: HashMap<thread::ThreadId, Vec<oneshot::Sender<()>>> = HashMap::new();
        for _ in 0..6 {
            let (end, ended) = oneshot::channel();
            let report = report.clone();
            threads.spawn(async move {
                report.send(thread::current().id()).unwrap();
                let _ = ended.await;
            });
            ends.entry(reports.recv().await.unwrap()).or_default().push(end);
        }
        assert_eq!(ends.values().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
        let (free, _) = ends.iter().next().unwrap();
        let free = *free;
        ends.remove(&free);
        while threads.0.iter().all(|thread| Arc::strong_count(&thread.connections) == 3) {
            tokio::task::yield_now().await;
        }
        let report = report.clone();
        threads.spawn(async move { report.send(thread::current().id()).unwrap() });
        assert_eq!(reports.recv().await, Some(free));
    }
}
