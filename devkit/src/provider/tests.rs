mod assertion;
mod authorize;
mod faults;
mod id_token;
mod logout;
mod refresh;
mod token;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Response;
use http::header::{AUTHORIZATION, LOCATION, SET_COOKIE};
use ring::digest::{SHA256, digest};
use ring::signature::RSA_PKCS1_2048_8192_SHA256;
use serde_json::Value;
use url::Url;

use super::{CLIENT_ID, CLIENT_SECRET, Options, Provider, TENANT};
use crate::web::{base64url, client, from_base64url, jwt};

const ORIGIN: &str = "http://localhost:7071";
const CALLBACK: &str = "http://localhost:7071/auth/callback";
const VERIFIER: &str = "abcdefghijklmnopqrstuvwxyz0123456789-._~ABCDEFG";
const ADA: &str = "ada.lovelace@contoso.example";
const SCOPE: &str = "openid profile email offline_access https://graph.microsoft.com/User.Read";

/// The header of a form.
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

type Pairs<'a> = Vec<(&'a str, String)>;

async fn provider() -> Provider {
    with(|_| {}).await
}

async fn with(change: impl FnOnce(&mut Options)) -> Provider {
    let mut options = Options::new(ORIGIN);
    change(&mut options);
    Provider::start(options).await.unwrap()
}

fn challenge() -> String {
    base64url(digest(&SHA256, VERIFIER.as_bytes()).as_ref())
}

fn good_request() -> Pairs<'static> {
    vec![
        ("client_id", CLIENT_ID.to_owned()),
        ("redirect_uri", CALLBACK.to_owned()),
        ("response_type", "code".to_owned()),
        ("scope", SCOPE.to_owned()),
        ("state", "the state&=".to_owned()),
        ("nonce", "the-nonce".to_owned()),
        ("code_challenge", challenge()),
        ("code_challenge_method", "S256".to_owned()),
    ]
}

/// The good request with one parameter changed, added, or left out (`None`).
fn changed<'a>(name: &'a str, value: Option<&str>) -> Pairs<'a> {
    set(good_request(), name, value)
}

fn encode(pairs: &Pairs<'_>) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn endpoint(provider: &Provider, name: &str) -> String {
    format!("http://{}/{TENANT}/oauth2/v2.0/{name}", provider.addr())
}

fn authorize_url(provider: &Provider, pairs: &Pairs<'_>) -> String {
    format!("{}?{}", endpoint(provider, "authorize"), encode(pairs))
}

async fn get(url: &str, cookie: Option<&str>) -> Response<Bytes> {
    let headers: Vec<_> = cookie.map(|cookie| ("cookie", cookie)).into_iter().collect();
    client::send("GET", url, &headers, "").await.unwrap()
}

async fn json(url: &str) -> Value {
    serde_json::from_slice(get(url, None).await.body()).unwrap()
}

async fn post(url: &str, body: String) -> Response<Bytes> {
    post_with(url, body, &[]).await
}

async fn post_with(url: &str, body: String, headers: &[(&str, &str)]) -> Response<Bytes> {
    client::send("POST", url, &[&[FORM], headers].concat(), body).await.unwrap()
}

fn location(response: &Response<Bytes>) -> Url {
    Url::parse(response.headers()[LOCATION].to_str().unwrap()).unwrap()
}

fn field(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(have, _)| have == name).map(|(_, value)| value.into_owned())
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

/// The id in the hidden field of a sign-in page.
fn request_id(page: &Response<Bytes>) -> String {
    let rest = text(page).split_once("name=\"request\" value=\"").unwrap().1;
    rest.split_once('"').unwrap().0.to_owned()
}

async fn submit(provider: &Provider, page: &Response<Bytes>, name: &str, value: &str) -> Response<Bytes> {
    let url = format!("http://{}/{TENANT}/login", provider.addr());
    post(&url, encode(&vec![("request", request_id(page)), (name, value.to_owned())])).await
}

/// Signs Ada in with the page, and returns the response to its form.
async fn sign_in(provider: &Provider, pairs: &Pairs<'_>) -> Response<Bytes> {
    let page = get(&authorize_url(provider, pairs), None).await;
    submit(provider, &page, "user", ADA).await
}

fn cookie_of(response: &Response<Bytes>) -> String {
    response.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned()
}

fn code_of(provider: &Provider, pairs: &Pairs<'_>) -> String {
    provider.sign_in(&authorize_url(provider, pairs), ADA).unwrap().field("code").unwrap().to_owned()
}

fn fresh_code(provider: &Provider) -> String {
    code_of(provider, &good_request())
}

fn code_form(code: &str) -> Pairs<'static> {
    vec![
        ("grant_type", "authorization_code".to_owned()),
        ("code", code.to_owned()),
        ("redirect_uri", CALLBACK.to_owned()),
        ("code_verifier", VERIFIER.to_owned()),
        ("client_id", CLIENT_ID.to_owned()),
        ("client_secret", CLIENT_SECRET.to_owned()),
    ]
}

