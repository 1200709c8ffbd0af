//! The in-memory data structures of the engine. They know nothing of commands, connections or files: time, random
//! numbers and encoding limits are handed in.

pub mod dict;
pub mod rng;
