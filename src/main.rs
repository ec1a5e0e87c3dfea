//! Cloakroom: a token handler for single-page applications.

fn main() {}
