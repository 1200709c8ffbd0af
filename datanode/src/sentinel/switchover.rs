//! Elections and planned moves under the shard map: votes, for a planned move the handover, promises, the decision
//! ([`election::decide`]), the new map to a majority of sentinels, then to the members.
//!
//! Contract: whoever leads an epoch decides it once, from the newest decision that any of its voters had accepted; members
//! hear of the decision only after it is durable at a majority of sentinels (Lamport: Paxos Made Simple, 2001). Until
//! promises are asked for, a planned move can be broken off and the old master goes on; behind them it needs that master's
//! own promise, for its lease was not waited for.

use std::collections::{BTreeMap, BTreeSet};

use super::failover::{Failover, Step};
use super::instance::{Channel, Expect, InstId};
use super::managed::node_status;
use super::settings::Crash;
use super::vote::LEADER_LIFE_MS;
use super::{PeerView, Sentinel};
use crate::election::{self, Decision, Election};
use crate::io::Io;
use crate::resp::reader::Value;
use crate::shardmap::{Authority, NodeAddr, NodeStatus, Shard, ShardMap};

/// Longest wait for a majority's votes, milliseconds.
const VOTES_MS: u64 = 1000;
/// Interval of asking a member for its promise again, milliseconds.
const PROMISE_PERIOD_MS: u64 = 200;
/// Interval of offering a decision to sentinels again, milliseconds.
const SPREAD_PERIOD_MS: u64 = 100;
/// The first attempt is staggered by the sentinel's place in the map, so that votes are rarely split, milliseconds.
const STAGGER_MS: u64 = 40;
/// After a lost attempt the next one follows within this, at random, milliseconds.
const RETRY_MS: u64 = 400;
/// How long the pause of a handover may last, milliseconds.
const HANDOVER_MS: u64 = 5000;
/// How long a planned move waits for the promise of a target that is not known to be down, milliseconds: without it the
/// old master is elected again.
const TARGET_PROMISE_MS: u64 = 3000;
/// Stands for the answer to a handover whose connection was lost.
pub(super) const HANDOVER_LOST: &str = "HANDOVER the connection was lost";
/// Attempts to connect after which a refusal is believed.
const ABSENT_REFUSALS: u32 = 3;

/// What the leader of an epoch knows of its attempt; the step is in [`Failover`].
pub(super) struct Attempt {
    pub planned: bool,
    pub at_risk: bool,
    pub reason: String,
    target: Option<NodeAddr>,
    /// Drawn once, so that deciding again gives the same answer.
    fresh_dataset: String,
    promises: BTreeMap<NodeAddr, NodeStatus>,
    asked_ms: BTreeMap<NodeAddr, u64>,
    handover_sent: bool,
    /// The newest authority that this sentinel or one of its voters had accepted when they voted.
    base: Authority,
    /// What has been decided, and the sentinels that have accepted it.
    decided: Option<Authority>,
    told: BTreeSet<InstId>,
    offered_ms: u64,
}

impl Sentinel {
    /// The attempt that this sentinel leads or wants to lead is a planned move.
    pub(super) fn is_planned(&self, name: &str) -> bool {
        self.managed.as_ref().and_then(|g| g.attempts.get(name)).is_some_and(|a| a.planned)
    }

    /// Whether what is answered belongs to the present step of an attempt.
    pub(super) fn is_at(&self, name: &str, step: Step, epoch: u64) -> bool {
        self.masters.get(name).is_some_and(|m| m.failover.step == step && m.failover.epoch == epoch)
    }

    fn attempt(&mut self, name: &str) -> Option<&mut Attempt> {
        self.managed.as_mut()?.attempts.get_mut(name)
    }

    /// The state machine of one shard.
    pub(super) fn drive_shard(&mut self, io: &mut Io, name: &str) {
        let now = io.now.mono_ms();
        let Some(shard) = self.shard_named(name).cloned() else { return };
        let Some(step) = self.masters.get(name).map(|m| m.failover.step) else { return };
        match step {
            Step::None => self.consider(io, name, &shard),
            Step::WaitStart => self.await_votes(io, name, shard.index),
            Step::Handover => self.await_handover(io, name, &shard),
            Step::Promises => self.await_promises(io, name, &self.as_voted(name, shard)),
            Step::Spread => self.spread(io, name, shard.index),
            _ => {}
        }
        let after = self.masters.get(name).map_or(Step::None, |m| m.failover.step);
        if after != step && matches!(after, Step::Handover | Step::Promises) {
            // Writes may be paused: what comes next does not wait for the timer.
            return self.drive_shard(io, name);
        }
        let force = self.masters.get(name).is_some_and(|m| m.failover.started_ms == now);
        self.ask_peers(io, name, force);
    }

