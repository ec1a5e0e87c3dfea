//! The cookies: reading the `Cookie` header without forgiveness, and every `Set-Cookie` line of ours.
//!
//! The usual crates forgive what contract section 4 forbids (duplicates, odd bytes, prefixes of names), so the header
//! is taken apart here.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use memchr::memchr;

/// Most bytes in one cookie's part of a sealed session.
const PART: usize = 3_800;
/// Most parts of a session.
const PARTS: usize = 4;
/// What browsers take in one `Set-Cookie` line.
const LINE: usize = 4_095;
/// Life of a login transaction in seconds.
pub const LOGIN_SECONDS: u64 = 600;
/// Most login transactions in a browser.
const LOGINS: usize = 5;
/// Most bytes of login transactions in a browser.
const LOGIN_BYTES: usize = 3_000;

/// The `SameSite` attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Sent with top-level navigations from other sites too.
    Lax,
    /// Sent from everywhere.
    None,
    /// Sent from the same site only.
    Strict,
}

impl SameSite {
    const fn name(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::None => "None",
            Self::Strict => "Strict",
        }
    }
}

/// Names and attributes of the cookies.
#[derive(Debug, Clone)]
pub struct SessionCookies {
    /// Full name of the session cookie, prefix included.
    pub name: String,
    /// Parent domain, where the name's prefix allows one.
    pub domain: Option<String>,
    /// `SameSite` of the session cookie.
    pub same_site: SameSite,
    /// `SameSite` of login transactions: they must come back from the provider.
    pub login_same_site: SameSite,
    /// Bytes of the session cookie with its names and separators.
    pub budget: usize,
}

/// What a request carries of the session cookie.
#[derive(Debug, PartialEq, Eq)]
pub enum Presented<'a> {
    /// No part of it.
    Missing,
    /// Parts that do not belong together.
    Invalid,
    /// The sealed value: as it came, or put together of several cookies.
    Sealed(Cow<'a, [u8]>),
}

/// A session that does not fit into its cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

impl SessionCookies {
    /// Name and value of every pair that carries a name of ours or begins with one.
    fn pairs<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        pairs(headers).filter(|(name, _)| name.starts_with(self.name.as_bytes()))
    }

    /// The session cookie of a request.
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
        match name.strip_prefix(self.name.as_bytes())? {
            b"" => Some(0),
            b"-1" => Some(1),
            b"-2" => Some(2),
            b"-3" => Some(3),
            _ => None,
        }
    }

    fn part_name(&self, index: usize) -> String {
        if index == 0 { self.name.clone() } else { format!("{}-{index}", self.name) }
    }

    /// The `Set-Cookie` lines that write a sealed session: the parts in use, and deletions of the others.
    ///
    /// # Errors
    /// It does not fit the budget or the number of parts.
    pub fn write_session(&self, sealed: &str) -> Result<Vec<HeaderValue>, TooLarge> {
        let size = self.part_size();
        let parts: Vec<&str> = if sealed.len() <= size {
            vec![sealed]
        } else {
            // What is sealed is base64url, so any byte is a boundary of characters.
            sealed.as_bytes().chunks(size.max(1)).filter_map(|part| std::str::from_utf8(part).ok()).collect()
        };
        if parts.len() > PARTS {
            return Err(TooLarge);
        }
        let value = |(index, part): (usize, &&str)| match (index, parts.len()) {
            (0, count) if count > 1 => format!("{count}.{part}"),
            _ => (*part).to_owned(),
        };
        let values: Vec<String> = parts.iter().enumerate().map(value).collect();
        let bytes: usize =
            values.iter().enumerate().map(|(index, value)| self.part_name(index).len() + 3 + value.len()).sum();
        if bytes > self.budget {
            return Err(TooLarge);
        }
        let line = |index: usize| match values.get(index) {
            Some(value) => header_value(&self.line(&self.part_name(index), value, self.same_site, "")),
            None => self.deletion(&self.part_name(index), self.same_site),
        };
        Ok((0..PARTS).map(line).collect())
    }

    /// Most bytes of a sealed session in one cookie, so that no line is longer than browsers take.
    #[must_use]
    pub fn part_size(&self) -> usize {
        let overhead = self.line(&self.part_name(PARTS - 1), "n.", self.same_site, "").len();
        PART.min(LINE.saturating_sub(overhead))
    }

    /// The lines that delete the session cookie, whatever the request carried.
    #[must_use]
    pub fn delete_session(&self) -> Vec<HeaderValue> {
        (0..PARTS).map(|index| self.deletion(&self.part_name(index), self.same_site)).collect()
    }

    /// Full name of the cookie of a login transaction.
    #[must_use]
    pub fn login_name(&self, id: &str) -> String {
        format!("{}-login-{id}", self.name)
    }

    /// The value of a login transaction's cookie.
    #[must_use]
    pub fn login<'a>(&'a self, headers: &'a HeaderMap, id: &str) -> Option<&'a [u8]> {
        let name = self.login_name(id);
        let mut found = self.pairs(headers).filter(|(of, _)| *of == name.as_bytes()).map(|(_, value)| value);
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }

    /// Name, value and bytes of every login transaction that a request carries.
    #[must_use]
    pub fn logins<'a>(&'a self, headers: &'a HeaderMap) -> Vec<(&'a str, &'a [u8])> {
        let prefix = self.login_name("");
        self.pairs(headers)
            .filter(|(name, _)| name.starts_with(prefix.as_bytes()))
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
            .filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)))
            .collect()
    }

    /// The line that writes a login transaction.
    #[must_use]
    pub fn write_login(&self, id: &str, sealed: &str) -> HeaderValue {
        let life = format!("; Max-Age={LOGIN_SECONDS}");
        header_value(&self.line(&self.login_name(id), sealed, self.login_same_site, &life))
    }

    /// The line that deletes a login transaction, by its full name.
    #[must_use]
    pub fn delete_login(&self, name: &str) -> HeaderValue {
        self.deletion(name, self.login_same_site)
    }

    fn deletion(&self, name: &str, same_site: SameSite) -> HeaderValue {
        header_value(&self.line(name, "", same_site, "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"))
    }

    /// One `Set-Cookie` line. A deletion repeats all attributes, else browsers ignore it.
    fn line(&self, name: &str, value: &str, same_site: SameSite, life: &str) -> String {
        let mut line = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite={}", same_site.name());
        if let Some(domain) = &self.domain {
            // Writing to a string cannot fail.
            let _ = write!(line, "; Domain={domain}");
        }
        line + life
    }
}

/// Which login transactions must go so that a new one of `new_bytes` fits, the oldest first.
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

/// As `split` would do it, which takes its time over the kilobytes of a session.
fn between_semicolons(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        let end = memchr(b';', line);
        rest = end.and_then(|end| line.get(end + 1..));
        line.get(..end.unwrap_or(line.len()))
    })
}

/// The first part says how many there are; exactly those must be there.
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

/// Lines of ours hold names, base64url and attributes from the configuration, which is parsed to visible ASCII.
fn header_value(line: &str) -> HeaderValue {
    HeaderValue::from_str(line).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
