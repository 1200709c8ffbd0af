//! The shard map in a sentinel: keeping it, exchanging it with other sentinels and members, STATUS of both kinds, and
//! when a sentinel that has lost its state may vote again.

use std::collections::BTreeMap;

use super::instance::{Channel, Expect, InstId, Kind, PeerEpoch};
use super::monitor::{FEED_FRACTION, PING_FRACTION, PING_MANAGED_MS};
use super::planned::Planned;
use super::state::State;
use super::switchover::Attempt;
use super::{HELLO_PERIOD_MS, Sentinel, StartError};
use crate::disk;
use crate::io::{Io, Now};
use crate::resp::reader::Value;
use crate::shardmap::{
    Authority, MapError, MemberView, NodeAddr, NodeStatus, SentinelStatus, Shard, ShardMap, ShardState,
    ShardView,
};

/// Interval of asking other sentinels for their epoch while this one may not vote, milliseconds.
const LEARN_PERIOD_MS: u64 = 200;
/// An instance whose STATUS shows an older map is offered ours at most this often, milliseconds.
const REOFFER_MS: u64 = 200;

/// What only managed sentinels have.
pub(super) struct Managed {
    pub own: NodeAddr,
    pub map: Option<ShardMap>,
    /// It knows what it may have voted for in an earlier life, or that there was none.
    pub may_vote: bool,
    /// The other sentinels of the map.
    pub peers: BTreeMap<NodeAddr, InstId>,
    /// Elections and moves that this sentinel leads or wants to lead, by master name.
    pub attempts: BTreeMap<String, Attempt>,
    /// Decisions of leaders that this sentinel has accepted, by shard; nobody else hears of one before a majority has.
    pub accepted: BTreeMap<u32, Authority>,
    /// Planned moves that were asked for here, by master name.
    pub planned: BTreeMap<String, Planned>,
}

