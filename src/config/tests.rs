use super::*;
use crate::oidc::client::{ClientAuthentication, SecretMethod};
use crate::secret::ExposeSecret;

const GOOD: [(&str, &str); 5] = [
    ("CLOAKROOM_AUTHORITY", "https://login.example/realm"),
    ("CLOAKROOM_CLIENT_ID", "app"),
    ("CLOAKROOM_CLIENT_SECRET", "CANARY-secret"),
    ("CLOAKROOM_PUBLIC_ORIGIN", "https://app.example.org"),
    ("CLOAKROOM_ENC_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
];

/// Parses the good settings with some replaced, or left out by an empty value.
fn parse(changes: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let vars = GOOD.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::from_vars(&vars)
}

/// Name and problem of the only error.
fn error(changes: &[(&str, &str)]) -> String {
    let errors = parse(changes).unwrap_err();
    assert_eq!(errors.0.len(), 1, "{errors}");
    format!("{} {}", errors.0[0].name, errors.0[0].problem)
}

#[test]
fn an_empty_environment_reports_everything_that_is_required_at_once() {
    let errors = Config::from_vars(&Vars::default()).unwrap_err();
    let names: Vec<&str> = errors.0.iter().map(|error| error.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "CLOAKROOM_PUBLIC_ORIGIN",
            "CLOAKROOM_KEY_VAULT_URL",
            "CLOAKROOM_TENANT_ID",
            "CLOAKROOM_CLIENT_ID",
            "CLOAKROOM_CLIENT_SECRET"
        ]
    );
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = parse(&[]).unwrap();
    assert_eq!(config.cookies.name, "__Host-Http-cloakroom");
    assert_eq!(config.cookies.budget, 7_000);
    assert_eq!(config.sessions.idle, Duration::from_secs(1_800));
    assert_eq!(config.sessions.max, Duration::from_secs(28_800));
    assert_eq!(config.cookies.persistence, cookie::Persistence::Off);
    assert_eq!(config.keys.refresh, Duration::from_secs(300));
    assert_eq!(config.keys.parameters.propagation, Duration::from_secs(900));
    assert_eq!(config.keys.parameters.retention, Duration::from_secs(29_100));
    assert_eq!(config.auth.scopes, ["openid", "profile", "email", "offline_access"]);
    assert!(config.apis.get("graph").is_some());
}

/// Contract 17.4 to 17.6: what applies depends on who connects.
#[test]
fn threads_and_limits_have_other_defaults_outside_functions() {
    let functions = parse(&[("FUNCTIONS_CUSTOMHANDLER_PORT", "3000")]).unwrap().listen;
    assert_eq!((functions.threads.get(), functions.limits.all), (1, 90));
    let standalone = parse(&[("CLOAKROOM_LISTEN", "0.0.0.0:8080")]).unwrap().listen;
    assert_eq!(Ok(standalone.threads), std::thread::available_parallelism().map_err(|error| error.kind()));
    assert_eq!((standalone.limits.all, standalone.drain_delay), (1_000, Duration::ZERO));
}

#[test]
fn settings_without_effect_under_functions_are_warnings() {
    for (name, value) in [("CLOAKROOM_DRAIN_DELAY", "5s"), ("CLOAKROOM_KEY_ROTATE", "off")] {
        let warnings = parse(&[("FUNCTIONS_CUSTOMHANDLER_PORT", "3000"), (name, value)]).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].starts_with(&format!("{name}: has no effect")), "{warnings:?}");
        assert!(parse(&[("CLOAKROOM_LISTEN", "0.0.0.0:8080"), (name, value)]).unwrap().warnings.is_empty(), "{name}");
    }
}

/// Contract 16.11.
#[test]
fn sessions_outlast_the_browser_where_the_setting_says_so() {
    for (value, expected) in
        [("off", cookie::Persistence::Off), ("on", cookie::Persistence::On), ("ask", cookie::Persistence::Ask)]
    {
        let config = parse(&[("CLOAKROOM_SESSION_PERSIST", value)]).unwrap();
        assert_eq!(config.cookies.persistence, expected, "{value}");
    }
}

