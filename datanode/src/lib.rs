//! A Redis 7 data server and sentinel that follows a shard map. See `docs/architecture.md`.

pub mod disk;
pub mod election;
pub mod io;
pub mod net;
pub mod resp;
pub mod shardmap;
