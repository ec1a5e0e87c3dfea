//! Tests over real sockets, with a handler that records what it gets, or with this test program as the handler.

mod exchanges;
mod forwarding;
mod life;
mod payloads;
mod plans;
mod proxying;
mod replay;
mod serving;
mod support;
pub(super) mod tables;
mod timers;
