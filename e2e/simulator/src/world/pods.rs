//! How many members and sentinels there are, and what a user changes about them.

use std::path::Path;

use datanode::disk_fake::FakeDisk;
use datanode::io::{Service, Signal};
use datanode::shardmap::ShardMap;

use super::{DIR, World};

/// How long a member that has been told to end may take, microseconds.
const GRACE_US: u64 = 5_000_000;

impl World {
    /// A machine on which something runs: not one for a member or a sentinel that there is not.
    pub(super) fn is_used(&self, node: usize) -> bool {
        match node.checked_sub(self.scenario.places) {
            None => node < self.pods(),
            Some(i) => i >= self.scenario.seats || i < self.sentinel_pods(),
        }
    }

    /// How many members the shard's StatefulSet has.
    pub(super) fn pods(&self) -> usize {
        let name = self.desired.borrow().shard_name(0);
        self.api.borrow().sets.get(&name).map_or(self.scenario.members, |pods| *pods as usize)
    }

    /// How many sentinels theirs has.
    pub(super) fn sentinel_pods(&self) -> usize {
        let name = self.desired.borrow().sentinel_name();
        self.api.borrow().sets.get(&name).map_or(self.scenario.sentinels, |pods| *pods as usize)
    }

    /// Has as many members' and sentinels' processes as the StatefulSets ask for: starts those that are missing, and ends
    /// those that are too many. Members keep their volumes, sentinels do not.
    pub(super) fn keep_pods(&mut self) {
        let now = self.sim.now_us;
        for node in 0..self.operator_node(0) {
            if self.is_used(node) {
                self.leaving.remove(&node);
                if !self.sim.alive(node) && !self.restarts.contains_key(&node) {
                    self.say(|| format!("{node} is new"));
                    self.start(node);
                }
                continue;
            }
            self.restarts.remove(&node);
            self.damaged.remove(&node);
            match self.leaving.get(&node) {
                None => {
                    self.say(|| format!("{node} is to leave"));
                    self.sim.call(node, |a, io| a.terminate(io, Signal::Terminate));
                    self.leaving.insert(node, now + GRACE_US);
                }
                Some(at) if *at < now => {
                    self.sim.crash(node);
                    if !self.is_member(node) {
                        self.disks[node] = FakeDisk::with_dir(Path::new(DIR));
                        self.sim.set_disk(node, self.disks[node].clone());
                    }
                    self.leaving.insert(node, u64::MAX);
                }
                Some(_) => {}
            }
        }
    }

    /// Members or sentinels are being added or removed, or what writes wait for is being changed.
    pub(super) fn is_changing(&self) -> bool {
        let desired = self.desired.borrow();
        let wanted = (desired.members_per_shard() as usize, desired.sentinels as usize);
        let reached =
            |map: &ShardMap| map.settled && (map.shards[0].members.len(), map.sentinels.len()) == wanted;
        (self.pods(), self.sentinel_pods()) != wanted
            || !self.api.borrow().map().as_ref().is_some_and(reached)
    }

    /// Has each write wait for more or fewer replicas. From then on no more members may be damaged than either allows.
    pub(super) fn change_write_acks(&mut self, to: u32) {
        self.forget_healed();
        let least = self.scenario.acks.min(to as usize);
        if least > 0
            && (to as usize) < self.desired.borrow().members_per_shard() as usize
            && self.damaged.len() <= least
        {
            self.scenario.acks = least;
            self.desired.borrow_mut().write_ack_replicas = to;
        }
    }

    /// Has the shard have more members, or fewer.
    pub(super) fn change_members(&mut self, to: usize) {
        let mut desired = self.desired.borrow_mut();
        if to <= self.scenario.places && to > desired.write_ack_replicas as usize {
            desired.replicas = to as u32 - 1;
        }
    }

    /// Has there be more sentinels, or fewer, of which a majority has to agree.
    pub(super) fn change_sentinels(&mut self, to: usize) {
        if self.scenario.sentinels > 0 && to <= self.scenario.seats {
            let mut desired = self.desired.borrow_mut();
            desired.sentinels = to as u32;
            desired.quorum = to as u32 / 2 + 1;
        }
    }
}
