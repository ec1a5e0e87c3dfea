//! Provider metadata (OpenID Connect Discovery 1.0, RFC 8414), and which issuers and tenants are accepted.

use url::Url;

use super::members::{self, Malformed, Members};
use crate::origin::{is_loopback, is_secure};
use crate::telemetry::loggable_code;

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
#[derive(Debug, Clone)]
pub struct Metadata {
    /// May contain the tenant template.
    pub issuer: String,
    pub authorization_endpoint: Url,
    pub token_endpoint: Url,
    pub jwks_uri: Url,
    pub end_session_endpoint: Option<Url>,
    /// Token revocation (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether callbacks carry `iss` (RFC 9207).
    pub authorization_response_iss_parameter_supported: bool,
    /// Which of its clouds this is. Only Entra sends it.
    pub cloud_instance_name: Option<String>,
    /// The first endpoint of the document, used or not, that is neither https nor on loopback.
    insecure_endpoint: Option<String>,
}

impl Metadata {
    /// Reads the metadata leniently where nothing depends on it (contract 7.4a).
    ///
    /// # Errors
    /// The required member that is missing or malformed.
    pub(super) fn read(mut document: Members) -> Result<Self, Malformed> {
        let insecure = |(name, text): (&str, &str)| {
            let is_endpoint = name.ends_with("_endpoint") || name == "jwks_uri";
            let url = Url::parse(text).ok().filter(|url| is_endpoint && url.has_host())?;
            (!is_secure(&url)).then(|| loggable_code(name))
        };
        let insecure_endpoint = document.texts().find_map(insecure);
        Ok(Self {
            insecure_endpoint,
            issuer: document.required("issuer", members::text)?,
            authorization_endpoint: document.required("authorization_endpoint", |url| members::url(&url))?,
            token_endpoint: document.required("token_endpoint", |url| members::url(&url))?,
            jwks_uri: document.required("jwks_uri", |url| members::url(&url))?,
            end_session_endpoint: document.optional("end_session_endpoint", |url| members::url(&url)),
            revocation_endpoint: document.optional("revocation_endpoint", |url| members::url(&url)),
            token_endpoint_auth_methods_supported: document
                .optional("token_endpoint_auth_methods_supported", members::texts),
            authorization_response_iss_parameter_supported: document
                .optional("authorization_response_iss_parameter_supported", |value| value.as_bool())
                .unwrap_or_default(),
            cloud_instance_name: document.optional("cloud_instance_name", members::text),
        })
    }

