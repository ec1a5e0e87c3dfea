//! Tests at the boundary: the real binary, real sockets, and everything that it talks to as a server of its own.

#![expect(unreachable_pub, reason = "a test binary has no outside, and `pub` reads better than `pub(crate)`")]

mod app;
mod visitor;

mod callback;
mod journey;
