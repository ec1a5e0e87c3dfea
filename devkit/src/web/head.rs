use std::sync::{Arc, Mutex};

use super::lock;

/// The bytes of the current request's head: hyper keeps neither the order of header lines nor how their names were
/// written.
#[derive(Clone, Default)]
pub(super) struct Head {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    complete: bool,
}

impl Head {
    pub(super) fn bytes(&self) -> Vec<u8> {
        lock(&self.state).bytes.clone()
    }

    /// Starts over for the next request. To be called when a request's body has been read.
    pub(super) fn reset(&self) {
        *lock(&self.state) = State::default();
    }

    pub(super) fn add(&self, read: &[u8]) {
        let mut state = lock(&self.state);
        if state.complete {
            return;
        }
        state.bytes.extend_from_slice(read);
        if let Some(end) = state.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            state.bytes.truncate(end);
            state.complete = true;
        }
    }
}
