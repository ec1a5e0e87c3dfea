use std::time::Instant;

use azure_core::http::{FixedRetryOptions, StatusCode};
use azure_security_keyvault_secrets::models::SetSecretParameters;
use tokio::time::timeout;

use super::*;

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn errors_have_their_codes() {
    let azure = Azure::start().await;
    let codes = |error: Error| {
        let (status, code, inner) = error_codes(&error);
        format!("{} {code} {inner}", status.unwrap_or_default())
    };
    assert_eq!(codes(get(&azure.client, None).await.unwrap_err()), "404 SecretNotFound ");
    azure.vault.put("ring", "value");
    azure.vault.fault_next(&[Operation::List], 1, Fault::ForbiddenByRbac);
    assert_eq!(codes(list(&azure.client).await.unwrap_err()), "403 Forbidden ForbiddenByRbac");
    azure.vault.fault_next(&[Operation::GetNewest], 1, Fault::ForbiddenByFirewall);
    assert_eq!(codes(get(&azure.client, None).await.unwrap_err()), "403 Forbidden ForbiddenByFirewall");
    let start = Instant::now();
    azure.vault.fault_next(&[Operation::GetNewest], 1, Fault::Status { status: 429, retry_after: Some(3_600) });
    assert_eq!(codes(get(&azure.client, None).await.unwrap_err()), "429 Throttled ");
    azure.vault.fault_next(&[Operation::GetNewest], 1, Fault::status(500));
    assert_eq!(codes(get(&azure.client, None).await.unwrap_err()), "500 InternalServerError ");
    assert!(start.elapsed() < Duration::from_secs(2));
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn broken_responses_are_errors() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    list(&azure.client).await.unwrap();
    for (fault, kind) in [
        (Fault::Garbage, "DataConversion"),
        (Fault::CutJson, "DataConversion"),
        (Fault::Truncated, "Io"),
        (Fault::HangUp, "Io"),
    ] {
        azure.vault.fault_next(&[], 1, fault);
        assert_eq!(get(&azure.client, None).await.unwrap_err().kind().to_string(), kind, "{fault:?}");
        azure.vault.fault_next(&[], 1, fault);
        assert_eq!(list(&azure.client).await.unwrap_err().kind().to_string(), kind, "{fault:?}");
    }
    get(&azure.client, None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn a_refused_connection_fails_at_once_and_recovers() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    get(&azure.client, None).await.unwrap();
    azure.vault.set_accept_mode(AcceptMode::Refused).await.unwrap();
    let start = Instant::now();
    let error = get(&azure.client, None).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Connection), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
    azure.vault.set_accept_mode(AcceptMode::Normal).await.unwrap();
    get(&azure.client, None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn requests_can_be_cancelled_at_any_point() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    let soon = Duration::from_millis(200);
    // While the identity hangs at first use, while the vault hangs before the challenge, and with a token.
    azure.identity.fault(&[], Fault::Hang);
    assert!(timeout(soon, get(&azure.client, None)).await.is_err());
    azure.identity.clear_faults();
    azure.vault.fault(&[], Fault::Hang);
    assert!(timeout(soon, get(&azure.client, None)).await.is_err());
    azure.vault.clear_faults();
    get(&azure.client, None).await.unwrap();
    azure.vault.fault(&[], Fault::Hang);
    assert!(timeout(soon, get(&azure.client, None)).await.is_err());
    azure.vault.clear_faults();
    azure.vault.set_accept_mode(AcceptMode::Silent).await.unwrap();
    assert!(timeout(soon, get(&azure.client, None)).await.is_err());
    azure.vault.set_accept_mode(AcceptMode::Normal).await.unwrap();
    get(&azure.client, None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn a_numeric_expiry_is_a_credential_error() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    for fault in [Fault::NumericExpiry, Fault::Garbage, Fault::status(500), Fault::HangUp] {
        azure.identity.fault_next(&[], 1, fault);
        let error = get(&azure.client, None).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Credential), "{fault:?}: {error:?}");
    }
    get(&azure.client, None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn a_revoked_token_stays_cached() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "value");
    get(&azure.client, None).await.unwrap();
    azure.identity.expire_tokens();
    for _ in 0..2 {
        assert_eq!(get(&azure.client, None).await.unwrap_err().http_status(), Some(StatusCode::Unauthorized));
    }
    // Only a new credential requests a new token.
    assert_eq!(azure.identity.count(), 1);
    let client = secrets(&azure.vault.url(), &azure.http, managed_identity(&azure.http, None), false);
    get(&client, None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn a_retry_of_the_first_set_loses_its_body() {
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
        azure.vault.fault_next(&[], 1, Fault::status(429));
        let error = client.set_secret("ring", set().try_into().unwrap(), None).await.unwrap_err();
        let expected = if std::ptr::eq(client, &retrying) { 400 } else { 429 };
        assert_eq!(error.http_status().map(u16::from), Some(expected));
    }
    assert_eq!(azure.vault.versions("ring"), []);
    // Calling again sends the body.
    azure.client.set_secret("ring", set().try_into().unwrap(), None).await.unwrap();
    azure.stop().await;
}

#[tokio::test]
#[ignore = "started by microsofts_crates"]
async fn errors_contain_no_secrets() {
    let azure = Azure::start().await;
    azure.vault.put("ring", "SECRET-CANARY");
    list(&azure.client).await.unwrap();
    for fault in [Fault::CutJson, Fault::Garbage, Fault::Truncated, Fault::status(500)] {
        azure.vault.fault_next(&[], 1, fault);
        let error = get(&azure.client, None).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{fault:?}: {error:?}");
    }
    azure.identity.expire_tokens();
    let text = format!("{:?}", get(&azure.client, None).await.unwrap_err());
    assert!(azure.identity.secrets().iter().all(|(_, secret)| !text.contains(secret)), "{text}");
    azure.stop().await;
}
