use std::time::Instant;

use azure_core::http::{FixedRetryOptions, StatusCode};
use azure_security_keyvault_secrets::models::SetSecretParameters;
use tokio::time::timeout;

use super::*;

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn tells_refusals_apart() {
    let azure = Azure::start().await;
    let codes = |error: Error| {
        let (status, code, inner) = refusal(&error);
        format!("{} {code} {inner}", status.unwrap_or_default())
    };
    assert_eq!(codes(get(&azure.client, None).await.unwrap_err()), "404 SecretNotFound ");
    azure.vault.put("ring", "value");
    azure.vault.fault_next(&[Operation::List], 1, Fault::ForbiddenByRbac);
    assert_eq!(codes(list(&azure.client).await.unwrap_err()), "403 Forbidden ForbiddenByRbac");
    azure.vault.fault_next(&[Operation::Get], 1, Fault::ForbiddenByFirewall);
    assert_eq!(codes(get(&azure.client, None).await.unwrap_err()), "403 Forbidden ForbiddenByFirewall");
    let start = Instant::now();
    azure.vault.fault_next(&[Operation::Get], 1, Fault::Status { status: 429, retry_after: Some(3_600) });
    assert_eq!(codes(get(&azure.client, None).await.unwrap_err()), "429 Throttled ");
    azure.vault.fault_next(&[Operation::Get], 1, Fault::Status { status: 500, retry_after: None });
    assert_eq!(codes(get(&azure.client, None).await.unwrap_err()), "500 InternalServerError ");
    assert!(start.elapsed() < Duration::from_secs(2));
    azure.vault.delete("ring");
    let parameters = SetSecretParameters { value: Some("x".to_owned()), ..SetSecretParameters::default() };
    let refused = azure.client.set_secret("ring", parameters.try_into().unwrap(), None).await.unwrap_err();
    assert_eq!(codes(refused), "409 Conflict ObjectIsDeletedButRecoverable");
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn notices_broken_answers() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    list(&azure.client).await.unwrap();
    for (fault, kind) in [
        (Fault::Garbage, "DataConversion"),
        (Fault::CutJson, "DataConversion"),
        (Fault::Truncated, "Io"),
        (Fault::HangUp, "Io"),
    ] {
        azure.vault.fault_next(&Operation::ALL, 1, fault);
        assert_eq!(get(&azure.client, None).await.unwrap_err().kind().to_string(), kind, "{fault:?}");
        azure.vault.fault_next(&Operation::ALL, 1, fault);
        assert_eq!(list(&azure.client).await.unwrap_err().kind().to_string(), kind, "{fault:?}");
    }
    get(&azure.client, None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn is_refused_at_once_and_heals() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    get(&azure.client, None).await.unwrap();
    azure.vault.set_door(Door::Refused).await.unwrap();
    let start = Instant::now();
    let refused = get(&azure.client, None).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Connection), "{refused:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
    azure.vault.set_door(Door::Open).await.unwrap();
    get(&azure.client, None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn survives_a_deadline_of_ours() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    let soon = Duration::from_millis(200);
    // While the identity hangs at the first use, while the vault hangs at the challenge, and with a token.
    azure.identity.set_fault(Some(identity::Fault::Hang));
    assert!(timeout(soon, get(&azure.client, None)).await.is_err());
    azure.identity.set_fault(None);
    azure.vault.fault(&Operation::ALL, Fault::Hang);
    assert!(timeout(soon, get(&azure.client, None)).await.is_err());
    azure.vault.heal();
    get(&azure.client, None).await.unwrap();
    azure.vault.fault(&Operation::ALL, Fault::Hang);
    assert!(timeout(soon, get(&azure.client, None)).await.is_err());
    azure.vault.heal();
    azure.vault.set_door(Door::Silent).await.unwrap();
    assert!(timeout(soon, get(&azure.client, None)).await.is_err());
    azure.vault.set_door(Door::Open).await.unwrap();
    get(&azure.client, None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn cannot_read_an_expiry_that_is_a_number() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    for fault in [
        identity::Fault::NumericExpiry,
        identity::Fault::Garbage,
        identity::Fault::Status(500),
        identity::Fault::HangUp,
    ] {
        azure.identity.fault_next(1, fault);
        let refused = get(&azure.client, None).await.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Credential), "{fault:?}: {refused:?}");
    }
    get(&azure.client, None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn keeps_a_token_that_was_taken_back() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    get(&azure.client, None).await.unwrap();
    azure.identity.expire_tokens();
    for _ in 0..2 {
        assert_eq!(get(&azure.client, None).await.unwrap_err().http_status(), Some(StatusCode::Unauthorized));
    }
    // The credential's cache gave the same token again and again; a new credential helps.
    assert_eq!(azure.identity.count(), 1);
    let client = secrets(&azure.vault.url(), &azure.http, managed_identity(&azure.http, None), false);
    get(&client, None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn loses_the_body_of_a_first_set_when_it_retries() {
    let azure = Azure::start().await;
    let delay = azure_core::time::Duration::milliseconds(10);
    let mut options = SecretClientOptions {
        client_options: client_options(&azure.http),
        verify_challenge_resource: Some(false),
        ..SecretClientOptions::default()
    };
    options.client_options.retry =
        RetryOptions::fixed(FixedRetryOptions { delay, max_retries: 1, ..FixedRetryOptions::default() });
    let retrying = SecretClient::new(&azure.vault.url(), managed_identity(&azure.http, None), Some(options)).unwrap();
    let set = || SetSecretParameters { value: Some("x".to_owned()), ..SetSecretParameters::default() };
    for client in [&retrying, &azure.client] {
        azure.vault.fault_next(&Operation::ALL, 1, Fault::Status { status: 429, retry_after: None });
        let refused = client.set_secret("ring", set().try_into().unwrap(), None).await.unwrap_err();
        let expected = if std::ptr::eq(client, &retrying) { 400 } else { 429 };
        assert_eq!(refused.http_status().map(u16::from), Some(expected));
    }
    assert_eq!(azure.vault.versions("ring"), []);
    // A retry of our own is a call of its own, and the body goes with it.
    azure.client.set_secret("ring", set().try_into().unwrap(), None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn tells_no_secret_in_errors() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "SECRET-CANARY");
    list(&azure.client).await.unwrap();
    for fault in [Fault::CutJson, Fault::Garbage, Fault::Truncated, Fault::Status { status: 500, retry_after: None }] {
        azure.vault.fault_next(&Operation::ALL, 1, fault);
        let error = get(&azure.client, None).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{fault:?}: {error:?}");
    }
    azure.identity.expire_tokens();
    let told = format!("{:?}", get(&azure.client, None).await.unwrap_err());
    assert!(azure.identity.secrets().iter().all(|(_, secret)| !told.contains(secret)), "{told}");
    azure.stop().await;
}
