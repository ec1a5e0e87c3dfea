//! Proxying mode: YARP streams both ways, and repeats a request that got no response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use hyper::ext::ReasonPhrase;
use tokio::time::sleep;

use super::body::{Activity, ReplayableBody, Upload, filtered};
use super::client::{Client, Failure, Reply};
use super::headers::{self, Route};
use super::invocation::{Call, Invocation};
use super::path;
use crate::web::Body;

const MAX_ATTEMPTS: u32 = 10;

/// Ends when an exchange has taken too long.
type Overdue = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Proxies a request. Dropping the response, as happens when the client disconnects, cancels the handler's request.
pub(super) async fn proxy(invocation: Invocation, call: Call, upload: Upload, limit: usize) -> Response<Body> {
    let streamed = matches!(upload, Upload::Stream(_));
    let repeats = !streamed && !call.client.headers.contains_key(CONTENT_LENGTH);
    let body = ReplayableBody::new(upload, limit);
    let head = match request(&call, invocation.worker.handler.port, streamed, &invocation.id) {
        Ok(head) => head,
        Err(reason) => return invocation.failed(&reason),
    };
    let invocation = Arc::new(invocation);
    let mut overdue = overdue(Arc::clone(&invocation), body.activity());
    let outcome = tokio::select! {
        outcome = send(&invocation.worker.client, &head, &body, repeats) => outcome,
        response = &mut overdue => return response,
    };
    match outcome {
        Ok(reply) => match response_to_client(reply) {
            Some(response) => {
                invocation.succeeded();
                streaming(response, body.activity(), overdue)
            }
            None => invocation.failed("the response has a header that the host's server does not accept"),
        },
        Err(failure) => invocation.failed(&failure.cause),
    }
}

/// What the handler gets, without the body.
fn request(call: &Call, handler_port: u16, streamed: bool, invocation: &str) -> Result<Request<()>, String> {
    let route = Route { peer: &call.peer.to_string(), scheme: call.scheme, handler_port };
    let headers = headers::proxied(&call.client.headers, &call.client.method, &route, streamed, invocation);
    call.request(&path::proxied(&call.path, call.client.uri.query()), headers, ())
}

/// What the client gets, from the handler's response.
fn response_to_client(reply: Reply) -> Option<Response<Body>> {
    let mut response = Response::new(reply.body);
    *response.status_mut() = reply.head.status;
    *response.headers_mut() = reply.head.headers().ok()?;
    headers::clean_proxied_response(reply.head.status, response.headers_mut());
    let reason = ReasonPhrase::try_from(reply.head.reason).ok().filter(|reason| !reason.as_bytes().is_empty());
    if let Some(reason) = reason {
        response.extensions_mut().insert(reason);
    }
    Some(response)
}

/// Whatever the method is, a request is repeated until it gets a response. Once its body has been read from, further
/// attempts only connect.
async fn send(client: &Client, head: &Request<()>, body: &ReplayableBody, repeats: bool) -> Result<Reply, Failure> {
    let mut outcome = client.send(head, body, repeats).await;
    for attempt in 1..MAX_ATTEMPTS {
        if outcome.is_ok() {
            break;
        }
        sleep(delay_after(attempt)).await;
        if body.started() {
            drop(client.connect().await);
        } else {
            outcome = client.send(head, body, repeats).await;
        }
    }
    outcome
}

/// 50, 100, 200, and from then on 250 milliseconds.
fn delay_after(attempt: u32) -> Duration {
    Duration::from_millis(50 << attempt.saturating_sub(1).min(3)).min(Duration::from_millis(250))
}

/// Ends when the function's time is up, or when no byte has moved for YARP's idle limit.
fn overdue(invocation: Arc<Invocation>, activity: Arc<Activity>) -> Overdue {
    Box::pin(async move {
        tokio::select! {
            response = invocation.timed_out() => response,
            () = activity.ceased() => invocation.failed("no byte was moved within the idle limit"),
        }
    })
}

/// The response breaks off when it is overdue.
fn streaming(response: Response<Body>, activity: Arc<Activity>, mut overdue: Overdue) -> Response<Body> {
    response.map(|body| {
        filtered(body, move |context, polled| {
            if overdue.as_mut().poll(context).is_ready() {
                return Poll::Ready(Some(Err(io::Error::other("the exchange took too long"))));
            }
            if polled.is_ready() {
                activity.touch();
            }
            polled
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_take_less_than_two_seconds() {
        let delays: Vec<_> = (1..MAX_ATTEMPTS).map(|attempt| delay_after(attempt).as_millis()).collect();
        assert_eq!(delays, [50, 100, 200, 250, 250, 250, 250, 250, 250]);
    }
}
