//! Making the monitored instances those of the shard map.

use std::collections::{BTreeMap, BTreeSet};

use super::config::MasterOptions;
use super::failover::{Failover, Step};
use super::instance::{InstId, Kind};
use super::{Master, PeerView, Sentinel};
use crate::io::Io;
use crate::shardmap::{NodeAddr, Shard, ShardMap};

impl Sentinel {
    /// Follows the map: masters, replicas, sentinels, intervals; tells of masters that have changed.
    pub(super) fn sync_topology(&mut self, io: &mut Io) {
        let Some(map) = self.map().cloned() else { return };
        self.sync_peers(io, &map);
        let names: BTreeSet<String> = map.shards.iter().map(|s| map.master_name(s.index)).collect();
        for gone in self.masters.keys().filter(|n| !names.contains(*n)).cloned().collect::<Vec<_>>() {
            self.remove_master(io, &gone);
            if let Some(g) = &mut self.managed {
                g.attempts.remove(&gone);
            }
        }
        for shard in &map.shards {
            self.sync_shard(io, &map, shard);
        }
        self.try_to_learn(io);
    }

    fn sync_peers(&mut self, io: &mut Io, map: &ShardMap) {
        let now = io.now.mono_ms();
        let Some(managed) = &self.managed else { return };
        let mut peers = managed.peers.clone();
        let wanted: Vec<&NodeAddr> = map.sentinels.iter().filter(|s| **s != managed.own).collect();
        for (addr, id) in managed.peers.clone() {
            if !wanted.contains(&&addr) {
                peers.remove(&addr);
                self.remove_instance(io, id);
            }
        }
        for addr in wanted {
            if !peers.contains_key(addr) {
                peers.insert(addr.clone(), self.new_instance(Kind::Sentinel, addr.clone(), "", now));
            }
            if let Some(i) = peers.get(addr).and_then(|id| self.insts.get_mut(id)) {
                i.down_after_ms = map.down_after_ms;
            }
        }
        if let Some(managed) = &mut self.managed {
            managed.peers = peers;
        }
    }

    fn sync_shard(&mut self, io: &mut Io, map: &ShardMap, shard: &Shard) {
        let now = io.now.mono_ms();
        let name = map.master_name(shard.index);
        let peers: BTreeMap<NodeAddr, InstId> =
            self.managed.as_ref().map(|g| g.peers.clone()).unwrap_or_default();
        if !self.masters.contains_key(&name) {
            let opt = MasterOptions::new(&name, shard.members[0].clone(), map.quorum);
            let master = Master {
                opt,
                inst: None,
                replicas: Vec::new(),
                peers: BTreeMap::new(),
                odown_since_ms: None,
                leader: None,
                failover: Failover::default(),
                // What an earlier life of this process has fed is not known any more.
                feed: super::lease::Feed::since(now),
            };
            self.masters.insert(name.clone(), master);
        }
        if let Some(m) = self.masters.get_mut(&name) {
            m.opt.quorum = map.quorum;
            m.opt.down_after_ms = map.down_after_ms;
            m.opt.failover_timeout_ms = map.failover_timeout_ms;
            m.opt.parallel_syncs = map.parallel_syncs;
            m.peers.retain(|id, _| peers.values().any(|p| p == id));
            for id in peers.values() {
                m.peers.entry(*id).or_insert_with(PeerView::default);
            }
        }
        // Members, and a master that is no member (yet, or any more): it is what clients use.
        let wanted: Vec<&NodeAddr> = shard.members.iter().chain(shard.master.as_ref()).collect();
        for id in self.members(&name) {
            if self.insts.get(&id).is_some_and(|i| !wanted.contains(&&i.addr)) {
                if let Some(m) = self.masters.get_mut(&name)
                    && m.inst == Some(id)
                {
                    m.inst = None;
                }
                self.remove_instance(io, id);
            }
        }
        for addr in wanted {
            if self.member_at(&name, addr.host(), addr.port()).is_none() {
                let id = self.add_replica(&name, addr.clone(), now);
                self.event(io, "+slave", id, "");
            }
        }
        self.set_down_after(&name);
        self.follow_authority(io, &name, shard);
    }

    /// Takes over who is master.
    pub(super) fn follow_authority(&mut self, io: &mut Io, name: &str, shard: &Shard) {
        let Some(m) = self.masters.get_mut(name) else { return };
        // Before promises an attempt can be dropped. Behind them it is finished, even if a decision of a smaller epoch is
        // heard of late: members that have promised follow nobody else.
        let superseded = m.failover.step == Step::WaitStart && shard.epoch != m.opt.config_epoch;
        if m.failover.active() && (shard.epoch >= m.failover.epoch || superseded) {
            m.failover.end();
            if let Some(g) = &mut self.managed {
                g.attempts.remove(name);
            }
        }
        let Some(m) = self.masters.get_mut(name) else { return };
        let before = std::mem::replace(&mut m.opt.config_epoch, shard.epoch);
        let Some(addr) = &shard.master else { return };
        let current = self.master_inst(name).map(|i| i.addr.clone());
        if current.as_ref() != Some(addr) {
            self.appoint(io, name, addr, current.is_some());
        }
        let master = self.masters.get(name).and_then(|m| m.inst);
        if let Some(id) = master.filter(|_| before != shard.epoch) {
            // It waits for its lease.
            self.ask_status(io, id);
        }
    }

    fn appoint(&mut self, io: &mut Io, name: &str, addr: &NodeAddr, in_place_of_another: bool) {
        match in_place_of_another {
            true => self.switch_master(io, name, addr, "observer"),
            false => {
                let id = self.member_at(name, addr.host(), addr.port());
                if let (Some(id), Some(m)) = (id, self.masters.get_mut(name)) {
                    m.replicas.retain(|r| *r != id);
                    m.inst = Some(id);
                    m.opt.addr = addr.clone();
                    if let Some(i) = self.insts.get_mut(&id) {
                        i.kind = Kind::Master;
                    }
                    self.event(io, "+monitor", id, &format!("quorum {}", self.masters[name].opt.quorum));
                }
            }
        }
    }
}
