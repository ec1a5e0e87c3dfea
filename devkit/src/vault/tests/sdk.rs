//! Microsoft's crates against the stand-ins. They find the managed identity by environment variables only, so that
//! these tests run in their own process, which `microsofts_crates` starts.

mod trouble;
mod using;

use std::process::Stdio;
use std::sync::Arc;

use azure_core::Error;
use azure_core::credentials::TokenCredential;
use azure_core::error::{ErrorKind, ErrorResponse};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use azure_security_keyvault_secrets::models::{Secret, SecretClientGetSecretOptions, SecretProperties};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use futures_util::TryStreamExt as _;
use tokio::net::TcpSocket;
use tokio::process::Command;

use super::*;

const USER: &str = "11111111-2222-4333-8444-555555555555";
const HEADER: &str = "the-header-of-this-run";
const NAME: &str = "x.vault.azure.net";

#[tokio::test]
async fn microsofts_crates() {
    // Bound without listening, so that no other program gets the port of the identity in the other process.
    let port = TcpSocket::new_v4().unwrap();
    port.set_reuseaddr(true).unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = format!("http://{}/msi/token", port.local_addr().unwrap());
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["vault::tests::sdk::", "--ignored", "--test-threads=1"])
        .env("IDENTITY_ENDPOINT", endpoint)
        .env("IDENTITY_HEADER", HEADER)
        .env("PATH", "")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let output = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{output}{}", String::from_utf8_lossy(&run.stderr));
    assert!(output.contains("test result: ok. 17 passed"), "{output}");
}

/// As the gateway uses the crates: one HTTP client for both, no retries.
fn client_options(http: &Client) -> ClientOptions {
    ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(http.clone()))),
        ..ClientOptions::default()
    }
}

fn managed_identity(http: &Client, client_id: Option<&str>) -> Arc<dyn TokenCredential> {
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id: client_id.map(|id| UserAssignedId::ClientId(id.to_owned())),
        client_options: client_options(http),
    };
    ManagedIdentityCredential::new(Some(options)).unwrap()
}

fn secrets(url: &str, http: &Client, credential: Arc<dyn TokenCredential>, verify: bool) -> SecretClient {
    let options = SecretClientOptions {
        client_options: client_options(http),
        verify_challenge_resource: Some(verify),
        ..SecretClientOptions::default()
    };
    SecretClient::new(url, credential, Some(options)).unwrap()
}

async fn list(client: &SecretClient) -> Result<Vec<SecretProperties>, Error> {
    client.list_secret_properties_versions("ring", None)?.try_collect().await
}

async fn get(client: &SecretClient, version: Option<&str>) -> Result<Secret, Error> {
    let options = SecretClientGetSecretOptions { secret_version: version.map(str::to_owned), ..Default::default() };
    client.get_secret("ring", Some(options)).await?.into_model()
}

/// The status, and the error's code and inner code. The crate's own `error_code` is the status if the message contains
/// an escape, as those of Key Vault do; it is for vaults that send no body.
fn error_codes(error: &Error) -> (Option<u16>, String, String) {
    let ErrorKind::HttpResponse { status, error_code, raw_response } = error.kind() else {
        return (None, String::new(), String::new());
    };
    let body = raw_response.as_ref().and_then(|raw| serde_json::from_slice::<ErrorResponse>(raw.body().as_ref()).ok());
    let detail = body.and_then(|body| body.error);
    let inner = detail.as_ref().and_then(|detail| detail.inner_error.as_ref()?.code.clone());
    let code = detail.and_then(|detail| detail.code).or_else(|| error_code.clone());
    (Some(u16::from(*status)), code.unwrap_or_default(), inner.unwrap_or_default())
}

struct Azure {
    identity: Identity,
    vault: Vault,
    http: Client,
    client: SecretClient,
}

impl Azure {
    async fn start() -> Self {
        Self::with(identity::Options::default(), KEY_VAULT).await
    }

    async fn with(options: identity::Options, resource: &str) -> Self {
        let endpoint = std::env::var_os("IDENTITY_ENDPOINT").expect("run by `microsofts_crates`");
        let endpoint = url::Url::parse(endpoint.to_str().unwrap()).unwrap();
        let identity = Identity::start(identity::Options {
            addr: endpoint.socket_addrs(|| None).unwrap()[0],
            user_assigned: vec![USER.to_owned()],
            header: Some(HEADER.to_owned()),
            ..options
        });
        let identity = identity.await.unwrap();
        let options =
            Options { names: vec![NAME.to_owned()], resource: resource.to_owned(), ..Options::new(&identity) };
        let vault = Vault::start(options).await.unwrap();
        let http = trusting(&vault).resolve(NAME, vault.addr()).build().unwrap();
        let client = secrets(&vault.url(), &http, managed_identity(&http, None), false);
        Self { identity, vault, http, client }
    }

    async fn stop(self) {
        self.vault.stop().await;
        self.identity.stop().await;
    }
}
