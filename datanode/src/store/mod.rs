//! The in-memory data structures of the engine. They know nothing of commands, connections or files: time, random
//! numbers and encoding limits are handed in.

pub mod dict;
pub mod elem;
pub mod intset;
pub mod listpack;
pub mod num;
pub mod rng;
pub mod small;
pub mod str;

/// Bytes from outside that are not what they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt {0}")]
pub struct Corrupt(pub &'static str);
