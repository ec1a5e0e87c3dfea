use ring::signature::RSA_PKCS1_2048_8192_SHA256;
use serde_json::Value;

use super::*;
use crate::web::{client, from_base64url, jwt};

const USER: &str = "11111111-2222-4333-8444-555555555555";

async fn start() -> Identity {
    Identity::start(Options { user_assigned: vec![USER.to_owned()], ..Options::default() }).await.unwrap()
}

/// Sends a request with the right header; returns status and body.
async fn request(identity: &Identity, query: &str) -> (u16, Value) {
    let [_, (_, header)] = identity.env();
    request_as(identity, &header, query).await
}

async fn request_as(identity: &Identity, header: &str, query: &str) -> (u16, Value) {
    let [(_, endpoint), _] = identity.env();
    let url = format!("{endpoint}?{query}");
    let response = client::send("GET", &url, &[("X-IDENTITY-HEADER", header)], "").await.unwrap();
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default())
}

fn claims(token: &str) -> Value {
    jwt::unverified_claims(token).unwrap()
}

const GOOD: &str = "api-version=2019-08-01&resource=https://vault.azure.net";

#[tokio::test]
async fn tokens_have_the_form_of_app_service() {
    let identity = start().await;
    let (status, body) = request(&identity, GOOD).await;
    assert_eq!(status, 200);
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["resource"], KEY_VAULT);
    assert_eq!(body["client_id"], Options::default().system_assigned.unwrap());
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(claims(token)["exp"].to_string(), body["expires_on"].as_str().unwrap());
    assert_eq!(claims(token)["aud"], KEY_VAULT);
    assert_eq!(identity.check(token, KEY_VAULT), Ok(()));
    assert!(identity.check(token, "https://graph.microsoft.com").is_err());
    assert!(identity.check(&token.replace('.', "x"), KEY_VAULT).is_err());
    assert!(identity.secrets().contains(&("access_token".to_owned(), token.to_owned())));
}

#[tokio::test]
async fn identities_are_selected_by_client_id() {
    let identity = start().await;
    let (_, body) = request(&identity, &format!("{GOOD}&client_id={USER}")).await;
    let claims = claims(body["access_token"].as_str().unwrap());
    assert_eq!(claims["appid"], USER);
    assert_eq!(claims["sub"].as_str(), identity.principal(USER).as_deref());
    assert_eq!(claims["oid"], claims["sub"]);
    let (status, body) = request(&identity, &format!("{GOOD}&client_id={}", guid([7; 16]))).await;
    assert_eq!((status, &body["message"]), (400, &"Unable to load the proper Managed Identity.".into()));
    let none = Identity::start(Options { system_assigned: None, ..Options::default() }).await.unwrap();
    assert_eq!(request(&none, GOOD).await.0, 400);
}

#[tokio::test]
async fn invalid_requests_are_rejected() {
    let identity = start().await;
    assert_eq!(request_as(&identity, "wrong", GOOD).await.0, 401);
    for query in ["resource=https://vault.azure.net", "api-version=2019-08-01", "api-version=2017-09-01&resource=x"] {
        assert_eq!(request(&identity, query).await.0, 400, "{query}");
    }
    assert_eq!(identity.count(), 4);
    assert_eq!(identity.requests()[0].header("x-identity-header"), Some("wrong"));
    assert!(identity.secrets().iter().all(|(kind, _)| kind != "access_token"));
}

#[tokio::test]
async fn tokens_expire() {
    let life = Duration::from_secs(600);
    let identity = Identity::start(Options { token_life: life, ..Options::default() }).await.unwrap();
    let token = identity.token(KEY_VAULT);
    identity.advance(Duration::from_secs(590));
    assert_eq!(identity.check(&token, KEY_VAULT), Ok(()));
    identity.advance(Duration::from_secs(11));
    assert!(identity.check(&token, KEY_VAULT).is_err());
    let token = identity.token(KEY_VAULT);
    identity.expire_tokens();
    assert!(identity.check(&token, KEY_VAULT).is_err());
}

#[tokio::test]
async fn tokens_are_verified_by_discovery() {
    let identity = start().await;
    let token = identity.token("api://AzureADTokenExchange");
    assert_eq!(claims(&token)["iss"], identity.issuer());
    let document = client::internal_json(&format!("{}/.well-known/openid-configuration", identity.issuer())).await;
    let document = document.unwrap();
    assert_eq!(document["issuer"], identity.issuer());
    let set = client::internal_json(document["jwks_uri"].as_str().unwrap()).await.unwrap();
    let key = &set["keys"][0];
    let (message, signature) = token.rsplit_once('.').unwrap();
    let header: Value = serde_json::from_slice(&from_base64url(message.split_once('.').unwrap().0).unwrap()).unwrap();
    assert_eq!((&header["kid"], &header["alg"]), (&key["kid"], &"RS256".into()));
    let (_, key) = jwt::public_key(key).unwrap();
    let signature = from_base64url(signature).unwrap();
    key.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature).unwrap();
}

#[tokio::test]
async fn the_expiry_can_be_numeric() {
    let identity = start().await;
    assert!(request(&identity, GOOD).await.1["expires_on"].is_string());
    identity.fault(&[], Fault::NumericExpiry);
    assert!(request(&identity, GOOD).await.1["expires_on"].is_u64());
}

/// Status and body of a request to the metadata service of a virtual machine.
async fn imds(identity: &Identity, headers: &[(&str, &str)], query: &str) -> (u16, Value) {
    let url = format!("http://{}/metadata/identity/oauth2/token?{query}", identity.addr());
    let response = client::send("GET", &url, headers, "").await.unwrap();
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default())
}

#[tokio::test]
async fn the_metadata_service_of_a_virtual_machine_issues_tokens() {
    let identity = start().await;
    let (status, body) = imds(&identity, &[("Metadata", "true")], GOOD).await;
    assert_eq!((status, &body["token_type"]), (200, &"Bearer".into()));
    assert_eq!(identity.check(body["access_token"].as_str().unwrap(), KEY_VAULT), Ok(()));
    assert!(body["expires_on"].is_string() && body["expires_in"].is_string());
    let (_, body) = imds(&identity, &[("Metadata", "true")], &format!("{GOOD}&client_id={USER}")).await;
    assert_eq!(claims(body["access_token"].as_str().unwrap())["appid"], USER);
}

#[tokio::test]
async fn the_metadata_service_rejects_requests_that_were_forwarded_or_lack_its_header() {
    let identity = start().await;
    let metadata = ("Metadata", "true");
    for (headers, query) in [
        (&[][..], GOOD),
        (&[("Metadata", "false")], GOOD),
        (&[metadata, ("X-Forwarded-For", "192.0.2.1")], GOOD),
        (&[metadata], "resource=https://vault.azure.net"),
        (&[metadata], "api-version=2017-12-01&resource=https://vault.azure.net"),
        (&[metadata], "api-version=2019-08-01"),
        (&[metadata], "api-version=2019-08-01&resource=https://vault.azure.net&client_id=x"),
    ] {
        assert_eq!(imds(&identity, headers, query).await.0, 400, "{headers:?} {query}");
    }
    assert!(identity.secrets().iter().all(|(kind, _)| kind != "access_token"));
}
