use std::time::Duration;

use super::*;
use crate::keyring::Ring;
use crate::keyring::states::Parameters;
use crate::keyring::static_key::StaticKey;
use crate::secret::Key32;
use crate::session::cookie::{SameSite, Settings};
use crate::session::payload::User;

/// Contract 7.12. Nothing else touches the session or the table.
#[tokio::test(start_paused = true)]
async fn the_access_token_of_a_refresh_leaves_memory_when_its_minute_is_over() {
    let day = Duration::from_secs(86_400);
    let parameters = Parameters { propagation: day, life: day, retention: day };
    let ring = Ring::new(Arc::new(StaticKey::new(&Key32::new([1; 32]))), parameters, day);
    let sealer = Arc::new(Sealer::new(ring, "app".to_owned(), 300));
    let cookies = SessionCookies::new(Settings {
        name: "__Host-Http-cloakroom".to_owned(),
        domain: None,
        same_site: SameSite::Lax,
        login_same_site: SameSite::Lax,
        budget: 6_144,
    });
    let store = CookieStore::new(sealer, cookies);
    let open = OpenSession::new(Session::new([1; 16], User::default(), 0), 10_000);
    let access_token =
        Some(AccessToken { api: "graph".to_owned(), token: "a".into(), expires_at: 9_000, life: 3_600, binding: None });
    store.save_tokens(&open, NewTokens { refresh_token: None, access_token, id_token: None }, 100).await.unwrap();
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert_eq!(store.memory.access_tokens(), 1);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(store.memory.access_tokens(), 0);
}
