//! Names and contents of what is stored in Redis (contract 15.3, 15.4). Pure: nothing here seals or sends.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::UnixSeconds;
use crate::session::binary;
use crate::session::companion::SessionHash;
use crate::session::payload::Session;
use crate::session::store::{EndReason, LogoutTokenId, Whose};
use crate::session::user_agent::UserAgent;

/// Most bytes of a record (contract 15.7).
pub(super) const LIMIT: usize = 512 * 1_024;
/// The version of [`Metadata`], before it.
const VERSION: u8 = 1;

/// Names of keys. The braces are hash tags: what lies between them decides the slot, so that the keys of one session
/// lie in one.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
}

/// The names of one session's keys, and of what is sealed for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionNames<'a> {
    prefix: &'a str,
    /// `H`, as a member of indexes.
    pub(super) member: String,
    pub(super) record: String,
    /// What the metadata is sealed for; the session itself is sealed for `member`.
    pub(super) metadata: String,
}

/// What sessions are found by without their handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexKind {
    ObjectId,
    ProviderSession,
    Subject,
}

/// One index: all sessions with one value of one issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Index {
    kind: IndexKind,
    hash: [u8; 32],
}

/// What is known of a session without its handle (contract 16.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) signed_in_at: UnixSeconds,
    pub(super) active_at: UnixSeconds,
    pub(super) user_agent: UserAgent,
    /// The indexes that the session is in.
    pub(super) indexes: Vec<Index>,
}

/// The binary form of [`Metadata`].
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    signed_in_at: UnixSeconds,
    active_at: UnixSeconds,
    user_agent: &'a str,
    /// In the order of [`IndexKind::ALL`].
    indexes: [Option<[u8; 32]>; 3],
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn session(&self, hash: &SessionHash) -> SessionNames<'_> {
        let (prefix, member) = (self.prefix.as_str(), text(hash));
        SessionNames { record: key(prefix, "s", &member), metadata: [&member, "/m"].concat(), prefix, member }
    }

    pub(super) fn index(&self, Index { kind, hash }: &Index) -> String {
        key(&self.prefix, kind.name(), &text(hash))
    }

    pub(super) fn logout_token(&self, LogoutTokenId { issuer, jti }: &LogoutTokenId) -> String {
        key(&self.prefix, "jti", &text(&value_hash(issuer, jti)))
    }

    /// A pattern that matches the records of all sessions. No character of a prefix has a meaning in it.
    pub(super) fn all_records(&self) -> String {
        format!("{}:s:{{*}}", self.prefix)
    }

    /// The session of a record, by its name.
    pub(super) fn of_record(&self, name: &[u8]) -> Option<SessionHash> {
        let member = name.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b":s:{")?.strip_suffix(b"}")?;
        parse_member(member)
    }
}

impl SessionNames<'_> {
    pub(super) fn lock(&self) -> String {
        key(self.prefix, "l", &self.member)
    }

    /// Says that the session was moved here or has ended, so that nothing writes its record again (contract 15.5,
    /// 15.17). It holds the reason.
    pub(super) fn mark(&self) -> String {
        key(self.prefix, "mv", &self.member)
    }
}

/// Joined rather than formatted, since every call names a record.
fn key(prefix: &str, kind: &str, tag: &str) -> String {
    [prefix, ":", kind, ":{", tag, "}"].concat()
}

/// The session of an index's member, unless it was not written by the gateway.
pub(super) fn parse_member(member: &[u8]) -> Option<SessionHash> {
    URL_SAFE_NO_PAD.decode(member).ok()?.try_into().ok()
}

/// What the mark of a session holds that ended for a reason. A greater one replaces a smaller one: the browser of a
/// session that ended from elsewhere may sign in again or sign out later, but not the reverse. 1 is that of a session
/// that was moved here.
pub(super) const fn mark(reason: EndReason) -> &'static [u8] {
    match reason {
        EndReason::FromElsewhere => b"2",
        EndReason::Replaced => b"3",
        EndReason::SignedOut => b"4",
    }
}

/// Why a session with this mark ended; `None` if only its move is known.
pub(super) fn reason(of_mark: &[u8]) -> Option<EndReason> {
    let reasons = [EndReason::FromElsewhere, EndReason::Replaced, EndReason::SignedOut];
    reasons.into_iter().find(|reason| mark(*reason) == of_mark)
}

fn text(hash: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(hash)
}

/// `X` of contract 15.4.
fn value_hash(issuer: &str, value: &str) -> [u8; 32] {
    Sha256::new().chain_update(issuer).chain_update([0]).chain_update(value).finalize().into()
}

impl IndexKind {
    const ALL: [Self; 3] = [Self::ObjectId, Self::ProviderSession, Self::Subject];

    const fn name(self) -> &'static str {
        match self {
            Self::ObjectId => "oid",
            Self::ProviderSession => "sid",
            Self::Subject => "sub",
        }
    }
}

impl Index {
    fn new(kind: IndexKind, issuer: &str, value: &str) -> Self {
        Self { kind, hash: value_hash(issuer, value) }
    }

    /// The indexes of a session. One of payload version 2 has no issuer, and so is in none.
    pub(super) fn of(session: &Session) -> Vec<Self> {
        let Some(issuer) = &session.issuer else { return Vec::new() };
        let user = &session.user;
        let values = [
            (IndexKind::ObjectId, user.oid.as_deref()),
            (IndexKind::ProviderSession, user.claims.provider_sid.as_deref()),
            (IndexKind::Subject, Some(user.sub.as_str())),
        ];
        values.into_iter().filter_map(|(kind, value)| Some(Self::new(kind, issuer, value?))).collect()
    }

    /// The index that has the sessions of `whose`, if they are in one.
    pub(super) fn of_whose(whose: &Whose) -> Option<Self> {
        match whose {
            Whose::Everyone | Whose::One(_) | Whose::OneOfUser { .. } => None,
            Whose::ObjectId { issuer, oid } => Some(Self::new(IndexKind::ObjectId, issuer, oid)),
            Whose::ProviderSession { issuer, sid } => Some(Self::new(IndexKind::ProviderSession, issuer, sid)),
            Whose::Subject { issuer, sub } => Some(Self::of_subject(issuer, sub)),
        }
    }

    pub(super) fn of_subject(issuer: &str, sub: &str) -> Self {
        Self::new(IndexKind::Subject, issuer, sub)
    }
}

impl Metadata {
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let hash = |kind| self.indexes.iter().find(|index| index.kind == kind).map(|index| index.hash);
        let wire = Wire {
            signed_in_at: self.signed_in_at,
            active_at: self.active_at,
            user_agent: self.user_agent.as_str(),
            indexes: IndexKind::ALL.map(hash),
        };
        binary::encode(&[VERSION], &wire)
    }

    /// `None` if it is damaged or of another version.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let (&VERSION, bytes) = payload.split_first()? else { return None };
        let (wire, rest): (Wire<'_>, _) = postcard::take_from_bytes(bytes).ok()?;
        let index = |(kind, hash): (IndexKind, Option<[u8; 32]>)| Some(Index { kind, hash: hash? });
        rest.is_empty().then(|| Self {
            signed_in_at: wire.signed_in_at,
            active_at: wire.active_at,
            user_agent: UserAgent::parse(wire.user_agent.as_bytes()),
            indexes: IndexKind::ALL.into_iter().zip(wire.indexes).filter_map(index).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
