//! Where sessions are stored (contract 12.11, 15.15, 15.16).

use std::net::IpAddr;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::{ConfigParser, Parsed};
use crate::config::PREFIX;
use crate::config::settings::{STORE, STORE_AUTH, STORE_PREFIX};
use crate::origin::is_loopback_host;
use crate::secret::SecretString;
use crate::store::StoreConfig;
use crate::store::redis::Config as RedisConfig;
use crate::store::redis::client::Auth;

/// The port of Redis where the URL has none.
const PORT: u16 = 6379;
/// The scope of tokens for Azure's Redis.
const SCOPE: &str = "https://redis.azure.com/.default";
/// Domains of Azure's Redis, in which a URL without a password means tokens.
const AZURE: [&str; 4] =
    [".redis.azure.net", ".redis.cache.windows.net", ".redis.cache.usgovcloudapi.net", ".redis.cache.chinacloudapi.cn"];

/// The parts of a Redis URL.
struct RedisUrl {
    tls: bool,
    host: Host,
    port: u16,
    user: Option<String>,
    password: Option<SecretString>,
    database: u16,
}

/// `STORE_AUTH`.
enum Method {
    Auto,
    Url,
    Entra(String),
}

impl ConfigParser<'_> {
    pub(super) fn store(&mut self) -> Parsed<StoreConfig> {
        let (prefix, method) = (self.store_prefix(), self.store_auth());
        let Some(url) = self.store_url()? else {
            if matches!(method, Ok(Method::Entra(_))) {
                return Err(self.record(&STORE_AUTH, format!("entra needs a rediss:// URL in {PREFIX}STORE")));
            }
            return prefix.and(method).map(|_| StoreConfig::Cookie);
        };
        let host = url.host_name();
        if !url.tls && !is_loopback_host(&url.host) {
            self.warnings.push(format!(
                "{PREFIX}STORE: redis:// to another machine sends sessions and passwords unencrypted; use rediss://"
            ));
        }
        let (tls, port, database) = (url.tls, url.port, url.database);
        let auth = self.redis_auth(url, method?)?;
        Ok(StoreConfig::Redis(RedisConfig { host, port, tls, database, auth, prefix: prefix? }))
    }

    pub(in crate::config) fn names_store(&self) -> bool {
        self.set_value(&STORE).is_some_and(|store| !matches!(store.trim_end(), "" | "cookie"))
    }

    /// `None`: sessions are stored in the cookie.
    fn store_url(&mut self) -> Parsed<Option<RedisUrl>> {
        const RULE: &str = "must be cookie, or a Redis URL: redis:// or rediss://, then user:password@ if they are \
                            needed (percent-encoded), the host, and if needed :port and /database";
        match self.secret(&STORE)? {
            None | Some("cookie") => Ok(None),
            Some(text) => self.or_record(&STORE, RedisUrl::parse(text).map(Some).ok_or(RULE)),
        }
    }

    fn store_prefix(&mut self) -> Parsed<String> {
        let prefix = self.text(&STORE_PREFIX);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":._-".contains(&byte);
        let is_valid = (1..=32).contains(&prefix.len()) && prefix.bytes().all(allowed);
        let problem = "must be 1 to 32 letters, digits, colons, dots, underscores and hyphens";
        self.or_record(&STORE_PREFIX, is_valid.then(|| prefix.to_owned()).ok_or(problem))
    }

    fn store_auth(&mut self) -> Parsed<Method> {
        let is_scope = |scope: &str| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        let method = match self.text(&STORE_AUTH) {
            "auto" => Ok(Method::Auto),
            "url" => Ok(Method::Url),
            "entra" => Ok(Method::Entra(SCOPE.to_owned())),
            text => {
                let scope = text.strip_prefix("entra=").filter(|scope| is_scope(scope));
                let problem = "must be one of: auto, url, entra, or entra= with a scope";
                scope.map(|scope| Method::Entra(scope.to_owned())).ok_or(problem)
            }
        };
        self.or_record(&STORE_AUTH, method)
    }

    fn redis_auth(&mut self, url: RedisUrl, method: Method) -> Parsed<Auth> {
        let is_azure = AZURE.iter().any(|domain| url.host_name().ends_with(domain));
        let scope = match method {
            Method::Entra(scope) => scope,
            Method::Auto if is_azure && url.password.is_none() => SCOPE.to_owned(),
            Method::Auto | Method::Url => return self.url_auth(url),
        };
        if !url.tls {
            let problem = format!("with tokens of Entra ({PREFIX}STORE_AUTH) must be rediss://");
            return Err(self.record(&STORE, problem));
        }
        if url.user.is_some() || url.password.is_some() {
            let problem = format!(
                "must have neither user nor password with tokens of Entra ({PREFIX}STORE_AUTH), which has both"
            );
            return Err(self.record(&STORE, problem));
        }
        Ok(Auth::Entra { scope, credential: Arc::clone(&self.credential) })
    }

    fn url_auth(&mut self, url: RedisUrl) -> Parsed<Auth> {
        match (url.user, url.password) {
            (None, None) => Ok(Auth::None),
            (user, Some(password)) => Ok(Auth::Password { user, password }),
            (Some(_), None) => Err(self.record(&STORE, "has a user without a password")),
        }
    }
}

impl RedisUrl {
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        // The library leaves the host of such a URL as it is written: neither in ASCII nor as an address.
        let host = Host::parse(url.host_str()?).ok()?;
        let is_pattern = matches!(&host, Host::Domain(name) if name.is_empty() || name.contains('*'));
        if is_pattern || url.query().is_some() || url.fragment().is_some() || url.port() == Some(0) {
            return None;
        }
        let database = match url.path() {
            "" | "/" => 0,
            path => path.strip_prefix('/')?.parse().ok()?,
        };
        Some(Self {
            tls,
            host,
            port: url.port().unwrap_or(PORT),
            user: decoded(Some(url.username()))?,
            password: decoded(url.password())?.map(SecretString::from),
            database,
        })
    }

    /// As for a connection: an address has no brackets.
    fn host_name(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => IpAddr::V4(*address).to_string(),
            Host::Ipv6(address) => IpAddr::V6(*address).to_string(),
        }
    }
}

/// A part of the URL; an empty one is none. The outer `None`: it is not UTF-8.
fn decoded(part: Option<&str>) -> Option<Option<String>> {
    let Some(part) = part.filter(|part| !part.is_empty()) else { return Some(None) };
    percent_decode_str(part).decode_utf8().ok().map(|text| Some(text.into_owned()))
}