/// Contract 16.5: the name of the revocation list's secret is longer, and Key Vault allows 127 characters.
#[test]
fn the_name_of_the_keys_leaves_room_for_that_of_the_revocation_list() {
    let vault = ("CLOAKROOM_KEY_VAULT_URL", "https://v.vault.azure.net");
    let with_name = |name: &str| parse(&[("CLOAKROOM_ENC_KEY", ""), vault, ("CLOAKROOM_KEY_NAME", name)]);
    assert!(with_name(&"k".repeat(115)).is_ok());
    let errors = with_name(&"k".repeat(116)).unwrap_err();
    assert_eq!(errors.0[0].problem, "must be 1 to 115 letters, digits and hyphens");
}

/// The documentation shows the defaults of the table: each is what the parser uses.
#[test]
fn a_setting_that_has_its_documented_default_changes_nothing() {
    let base = [
        ("CLOAKROOM_AUTHORITY", ""),
        ("CLOAKROOM_TENANT_ID", "11111111-2222-3333-4444-555555555555"),
        ("CLOAKROOM_ENC_KEY", ""),
        ("CLOAKROOM_KEY_VAULT_URL", "https://vault.example"),
    ];
    let show = |changes: &[(&str, &str)]| format!("{:#?}", parse(&[&base, changes].concat()).unwrap());
    let mut compared = 0;
    for setting in SETTINGS {
        if let settings::DefaultValue::Text(text) = setting.default {
            assert_eq!(show(&[(&format!("{PREFIX}{}", setting.name), text)]), show(&[]), "{}={text}", setting.name);
            compared += 1;
        }
    }
    assert!(compared > 15, "{compared}");
}

/// With another value than the default each of them changes something, so that the comparison above can fail.
#[test]
fn a_setting_that_has_another_value_changes_the_configuration() {
    for (name, value) in [("KEY_REFRESH", "4m"), ("SESSION_IDLE", "29m"), ("LOG", "warn"), ("COOKIE_NAME", "x")] {
        let changed = parse(&[(&format!("{PREFIX}{name}"), value)]).unwrap();
        assert_ne!(format!("{changed:?}"), format!("{:?}", parse(&[]).unwrap()), "{name}");
    }
}

#[test]
fn debug_does_not_leak_secrets() {
    let text = format!("{:?}", parse(&[]).unwrap());
    assert!(!text.contains("CANARY"), "{text}");
    assert!(!text.contains("AAAAAAAA"), "{text}");
}

#[test]
fn unknown_settings_are_errors() {
    assert!(error(&[("CLOAKROOM_CLIENT_SECRETT", "x")]).starts_with("CLOAKROOM_CLIENT_SECRETT is an unknown setting"));
    assert!(parse(&[("CLOAKROOM_STORE", "cookie"), ("CLOAKROOM_KEY_VAULT_URL", "")]).is_ok());
}