fn refresh_form(token: &str, scope: Option<&str>) -> Pairs<'static> {
    let mut form = vec![
        ("grant_type", "refresh_token".to_owned()),
        ("refresh_token", token.to_owned()),
        ("client_id", CLIENT_ID.to_owned()),
        ("client_secret", CLIENT_SECRET.to_owned()),
    ];
    form.extend(scope.map(|scope| ("scope", scope.to_owned())));
    form
}

fn set<'a>(mut form: Pairs<'a>, name: &'a str, value: Option<&str>) -> Pairs<'a> {
    form.retain(|(have, _)| *have != name);
    form.extend(value.map(|value| (name, value.to_owned())));
    form
}

async fn tokens(provider: &Provider, form: &Pairs<'_>) -> Response<Bytes> {
    post(&endpoint(provider, "token"), encode(form)).await
}

fn parsed(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

/// The body of a token response.
async fn granted(provider: &Provider, form: &Pairs<'_>) -> Value {
    let response = tokens(provider, form).await;
    assert_eq!(response.status(), 200, "{}", text(&response));
    parsed(&response)
}

/// Status, `error` and `suberror` of an error response.
async fn rejected(provider: &Provider, form: &Pairs<'_>) -> (u16, String, Option<String>) {
    let response = tokens(provider, form).await;
    let body = parsed(&response);
    let suberror = body["suberror"].as_str().map(str::to_owned);
    assert!(body["error_description"].as_str().unwrap().starts_with("AADSTS"));
    (response.status().as_u16(), body["error"].as_str().unwrap().to_owned(), suberror)
}

fn text_of(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap().to_owned()
}

fn part(jwt: &str, place: usize) -> Value {
    serde_json::from_slice(&from_base64url(jwt.split('.').nth(place).unwrap()).unwrap()).unwrap()
}

/// Whether the signature is of a key in the key set.
async fn verifies(provider: &Provider, jwt: &str) -> bool {
    let set = json(&format!("http://{}/{TENANT}/discovery/v2.0/keys", provider.addr())).await;
    let kid = part(jwt, 0)["kid"].clone();
    let Some(key) = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid) else {
        return false;
    };
    let (_, key) = jwt::public_key(key).unwrap();
    let (message, signature) = jwt.rsplit_once('.').unwrap();
    let signature = from_base64url(signature).unwrap();
    key.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature).is_ok()
}

fn basic(id: &str, secret: &str) -> (String, String) {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
    (AUTHORIZATION.to_string(), format!("Basic {pair}"))
}

#[tokio::test]
async fn the_discovery_document_has_the_endpoints() {
    let provider = provider().await;
    let document = json(&format!("{}/.well-known/openid-configuration", provider.issuer())).await;
    assert_eq!(document["issuer"], provider.issuer());
    assert_eq!(document["response_types_supported"], serde_json::json!(["code"]));
    assert_eq!(document["id_token_signing_alg_values_supported"], serde_json::json!(["RS256"]));
    assert_eq!(document.get("revocation_endpoint"), None);
    assert_eq!(document.get("authorization_response_iss_parameter_supported"), None);
    let keys = json(document["jwks_uri"].as_str().unwrap()).await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert_eq!(get(document["authorization_endpoint"].as_str().unwrap(), None).await.status(), 400);
    assert_eq!(get(document["token_endpoint"].as_str().unwrap(), None).await.status(), 405);
    assert_eq!(get(document["end_session_endpoint"].as_str().unwrap(), None).await.status(), 200);
}

#[tokio::test]
async fn organizations_have_an_issuer_template() {
    let provider = provider().await;
    let url = provider.authority("organizations");
    let document = json(&format!("{url}/.well-known/openid-configuration")).await;
    let template = document["issuer"].as_str().unwrap();
    assert_eq!(template.replace("{tenantid}", TENANT), provider.issuer());
    assert_ne!(template, provider.issuer());
    let other = format!("http://{}/44444444-4444-4444-8444-444444444444/v2.0", provider.addr());
    assert_eq!(get(&format!("{other}/.well-known/openid-configuration"), None).await.status(), 404);
}

#[tokio::test]
async fn every_secret_is_recorded() {
    let provider = provider().await;
    let code = fresh_code(&provider);
    let body = granted(&provider, &code_form(&code)).await;
    let recorded = provider.secrets();
    let has = |kind: &str, value: &str| recorded.contains(&(kind.to_owned(), value.to_owned()));
    assert!(has("code", &code));
    assert!(has("code_verifier", VERIFIER));
    assert!(has("client_secret", CLIENT_SECRET));
    for kind in ["access_token", "refresh_token", "id_token"] {
        assert!(has(kind, &text_of(&body, kind)), "{kind}");
    }
    assert_eq!(recorded.len(), 6);
}
