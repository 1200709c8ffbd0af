//! What goes wrong: carrying out the steps of a scenario, within what is promised to be survived.

use std::path::Path;

use datanode::disk_fake::{FakeDisk, Fault, Survives};
use datanode::io::{Action, Service, Signal};

use super::{CALM, DIR, RETRY_US, World, short};
use crate::actor::Core;
use crate::claims::first_missing;
use crate::scenario::Step;
use crate::story::Deed;

/// Writes that a machine gets that is cut off, and how large they are.
const MUCH: u32 = 60;
const LARGE: [usize; 3] = [10, 500, 4000];

impl World {
    /// Ends a process; what its disk keeps is decided by `survives`.
    pub(super) fn kill(&mut self, node: usize, survives: Survives, away_ms: u64) {
        self.sim.crash(node);
        self.buried(node, survives, away_ms);
    }

    /// Kills a process and empties its volume.
    fn wipe(&mut self, node: usize, away_ms: u64) {
        self.sim.crash(node);
        self.disks[node] = FakeDisk::with_dir(Path::new(DIR));
        self.buried(node, Survives::Everything, away_ms);
    }

    pub(super) fn buried(&mut self, node: usize, survives: Survives, away_ms: u64) {
        self.crash_disk(node, survives);
        self.mended.remove(&node);
        self.restarts.insert(node, self.sim.now_us + away_ms * 1000);
    }

    /// From now on a machine's disk is what a crash has left of it.
    pub(super) fn crash_disk(&mut self, node: usize, survives: Survives) {
        if !matches!(survives, Survives::Everything) {
            self.boots[node] += 1;
        }
        self.disks[node] = self.disks[node].after_crash(survives);
        self.sim.set_disk(node, self.disks[node].clone());
    }

    /// One more member may lose what it has acknowledged: an acknowledged write is still somewhere.
    pub(super) fn may_damage(&mut self, node: usize) -> bool {
        self.forget_healed();
        self.damaged.contains(&node) || self.damaged.len() < self.scenario.acks
    }

    /// Its process may end. Without a log it loses what its last snapshot does not have, and under `everysec` a master what
    /// it had put off to write, unless its replies wait for that, too.
    pub(super) fn may_restart(&mut self, node: usize) -> bool {
        let master = self.server(node).is_some_and(|s| s.is_master());
        let keeps =
            self.scenario.synced() || (self.scenario.fsync.is_some() && (!master || self.scenario.acks > 0));
        let may = keeps || self.may_damage(node);
        if may && !keeps {
            self.damaged.insert(node);
        }
        may
    }

    pub(super) fn kill_member(&mut self, node: usize, away_ms: u64) {
        if self.may_restart(node) {
            self.kill(node, Survives::Everything, away_ms);
        }
    }

    pub(super) fn forget_healed(&mut self) {
        let newest = self.newest_epoch();
        for node in self.damaged.clone() {
            if self.restarts.contains_key(&node) {
                // Its power is about to fail, or has failed.
                continue;
            }
            let healed = self.server(node).is_some_and(|s| {
                let Some(m) = &s.managed else { return false };
                let follows = s.repl.link_is_up() && s.persist.lineage().epoch == newest;
                m.is_intact() && (m.master_epoch() == Some(newest) || follows)
            });
            if healed && self.caught_up(node) {
                self.damaged.remove(&node);
            }
        }
    }

    /// It has every acknowledged write.
    pub(super) fn caught_up(&mut self, node: usize) -> bool {
        let now = self.sim.now_at(node);
        let history = self.history.clone();
        self.server(node).is_some_and(|s| first_missing(s, now, &history.borrow()).is_none())
    }