#[test]
fn invalid_and_conflicting_settings_are_errors() {
    for (name, value, expected) in [
        ("CLOAKROOM_KEY_FILE", "/keys.json", "CLOAKROOM_ENC_KEY"),
        ("CLOAKROOM_TENANT_ID", "common", "CLOAKROOM_TENANT_ID"),
        ("CLOAKROOM_SESSION_IDLE", "9h", "CLOAKROOM_SESSION_IDLE"),
        ("CLOAKROOM_KEY_REFRESH", "6m", "CLOAKROOM_KEY_PROPAGATION"),
        ("CLOAKROOM_PUBLIC_ORIGIN", "http://app.example.org", "CLOAKROOM_PUBLIC_ORIGIN"),
        ("CLOAKROOM_COOKIE_DOMAIN", "other.org", "CLOAKROOM_COOKIE_DOMAIN"),
        ("CLOAKROOM_COOKIE_DOMAIN", "org", "CLOAKROOM_COOKIE_DOMAIN"),
        ("CLOAKROOM_COOKIE_NAME", "__Host-x", "CLOAKROOM_COOKIE_NAME"),
        ("CLOAKROOM_COOKIE_NAME", "a b", "CLOAKROOM_COOKIE_NAME"),
        ("CLOAKROOM_COOKIE_NAME", "app-1", "CLOAKROOM_COOKIE_NAME"),
        ("CLOAKROOM_COOKIE_NAME", "app-3", "CLOAKROOM_COOKIE_NAME"),
        ("CLOAKROOM_COOKIE_NAME", "app-id", "CLOAKROOM_COOKIE_NAME"),
        ("CLOAKROOM_COOKIE_NAME", "app-login-x", "CLOAKROOM_COOKIE_NAME"),
        ("CLOAKROOM_RETURN_URI", "https://evil.example/", "CLOAKROOM_RETURN_URI"),
        ("CLOAKROOM_RETURN_URI", "/auth/login", "CLOAKROOM_RETURN_URI"),
        ("CLOAKROOM_ALLOWED_ORIGINS", "https://a.example/path", "CLOAKROOM_ALLOWED_ORIGINS"),
        ("CLOAKROOM_ALLOWED_ORIGINS", "*", "CLOAKROOM_ALLOWED_ORIGINS"),
        ("CLOAKROOM_ALLOWED_ORIGINS", "null", "CLOAKROOM_ALLOWED_ORIGINS"),
        ("CLOAKROOM_REFRESH_SKEW", "soon", "CLOAKROOM_REFRESH_SKEW"),
        ("CLOAKROOM_SCOPES", "profile", "CLOAKROOM_SCOPES"),
        ("CLOAKROOM_AUTHORITY", "http://login.example.org", "CLOAKROOM_AUTHORITY"),
        ("CLOAKROOM_AUTHORITY", "https://user@login.example.org", "CLOAKROOM_AUTHORITY"),
        ("CLOAKROOM_AUTHORITY", "https://:password@login.example.org", "CLOAKROOM_AUTHORITY"),
        ("CLOAKROOM_SPA_FRAME_ANCESTORS", "https://a.example; script-src *", "CLOAKROOM_SPA_FRAME_ANCESTORS"),
        ("CLOAKROOM_SPA_FRAME_ANCESTORS", "https://\u{fc};x", "CLOAKROOM_SPA_FRAME_ANCESTORS"),
        ("CLOAKROOM_SPA", "http://pages.example.org", "CLOAKROOM_SPA"),
        ("CLOAKROOM_LOGIN_PARAMS", "audience=a&state=b", "CLOAKROOM_LOGIN_PARAMS"),
        ("CLOAKROOM_LOGIN_PARAMS", "response_type=token", "CLOAKROOM_LOGIN_PARAMS"),
        ("CLOAKROOM_LOGIN_PARAMS", "request_uri=https://a.example", "CLOAKROOM_LOGIN_PARAMS"),
        ("CLOAKROOM_LOGIN_PARAMS", "audience=a&audience=b", "CLOAKROOM_LOGIN_PARAMS"),
        ("CLOAKROOM_END_SESSION_URL", "http://login.example/logout", "CLOAKROOM_END_SESSION_URL"),
        ("CLOAKROOM_END_SESSION_URL", "javascript:x", "CLOAKROOM_END_SESSION_URL"),
        ("CLOAKROOM_END_SESSION_RETURN_PARAM", "state", "CLOAKROOM_END_SESSION_RETURN_PARAM"),
        ("CLOAKROOM_END_SESSION_RETURN_PARAM", "a&b", "CLOAKROOM_END_SESSION_RETURN_PARAM"),
        ("CLOAKROOM_END_SESSION_RETURN_PARAM", "id_token_hint", "CLOAKROOM_END_SESSION_RETURN_PARAM"),
        ("CLOAKROOM_END_SESSION_ID_TOKEN_HINT", "yes", "CLOAKROOM_END_SESSION_ID_TOKEN_HINT"),
        ("CLOAKROOM_LOG", "loud", "CLOAKROOM_LOG"),
        ("CLOAKROOM_SESSION_MAX", "0s", "CLOAKROOM_SESSION_MAX"),
        ("CLOAKROOM_SESSION_PERSIST", "yes", "CLOAKROOM_SESSION_PERSIST"),
        ("CLOAKROOM_SESSION_PERSIST", "On", "CLOAKROOM_SESSION_PERSIST"),
        ("CLOAKROOM_APIS", "{", "CLOAKROOM_APIS"),
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "x", "FUNCTIONS_CUSTOMHANDLER_PORT"),
    ] {
        let found = parse(&[(name, value)]).map(|_| ()).unwrap_err();
        assert!(found.0.iter().any(|error| error.name == expected), "{name}={value}: {found}");
    }
}

