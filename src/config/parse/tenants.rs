//! The provider, whose users may sign in, and this client.

use std::sync::Arc;

use url::Url;

use super::{ConfigParser, PREFIX};
use crate::oidc::client::{Assertion, Client, ClientAuthentication};
use crate::oidc::discovery::{Authority, Tenants, is_guid};
use crate::origin::{is_loopback, is_secure};

/// Entra's tenant of personal accounts.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// In the public cloud.
const AUDIENCE: &str = "api://AzureADTokenExchange";
/// For whom a managed identity's token must be, so that Entra takes it as client assertion, by the cloud's host.
const AUDIENCES: [(&str, &str); 3] = [
    ("login.microsoftonline.com", AUDIENCE),
    ("login.microsoftonline.us", "api://AzureADTokenExchangeUSGov"),
    ("login.partner.microsoftonline.cn", "api://AzureADTokenExchangeChina"),
];

impl ConfigParser<'_> {
    pub(super) fn authority(&mut self) -> Option<Authority> {
        match (self.get("TENANT_ID"), self.get("AUTHORITY")) {
            (Some(_), Some(_)) => {
                self.fault("TENANT_ID", format!("conflicts with {PREFIX}AUTHORITY; set only one"));
                None
            }
            (None, None) => {
                self.fault("TENANT_ID", format!("or {PREFIX}AUTHORITY is required"));
                None
            }
            (None, Some(text)) => self.any_authority(text),
            (Some(tenant), None) => self.entra(tenant),
        }
    }

    fn any_authority(&mut self, text: &str) -> Option<Authority> {
        let bare = |url: &Url| {
            is_secure(url) && url.query().is_none() && url.fragment().is_none() && url.username().is_empty()
        };
        let url = Url::parse(text)
            .ok()
            .filter(bare)
            .ok_or("is an https URL (http on loopback only) without query and fragment");
        let url = self.or_record("AUTHORITY", url)?;
        if self.get("CLOUD").is_some() {
            self.fault("CLOUD", format!("is only valid together with {PREFIX}TENANT_ID"));
        }
        let tenants = match self.get("ALLOWED_TENANTS") {
            None => Tenants::Unchecked,
            Some(list) => self.allowed_tenants(list)?,
        };
        Some(Authority { url, tenants })
    }

    fn entra(&mut self, tenant: &str) -> Option<Authority> {
        let host = match self.get("CLOUD") {
            None | Some("public") => "login.microsoftonline.com",
            Some("usgov") => "login.microsoftonline.us",
            Some("china") => "login.partner.microsoftonline.cn",
            Some(_) => {
                self.fault("CLOUD", "is public, usgov or china");
                return None;
            }
        };
        let list = self.get("ALLOWED_TENANTS");
        let tenants = match (tenant, list) {
            ("organizations" | "common", Some(list)) => self.allowed_tenants(list)?,
            ("organizations" | "common", None) => {
                self.fault("ALLOWED_TENANTS", "is required: the tenant ids that may sign in, or * for all");
                return None;
            }
            (_, Some(_)) => {
                self.fault(
                    "ALLOWED_TENANTS",
                    format!("is only valid together with {PREFIX}TENANT_ID organizations or common"),
                );
                return None;
            }
            ("consumers", None) => Tenants::One(CONSUMERS.to_owned()),
            (guid, None) if is_guid(guid) => Tenants::One(guid.to_ascii_lowercase()),
            (_, None) => {
                self.fault("TENANT_ID", "is a GUID, organizations, common or consumers; `az account show --query tenantId` tells the GUID of a domain");
                return None;
            }
        };
        let url = Url::parse(&format!("https://{host}/{}/v2.0", tenant.to_ascii_lowercase())).ok()?;
        Some(Authority { url, tenants })
    }

    fn allowed_tenants(&mut self, list: &str) -> Option<Tenants> {
        if list == "*" {
            return Some(Tenants::Any);
        }
        let tenants: Vec<String> = list.split(',').map(|tenant| tenant.trim().to_ascii_lowercase()).collect();
        let good = tenants.iter().all(|tenant| is_guid(tenant));
        self.or_record(
            "ALLOWED_TENANTS",
            good.then_some(Tenants::Listed(tenants)).ok_or("is tenant ids, comma-separated, or *"),
        )
    }

    pub(super) fn client(&mut self, authority: Option<&Authority>) -> Option<Client> {
        let id = self.required("CLIENT_ID");
        let good = |id: &str| id.len() <= 255 && id.chars().all(|character| !character.is_control());
        let id = id.and_then(|id| {
            self.or_record("CLIENT_ID", if good(id) { Ok(id) } else { Err("is at most 255 bytes of text") })
        });
        let authentication = match (self.get("CLIENT_SECRET"), self.vars.get("IDENTITY_ENDPOINT")) {
            (Some(secret), _) => ClientAuthentication::Secret(secret.into()),
            (None, Some(_)) => {
                let identity = self.vars.get("AZURE_CLIENT_ID").map(str::to_owned);
                let Some(audience) = authority.map_or(Some(AUDIENCE), assertion_audience) else {
                    self.fault(
                        "CLIENT_SECRET",
                        "is required with this provider: a managed identity's token is for Entra",
                    );
                    return None;
                };
                ClientAuthentication::Assertion(Assertion::new(identity, audience, Arc::clone(&self.net)))
            }
            (None, None) => {
                self.fault("CLIENT_SECRET", "is required where there is no managed identity (IDENTITY_ENDPOINT)");
                return None;
            }
        };
        Some(Client { id: id?.to_owned(), authentication })
    }
}

/// The audience for Entra's public cloud, External ID included, and for an emulator on loopback. Nobody else may see
/// such a token: whoever holds it could use it at Entra.
fn assertion_audience(authority: &Authority) -> Option<&'static str> {
    let host = authority.url.host_str().unwrap_or_default();
    let listed = AUDIENCES.iter().find(|(of, _)| *of == host).map(|(_, audience)| *audience);
    let alike = host.ends_with(".ciamlogin.com") || is_loopback(&authority.url);
    listed.or_else(|| alike.then_some(AUDIENCE))
}
