//! A Redis 7 data server and sentinel that follows a shard map. See `docs/architecture.md`.

pub mod acl;
pub mod aof;
pub mod check;
pub mod cli;
pub mod command;
pub mod config;
pub mod disk;
pub mod disk_fake;
pub mod election;
pub mod glob;
pub mod io;
pub mod logging;
pub mod managed;
pub mod mutation;
pub mod net;
pub mod persist;
pub mod rdb;
pub mod replication;
pub mod resp;
pub mod rng;
pub mod script;
pub mod sentinel;
pub mod server;
pub mod shardmap;
#[cfg(any(test, feature = "simulation"))]
pub mod sim;
pub mod store;
pub mod system;
