//! Provider metadata (OpenID Connect Discovery 1.0, RFC 8414), and which issuers and tenants are accepted.

use serde::Deserialize;
use url::Url;

use crate::origin::{is_loopback, is_secure};

/// The placeholder for the tenant in Entra's multi-tenant issuers.
pub(super) const TENANT_TEMPLATE: &str = "{tenantid}";

/// The provider as configured.
#[derive(Debug, Clone)]
pub struct Authority {
    /// The discovery URL without the well-known suffix.
    pub url: Url,
    pub tenants: Tenants,
}

/// Which tenants may sign in (contract 7.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// Not Entra: `tid` is an ordinary claim.
    Unchecked,
    /// This tenant of Entra only.
    One(String),
    /// Any of these tenants of Entra.
    Listed(Vec<String>),
    /// Every tenant of Entra.
    Any,
}

/// The members of the provider's metadata that are used.
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    /// May contain the tenant template.
    pub issuer: String,
    pub authorization_endpoint: Url,
    pub token_endpoint: Url,
    pub jwks_uri: Url,
    #[serde(default)]
    pub end_session_endpoint: Option<Url>,
    /// Token revocation (RFC 7009).
    #[serde(default)]
    pub revocation_endpoint: Option<Url>,
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether callbacks carry `iss` (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
    /// Which of its clouds this is. Only Entra sends it.
    #[serde(default)]
    pub cloud_instance_name: Option<String>,
}

impl Metadata {
    /// Whether the client declares to the provider that it handles claims challenges (`cp1`). Only Entra understands
    /// that.
    #[must_use]
    pub const fn takes_capabilities(&self) -> bool {
        self.cloud_instance_name.is_some()
    }
}

impl Authority {
    #[must_use]
    pub fn discovery_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.url.as_str().trim_end_matches('/'))
    }

    /// Checks that metadata belongs to this authority and that its endpoints are secure.
    ///
    /// # Errors
    /// What is wrong with it, for the log.
    pub fn validate(&self, metadata: &Metadata) -> Result<(), String> {
        let configured = self.url.as_str().trim_end_matches('/');
        let same = metadata.issuer.trim_end_matches('/') == configured;
        let template = metadata.issuer.contains(TENANT_TEMPLATE);
        // Entra's issuer has the tenant's id where the authority may have a word such as `common`, so that only the
        // origins can be compared.
        let issuer = Url::parse(&metadata.issuer.replace(TENANT_TEMPLATE, "tenant"));
        let same_origin = issuer.is_ok_and(|issuer| issuer.origin() == self.url.origin());
        match (&self.tenants, same, template) {
            (Tenants::Unchecked, true, false) => {}
            (Tenants::One(_), _, false) | (Tenants::Listed(_) | Tenants::Any, _, true) if same_origin => {}
            (Tenants::Unchecked, _, true) => {
                return Err("the issuer has a tenant template: set CLOAKROOM_ALLOWED_TENANTS".to_owned());
            }
            (Tenants::Listed(_) | Tenants::Any, true, false) => {
                return Err("the issuer has no tenant template: remove CLOAKROOM_ALLOWED_TENANTS".to_owned());
            }
            _ => return Err(format!("the issuer {:?} is not the configured authority", metadata.issuer)),
        }
        let endpoints = [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri];
        let optional = [&metadata.end_session_endpoint, &metadata.revocation_endpoint].into_iter().flatten();
        let mut all = endpoints.into_iter().chain(optional);
        match all.find(|url| !is_secure(url) || (url.scheme() == "http" && !is_loopback(&self.url))) {
            Some(url) => Err(format!("the endpoint {url} is neither https nor on loopback")),
            None => Ok(()),
        }
    }

    /// Checks that the `iss` and `tid` of a token are those of the provider and of a tenant that may sign in.
    ///
    /// # Errors
    /// [`IssuerError`].
    pub fn check_issuer(&self, metadata: &Metadata, iss: &str, tid: Option<&str>) -> Result<(), IssuerError> {
        let agrees = |tid: &str| metadata.issuer.replace(TENANT_TEMPLATE, tid) == iss;
        match (&self.tenants, tid) {
            (Tenants::Unchecked, _) if metadata.issuer == iss => Ok(()),
            (Tenants::One(tenant), Some(tid)) if agrees(tid) && tid == tenant => Ok(()),
            (Tenants::Any, Some(tid)) if is_guid(tid) && agrees(tid) => Ok(()),
            (Tenants::Listed(tenants), Some(tid)) if is_guid(tid) && agrees(tid) => {
                if tenants.iter().any(|tenant| tenant == tid) { Ok(()) } else { Err(IssuerError::OtherTenant) }
            }
            _ => Err(IssuerError::WrongIssuer),
        }
    }
}

