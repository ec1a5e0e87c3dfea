//! The table of all settings: the parser knows them from here, and the documentation is generated from here.

use std::fmt::Write as _;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Name without the prefix.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What holds without it.
    pub default: &'static str,
}

const fn setting(name: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, meaning, default }
}

/// All settings, in the order of the documentation.
pub const SETTINGS: [Setting; 29] = [
    setting(
        "TENANT_ID",
        "one of `TENANT_ID`, `AUTHORITY`",
        "Entra tenant as a GUID, or `organizations`, `common`, `consumers`",
    ),
    setting("CLOUD", "`public`", "with `TENANT_ID`: `public`, `usgov` or `china`"),
    setting(
        "ALLOWED_TENANTS",
        "required there",
        "with `TENANT_ID` `organizations` or `common`, or an `AUTHORITY` whose issuer is a template: the tenant ids that may sign in, comma-separated; `*` opens it to all on purpose",
    ),
    setting("AUTHORITY", "–", "issuer URL of any OpenID Connect provider; https, or http on loopback"),
    setting("CLIENT_ID", "required", "the confidential client"),
    setting(
        "CLIENT_SECRET",
        "the app's managed identity",
        "its secret; without one the managed identity's token is the client assertion (a federated identity credential)",
    ),
    setting(
        "PUBLIC_ORIGIN",
        "required",
        "scheme, host and port that browsers see; the redirect URI is this and `/auth/callback`; https, or http on loopback",
    ),
    setting(
        "RETURN_URI",
        "`/`",
        "where the browser goes when a login names no `return_to`; absolute when the SPA has another origin, which `ALLOWED_ORIGINS` must hold",
    ),
    setting(
        "SCOPES",
        "`openid profile email offline_access`",
        "asked at sign-in besides the API's, separated by spaces",
    ),
    setting("RESPONSE_MODE", "`query`", "`query` or `form_post`"),
    setting("KEY_VAULT_URL", "–", "the vault of the key ring; https"),
    setting("KEY_NAME", "`cloakroom-keys`", "name of the key ring's secret"),
    setting("ENC_KEY", "–", "a static key, base64 or base64url of 32 bytes, instead of a key ring"),
    setting("KEY_FILE", "–", "a file ring"),
    setting("KEY_REFRESH", "`5m`", "how often the source of the keys is asked"),
    setting(
        "KEY_PROPAGATION",
        "`15m`",
        "from a key's creation to its first sealing; at least twice `KEY_REFRESH` and `CLOCK_SKEW`",
    ),
    setting("KEY_LIFE", "`30d`", "how long a key seals"),
    setting("CLOCK_SKEW", "`5m`", "tolerance for other clocks: ID tokens, keys, cookies"),
    setting("COOKIE_NAME", "`cloakroom`", "name of the session cookie without its prefix"),
    setting("COOKIE_DOMAIN", "–", "parent domain; the prefix is then `__Secure-`"),
    setting("SAMESITE", "`strict`", "`strict`, `lax` or `none`"),
    setting("COOKIE_BUDGET", "`7000`", "bytes of the session cookie, all parts, names and separators included"),
    setting("SESSION_IDLE", "`30m`", "a session ends this long after its last activity"),
    setting("SESSION_MAX", "`8h`", "a session ends this long after the sign-in"),
    setting(
        "REFRESH_SKEW",
        "`60s`",
        "an access token with less life left is refreshed before a call; at most half of what it had counts",
    ),
    setting("APIS", "`apis.json` beside `host.json`, else Microsoft Graph", "the API map as JSON"),
    setting(
        "ALLOWED_ORIGINS",
        "none",
        "SPA origins other than `PUBLIC_ORIGIN`, comma-separated: their scripts may call with the user's session",
    ),
    setting(
        "SPA",
        "`web/dist` if there",
        "folder of the SPA, or the URL of the static website that the gateway fronts; `none` serves no SPA",
    ),
    setting(
        "LOG",
        "`info`, JSON; text on a terminal",
        "level (`error`, `warn`, `info`, `debug`) and format (`json`, `text`), comma-separated",
    ),
];

/// Settings that are read but take one value only so far.
pub(super) const STORE: Setting =
    setting("STORE", "`cookie`", "`cookie`: the session lives in the cookie (a Redis store is not built yet)");

/// The table as Markdown.
#[must_use]
pub fn documentation() -> String {
    let mut table = String::from("| setting | meaning | default |\n|---|---|---|\n");
    for setting in SETTINGS.iter().chain([&STORE]) {
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{}` | {}. | {} |", setting.name, setting.meaning, setting.default);
    }
    table
}
