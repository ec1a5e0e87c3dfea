//! The locks and atomics of the tables that threads share (contract 17.5).
//!
//! The package `models` compiles tables with those of Shuttle instead, which tries the orders in which threads can use
//! them.

pub use std::sync::{Mutex, MutexGuard, PoisonError, atomic};
