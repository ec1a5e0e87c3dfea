//! `cargo dev …`: the commands that developers run.

fn main() {}
