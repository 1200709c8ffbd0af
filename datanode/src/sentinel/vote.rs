//! Votes: `SENTINEL IS-MASTER-DOWN-BY-ADDR`, under the shard map `REPLICASET VOTE`, asks whether a master is down and, with
//! a run id, for the vote in an epoch.
//!
//! Contract: at most one vote per master and epoch, durable before it is answered; a leader has a majority of all known
//! sentinels, and at least the quorum.

use std::collections::BTreeMap;

use super::failover::Step;
use super::instance::{Channel, Expect, InstId};
use super::{PeerView, Sentinel};
use crate::io::Io;
use crate::mutation::{self, Mutation};
use crate::resp::reader::Value;

/// An answer about a master counts for so long, milliseconds.
const ANSWER_LIFE_MS: u64 = 5000;
/// Managed: interval of questions, milliseconds.
const ASK_MANAGED_MS: u64 = 50;
const ASK_LEADING_MS: u64 = 500;
/// Managed: a leader that has not repeated its question for so long is taken for dead, milliseconds.
pub(super) const LEADER_LIFE_MS: u64 = 1500;
/// How much later a sentinel tries itself that has voted for another one, at random up to this, milliseconds.
pub(super) const DESYNC_MS: u64 = 1000;

impl Sentinel {
    /// Asks the other sentinels about a master that this one sees down, or whose leader it wants to be.
    pub(super) fn ask_peers(&mut self, io: &mut Io, name: &str, force: bool) {
        let now = io.now.mono_ms();
        let managed = self.managed.is_some();
        let Some(m) = self.masters.get(name) else { return };
        let inst = m.inst.and_then(|id| self.insts.get(&id));
        let down = inst.is_some_and(|i| i.sdown());
        let candidate = m.failover.active();
        let ask = down || (managed && candidate);
        let period = match m.failover.step {
            _ if !managed => self.timing.ask_period,
            Step::None | Step::WaitStart => ASK_MANAGED_MS,
            // The others keep back as long as they hear this.
            _ => ASK_LEADING_MS,
        };
        let attempt_epoch = m.failover.epoch;
        let mut to_ask = Vec::new();
        if let Some(m) = self.masters.get_mut(name) {
            for (id, p) in &mut m.peers {
                if now.saturating_sub(p.answered_ms) > ANSWER_LIFE_MS {
                    p.master_down = false;
                    p.leader = None;
                }
                if ask && (force || now.saturating_sub(p.asked_ms) >= period) {
                    to_ask.push(*id);
                }
            }
        }
        if to_ask.is_empty() {
            return;
        }
        let inst = self.master_inst(name);
        let host =
            inst.map(|i| i.host_for_clients(self.cfg.announce_hostnames).to_owned()).unwrap_or_default();
        let port = inst.map_or(0, |i| i.addr.port()).to_string();
        let epoch = if managed && candidate { attempt_epoch } else { self.current_epoch }.to_string();
        let run_id = if candidate { self.myid.clone() } else { "*".into() };
        let generation = self.map().map_or(0, |map| map.generation).to_string();
        let planned = if self.is_planned(name) { "1" } else { "0" };
        for id in to_ask {
            let expect = Expect::MasterDown { master: name.to_owned() };
            if !force && self.insts.get(&id).is_some_and(|i| i.command.pending.contains(&expect)) {
                continue;
            }
            let classic = ["SENTINEL", "is-master-down-by-addr", &host, &port, &epoch, &run_id];
            let by_name = ["REPLICASET", "VOTE", name, &epoch, &run_id, &generation, planned];
            let args = if managed { &by_name[..] } else { &classic };
            self.send(io, id, Channel::Command, expect, args);
            if let Some(p) = self.masters.get_mut(name).and_then(|m| m.peers.get_mut(&id)) {
                p.asked_ms = now;
            }
        }
    }

