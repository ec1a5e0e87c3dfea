//! The request that the running code belongs to, for the lines that it logs.
//!
//! It is no span of `tracing`: creating, entering and closing one costs thousands of instructions, and few requests log
//! anything.

use std::cell::RefCell;
use std::mem::swap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};

use super::TraceContext;

thread_local! {
    static CURRENT: RefCell<Option<Arc<RequestContext>>> = const { RefCell::new(None) };
}

/// What the log lines of a request say of it.
#[derive(Debug)]
pub struct RequestContext {
    pub trace: TraceContext,
    /// The header in which the Functions host gives the request its id, in forwarding mode after what the client sent.
    invocation: Option<HeaderValue>,
    route: OnceLock<Arc<str>>,
}

impl RequestContext {
    #[must_use]
    pub fn new(headers: &HeaderMap, invocation: Option<HeaderValue>) -> Arc<Self> {
        Self::of(TraceContext::from_headers(headers), invocation)
    }

    pub(super) fn of(trace: TraceContext, invocation: Option<HeaderValue>) -> Arc<Self> {
        Arc::new(Self { trace, invocation, route: OnceLock::new() })
    }

    /// The id that the host gave it: a UUID, the last member of the header.
    pub(super) fn invocation_id(&self) -> Option<&str> {
        let id = self.invocation.as_ref()?.as_bytes().rsplit(|byte| *byte == b',').next()?.trim_ascii();
        let is_uuid = id.len() == 36 && id.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
        str::from_utf8(id).ok().filter(|_| is_uuid)
    }

    /// The pattern of the route, once a line of the table matches: what telemetry may name in place of the path.
    pub fn set_route(&self, pattern: Arc<str>) {
        // Only the first line that matches responds.
        let _ = self.route.set(pattern);
    }

    pub(super) fn route(&self) -> Option<&str> {
        self.route.get().map(AsRef::as_ref)
    }
}

/// Runs code that belongs to a request, if to any.
pub fn in_request<T>(request: &mut Option<Arc<RequestContext>>, code: impl FnOnce() -> T) -> T {
    let _entered = Entered::new(request);
    code()
}

/// A future that belongs to the request to which the running code belongs.
pub fn in_current_request<F>(future: F) -> InRequest<BoxFuture<'static, F::Output>>
where
    F: Future + Send + 'static,
{
    InRequest { request: current(), future: Some(Box::pin(future)) }
}

/// The request to which the running code belongs.
pub(crate) fn current() -> Option<Arc<RequestContext>> {
    // There is none while the thread ends.
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// A future that belongs to a request.
#[must_use]
pub struct InRequest<F> {
    request: Option<Arc<RequestContext>>,
    /// `None` once it is dropped, which may log something too.
    future: Option<F>,
}

impl<F> InRequest<F> {
    pub fn new(request: Arc<RequestContext>, future: F) -> Self {
        Self { request: Some(request), future: Some(future) }
    }
}

impl<F: Future + Unpin> Future for InRequest<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { request, future } = &mut *self;
        match future {
            Some(future) => in_request(request, || Pin::new(future).poll(context)),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for InRequest<F> {
    fn drop(&mut self) {
        in_request(&mut self.request, || drop(self.future.take()));
    }
}

/// While it exists, a request is the current one, and the one that was current takes its place.
struct Entered<'a>(&'a mut Option<Arc<RequestContext>>);

impl<'a> Entered<'a> {
    fn new(request: &'a mut Option<Arc<RequestContext>>) -> Option<Self> {
        if request.is_none() {
            return None;
        }
        exchange(request);
        Some(Self(request))
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        exchange(self.0);
    }
}

fn exchange(request: &mut Option<Arc<RequestContext>>) {
    let _ = CURRENT.try_with(|current| swap(&mut *current.borrow_mut(), request));
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use futures_util::FutureExt;

    use super::*;

    fn request() -> Arc<RequestContext> {
        RequestContext::new(&HeaderMap::new(), None)
    }

    fn is_current(request: &Arc<RequestContext>) -> bool {
        current().is_some_and(|current| Arc::ptr_eq(&current, request))
    }

    #[test]
    fn a_future_belongs_to_its_request_while_it_is_polled_and_dropped() {
        struct OnDrop(Arc<RequestContext>);
        impl Drop for OnDrop {
            fn drop(&mut self) {
                assert!(is_current(&self.0));
            }
        }
        let (outer, inner) = (request(), request());
        in_request(&mut Some(Arc::clone(&outer)), || {
            let (seen, dropped) = (Arc::clone(&inner), OnDrop(Arc::clone(&inner)));
            let mut future = InRequest::new(
                Arc::clone(&inner),
                Box::pin(async move {
                    let _dropped = dropped;
                    assert!(is_current(&seen));
                    pending::<()>().await;
                }),
            );
            assert!((&mut future).now_or_never().is_none());
            assert!(is_current(&outer));
            drop(future);
            assert!(is_current(&outer));
        });
        assert!(current().is_none());
    }

    #[test]
    fn a_panic_leaves_no_request_behind() {
        let panics = InRequest::new(request(), Box::pin(poll_fn(|_| -> Poll<()> { panic!("on purpose") })));
        assert!(catch_unwind(AssertUnwindSafe(|| panics.now_or_never())).is_err());
        assert!(current().is_none());
    }

    #[test]
    fn the_id_of_the_invocation_is_the_hosts() {
        const ID: &str = "0af76519-16cd-43dd-8448-eb211c80319c";
        let id_in = |value: &str| {
            let request = RequestContext::new(&HeaderMap::new(), HeaderValue::from_bytes(value.as_bytes()).ok());
            request.invocation_id().map(str::to_owned)
        };
        for value in [ID, &format!("spoof, {ID}"), &format!("\u{fc}, {ID}"), &format!("{},{ID}", "x".repeat(500))] {
            assert_eq!(id_in(value).as_deref(), Some(ID), "{value}");
        }
        for value in ["", "spoof", &format!("{ID}, spoof"), &ID.replace('0', "\u{fc}"), &ID.replace('-', "\"")] {
            assert_eq!(id_in(value), None, "{value}");
        }
    }

    #[tokio::test]
    async fn a_task_belongs_to_the_request_that_started_it() {
        let first = request();
        let task = in_request(&mut Some(Arc::clone(&first)), || in_current_request(async { current() }));
        let of_task = tokio::spawn(task).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&of_task, &first));
        let without = in_current_request(async { current() });
        let of_poller = InRequest::new(Arc::clone(&first), without).await.unwrap();
        assert!(Arc::ptr_eq(&of_poller, &first), "without a request of its own it belongs to that of its poller");
        let blocking = in_request(&mut Some(Arc::clone(&first)), || crate::telemetry::spawn_blocking(current));
        assert!(Arc::ptr_eq(&blocking.await.unwrap().unwrap(), &first));
    }
}
