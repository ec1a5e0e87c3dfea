//! `cargo dev bench --cold`: from the start of the process to listening, and to the first proxied call.

/// Gives the exit code.
pub async fn run(_arguments: &[String]) -> u8 {
    2
}