    /// Does what a step says.
    pub(super) fn take(&mut self, step: Step) {
        if step.machine().is_some_and(|node| !self.is_used(node)) {
            return;
        }
        self.say(|| format!("{step:?}"));
        match step {
            Step::KillMember(i, away) => self.kill_member(i, away),
            Step::CrashMember(i, soon, away) => {
                if (self.scenario.synced() || self.may_damage(i)) && self.sim.alive(i) {
                    if !self.scenario.synced() {
                        self.damaged.insert(i);
                    }
                    self.disks[i].set_fault(Fault::CrashAt(soon));
                    self.mended.remove(&i);
                    self.restarts.insert(i, self.sim.now_us + (away + 200) * 1000);
                }
            }
            Step::WipeMember(i, away) => {
                if self.may_damage(i) {
                    self.damaged.insert(i);
                    self.wipe(i, away);
                }
            }
            Step::KillSentinel(i, away) if i < self.sentinel_pods() => {
                self.kill(self.sentinel_node(i), Survives::Everything, away);
            }
            Step::CrashSentinel(i, soon, away) if i < self.sentinel_pods() => {
                let node = self.sentinel_node(i);
                if self.sim.alive(node) {
                    self.disks[node].set_fault(Fault::CrashAt(soon));
                    self.restarts.insert(node, self.sim.now_us + (away + 200) * 1000);
                }
            }
            Step::WipeSentinel(i, away) if i < self.sentinel_pods() => {
                let all_know = (0..self.sentinel_pods()).all(|s| self.sentinel(s).is_some_and(|s| s.knows()));
                if all_know {
                    self.wipe(self.sentinel_node(i), away);
                }
            }
            Step::KillOperator(i, away) => self.kill(self.operator_node(i), Survives::Everything, away),
            Step::KillAll(away) => {
                for i in 0..self.pods() {
                    let late = self.rng.below(1000);
                    self.kill_member(i, away + late);
                }
            }
            Step::Stop(node, ms) => self.sim.stop_for(node, ms * 1000),
            Step::Cut(a, b) => self.sim.cut(a, b, true),
            Step::CutWay(a, b) => self.sim.cut_way(a, b, true),
            Step::Isolate(node) => self.isolate(node),
            Step::Part(mask) => {
                for a in 0..self.names.len() {
                    for b in 0..a {
                        if (mask >> a ^ mask >> b) & 1 == 1 {
                            self.sim.cut(a, b, true);
                        }
                    }
                }
            }
            Step::Refuse(node) => {
                self.resets = true;
                self.sim.refuse(node);
            }
            Step::Mend => self.sim.mend_all(),
            Step::FillDisk(i, ms) => self.fault_for(i, Fault::FullFrom(0), ms),
            Step::BreakDisk(i, ms) => self.fault_for(i, Fault::BrokenFrom(0), ms),
            Step::Terminate(i, away) if self.may_restart(i) => {
                self.sim.call(i, |a, io| a.terminate(io, Signal::Terminate));
                self.restarts.insert(i, self.sim.now_us + (away + 200) * 1000);
            }
            Step::Switchover(i) if i < self.sentinel_pods() => {
                let node = self.sentinel_node(i);
                self.sim.call(node, |a, io| {
                    if let Core::Sentinel(s) = &mut a.core {
                        let _refused = s.switchover(io, 0);
                    }
                });
            }
            Step::Snapshot(i) => self.command(i, &["BGSAVE"]),
            Step::Rewrite(i) => self.command(i, &["BGREWRITEAOF"]),
            Step::ApiServer(down, stale) => {
                let mut api = self.api.borrow_mut();
                (api.down, api.stale) = (down, stale);
            }
            Step::Master(deed) => {
                let master = self.master();
                self.inflict(deed, master);
            }
            Step::Aim(aim) => self.aims.borrow_mut().push(aim),
            Step::SeeOnlyOldMaster(node) => {
                let old = self.old_master();
                let others = (0..self.scenario.places).filter(|member| Some(*member) != old);
                others.for_each(|member| self.sim.cut(node, member, true));
            }
            Step::ForeignVolume(i) => self.give_foreign_volume(i),
            Step::OwnVolume(_) => self.give_own_volume(),
            Step::WriteAcks(n) => self.change_write_acks(n),
            Step::Members(n) => self.change_members(n),
            Step::Sentinels(n) => self.change_sentinels(n),
            Step::Terminate(..)
            | Step::KillSentinel(..)
            | Step::CrashSentinel(..)
            | Step::WipeSentinel(..)
            | Step::Switchover(_) => {}
        }
    }

