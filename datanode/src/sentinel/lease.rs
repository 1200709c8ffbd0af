//! The sentinels' side of leases: echoing the master's tokens, and not voting for another master while a lease may run.
//!
//! Contract: a sentinel that has voted for another master feeds the present one no more, and votes so only when what it
//! has fed has run out. Of the majority whose echoes make a lease and the majority whose votes make a leader at least one
//! sentinel is the same, so no lease runs when a leader decides. See [`crate::managed`] for the master's side.

use super::instance::{Channel, Expect, InstId};
use super::monitor::REFUSED_TIMES;
use super::{Master, Sentinel};
use crate::io::Io;
use crate::mutation::{self, Mutation};
use crate::shardmap::{NodeRole, Shard};

/// What a sentinel has fed of a shard's leases.
#[derive(Debug, Clone, Default)]
pub(super) struct Feed {
    /// When the newest token that was echoed had come, monotonic milliseconds.
    token_came_ms: u64,
    /// The process it was of.
    run_id: String,
    /// It has voted for, or accepted, another master than that of an older epoch than this: it gets no more tokens.
    pub withheld_below: u64,
}

impl Feed {
    /// Any lease may have been fed until `now`.
    pub fn since(now_ms: u64) -> Feed {
        Feed { token_came_ms: now_ms, ..Feed::default() }
    }
}

impl Sentinel {
    /// The words after `REPLICASET STATUS`: the echo of the token that the map's master sent last.
    fn echo(&self, id: InstId) -> Option<[String; 4]> {
        let managed = self.managed.as_ref()?;
        let i = self.insts.get(&id)?;
        let m = self.masters.get(&i.group)?;
        let shard = self.shard_named(&i.group)?;
        let status = i.status.as_ref()?;
        let fed = shard.master.as_ref() == Some(&i.addr) && shard.epoch >= m.feed.withheld_below;
        fed.then(|| {
            [
                managed.own.to_string(),
                shard.epoch.to_string(),
                status.run_id.clone(),
                status.token.to_string(),
            ]
        })
    }

    /// Asks a member for its STATUS, and feeds it if it is master.
    pub(super) fn ask_status(&mut self, io: &mut Io, id: InstId) {
        let echo = self.echo(id);
        let mut words = vec!["REPLICASET", "STATUS"];
        words.extend(echo.iter().flatten().map(String::as_str));
        if !self.send(io, id, Channel::Command, Expect::Status, &words) {
            return;
        }
        let Some(i) = self.insts.get_mut(&id) else { return };
        i.status_asked_ms = io.now.mono_ms();
        if let (Some([_, _, run_id, _]), Some(m)) = (echo, self.masters.get_mut(&i.group)) {
            m.feed.token_came_ms = m.feed.token_came_ms.max(i.status_ms);
            m.feed.run_id = run_id;
        }
    }

    /// True if no lease runs that this sentinel has fed, or none that matters.
    pub(super) fn lease_is_over(&self, name: &str, now: u64) -> bool {
        let (Some(map), Some(shard), Some(m)) = (self.map(), self.shard_named(name), self.masters.get(name))
        else {
            return true;
        };
        shard.master.is_none()
            || now >= m.feed.token_came_ms + map.lease_over_ms()
            || self.gave_itself_up(m, shard)
            // Nothing can be acknowledged any more once members have promised: the lease only saves the waiting clients'
            // time, and whoever refuses connections has none.
            || (map.write_ack_replicas > 0 && self.seems_dead(m, shard))
            || mutation::active(Mutation::LeaseNotAwaited)
    }

    /// The very process that was fed says that it takes no writes at this epoch any more.
    fn gave_itself_up(&self, m: &Master, shard: &Shard) -> bool {
        let status = m.inst.and_then(|id| self.insts.get(&id)?.status.as_ref());
        status.is_some_and(|s| {
            s.run_id == m.feed.run_id && (s.promised > shard.epoch || s.role == NodeRole::Nobody)
        })
    }

    /// Its host refuses connections, or another process answers in its place.
    fn seems_dead(&self, m: &Master, shard: &Shard) -> bool {
        let Some(i) = m.inst.and_then(|id| self.insts.get(&id)) else { return false };
        let replaced = i.status.as_ref().is_some_and(|s| {
            s.run_id != m.feed.run_id && s.role != NodeRole::Master && s.map_epoch <= shard.epoch
        });
        i.command.refusals >= REFUSED_TIMES || replaced
    }
}
