//! Signed JWTs: keys, algorithms, headers and signatures (RFC 7515, RFC 7517, RFC 7519, RFC 8725).
//!
//! Nothing here knows who issued a token or what its claims have to say: that is the part of the caller. The only
//! module that names `jsonwebtoken`.

mod jwk;
mod jwt;
mod signature;

pub use jwk::{Key, KeySet};
pub use jwt::{JwtError, verify};
