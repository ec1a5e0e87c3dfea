//! No secret leaves (contract 2.3): every token, code, verifier, secret and key of a run is searched for, in every
//! common encoding, in everything that the browser received and in all logs.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use devkit::provider::{Alteration, Endpoint, Options};
use http::StatusCode;
use serde_json::json;

use crate::app::{KEY, TestApp, every_reach};
use crate::visitor::CALL;

/// The encodings of a secret: raw, base64 at all three alignments, base64url, hex, percent-encoded.
fn forms(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![("raw", secret.to_vec()), ("reversed", secret.iter().rev().copied().collect())];
    for shift in 0..3 {
        let shifted = [vec![0; shift], secret.to_vec()].concat();
        // The characters at both ends depend on the adjacent bytes.
        let inner = |text: String| {
            let text = text.trim_end_matches('=');
            text.as_bytes()[(shift * 4).div_ceil(3)..text.len() - 2].to_vec()
        };
        forms.push(("base64", inner(STANDARD.encode(&shifted))));
        forms.push(("base64url", inner(URL_SAFE_NO_PAD.encode(&shifted))));
    }
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    forms.push(("hex", hex.clone().into_bytes()));
    forms.push(("HEX", hex.to_uppercase().into_bytes()));
    let percent: String = secret.iter().map(|byte| format!("%{byte:02X}")).collect();
    forms.push(("percent", percent.into_bytes()));
    forms.push(("form", url::form_urlencoded::byte_serialize(secret).collect::<String>().into_bytes()));
    forms
}

/// Names of the secrets that the haystack contains, with their encoding.
pub fn found(haystack: &[u8], secrets: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, secret) in secrets {
        for (form, needle) in forms(secret) {
            if memchr::memmem::find(haystack, &needle).is_some() {
                found.push(format!("{name} ({form})"));
            }
        }
    }
    found
}

#[test]
fn a_planted_canary_is_found_in_every_form() {
    let secret = b"CANARY/of+a~token=42".to_vec();
    let secrets = [("planted".to_owned(), secret.clone())];
    for (form, needle) in forms(&secret) {
        let haystack = [b"before ".to_vec(), needle, b" after".to_vec()].concat();
        assert!(!found(&haystack, &secrets).is_empty(), "{form}");
    }
    let wrapped = STANDARD.encode([b"x".to_vec(), secret].concat());
    assert!(!found(wrapped.as_bytes(), &secrets).is_empty(), "inside a longer base64 string");
    assert!(found(b"nothing here", &secrets).is_empty());
}

#[tokio::test]
async fn no_secret_of_a_run_reaches_the_browser_or_a_log() {
    for reach in every_reach() {
        let app = TestApp::builder().reach(reach).set("LOG", "debug,json").start().await;
        let mut visitor = app.signed_in("ada.lovelace@contoso.example").await;
        for (method, path) in [
            ("GET", "/graph/me"),
            ("GET", "/auth/session"),
            ("GET", "/graph/hostile"),
            ("GET", "/graph/nope"),
            ("GET", "/graph/status/500"),
            ("DELETE", "/graph/me"),
        ] {
            visitor.fetch(method, path).await;
        }
        let session = visitor.jar["__Host-Http-cloakroom"].clone();
        let stolen = [
            &CALL[..],
            &[("cookie", "__Host-Http-cloakroom=broken"), ("authorization", "Bearer CANARY-of-the-client")],
        ]
        .concat();
        visitor.send("GET", "/graph/me", &stolen, "").await;
        for flaw in [devkit::provider::Flaw::BadSignature, devkit::provider::Flaw::WrongNonce] {
            app.provider.set_mutation(Some(flaw.into()));
            let mut rejected = app.visitor();
            rejected.sign_in(&app.provider, "grace.hopper@contoso.example", "/").await;
            visitor.received.append(&mut rejected.received);
        }
        visitor.fetch("POST", "/auth/logout").await;

        let mut secrets: Vec<(String, Vec<u8>)> =
            app.provider.secrets().into_iter().map(|(kind, value)| (kind, value.into_bytes())).collect();
        let kinds = ["code", "access_token", "refresh_token", "id_token", "code_verifier", "client_secret"];
        assert!(
            kinds.iter().all(|kind| secrets.iter().any(|(of, _)| of.starts_with(kind))),
            "the run used a secret of each kind"
        );
        secrets.push(("the key".to_owned(), KEY.to_vec()));
        secrets.push(("the client secret".to_owned(), devkit::provider::CLIENT_SECRET.into()));
        secrets.push(("the key as configured".to_owned(), app.settings["CLOAKROOM_ENC_KEY"].clone().into_bytes()));
        secrets.push(("a header of the client".to_owned(), b"CANARY-of-the-client".to_vec()));
        assert_eq!(found(&visitor.received, &secrets), [""; 0], "{reach:?}: to the browser");
        assert!(!visitor.received.is_empty());
        secrets.push(("the session cookie".to_owned(), session.into_bytes()));
        app.wait_for_log("a user signed in").await;
        let log = app.log();
        assert_eq!(found(log.as_bytes(), &secrets), [""; 0], "{reach:?}: in a log");
    }
}

