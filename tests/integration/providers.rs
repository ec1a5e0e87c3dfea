//! The configurations of `docs/providers.md`, as they are there, against stand-ins that spell and reject what these
//! providers do (contract 12.22).

use std::collections::BTreeMap;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use devkit::brands::{API_PATH, Brand, Brands, Options};
use devkit::commands::stack::free_port;
use serde_json::Value;
use url::Url;

use crate::app::{Gateway, KEY, PATIENCE};
use crate::visitor::{NAVIGATION, Visitor};

const PAGE: &str = include_str!("../../docs/providers.md");
const ALL: [(&str, Brand); 8] = [
    ("Entra ID", Brand::EntraId),
    ("External ID", Brand::ExternalId),
    ("Azure AD B2C", Brand::B2c),
    ("Keycloak", Brand::Keycloak),
    ("Okta", Brand::Okta),
    ("Auth0", Brand::Auth0),
    ("Cognito", Brand::Cognito),
    ("Google", Brand::Google),
];

/// The settings and the API map of a section of the page.
#[derive(Clone)]
struct Documented {
    settings: BTreeMap<String, String>,
    apis: Value,
}

fn documented(section: &str) -> Documented {
    let start = PAGE.find(&format!("\n## {section}\n")).unwrap_or_else(|| panic!("no section {section}"));
    let text = PAGE[start + 4..].split("\n## ").next().unwrap();
    let block = |language: &str| {
        let rest = text.split(&format!("\n```{language}\n")).nth(1).unwrap_or_else(|| panic!("{section}: {language}"));
        rest.split("\n```").next().unwrap()
    };
    let settings = block("ini").lines().map(|line| {
        let (name, value) = line.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    });
    Documented { settings: settings.collect(), apis: serde_json::from_str(block("json")).unwrap() }
}

/// The documented gateway, with local addresses in the place of the provider's and the API's.
struct Setup {
    brand: Brand,
    provider: Brands,
    gateway: Gateway,
    origin: String,
}

impl Setup {
    async fn start(brand: Brand, issuer_path: &str, documented: Documented) -> Self {
        let port = free_port().unwrap();
        let origin = format!("http://localhost:{port}");
        let provider = Brands::start(Options {
            brand,
            issuer_path: issuer_path.to_owned(),
            client_id: "client-1".to_owned(),
            client_secret: "CANARY of/the+client".to_owned(),
            redirect_uri: format!("{origin}/auth/callback"),
            post_logout_redirect_uri: format!("{origin}/auth/logout"),
        });
        let provider = provider.await.unwrap();
        let Documented { mut settings, mut apis } = documented;
        for name in ["CLOAKROOM_AUTHORITY", "CLOAKROOM_END_SESSION_URL"] {
            if let Some(value) = settings.get_mut(name).filter(|value| !value.is_empty()) {
                *value = local(value, provider.origin());
            }
        }
        for api in apis.as_object_mut().unwrap().values_mut() {
            assert!(api["base"].as_str().unwrap().starts_with("https://"));
            api["base"] = format!("{}{API_PATH}", provider.origin()).into();
        }
        let common = [
            ("CLIENT_ID", "client-1".to_owned()),
            ("CLIENT_SECRET", "CANARY of/the+client".to_owned()),
            ("PUBLIC_ORIGIN", origin.clone()),
            ("ENC_KEY", URL_SAFE_NO_PAD.encode(KEY)),
            ("APIS", apis.to_string()),
            ("LOG", "debug,json".to_owned()),
        ];
        settings.extend(common.map(|(name, value)| (format!("CLOAKROOM_{name}"), value)));
        let gateway = Gateway::start(&settings, port);
        Self { brand, provider, gateway, origin }
    }

    /// All steps of a user. An error begins with the step that failed.
    async fn journey(&self) -> Result<(), String> {
        self.wait_until_ready().await?;
        // Twice, since the first sign-in of a user may give more than later ones.
        self.sign_in().await?;
        let mut visitor = self.sign_in().await?;
        let session = visitor.fetch("GET", "/auth/session").await.json();
        expect("session", &session["user"]["name"], &"Ada Lovelace".into())?;
        let before = call(&mut visitor).await?;
        let refreshed = visitor.fetch("POST", "/auth/refresh").await;
        expect("refresh", &(refreshed.status, refreshed.code()), &(204, "-"))?;
        expect("refresh", &(call(&mut visitor).await? == before), &false)?;
        self.sign_out(&mut visitor).await
    }