    /// The shard as the leader of an epoch has to take it: with the newest authority of its voters.
    fn as_voted(&self, name: &str, mut shard: Shard) -> Shard {
        let base = self.managed.as_ref().and_then(|g| g.attempts.get(name)).map(|a| &a.base);
        if let Some(base) = base.filter(|base| **base > shard.authority()) {
            shard.set_authority(base.clone());
        }
        shard
    }

    /// Starts an election where one is needed.
    fn consider(&mut self, io: &mut Io, name: &str, shard: &Shard) {
        let now = io.now.mono_ms();
        let rank = self.map().map_or(0, |m| {
            let own = self.managed.as_ref().map(|g| &g.own);
            m.sentinels.iter().position(|s| Some(s) == own).unwrap_or(m.sentinels.len())
        }) as u64;
        let may = self.may_vote();
        // An election that was left by its leader: members that promised follow nobody, and a master that did takes no
        // writes, until one is finished.
        let stranded = self
            .members(name)
            .iter()
            .filter_map(|id| self.insts.get(id)?.status.as_ref())
            .any(|s| s.promised > shard.epoch);
        let jitter = self.rng.below(STAGGER_MS / 2);
        let fenced = self.master_inst(name).and_then(|i| i.status.as_ref()).is_some_and(|s| s.fenced);
        let Some(m) = self.masters.get_mut(name) else { return };
        // Nor does a sentinel feed a master's lease any more once it has voted for another one.
        let stranded = stranded || (fenced && m.feed.withheld_below > shard.epoch);
        let urgent = shard.epoch == 0 || m.odown_since_ms.is_some();
        let needed = urgent || stranded;
        if !needed || !may {
            if !needed && m.failover.not_before_ms <= now {
                m.failover.not_before_ms = 0;
                self.retry_planned(io, name, shard);
            }
            return;
        }
        if m.failover.not_before_ms == 0 {
            // Where only promises say so, their leader may still be at work.
            let patience = if urgent { 0 } else { LEADER_LIFE_MS };
            m.failover.not_before_ms = now + patience + rank * STAGGER_MS + jitter;
        }
        let due = now >= m.failover.not_before_ms;
        if due && self.lease_is_over(name, now) {
            self.begin(io, name, None, false);
        }
    }

    /// A planned move of a shard's master, to whichever replica is best prepared.
    ///
    /// # Errors
    /// Why none is begun.
    pub fn switchover(&mut self, io: &mut Io, shard: u32) -> Result<(), String> {
        let name = self.map().map(|m| m.master_name(shard)).unwrap_or_default();
        self.start_planned(io, &name, None)
    }

    /// Begins an attempt; `planned`: with a handover to `target`.
    pub(super) fn begin(&mut self, io: &mut Io, name: &str, target: Option<NodeAddr>, planned: bool) {
        let now = io.now.mono_ms();
        let before = self.current_epoch;
        self.current_epoch += 1;
        let epoch = self.current_epoch;
        if let Err(e) = self.save() {
            tracing::error!("no election without a place to keep its epoch: {e}");
            self.current_epoch = before;
            return;
        }
        let attempt = Attempt {
            planned,
            at_risk: false,
            reason: "waiting for votes".into(),
            target,
            fresh_dataset: self.rng.hex40(),
            promises: BTreeMap::new(),
            asked_ms: BTreeMap::new(),
            handover_sent: false,
            base: Authority::default(),
            decided: None,
            told: BTreeSet::new(),
            offered_ms: 0,
        };
        if let Some(g) = &mut self.managed {
            g.attempts.insert(name.to_owned(), attempt);
        }
        if let Some(m) = self.masters.get_mut(name) {
            m.failover = Failover {
                step: Step::WaitStart,
                since_ms: now,
                epoch,
                started_ms: now,
                forced: planned,
                ..m.failover.clone()
            };
        }
        self.tell(io, "+new-epoch", &epoch.to_string(), Some(name));
        self.event_of(io, "+try-failover", name, "");
    }

    /// Breaks an attempt off; the next one may follow soon.
    pub(super) fn give_up(&mut self, io: &mut Io, name: &str, event: &str, why: &str) {
        let now = io.now.mono_ms();
        let delay = RETRY_MS / 4 + self.rng.below(RETRY_MS);
        self.event_of(io, event, name, why);
        self.note_of_move(name, if why.is_empty() { event } else { why });
        if let Some(m) = self.masters.get_mut(name) {
            m.failover.end();
            m.failover.not_before_ms = now + delay;
        }
        if let Some(g) = &mut self.managed {
            g.attempts.remove(name);
        }
    }

