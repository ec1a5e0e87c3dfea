use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt as _, Collected, Full};
use serde_json::Value;

use crate::web::Body;

type Change = dyn Fn(&mut Response<Bytes>) + Send + Sync;

/// A change of every response of an endpoint: odd documents, legal or not.
#[derive(Clone)]
pub struct Alteration(Arc<Change>);

impl Alteration {
    /// Changes the whole response.
    pub fn new(change: impl Fn(&mut Response<Bytes>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }

    /// Changes the JSON of a response; one that is not JSON stays as it is.
    pub fn json(change: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::new(move |response| {
            if let Ok(mut document) = serde_json::from_slice(response.body()) {
                change(&mut document);
                *response.body_mut() = document.to_string().into();
            }
        })
    }

    pub(super) async fn apply(&self, response: Response<Body>) -> Response<Body> {
        let (mut parts, body) = response.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        let mut response = Response::from_parts(parts, body);
        (self.0)(&mut response);
        response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync())
    }
}

impl fmt::Debug for Alteration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alteration(..)")
    }
}
