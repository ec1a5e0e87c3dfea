use std::time::Duration;

use super::*;
use crate::identity::{self, Identity};
use crate::provider::Federated;

const EXCHANGE: &str = "api://AzureADTokenExchange";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An identity, and a provider that accepts its tokens instead of a client secret.
async fn trusting() -> (Identity, Provider) {
    let identity = Identity::start(identity::Options::default()).await.unwrap();
    let federated = Federated {
        issuer: identity.issuer(),
        subject: identity.principal(&identity::Options::default().system_assigned.unwrap()).unwrap(),
        audience: EXCHANGE.to_owned(),
    };
    let provider = with(|options| {
        for client in &mut options.clients {
            client.secret = None;
            client.federated = Some(federated.clone());
        }
    })
    .await;
    (identity, provider)
}

fn form(provider: &Provider, assertion: &str) -> Pairs<'static> {
    let form = set(code_form(&fresh_code(provider)), "client_secret", None);
    set(set(form, "client_assertion", Some(assertion)), "client_assertion_type", Some(JWT_BEARER))
}

/// Entra's number of the error.
async fn number(provider: &Provider, form: &Pairs<'_>) -> u64 {
    let response = tokens(provider, form).await;
    assert_eq!((response.status().as_u16(), parsed(&response)["error"].as_str()), (401, Some("invalid_client")));
    parsed(&response)["error_codes"][0].as_u64().unwrap()
}

#[tokio::test]
async fn a_token_of_a_trusted_issuer_authenticates_the_client() {
    let (identity, provider) = trusting().await;
    granted(&provider, &form(&provider, &identity.token(EXCHANGE))).await;
    assert!(provider.secrets().iter().any(|(kind, _)| kind == "client_assertion"));
}

#[tokio::test]
async fn invalid_assertions_have_entras_error_codes() {
    let (identity, provider) = trusting().await;
    let good = identity.token(EXCHANGE);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let turned = if signature.starts_with('A') { "B" } else { "A" };
    for (assertion, expected) in [
        (identity.token(identity::KEY_VAULT), 700_212),
        (format!("{message}.{turned}{}", &signature[1..]), 700_027),
        (format!("{message}."), 700_027),
        ("garbage".to_owned(), 50_027),
    ] {
        assert_eq!(number(&provider, &form(&provider, &assertion)).await, expected, "{assertion}");
    }
    let stranger = Identity::start(identity::Options::default()).await.unwrap();
    assert_eq!(number(&provider, &form(&provider, &stranger.token(EXCHANGE))).await, 700_211);
    let unproven = set(code_form(&fresh_code(&provider)), "client_secret", None);
    assert_eq!(number(&provider, &unproven).await, 7_000_218);
    let wrong_type = set(form(&provider, &good), "client_assertion_type", Some("jwt"));
    assert_eq!(tokens(&provider, &wrong_type).await.status(), 400);
    let two_ways = set(form(&provider, &good), "client_secret", Some("x"));
    assert_eq!(tokens(&provider, &two_ways).await.status(), 400);
}

#[tokio::test]
async fn time_and_subject_of_an_assertion_are_checked() {
    let (identity, provider) = trusting().await;
    let first = identity.token(EXCHANGE);
    identity.advance(Duration::from_secs(302));
    assert_eq!(number(&provider, &form(&provider, &identity.token(EXCHANGE))).await, 700_024, "not yet valid");
    provider.advance(Duration::from_secs(24 * 60 * 60));
    assert_eq!(number(&provider, &form(&provider, &first)).await, 700_024, "over");
    let options = identity::Options { system_assigned: None, ..identity::Options::default() };
    let second = Identity::start(identity::Options { addr: identity.addr(), ..options });
    assert!(second.await.is_err(), "the address is in use, so that no other identity can be that issuer");
    let other = Federated { issuer: identity.issuer(), subject: "other".to_owned(), audience: EXCHANGE.to_owned() };
    let provider = with(|options| options.clients[0].federated = Some(other)).await;
    assert_eq!(number(&provider, &form(&provider, &first)).await, 700_213);
}

#[tokio::test]
async fn secrets_are_accepted_by_the_announced_methods_only() {
    for (methods, by_post) in [(None, 401), (Some("client_secret_basic"), 401), (Some("client_secret_post"), 200)] {
        let provider = with(|options| options.secret_methods = methods.map(|method| vec![method.to_owned()])).await;
        let response = tokens(&provider, &code_form(&fresh_code(&provider))).await;
        assert_eq!(response.status(), by_post, "{methods:?}");
        let document = json(&format!("{}/.well-known/openid-configuration", provider.issuer())).await;
        let announced = &document["token_endpoint_auth_methods_supported"];
        assert_eq!(announced[0].as_str(), methods);
        let form = set(code_form(&fresh_code(&provider)), "client_secret", None);
        let (name, value) = basic(CLIENT_ID, CLIENT_SECRET);
        let response = post_with(&endpoint(&provider, "token"), encode(&form), &[(&name, &value)]).await;
        assert_eq!(response.status().as_u16(), if by_post == 200 { 401 } else { 200 }, "{methods:?}");
    }
}