    fn enter_step(&mut self, io: &mut Io, name: &str, step: Step) {
        if let Some(m) = self.masters.get_mut(name) {
            m.failover.enter(step, io.now.mono_ms());
        }
    }

    fn await_votes(&mut self, io: &mut Io, name: &str, shard: u32) {
        let now = io.now.mono_ms();
        let Some(m) = self.masters.get(name) else { return };
        let (epoch, since, forced) = (m.failover.epoch, m.failover.since_ms, m.failover.forced);
        if self.leader(io, name, epoch).as_deref() == Some(self.myid.as_str()) {
            self.event_of(io, "+elected-leader", name, "");
            let base = self.voted_authority(name, shard, epoch);
            if let Some(a) = self.attempt(name) {
                a.base = base;
            }
            if self.crashes_now(io, Crash::AfterElection) {
                return;
            }
            self.enter_step(io, name, if forced { Step::Handover } else { Step::Promises });
        } else if now.saturating_sub(since) > VOTES_MS {
            self.give_up(io, name, "-failover-abort-not-elected", "");
        }
    }

    /// The newest authority that this sentinel, or one that voted for it in `epoch`, had accepted.
    fn voted_authority(&self, name: &str, shard: u32, epoch: u64) -> Authority {
        let own = self.newest_authority(shard);
        let Some(m) = self.masters.get(name) else { return own };
        let mine = |p: &&PeerView| p.leader_epoch == epoch && p.leader.as_ref() == Some(&self.myid);
        m.peers.values().filter(mine).filter_map(|p| p.authority.clone()).fold(own, Authority::max)
    }

    fn await_handover(&mut self, io: &mut Io, name: &str, shard: &Shard) {
        let now = io.now.mono_ms();
        let Some(m) = self.masters.get(name) else { return };
        let (epoch, since, master) = (m.failover.epoch, m.failover.since_ms, m.inst);
        let limit = HANDOVER_MS.min(m.opt.failover_timeout_ms / 2).max(1);
        let Some(a) = self.attempt(name) else { return };
        let (sent, target) = (a.handover_sent, a.target.clone());
        let (Some(master), Some(target)) = (master, target) else {
            return self.give_up(io, name, "-failover-abort-no-good-slave", "");
        };
        if !sent {
            let words = [
                "REPLICASET",
                "HANDOVER",
                &shard.index.to_string(),
                target.as_str(),
                &epoch.to_string(),
                &limit.to_string(),
            ];
            let expect = Expect::Handover { shard: shard.index, epoch };
            if self.send(io, master, Channel::Second, expect, &words) {
                if let Some(a) = self.attempt(name) {
                    a.handover_sent = true;
                    a.reason = format!("waiting until {target} has everything");
                }
                if let Some(id) = self.member_at(name, target.host(), target.port()) {
                    self.event(io, "+selected-slave", id, "");
                }
            }
        }
        if now.saturating_sub(since) > limit {
            // Nothing else goes over this link that would show whether it still leads anywhere.
            self.close_link(io, master, Channel::Second);
            self.give_up(io, name, "-failover-abort-slave-timeout", "#handover");
            // Writes have waited for it long enough.
            self.give_up_move(io, name, "the handover did not end in time");
        }
    }

    pub(super) fn handover_answer(
        &mut self,
        io: &mut Io,
        _id: InstId,
        shard: u32,
        epoch: u64,
        value: &Value,
    ) {
        let Some(name) = self.map().map(|m| m.master_name(shard)) else { return };
        if !self.is_at(&name, Step::Handover, epoch) {
            return;
        }
        match value {
            Value::Error(e) => {
                let why = format!("#{e}");
                self.give_up(io, &name, "-failover-abort-slave-timeout", &why);
                if e != HANDOVER_LOST {
                    self.give_up_move(io, &name, &why);
                }
            }
            _ => {
                self.enter_step(io, &name, Step::Promises);
                self.drive_shard(io, &name);
            }
        }
    }

