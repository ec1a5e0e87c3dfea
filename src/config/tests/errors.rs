//! Contract 12.2: all invalid settings are reported at once, by name and without the value.

use super::*;

#[test]
fn errors_never_contain_the_value() {
    let errors = parse(&[
        ("CLOAKROOM_ENC_KEY", "CANARY-key"),
        ("CLOAKROOM_SAMESITE", "CANARY-site"),
        ("CLOAKROOM_SPA", "CANARY"),
        ("CLOAKROOM_APIS", r#"{"graph":"CANARY"}"#),
    ]);
    let text = errors.unwrap_err().to_string();
    assert!(!text.contains("CANARY"), "{text}");
    for member in [
        r#""allow":["CANARY x"]"#,
        r#""allow":["GET /"],"request_headers":["x canary"]"#,
        r#""allow":["GET /"],"response_headers":["Set-Canary,"]"#,
        r#""allow":"CANARY""#,
        r#""allow":"x, expected CANARY""#,
        r#""allow":["GET /"],"cache":"x, expected CANARY""#,
        r#""allow":["GET /"],"csrf":"CANARY""#,
        r#""allow":["GET /"],"max_body":"CANARY""#,
    ] {
        let map = format!(r#"{{"orders":{{"base":"https://api.example",{member}}}}}"#);
        let text = error(&[("CLOAKROOM_APIS", &map)]);
        assert!(!text.to_ascii_lowercase().contains("canary"), "{text}");
    }
}

/// Contract 12.2.
#[test]
fn one_invalid_setting_hides_no_other() {
    for (changes, expected) in [
        (
            &[("TENANT_ID", "contoso.com"), ("AUTHORITY", ""), ("ALLOWED_TENANTS", "x")][..],
            &["TENANT_ID", "ALLOWED_TENANTS"][..],
        ),
        (&[("CLIENT_AUTH", "x"), ("CLIENT_SECRET", "@Microsoft.KeyVault(x)")], &["CLIENT_AUTH", "CLIENT_SECRET"]),
        (&[("CLIENT_AUTH", "x"), ("CLIENT_SECRET", "")], &["CLIENT_AUTH", "CLIENT_SECRET"]),
        (&[("CLIENT_AUTH", "post"), ("CLIENT_SECRET", "")], &["CLIENT_AUTH", "CLIENT_SECRET"]),
        (
            &[("SPA_IMMUTABLE", ","), ("SPA_OPENER_POLICY", "x"), ("SPA_FRAME_ANCESTORS", "a;b"), ("SPA", "/nothing")],
            &["SPA_IMMUTABLE", "SPA_FRAME_ANCESTORS", "SPA_OPENER_POLICY", "SPA"],
        ),
        (&[("STORE_PREFIX", "/"), ("STORE", "redis://127.0.0.1"), ("STORE_AUTH", "entra")], &["STORE_PREFIX", "STORE"]),
        (&[("STORE_PREFIX", "/"), ("STORE_AUTH", "entra")], &["STORE_PREFIX", "STORE_AUTH"]),
        (&[("PUBLIC_ORIGIN", ""), ("RETURN_URI", "/auth/login")], &["PUBLIC_ORIGIN", "RETURN_URI"]),
        (&[("ALLOWED_ORIGINS", "x"), ("RETURN_URI", "//x")], &["ALLOWED_ORIGINS", "RETURN_URI"]),
        (&[("ENC_KEY", "short"), ("KEY_VAULT_URL", "http://x")], &["KEY_VAULT_URL", "ENC_KEY", "ENC_KEY"]),
        (&[("KEY_FILE", "keys.json"), ("KEY_NAME", "x")], &["KEY_NAME", "ENC_KEY"]),
    ] {
        let changes: Vec<_> = changes.iter().map(|(name, value)| (format!("CLOAKROOM_{name}"), *value)).collect();
        let changes: Vec<_> = changes.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let errors = parse(&changes).unwrap_err();
        let names: Vec<&str> = errors.0.iter().filter_map(|error| error.name.strip_prefix(PREFIX)).collect();
        assert_eq!(names, expected, "{errors}");
    }
    let path = parse(&[("CLOAKROOM_PUBLIC_ORIGIN", ""), ("CLOAKROOM_RETURN_URI", "/start")]).unwrap_err();
    assert_eq!(path.0.len(), 1, "{path}");
}

/// Contract 12.2.
#[cfg(unix)]
#[test]
fn a_setting_that_is_not_unicode_is_an_error() {
    use std::os::unix::ffi::OsStringExt;
    let not_unicode = |name: &str| (OsString::from(name), OsString::from_vec(b"caf\xe9.example".to_vec()));
    let good = GOOD.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    for name in ["CLOAKROOM_COOKIE_DOMAIN", "CLOAKROOM_PUBLIC_ORIGIN"] {
        let good = good.clone().filter(|(of, _)| of != name);
        let errors = Config::from_vars(&Vars::from_os(good.chain([not_unicode(name), not_unicode("LS_COLORS")])));
        let errors = errors.unwrap_err();
        assert_eq!(errors.0.len(), 1, "{errors}");
        assert!(errors.to_string().contains(&format!("{name} is not Unicode")), "{errors}");
    }
}

/// Contract 12.12.
#[cfg(unix)]
#[test]
fn the_key_file_is_not_served_whatever_leads_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (spa, link) = (folder.path().join("dist"), folder.path().join("keys.json"));
    std::fs::create_dir(&spa).unwrap();
    std::fs::write(spa.join("keys.json"), "{}").unwrap();
    std::os::unix::fs::symlink(spa.join("keys.json"), &link).unwrap();
    for path in [link, spa.join("keys.json"), spa.join("later.json")] {
        let (path, spa) = (path.to_str().unwrap(), spa.to_str().unwrap());
        let found = error(&[("CLOAKROOM_ENC_KEY", ""), ("CLOAKROOM_KEY_FILE", path), ("CLOAKROOM_SPA", spa)]);
        assert!(found.starts_with("CLOAKROOM_SPA must not contain the file of CLOAKROOM_KEY_FILE"), "{path}: {found}");
    }
}
