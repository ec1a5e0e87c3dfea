//! Tests that take minutes, each with a short form. `cargo dev soak` runs the long forms by name and prints a table of
//! the lines that start with `figure`.

mod attacks;
mod connections;
mod faults;
mod flood;
mod framing;
mod opens;
mod outages;
mod rotation;
mod store;
mod streams;

use std::fmt::Display;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devkit::provider::Provider;

use crate::raw::Connection;
use crate::visitor::{CALL, NAVIGATION, Response};

const ADA: &str = "ada.lovelace@contoso.example";
const SECRET: &str = "cloakroom-keys";

/// Prints a figure and its limit.
fn figure(what: &str, value: impl Display, bar: &str) {
    println!("figure\t{what}\t{value}\t{bar}");
}

/// Signs in with the callback at another instance, and returns the session's cookies as a header.
async fn sign_in(provider: &Provider, origin: &str, there: &mut Connection, back: &mut Connection) -> String {
    let login = there.get("/auth/login", &NAVIGATION).await.unwrap();
    let address = login.header("location").unwrap_or_else(|| panic!("no sign-in: {}", login.text()));
    let callback = provider.sign_in(address, ADA).unwrap().location();
    let transaction = cookies(&login).unwrap();
    let came = [("cookie", transaction.as_str()), ("sec-fetch-mode", "navigate"), ("sec-fetch-site", "cross-site")];
    let response = back.get(callback.strip_prefix(origin).unwrap(), &came).await.unwrap();
    assert_eq!((response.status, response.header("location")), (302, Some("/#")), "{}", response.text());
    cookies(&response).unwrap()
}

/// A `fetch` by the page.
async fn call(connection: &mut Connection, cookie: &str) -> std::io::Result<Response> {
    let mut headers = vec![("cookie", cookie)];
    headers.extend(CALL);
    connection.get("/graph/me", &headers).await
}

/// The cookies that a response sets, as a header; `None` if it sets none.
fn cookies(response: &Response) -> Option<String> {
    let written = response.headers_named("set-cookie").filter(|line| !line.contains("Max-Age=0"));
    let pairs: Vec<&str> = written.map(|line| line.split(';').next().unwrap()).collect();
    (!pairs.is_empty()).then(|| pairs.join("; "))
}

/// The kid of a session cookie.
fn kid(cookie: &str) -> [u8; 8] {
    let value = cookie.split_once('=').unwrap().1.split(';').next().unwrap();
    // 12 characters are 9 bytes: the version and the kid.
    let sealed = value.split_once('.').map_or(value, |(_, sealed)| sealed);
    URL_SAFE_NO_PAD.decode(&sealed[..12]).unwrap()[1..].try_into().unwrap()
}
