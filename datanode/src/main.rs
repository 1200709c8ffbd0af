//! The data server.

fn main() {}