    /// Does something to a machine.
    pub(super) fn inflict(&mut self, deed: Deed, node: usize) {
        self.say(|| format!("{} {deed:?}", short(&self.names[node])));
        let (members, sentinels) = (self.scenario.places, self.scenario.seats);
        let mut part = |nodes: std::ops::Range<usize>| {
            nodes.filter(|other| *other != node).for_each(|other| self.sim.cut(node, other, true));
        };
        match deed {
            Deed::PartFromSentinels => part(members..members + sentinels),
            Deed::PartFromMembers => part(0..members),
            Deed::Isolate => self.isolate(node),
            Deed::Stop(ms) => self.sim.stop_for(node, ms * 1000),
            Deed::Kill(away) if self.is_member(node) => self.kill_member(node, away),
            Deed::Kill(away) => self.kill(node, Survives::Everything, away),
            Deed::Wipe(away) => {
                let step = match node {
                    i if self.is_member(i) => Step::WipeMember(i, away),
                    node => Step::WipeSentinel(node.wrapping_sub(self.scenario.places), away),
                };
                self.take(step);
            }
            Deed::PowerOff(away) => {
                let may = !self.is_member(node) || self.scenario.synced() || self.may_damage(node);
                if may && self.sim.alive(node) {
                    if self.is_member(node) && !self.scenario.synced() {
                        self.damaged.insert(node);
                    }
                    self.kill(node, Survives::Nothing, away);
                }
            }
        }
    }

    /// Cuts a machine off from all others.
    fn isolate(&mut self, node: usize) {
        let clients = self.names.len() - self.scenario.writers;
        // Clients stay on its side, every other time.
        let end = if self.rng.below(2) == 0 { clients } else { self.names.len() };
        (0..end).filter(|other| *other != node).for_each(|other| self.sim.cut(node, other, true));
        if !self.is_member(node) {
            return;
        }
        // Somebody on its side writes much, without waiting for an answer.
        let value = "u".repeat(LARGE[self.rng.below(LARGE.len() as u64) as usize]);
        for n in 0..MUCH {
            self.command(node, &["SET", &format!("much:{n}"), &value]);
        }
    }

    /// Members that are master, with the epoch of each, the newest last.
    fn masters(&mut self) -> Vec<(u64, usize)> {
        let epoch = |w: &mut World, node| w.server(node)?.managed.as_ref()?.master_epoch();
        let mut masters: Vec<_> =
            (0..self.scenario.places).filter_map(|node| Some((epoch(self, node)?, node))).collect();
        masters.sort_unstable();
        masters
    }

    /// Whoever is master, or anybody.
    fn master(&mut self) -> usize {
        let any = self.rng.below(self.pods() as u64) as usize;
        self.masters().last().map_or(any, |(_, node)| *node)
    }

    /// A master that has not heard of the newest one.
    fn old_master(&mut self) -> Option<usize> {
        let masters = self.masters();
        Some(masters.iter().rev().nth(1)?.1)
    }

    pub(super) fn fault_for(&mut self, node: usize, fault: Fault, ms: u64) {
        if !self.restarts.contains_key(&node) {
            self.disks[node].set_fault(fault);
            self.mended.insert(node, self.sim.now_us + ms * 1000);
        }
    }

    /// Has a member execute a command, as from a client of its own.
    pub(super) fn command(&mut self, node: usize, words: &[&str]) {
        let mut request = Vec::new();
        datanode::resp::encode_command(&mut request, words);
        self.sim.call(node, |a, io| {
            let conn = io.open();
            a.accepted(io, conn, Default::default());
            if let Some(c) = io.conn(conn) {
                c.input.extend_from_slice(&request);
            }
            a.received(io, conn);
            io.ask(Action::Close { conn, flush: false });
        });
    }

    pub(super) fn end_faults(&mut self) {
        self.say(|| "the faults end".into());
        self.aims.borrow_mut().clear();
        self.sim.mend_all();
        self.sim.weather = CALM;
        {
            let mut api = self.api.borrow_mut();
            (api.down, api.stale) = (false, false);
        }
        for node in 0..self.names.len() {
            self.sim.go_on(node);
            self.sim.set_job_us(node, 1000);
            if !self.disks[node].has_crashed() {
                self.disks[node].set_fault(Fault::None);
            }
        }
        self.mended.clear();
        let now = self.sim.now_us;
        for node in 0..self.scenario.places {
            // Who could not read its files for an error of the disk is started again once the disk is well, by a person.
            let unreadable = self.server(node).is_some_and(|s| s.persist.restore_error().is_some());
            if unreadable {
                self.say(|| format!("{node} could not read its files"));
                self.kill_member(node, 0);
            }
        }
        for node in 0..self.names.len() {
            if !self.sim.alive(node) && self.is_used(node) {
                self.restarts.entry(node).or_insert(now + RETRY_US);
            }
        }
        self.restarts.values_mut().for_each(|at| *at = (*at).min(now + RETRY_US));
    }
}