    /// The tenant that an issuer has where the metadata has the placeholder.
    fn tenant_of<'a>(&self, iss: &'a str) -> Option<&'a str> {
        let (before, after) = self.issuer.split_once(TENANT_TEMPLATE)?;
        iss.strip_prefix(before)?.strip_suffix(after)
    }

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
        self.compare(&metadata.issuer).map_err(|problem| format!("issuer: {problem}"))?;
        if let Some(name) = &metadata.insecure_endpoint {
            return Err(format!("{name}: neither https nor on loopback"));
        }
        let used = [
            ("authorization_endpoint", Some(&metadata.authorization_endpoint)),
            ("token_endpoint", Some(&metadata.token_endpoint)),
            ("jwks_uri", Some(&metadata.jwks_uri)),
            ("end_session_endpoint", metadata.end_session_endpoint.as_ref()),
            ("revocation_endpoint", metadata.revocation_endpoint.as_ref()),
        ];
        let is_local = is_loopback(&self.url);
        match used.into_iter().find(|(_, url)| url.is_some_and(|url| url.scheme() == "http" && !is_local)) {
            Some((name, _)) => Err(format!("{name}: on loopback, which the authority is not")),
            None => Ok(()),
        }
    }

    /// Whether this is the `issuer` of metadata that [`Self::validate`] accepts.
    #[must_use]
    pub fn is_issuer(&self, issuer: &str) -> bool {
        self.compare(issuer).is_ok()
    }

    /// Whether a user of this tenant can have signed in, as far as it does not depend on a list.
    #[must_use]
    pub fn takes_tenant(&self, tid: Option<&str>) -> bool {
        if let Tenants::One(tenant) = &self.tenants { tid == Some(tenant.as_str()) } else { true }
    }

    fn compare(&self, issuer: &str) -> Result<(), String> {
        let template = issuer.contains(TENANT_TEMPLATE);
        // Entra's issuer has the tenant's id where the authority may have a word such as `common`, so that only the
        // origins can be compared.
        let url = Url::parse(&issuer.replace(TENANT_TEMPLATE, "tenant")).ok();
        let same = url.as_ref().is_some_and(|url| without_slash(url) == without_slash(&self.url));
        let same_origin = url.is_some_and(|url| url.origin() == self.url.origin());
        match (&self.tenants, same, template) {
            (Tenants::Unchecked, true, false) => Ok(()),
            (Tenants::One(_), _, false) | (Tenants::Listed(_) | Tenants::Any, _, true) if same_origin => Ok(()),
            (Tenants::Unchecked, _, true) => Err("it has a tenant template: set CLOAKROOM_ALLOWED_TENANTS".to_owned()),
            (Tenants::Listed(_) | Tenants::Any, true, false) => {
                Err("it has no tenant template: remove CLOAKROOM_ALLOWED_TENANTS".to_owned())
            }
            _ => Err(format!("{issuer:?} is not the configured authority")),
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

    /// Whether `iss` is the issuer of tokens of a tenant that may sign in, where no `tid` says of which.
    #[must_use]
    pub fn accepts_issuer(&self, metadata: &Metadata, iss: &str) -> bool {
        let tid = match &self.tenants {
            Tenants::Unchecked => None,
            Tenants::One(tenant) => Some(tenant.as_str()),
            Tenants::Listed(_) | Tenants::Any => metadata.tenant_of(iss),
        };
        self.check_issuer(metadata, iss, tid).is_ok()
    }
}

/// The normalised URL without one trailing slash (contract 7.4b).
fn without_slash(url: &Url) -> &str {
    url.as_str().strip_suffix('/').unwrap_or(url.as_str())
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

    fn with(issuer: &str, more: &serde_json::Value) -> Metadata {
        let endpoint = "https://login.example/x";
        let mut document = serde_json::json!({
            "issuer": issuer, "authorization_endpoint": endpoint, "token_endpoint": endpoint, "jwks_uri": endpoint,
        });
        for (name, value) in more.as_object().unwrap() {
            document[name] = value.clone();
        }
        Metadata::read(serde_json::from_value(document).unwrap()).unwrap()
    }

    fn metadata(issuer: &str) -> Metadata {
        with(issuer, &serde_json::json!({}))
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

    /// Contract 7.4b.
    #[test]
    fn the_issuer_is_compared_with_the_authority_as_a_normalised_url() {
        let accepts = |configured: &str, issuer: &str| {
            authority(configured, Tenants::Unchecked).validate(&metadata(issuer)).is_ok()
        };
        for (configured, issuer) in [
            ("https://login.example", "https://login.example/"),
            ("https://login.example/", "https://login.example"),
            ("https://login.example/a", "https://login.example/a/"),
            ("https://login.example/a/", "https://login.example/a"),
            ("https://login.example/a", "HTTPS://Login.Example:443/a"),
            ("https://LOGIN.example:443/A", "https://login.example/A"),
            ("https://b\u{fc}cher.example/a", "https://xn--bcher-kva.example/a"),
        ] {
            assert!(accepts(configured, issuer), "{configured} {issuer}");
        }
        for (configured, issuer) in [
            ("https://login.example/a", "https://login.example/A"),
            ("https://login.example/a", "https://login.example/a//"),
            ("https://login.example/a", "http://login.example/a"),
            ("https://login.example/a", "https://login.example:8443/a"),
            ("https://login.example/a", "https://login.example/a?b"),
            ("https://login.example/a", "https://login.example/a#"),
            ("https://login.example/a", "https://user@login.example/a"),
            ("https://login.example/a", "https://login.example/a/b"),
            ("https://login.example/a", "login.example/a"),
        ] {
            assert!(!accepts(configured, issuer), "{configured} {issuer}");
        }
    }

    /// Contract 12.7.
    #[test]
    fn every_endpoint_must_be_https_or_on_loopback() {
        let problem = |configured: &str, name: &str, value: &str| {
            let metadata = with(configured, &serde_json::json!({name: value}));
            authority(configured, Tenants::Unchecked).validate(&metadata).err()
        };
        for name in ["token_endpoint", "jwks_uri", "end_session_endpoint", "userinfo_endpoint"] {
            let found = problem("https://login.example", name, "http://login.example/x").unwrap_or_default();
            assert!(found.starts_with(name), "{name}: {found}");
            assert_eq!(problem("https://login.example", name, "https://other.example/x"), None, "{name}");
            assert_eq!(problem("http://127.0.0.1", name, "http://127.0.0.1/x"), None, "{name}");
        }
        let elsewhere = problem("https://login.example", "token_endpoint", "http://127.0.0.1/x");
        assert!(elsewhere.is_some(), "http on loopback only for an authority on loopback");
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
        let accepts = |of: &Authority, metadata: &Metadata, iss: &str| of.accepts_issuer(metadata, iss);
        assert!(accepts(&listed, &template, &iss(TENANT)) && accepts(&any, &template, &iss(OTHER)));
        assert!(accepts(&one, &metadata(&iss(TENANT)), &iss(TENANT)));
        for bad in [&iss(OTHER), "https://login.example/{tenantid}/v2.0", "https://login.example/v2.0", TENANT, ""] {
            assert!(!accepts(&listed, &template, bad), "{bad}");
            assert!(!accepts(&one, &metadata(&iss(TENANT)), bad), "{bad}");
        }
        assert!(!accepts(&any, &template, &iss("any-tenant")));
        let plain = authority("https://login.example", Tenants::Unchecked);
        assert!(accepts(&plain, &metadata("https://login.example"), "https://login.example"));
        assert!(!accepts(&plain, &metadata("https://login.example"), "https://login.example/"));
        assert_eq!(
            plain.check_issuer(&metadata("https://login.example"), "https://login.example", Some("anything")),
            Ok(())
        );
    }
}
