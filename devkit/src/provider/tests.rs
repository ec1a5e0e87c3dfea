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
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{Request, Response};
use http_body_util::Full;
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
    let mut request = Request::get(url);
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    client::send(request.body(Full::default()).unwrap()).await.unwrap()
}

async fn json(url: &str) -> Value {
    serde_json::from_slice(get(url, None).await.body()).unwrap()
}

async fn post(url: &str, body: String) -> Response<Bytes> {
    post_with(url, body, &[]).await
}

async fn post_with(url: &str, body: String, headers: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client::send(request.body(Full::from(body)).unwrap()).await.unwrap()
}

fn location(reply: &Response<Bytes>) -> Url {
    Url::parse(reply.headers()[LOCATION].to_str().unwrap()).unwrap()
}

fn field(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(have, _)| have == name).map(|(_, value)| value.into_owned())
}

fn text(reply: &Response<Bytes>) -> &str {
    std::str::from_utf8(reply.body()).unwrap()
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

fn cookie_of(reply: &Response<Bytes>) -> String {
    reply.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned()
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

fn parsed(reply: &Response<Bytes>) -> Value {
    serde_json::from_slice(reply.body()).unwrap()
}

/// The body of a token response.
async fn granted(provider: &Provider, form: &Pairs<'_>) -> Value {
    let reply = tokens(provider, form).await;
    assert_eq!(reply.status(), 200, "{}", text(&reply));
    parsed(&reply)
}

/// Status, `error` and `suberror` of an error response.
async fn rejected(provider: &Provider, form: &Pairs<'_>) -> (u16, String, Option<String>) {
    let reply = tokens(provider, form).await;
    let body = parsed(&reply);
    let suberror = body["suberror"].as_str().map(str::to_owned);
    assert!(body["error_description"].as_str().unwrap().starts_with("AADSTS"));
    (reply.status().as_u16(), body["error"].as_str().unwrap().to_owned(), suberror)
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

#[tokio::test]
async fn requests_are_recorded_as_they_were_written() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let provider = provider().await;
    let mut stream = tokio::net::TcpStream::connect(provider.addr()).await.unwrap();
    for round in 0..2 {
        let head =
            format!("POST /no%2fwhere?a=%41&{round} HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-one: ü\r\nX-TWO:  2 \r\n");
        stream.write_all(format!("{head}Content-Length: 3\r\n\r\nabc").as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        assert!(stream.read(&mut answer).await.unwrap() > 0);
    }
    let requests = provider.requests();
    assert_eq!((requests.len(), provider.count()), (2, 2));
    let second = &requests[1];
    assert_eq!((second.method.as_str(), second.target.as_str()), ("POST", "/no%2fwhere?a=%41&1"));
    assert_eq!((second.path(), second.query()), ("/no%2fwhere", Some("a=%41&1")));
    let names: Vec<&str> = second.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Host", "X-Two", "x-one", "X-TWO", "Content-Length"]);
    assert_eq!(second.header_values("x-two"), ["1", "2"]);
    assert_eq!(second.header("x-one"), Some("Ã¼"));
    assert_eq!((&second.body[..], second.body_length), (&b"abc"[..], 3));
    assert!(second.body_sha256.starts_with("ba7816bf"));
    provider.clear_requests();
    assert_eq!((provider.requests().len(), provider.count()), (0, 2));
}

#[tokio::test]
async fn stopping_and_dropping_free_the_port() {
    let first = provider().await;
    let addr = first.addr();
    first.stop().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    let second = with(|options| options.addr = addr).await;
    assert_eq!(second.addr(), addr);
    drop((first, second));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}
