//! Payload mode: the handler gets a call as one JSON object and answers with another.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::Utc;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST},
};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use serde_json::{Map, Value, json};

use super::{
    Body, empty,
    functions::Function,
    headers,
    invocation::{Call, Deadline, Invocation},
    server::App,
    timer::written,
    uuid, whole,
};

const JSON: &str = "application/json; charset=utf-8";

type Members = Map<String, Value>;

/// Calls a function and reads what it answers. `None` when it failed, which the log tells.
pub(super) async fn exchange(app: &App, invocation: &Invocation, data: Members) -> Option<Members> {
    let deadline = Deadline::new(app, invocation);
    let outcome = tokio::select! {
        outcome = ask(app, invocation, &data) => outcome,
        () = deadline.passed() => return None,
    };
    match outcome {
        Ok(Some(answer)) => {
            print_logs(app, &answer);
            invocation.succeeded(app);
            Some(answer)
        }
        Ok(None) => {
            // The host has nobody left who could end this call but its own patience.
            app.handler.log.error(format!("HANG: 'Functions.{}' answered null or nothing", invocation.function));
            deadline.passed().await;
            None
        }
        Err(reason) => {
            invocation.failed(app, &reason);
            None
        }
    }
}

/// `None` for the answer that the host never gets over.
async fn ask(app: &App, invocation: &Invocation, data: &Members) -> Result<Option<Members>, String> {
    let metadata = json!({"sys": {
        "MethodName": invocation.function,
        "UtcNow": written(Utc::now()),
        "RandGuid": uuid(),
    }});
    let text = json!({"Data": data, "Metadata": metadata}).to_string();
    let target = format!("/{}", invocation.function);
    let mut request = Request::new(whole(text.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.parse().map_err(|error| format!("the target {target} is not valid: {error}"))?;
    *request.headers_mut() = headers::payload(app.handler.port, text.len(), &invocation.id);
    let response = app.client.send(request).await.map_err(|failure| failure.to_string())?;
    read(response).await
}

async fn read(response: Response<Incoming>) -> Result<Option<Members>, String> {
    let (parts, body) = response.into_parts();
    if !parts.status.is_success() {
        return Err(format!("Response status code does not indicate success: {}.", parts.status));
    }
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match serde_json::from_slice(&body) {
        _ if kind != "application/json" && kind != "text/json" => {
            Err(format!("Invalid HttpResponseMessage: the media type '{kind}' is not JSON"))
        }
        Ok(Value::Object(answer)) => Ok(Some(answer)),
        Ok(Value::Null) => Ok(None),
        Ok(_) => Err("Invalid HttpResponseMessage: the body is no JSON object".to_owned()),
        Err(error) => Err(format!("Invalid HttpResponseMessage: the body is no JSON: {error}")),
    }
}

fn print_logs(app: &App, answer: &Members) {
    for line in answer.get("Logs").and_then(Value::as_array).into_iter().flatten() {
        app.handler.log.information(line.as_str().map_or_else(|| line.to_string(), str::to_owned));
    }
}

/// Calls an HTTP function for a request.
pub(super) async fn serve(app: &App, function: &Function, call: Call, body: Bytes) -> Response<Body> {
    let data = Map::from_iter([(function.trigger.clone(), request_data(function, &call, &body))]);
    match exchange(app, &call.invocation, data).await {
        Some(answer) => response(output(function, &answer)),
        None => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn request_data(function: &Function, call: &Call, body: &Bytes) -> Value {
    let parts = &call.parts;
    let mut headers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &parts.headers {
        headers.entry(name.as_str()).or_default().push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let raw = parts.uri.query();
    let mut query: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
        let joined = query.get(name.as_ref()).map_or_else(|| value.to_string(), |before| format!("{before},{value}"));
        query.insert(name.into_owned(), joined);
    }
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut data = json!({
        "Url": format!("http://{host}{}{}", call.path, raw.map_or(String::new(), |raw| format!("?{raw}"))),
        "Method": parts.method.as_str(),
        "Query": query,
        "Headers": headers,
        "Params": function.parameters(&call.path),
        "Identities": [],
    });
    if let (Some(data), false) = (data.as_object_mut(), body.is_empty()) {
        data.insert("Body".to_owned(), body_data(parts.headers.get(CONTENT_TYPE), body));
    }
    data
}

/// The body as text, or in base64 when its type says that it is none.
fn body_data(kind: Option<&HeaderValue>, body: &Bytes) -> Value {
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("application/octet-stream") || kind.starts_with("multipart/") {
        return Value::String(STANDARD.encode(body));
    }
    Value::String(String::from_utf8_lossy(body).into_owned())
}

/// What the function's output is bound to.
fn output<'a>(function: &Function, answer: &'a Members) -> Option<&'a Value> {
    let outputs = answer.get("Outputs").and_then(Value::as_object);
    let named = function.output.as_ref().and_then(|name| outputs?.get(name));
    named.or_else(|| answer.get("ReturnValue")).filter(|value| !value.is_null())
}

/// A response by its description, or of a plain value. Headers are a map there, so that there can be but one cookie.
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
        Some(other) => (other.to_string(), JSON),
    };
    let mut response = response.map(|_| whole(text));
    response.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
    response
}
