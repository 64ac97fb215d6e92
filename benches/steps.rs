//! The steps of a hit, each by itself.
fn main() {}
