use super::*;
use crate::oidc::client::{ClientAuthentication, SecretMethod};
use crate::oidc::discovery::Tenants;

/// A provider at an address that accepts connections and never answers.
fn hanging_provider(listener: &std::net::TcpListener) -> Provider {
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let client = Client {
        id: "app".to_owned(),
        authentication: ClientAuthentication::Secret("secret".into(), SecretMethod::Auto),
    };
    let config = Config { authority: Authority { url, tenants: Tenants::Unchecked }, client, clock_skew: 300 };
    Provider::new(config, Arc::default())
}

/// Logout tokens that anybody sends would hold the places of all of `/auth` otherwise (contract 10.20, 16.8).
#[tokio::test(start_paused = true)]
async fn requests_that_wait_for_the_same_keys_share_the_failure() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let provider = hanging_provider(&listener);
    let url = provider.config.authority.url.as_str();
    let metadata = json!({"issuer": url, "authorization_endpoint": url, "token_endpoint": url, "jwks_uri": url});
    let metadata = Metadata::read(serde_json::from_value(metadata).unwrap()).unwrap();
    provider.write(|cache| cache.metadata = Some(Arc::new(metadata)));
    let started = Instant::now();
    let token = SecretString::from("a.b.c");
    let requests = (0..100).map(|_| provider.verify_logout_token(&token, &|| 0));
    for outcome in futures_util::future::join_all(requests).await {
        assert!(matches!(outcome, Err(TokenError::KeysUnavailable)));
    }
    assert!((DOCUMENT..DOCUMENT * 2).contains(&started.elapsed()), "{:?}", started.elapsed());
}

/// Sign-ins that waited for each further attempt would hold the places of all of `/auth` (contract 3.4, 10.19).
#[tokio::test(start_paused = true)]
async fn after_the_first_failure_no_sign_in_waits_for_an_attempt_of_another() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let provider = hanging_provider(&listener);
    assert!(provider.metadata().await.is_err());
    tokio::time::sleep(ATTEMPT_PAUSE).await;
    let started = Instant::now();
    let attempt = async {
        assert!(provider.metadata().await.is_err());
        assert!(started.elapsed() > Duration::ZERO, "it waits for the provider");
    };
    let others = async {
        for _ in 0..100 {
            assert!(provider.metadata().await.is_err());
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
    };
    tokio::join!(biased; attempt, others);
}
