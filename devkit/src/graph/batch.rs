//! JSON batching: several calls in the body of one.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::State;
use super::answers::{documented, error};
use crate::web::{Body, Call, Recorded, reply};

/// Most calls of one batch.
const MOST: usize = 20;

#[derive(Deserialize)]
struct Batch {
    requests: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    id: String,
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Value>,
    #[serde(default, rename = "dependsOn")]
    depends_on: Vec<String>,
}

pub(super) async fn answer(state: &State, call: &Call, claims: &Value) -> Response<Body> {
    let invalid = |why: &str| error(StatusCode::BAD_REQUEST, "BadRequest", why);
    let Ok(Batch { requests }) = serde_json::from_slice(&call.request.body) else {
        return invalid("Invalid batch payload format.");
    };
    if requests.is_empty() || requests.len() > MOST {
        return invalid("Number of batch requests must be between 1 and 20.");
    }
    let mut responses: Vec<Value> = Vec::new();
    for step in requests {
        let failed = |id: &String| {
            responses
                .iter()
                .any(|done| done["id"] == **id && done["status"].as_u64().is_none_or(|status| status >= 400))
        };
        let answer = if step.depends_on.iter().any(failed) {
            error(StatusCode::FAILED_DEPENDENCY, "FailedDependency", "A request that it depends on failed.")
        } else {
            match inner(&step) {
                Some(call) => documented(state, &call, claims),
                None => invalid("Invalid request of a batch."),
            }
        };
        responses.push(response(&step.id, answer).await);
    }
    reply::json(StatusCode::OK, &json!({"responses": responses}))
}

/// The call that a step stands for. Its address is relative to the version.
fn inner(step: &Step) -> Option<Call> {
    let target = format!("/v1.0/{}", step.url.strip_prefix('/')?);
    let builder = Request::builder().method(step.method.as_str()).uri(&target);
    let builder = step.headers.iter().fold(builder, |builder, (name, value)| builder.header(name, value));
    let (parts, ()) = builder.body(()).ok()?.into_parts();
    let body = Bytes::from(step.body.as_ref().map(Value::to_string).unwrap_or_default());
    Some(Call { parts, request: Recorded { method: step.method.clone(), target, body, ..Recorded::default() } })
}

/// An answer as a member of the batch's own: JSON as it is, other bodies in base64.
async fn response(id: &str, answer: Response<Body>) -> Value {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        Some((titled(name.as_str()), Value::from(value.to_str().ok()?)))
    };
    let headers: Map<String, Value> = parts.headers.iter().filter_map(header).collect();
    let mut response = json!({"id": id, "status": parts.status.as_u16(), "headers": headers});
    if let Some(members) = response.as_object_mut().filter(|_| !body.is_empty()) {
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| STANDARD.encode(&body).into());
        members.insert("body".to_owned(), body);
    }
    response
}

/// `Content-Type` as Graph writes it: here a name is a member of JSON, and case counts.
fn titled(name: &str) -> String {
    let word = |word: &str| word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or_default();
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}
