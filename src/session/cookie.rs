//! The cookies of the gateway (contract section 4): strict parsing of the `Cookie` header, and every `Set-Cookie` line.
//!
//! Pure: nothing here seals or opens a value. The usual cookie crates accept what the contract rejects (duplicates,
//! malformed bytes, names that only begin with ours), so the header is parsed here.

mod life;

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use memchr::memchr;

use super::OpenSession;
use super::companion::Companion;
use crate::clock::UnixSeconds;
pub use life::{Life, Persistence};

/// Most bytes of a sealed session in one cookie (contract 4.2).
const PART: usize = 3_800;
/// Most cookies of a session.
const PARTS: usize = 4;
/// Most bytes of a `Set-Cookie` line that browsers accept (contract 4.5).
const LINE: usize = 4_095;
/// Lifetime of a login transaction in seconds (contract 4.6).
pub const LOGIN_SECONDS: u64 = 600;
/// Most login transactions in a browser.
const LOGINS: usize = 10;
/// Most bytes of login transactions in a browser.
const LOGIN_BYTES: usize = 5_000;

/// The `SameSite` attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Sent with top-level navigations from other sites too.
    Lax,
    /// Sent with every request.
    None,
    /// Sent with requests from the same site only.
    Strict,
}

/// What a cookie is written and deleted with, apart from its value. `Path`, `Secure`, `HttpOnly` and `Domain` are the
/// same for every cookie of the gateway (contract 4.1, 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieSpec<'a> {
    /// Full name, prefix included.
    pub name: Cow<'a, str>,
    /// Its `SameSite` attribute.
    pub same_site: SameSite,
    /// How long the browser keeps it.
    pub life: Life,
}

/// Settings of the cookies. Name and domain are visible ASCII; the configuration checks that.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Full name of the session cookie, prefix included.
    pub name: String,
    /// Parent domain, where the name's prefix allows one.
    pub domain: Option<String>,
    /// `SameSite` of the session cookie.
    pub same_site: SameSite,
    /// `SameSite` of login transactions and of the companion: the browser must send them on the way back from the
    /// provider.
    pub login_same_site: SameSite,
    /// Most bytes of the session cookie with its names and separators, without its companion (contract 4.14).
    pub budget: usize,
    /// Which sessions outlast the browser session.
    pub persistence: Persistence,
}

/// Reads and writes the cookies of the gateway.
#[derive(Debug, Clone)]
pub struct SessionCookies(Settings);

/// What a request carries of the session cookie.
#[derive(Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    /// No part of it.
    Missing,
    /// Parts that do not belong together.
    Invalid,
    /// The sealed value: borrowed from one cookie, or joined from several.
    Sealed(Cow<'a, [u8]>),
}

/// A session that does not fit into its cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

impl SessionCookies {
    /// Cookies of these names and attributes.
    #[must_use]
    pub const fn new(settings: Settings) -> Self {
        Self(settings)
    }

