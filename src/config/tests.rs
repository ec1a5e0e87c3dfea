use super::*;

const GOOD: [(&str, &str); 5] = [
    ("CLOAKROOM_AUTHORITY", "https://login.example/realm"),
    ("CLOAKROOM_CLIENT_ID", "app"),
    ("CLOAKROOM_CLIENT_SECRET", "CANARY-secret"),
    ("CLOAKROOM_PUBLIC_ORIGIN", "https://app.example.org"),
    ("CLOAKROOM_ENC_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
];

/// The good settings with some replaced, or, with an empty value, left out.
fn read(changes: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let vars = GOOD.iter().chain(changes).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::from_vars(&vars)
}

/// The one fault's name and problem.
fn fault(changes: &[(&str, &str)]) -> String {
    let faults = read(changes).unwrap_err();
    assert_eq!(faults.0.len(), 1, "{faults}");
    format!("{} {}", faults.0[0].name, faults.0[0].problem)
}

#[test]
fn an_empty_environment_lists_everything_required_at_once() {
    let faults = Config::from_vars(&Vars::default()).unwrap_err();
    let names: Vec<&str> = faults.0.iter().map(|fault| fault.name.as_str()).collect();
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
fn the_defaults_are_the_contracts() {
    let config = read(&[]).unwrap();
    assert_eq!(config.cookies.name, "__Host-Http-cloakroom");
    assert_eq!(config.cookies.budget, 7_000);
    assert_eq!(config.sessions.idle, Duration::from_secs(1_800));
    assert_eq!(config.sessions.max, Duration::from_secs(28_800));
    assert_eq!(config.keys.refresh, Duration::from_secs(300));
    assert_eq!(config.keys.parameters.propagation, Duration::from_secs(900));
    assert_eq!(config.keys.parameters.retention, Duration::from_secs(29_100));
    assert_eq!(config.auth.scopes, ["openid", "profile", "email", "offline_access"]);
    assert!(config.apis.get("graph").is_some());
}

#[test]
fn debug_does_not_leak_secrets() {
    let text = format!("{:?}", read(&[]).unwrap());
    assert!(!text.contains("CANARY"), "{text}");
    assert!(!text.contains("AAAAAAAA"), "{text}");
}

#[test]
fn faults_never_hold_the_value() {
    let faults = read(&[
        ("CLOAKROOM_ENC_KEY", "CANARY-key"),
        ("CLOAKROOM_SAMESITE", "CANARY-site"),
        ("CLOAKROOM_SPA", "CANARY"),
    ]);
    let text = faults.unwrap_err().to_string();
    assert!(!text.contains("CANARY"), "{text}");
}

#[test]
fn unknown_settings_are_named() {
    assert!(fault(&[("CLOAKROOM_CLIENT_SECRETT", "x")]).starts_with("CLOAKROOM_CLIENT_SECRETT is an unknown setting"));
    assert!(fault(&[("CLOAKROOM_STORE", "redis://localhost")]).starts_with("CLOAKROOM_STORE"));
    assert!(read(&[("CLOAKROOM_STORE", "cookie"), ("CLOAKROOM_KEY_VAULT_URL", "")]).is_ok());
}

#[test]
fn contradictions_are_refused() {
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
        ("CLOAKROOM_RETURN_URI", "https://evil.example/", "CLOAKROOM_RETURN_URI"),
        ("CLOAKROOM_RETURN_URI", "/auth/login", "CLOAKROOM_RETURN_URI"),
        ("CLOAKROOM_ALLOWED_ORIGINS", "https://a.example/path", "CLOAKROOM_ALLOWED_ORIGINS"),
        ("CLOAKROOM_ALLOWED_ORIGINS", "*", "CLOAKROOM_ALLOWED_ORIGINS"),
        ("CLOAKROOM_ALLOWED_ORIGINS", "null", "CLOAKROOM_ALLOWED_ORIGINS"),
        ("CLOAKROOM_REFRESH_SKEW", "soon", "CLOAKROOM_REFRESH_SKEW"),
        ("CLOAKROOM_SCOPES", "profile", "CLOAKROOM_SCOPES"),
        ("CLOAKROOM_LOG", "loud", "CLOAKROOM_LOG"),
        ("CLOAKROOM_SESSION_MAX", "0s", "CLOAKROOM_SESSION_MAX"),
        ("CLOAKROOM_APIS", "{", "CLOAKROOM_APIS"),
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "x", "FUNCTIONS_CUSTOMHANDLER_PORT"),
    ] {
        let found = read(&[(name, value)]).map(|_| ()).unwrap_err();
        assert!(found.0.iter().any(|fault| fault.name == expected), "{name}={value}: {found}");
    }
}

#[test]
fn tenants_become_authorities() {
    use crate::oidc::discovery::Tenants;
    let entra = |changes: &[(&str, &str)]| {
        let mut all = vec![("CLOAKROOM_AUTHORITY", "")];
        all.extend(changes);
        read(&all).map(|config| config.provider.authority)
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

#[test]
fn risky_settings_warn() {
    assert!(read(&[]).unwrap().warnings.is_empty());
    assert_eq!(read(&[("CLOAKROOM_SAMESITE", "none")]).unwrap().warnings.len(), 1);
    assert_eq!(read(&[("CLOAKROOM_PUBLIC_ORIGIN", "https://x.z01.azurefd.net")]).unwrap().warnings.len(), 1);
}

#[test]
fn form_post_needs_a_transaction_cookie_from_other_sites() {
    let config = read(&[("CLOAKROOM_RESPONSE_MODE", "form_post")]).unwrap();
    assert_eq!(config.cookies.login_same_site, cookie::SameSite::None);
    assert_eq!(config.cookies.same_site, cookie::SameSite::Strict);
}

#[test]
fn a_managed_identitys_token_goes_to_entra_only() {
    let identity = ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token");
    let with = |changes: &[(&str, &str)]| read(&[&[identity, ("CLOAKROOM_CLIENT_SECRET", "")], changes].concat());
    let tenant = [("CLOAKROOM_AUTHORITY", ""), ("CLOAKROOM_TENANT_ID", "11111111-2222-3333-4444-555555555555")];
    assert!(with(&tenant).is_ok());
    assert!(with(&[("CLOAKROOM_AUTHORITY", "https://contoso.ciamlogin.com/x/v2.0")]).is_ok());
    let faults = with(&[("CLOAKROOM_AUTHORITY", "https://keycloak.example.org/realms/x")]).unwrap_err();
    assert_eq!(faults.0[0].name, "CLOAKROOM_CLIENT_SECRET");
}