/// Contract 12.22.
#[test]
fn login_params_leave_alone_what_the_gateway_sets_or_never_sends() {
    let set = "client_id response_type redirect_uri scope state nonce code_challenge code_challenge_method \
               response_mode resource claims request request_uri login_hint";
    for name in set.split_whitespace() {
        let error = error(&[("CLOAKROOM_LOGIN_PARAMS", &format!("audience=a&{name}=b"))]);
        assert!(error.contains("CLOAKROOM_LOGIN_PARAMS") && error.contains(name), "{name}: {error}");
    }
    let params = "audience=a&access_type=offline&prompt=consent&acr_values=b&max_age=60&domain_hint=c";
    assert!(parse(&[("CLOAKROOM_LOGIN_PARAMS", params)]).is_ok());
}

#[test]
fn a_tenant_gives_an_authority_and_the_tenants_that_may_sign_in() {
    use crate::oidc::discovery::Tenants;
    let entra = |changes: &[(&str, &str)]| {
        let mut all = vec![("CLOAKROOM_AUTHORITY", "")];
        all.extend(changes);
        parse(&all).map(|config| config.provider.authority)
    };
    let guid = "11111111-2222-3333-4444-555555555555";
    let one = entra(&[("CLOAKROOM_TENANT_ID", guid)]).unwrap();
    assert_eq!(one.url.as_str(), format!("https://login.microsoftonline.com/{guid}/v2.0"));
    assert_eq!(one.tenants, Tenants::One(guid.to_owned()));
    let listed = entra(&[
        ("CLOAKROOM_TENANT_ID", "organizations"),
        ("CLOAKROOM_ALLOWED_TENANTS", guid),
        ("CLOAKROOM_CLOUD", "usgov"),
    ]);
    assert_eq!(listed.unwrap().tenants, Tenants::Listed(vec![guid.to_owned()]));
    let open = entra(&[("CLOAKROOM_TENANT_ID", "common"), ("CLOAKROOM_ALLOWED_TENANTS", "*")]);
    assert_eq!(open.unwrap().tenants, Tenants::Any);
    let problem = |changes: &[(&str, &str)]| entra(changes).unwrap_err().to_string();
    assert!(problem(&[("CLOAKROOM_TENANT_ID", "contoso.com")]).contains("az account show"));
    assert!(problem(&[("CLOAKROOM_TENANT_ID", "common")]).contains("CLOAKROOM_ALLOWED_TENANTS is required"));
    assert!(
        problem(&[("CLOAKROOM_TENANT_ID", guid), ("CLOAKROOM_ALLOWED_TENANTS", guid)])
            .contains("CLOAKROOM_ALLOWED_TENANTS")
    );
    assert!(
        problem(&[("CLOAKROOM_TENANT_ID", "common"), ("CLOAKROOM_ALLOWED_TENANTS", "x")])
            .contains("CLOAKROOM_ALLOWED_TENANTS")
    );
}

/// Contract 12.21.
#[test]
fn a_secret_is_trimmed_at_its_end_and_an_unresolved_reference_is_an_error() {
    let secret =
        |value: &str| match parse(&[("CLOAKROOM_CLIENT_SECRET", value)]).unwrap().provider.client.authentication {
            ClientAuthentication::Secret(secret, _) => secret.expose_secret().to_owned(),
            ClientAuthentication::Assertion(_) => panic!("no secret"),
        };
    assert_eq!(secret("it \r\n"), "it");
    assert_eq!(secret(" it"), " it");
    let key = format!("{}\n", GOOD[4].1);
    assert!(parse(&[("CLOAKROOM_ENC_KEY", &key)]).is_ok());
    for name in ["CLOAKROOM_CLIENT_SECRET", "CLOAKROOM_ENC_KEY"] {
        let found = error(&[(name, "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/CANARY)")]);
        assert!(found.starts_with(name) && found.contains("Key Vault reference"), "{found}");
        assert!(!found.contains("CANARY"), "{found}");
    }
    assert!(error(&[("CLOAKROOM_CLIENT_SECRET", " \n")]).contains("is required"));
}

/// Contract 7.7.
#[test]
fn the_method_of_client_authentication_can_be_set() {
    for (value, expected) in
        [("auto", SecretMethod::Auto), ("basic", SecretMethod::Basic), ("post", SecretMethod::Post)]
    {
        let client = parse(&[("CLOAKROOM_CLIENT_AUTH", value)]).unwrap().provider.client;
        let ClientAuthentication::Secret(_, method) = client.authentication else { panic!("no secret") };
        assert_eq!(method, expected);
    }
    assert!(error(&[("CLOAKROOM_CLIENT_AUTH", "none")]).starts_with("CLOAKROOM_CLIENT_AUTH must be one of"));
}

