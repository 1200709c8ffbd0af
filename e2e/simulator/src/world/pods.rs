//! How many members there are, and what a user changes about them.

use datanode::io::{Service, Signal};
use datanode::shardmap::ShardMap;

use super::World;

/// How long a member that has been told to end may take, microseconds.
const GRACE_US: u64 = 5_000_000;

impl World {
    /// A machine on which something runs: not one for a member that there is not.
    pub(super) fn is_used(&self, node: usize) -> bool {
        !self.is_member(node) || node < self.pods()
    }

    /// How many members the shard's StatefulSet has.
    pub(super) fn pods(&self) -> usize {
        self.api.borrow().pods.map_or(self.scenario.members, |pods| pods as usize)
    }

    /// Has as many members' processes as the StatefulSet asks for: starts those that are missing, and ends those that are
    /// too many, which keep their volumes.
    pub(super) fn keep_pods(&mut self) {
        for node in 0..self.scenario.places {
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
            let now = self.sim.now_us;
            match self.leaving.get(&node) {
                None => {
                    self.say(|| format!("{node} is to leave"));
                    self.sim.call(node, |a, io| a.terminate(io, Signal::Terminate));
                    self.leaving.insert(node, now + GRACE_US);
                }
                Some(at) if *at < now && self.sim.alive(node) => self.sim.crash(node),
                Some(_) => {}
            }
        }
    }

    /// Members are being added or removed, or what writes wait for is being changed.
    pub(super) fn is_changing(&self) -> bool {
        let wanted = self.desired.borrow().members_per_shard() as usize;
        let reached = |map: &ShardMap| map.settled && map.shards[0].members.len() == wanted;
        self.pods() != wanted || !self.api.borrow().map().as_ref().is_some_and(reached)
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
}
