//! Contract 15.16, 6.5: the workload identity of a pod as user of Redis.

use devkit::redis_server::{Authority, EntraRedis};

use super::ADA;
use crate::identities::{HOUR, Pod};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_authenticates_to_redis_by_the_token_of_its_service_account() {
    let pod = Pod::start(HOUR).await;
    let authority = Authority::new().unwrap();
    let redis = EntraRedis::start(&pod.identity, &authority, &["localhost"]).await.unwrap();
    let builder = pod.gateway(&[authority.pem()]).set("STORE", format!("rediss://localhost:{}", redis.port()));
    let app = builder.set("STORE_AUTH", "entra").start().await;
    let mut ada = app.signed_in(ADA).await;
    assert_eq!(ada.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
    let logins = redis.logins();
    assert!(!logins.is_empty() && logins.iter().all(|(_, is_good)| *is_good), "{logins:?}");
    let [request] = pod.entra.requests().try_into().unwrap();
    assert_eq!(request.form_field("scope").as_deref(), Some("https://redis.azure.com/.default"));
    pod.assert_no_secret_is_logged_or_sent(&app, &ada);
}
