//! Payload mode: the handler gets an invocation as one JSON object and responds with another.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::body::{ReplayableBody, Upload, whole};
use super::headers;
use super::invocation::{Call, Invocation, request};
use crate::host::config::{HttpFunction, dotnet_time};
use crate::host::log::Level;
use crate::web::response::empty;
use crate::web::{Body, guid};

pub(crate) type Members = Map<String, Value>;

/// Invokes a function and reads the response.
///
/// # Errors
///
/// What the client gets when the invocation failed; the log says why.
pub(crate) async fn call(invocation: &Invocation, data: Members) -> Result<Members, Response<Body>> {
    let outcome = tokio::select! {
        outcome = exchange(invocation, &data) => outcome,
        timed_out = invocation.timed_out() => return Err(timed_out),
    };
    match outcome {
        Ok(Some(response)) => {
            for line in response.get("Logs").and_then(Value::as_array).into_iter().flatten() {
                invocation.write(Level::Information, line.as_str().map_or_else(|| line.to_string(), str::to_owned));
            }
            invocation.succeeded();
            Ok(response)
        }
        Ok(None) => {
            // The real host hangs here until the function times out.
            let text = format!("HANG: 'Functions.{}' responded with null or nothing", invocation.function);
            invocation.write(Level::Error, text);
            Err(invocation.timed_out().await)
        }
        Err(reason) => Err(invocation.failed(&reason)),
    }
}

/// `None` for a response that makes the host hang.
async fn exchange(invocation: &Invocation, data: &Members) -> Result<Option<Members>, String> {
    let metadata = json!({"sys": {
        "MethodName": invocation.function,
        "UtcNow": dotnet_time(Utc::now()),
        "RandGuid": guid(rand::random()),
    }});
    let text = json!({"Data": data, "Metadata": metadata}).to_string();
    let headers = headers::payload(invocation.worker.handler.port, &invocation.id);
    let request = request(Method::POST, &format!("/{}", invocation.function), headers, ())?;
    let length = text.len();
    let body = ReplayableBody::new(Upload::Whole(text.into()), length);
    let reply = invocation.worker.client.send(&request, &body, false).await.map_err(|failure| failure.cause)?;
    let mut response = Response::new(reply.body.collect().await.map_err(|error| error.to_string())?.to_bytes());
    *response.status_mut() = reply.head.status;
    *response.headers_mut() = reply.head.headers().map_err(|_| "a header of the response is not valid")?;
    members(&response)
}

fn members(response: &Response<Bytes>) -> Result<Option<Members>, String> {
    if !response.status().is_success() {
        return Err(format!("Response status code does not indicate success: {}.", response.status()));
    }
    if response.body().trim_ascii().is_empty() {
        return Ok(None);
    }
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match serde_json::from_slice(response.body()) {
        _ if kind != "application/json" && kind != "text/json" => {
            Err(format!("Invalid HttpResponseMessage: the media type '{kind}' is not JSON"))
        }
        Ok(Value::Object(members)) => Ok(Some(members)),
        Ok(Value::Null) => Ok(None),
        Ok(_) => Err("Invalid HttpResponseMessage: the body is not a JSON object".to_owned()),
        Err(error) => Err(format!("Invalid HttpResponseMessage: the body is not valid JSON: {error}")),
    }
}

/// Invokes an HTTP function for a request.
pub(super) async fn serve(
    invocation: &Invocation,
    function: &HttpFunction,
    request: &Call,
    body: &Bytes,
) -> Response<Body> {
    let data = Map::from_iter([(function.trigger.clone(), request_data(function, request, body))]);
    match call(invocation, data).await {
        Ok(members) => response(output(function, &members)),
        Err(failed) => failed,
    }
}

fn request_data(function: &HttpFunction, call: &Call, body: &Bytes) -> Value {
    let Call { path, client, .. } = call;
    let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &client.headers {
        headers.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let mut query: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(client.uri.query().unwrap_or_default().as_bytes()) {
        query.entry(name.into_owned()).and_modify(|all| *all += &format!(",{value}")).or_insert(value.into_owned());
    }
    let text = |name| client.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let raw_query = client.uri.query().map_or(String::new(), |raw| format!("?{raw}"));
    let mut data = json!({
        "Url": format!("http://{}{path}{raw_query}", text(HOST)),
        "Method": client.method.as_str(),
        "Query": query,
        "Headers": headers,
        "Params": function.parameters(path),
        "Identities": [],
    });
    if let (Some(data), false) = (data.as_object_mut(), body.is_empty()) {
        let kind = text(CONTENT_TYPE).to_ascii_lowercase();
        let binary = kind.starts_with("application/octet-stream") || kind.starts_with("multipart/");
        let text = if binary { STANDARD.encode(body) } else { String::from_utf8_lossy(body).into_owned() };
        data.insert("Body".to_owned(), text.into());
    }
    data
}

/// The value of the function's output.
fn output<'a>(function: &HttpFunction, members: &'a Members) -> Option<&'a Value> {
    let outputs = members.get("Outputs").and_then(Value::as_object);
    let named = function.output.as_ref().and_then(|name| outputs?.get(name));
    named.or_else(|| members.get("ReturnValue")).filter(|value| !value.is_null())
}

/// A response by its description, or of a plain value. Headers are a map there, so there can be only one cookie.
fn response(value: Option<&Value>) -> Response<Body> {
    let described = value
        .and_then(Value::as_object)
        .filter(|members| ["statusCode", "status", "headers", "body"].iter().any(|name| members.contains_key(*name)));
    let Some(members) = described else {
        return with_body(empty(StatusCode::OK), value);
    };
    let status = members.get("statusCode").or_else(|| members.get("status"));
    let status = status.map_or(Some(200), |status| status.as_u64().or_else(|| status.as_str()?.parse().ok()));
    let status = status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
    let mut response = empty(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in members.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&text)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().remove(CONTENT_LENGTH);
    with_body(response, members.get("body"))
}

fn with_body(response: Response<Body>, body: Option<&Value>) -> Response<Body> {
    let (text, kind) = match body {
        None | Some(Value::Null) => return response,
        Some(Value::String(text)) => (text.clone(), "text/plain; charset=utf-8"),
        Some(other) => (other.to_string(), "application/json; charset=utf-8"),
    };
    let mut response = response.map(|_| whole(text));
    response.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    response
}
