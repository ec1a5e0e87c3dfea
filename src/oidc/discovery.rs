//! Provider metadata (OpenID Connect Discovery 1.0, RFC 8414) and which issuer a token may name.

use serde::Deserialize;
use url::Url;

use crate::origin::{is_loopback, is_secure};

/// Stands for the tenant in Entra's multi-tenant issuers.
pub(super) const TENANT_TEMPLATE: &str = "{tenantid}";

/// The provider as configured.
#[derive(Debug, Clone)]
pub struct Authority {
    /// Where discovery starts, without the well-known suffix.
    pub url: Url,
    /// Whose users may sign in.
    pub tenants: Tenants,
}

/// Which tenants may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tenants {
    /// `tid` is a plain claim: any OpenID Connect provider.
    Unchecked,
    /// Exactly this tenant of Entra.
    One(String),
    /// Only these.
    Listed(Vec<String>),
    /// Everybody, on purpose.
    Any,
}

/// What the gateway uses of the provider's metadata.
#[derive(Debug, Clone, Deserialize)]
pub struct Metadata {
    /// Names the provider in every token; may hold a template.
    pub issuer: String,
    /// Where the browser signs in.
    pub authorization_endpoint: Url,
    /// Where codes are redeemed.
    pub token_endpoint: Url,
    /// Where the signing keys are.
    pub jwks_uri: Url,
    /// Where the browser signs out.
    #[serde(default)]
    pub end_session_endpoint: Option<Url>,
    /// Where refresh tokens are revoked (RFC 7009).
    #[serde(default)]
    pub revocation_endpoint: Option<Url>,
    /// How the client proves itself; absent means `client_secret_basic`.
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether callbacks carry `iss` (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
    /// Which of its clouds this is: only Entra says so.
    #[serde(default)]
    pub cloud_instance_name: Option<String>,
}

impl Metadata {
    /// Whether the provider wants to hear that the client answers claims challenges (`cp1`): Entra does.
    #[must_use]
    pub const fn takes_capabilities(&self) -> bool {
        self.cloud_instance_name.is_some()
    }
}

impl Authority {
    /// The address of the metadata.
    #[must_use]
    pub fn discovery_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.url.as_str().trim_end_matches('/'))
    }

    /// Whether metadata found there may be used.
    ///
    /// # Errors
    /// What is wrong with it, for the log.
    pub fn accept(&self, metadata: &Metadata) -> Result<(), String> {
        let configured = self.url.as_str().trim_end_matches('/');
        let same = metadata.issuer.trim_end_matches('/') == configured;
        let template = metadata.issuer.contains(TENANT_TEMPLATE);
        // Where the issuer names the tenant by its id, the authority may do so by a word: the rest is the same.
        let issuer = Url::parse(&metadata.issuer.replace(TENANT_TEMPLATE, "tenant"));
        let at_home = issuer.is_ok_and(|issuer| issuer.origin() == self.url.origin());
        match (&self.tenants, same, template) {
            (Tenants::Unchecked, true, false) => {}
            (Tenants::One(_), _, false) | (Tenants::Listed(_) | Tenants::Any, _, true) if at_home => {}
            (Tenants::Unchecked, _, true) => {
                return Err("its issuer is a template: set CLOAKROOM_ALLOWED_TENANTS".to_owned());
            }
            (Tenants::Listed(_) | Tenants::Any, true, false) => {
                return Err("its issuer is no template: CLOAKROOM_ALLOWED_TENANTS does not go with it".to_owned());
            }
            _ => return Err(format!("its issuer {:?} is not the configured authority", metadata.issuer)),
        }
        let endpoints = [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri];
        let optional = [&metadata.end_session_endpoint, &metadata.revocation_endpoint].into_iter().flatten();
        let mut all = endpoints.into_iter().chain(optional);
        match all.find(|url| !is_secure(url) || (url.scheme() == "http" && !is_loopback(&self.url))) {
            Some(url) => Err(format!("it names {url}, which is neither https nor on loopback")),
            None => Ok(()),
        }
    }

    /// Whether an ID token's `iss` and `tid` are those of a tenant that may sign in.
    #[must_use]
    pub fn admits(&self, metadata: &Metadata, iss: &str, tid: Option<&str>) -> Admission {
        let agrees = |tid: &str| metadata.issuer.replace(TENANT_TEMPLATE, tid) == iss;
        match (&self.tenants, tid) {
            (Tenants::Unchecked, _) if metadata.issuer == iss => Admission::Admitted,
            (Tenants::One(tenant), Some(tid)) if agrees(tid) && tid == tenant => Admission::Admitted,
            (Tenants::Any, Some(tid)) if is_guid(tid) && agrees(tid) => Admission::Admitted,
            (Tenants::Listed(tenants), Some(tid)) if is_guid(tid) && agrees(tid) => {
                if tenants.iter().any(|tenant| tenant == tid) { Admission::Admitted } else { Admission::OtherTenant }
            }
            _ => Admission::WrongIssuer,
        }
    }
}

