//! A Redis 7 data server and sentinel that follows a shard map. See `docs/architecture.md`.

pub mod aof;
pub mod check;
pub mod disk;
#[cfg(test)]
pub mod disk_fake;
pub mod io;
pub mod rdb;
pub mod resp;
pub mod store;
