use super::super::{Endpoint, Fault, OAuthError};
use super::*;

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
    let response = tokens(&provider, &code_form("any")).await;
    let body = parsed(&response);
    assert_eq!(response.status(), 400);
    assert_eq!((&body["error"], &body["suberror"]), (&"invalid_grant".into(), &"basic_action".into()));
    assert_eq!((&body["claims"], &body["error_codes"][0]), (&"{\"access_token\":{}}".into(), &50_076.into()));
    provider.fault(&[Endpoint::Token], Fault::Error(OAuthError { status: 500, ..OAuthError::new("server_error") }));
    let response = tokens(&provider, &code_form("any")).await;
    assert_eq!(response.status(), 500);
    assert_eq!(parsed(&response).get("suberror"), None);
}

#[tokio::test]
async fn a_lost_response_has_used_the_token_and_a_hang_up_has_not() {
    let provider = with(|options| options.one_time_refresh = true).await;
    let url = endpoint(&provider, "token");
    let lose = async |token: &str| {
        assert!(client::send("POST", &url, &[FORM], encode(&refresh_form(token, None))).await.is_err());
    };
    let first = text_of(&granted(&provider, &code_form(&fresh_code(&provider))).await, "refresh_token");
    provider.fault_next(&[Endpoint::Token], 1, Fault::HangUp);
    lose(&first).await;
    let second = text_of(&granted(&provider, &refresh_form(&first, None)).await, "refresh_token");
    provider.fault_next(&[Endpoint::Token], 1, Fault::LoseResponse);
    lose(&second).await;
    assert_eq!(rejected(&provider, &refresh_form(&second, None)).await.1, "invalid_grant");
}
