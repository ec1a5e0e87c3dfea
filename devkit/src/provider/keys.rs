use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::web::jwt::SigningKey;

/// The signing keys. Before the first rotation only the first is published; afterwards both are, and sign in turn.
#[derive(Debug)]
pub(super) struct Keys {
    own: [SigningKey; 2],
    /// Never published.
    pub(super) unpublished: SigningKey,
    rotations: AtomicUsize,
}

impl Keys {
    pub(super) fn load() -> io::Result<Self> {
        Ok(Self {
            own: [
                SigningKey::load(include_bytes!("../../keys/provider-1.pk8"))?,
                SigningKey::load(include_bytes!("../../keys/provider-2.pk8"))?,
            ],
            unpublished: SigningKey::load(include_bytes!("../../keys/stranger.pk8"))?,
            rotations: AtomicUsize::new(0),
        })
    }

    pub(super) fn active(&self) -> &SigningKey {
        let [first, second] = &self.own;
        if self.rotations.load(Ordering::SeqCst).is_multiple_of(2) { first } else { second }
    }

    pub(super) fn rotate(&self) {
        self.rotations.fetch_add(1, Ordering::SeqCst);
    }

    /// The JSON Web Key Set (RFC 7517).
    pub(super) fn set(&self) -> Value {
        let published = if self.rotations.load(Ordering::SeqCst) == 0 { 1 } else { 2 };
        json!({"keys": self.own.iter().take(published).map(SigningKey::jwk).collect::<Vec<_>>()})
    }
}