    fn await_promises(&mut self, io: &mut Io, name: &str, shard: &Shard) {
        let now = io.now.mono_ms();
        let Some(m) = self.masters.get(name) else { return };
        let (epoch, since) = (m.failover.epoch, m.failover.since_ms);
        // What a process has promised says nothing of the one that was started after it: it may hold less.
        let runs: BTreeMap<NodeAddr, String> = self
            .insts
            .values()
            .filter_map(|i| Some((i.addr.clone(), i.status.as_ref()?.run_id.clone())))
            .collect();
        let Some(a) = self.attempt(name) else { return };
        a.promises.retain(|node, p| runs.get(node).is_none_or(|run| *run == p.run_id));
        let due: Vec<NodeAddr> = shard
            .members
            .iter()
            .filter(|n| {
                let asked = a.asked_ms.get(*n).copied().unwrap_or(0);
                let open = a.promises.get(*n).is_none_or(|p| p.loading);
                open && now.saturating_sub(asked) >= PROMISE_PERIOD_MS
            })
            .cloned()
            .collect();
        for node in due {
            let Some(id) = self.member_at(name, node.host(), node.port()) else { continue };
            let expect = Expect::Promise { shard: shard.index, epoch };
            let waiting = self.insts.get(&id).is_some_and(|i| i.command.pending.contains(&expect));
            let words = ["REPLICASET", "PROMISE", &shard.index.to_string(), &epoch.to_string()];
            if !waiting
                && self.send(io, id, Channel::Command, expect, &words)
                && let Some(a) = self.attempt(name)
            {
                a.asked_ms.insert(node, now);
            }
        }
        self.decide_shard(io, name, shard, epoch, since);
    }

    fn decide_shard(&mut self, io: &mut Io, name: &str, shard: &Shard, epoch: u64, since: u64) {
        let now = io.now.mono_ms();
        let absent: Vec<NodeAddr> = self
            .members(name)
            .into_iter()
            .filter_map(|id| self.insts.get(&id))
            .filter(|i| i.command.refusals >= ABSENT_REFUSALS)
            .map(|i| i.addr.clone())
            .collect();
        let Some(map) = self.map().cloned() else { return };
        let down = |n: &NodeAddr| {
            let id = self.member_at(name, n.host(), n.port());
            id.and_then(|id| self.insts.get(&id)).is_none_or(|i| i.sdown())
        };
        let down: Vec<NodeAddr> = shard.members.iter().filter(|n| down(n)).cloned().collect();
        let Some(a) = self.attempt(name) else { return };
        let promises: Vec<NodeStatus> = a.promises.values().cloned().collect();
        let waits = now.saturating_sub(since) < TARGET_PROMISE_MS;
        let preferred = a.target.as_ref().filter(|t| waits && !down.contains(t));
        let master = shard.master.clone();
        let given_up =
            !a.planned || promises.iter().any(|p| Some(&p.node) == master.as_ref() && p.promised == epoch);
        if !given_up {
            a.reason = "waiting for the promise of the present master".into();
            if now.saturating_sub(since) > HANDOVER_MS {
                self.give_up(io, name, "-failover-abort-slave-timeout", "#the master does not promise");
            }
            return;
        }
        let decision = election::decide(&Election {
            map: &map,
            shard,
            epoch,
            promises: &promises,
            absent: &absent,
            started_ms: since,
            now_ms: now,
            preferred,
            fresh_dataset: &a.fresh_dataset,
        });
        match decision {
            Decision::Wait(reason) => a.reason = reason,
            Decision::AtRisk(reason) => {
                let news = !a.at_risk || a.reason != reason;
                a.at_risk = true;
                a.reason.clone_from(&reason);
                if news {
                    self.event_of(io, "+data-at-risk", name, &format!("#{reason}"));
                }
            }
            Decision::Elect(elected) => {
                let mut decided = shard.clone();
                elected.apply(&mut decided);
                a.decided = Some(decided.authority());
                a.reason = format!("{} is elected", elected.master);
                a.at_risk = false;
                self.enter_step(io, name, Step::Spread);
                if let Err(e) = self.accept(shard.index, decided.authority()) {
                    return self.give_up(io, name, "-failover-abort-not-saved", &format!("#{e}"));
                }
                if let Some(id) = self.member_at(name, elected.master.host(), elected.master.port()) {
                    self.event(io, "+selected-slave", id, &format!("#epoch {epoch}"));
                }
                self.spread(io, name, shard.index);
            }
        }
    }

