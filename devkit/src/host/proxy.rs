//! Proxying mode: YARP streams both ways, and sends again what the handler left unanswered.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use tokio::time::sleep;

use super::{
    Body, BoxError,
    client::Failure,
    empty,
    headers::{self, Origin},
    invocation::{Call, Deadline, Upload},
    path,
    server::App,
    upload::{Activity, Lender},
};

const MOST_ATTEMPTS: u32 = 10;

/// What ends an exchange that takes too long.
type Overdue = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Proxies a call. Dropping the response, as happens when the client goes away, cancels the handler's request.
pub(super) async fn proxy(app: &Arc<App>, call: Call, upload: Upload) -> Response<Body> {
    let streamed = matches!(upload, Upload::Stream(_));
    let lender = Lender::new(upload, app.body_limit);
    let head = match Head::new(app, &call, streamed) {
        Ok(head) => head,
        Err(reason) => {
            call.invocation.failed(app, &reason);
            return empty(StatusCode::INTERNAL_SERVER_ERROR);
        }
    };
    let call = Arc::new(call);
    let mut overdue = overdue(app, &call, lender.activity());
    let outcome = tokio::select! {
        outcome = head.send(app, &lender) => outcome,
        () = &mut overdue => return empty(StatusCode::INTERNAL_SERVER_ERROR),
    };
    match outcome {
        Ok(response) => streaming(response, lender.activity(), overdue),
        Err(_) if lender.exceeded() => empty(StatusCode::PAYLOAD_TOO_LARGE),
        Err(failure) => {
            call.invocation.failed(app, &failure.to_string());
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// All of a request but its body.
struct Head {
    method: Method,
    target: Uri,
    headers: HeaderMap,
}

impl Head {
    fn new(app: &App, call: &Call, streamed: bool) -> Result<Self, String> {
        let target = path::proxied(&call.path, call.parts.uri.query());
        let origin = Origin {
            peer: &call.peer.to_string(),
            scheme: if app.front_end_azure { "https" } else { "http" },
            handler: &format!("127.0.0.1:{}", app.handler.port),
        };
        Ok(Self {
            method: call.parts.method.clone(),
            target: target.parse().map_err(|error| format!("the target {target} is not valid: {error}"))?,
            headers: headers::proxied(&call.parts.headers, &origin, streamed, &call.invocation.id),
        })
    }

    fn request(&self, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// Whatever the method is, a request is sent again until it is answered or its body has been touched.
    async fn send(&self, app: &App, lender: &Lender) -> Result<Response<Incoming>, Failure> {
        let mut attempt = 1;
        loop {
            match app.client.send(self.request(lender.lend())).await {
                Err(_) if attempt < MOST_ATTEMPTS && !lender.started() => sleep(delay_after(attempt)).await,
                outcome => return outcome,
            }
            attempt += 1;
        }
    }
}

/// 50, 100, 200, and from then on 250 milliseconds.
fn delay_after(attempt: u32) -> Duration {
    Duration::from_millis(50 << attempt.saturating_sub(1).min(3)).min(Duration::from_millis(250))
}

/// Ends when the function's time is up, or when no byte has moved for YARP's idle limit.
fn overdue(app: &Arc<App>, call: &Arc<Call>, activity: Arc<Activity>) -> Overdue {
    let (app, call) = (Arc::clone(app), Arc::clone(call));
    Box::pin(async move {
        let deadline = Deadline::new(&app, &call.invocation);
        tokio::select! {
            () = deadline.passed() => {}
            () = activity.ceased() => call.invocation.failed(&app, "no byte was moved within the idle limit"),
        }
    })
}

fn streaming(response: Response<Incoming>, activity: Arc<Activity>, overdue: Overdue) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    headers::clean_proxied_response(parts.status, &mut parts.headers);
    parts.version = http::Version::HTTP_11;
    Response::from_parts(parts, Watched { body, activity, overdue }.boxed_unsync())
}

/// A response's body that breaks off when it is overdue.
struct Watched {
    body: Incoming,
    activity: Arc<Activity>,
    overdue: Overdue,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.overdue.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err("the exchange took too long".into())));
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.activity.touch();
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_take_less_than_two_seconds() {
        let delays: Vec<_> = (1..MOST_ATTEMPTS).map(|attempt| delay_after(attempt).as_millis()).collect();
        assert_eq!(delays, [50, 100, 200, 250, 250, 250, 250, 250, 250]);
    }
}
