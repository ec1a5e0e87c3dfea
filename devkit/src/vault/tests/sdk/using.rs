use std::collections::{BTreeSet, HashMap};

use azure_core::time::OffsetDateTime;
use azure_identity::DeveloperToolsCredential;
use azure_security_keyvault_secrets::ResourceExt as _;
use azure_security_keyvault_secrets::models::{
    SecretAttributes, SecretClientUpdateSecretPropertiesOptions, SetSecretParameters, UpdateSecretPropertiesParameters,
};

use super::*;

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn all_pages_are_listed() {
    let azure = Azure::start().await;
    for wanted in [0, 1, 25, 26, 60] {
        while azure.vault.versions("ring").len() < wanted {
            azure.vault.put_with("ring", "value", |version| {
                version.content_type = Some("text/x".to_owned());
                version.not_before = Some(1_700_000_000);
                version.tags.insert("a".to_owned(), "b".to_owned());
            });
        }
        azure.vault.clear_requests();
        let found = list(&azure.client).await.unwrap();
        let ids: BTreeSet<String> = found.iter().map(|item| item.resource_id().unwrap().version.unwrap()).collect();
        let made: BTreeSet<String> = azure.vault.versions("ring").into_iter().map(|version| version.id).collect();
        assert_eq!((found.len(), ids), (wanted, made));
        assert_eq!(azure.vault.count_lists(), 1);
        for item in found {
            let attributes = item.attributes.unwrap();
            let now = OffsetDateTime::now_utc().unix_timestamp();
            assert!((now - attributes.created.unwrap().unix_timestamp()).abs() < 60);
            assert_eq!(attributes.not_before.unwrap().unix_timestamp(), 1_700_000_000);
            assert_eq!((attributes.enabled, attributes.expires), (Some(true), None));
            assert_eq!(item.tags.unwrap()["a"], "b");
            assert_eq!(item.content_type.as_deref(), Some("text/x"));
        }
    }
    assert_eq!(azure.identity.count(), 1);
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn only_the_first_request_is_without_a_token() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    get(&azure.client, None).await.unwrap();
    get(&azure.client, None).await.unwrap();
    let bearers: Vec<bool> =
        azure.vault.requests().iter().map(|request| request.header("authorization").is_some()).collect();
    assert_eq!(bearers, [false, true, true]);
    assert_eq!(azure.vault.requests()[1].target, "/secrets/ring/?api-version=2025-07-01");
    let asked = azure.identity.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("x-identity-header"), Some(HEADER));
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn versions_are_set_read_and_disabled() {
    let azure = Azure::start().await;
    let parameters = SetSecretParameters {
        value: Some("one".to_owned()),
        content_type: Some("text/x".to_owned()),
        tags: Some(HashMap::from([("activate".to_owned(), "now".to_owned())])),
        secret_attributes: Some(SecretAttributes {
            enabled: Some(true),
            not_before: Some(OffsetDateTime::from_unix_timestamp(1_700_000_000).unwrap()),
            expires: Some(OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()),
            ..SecretAttributes::default()
        }),
    };
    // The body of the first request is sent after the challenge.
    let made = azure.client.set_secret("ring", parameters.try_into().unwrap(), None).await.unwrap();
    let made = made.into_model().unwrap();
    let version = made.resource_id().unwrap().version.unwrap();
    let kept = azure.vault.versions("ring").remove(0);
    assert_eq!((kept.id, kept.value, kept.enabled), (version.clone(), "one".to_owned(), true));
    assert_eq!((kept.not_before, kept.expires), (Some(1_700_000_000), Some(1_800_000_000)));
    assert_eq!((kept.content_type.as_deref(), kept.tags["activate"].as_str()), (Some("text/x"), "now"));

    azure.vault.put("ring", "two");
    assert_eq!(get(&azure.client, None).await.unwrap().value.unwrap(), "two");
    let secret = get(&azure.client, Some(&version)).await.unwrap();
    assert_eq!(secret.value.as_deref(), Some("one"));
    assert!(!format!("{secret:?}").contains("one"));

    let parameters = UpdateSecretPropertiesParameters {
        secret_attributes: Some(SecretAttributes { enabled: Some(false), ..SecretAttributes::default() }),
        ..UpdateSecretPropertiesParameters::default()
    };
    let options = SecretClientUpdateSecretPropertiesOptions {
        secret_version: Some(version.clone()),
        ..SecretClientUpdateSecretPropertiesOptions::default()
    };
    let changed = azure.client.update_secret_properties("ring", parameters.try_into().unwrap(), Some(options)).await;
    let changed = changed.unwrap().into_model().unwrap();
    assert_eq!((changed.value, changed.attributes.unwrap().enabled), (None, Some(false)));
    let error = get(&azure.client, Some(&version)).await.unwrap_err();
    assert_eq!(error_codes(&error), (Some(403), "Forbidden".to_owned(), "SecretDisabled".to_owned()));
    let listed = list(&azure.client).await.unwrap();
    let enabled = |id: &str| listed.iter().find(|item| item.id.as_ref().is_some_and(|have| have.ends_with(id)));
    assert_eq!(enabled(&version).unwrap().attributes.as_ref().unwrap().enabled, Some(false));
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn the_resource_of_the_challenge_must_match_the_host() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    (0..30).for_each(|_| drop(azure.vault.put("ring", "value")));
    let strict = |url: &str| secrets(url, &azure.http, managed_identity(&azure.http, None), true);
    let client = strict(&format!("https://{NAME}"));
    assert_eq!(list(&client).await.unwrap().len(), 31);
    let id = get(&client, None).await.unwrap().id.unwrap();
    assert!(id.starts_with("https://x.vault.azure.net/secrets/ring/"), "{id}");
    azure.vault.clear_requests();
    azure.identity.clear_requests();
    let error = get(&strict(&azure.vault.url()), None).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Other), "{error:?}");
    assert!(format!("{error:?}").contains("doesn't match the requested domain"), "{error:?}");
    assert_eq!(azure.identity.requests(), []);
    assert!(azure.vault.requests().iter().all(|request| request.header("authorization").is_none()));
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn no_token_is_sent_for_another_resource() {
    let azure = Azure::with(identity::Options::default(), "https://vault.example").await;
    let client = secrets(&format!("https://{NAME}"), &azure.http, managed_identity(&azure.http, None), true);
    assert!(matches!(get(&client, None).await.unwrap_err().kind(), ErrorKind::Other));
    assert_eq!(azure.identity.count(), 0);
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn the_named_identity_is_used() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    let client = secrets(&azure.vault.url(), &azure.http, managed_identity(&azure.http, Some(USER)), false);
    get(&client, None).await.unwrap();
    let asked = azure.identity.requests();
    assert!(asked[0].target.ends_with(&format!("&client_id={USER}")), "{}", asked[0].target);
    let unknown = managed_identity(&azure.http, Some("22222222-2222-4333-8444-555555555555"));
    let error = get(&secrets(&azure.vault.url(), &azure.http, unknown, false), None).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Credential), "{error:?}");
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn tokens_are_renewed_before_they_expire() {
    let short = identity::Options { token_life: Duration::from_secs(301), ..identity::Options::default() };
    let azure = Azure::with(short, KEY_VAULT).await;
    azure.vault.put("ring", "value");
    get(&azure.client, None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    get(&azure.client, None).await.unwrap();
    assert_eq!(azure.identity.count(), 2);
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn without_a_signed_in_developer_there_is_a_credential_error() {
    let azure = Azure::start().await;
    let credential = DeveloperToolsCredential::new(None).unwrap();
    let client = secrets(&azure.vault.url(), &azure.http, credential, false);
    let error = get(&client, None).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Credential), "{error:?}");
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn concurrent_requests_share_one_token_request() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    let client = Arc::new(azure.client);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = Arc::clone(&client);
        calls.spawn(async move { get(&client, None).await.map(drop) });
    }
    calls.join_all().await.into_iter().for_each(Result::unwrap);
    assert_eq!((azure.vault.count_gets(), azure.identity.count()), (20, 1));
    azure.vault.stop().await;
    azure.identity.stop().await;
}
