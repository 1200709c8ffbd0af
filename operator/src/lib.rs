//! The operator for RedisReplicaSet: it watches, observes, decides and acts; see `docs/architecture.md`.

pub mod act;
pub mod controller;
pub mod crd;
pub mod decide;
pub mod events;
pub mod lease;
pub mod observe;
pub mod render;
pub mod snapshot;
pub mod status;
pub mod telemetry;