/// What a token's issuer and tenant amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// They may sign in.
    Admitted,
    /// A genuine user of a tenant that is not allowed.
    OtherTenant,
    /// Not a token of this provider.
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
        assert!(one.accept(&metadata("https://login.example/realm")).is_ok());
        assert!(one.accept(&metadata("https://evil.example/realm")).is_err());
        assert!(one.accept(&metadata("https://login.example/{tenantid}/v2.0")).is_err(), "a template wants a list");
    }

    #[test]
    fn an_issuer_that_names_the_tenant_is_at_the_authority_too() {
        let listed = authority("https://login.example/common/v2.0", Tenants::Any);
        assert!(listed.accept(&metadata("https://login.example/{tenantid}/v2.0")).is_ok());
        assert!(listed.accept(&metadata("https://evil.example/{tenantid}/v2.0")).is_err());
        assert!(listed.accept(&metadata("https://login.example/common/v2.0")).is_err(), "no template");
        let one = authority("https://login.example/consumers/v2.0", Tenants::One(TENANT.to_owned()));
        assert!(one.accept(&metadata(&format!("https://login.example/{TENANT}/v2.0"))).is_ok());
        assert!(one.accept(&metadata(&format!("https://evil.example/{TENANT}/v2.0"))).is_err());
        assert!(one.accept(&metadata("https://login.example/{tenantid}/v2.0")).is_err());
    }

    #[test]
    fn endpoints_must_be_secure() {
        let one = authority("https://login.example", Tenants::Unchecked);
        let mut plain = metadata("https://login.example");
        plain.token_endpoint = Url::parse("http://login.example/token").unwrap();
        assert!(one.accept(&plain).is_err());
        plain.token_endpoint = Url::parse("http://127.0.0.1/token").unwrap();
        assert!(one.accept(&plain).is_err(), "loopback serves an authority on loopback only");
    }

    #[test]
    fn issuer_and_tenant_must_agree_and_be_allowed() {
        use Admission::{Admitted, OtherTenant, WrongIssuer};
        let template = metadata("https://login.example/{tenantid}/v2.0");
        let listed = authority("https://login.example/common/v2.0", Tenants::Listed(vec![TENANT.to_owned()]));
        let iss = |tenant: &str| format!("https://login.example/{tenant}/v2.0");
        assert_eq!(listed.admits(&template, &iss(TENANT), Some(TENANT)), Admitted);
        assert_eq!(listed.admits(&template, &iss(OTHER), Some(OTHER)), OtherTenant);
        assert_eq!(listed.admits(&template, &iss(OTHER), Some(TENANT)), WrongIssuer);
        assert_eq!(listed.admits(&template, &iss(TENANT), None), WrongIssuer);
        assert_eq!(listed.admits(&template, "https://login.example/{tenantid}/v2.0", Some("{tenantid}")), WrongIssuer);
        let any = authority("https://login.example/common/v2.0", Tenants::Any);
        assert_eq!(any.admits(&template, &iss(OTHER), Some(OTHER)), Admitted);
        let one = authority("https://login.example/t/v2.0", Tenants::One(TENANT.to_owned()));
        assert_eq!(one.admits(&metadata(&iss(TENANT)), &iss(TENANT), Some(TENANT)), Admitted);
        assert_eq!(one.admits(&metadata(&iss(TENANT)), &iss(TENANT), Some(OTHER)), WrongIssuer);
        let plain = authority("https://login.example", Tenants::Unchecked);
        assert_eq!(
            plain.admits(&metadata("https://login.example"), "https://login.example", Some("anything")),
            Admitted
        );
    }
}