/// Of a provider's errors only 64 letters, digits and `_` are logged: some echo the request, with code and secret, and
/// any client can send an `error` of any length to the callback.
#[tokio::test]
async fn errors_of_the_provider_put_neither_secrets_nor_long_texts_into_the_log() {
    const ECHOED: [&str; 4] = ["CANARY/the-code", "CANARY/the-secret", "CANARY/the-token", "CANARY/the-description"];
    let app = TestApp::start().await;
    let mut visitor = app.signed_in("ada.lovelace@contoso.example").await;
    let long = "x".repeat(100_000);
    let document = json!({
        "error": format!("rejected code={}&client_secret={} {long}", ECHOED[0], ECHOED[1]),
        "suberror": format!("rejected {} \u{1b}[31m{long}", ECHOED[2]),
        "error_description": ECHOED[3],
    });
    let body = document.to_string();
    let rejected = Alteration::new(move |response| {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        *response.body_mut() = body.clone().into();
    });
    app.provider.set_alteration(Endpoint::Token, Some(rejected));
    app.visitor().sign_in(&app.provider, "grace.hopper@contoso.example", "/").await;
    visitor.fetch("POST", "/auth/refresh").await;
    let mut other = app.visitor();
    let address = url::Url::parse(&other.begin("/").await).unwrap();
    let state = address.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let error = [("error", &*ECHOED[0].repeat(400)), ("state", &*state)];
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(error).finish();
    other.navigate(&format!("/auth/callback?{query}")).await;
    // Its line follows that of the long error.
    let address = url::Url::parse(&other.begin("/").await).unwrap();
    let state = address.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    other.navigate(&format!("/auth/callback?error=access_denied&state={state}")).await;

    app.wait_for_log(r#""error":"rejectedcodeCANARYthecodeclient_secretCANARYthesecret"#).await;
    app.wait_for_log(r#""event":"sign_in_failed","code":"access_denied""#).await;
    let log = app.log();
    let secrets = ECHOED.map(|text| (text.to_owned(), text.as_bytes().to_vec()));
    assert_eq!(found(log.as_bytes(), &secrets), [""; 0]);
    let longest = log.lines().map(str::len).max().unwrap();
    assert!(!log.contains('\u{1b}') && !log.contains("\\u001b") && longest < 1_500, "{longest}");
}

/// The same for the endpoints that no user waits for: metadata, key set and revocation.
#[tokio::test]
async fn errors_of_metadata_keys_and_revocation_are_logged_in_the_same_way() {
    const ECHOED: [&str; 3] = ["CANARY/the-error", "CANARY/the-suberror", "CANARY/the-description"];
    let options = Options { revocation: true, ..Options::new("http://unused") };
    let mut app = TestApp::builder().provider(options).start().await;
    let long = "x".repeat(100_000);
    let body = json!({
        "error": format!("{} \u{1b}[31m{long}", ECHOED[0]), "suberror": ECHOED[1], "error_description": ECHOED[2],
    })
    .to_string();
    let rejected = Alteration::new(move |response| {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        *response.body_mut() = body.clone().into();
    });
    let check = |log: &str, endpoint: Endpoint| {
        let secrets = ECHOED.map(|text| (text.to_owned(), text.as_bytes().to_vec()));
        assert_eq!(found(log.as_bytes(), &secrets), [""; 0], "{endpoint:?}");
        let longest = log.lines().map(str::len).max().unwrap();
        assert!(!log.contains("\\u001b") && longest < 1_500, "{endpoint:?}: {longest}");
    };
    let mut visitor = app.signed_in("ada.lovelace@contoso.example").await;
    app.provider.set_alteration(Endpoint::Revocation, Some(rejected.clone()));
    assert_eq!(visitor.fetch("POST", "/auth/logout").await.status, 200);
    app.wait_for_log("the refresh token could not be revoked").await;
    check(&app.log(), Endpoint::Revocation);
    for (endpoint, line) in [
        (Endpoint::Keys, r#""problem":"error CANARYtheerror31mxxx"#),
        (Endpoint::Discovery, r#""problem":"error CANARYtheerror31mxxx"#),
    ] {
        app.provider.set_alteration(endpoint, Some(rejected.clone()));
        app.restart();
        app.wait_for_log(line).await;
        check(&app.log(), endpoint);
        app.provider.set_alteration(endpoint, None);
    }
}