/// Contract 12.7.
#[test]
fn host_names_may_have_letters_beyond_ascii_and_none_has_an_asterisk() {
    let config = parse(&[
        ("CLOAKROOM_PUBLIC_ORIGIN", "https://app.b\u{fc}cher.example"),
        ("CLOAKROOM_COOKIE_DOMAIN", "B\u{dc}CHER.example"),
        ("CLOAKROOM_RETURN_URI", "https://spa.b\u{fc}cher.example/start"),
        ("CLOAKROOM_ALLOWED_ORIGINS", "https://spa.b\u{fc}cher.example"),
        ("CLOAKROOM_AUTHORITY", "https://login.b\u{fc}cher.example"),
        ("CLOAKROOM_SPA", "https://pages.b\u{fc}cher.example"),
        ("CLOAKROOM_SPA_FRAME_ANCESTORS", "'self' https://a.b\u{fc}cher.example:8443/x *.b\u{fc}cher.example"),
    ]);
    let config = config.unwrap();
    let policy = format!("{:?}", config.spa);
    assert!(
        policy.contains("frame-ancestors 'self' https://a.xn--bcher-kva.example:8443/x *.xn--bcher-kva.example"),
        "{policy}"
    );
    assert_eq!(config.cookies.domain.as_deref(), Some("xn--bcher-kva.example"));
    assert_eq!(config.auth.origins.spa.as_str(), "https://spa.xn--bcher-kva.example");
    assert_eq!(config.auth.return_uri.as_str(), "/start");
    let ascii = parse(&[
        ("CLOAKROOM_PUBLIC_ORIGIN", "https://app.b\u{fc}cher.example"),
        ("CLOAKROOM_COOKIE_DOMAIN", "xn--bcher-kva.example"),
    ]);
    assert!(ascii.is_ok());
    for (name, value) in [
        ("CLOAKROOM_ALLOWED_ORIGINS", "https://*.example.org"),
        ("CLOAKROOM_ALLOWED_ORIGINS", "https://%2A.example.org"),
        ("CLOAKROOM_PUBLIC_ORIGIN", "https://*.example.org"),
    ] {
        assert!(error(&[(name, value)]).starts_with(name), "{value}");
    }
}

#[test]
fn risky_settings_give_a_warning() {
    assert!(parse(&[]).unwrap().warnings.is_empty());
    assert_eq!(parse(&[("CLOAKROOM_SAMESITE", "none")]).unwrap().warnings.len(), 1);
    for origin in ["https://x.z01.azurefd.net", "https://x.calm-sea-1.westeurope.azurecontainerapps.io"] {
        assert_eq!(parse(&[("CLOAKROOM_PUBLIC_ORIGIN", origin)]).unwrap().warnings.len(), 1, "{origin}");
    }
}

#[test]
fn with_form_post_the_login_transaction_cookie_is_same_site_none() {
    let config = parse(&[("CLOAKROOM_RESPONSE_MODE", "form_post")]).unwrap();
    assert_eq!(config.cookies.login_same_site, cookie::SameSite::None);
    assert_eq!(config.cookies.same_site, cookie::SameSite::Strict);
}

#[test]
fn a_managed_identity_authenticates_the_client_at_entra_only() {
    let identity = [("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token"), ("IDENTITY_HEADER", "x")];
    let with = |changes: &[(&str, &str)]| parse(&[&identity[..], &[("CLOAKROOM_CLIENT_SECRET", "")], changes].concat());
    let tenant = [("CLOAKROOM_AUTHORITY", ""), ("CLOAKROOM_TENANT_ID", "11111111-2222-3333-4444-555555555555")];
    assert!(with(&tenant).is_ok());
    assert!(with(&[("CLOAKROOM_AUTHORITY", "https://contoso.ciamlogin.com/x/v2.0")]).is_ok());
    let errors = with(&[("CLOAKROOM_AUTHORITY", "https://keycloak.example.org/realms/x")]).unwrap_err();
    assert_eq!(errors.0[0].name, "CLOAKROOM_CLIENT_SECRET");
}

mod errors;
mod identity;
mod store;