    pub(super) fn master_down_answer(&mut self, io: &mut Io, id: InstId, name: &str, value: &Value) {
        let now = io.now.mono_ms();
        let Some([Value::Int(down), leader, Value::Int(epoch), rest @ ..]) = value.items() else { return };
        let authority = match rest {
            [Value::Bulk(json)] => serde_json::from_slice(json).ok(),
            _ => None,
        };
        let Some(leader) = leader.text() else { return };
        let managed = self.managed.is_some();
        let Some(p) = self.masters.get_mut(name).and_then(|m| m.peers.get_mut(&id)) else { return };
        p.answered_ms = now;
        p.master_down = *down == 1;
        if leader != "*" {
            let epoch = (*epoch).max(0) as u64;
            let news = p.leader_epoch != epoch || p.leader.as_ref() != Some(&leader);
            p.leader = Some(leader.clone());
            p.leader_epoch = epoch;
            p.authority = authority;
            if news {
                let voter = self.insts.get(&id).map(|i| i.run_id.clone()).unwrap_or_default();
                tracing::info!("{voter} voted for {leader} {epoch}");
                if managed && self.is_at(name, Step::WaitStart, epoch) {
                    self.drive_shard(io, name);
                }
            }
        }
    }

    /// Votes, or repeats the vote that was given: the leader and its epoch. `None` where it may not vote or can't keep it.
    pub(super) fn vote(
        &mut self,
        io: &mut Io,
        name: &str,
        epoch: u64,
        run_id: &str,
        planned: bool,
    ) -> Option<(String, u64)> {
        let now = io.now.mono_ms();
        if !self.may_vote() || !(planned || self.lease_is_over(name, now)) {
            return None;
        }
        let before_epoch = self.current_epoch;
        let delay = self.rng.below(DESYNC_MS);
        let m = self.masters.get_mut(name)?;
        let before = (m.leader.clone(), m.opt.leader_epoch, m.feed.withheld_below);
        let new_epoch = epoch > self.current_epoch;
        self.current_epoch = self.current_epoch.max(epoch);
        let twice = mutation::active(Mutation::VoteGivenTwice);
        let voted = (m.opt.leader_epoch < epoch || twice) && self.current_epoch <= epoch;
        if voted {
            m.leader = Some(run_id.to_owned());
            m.opt.leader_epoch = epoch;
            if !planned {
                m.feed.withheld_below = epoch;
            }
        }
        if (new_epoch || voted)
            && !mutation::active(Mutation::VoteNotKept)
            && let Err(e) = self.save()
        {
            tracing::error!("a vote could not be kept, so it is not given: {e}");
            self.current_epoch = before_epoch;
            if let Some(m) = self.masters.get_mut(name) {
                (m.leader, m.opt.leader_epoch, m.feed.withheld_below) = before;
            }
            return None;
        }
        if new_epoch {
            self.tell(io, "+new-epoch", &epoch.to_string(), Some(name));
        }
        if voted {
            self.tell(io, "+vote-for-leader", &format!("{run_id} {epoch}"), Some(name));
        }
        let m = self.masters.get_mut(name)?;
        if run_id != self.myid && m.leader.as_deref() == Some(run_id) && m.opt.leader_epoch == epoch {
            if voted {
                m.failover.held_back_ms = now + delay;
            }
            // A leader that repeats its question is alive: others hold back.
            m.failover.not_before_ms = now + LEADER_LIFE_MS + delay;
        }
        Some((m.leader.clone()?, m.opt.leader_epoch))
    }

    /// Counts votes; gives this sentinel's own to whoever is ahead. The leader, if there is one for `epoch`.
    pub(super) fn leader(&mut self, io: &mut Io, name: &str, epoch: u64) -> Option<String> {
        let m = self.masters.get(name)?;
        let voters = m.peers.len() + 1;
        let quorum = (voters / 2 + 1).max(m.opt.quorum as usize);
        let mut votes: BTreeMap<String, usize> = BTreeMap::new();
        for PeerView { leader, leader_epoch, .. } in m.peers.values() {
            if let Some(l) = leader
                && *leader_epoch == epoch
            {
                *votes.entry(l.clone()).or_default() += 1;
            }
        }
        let ahead = votes.iter().max_by_key(|(_, n)| **n).map(|(l, _)| l.clone());
        let choice = ahead.unwrap_or_else(|| self.myid.clone());
        let planned = self.is_planned(name);
        if let Some((mine, mine_epoch)) = self.vote(io, name, epoch, &choice, planned)
            && mine_epoch == epoch
        {
            *votes.entry(mine).or_default() += 1;
        }
        votes.into_iter().max_by_key(|(_, n)| *n).filter(|(_, n)| *n >= quorum).map(|(l, _)| l)
    }
}
