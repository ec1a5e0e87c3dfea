//! HTTP functions in payload mode, and what the host makes of the handler's responses.

use serde_json::{Value, json};

use super::support::{
    Project, Recorder, body, get, has_line, json_ok, ok, payload, restarts, send, stage, started, status, until, values,
};
use crate::host::{Mode, Options};

fn data(recorder: &Recorder) -> Value {
    let payload: Value = payload(&recorder.last());
    payload["Data"]["req"].clone()
}

#[tokio::test]
async fn a_request_becomes_json() {
    let reply = json!({"Outputs": {"res": {
        "statusCode": "418", "headers": {"X-A": "1", "Set-Cookie": "a=b"}, "body": {"tea": true},
    }}, "Logs": ["poured"], "ReturnValue": "not this"});
    let (project, recorder) = (Project::new(), Recorder::start(move |_, _| json_ok(&reply.to_string())).await);
    project.function("Pot", &json!({"route": "api/{name}/{*path}"}));
    let host = project.start(&recorder, Mode::Payload).await;
    let response = send(&host, "POST /API/x/y%20z?a=1&a=2&B", "X-B: 1\r\nX-B: 2\r\n", "abc").await;
    assert!(recorder.last().starts_with("POST /Pot HTTP/1.1\r\n"));
    let data = data(&recorder);
    assert_eq!(data["Headers"]["x-b"], json!(["1", "2"]));
    for (name, expected) in [
        ("Url", json!("http://app.example/API/x/y z?a=1&a=2&B")),
        ("Method", json!("POST")),
        ("Query", json!({"a": "1,2", "B": ""})),
        ("Params", json!({"name": "x", "path": "y z"})),
        ("Identities", json!([])),
        ("Body", json!("abc")),
    ] {
        assert_eq!(data[name], expected, "{name}");
    }
    assert_eq!(status(&response), "418");
    assert_eq!((values(&response, "x-a"), values(&response, "set-cookie")), (vec!["1"], vec!["a=b"]));
    assert_eq!(values(&response, "content-type"), ["application/json; charset=utf-8"]);
    assert_eq!(body(&response), r#"{"tea":true}"#);
    assert!(has_line(&host, "poured"));
}

#[tokio::test]
async fn bodies_are_text_or_base64_and_chunked_ones_are_lost() {
    let plain = Recorder::start(|_, _| json_ok(r#"{"ReturnValue": "plain"}"#)).await;
    let (_project, recorder, host) = stage(Mode::Payload, plain).await;
    let response = send(&host, "POST /x", "Content-Type: application/octet-stream\r\n", "abc").await;
    assert_eq!(data(&recorder)["Body"], "YWJj");
    assert_eq!((status(&response), body(&response)), ("200", "plain"));
    assert_eq!(values(&response, "content-type"), ["text/plain; charset=utf-8"]);
    send(&host, "POST /x", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(data(&recorder).get("Body"), None);
}

#[tokio::test]
async fn what_cannot_be_forwarded_or_proxied_becomes_json() {
    let (project, recorder) = (Project::new(), Recorder::start(|_, _| json_ok("{}")).await);
    let trigger = json!({"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous"});
    let queue = json!({"type": "queue", "direction": "out", "name": "q"});
    project.bind("both", &json!([trigger, {"type": "http", "direction": "out", "name": "res"}, queue]));
    project.function("page", &json!({}));
    for (mode, page) in [(Some(Mode::Proxy), "GET /page "), (Some(Mode::Forward), "GET /page "), (None, "POST /page ")]
    {
        let host = started(Options { mode, ..Options::new(project.root()) }, recorder.port).await;
        let response = get(&host, "/both").await;
        assert_eq!((status(&response), body(&response)), ("200", ""));
        assert!(recorder.last().starts_with("POST /both "));
        get(&host, "/page").await;
        assert!(recorder.last().starts_with(page), "{mode:?}");
    }
}

#[tokio::test]
async fn an_invalid_response_fails_the_invocation() {
    for (response, reason) in [
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec(), "does not indicate success: 302"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}".to_vec(), "does not indicate success: 500"),
        (json_ok("[]"), "the body is not a JSON object"),
        (json_ok("{"), "the body is not valid JSON"),
        (ok("{}"), "the media type '' is not JSON"),
        (Vec::new(), "Failed"),
    ] {
        let recorder = Recorder::start(move |_, _| response.clone()).await;
        let (_project, recorder, host) = stage(Mode::Payload, recorder).await;
        assert_eq!(status(&get(&host, "/x").await), "500", "{reason}");
        assert!(has_line(&host, "Executed 'Functions.all' (Failed, ") && has_line(&host, reason), "{reason}");
        assert_eq!((recorder.requests().len(), restarts(&host)), (1, 0));
    }
}

#[tokio::test]
async fn an_empty_response_hangs_until_the_handler_is_restarted() {
    for response in [json_ok("null"), json_ok(" "), b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()] {
        let (project, recorder) = (Project::with_all(), Recorder::start(move |_, _| response.clone()).await);
        let limit = [("AzureFunctionsJobHost__functionTimeout", "00:00:00.3")];
        let host = started(project.options_with(Mode::Payload, &limit), recorder.port).await;
        assert_eq!(status(&get(&host, "/x").await), "500");
        assert!(has_line(&host, "HANG: 'Functions.all' responded with null or nothing"));
        assert!(has_line(&host, "Timeout value of 300ms was exceeded"));
        until("the restart", || restarts(&host) == 1).await;
    }
}