/// Why issuer and tenant of a token are rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerError {
    /// A token of the provider for a tenant that may not sign in.
    OtherTenant,
    /// Not a token of this provider, or `iss` and `tid` disagree.
    WrongIssuer,
}

/// Whether a text is a GUID in the form that Entra writes.
#[must_use]
pub fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";
    const OTHER: &str = "99999999-2222-3333-4444-555555555555";

    fn authority(url: &str, tenants: Tenants) -> Authority {
        Authority { url: Url::parse(url).unwrap(), tenants }
    }

    fn metadata(issuer: &str) -> Metadata {
        let endpoint = Url::parse("https://login.example/x").unwrap();
        Metadata {
            issuer: issuer.to_owned(),
            authorization_endpoint: endpoint.clone(),
            token_endpoint: endpoint.clone(),
            jwks_uri: endpoint,
            end_session_endpoint: None,
            revocation_endpoint: None,
            token_endpoint_auth_methods_supported: None,
            authorization_response_iss_parameter_supported: false,
            cloud_instance_name: None,
        }
    }

    #[test]
    fn the_issuer_must_be_the_authority() {
        let one = authority("https://login.example/realm", Tenants::Unchecked);
        assert_eq!(one.discovery_url(), "https://login.example/realm/.well-known/openid-configuration");
        assert!(one.validate(&metadata("https://login.example/realm")).is_ok());
        assert!(one.validate(&metadata("https://evil.example/realm")).is_err());
        assert!(
            one.validate(&metadata("https://login.example/{tenantid}/v2.0")).is_err(),
            "a template needs a list of tenants"
        );
    }

    #[test]
    fn a_multi_tenant_issuer_must_have_the_authoritys_origin() {
        let listed = authority("https://login.example/common/v2.0", Tenants::Any);
        assert!(listed.validate(&metadata("https://login.example/{tenantid}/v2.0")).is_ok());
        assert!(listed.validate(&metadata("https://evil.example/{tenantid}/v2.0")).is_err());
        assert!(listed.validate(&metadata("https://login.example/common/v2.0")).is_err(), "no template");
        let one = authority("https://login.example/consumers/v2.0", Tenants::One(TENANT.to_owned()));
        assert!(one.validate(&metadata(&format!("https://login.example/{TENANT}/v2.0"))).is_ok());
        assert!(one.validate(&metadata(&format!("https://evil.example/{TENANT}/v2.0"))).is_err());
        assert!(one.validate(&metadata("https://login.example/{tenantid}/v2.0")).is_err());
    }

    #[test]
    fn endpoints_must_be_secure() {
        let one = authority("https://login.example", Tenants::Unchecked);
        let mut plain = metadata("https://login.example");
        plain.token_endpoint = Url::parse("http://login.example/token").unwrap();
        assert!(one.validate(&plain).is_err());
        plain.token_endpoint = Url::parse("http://127.0.0.1/token").unwrap();
        assert!(one.validate(&plain).is_err(), "http on loopback only for an authority on loopback");
    }

    #[test]
    fn issuer_and_tenant_must_agree_and_be_allowed() {
        use IssuerError::{OtherTenant, WrongIssuer};
        let template = metadata("https://login.example/{tenantid}/v2.0");
        let listed = authority("https://login.example/common/v2.0", Tenants::Listed(vec![TENANT.to_owned()]));
        let iss = |tenant: &str| format!("https://login.example/{tenant}/v2.0");
        assert_eq!(listed.check_issuer(&template, &iss(TENANT), Some(TENANT)), Ok(()));
        assert_eq!(listed.check_issuer(&template, &iss(OTHER), Some(OTHER)), Err(OtherTenant));
        assert_eq!(listed.check_issuer(&template, &iss(OTHER), Some(TENANT)), Err(WrongIssuer));
        assert_eq!(listed.check_issuer(&template, &iss(TENANT), None), Err(WrongIssuer));
        assert_eq!(
            listed.check_issuer(&template, "https://login.example/{tenantid}/v2.0", Some("{tenantid}")),
            Err(WrongIssuer)
        );
        let any = authority("https://login.example/common/v2.0", Tenants::Any);
        assert_eq!(any.check_issuer(&template, &iss(OTHER), Some(OTHER)), Ok(()));
        let one = authority("https://login.example/t/v2.0", Tenants::One(TENANT.to_owned()));
        assert_eq!(one.check_issuer(&metadata(&iss(TENANT)), &iss(TENANT), Some(TENANT)), Ok(()));
        assert_eq!(one.check_issuer(&metadata(&iss(TENANT)), &iss(TENANT), Some(OTHER)), Err(WrongIssuer));
        let plain = authority("https://login.example", Tenants::Unchecked);
        assert_eq!(
            plain.check_issuer(&metadata("https://login.example"), "https://login.example", Some("anything")),
            Ok(())
        );
    }
}