    pub(super) fn promise_answer(&mut self, io: &mut Io, id: InstId, shard: u32, epoch: u64, value: &Value) {
        let Some(name) = self.map().map(|m| m.master_name(shard)) else { return };
        let current = self.is_at(&name, Step::Promises, epoch);
        if let Value::Error(e) = value {
            if current
                && let Some(newer) = e.strip_prefix("STALEEPOCH").and_then(last_number)
                && newer > epoch
            {
                if newer > self.current_epoch {
                    self.adopt_epoch(io, newer, &name);
                }
                self.give_up(io, &name, "-failover-abort-stale-epoch", &format!("#{e}"));
            }
            return;
        }
        let Some(status) = node_status(value) else { return };
        let promised = status.clone();
        self.take_status(io, id, status);
        let Some(addr) = self.insts.get(&id).map(|i| i.addr.clone()) else { return };
        if current && promised.node == addr && promised.promised == epoch {
            if let Some(a) = self.attempt(&name) {
                a.promises.insert(addr, promised);
            }
            let since = self.masters.get(&name).map_or(0, |m| m.failover.since_ms);
            if let Some(s) = self.shard_named(&name).cloned() {
                let s = self.as_voted(&name, s);
                self.decide_shard(io, &name, &s, epoch, since);
            }
        }
    }

    /// Has the sentinels accept the decision, until a majority has.
    fn spread(&mut self, io: &mut Io, name: &str, shard: u32) {
        let now = io.now.mono_ms();
        let peers: Vec<InstId> = self.managed.iter().flat_map(|g| g.peers.values().copied()).collect();
        let majority = self.map().map_or(1, ShardMap::majority);
        let timeout = self.masters.get(name).map_or(0, |m| m.opt.failover_timeout_ms);
        let since = self.masters.get(name).map_or(0, |m| m.failover.since_ms);
        let Some(a) = self.attempt(name) else { return };
        let Some(decided) = a.decided.clone() else { return };
        let told = a.told.iter().filter(|id| peers.contains(id)).count() + 1;
        if told >= majority {
            return self.publish_decision(io, name, shard, decided);
        }
        if now.saturating_sub(since) > timeout {
            return self.give_up(io, name, "-failover-abort-not-accepted", "");
        }
        if now.saturating_sub(a.offered_ms) >= SPREAD_PERIOD_MS {
            a.offered_ms = now;
            let open: Vec<InstId> = peers.into_iter().filter(|id| !a.told.contains(id)).collect();
            let json = serde_json::to_string(&decided).unwrap_or_default();
            let expect = Expect::Accept { shard, epoch: decided.epoch };
            for id in open {
                if self.insts.get(&id).is_some_and(|i| !i.command.pending.contains(&expect)) {
                    let words = ["REPLICASET", "ACCEPT", &shard.to_string(), &json];
                    self.send(io, id, Channel::Command, expect.clone(), &words);
                }
            }
        }
    }

    /// Whether another sentinel has accepted the decision.
    pub(super) fn accept_answer(&mut self, io: &mut Io, id: InstId, shard: u32, epoch: u64, value: &Value) {
        let Some(name) = self.map().map(|m| m.master_name(shard)) else { return };
        if !self.is_at(&name, Step::Spread, epoch) {
            return;
        }
        match value {
            Value::Error(e) if e.starts_with("STALEEPOCH") => {
                self.give_up(io, &name, "-failover-abort-stale-epoch", &format!("#{e}"));
            }
            Value::Error(e) => tracing::warn!("a decision is not accepted: {e}"),
            _ => {
                if let Some(a) = self.attempt(&name) {
                    a.told.insert(id);
                }
                self.spread(io, &name, shard);
            }
        }
    }

    /// The decision is safe: members and clients may hear of it.
    fn publish_decision(&mut self, io: &mut Io, name: &str, shard: u32, decided: Authority) {
        if self.crashes_now(io, Crash::AfterPromotion) {
            return;
        }
        let Some(mut map) = self.map().cloned() else { return };
        let again = map.shard(shard).is_some_and(|s| s.master == decided.master);
        if let Some(s) = map.shard_mut(shard) {
            s.set_authority(decided);
        }
        // It ends the attempt.
        if let Err(e) = self.learn(io, map) {
            return tracing::error!("the decision cannot be published: {e}");
        }
        if let Some(m) = self.masters.get_mut(name) {
            m.failover.not_before_ms = 0;
            if again {
                // The same master at a new epoch: what it reported before says nothing any more.
                m.odown_since_ms = None;
            }
        }
        for id in self.members(name) {
            self.offer_to(io, id);
            self.ask_status(io, id);
        }
        self.event_of(io, "+failover-end", name, "");
    }
}

fn last_number(text: &str) -> Option<u64> {
    text.rsplit(|c: char| !c.is_ascii_digit()).find(|w| !w.is_empty())?.parse().ok()
}
