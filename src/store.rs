//! Stores of sessions. Each implements [`crate::session::store::SessionStore`]; `app` chooses one.

pub mod cookie;
