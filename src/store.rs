//! Stores of sessions. Each implements [`crate::session::store::SessionStore`]; `app` chooses one.

pub mod cookie;
pub mod redis;

use self::redis::Config as RedisConfig;

/// Where sessions are stored (contract 7.34).
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// In the session cookie.
    Cookie,
    /// In Redis; the session cookie holds a handle.
    Redis(RedisConfig),
}
