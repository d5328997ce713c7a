//! The fulgurite binary.
fn main() {}
