//! Why a command has no result.

use std::fmt;
use std::io;
use std::sync::Arc;

use redis::{RedisError, ServerErrorKind};

use super::address::Address;

/// Error codes that concern the server, whatever the command. Others concern commands of one kind.
const SERVER_CODES: [&str; 8] =
    ["BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOAUTH", "NOREPLICAS", "READONLY", "WRONGPASS"];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The host name has no address.
    Unresolved,
    /// No address accepts a connection.
    Unreachable(io::ErrorKind),
    ConnectTimeout,
    /// The text of the TLS library: what is wrong with the certificate, for instance.
    Tls(String),
    NoRoots,
    /// The Azure credential has no token; what to do.
    Token(String),
    /// The server is a replica, and not one of a cluster.
    Replica,
    /// A database number, but the server belongs to a cluster.
    DatabaseOfCluster,
    Closed,
    Timeout,
    /// What was received is not a reply, or not one to this command.
    Malformed,
    Moved(Address),
    Ask(Address),
    TryAgain,
    Reply(ErrorReply),
}

/// How replies begin that say that a script has no permission.
const DENIED_IN_SCRIPT: [&str; 2] = ["ACL failure in script", "The user executing the script can't"];

/// An error reply that is not handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ErrorReply {
    /// Such as `OOM`.
    code: String,
    /// With `NOPERM`: what the reply says is not permitted.
    denied: Option<Denied>,
}

/// What an ACL does not permit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Denied {
    Command(String),
    Keys,
    /// A script ran a command, and the reply does not say which.
    Unknown,
}

/// A failure and the server that it happened with.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) server: Arc<Address>,
    pub(super) failure: Failure,
}

impl Failure {
    /// From an error reply of a server.
    pub(super) fn of_reply(error: &RedisError, server: &Address) -> Self {
        let redirected = || Address::parse(error.redirect_node()?.0, server);
        match error.kind() {
            redis::ErrorKind::Server(ServerErrorKind::Moved) => redirected().map_or(Self::Malformed, Self::Moved),
            redis::ErrorKind::Server(ServerErrorKind::Ask) => redirected().map_or(Self::Malformed, Self::Ask),
            redis::ErrorKind::Server(ServerErrorKind::TryAgain) => Self::TryAgain,
            _ => Self::Reply(ErrorReply::new(error.code(), error.detail())),
        }
    }

    /// From an error of a connection.
    pub(super) fn of_connection(error: &RedisError) -> Self {
        match error.kind() {
            redis::ErrorKind::Parse => Self::Malformed,
            _ => Self::Closed,
        }
    }

    /// The class for the log: Redis's own in capital letters.
    pub(super) fn class(&self) -> &str {
        match self {
            Self::Unresolved => "unresolved",
            Self::Unreachable(_) => "unreachable",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls(_) | Self::NoRoots => "tls",
            Self::Token(_) => "token",
            Self::Replica => "replica",
            Self::DatabaseOfCluster => "database",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Moved(_) => "MOVED",
            Self::Ask(_) => "ASK",
            Self::TryAgain => "TRYAGAIN",
            Self::Reply(reply) => &reply.code,
        }
    }

