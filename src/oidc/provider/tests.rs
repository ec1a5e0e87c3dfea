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