impl Sentinel {
    pub(super) fn restore_managed(&mut self, now: Now) -> Result<(), StartError> {
        let path = self.state_file();
        let bad = |e: String| StartError::State(path.display().to_string(), e);
        let own = self.own_addr(None).ok_or_else(|| bad("announce-ip is not a host name".into()))?;
        let mut managed = Managed {
            own,
            map: None,
            may_vote: false,
            peers: BTreeMap::new(),
            attempts: BTreeMap::new(),
            accepted: BTreeMap::new(),
            planned: BTreeMap::new(),
        };
        let mut votes = BTreeMap::new();
        match disk::read(&*self.disk, &path) {
            Ok(bytes) => {
                let state: State = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
                if let Some(map) = &state.map {
                    map.validate().map_err(|e| bad(e.to_string()))?;
                }
                self.myid = state.myid;
                self.current_epoch = state.current_epoch;
                managed.may_vote = state.may_vote;
                managed.map = state.map;
                managed.accepted = state.accepted;
                votes = state.votes;
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(bad(e.to_string())),
        }
        self.managed = Some(managed);
        // No connection exists yet, so nothing of what is asked for here is lost.
        let mut io = Io::default();
        io.now = now;
        self.sync_topology(&mut io);
        for (name, vote) in votes {
            if let Some(m) = self.masters.get_mut(&name) {
                m.leader = vote.leader;
                m.opt.leader_epoch = vote.epoch;
                m.feed.withheld_below = vote.withheld_below;
            }
        }
        Ok(())
    }

    /// The shard map it follows.
    pub fn shard_map(&self) -> Option<&ShardMap> {
        self.map()
    }

    /// It has not lost its state, or has learned again what it may not vote for.
    pub fn knows(&self) -> bool {
        self.may_vote()
    }

    pub(super) fn map(&self) -> Option<&ShardMap> {
        self.managed.as_ref()?.map.as_ref()
    }

    /// The shard behind a master name.
    pub(super) fn shard_named(&self, name: &str) -> Option<&Shard> {
        self.map()?.shard_named(name)
    }

    /// True where a vote can't contradict one that was given before.
    pub(super) fn may_vote(&self) -> bool {
        match &self.managed {
            None => true,
            Some(g) => g.may_vote && g.map.as_ref().is_some_and(|m| m.sentinels.contains(&g.own)),
        }
    }

    /// Merges an offered map, such that no crash loses what is new in it, and follows it. True if something was new.
    pub(super) fn learn(&mut self, io: &mut Io, offered: ShardMap) -> Result<bool, MapError> {
        let Some(managed) = &mut self.managed else {
            return Err(MapError("this sentinel is not managed by a shard map ('managed yes')".into()));
        };
        let before = managed.map.clone();
        if !ShardMap::offer(&mut managed.map, offered)? {
            return Ok(false);
        }
        // A crash loses nothing of what was accepted before, durably: nobody waits for the disk with that.
        let mut known = before.clone();
        for (shard, authority) in &managed.accepted {
            if let Some(s) = known.as_mut().and_then(|map| map.shard_mut(*shard)) {
                s.set_authority(authority.clone());
            }
        }
        let kept = known == managed.map;
        let epoch_before = self.current_epoch;
        let settled = |shard: u32, a: &Authority| {
            managed.map.as_ref().and_then(|m| m.shard(shard)).is_some_and(|s| s.epoch >= a.epoch)
        };
        managed.accepted.retain(|shard, a| !settled(*shard, a));
        let epochs = managed.map.iter().flat_map(|m| m.shards.iter().map(|s| s.epoch));
        self.current_epoch = epochs.max().unwrap_or(0).max(self.current_epoch);
        if kept {
            self.save_soon();
        } else if let Err(e) = self.save() {
            self.current_epoch = epoch_before;
            if let Some(managed) = &mut self.managed {
                managed.map = before;
            }
            return Err(MapError(format!("the map could not be saved: {e}")));
        }
        self.sync_topology(io);
        self.spread_soon();
        Ok(true)
    }

    /// Has the next timer offer the map to the members.
    fn offer_to_members_soon(&mut self) {
        self.insts.values_mut().filter(|i| i.kind != Kind::Sentinel).for_each(|i| i.offered_ms = 0);
    }

    /// Has the next timer offer the map to the other sentinels.
    pub(super) fn spread_soon(&mut self) {
        let peers: Vec<InstId> = self.managed.iter().flat_map(|g| g.peers.values().copied()).collect();
        for id in peers {
            if let Some(i) = self.insts.get_mut(&id) {
                i.offered_ms = 0;
            }
        }
    }

    pub(super) fn managed_timer(&mut self, io: &mut Io) {
        if self.managed.is_none() {
            return;
        }
        self.end_planned(io);
        let now = io.now.mono_ms();
        for id in self.insts.keys().copied().collect::<Vec<_>>() {
            let Some(i) = self.insts.get(&id).filter(|i| i.command.up()) else { continue };
            let offer = now.saturating_sub(i.offered_ms) >= HELLO_PERIOD_MS
                && !i.command.pending.contains(&Expect::Offer);
            let fraction = if i.kind == Kind::Master { FEED_FRACTION } else { PING_FRACTION };
            let period = (i.down_after_ms / fraction).clamp(*PING_MANAGED_MS.start(), *PING_MANAGED_MS.end());
            let status = now.saturating_sub(i.status_asked_ms) >= period
                && !i.command.pending.contains(&Expect::Status);
            let node = i.kind != Kind::Sentinel;
            if offer {
                self.offer_to(io, id);
            }
            if status && node {
                self.ask_status(io, id);
            }
            self.ask_epoch(io, id);
        }
    }

    fn ask_epoch(&mut self, io: &mut Io, id: InstId) {
        let now = io.now.mono_ms();
        let learning = self.managed.as_ref().is_some_and(|g| !g.may_vote);
        let period = if learning { LEARN_PERIOD_MS } else { HELLO_PERIOD_MS };
        let Some(i) = self.insts.get_mut(&id).filter(|i| i.kind == Kind::Sentinel) else { return };
        if now.saturating_sub(i.status_asked_ms) >= period && !i.command.pending.contains(&Expect::PeerEpoch)
        {
            i.status_asked_ms = now;
            self.send(io, id, Channel::Command, Expect::PeerEpoch, &["REPLICASET", "EPOCH"]);
        }
    }

    /// A majority of the sentinels knows this generation of the map. So whoever is elected from now on decides by it, or by
    /// a newer one.
    fn generation_is_known(&self) -> bool {
        let Some(managed) = &self.managed else { return false };
        let Some(map) = &managed.map else { return false };
        let peers = managed.peers.values().filter_map(|id| self.insts.get(id));
        peers.filter(|peer| peer.generation >= map.generation).count() + 1 >= map.majority()
    }

    /// Offers the map to one instance: the authorities in it have been accepted by a majority of sentinels. Members hear of
    /// a generation only once a majority has it, lest they acknowledge by rules that an election does not know.
    pub(super) fn offer_to(&mut self, io: &mut Io, id: InstId) {
        let sentinel = self.insts.get(&id).is_some_and(|i| i.kind == Kind::Sentinel);
        if !sentinel && !self.generation_is_known() {
            return;
        }
        let Some(json) = self.map().map(ShardMap::to_json) else { return };
        if self.send(io, id, Channel::Command, Expect::Offer, &["REPLICASET", "OFFER", &json])
            && let Some(i) = self.insts.get_mut(&id)
        {
            i.offered_ms = io.now.mono_ms();
        }
    }

    pub(super) fn offer_answer(&mut self, io: &mut Io, id: InstId, value: &Value) {
        let addr = self.insts.get(&id).map(|i| i.addr.to_string()).unwrap_or_default();
        let json = match value {
            Value::Bulk(json) => json,
            Value::Error(e) => return tracing::warn!("{addr} refuses the shard map: {e}"),
            _ => return,
        };
        match ShardMap::from_json(json) {
            Ok(map) => {
                let knew = self.generation_is_known();
                if let Some(i) = self.insts.get_mut(&id) {
                    i.generation = map.generation;
                }
                if !knew && self.generation_is_known() {
                    self.offer_to_members_soon();
                }
                if let Err(e) = self.learn(io, map) {
                    tracing::warn!("the map of {addr} is refused: {e}");
                }
            }
            Err(e) => tracing::warn!("{addr}: {e}"),
        }
    }

    pub(super) fn status_answer(&mut self, io: &mut Io, id: InstId, value: &Value) {
        let Some(status) = node_status(value) else { return };
        self.take_status(io, id, status);
    }

    pub(super) fn take_status(&mut self, io: &mut Io, id: InstId, status: NodeStatus) {
        let now = io.now.mono_ms();
        let Some(i) = self.insts.get_mut(&id) else { return };
        let name = i.group.clone();
        let promised = status.promised;
        let (map_epoch, generation) = (status.map_epoch, status.generation);
        i.role_reported = match status.role {
            crate::shardmap::NodeRole::Master => Kind::Master,
            _ => Kind::Replica,
        };
        i.run_id = status.run_id.clone();
        i.status = Some(status);
        i.status_ms = now;
        let stale = now.saturating_sub(i.offered_ms) >= REOFFER_MS;
        if promised > self.current_epoch && self.may_vote() {
            self.adopt_epoch(io, promised, &name);
        }
        let Some(shard) = self.shard_named(&name) else { return };
        let differs = shard.epoch != map_epoch || self.map().is_some_and(|m| m.generation != generation);
        if differs && stale {
            self.offer_to(io, id);
        }
    }

    /// `REPLICASET EPOCH`: what a sentinel that lost its state learns from: epoch, 1 if it may not vote, id, what it has
    /// accepted.
    pub(super) fn peer_epoch_answer(&mut self, io: &mut Io, id: InstId, value: &Value) {
        let Some([Value::Int(epoch), Value::Int(fresh), run_id, Value::Bulk(accepted)]) = value.items()
        else {
            return;
        };
        let Ok(accepted) = serde_json::from_slice(accepted) else { return };
        let epoch = (*epoch).max(0) as u64;
        let Some(i) = self.insts.get_mut(&id) else { return };
        i.peer_epoch = Some(PeerEpoch { epoch, fresh: *fresh == 1, accepted });
        i.run_id = run_id.text().unwrap_or_default();
        i.last_hello_ms = io.now.mono_ms();
        if self.managed.as_ref().is_some_and(|g| g.may_vote) {
            if epoch > self.current_epoch {
                self.adopt_epoch(io, epoch, "");
            }
            return;
        }
        self.try_to_learn(io);
    }

    /// Ends the time of not voting: a majority of sentinels that know has been heard, or all there are (of a new
    /// deployment nobody knows anything). Votes of an earlier life can only have been for epochs up to theirs.
    pub(super) fn try_to_learn(&mut self, io: &mut Io) {
        let Some(managed) = self.managed.as_ref().filter(|g| !g.may_vote) else { return };
        let Some(map) = managed.map.as_ref() else { return };
        if !map.sentinels.contains(&managed.own) {
            return;
        }
        let heard: Vec<PeerEpoch> =
            managed.peers.values().filter_map(|id| self.insts.get(id)?.peer_epoch.clone()).collect();
        let knowing = heard.iter().filter(|peer| !peer.fresh).count();
        if knowing < map.majority() && heard.len() < managed.peers.len() {
            return;
        }
        let promised = self.insts.values().filter_map(|i| Some(i.status.as_ref()?.promised));
        let epoch =
            heard.iter().map(|peer| peer.epoch).chain(promised).max().unwrap_or(0).max(self.current_epoch);
        self.current_epoch = epoch;
        for m in self.masters.values_mut() {
            m.opt.leader_epoch = m.opt.leader_epoch.max(epoch);
            m.feed.withheld_below = m.opt.leader_epoch;
            m.leader = None;
        }
        if let Some(managed) = &mut self.managed {
            managed.may_vote = true;
            for (shard, authority) in heard.into_iter().flat_map(|peer| peer.accepted) {
                let known = managed.accepted.entry(shard).or_default();
                *known = authority.max(std::mem::take(known));
            }
        }
        if let Err(e) = self.save() {
            tracing::error!("Sentinel was not able to save its state to {}: {e}", self.state_path());
            if let Some(managed) = &mut self.managed {
                managed.may_vote = false;
            }
            return;
        }
        self.tell(io, "+learned", &format!("#epoch {epoch}"), None);
    }

    /// The newest authority of a shard that this sentinel has accepted, whether or not a majority has.
    pub(super) fn newest_authority(&self, shard: u32) -> Authority {
        let public = self.map().and_then(|m| m.shard(shard)).map(Shard::authority).unwrap_or_default();
        let accepted = self.managed.as_ref().and_then(|g| g.accepted.get(&shard)).cloned();
        public.max(accepted.unwrap_or_default())
    }

    /// All of them.
    pub(super) fn authorities(&self) -> BTreeMap<u32, Authority> {
        let shards = self.map().into_iter().flat_map(|m| m.shards.iter().map(|s| s.index));
        shards.map(|index| (index, self.newest_authority(index))).collect()
    }

    /// `REPLICASET ACCEPT shard authority`: accepts a leader's decision, durably, unless this sentinel has voted for a
    /// later epoch. The error is the reply's.
    pub(super) fn accept(&mut self, shard: u32, authority: Authority) -> Result<(), String> {
        if !self.may_vote() {
            return Err("NOQUORUM this sentinel may not vote before it has learned from a majority".into());
        }
        let name = self.map().map(|m| m.master_name(shard)).unwrap_or_default();
        let Some(m) = self.masters.get_mut(&name) else {
            return Err("ERR No such master with that name".into());
        };
        let epoch = authority.epoch;
        if m.opt.leader_epoch > epoch {
            return Err(format!("STALEEPOCH voted in epoch {}", m.opt.leader_epoch));
        }
        m.opt.leader_epoch = epoch;
        m.feed.withheld_below = m.feed.withheld_below.max(epoch);
        self.current_epoch = self.current_epoch.max(epoch);
        if let Some(g) = &mut self.managed {
            let known = g.accepted.entry(shard).or_default();
            *known = authority.max(std::mem::take(known));
        }
        // Should it fail, this sentinel has accepted all the same, and only the leader does not hear of it.
        self.save().map_err(|e| format!("ERR Sentinel was not able to save its state: {e}"))
    }

    /// Answer of `REPLICASET STATUS`; `now`: monotonic milliseconds.
    pub fn status(&self, now: u64) -> Option<SentinelStatus> {
        let managed = self.managed.as_ref()?;
        let shards = managed.map.iter().flat_map(|m| m.shards.iter().map(|s| (m.master_name(s.index), s)));
        let reachable = 1 + managed
            .peers
            .values()
            .filter_map(|id| self.insts.get(id))
            .filter(|i| i.command.up() && !i.sdown() && i.peer_epoch.is_some())
            .count() as u32;
        Some(SentinelStatus {
            node: managed.own.clone(),
            run_id: self.myid.clone(),
            generation: managed.map.as_ref().map_or(0, |m| m.generation),
            shards: shards
                .map(|(name, s)| {
                    let (state, reason) = self.shard_state(&name, s);
                    ShardView {
                        index: s.index,
                        state,
                        reason,
                        epoch: s.epoch,
                        master: s.master.clone(),
                        members: self.member_views(&name, s, now),
                        sentinels_reachable: reachable,
                    }
                })
                .collect(),
        })
    }

    fn shard_state(&self, name: &str, shard: &Shard) -> (ShardState, String) {
        let Some(m) = self.masters.get(name) else { return (ShardState::Unfounded, String::new()) };
        let attempt = self.managed.as_ref().and_then(|g| g.attempts.get(name));
        let pending = self.move_pending(name).unwrap_or_default().to_owned();
        let reason = attempt.map_or(pending, |a| a.reason.clone());
        let down = self.master_inst(name).is_some_and(|i| i.sdown());
        let state = match attempt {
            Some(a) if a.at_risk => ShardState::AtRisk,
            _ if shard.epoch == 0 => ShardState::Unfounded,
            Some(a) if a.planned => ShardState::Switchover,
            Some(_) => ShardState::Electing,
            None if m.odown_since_ms.is_some() => ShardState::Odown,
            None if down => ShardState::Sdown,
            None if self.move_pending(name).is_some() => ShardState::Switchover,
            None => ShardState::Ok,
        };
        let reason = match (&state, self.may_vote()) {
            (ShardState::Ok, _) => match self.move_failed(name) {
                Some(why) => format!("the last planned move has failed: {why}"),
                None => String::new(),
            },
            (_, false) => "this sentinel may not vote before it has learned from a majority".into(),
            _ => reason,
        };
        (state, reason)
    }

    fn member_views(&self, name: &str, shard: &Shard, now: u64) -> Vec<MemberView> {
        let view = |addr: &NodeAddr| {
            let inst = self.member_at(name, addr.host(), addr.port()).and_then(|id| self.insts.get(&id));
            MemberView {
                node: addr.clone(),
                reachable: inst.is_some_and(|i| i.command.up() && !i.sdown() && i.status.is_some()),
                last_seen_ms: inst.map_or(0, |i| now.saturating_sub(i.last_ok_ms)),
                status: inst.and_then(|i| i.status.clone()),
            }
        };
        shard.members.iter().map(view).collect()
    }
}

/// Reads a member's STATUS.
pub(super) fn node_status(value: &Value) -> Option<NodeStatus> {
    let Value::Bulk(json) = value else { return None };
    serde_json::from_slice(json).inspect_err(|e| tracing::warn!("not a STATUS: {e}")).ok()
}
