//! The append-only file as Redis 7 keeps it: a directory with a base (the dataset at some moment), incremental files of
//! commands, and a manifest that says which of them count (<https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/>).

pub mod commands;
pub mod files;
pub mod load;
pub mod manifest;
pub mod read;
pub mod write;
mod zeros;
