//! The datanode binary.
fn main() {}
