use serde_json::{Value, json};

use crate::web::jwt::SigningKey;

/// A provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brand {
    EntraId,
    ExternalId,
    /// Azure AD B2C, the predecessor of External ID.
    B2c,
    Keycloak,
    Okta,
    Auth0,
    Cognito,
    Google,
}

/// The paths of the endpoints.
pub(super) struct Paths {
    pub(super) authorize: String,
    pub(super) token: String,
    pub(super) keys: String,
    pub(super) end_session: Option<String>,
    pub(super) revoke: Option<String>,
}

/// How a provider treats a requested scope that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownScope {
    /// A page of its own with this text.
    Page(&'static str),
    /// `error=invalid_scope` at the callback.
    Error,
    /// It is left out.
    Ignored,
}

impl Brand {
    /// The registered scope of the API, as a request spells it.
    pub(super) const fn api_scope(self) -> &'static str {
        match self {
            Self::EntraId | Self::ExternalId => "api://orders/Orders.Read",
            Self::B2c => "https://contoso.onmicrosoft.com/orders/Orders.Read",
            Self::Keycloak | Self::Okta => "orders.read",
            Self::Auth0 => "read:orders",
            Self::Cognito => "https://orders.contoso.example/orders.read",
            Self::Google => "https://www.googleapis.com/auth/calendar.readonly",
        }
    }

    /// The scopes of OpenID Connect that exist.
    pub(super) const fn openid_scopes(self) -> &'static [&'static str] {
        match self {
            Self::Cognito | Self::Google => &["openid", "profile", "email"],
            Self::B2c => &["openid", "offline_access"],
            _ => &["openid", "profile", "email", "offline_access"],
        }
    }

    pub(super) const fn unknown_scope(self) -> UnknownScope {
        match self {
            Self::EntraId | Self::ExternalId => UnknownScope::Page("AADSTS70011: the scope is not valid"),
            Self::Google => UnknownScope::Page("Error 400: invalid_scope"),
            Self::Auth0 => UnknownScope::Ignored,
            Self::B2c | Self::Keycloak | Self::Okta | Self::Cognito => UnknownScope::Error,
        }
    }

    /// Auth0: the identifier of the API, without which access tokens are for its own `userinfo` alone.
    pub(super) const fn required_audience(self) -> Option<&'static str> {
        match self {
            Self::Auth0 => Some("https://orders.contoso.example"),
            _ => None,
        }
    }

    pub(super) const fn is_microsoft(self) -> bool {
        matches!(self, Self::EntraId | Self::ExternalId | Self::B2c)
    }

    /// Whether authorization responses have `iss` (RFC 9207).
    pub(super) const fn has_iss(self) -> bool {
        matches!(self, Self::Keycloak)
    }

    pub(super) fn paths(self, issuer_path: &str) -> Paths {
        let path = |base: &str, rest: &str| format!("{base}{rest}");
        match self {
            Self::EntraId | Self::ExternalId | Self::B2c => {
                let tenant = issuer_path.trim_end_matches('/').trim_end_matches("/v2.0");
                // B2C's issuer is for each policy (`/tfp/{tenant}/{policy}`), its endpoints have the tenant's name.
                let policy = tenant.rsplit('/').next().unwrap_or_default();
                let named = format!("/contoso.onmicrosoft.com/{policy}");
                let base = if self == Self::B2c { named.as_str() } else { tenant };
                Paths {
                    authorize: path(base, "/oauth2/v2.0/authorize"),
                    token: path(base, "/oauth2/v2.0/token"),
                    keys: path(base, "/discovery/v2.0/keys"),
                    end_session: Some(path(base, "/oauth2/v2.0/logout")),
                    revoke: None,
                }
            }
            Self::Keycloak => {
                let base = path(issuer_path, "/protocol/openid-connect");
                Paths {
                    authorize: path(&base, "/auth"),
                    token: path(&base, "/token"),
                    keys: path(&base, "/certs"),
                    end_session: Some(path(&base, "/logout")),
                    revoke: Some(path(&base, "/revoke")),
                }
            }
            Self::Okta => Paths {
                authorize: path(issuer_path, "/v1/authorize"),
                token: path(issuer_path, "/v1/token"),
                keys: path(issuer_path, "/v1/keys"),
                end_session: Some(path(issuer_path, "/v1/logout")),
                revoke: Some(path(issuer_path, "/v1/revoke")),
            },
            Self::Auth0 => Paths {
                authorize: "/authorize".to_owned(),
                token: "/oauth/token".to_owned(),
                keys: "/.well-known/jwks.json".to_owned(),
                end_session: Some("/oidc/logout".to_owned()),
                revoke: Some("/oauth/revoke".to_owned()),
            },
            Self::Cognito => Paths {
                authorize: "/oauth2/authorize".to_owned(),
                token: "/oauth2/token".to_owned(),
                keys: path(issuer_path, "/.well-known/jwks.json"),
                end_session: Some("/logout".to_owned()),
                revoke: Some("/oauth2/revoke".to_owned()),
            },
            Self::Google => Paths {
                authorize: "/o/oauth2/v2/auth".to_owned(),
                token: "/token".to_owned(),
                keys: "/oauth2/v3/certs".to_owned(),
                end_session: None,
                revoke: Some("/revoke".to_owned()),
            },
        }
    }

    /// External ID and B2C serve their documents by the tenant's name too, with the same issuer in them.
    pub(super) fn is_other_discovery(self, path: &str) -> bool {
        let named = path.strip_prefix("/contoso.onmicrosoft.com");
        let policy = if self == Self::B2c { "/B2C_1_signin" } else { "" };
        let has_name = matches!(self, Self::ExternalId | Self::B2c);
        has_name && named == Some(&*format!("{policy}/v2.0/.well-known/openid-configuration"))
    }

    /// Auth0's older endpoint, which is not in its metadata.
    pub(super) fn is_other_end_session(self, path: &str) -> bool {
        self == Self::Auth0 && path == "/v2/logout"
    }

    pub(super) fn metadata(self, origin: &str, issuer: &str, paths: &Paths) -> Value {
        let url = |path: &String| format!("{origin}{path}");
        let mut document = json!({
            "issuer": issuer,
            "authorization_endpoint": url(&paths.authorize),
            "token_endpoint": url(&paths.token),
            "jwks_uri": url(&paths.keys),
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "scopes_supported": self.openid_scopes(),
        });
        for (name, path) in [("end_session_endpoint", &paths.end_session), ("revocation_endpoint", &paths.revoke)] {
            if let Some(path) = path {
                document[name] = url(path).into();
            }
        }
        for (name, value) in self.more_metadata(origin).as_object().into_iter().flatten() {
            document[name] = value.clone();
        }
        document
    }

    /// What each adds to, or spells otherwise in, its metadata.
    fn more_metadata(self, origin: &str) -> Value {
        match self {
            Self::EntraId | Self::ExternalId => json!({
                "token_endpoint_auth_methods_supported":
                    ["client_secret_post", "private_key_jwt", "client_secret_basic", "self_signed_tls_client_auth"],
                "response_modes_supported": ["query", "fragment", "form_post"],
                "subject_types_supported": ["pairwise"],
                "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
                "request_uri_parameter_supported": false,
                "http_logout_supported": true,
                "frontchannel_logout_supported": true,
                "tenant_region_scope": "EU",
                "cloud_instance_name": "microsoftonline.com",
                "kerberos_endpoint": format!("{origin}/kerberos"),
            }),
            Self::B2c => json!({
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "response_modes_supported": ["query", "fragment", "form_post"],
                "claims_supported": ["name", "emails", "oid", "sub", "auth_time", "iss", "iat", "exp", "aud"],
            }),
            Self::Keycloak => json!({
                "token_endpoint_auth_methods_supported":
                    ["private_key_jwt", "client_secret_basic", "client_secret_post", "tls_client_auth",
                     "client_secret_jwt"],
                "authorization_response_iss_parameter_supported": true,
                "prompt_values_supported": ["none", "login", "consent"],
                "check_session_iframe": format!("{origin}/login-status-iframe.html"),
                "mtls_endpoint_aliases": {"token_endpoint": format!("{origin}/token")},
                "tls_client_certificate_bound_access_tokens": true,
                "acr_values_supported": ["0", "1"],
            }),
            Self::Okta => json!({
                "token_endpoint_auth_methods_supported":
                    ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"],
                "registration_endpoint": format!("{origin}/oauth2/v1/clients"),
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "dpop_signing_alg_values_supported": ["RS256", "ES256"],
            }),
            Self::Auth0 => json!({
                "token_endpoint_auth_methods_supported":
                    ["client_secret_basic", "client_secret_post", "private_key_jwt"],
                "id_token_signing_alg_values_supported": ["HS256", "RS256", "PS256"],
                "mfa_challenge_endpoint": format!("{origin}/mfa/challenge"),
                "backchannel_logout_supported": true,
                "request_uri_parameter_supported": false,
            }),
            Self::Cognito | Self::Google => json!({
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "userinfo_endpoint": format!("{origin}/userInfo"),
            }),
        }
    }

    pub(super) fn key_set(self, key: &SigningKey) -> Value {
        let mut jwk = key.jwk();
        let mut others = Vec::new();
        match self {
            Self::EntraId | Self::ExternalId => jwk["x5c"] = json!(["MIIC"]),
            Self::Keycloak => {
                jwk["alg"] = "RS256".into();
                jwk["x5t#S256"] = "c29tZQ".into();
                others.push(
                    json!({"kid": "enc", "kty": "RSA", "alg": "RSA-OAEP", "use": "enc", "n": jwk["n"], "e": "AQAB"}),
                );
            }
            _ => {
                jwk["alg"] = "RS256".into();
                _ = jwk.as_object_mut().and_then(|jwk| jwk.remove("x5t"));
            }
        }
        others.push(jwk);
        json!({"keys": others})
    }
}
