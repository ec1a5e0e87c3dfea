use serde_json::Value;

use super::*;
use crate::identity::{self, Identity, KEY_VAULT, TENANT};
use crate::web::Form;
use crate::web::jwt::unverified_claims;

const ACCOUNT: &str = "gateway";
const HOUR: Duration = Duration::from_secs(3_600);

struct Setup {
    identity: Identity,
    cluster: Cluster,
    entra: Entra,
}

impl Setup {
    async fn start() -> Self {
        let identity = Identity::start(identity::Options::default()).await.unwrap();
        let cluster = Cluster::start().await.unwrap();
        let entra = Entra::start(Options {
            identity: identity.clone(),
            client_id: client_id(),
            issuer: cluster.issuer(),
            subject: Cluster::subject(ACCOUNT),
        });
        Self { identity, cluster, entra: entra.await.unwrap() }
    }

    /// The status and the body of a response to the good form with one field replaced.
    async fn request(&self, assertion: &str, replaced: (&str, &str)) -> (u16, Value) {
        let good = [
            ("client_assertion", assertion),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_id", &client_id()),
            ("grant_type", "client_credentials"),
            ("scope", "https://vault.azure.net/.default"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let replace = |(name, value): (String, String)| {
            let value = if name == replaced.0 { replaced.1.to_owned() } else { value };
            (name, value)
        };
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(good.map(replace)).finish();
        assert!(Form::parse(body.as_bytes()).duplicate().is_none());
        let request = Recorded {
            method: "POST".to_owned(),
            target: format!("/{TENANT}/oauth2/v2.0/token"),
            body: body.into(),
            ..Recorded::default()
        };
        let response = self.entra.state.respond(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        (parts.status.as_u16(), serde_json::from_slice(&body).unwrap())
    }
}

fn client_id() -> String {
    identity::Options::default().system_assigned.unwrap()
}

#[tokio::test]
async fn a_token_of_the_service_account_is_exchanged_for_one_of_the_identity() {
    let setup = Setup::start().await;
    let (status, body) = setup.request(&setup.cluster.token(ACCOUNT, HOUR), ("", "")).await;
    assert_eq!((status, &body["token_type"]), (200, &"Bearer".into()));
    let token = body["access_token"].as_str().unwrap();
    assert_eq!(setup.identity.check(token, KEY_VAULT), Ok(()));
    assert_eq!(unverified_claims(token).unwrap()["appid"], client_id());
    assert!(body["expires_in"].as_u64().unwrap() > 80_000);
}

#[tokio::test]
async fn what_entra_rejects_is_rejected_with_its_number() {
    let setup = Setup::start().await;
    let good = setup.cluster.token(ACCOUNT, HOUR);
    let stranger = Cluster::start().await.unwrap().token(ACCOUNT, HOUR);
    let (message, _) = good.rsplit_once('.').unwrap();
    for (number, assertion, replaced) in [
        (700_211, stranger, ("", "")),
        (700_212, setup.cluster.token_for("https://kubernetes.default.svc", ACCOUNT, HOUR), ("", "")),
        (700_213, setup.cluster.token("another", HOUR), ("", "")),
        (700_027, format!("{message}.AAAA"), ("", "")),
        (700_024, setup.cluster.token(ACCOUNT, Duration::ZERO), ("", "")),
        (50_027, "x".to_owned(), ("", "")),
        (70_003, good.clone(), ("grant_type", "authorization_code")),
        (700_016, good.clone(), ("client_id", "another")),
        (900_144, good.clone(), ("client_assertion_type", "x")),
        (1_002_012, good.clone(), ("scope", "https://vault.azure.net")),
    ] {
        let (status, body) = setup.request(&assertion, replaced).await;
        assert_eq!((status, &body["error_codes"]), (401, &json!([number])));
    }
    assert_eq!(setup.entra.errors().len(), 10);
}

#[tokio::test]
async fn a_projected_token_replaces_the_one_in_the_file() {
    let cluster = Cluster::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let first = cluster.project(&file, ACCOUNT, HOUR).unwrap();
    let second = cluster.project(&file, ACCOUNT, HOUR).unwrap();
    assert_ne!(first, second);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), second);
    assert_eq!(cluster.secrets().len(), 2);
}
