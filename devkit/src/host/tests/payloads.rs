//! HTTP functions in payload mode, and what the host makes of the handler's answers.

use serde_json::{Value, json};

use super::support::{Project, Recorder, answer, body, exchange, get, has_line, ok, started, status, until, values};
use crate::host::{Host, Mode, Options};

fn data(recorder: &Recorder) -> Value {
    let told: Value = serde_json::from_str(body(&recorder.last())).unwrap();
    told["Data"]["req"].clone()
}

/// A host whose handler answers this to everything.
async fn answering(response: Vec<u8>, env: &[(&str, &str)]) -> (Project, Recorder, Host) {
    let (project, recorder) = (Project::with_all(), Recorder::start(move |_, _| response.clone()).await);
    let mut options = project.options(Mode::Payload);
    options.env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let host = started(options, recorder.port).await;
    (project, recorder, host)
}

#[tokio::test]
async fn a_request_is_told_in_json() {
    let reply = json!({"Outputs": {"res": {
        "statusCode": "418", "headers": {"X-A": "1", "Set-Cookie": "a=b"}, "body": {"tea": true},
    }}, "Logs": ["poured"], "ReturnValue": "not this"});
    let (project, recorder) = (Project::new(), Recorder::start(move |_, _| answer(&reply.to_string())).await);
    project.function("Pot", &json!({"route": "api/{name}/{*path}"}));
    let host = project.before(&recorder, Mode::Payload).await;
    let request = "POST /API/x/y%20z?a=1&a=2&B HTTP/1.1\r\nHost: app.example\r\nX-B: 1\r\nX-B: 2\r\nContent-Length: 3";
    let response = exchange(host.addr(), &format!("{request}\r\n\r\nabc")).await;
    assert!(recorder.last().starts_with("POST /Pot HTTP/1.1\r\n"));
    let told = data(&recorder);
    assert_eq!(told["Url"], "http://app.example/API/x/y z?a=1&a=2&B");
    assert_eq!(told["Method"], "POST");
    assert_eq!(told["Query"], json!({"a": "1,2", "B": ""}));
    assert_eq!(told["Headers"]["x-b"], json!(["1", "2"]));
    assert_eq!(told["Params"], json!({"name": "x", "path": "y z"}));
    assert_eq!((&told["Identities"], &told["Body"]), (&json!([]), &json!("abc")));
    assert_eq!(status(&response), "418");
    assert_eq!((values(&response, "x-a"), values(&response, "set-cookie")), (vec!["1"], vec!["a=b"]));
    assert_eq!(values(&response, "content-type"), ["application/json; charset=utf-8"]);
    assert_eq!(body(&response), r#"{"tea":true}"#);
    assert!(has_line(&host, "poured"));
}

#[tokio::test]
async fn bodies_are_text_or_base64_and_chunked_ones_are_lost() {
    let (_project, recorder, host) = answering(answer(r#"{"ReturnValue": "plain"}"#), &[]).await;
    let post = |rest: &str| format!("POST /x HTTP/1.1\r\nHost: a\r\n{rest}");
    let octets = "Content-Type: application/octet-stream\r\nContent-Length: 3\r\n\r\nabc";
    let response = exchange(host.addr(), &post(octets)).await;
    assert_eq!(data(&recorder)["Body"], "YWJj");
    assert_eq!((status(&response), body(&response)), ("200", "plain"));
    assert_eq!(values(&response, "content-type"), ["text/plain; charset=utf-8"]);
    exchange(host.addr(), &post("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")).await;
    assert_eq!(data(&recorder).get("Body"), None);
}

#[tokio::test]
async fn without_flags_every_function_is_told_in_json() {
    let (project, recorder) = (Project::with_all(), Recorder::start(|_, _| answer("{}")).await);
    let host = started(Options::new(project.root()), recorder.port).await;
    let response = get(host.addr(), "/x").await;
    assert_eq!((status(&response), body(&response)), ("200", ""));
    assert!(recorder.last().starts_with("POST /all "));
}

#[tokio::test]
async fn a_function_with_another_output_is_told_in_json() {
    let (project, recorder) = (Project::new(), Recorder::start(|_, _| answer("{}")).await);
    let trigger = json!({"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous"});
    let queue = json!({"type": "queue", "direction": "out", "name": "q"});
    project.bind("both", &json!([trigger, {"type": "http", "direction": "out", "name": "res"}, queue]));
    project.function("page", &json!({}));
    for mode in [Mode::Proxy, Mode::Forward] {
        let host = project.before(&recorder, mode).await;
        get(host.addr(), "/both").await;
        assert!(recorder.last().starts_with("POST /both "));
        get(host.addr(), "/page").await;
        assert!(recorder.last().starts_with("GET /page "));
    }
}

#[tokio::test]
async fn an_answer_that_is_none_fails_the_call() {
    for (response, reason) in [
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec(), "does not indicate success: 302"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}".to_vec(), "does not indicate success: 500"),
        (answer("[]"), "the body is no JSON object"),
        (answer("{"), "the body is no JSON"),
        (ok("{}"), "the media type '' is not JSON"),
        (Vec::new(), "Failed"),
    ] {
        let (_project, recorder, host) = answering(response, &[]).await;
        assert_eq!(status(&get(host.addr(), "/x").await), "500", "{reason}");
        assert!(has_line(&host, "Executed 'Functions.all' (Failed, ") && has_line(&host, reason), "{reason}");
        assert_eq!((recorder.requests().len(), host.restarts()), (1, 0));
    }
}

#[tokio::test]
async fn an_answer_of_nothing_hangs_until_the_handler_is_restarted() {
    for response in [answer("null"), answer(" "), b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()] {
        let limit = [("AzureFunctionsJobHost__functionTimeout", "00:00:00.3")];
        let (_project, _recorder, host) = answering(response, &limit).await;
        assert_eq!(status(&get(host.addr(), "/x").await), "500");
        assert!(has_line(&host, "HANG: 'Functions.all' answered null or nothing"));
        assert!(has_line(&host, "Timeout value of 300ms was exceeded"));
        until("the restart", || host.restarts() == 1).await;
    }
}
