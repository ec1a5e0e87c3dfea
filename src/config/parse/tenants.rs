//! The provider, the tenants that may sign in, and this client.

use std::sync::Arc;

use url::Url;

use super::{ConfigParser, Parsed};
use crate::config::PREFIX;
use crate::config::settings::{ALLOWED_TENANTS, AUTHORITY, CLIENT_AUTH, CLIENT_ID, CLIENT_SECRET, CLOUD, TENANT_ID};
use crate::oidc::client::{Assertion, Client, ClientAuthentication, SecretMethod};
use crate::oidc::discovery::{Authority, Tenants, is_guid};
use crate::origin::{is_loopback, is_secure};

/// Entra's tenant of personal accounts.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Audience of a client assertion in the public cloud.
const AUDIENCE: &str = "api://AzureADTokenExchange";
/// Entra's host of each cloud, and the audience that a managed identity's token needs as client assertion there.
const CLOUDS: [(&str, &str, &str); 3] = [
    ("public", "login.microsoftonline.com", AUDIENCE),
    ("usgov", "login.microsoftonline.us", "api://AzureADTokenExchangeUSGov"),
    ("china", "login.partner.microsoftonline.cn", "api://AzureADTokenExchangeChina"),
];

impl ConfigParser<'_> {
    pub(super) fn authority(&mut self) -> Parsed<Authority> {
        match (self.set_value(&TENANT_ID), self.set_value(&AUTHORITY)) {
            (Some(_), Some(_)) => {
                Err(self.record(&TENANT_ID, format!("conflicts with {PREFIX}AUTHORITY; set only one")))
            }
            (None, None) => Err(self.record(&TENANT_ID, format!("or {PREFIX}AUTHORITY is required"))),
            (None, Some(text)) => self.any_authority(text),
            (Some(tenant), None) => self.entra(tenant),
        }
    }

    fn any_authority(&mut self, text: &str) -> Parsed<Authority> {
        const RULE: &str = "must be an https URL (http only on loopback) without query, fragment or user";
        let plain = |url: &Url| {
            let has_user = !url.username().is_empty() || url.password().is_some();
            is_secure(url) && url.query().is_none() && url.fragment().is_none() && !has_user
        };
        let url = self.or_record(&AUTHORITY, Url::parse(text).ok().filter(plain).ok_or(RULE));
        if self.set_value(&CLOUD).is_some() {
            self.record(&CLOUD, format!("is only valid together with {PREFIX}TENANT_ID"));
        }
        let tenants = match self.set_value(&ALLOWED_TENANTS) {
            None => Ok(Tenants::Unchecked),
            Some(list) => self.allowed_tenants(list),
        };
        Ok(Authority { url: url?, tenants: tenants? })
    }

    #[expect(clippy::expect_used, reason = "a host of the table, and a tenant of letters, digits and hyphens")]
    fn entra(&mut self, tenant: &str) -> Parsed<Authority> {
        let (host, tenants) = (self.choice(&CLOUD, &CLOUDS.map(|(name, host, _)| (name, host))), self.tenants(tenant));
        let (host, tenants) = (host?, tenants?);
        let url = format!("https://{host}/{}/v2.0", tenant.to_ascii_lowercase());
        Ok(Authority { url: Url::parse(&url).expect("a valid URL"), tenants })
    }

    /// Checks `TENANT_ID` together with `ALLOWED_TENANTS` (contract 12.5, 12.6).
    fn tenants(&mut self, tenant: &str) -> Parsed<Tenants> {
        const RULE: &str = "must be a GUID, organizations, common or consumers; \
                            `az account show --query tenantId` prints the GUID";
        if matches!(tenant, "organizations" | "common") {
            return match self.set_value(&ALLOWED_TENANTS) {
                Some(list) => self.allowed_tenants(list),
                None => {
                    Err(self.record(&ALLOWED_TENANTS, "is required: the tenant ids that may sign in, or * for all"))
                }
            };
        }
        let one = match tenant {
            "consumers" => Ok(CONSUMERS.to_owned()),
            guid if is_guid(guid) => Ok(guid.to_ascii_lowercase()),
            _ => Err(RULE),
        };
        let one = self.or_record(&TENANT_ID, one);
        if self.set_value(&ALLOWED_TENANTS).is_some() {
            let problem = format!("is only valid together with {PREFIX}TENANT_ID organizations or common");
            return Err(self.record(&ALLOWED_TENANTS, problem));
        }
        Ok(Tenants::One(one?))
    }

    fn allowed_tenants(&mut self, list: &str) -> Parsed<Tenants> {
        if list == "*" {
            return Ok(Tenants::Any);
        }
        let tenants: Vec<String> = list.split(',').map(|tenant| tenant.trim().to_ascii_lowercase()).collect();
        let are_valid = tenants.iter().all(|tenant| is_guid(tenant));
        let tenants = are_valid.then_some(Tenants::Listed(tenants));
        self.or_record(&ALLOWED_TENANTS, tenants.ok_or("must be tenant ids separated by commas, or *"))
    }

    /// `authority`: `None` if it was recorded as an error already.
    pub(super) fn client(&mut self, authority: Option<&Authority>) -> Parsed<Client> {
        let (id, authentication) = (self.client_id(), self.client_authentication(authority));
        Ok(Client { id: id?, authentication: authentication? })
    }

    fn client_id(&mut self) -> Parsed<String> {
        let id = self.required(&CLIENT_ID)?;
        let is_valid = id.len() <= 255 && !id.contains(char::is_control);
        self.or_record(&CLIENT_ID, is_valid.then(|| id.to_owned()).ok_or("must be at most 255 bytes of text"))
    }

    fn client_authentication(&mut self, authority: Option<&Authority>) -> Parsed<ClientAuthentication> {
        let methods = [("auto", SecretMethod::Auto), ("basic", SecretMethod::Basic), ("post", SecretMethod::Post)];
        let (method, secret) = (self.choice(&CLIENT_AUTH, &methods), self.secret(&CLIENT_SECRET));
        let Some(secret) = secret? else { return self.assertion(authority, &method) };
        Ok(ClientAuthentication::Secret(secret.into(), method?))
    }

    /// How a client without a secret authenticates.
    fn assertion(
        &mut self,
        authority: Option<&Authority>,
        method: &Parsed<SecretMethod>,
    ) -> Parsed<ClientAuthentication> {
        if matches!(method, Ok(SecretMethod::Basic | SecretMethod::Post)) {
            self.record(&CLIENT_AUTH, format!("is only valid together with {PREFIX}CLIENT_SECRET"));
        }
        if self.authenticates_client && !self.names_identity() {
            let problem = "is required, because the gateway has no identity of its own: neither \
                           AZURE_FEDERATED_TOKEN_FILE nor IDENTITY_ENDPOINT is set, and CLOAKROOM_VM_IDENTITY is off";
            return Err(self.record(&CLIENT_SECRET, problem));
        }
        let Some(audience) = authority.map_or(Some(AUDIENCE), assertion_audience) else {
            let problem = "is required with this provider: a token of Azure's identities is valid only for Entra";
            return Err(self.record(&CLIENT_SECRET, problem));
        };
        Ok(ClientAuthentication::Assertion(Assertion { credential: Arc::clone(&self.credential), audience }))
    }
}

/// The audience for Entra, External ID in the public cloud included, and for an emulator on loopback. No other provider
/// gets such a token, since it could use it at Entra.
fn assertion_audience(authority: &Authority) -> Option<&'static str> {
    let host = authority.url.host_str().unwrap_or_default();
    let of_cloud = CLOUDS.iter().find(|(_, of, _)| *of == host).map(|(.., audience)| *audience);
    let is_public_cloud = host.ends_with(".ciamlogin.com") || is_loopback(&authority.url);
    of_cloud.or_else(|| is_public_cloud.then_some(AUDIENCE))
}