    /// Full name of the session cookie, which every part of it is sealed for (contract 5.6).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// One cookie of the session, counted from 0.
    fn part(&self, index: usize, life: Life) -> CookieSpec<'_> {
        let name = &self.0.name;
        let name = if index == 0 { Cow::Borrowed(name.as_str()) } else { Cow::Owned(format!("{name}-{index}")) };
        CookieSpec { name, same_site: self.0.same_site, life }
    }

    /// The companion of the session cookie (contract 4.24a).
    fn companion(&self, life: Life) -> CookieSpec<'_> {
        CookieSpec { name: format!("{}-id", self.0.name).into(), same_site: self.beside_the_session(), life }
    }

    /// `SameSite` of a cookie that the callback receives and that is written and deleted with the session cookie. A
    /// page on another site does so by a cross-site `fetch`, which writes only cookies with `SameSite=None`.
    fn beside_the_session(&self) -> SameSite {
        if self.0.same_site == SameSite::None { SameSite::None } else { self.0.login_same_site }
    }

    /// The cookie of a login transaction, by the transaction's ID.
    #[must_use]
    pub fn login(&self, id: &str) -> CookieSpec<'_> {
        self.login_named(format!("{}-login-{id}", self.0.name))
    }

    /// The cookie of a login transaction, by its full name.
    #[must_use]
    pub fn login_named<'a>(&self, name: impl Into<Cow<'a, str>>) -> CookieSpec<'a> {
        CookieSpec { name: name.into(), same_site: self.0.login_same_site, life: Life::Seconds(LOGIN_SECONDS) }
    }

    /// The cookie of a browser that signed out and may hand the ID token to the provider (contract 12.22). Its name is
    /// that of a login transaction, so that it is counted, deleted and kept from APIs with them.
    #[must_use]
    pub fn sign_out(&self) -> CookieSpec<'_> {
        CookieSpec { same_site: self.beside_the_session(), ..self.login("out") }
    }

    /// The value of [`Self::sign_out`] in a request.
    #[must_use]
    pub fn sign_out_value<'a>(&'a self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        self.login_value(headers, "out")
    }

    /// The line that writes a cookie.
    #[must_use]
    pub fn set(&self, cookie: &CookieSpec<'_>, value: &str) -> HeaderValue {
        header_value(&self.line(cookie, value))
    }

    /// The line that deletes a cookie. It repeats every attribute, since browsers ignore one that does not
    /// (contract 4.13).
    #[must_use]
    pub fn delete(&self, cookie: &CookieSpec<'_>) -> HeaderValue {
        let expired = CookieSpec { life: Life::Seconds(0), ..cookie.clone() };
        header_value(&(self.line(&expired, "") + "; Expires=Thu, 01 Jan 1970 00:00:00 GMT"))
    }

    /// The line that deletes a cookie of [`Self::logins`].
    #[must_use]
    pub fn delete_login<'a>(&'a self, name: impl Into<Cow<'a, str>>) -> HeaderValue {
        let (login, sign_out) = (self.login_named(name), self.sign_out());
        self.delete(if login.name == sign_out.name { &sign_out } else { &login })
    }

    fn line(&self, cookie: &CookieSpec<'_>, value: &str) -> String {
        let CookieSpec { name, same_site, life } = cookie;
        let domain = self.0.domain.as_deref().map_or_else(String::new, |domain| format!("; Domain={domain}"));
        format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}{domain}{life}")
    }

    /// How long the browser keeps the cookies of a session that are sent at `now`.
    #[must_use]
    pub const fn session_life(&self, open: &OpenSession, now: UnixSeconds) -> Life {
        self.0.persistence.life(open.session.persist, open.expires_at, now)
    }

    /// The lines that write a sealed session: its parts, deletions of those that are not in use, and its companion.
    ///
    /// # Errors
    /// It does not fit the budget or the number of parts.
    pub fn write_session(&self, sealed: &str, companion: &Companion, life: Life) -> Result<Vec<HeaderValue>, TooLarge> {
        let count = self.parts(sealed.len(), life).ok_or(TooLarge)?;
        let (mut rest, size) = (sealed, self.part_size(life));
        let line = |index: usize| {
            let cookie = self.part(index, life);
            if index >= count {
                return self.delete(&cookie);
            }
            // A sealed value is base64url, so that every byte is a boundary of characters.
            let (part, after) = rest.split_at_checked(size).unwrap_or((rest, ""));
            rest = after;
            if index == 0 && count > 1 {
                self.set(&cookie, &format!("{count}.{part}"))
            } else {
                self.set(&cookie, part)
            }
        };
        let companion = self.set(&self.companion(life), &companion.value());
        Ok((0..PARTS).map(line).chain([companion]).collect())
    }

    /// Whether a sealed session of so many bytes fits the budget and the number of parts.
    #[must_use]
    pub fn fits(&self, length: usize, life: Life) -> bool {
        self.parts(length, life).is_some()
    }

    /// The number of cookies for a sealed session of so many bytes, unless that is too large.
    fn parts(&self, length: usize, life: Life) -> Option<usize> {
        let count = length.div_ceil(self.part_size(life).max(1)).max(1);
        // Each cookie adds its name, `=` and `; `; the first of several also the count `n.`.
        let names = self.0.name.len() * count + "-1".len() * (count - 1) + 3 * count;
        let marker = if count > 1 { "n.".len() } else { 0 };
        (count <= PARTS && names + marker + length <= self.0.budget).then_some(count)
    }

    /// Most bytes of a sealed session in one cookie.
    fn part_size(&self, life: Life) -> usize {
        let overhead = self.line(&self.part(PARTS - 1, life), "n.").len();
        PART.min(LINE.saturating_sub(overhead))
    }

    /// The lines that delete the session cookie, whatever the request carried (contract 4.4), and its companion.
    #[must_use]
    pub fn delete_session(&self) -> Vec<HeaderValue> {
        let parts = (0..PARTS).map(|index| self.part(index, Life::Browser));
        parts.chain([self.companion(Life::Browser)]).map(|cookie| self.delete(&cookie)).collect()
    }

    /// Name and value of every pair whose name begins with that of the session cookie.
    fn pairs<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        pairs(headers).filter(|(name, _)| name.starts_with(self.0.name.as_bytes()))
    }

    /// The session cookie of a request (contract 4.3, 4.11).
    #[must_use]
    pub fn session<'a>(&'a self, headers: &'a HeaderMap) -> Presented<'a> {
        let mut parts: [Option<&[u8]>; PARTS] = [None; PARTS];
        for (name, value) in self.pairs(headers) {
            let Some(slot) = self.part_index(name).and_then(|index| parts.get_mut(index)) else { continue };
            if slot.is_some_and(|earlier| earlier != value) {
                return Presented::Invalid;
            }
            *slot = Some(value);
        }
        match parts {
            [None, None, None, None] => Presented::Missing,
            [Some(first), rest @ ..] => join(first, rest),
            [None, ..] => Presented::Invalid,
        }
    }

    fn part_index(&self, name: &[u8]) -> Option<usize> {
        match name.strip_prefix(self.0.name.as_bytes())? {
            b"" => Some(0),
            b"-1" => Some(1),
            b"-2" => Some(2),
            b"-3" => Some(3),
            _ => None,
        }
    }

    /// Whether a request carries the session cookie, valid or not, or its companion (contract 4.24a).
    #[must_use]
    pub fn has_session_or_companion(&self, headers: &HeaderMap) -> bool {
        self.pairs(headers).any(|(name, _)| self.part_index(name).is_some() || self.is_companion(name))
    }

    /// What the companion cookie of a request says (contract 4.11).
    #[must_use]
    pub fn presented_companion(&self, headers: &HeaderMap) -> Option<Companion> {
        let mut values = self.pairs(headers).filter(|(name, _)| self.is_companion(name)).map(|(_, value)| value);
        let first = values.next()?;
        if values.all(|other| other == first) { Companion::parse(first) } else { None }
    }

    fn is_companion(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.0.name.as_bytes()) == Some(b"-id")
    }

    /// The value of a login transaction's cookie, by the transaction's ID.
    #[must_use]
    pub fn login_value<'a>(&'a self, headers: &'a HeaderMap, id: &str) -> Option<&'a [u8]> {
        let name = self.login(id).name;
        let mut values = self.pairs(headers).filter(|(of, _)| *of == name.as_bytes()).map(|(_, value)| value);
        let first = values.next()?;
        values.all(|other| other == first).then_some(first)
    }

    /// Full name and value of every login transaction that a request carries.
    #[must_use]
    pub fn logins<'a>(&'a self, headers: &'a HeaderMap) -> Vec<(&'a str, &'a [u8])> {
        let prefix = self.login("").name;
        self.pairs(headers)
            .filter(|(name, _)| name.starts_with(prefix.as_bytes()))
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
            .filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)))
            .collect()
    }
}

