use std::time::{Duration, Instant};

use super::super::{Endpoint, ErrorBody, Fault};
use super::*;

async fn try_get(url: &str) -> std::io::Result<Response<Bytes>> {
    client::send(Request::get(url).body(Full::default()).unwrap()).await
}

#[tokio::test]
async fn each_endpoint_fails_alone_and_recovers() {
    let provider = provider().await;
    let discovery = format!("{}/.well-known/openid-configuration", provider.issuer());
    let keys = format!("http://{}/{TENANT}/discovery/v2.0/keys", provider.addr());
    for (endpoint, failing, healthy) in [(Endpoint::Discovery, &discovery, &keys), (Endpoint::Keys, &keys, &discovery)]
    {
        provider.set_fault(endpoint, Some(Fault::Status(503)));
        let answer = get(failing, None).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"7".parse().unwrap()));
        assert_eq!(get(healthy, None).await.status(), 200);
        provider.set_fault(endpoint, None);
        assert_eq!(get(failing, None).await.status(), 200);
    }
    assert_eq!(provider.count(), 6, "failed requests are recorded too");
}

#[tokio::test]
async fn answers_can_be_of_every_bad_kind() {
    let provider = provider().await;
    let keys = format!("http://{}/{TENANT}/discovery/v2.0/keys", provider.addr());
    provider.set_fault(Endpoint::Keys, Some(Fault::Html));
    assert!(text(&get(&keys, None).await).contains("<h1>"));
    provider.set_fault(Endpoint::Keys, Some(Fault::Garbage));
    let garbage = get(&keys, None).await;
    assert_eq!(garbage.headers()[CONTENT_TYPE], "application/json");
    assert!(serde_json::from_slice::<Value>(garbage.body()).is_err());
    provider.set_fault(Endpoint::Keys, Some(Fault::HangUp));
    assert!(try_get(&keys).await.is_err());
    provider.set_fault(Endpoint::Keys, None);
    assert_eq!(try_get(&keys).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_truncated_answer_starts_well() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let provider = provider().await;
    provider.set_fault(Endpoint::Discovery, Some(Fault::Truncated));
    let mut stream = tokio::net::TcpStream::connect(provider.addr()).await.unwrap();
    let head = format!("GET /{TENANT}/v2.0/.well-known/openid-configuration HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && body.starts_with("{\"token_endpoint\""));
    assert_eq!(announced.parse::<usize>().unwrap() / 2, body.len());
}

#[tokio::test]
async fn token_errors_can_be_chosen() {
    let provider = provider().await;
    let error = ErrorBody {
        suberror: Some("basic_action".to_owned()),
        claims: Some("{\"access_token\":{}}".to_owned()),
        error_codes: vec![50_076],
        ..ErrorBody::new("invalid_grant")
    };
    provider.set_fault(Endpoint::Token, Some(Fault::Error(error)));
    let reply = tokens(&provider, &code_form("any")).await;
    let body = parsed(&reply);
    assert_eq!(reply.status(), 400);
    assert_eq!((&body["error"], &body["suberror"]), (&"invalid_grant".into(), &"basic_action".into()));
    assert_eq!((&body["claims"], &body["error_codes"][0]), (&"{\"access_token\":{}}".into(), &50_076.into()));
    provider
        .set_fault(Endpoint::Token, Some(Fault::Error(ErrorBody { status: 500, ..ErrorBody::new("server_error") })));
    let reply = tokens(&provider, &code_form("any")).await;
    assert_eq!(reply.status(), 500);
    assert_eq!(parsed(&reply).get("suberror"), None);
}

#[tokio::test]
async fn a_held_answer_comes_late_and_right() {
    let provider = provider().await;
    provider.fault_next(Endpoint::Token, 1, Fault::Hold(Duration::from_millis(400)));
    let start = Instant::now();
    let body = granted(&provider, &code_form(&fresh_code(&provider))).await;
    assert!(start.elapsed() >= Duration::from_millis(400));
    let start = Instant::now();
    granted(&provider, &refresh_form(&text_of(&body, "refresh_token"), None)).await;
    assert!(start.elapsed() < Duration::from_millis(300), "only the next request was held");
}

#[tokio::test]
async fn a_lost_answer_has_spent_the_token_and_a_hang_up_has_not() {
    let provider = with(|options| options.one_time_refresh = true).await;
    let url = endpoint(&provider, "token");
    let lose = async |token: &str| {
        let request = Request::post(&url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Full::from(encode(&refresh_form(token, None)))).unwrap();
        assert!(client::send(request).await.is_err());
    };
    let first = text_of(&granted(&provider, &code_form(&fresh_code(&provider))).await, "refresh_token");
    provider.fault_next(Endpoint::Token, 1, Fault::HangUp);
    lose(&first).await;
    let second = text_of(&granted(&provider, &refresh_form(&first, None)).await, "refresh_token");
    provider.fault_next(Endpoint::Token, 1, Fault::LoseAnswer);
    lose(&second).await;
    assert_eq!(refused(&provider, &refresh_form(&second, None)).await.1, "invalid_grant");
}
