//! A master that gives up its mastership by plan: it pauses writes until the next one has everything.

use super::Managed;
use crate::command::Error;
use crate::io::{ConnId, Io};
use crate::server::client::Blocked;
use crate::server::{Pause, Server};
use crate::shardmap::NodeAddr;

/// Longest pause that HANDOVER may ask for, milliseconds.
const MAX_HANDOVER_MS: u64 = 60_000;

impl Server {
    /// `REPLICASET HANDOVER shard member epoch timeout-ms`: pauses writes; the reply comes when `member` is equal.
    pub fn handover(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        member: NodeAddr,
        epoch: u64,
        timeout_ms: u64,
    ) -> Result<(), Error> {
        let managed = self.managed_mut()?;
        if !managed.is_master() {
            return Err("HANDOVER this node is not master".into());
        }
        if !managed.is_member(&member) || member == managed.node {
            return Err(Error::Text(format!("HANDOVER {member} is not another member of this shard").into()));
        }
        if managed.own_shard().is_some_and(|s| epoch <= s.epoch) {
            return Err("HANDOVER the epoch is not newer than the map's".into());
        }
        let deadline_ms = io.now.mono_ms() + timeout_ms.clamp(1, MAX_HANDOVER_MS);
        self.pause = Pause { until_ms: deadline_ms, all: false };
        self.release_effects();
        self.flush_stream(io);
        let offset = self.repl.offset();
        tracing::info!("Handing over to {member}: writes are paused at offset {offset}");
        self.block(conn, Blocked::Handover { member, offset }, deadline_ms);
        self.check_blocked(io);
        Ok(())
    }

    /// True once a member has acknowledged an offset.
    pub(crate) fn member_has(&self, member: &NodeAddr, offset: u64) -> bool {
        self.repl.online(&self.clients).any(|r| r.acked >= offset && r.address().as_ref() == Some(member))
    }

    /// Ends the pause of a handover that did not come about.
    pub(crate) fn handover_failed(&mut self) {
        self.pause = Pause::default();
    }

    /// SIGTERM on a master: has another member made master first. Until when that is waited for, monotonic
    /// milliseconds; 0 where there is nobody to hand over to.
    pub(crate) fn ask_for_handover(&mut self, io: &mut Io) -> u64 {
        if !self.is_master() || self.repl.online(&self.clients).next().is_none() {
            return 0;
        }
        let Some(map) = self.managed.as_ref().and_then(Managed::map) else { return 0 };
        let (timeout, sentinels) = (map.failover_timeout_ms, map.sentinels.clone());
        let until = io.now.mono_ms() + timeout;
        let shard = self.config.managed_shard;
        self.start_errand(
            io,
            sentinels,
            vec!["REPLICASET".into(), "SWITCHOVER".into(), shard.to_string()],
            until,
        );
        until
    }
}
