//! What the operator remembers of a resource between two looks. All of it may be lost: then it takes a little longer.

use std::collections::BTreeMap;

use datanode::shardmap::{NodeAddr, NodeStatus};

use crate::render::Kind;
use crate::snapshot::{Failures, Record};

/// Time after a handover that failed before the next one, milliseconds.
const HANDOVER_RETRY_MS: u64 = 60_000;

/// Memory of one resource.
#[derive(Debug, Default)]
pub struct Memory {
    /// When each member and sentinel last answered, or was first asked, Unix milliseconds.
    pub heard: BTreeMap<NodeAddr, u64>,
    /// Promises, by shard.
    pub promises: BTreeMap<u32, Vec<NodeStatus>>,
    /// Failures of actions.
    pub failures: Failures,
    /// When the last disruptive action was carried out.
    pub last_disruption_ms: u64,
    /// When each object was last applied.
    pub applied: BTreeMap<(Kind, String), u64>,
    /// The password and when it was read.
    pub password: Option<(String, u64)>,
    /// When the status was last written.
    pub status_written_ms: u64,
    /// Generation of the resource that the failures are about.
    pub generation: Option<i64>,
}

impl Memory {
    /// Takes in a promise, in place of an older one of the same member.
    pub fn promised(&mut self, shard: u32, status: NodeStatus) {
        let promises = self.promises.entry(shard).or_default();
        promises.retain(|known| known.node != status.node);
        promises.push(status);
    }

    /// Forgets promises of elections that are over, or whose epoch has been raised.
    pub fn forget_old_promises(&mut self, record: &Record) {
        self.promises.retain(|shard, promises| match record.elections.get(shard) {
            Some(election) => {
                promises.retain(|promise| promise.promised == election.epoch);
                true
            }
            None => false,
        });
    }

    /// A handover has paused writes for nothing: not again soon.
    pub fn handover_failed(&mut self, epoch: u64, why: String, now_ms: u64) {
        self.last_disruption_ms = now_ms + HANDOVER_RETRY_MS;
        self.failures.handover = Some((epoch, why));
    }
}