    /// Whether the connection cannot be used any more.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::Reply(reply) => reply.code == "READONLY",
            failure => matches!(failure, Self::Closed | Self::Timeout | Self::Malformed),
        }
    }

    /// Whether another server may have the slot by now.
    pub(super) fn ends_route(&self) -> bool {
        match self {
            Self::Reply(reply) => matches!(reply.code.as_str(), "CLUSTERDOWN" | "MASTERDOWN"),
            failure => {
                matches!(failure, Self::Unresolved | Self::Unreachable(_) | Self::ConnectTimeout | Self::Replica)
            }
        }
    }

    /// Whether it concerns the server rather than the kind of command.
    pub(super) fn concerns_server(&self) -> bool {
        match self {
            Self::Reply(reply) => SERVER_CODES.contains(&reply.code.as_str()),
            _ => true,
        }
    }

    pub(super) fn is_unknown_script(&self) -> bool {
        matches!(self, Self::Reply(reply) if reply.code == "NOSCRIPT")
    }

    pub(super) fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Reply(reply) if reply.code == "WRONGTYPE")
    }

    /// Whether the server says that it does not belong to a cluster.
    pub(super) fn is_unclustered(&self) -> bool {
        matches!(self, Self::Reply(reply) if reply.code == "ERR")
    }

    /// The ACL rule that is missing, for a gateway whose keys begin with `prefix`.
    pub(super) fn acl_rule(&self, prefix: &str) -> Option<String> {
        let Self::Reply(ErrorReply { denied, .. }) = self else { return None };
        Some(match denied.as_ref()? {
            Denied::Command(name) => format!("+{name}"),
            Denied::Keys => format!("~{prefix}:*"),
            Denied::Unknown => format!("~{prefix}:* {}", super::ACL_COMMANDS),
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved => f.write_str("no connection: the host name has no address"),
            Self::Unreachable(kind) => write!(f, "no connection: {kind}"),
            Self::ConnectTimeout => f.write_str("no connection within 2 s"),
            Self::Tls(problem) => write!(f, "no TLS connection: {problem}"),
            Self::NoRoots => f.write_str("no TLS connection: no trusted roots"),
            Self::Token(problem) => f.write_str(problem),
            Self::Replica => f.write_str("the server is a replica; the address must be that of the primary"),
            Self::DatabaseOfCluster => f.write_str("a cluster has no databases; remove the number from the URL"),
            Self::Closed => f.write_str("the connection was closed"),
            Self::Timeout => f.write_str("no reply within 1 s"),
            Self::Malformed => f.write_str("a reply that is not one of Redis, or not one to this command"),
            Self::Moved(_) | Self::Ask(_) | Self::TryAgain => {
                write!(f, "{}: the cluster redirects without end", self.class())
            }
            Self::Reply(reply) => write!(f, "{}: {}", reply.code, reply.remedy()),
        }
    }
}

impl ErrorReply {
    fn new(code: Option<&str>, detail: Option<&str>) -> Self {
        // A reply in another form may contain anything.
        let is_code =
            |code: &&str| (1..=32).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_uppercase());
        let code = code.filter(is_code).unwrap_or("other");
        // In Redis 7 what a script may not do has the class of any error.
        let is_denied_text = |text: &str| DENIED_IN_SCRIPT.iter().any(|start| text.starts_with(start));
        let is_denied = code == "ERR" && detail.is_some_and(is_denied_text);
        let code = if is_denied { "NOPERM" } else { code };
        let denied = (code == "NOPERM").then(|| detail.map_or(Denied::Unknown, Denied::read));
        Self { code: code.to_owned(), denied }
    }

    fn remedy(&self) -> &'static str {
        match self.code.as_str() {
            "BUSY" => "a script runs for too long",
            "CLUSTERDOWN" | "MASTERDOWN" => "the cluster has no primary for the key",
            "LOADING" => "the server loads its data",
            "MISCONF" => "the server cannot save its data; see its log",
            "NOAUTH" => "a password is required",
            "NOPERM" => "the ACL does not permit it",
            "NOREPLICAS" => "the server has too few replicas",
            "OOM" => "the server has no memory left under maxmemory",
            "READONLY" => "the server is a replica",
            "WRONGPASS" => "user or password is wrong, or the user may not sign in",
            _ => "an error reply; see the server's log",
        }
    }
}

impl Denied {
    /// Reads the text of `NOPERM`, which differs between versions of Redis.
    fn read(detail: &str) -> Self {
        let quoted = detail.split('\'').nth(1).filter(|_| detail.contains(" run the '"));
        let is_name = |name: &&str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"|._-".contains(&byte);
            (1..=64).contains(&name.len()) && name.bytes().all(allowed)
        };
        match quoted.filter(is_name) {
            Some(name) => Self::Command(name.to_ascii_lowercase()),
            None if detail.contains(" key") => Self::Keys,
            None => Self::Unknown,
        }
    }
}
