//! What follows from a data node's INFO (classic): discovery of replicas, changed roles, progress of a failover, and
//! setting right what follows the wrong master.

use super::Sentinel;
use super::failover::Step;
use super::instance::{Info, InstId, Kind, Reconf};
use crate::io::Io;
use crate::shardmap::NodeAddr;

/// A replica that calls itself master is set right after so many hello periods: by then a newer configuration would
/// have been heard of.
const CONVERT_AFTER_HELLOS: u64 = 4;
/// INFO older than this says nothing about a master's sanity, milliseconds.
const FRESH_INFO_MS: u64 = 20_000;
/// Replicas known per master at most.
const MAX_REPLICAS: usize = 1000;

impl Sentinel {
    pub(super) fn refresh_info(&mut self, io: &mut Io, id: InstId, text: &str) {
        let now = io.now.mono_ms();
        let info = Info::parse(text);
        let Some(i) = self.insts.get_mut(&id) else { return };
        let name = i.group.clone();
        let rebooted = !i.run_id.is_empty() && i.run_id != info.run_id;
        i.run_id = info.run_id.clone();
        i.info_ms = now;
        let role = if info.is_master { Kind::Master } else { Kind::Replica };
        let role_changed = role != i.role_reported;
        if role_changed {
            i.role_reported = role;
            i.role_reported_ms = now;
        }
        if info.master_host != i.info.master_host || info.master_port != i.info.master_port || role_changed {
            i.master_changed_ms = now;
        }
        let kind = i.kind;
        let replicas = info.replicas.clone();
        i.info = info;
        if rebooted {
            if kind == Kind::Master {
                i.rebooted_ms = now;
            }
            self.event(io, "+reboot", id, "");
        }
        if role_changed {
            let word = if role == kind { "+role-change" } else { "-role-change" };
            self.event(io, word, id, &format!("new reported role is {}", role.word()));
        }
        if kind == Kind::Master {
            if role == Kind::Master {
                self.discover_replicas(io, &name, &replicas);
            }
        } else if !self.tilt() {
            match role {
                Kind::Master => self.replica_says_master(io, &name, id),
                _ => self.replica_says_replica(io, &name, id),
            }
        }
    }

    fn discover_replicas(&mut self, io: &mut Io, name: &str, replicas: &[(String, u16)]) {
        for (host, port) in replicas {
            let Ok(addr) = NodeAddr::new(host, *port) else { continue };
            let full = self.masters.get(name).is_none_or(|m| m.replicas.len() >= MAX_REPLICAS);
            if full || self.member_at(name, host, *port).is_some() {
                continue;
            }
            let id = self.add_replica(name, addr, io.now.mono_ms());
            self.event(io, "+slave", id, "");
            self.save_or_warn();
        }
    }

    fn replica_says_master(&mut self, io: &mut Io, name: &str, id: InstId) {
        let now = io.now.mono_ms();
        let Some(m) = self.masters.get(name) else { return };
        let Some(i) = self.insts.get(&id) else { return };
        if i.promoted && m.failover.step == Step::WaitPromotion {
            self.promoted(io, name, id);
            return;
        }
        let wait = CONVERT_AFTER_HELLOS * self.timing.publish_period;
        if !i.promoted
            && now - i.role_reported_ms > wait
            && self.master_looks_sane(name, now)
            && self.well_for(id, wait, now)
            && self.send_replicaof(io, name, id, None)
        {
            self.event(io, "+convert-to-slave", id, "");
        }
    }

    fn replica_says_replica(&mut self, io: &mut Io, name: &str, id: InstId) {
        let now = io.now.mono_ms();
        let Some(m) = self.masters.get(name) else { return };
        let Some(i) = self.insts.get(&id) else { return };
        let follows = |target: Option<InstId>| {
            target
                .and_then(|t| self.insts.get(&t))
                .is_some_and(|t| t.is_at(&i.info.master_host, i.info.master_port))
        };
        let wait = m.opt.failover_timeout_ms;
        let stray = !m.failover.active() && !follows(m.inst) && now - i.master_changed_ms > wait;
        let promoted = m.failover.promoted;
        let (reconf, link_up, at_promoted) = (i.reconf, i.info.master_link_up, follows(promoted));
        if stray && self.master_looks_sane(name, now) && self.well_for(id, wait, now) {
            if self.send_replicaof(io, name, id, None) {
                self.event(io, "+fix-slave-config", id, "");
            }
            return;
        }
        if reconf == Reconf::Sent && at_promoted {
            self.set_reconf(id, Reconf::InProgress);
            self.event(io, "+slave-reconf-inprog", id, "");
        }
        if matches!(reconf, Reconf::Sent | Reconf::InProgress) && at_promoted && link_up {
            self.set_reconf(id, Reconf::Done);
            self.event(io, "+slave-reconf-done", id, "");
        }
    }

    pub(super) fn set_reconf(&mut self, id: InstId, reconf: Reconf) {
        if let Some(i) = self.insts.get_mut(&id) {
            i.reconf = reconf;
        }
    }

    fn master_looks_sane(&self, name: &str, now: u64) -> bool {
        let odown = self.masters.get(name).is_none_or(|m| m.odown_since_ms.is_some());
        self.master_inst(name).is_some_and(|i| {
            !odown
                && !i.sdown()
                && i.role_reported == Kind::Master
                && i.info_ms != 0
                && now - i.info_ms < FRESH_INFO_MS
        })
    }

    /// It has not gone down within the last `ms`.
    fn well_for(&self, id: InstId, ms: u64, now: u64) -> bool {
        self.insts.get(&id).is_some_and(|i| i.last_down_ms == 0 || now - i.last_down_ms > ms)
    }
}
