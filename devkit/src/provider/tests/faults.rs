use std::time::{Duration, Instant};

use super::super::{Endpoint, Fault, OAuthError};
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
        provider.fault(&[endpoint], Fault::Status { status: 503, retry_after: Some(7) });
        let response = get(failing, None).await;
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"7".parse().unwrap()));
        assert_eq!(get(healthy, None).await.status(), 200);
        provider.clear_faults();
        assert_eq!(get(failing, None).await.status(), 200);
    }
    assert_eq!(provider.count(), 6, "failed requests are recorded too");
}

#[tokio::test]
async fn responses_can_be_broken() {
    let provider = provider().await;
    let keys = format!("http://{}/{TENANT}/discovery/v2.0/keys", provider.addr());
    provider.fault(&[Endpoint::Keys], Fault::Html);
    assert!(text(&get(&keys, None).await).contains("<h1>"));
    provider.fault(&[Endpoint::Keys], Fault::Garbage);
    let garbage = get(&keys, None).await;
    assert_eq!(garbage.headers()[CONTENT_TYPE], "application/json");
    assert!(serde_json::from_slice::<Value>(garbage.body()).is_err());
    provider.fault(&[Endpoint::Keys], Fault::HangUp);
    assert!(try_get(&keys).await.is_err());
    provider.clear_faults();
    assert_eq!(try_get(&keys).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_truncated_response_has_its_first_half() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let provider = provider().await;
    provider.fault(&[Endpoint::Discovery], Fault::Truncated);
    let mut stream = tokio::net::TcpStream::connect(provider.addr()).await.unwrap();
    let head = format!("GET /{TENANT}/v2.0/.well-known/openid-configuration HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let response = String::from_utf8(answer).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && body.starts_with("{\"token_endpoint\""));
    assert_eq!(announced.parse::<usize>().unwrap() / 2, body.len());
}

#[tokio::test]
async fn token_errors_can_be_chosen() {
    let provider = provider().await;
    let error = OAuthError {
        suberror: Some("basic_action"),
        claims: Some("{\"access_token\":{}}"),
        code: Some(50_076),
        ..OAuthError::new("invalid_grant")
    };
    provider.fault(&[Endpoint::Token], Fault::Error(error));
    let reply = tokens(&provider, &code_form("any")).await;
    let body = parsed(&reply);
    assert_eq!(reply.status(), 400);
    assert_eq!((&body["error"], &body["suberror"]), (&"invalid_grant".into(), &"basic_action".into()));
    assert_eq!((&body["claims"], &body["error_codes"][0]), (&"{\"access_token\":{}}".into(), &50_076.into()));
    provider.fault(&[Endpoint::Token], Fault::Error(OAuthError { status: 500, ..OAuthError::new("server_error") }));
    let reply = tokens(&provider, &code_form("any")).await;
    assert_eq!(reply.status(), 500);
    assert_eq!(parsed(&reply).get("suberror"), None);
}

#[tokio::test]
async fn a_delayed_response_is_correct() {
    let provider = provider().await;
    provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_millis(400)));
    let start = Instant::now();
    let body = granted(&provider, &code_form(&fresh_code(&provider))).await;
    assert!(start.elapsed() >= Duration::from_millis(400));
    let start = Instant::now();
    granted(&provider, &refresh_form(&text_of(&body, "refresh_token"), None)).await;
    assert!(start.elapsed() < Duration::from_millis(300), "only the next request was held");
}

#[tokio::test]
async fn a_lost_response_has_used_the_token_and_a_hang_up_has_not() {
    let provider = with(|options| options.one_time_refresh = true).await;
    let url = endpoint(&provider, "token");
    let lose = async |token: &str| {
        let request = Request::post(&url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Full::from(encode(&refresh_form(token, None)))).unwrap();
        assert!(client::send(request).await.is_err());
    };
    let first = text_of(&granted(&provider, &code_form(&fresh_code(&provider))).await, "refresh_token");
    provider.fault_next(&[Endpoint::Token], 1, Fault::HangUp);
    lose(&first).await;
    let second = text_of(&granted(&provider, &refresh_form(&first, None)).await, "refresh_token");
    provider.fault_next(&[Endpoint::Token], 1, Fault::LoseResponse);
    lose(&second).await;
    assert_eq!(rejected(&provider, &refresh_form(&second, None)).await.1, "invalid_grant");
}