impl fmt::Display for SameSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lax => "Lax",
            Self::None => "None",
            Self::Strict => "Strict",
        })
    }
}

/// The login transactions to delete so that a new one of `new_bytes` fits, the oldest first (contract 4.8).
///
/// `present` has name, bytes, and the time at which each began; one that does not open counts as oldest.
#[must_use]
pub fn surplus_logins(mut present: Vec<(&str, usize, Option<u64>)>, new_bytes: usize) -> Vec<&str> {
    present.sort_by_key(|(_, _, begun)| *begun);
    let mut count = present.len() + 1;
    let mut bytes = present.iter().map(|(_, bytes, _)| bytes).sum::<usize>() + new_bytes;
    let mut surplus = Vec::new();
    for (name, size, _) in present {
        if count <= LOGINS && bytes <= LOGIN_BYTES {
            break;
        }
        surplus.push(name);
        count -= 1;
        bytes -= size;
    }
    surplus
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.get_all(COOKIE).iter().flat_map(|line| between_semicolons(line.as_bytes())).filter_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = memchr(b'=', pair)?;
        Some((pair.get(..equals)?, pair.get(equals + 1..)?))
    })
}

/// What `split` does, but fast for the kilobytes of a session.
fn between_semicolons(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let end = memchr(b';', line);
        rest = end.and_then(|end| line.get(end + 1..));
        line.get(..end.unwrap_or(line.len()))
    })
}

/// Joins the parts of a session. The first says how many there are; exactly those must be there.
fn join<'a>(first: &'a [u8], rest: [Option<&'a [u8]>; PARTS - 1]) -> Presented<'a> {
    let (count, head) = match first {
        [count @ b'2'..=b'4', b'.', head @ ..] => (usize::from(count - b'0'), head),
        whole => (1, whole),
    };
    let mut sealed = Cow::Borrowed(head);
    for (position, part) in rest.into_iter().enumerate() {
        match part {
            Some(part) if position + 1 < count => sealed.to_mut().extend_from_slice(part),
            None if position + 1 >= count => {}
            _ => return Presented::Invalid,
        }
    }
    Presented::Sealed(sealed)
}

#[expect(clippy::expect_used, reason = "the configuration checks names and domain, values are base64url")]
fn header_value(line: &str) -> HeaderValue {
    HeaderValue::from_str(line).expect("a line of visible ASCII is a header value")
}

#[cfg(test)]
mod tests;
