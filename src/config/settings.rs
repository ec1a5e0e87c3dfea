//! The table of all settings. The parser takes names and defaults from it, and the documentation is generated from it.

use std::fmt::Write as _;

#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Name without the prefix.
    pub name: &'static str,
    pub default: DefaultValue,
    pub meaning: &'static str,
}

/// What applies if a setting is absent.
#[derive(Debug, Clone, Copy)]
pub enum DefaultValue {
    /// This text, parsed like one that is set.
    Text(&'static str),
    /// The start fails.
    Required,
    /// Nothing, or a rule of the parser that this text describes.
    Rule(&'static str),
}
use DefaultValue::{Required, Rule, Text};

macro_rules! settings {
    ($($name:ident, $default:expr, $meaning:literal;)+) => {
        $(pub(super) const $name: Setting =
            Setting { name: stringify!($name), default: $default, meaning: $meaning };)+

        /// All settings, in the order of the documentation.
        pub const SETTINGS: &[Setting] = &[$($name),+];
    };
}

settings! {
    TENANT_ID, Rule("one of `TENANT_ID`, `AUTHORITY`"),
        "Entra tenant as a GUID, or `organizations`, `common`, `consumers`";
    CLOUD, Text("public"), "with `TENANT_ID`: `public`, `usgov` or `china`";
    ALLOWED_TENANTS, Rule("required for these"),
        "with `TENANT_ID` `organizations` or `common`, or an `AUTHORITY` whose issuer contains `{tenantid}`: the tenant ids that may sign in, comma-separated; `*` allows all";
    AUTHORITY, Rule("–"), "issuer URL of any OpenID Connect provider; https, or http on loopback";
    CLIENT_ID, Required, "client id of the app registration, a confidential client";
    CLIENT_SECRET, Rule("the gateway's identity"),
        "its secret; without one a token of the gateway's identity is the client assertion (a federated identity credential)";
    CLIENT_AUTH, Text("auto"),
        "how the secret is sent: `basic` (`client_secret_basic`), `post` (`client_secret_post`), or `auto`: `post` if the provider's metadata names it, otherwise `basic`";
    PUBLIC_ORIGIN, Required,
        "scheme, host and port that browsers see; `/auth/callback` on it is the redirect URI; https, or http on loopback";
    RETURN_URI, Text("/"),
        "where the browser goes after a sign-in without `return_to`; absolute if the SPA is on one of `ALLOWED_ORIGINS`";
    SCOPES, Text("openid profile email offline_access"),
        "scopes requested at sign-in in addition to those of one API, separated by spaces";
    LOGIN_PARAMS, Rule("none"),
        "more parameters of the authorization request as a query string, such as `audience=https://api.example.org&access_type=offline`; `prompt`, `acr_values`, `max_age` and `domain_hint` are defaults";
    END_SESSION_URL, Rule("the metadata's `end_session_endpoint`"), "end-session endpoint of the provider; https, or http on loopback";
    END_SESSION_RETURN_PARAM, Text("post_logout_redirect_uri"),
        "name of the parameter with the address to return to after a sign-out; Auth0 `returnTo`, Cognito `logout_uri`";
    END_SESSION_ID_TOKEN_HINT, Text("false"),
        "`true`: the ID token is kept in the session, where it fits, and sent to the end-session endpoint as `id_token_hint`, which Okta requires";
    RESPONSE_MODE, Text("query"), "`query` or `form_post`";
    KEY_VAULT_URL, Rule("one of `KEY_VAULT_URL`, `KEY_FILE`, `ENC_KEY`"), "URL of the Key Vault with the key ring; https";
    KEY_NAME, Text("cloakroom-keys"), "with `KEY_VAULT_URL`: name of the secret whose versions are the keys; that of the revocation list has `-revocations` after it";
    KEY_FILE, Rule("one of `KEY_VAULT_URL`, `KEY_FILE`, `ENC_KEY`"), "path of a file with the key ring";
    ENC_KEY, Rule("one of `KEY_VAULT_URL`, `KEY_FILE`, `ENC_KEY`"), "a static key instead of a key ring: base64 or base64url of 32 bytes";
    KEY_REFRESH, Text("5m"), "how often keys and revocation list are read";
    KEY_PROPAGATION, Text("15m"),
        "how long after its creation a key starts to seal; at least twice `KEY_REFRESH` plus `CLOCK_SKEW`";
    KEY_LIFE, Text("30d"), "how long a key seals; at least twice `KEY_PROPAGATION`";
    CLOCK_SKEW, Text("5m"), "tolerance for the clocks of others: ID tokens, keys, sealed values";
    COOKIE_NAME, Text("cloakroom"), "name of the session cookie without its prefix";
    COOKIE_DOMAIN, Rule("–"), "parent domain for the cookies; their prefix is then `__Secure-`";
    SAMESITE, Text("strict"), "`strict`, `lax` or `none`";
    COOKIE_BUDGET, Text("7000"), "maximum size of the session cookie in bytes, including the names of all its parts";
    SESSION_IDLE, Text("30m"), "a session ends this long after its last activity";
    SESSION_MAX, Text("8h"), "a session ends this long after the sign-in";
    SESSION_PERSIST, Text("off"),
        "whether browsers keep the session cookie after they are closed, at most until `SESSION_MAX`: `off`; `on`; or `ask`: if the sign-in has the parameter `persist=true`";
    REFRESH_SKEW, Text("60s"),
        "an access token with less time left is refreshed before a call; at most half of its lifetime counts";
    APIS, Rule("`apis.json` next to `host.json`, otherwise Microsoft Graph"), "the API map as JSON";
    ALLOWED_ORIGINS, Rule("none"),
        "SPA origins other than `PUBLIC_ORIGIN`, comma-separated: their scripts can call with the user's session";
    SPA, Rule("`web/dist` if it exists"),
        "folder of the SPA, or URL of the static website that the gateway fronts; `none` serves no SPA";
    SPA_IMMUTABLE, Text("assets"),
        "folders of the SPA whose files never change if their names contain a hash (8 or more characters of base64url or hex, with a digit), comma-separated";
    SPA_FRAME_ANCESTORS, Text("'self'"),
        "who may frame the SPA's pages, as the CSP source list of `frame-ancestors`; `none` leaves the header out";
    SPA_OPENER_POLICY, Text("same-origin"),
        "`Cross-Origin-Opener-Policy` of the SPA's pages; `none` leaves the header out";
    HSTS, Rule("`max-age=31536000` if `PUBLIC_ORIGIN` is https without a port, and neither `localhost` nor an address"),
        "value of `Strict-Transport-Security`, which holds for the whole host; `none` leaves the header out";
    VM_IDENTITY, Text("off"),
        "`on`: without another identity the gateway uses that of the virtual machine that it runs on (IMDS)";
    LOG, Text("info"),
        "level (`error`, `warn`, `info`, `debug`), format (`json`, `text`), or both with a comma; without a format: text on a terminal, otherwise JSON";
    LOG_USER, Text("hash"),
        "what audit events say of the user: `hash` (of issuer and `sub`), `id` (`oid` or `sub`), `none`";
    LISTEN, Rule("under Functions the port that the host names"),
        "address and port outside Azure Functions, such as `0.0.0.0:8080` or `[::]:8080`: plain HTTP/1.1, behind an ingress that terminates TLS";
    DRAIN_DELAY, Text("0s"),
        "with `LISTEN`: how long requests are still accepted after SIGTERM, while `/health/ready` responds 503";
    MAX_IN_FLIGHT, Rule("`90`; with `LISTEN` `1000`"),
        "how many requests may be in flight, 10 to 100000; all other limits of requests grow with it";
    THREADS, Rule("`1`; with `LISTEN` the available cores"), "how many threads serve requests";
    KEY_ROTATE, Text("on"),
        "with `LISTEN` and a key ring: `on` rotates the keys inside the process, `off` leaves that to `cloakroom keys rotate`";
    STORE, Text("cookie"),
        "`cookie`: the session is in the cookie; or the URL of a Redis server or cluster, `rediss://` or `redis://`, with user and password percent-encoded";
    STORE_PREFIX, Text("cloakroom"), "begins every key in Redis: 1 to 32 letters, digits, `:`, `.`, `_`, `-`";
    STORE_AUTH, Text("auto"),
        "how the gateway authenticates to Redis: `url` (user and password of the URL), `entra` (tokens of the gateway's identity, or `entra=` and another scope), or `auto`: `entra` if the URL has no password and the host is Azure's, otherwise `url`";
}

/// The table as Markdown.
#[must_use]
pub fn documentation() -> String {
    let mut table = String::from("| setting | meaning | default |\n|---|---|---|\n");
    for Setting { name, default, meaning } in SETTINGS {
        let default = match default {
            Text(text) => format!("`{text}`"),
            Required => "required".to_owned(),
            Rule(rule) => (*rule).to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(table, "| `{name}` | {meaning}. | {default} |");
    }
    table
}