    async fn wait_until_ready(&self) -> Result<(), String> {
        let started = Instant::now();
        while Visitor::new(&self.origin).get("/health/ready").await.status != 200 {
            let log = self.gateway.log();
            if let Some(line) = log.lines().find(|line| line.contains("could not be loaded")) {
                return Err(format!("metadata: {line}"));
            }
            assert!(started.elapsed() < PATIENCE, "{log}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn sign_in(&self) -> Result<Visitor, String> {
        let mut visitor = Visitor::new(&self.origin);
        let address = visitor.begin("/").await;
        let callback = self.provider.sign_in(&address).map_err(|page| format!("sign-in: {page}"))?;
        let response = visitor.come_back(&callback).await;
        expect("sign-in", &response.header("location"), &Some("/"))?;
        Ok(visitor)
    }

    async fn sign_out(&self, visitor: &mut Visitor) -> Result<(), String> {
        let response = visitor.fetch("POST", "/auth/logout").await;
        let mut url = response.json()["logout_url"].as_str().unwrap().to_owned();
        if let Some(path) = url.strip_prefix(&self.origin) {
            url = visitor.navigate(path).await.header("location").unwrap().to_owned();
        }
        if self.brand == Brand::Google {
            expect("sign-out", &&*url, &"/")?;
        } else {
            let location = self.at_the_provider(&url).await?;
            let path = location.strip_prefix(&self.origin).unwrap();
            let back = visitor.send("GET", path, &NAVIGATION, "").await;
            expect("return", &(back.status, back.header("location")), &(302, Some("/")))?;
        }
        let is_revocable = !matches!(self.brand, Brand::EntraId | Brand::ExternalId | Brand::B2c);
        expect("revocation", &(self.provider.revoked().len() == 1), &is_revocable)
    }

    /// Where the end-session endpoint redirects to.
    async fn at_the_provider(&self, url: &str) -> Result<String, String> {
        assert!(url.starts_with(self.provider.origin()), "{url}");
        let path = url.strip_prefix(self.provider.origin()).unwrap();
        let response = Visitor::new(self.provider.origin()).get(path).await;
        let location = response.header("location").filter(|to| to.starts_with(&self.origin));
        location.map(str::to_owned).ok_or_else(|| format!("sign-out: {}", response.status))
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(step: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{step}: {found:?}")) }
}

/// The access token that reached the API.
async fn call(visitor: &mut Visitor) -> Result<Value, String> {
    let response = visitor.fetch("GET", "/api/orders/me").await;
    expect("call", &(response.status, response.code()), &(200, "-"))?;
    Ok(response.json()["token"].clone())
}

/// The same URL at another origin, byte for byte.
fn local(url: &str, origin: &str) -> String {
    let after_host = url.strip_prefix("https://").unwrap().find('/');
    format!("{origin}{}", after_host.map_or("", |at| &url["https://".len() + at..]))
}

/// Settings with an authority, and the path of its issuer. Only a URL can be replaced by a local one; which one a
/// tenant stands for is tested elsewhere.
fn with_authority(section: &str) -> (Documented, String) {
    let mut found = documented(section);
    if let Some(tenant) = found.settings.remove("CLOAKROOM_TENANT_ID") {
        let authority = format!("https://login.microsoftonline.com/{tenant}/v2.0");
        found.settings.insert("CLOAKROOM_AUTHORITY".to_owned(), authority);
    }
    let authority = found.settings["CLOAKROOM_AUTHORITY"].clone();
    let path = local(&authority, "");
    (found, path)
}

/// Contract 12.22.
#[tokio::test(flavor = "multi_thread")]
async fn the_configurations_of_the_docs_work() {
    for (section, brand) in ALL {
        let (documented, path) = with_authority(section);
        let setup = Setup::start(brand, &path, documented).await;
        let outcome = setup.journey().await;
        assert_eq!(outcome, Ok(()), "{section}: {}", setup.gateway.log());
        assert!(!setup.gateway.log().contains("\"level\":\"ERROR\""), "{section}: {}", setup.gateway.log());
    }
}

/// Each row changes a setting of the page, or leaves one out (an empty value); the step that fails then shows that the
/// stand-in rejects what the page says that the provider rejects.
#[tokio::test(flavor = "multi_thread")]
async fn the_configurations_of_the_docs_are_necessary() {
    const DEFAULT_SCOPES: (&str, &str) = ("SCOPES", "");
    let no_offline = "openid profile email";
    for (section, changes, failure) in [
        ("Entra ID", &[("SCOPES", no_offline)][..], "refresh: "),
        ("External ID", &[("AUTHORITY", "https://contoso.ciamlogin.com/contoso.onmicrosoft.com/v2.0")], "metadata: "),
        (
            "Azure AD B2C",
            &[("AUTHORITY", "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_signin/v2.0")],
            "metadata: ",
        ),
        ("Azure AD B2C", &[DEFAULT_SCOPES], "sign-in: "),
        ("Keycloak", &[("SCOPES", "openid Profile")], "sign-in: "),
        ("Okta", &[("END_SESSION_ID_TOKEN_HINT", "")], "sign-out: 400"),
        ("Okta", &[("SCOPES", no_offline)], "refresh: "),
        ("Auth0", &[("LOGIN_PARAMS", "")], "call: (401"),
        ("Auth0", &[("LOGIN_PARAMS", "audience=https://other.example")], "sign-in: "),
        ("Auth0", &[("END_SESSION_RETURN_PARAM", "")], "sign-out: 400"),
        ("Auth0", &[("END_SESSION_URL", ""), ("END_SESSION_RETURN_PARAM", "")], "sign-out: 200"),
        ("Cognito", &[DEFAULT_SCOPES], "sign-in: "),
        ("Cognito", &[("END_SESSION_RETURN_PARAM", "")], "sign-out: 400"),
        ("Google", &[DEFAULT_SCOPES], "sign-in: Error 400: invalid_scope"),
        ("Google", &[("LOGIN_PARAMS", "prompt=consent")], "refresh: "),
        ("Google", &[("LOGIN_PARAMS", "access_type=offline")], "refresh: "),
        ("Google", &[("LOGIN_PARAMS", "access_type=offline&prompt=login")], "sign-in: Error 400: invalid_request"),
    ] {
        let (mut documented, path) = with_authority(section);
        for (name, value) in changes {
            documented.settings.insert(format!("CLOAKROOM_{name}"), (*value).to_owned());
        }
        let brand = ALL.iter().find(|(of, _)| *of == section).unwrap().1;
        let setup = Setup::start(brand, &path, documented).await;
        let outcome = setup.journey().await.unwrap_err();
        assert!(outcome.starts_with(failure), "{section} {changes:?}: {outcome}\n{}", setup.gateway.log());
    }
}

/// Contract 12.17: it is for providers that require it.
#[tokio::test(flavor = "multi_thread")]
async fn a_resource_parameter_is_rejected_by_providers_that_have_none() {
    let (mut documented, path) = with_authority("Entra ID");
    documented.apis["orders"]["resource"] = "https://orders.contoso.example".into();
    let setup = Setup::start(Brand::EntraId, &path, documented).await;
    assert!(setup.journey().await.unwrap_err().starts_with("sign-in: "));
}

/// The log has the issuer that `AUTHORITY` must be.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_the_issuer_as_external_id_and_b2c_spell_it() {
    for (section, brand, name) in [
        ("External ID", Brand::ExternalId, "/contoso.onmicrosoft.com/v2.0"),
        ("Azure AD B2C", Brand::B2c, "/contoso.onmicrosoft.com/B2C_1_signin/v2.0"),
    ] {
        let (mut documented, path) = with_authority(section);
        documented.settings.insert("CLOAKROOM_AUTHORITY".to_owned(), format!("https://contoso.example{name}"));
        let setup = Setup::start(brand, &path, documented).await;
        let line = setup.journey().await.unwrap_err();
        let issuer = format!("{}{path}", setup.provider.origin());
        assert!(line.contains(&issuer) && line.contains("is not the configured authority"), "{line}");
    }
}

/// The page says which host External ID's issuer has: the tenant's own, not the name's.
#[test]
fn the_issuer_of_external_id_has_the_tenant_in_host_and_path() {
    let authority = documented("External ID").settings["CLOAKROOM_AUTHORITY"].clone();
    let url = Url::parse(&authority).unwrap();
    let tenant = url.host_str().unwrap().strip_suffix(".ciamlogin.com").unwrap();
    assert_eq!(url.path(), format!("/{tenant}/v2.0"));
}
