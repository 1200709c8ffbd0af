//! Hello messages: `ip,port,runid,epoch,master,master-ip,master-port,master-epoch`, published through the data nodes
//! and to other sentinels. They make sentinels find each other and adopt the newest configuration (classic).

use super::Sentinel;
use super::instance::{Channel, Expect, InstId, Instance, Kind};
use crate::io::Io;
use crate::shardmap::NodeAddr;

/// Sentinels known per master at most; further ones are ignored.
const MAX_PEERS: usize = 1000;

/// Larger epochs are not believed: there would be none left for the next failover.
const MAX_EPOCH: u64 = 1 << 62;

/// An epoch that another sentinel tells.
pub(super) fn parse_epoch(text: &str) -> Option<u64> {
    text.parse().ok().filter(|&n| n <= MAX_EPOCH)
}

impl Sentinel {
    pub(super) fn say_hello(&mut self, io: &mut Io, id: InstId) {
        let Some(inst) = self.insts.get(&id) else { return };
        let name = inst.group.clone();
        let Some(own) = self.own_addr(inst.own_ip.as_ref()) else { return };
        let Some(m) = self.masters.get(&name) else { return };
        let Some(master) = self.current_master(&name).and_then(|id| self.insts.get(&id)) else { return };
        let host = master.host_for_clients(self.cfg.announce_hostnames);
        let epoch = m.opt.config_epoch;
        let text = format!(
            "{},{},{},{},{name},{host},{},{epoch}",
            own.host(),
            own.port(),
            self.myid,
            self.current_epoch,
            master.addr.port()
        );
        let now = io.now.mono_ms();
        if self.send(io, id, Channel::Command, Expect::Hello, &["PUBLISH", super::HELLO_CHANNEL, &text])
            && let Some(i) = self.insts.get_mut(&id)
        {
            i.last_publish_ms = now;
        }
    }

    /// Has the next timer announce a master's configuration to everybody.
    pub(super) fn hello_soon(&mut self, name: &str) {
        let Some(m) = self.masters.get(name) else { return };
        for id in m.inst.iter().chain(&m.replicas).chain(m.peers.keys()) {
            if let Some(i) = self.insts.get_mut(id) {
                i.last_publish_ms = i.last_publish_ms.saturating_sub(self.timing.publish_period + 1);
            }
        }
    }

    pub(super) fn process_hello(&mut self, io: &mut Io, text: &str) {
        let fields: Vec<&str> = text.split(',').collect();
        let [host, port, run_id, epoch, name, master_host, master_port, master_epoch] = fields[..] else {
            return;
        };
        let parsed = (|| {
            let addr = NodeAddr::new(host, port.parse().ok()?).ok()?;
            let master = NodeAddr::new(master_host, master_port.parse().ok()?).ok()?;
            Some((addr, parse_epoch(epoch)?, master, parse_epoch(master_epoch)?))
        })();
        let Some((addr, epoch, master, master_epoch)) = parsed else { return };
        // What is said here is written to files.
        if !crate::shardmap::is_dataset_id(run_id) {
            return;
        }
        if run_id == self.myid || !self.masters.contains_key(name) || self.managed.is_some() {
            return;
        }
        let peer = self.meet(io, name, &addr, run_id);
        if epoch > self.current_epoch {
            self.adopt_epoch(io, epoch, name);
        }
        if let Some(p) = peer.and_then(|id| self.insts.get_mut(&id)) {
            p.last_hello_ms = io.now.mono_ms();
        }
        if self.masters.get(name).is_some_and(|m| master_epoch > m.opt.config_epoch) {
            if let Some(m) = self.masters.get_mut(name) {
                m.opt.config_epoch = master_epoch;
            }
            let same = self.master_inst(name).is_some_and(|i| i.is_at(master.host(), master.port()));
            if !same {
                if let Some(id) = peer {
                    self.event(io, "+config-update-from", id, "");
                }
                self.switch_master(io, name, &master, "observer");
            }
            self.save_soon();
        }
    }

    /// Finds or adds the sentinel that says hello.
    fn meet(&mut self, io: &mut Io, name: &str, addr: &NodeAddr, run_id: &str) -> Option<InstId> {
        let now = io.now.mono_ms();
        let peers: Vec<InstId> = self.masters.get(name)?.peers.keys().copied().collect();
        let same_id = peers.iter().copied().find(|p| self.insts.get(p).is_some_and(|i| i.run_id == run_id));
        if let Some(id) = same_id {
            let inst = self.insts.get_mut(&id)?;
            if inst.is_at(addr.host(), addr.port()) {
                return Some(id);
            }
            // It moved: meet it anew at the new address.
            self.remove_instance(io, id);
            let id = self.add_peer(name, addr.clone(), run_id, now);
            self.adopt_interval(name, id);
            self.event(io, "+sentinel-address-switch", id, "");
            self.save_soon();
            return Some(id);
        }
        let same_addr =
            peers.into_iter().find(|p| self.insts.get(p).is_some_and(|i| i.is_at(addr.host(), addr.port())));
        if let Some(id) = same_addr {
            // Another one lives at its address now.
            self.event(io, "+sentinel-invalid-addr", id, "");
            self.remove_instance(io, id);
        } else if self.masters.get(name)?.peers.len() >= MAX_PEERS {
            return None;
        }
        let id = self.add_peer(name, addr.clone(), run_id, now);
        self.adopt_interval(name, id);
        self.event(io, "+sentinel", id, "");
        self.save_soon();
        Some(id)
    }

    fn adopt_interval(&mut self, name: &str, id: InstId) {
        let down_after = self.masters.get(name).map_or(0, |m| m.opt.down_after_ms);
        if let Some(i) = self.insts.get_mut(&id) {
            i.down_after_ms = down_after;
        }
    }

    /// A larger epoch was heard of.
    pub(super) fn adopt_epoch(&mut self, io: &mut Io, epoch: u64, name: &str) {
        self.current_epoch = epoch;
        self.save_soon();
        self.tell(io, "+new-epoch", &epoch.to_string(), Some(name));
    }

    /// The master's replicas and the master, as instances.
    pub(super) fn members(&self, name: &str) -> Vec<InstId> {
        self.masters.get(name).map_or(Vec::new(), |m| m.inst.iter().chain(&m.replicas).copied().collect())
    }

    /// The member at an address.
    pub(super) fn member_at(&self, name: &str, host: &str, port: u16) -> Option<InstId> {
        self.members(name).into_iter().find(|id| self.insts.get(id).is_some_and(|i| i.is_at(host, port)))
    }

    /// Makes the node at `addr` the master; the old one becomes a replica.
    pub(super) fn switch_master(&mut self, io: &mut Io, name: &str, addr: &NodeAddr, role: &str) {
        let now = io.now.mono_ms();
        let names = self.names();
        let old = self.master_inst(name).map(|i| (i.host_for_clients(names).to_owned(), i.addr.port()));
        let id = match self.member_at(name, addr.host(), addr.port()) {
            Some(id) => id,
            None => self.add_replica(name, addr.clone(), now),
        };
        let Some(m) = self.masters.get_mut(name) else { return };
        m.replicas.retain(|r| *r != id);
        m.replicas.extend(m.inst.replace(id).filter(|o| *o != id));
        m.odown_since_ms = None;
        if self.managed.is_none() {
            m.failover.end();
        }
        m.opt.addr = addr.clone();
        for p in m.peers.values_mut() {
            p.master_down = false;
        }
        for member in self.members(name) {
            if let Some(i) = self.insts.get_mut(&member) {
                i.kind = if member == id { Kind::Master } else { Kind::Replica };
                i.reconf = Default::default();
                i.promoted = false;
                i.role_reported = i.kind;
                i.role_reported_ms = now;
                i.master_changed_ms = now;
                i.info_ms = 0;
                if member == id {
                    i.sdown_since_ms = None;
                }
            }
        }
        let new = self.insts.get(&id).map(|i| (i.host_for_clients(names).to_owned(), i.addr.port()));
        if let (Some(old), Some(new)) = (old, new) {
            if role == "observer" {
                self.reconfig_script(io, name, role, (&old.0, old.1), (&new.0, new.1));
            }
            let text = format!("{name} {} {} {} {}", old.0, old.1, new.0, new.1);
            self.tell(io, "+switch-master", &text, Some(name));
        }
        if self.managed.is_none() {
            self.meet_members_anew(io, name);
        }
        self.hello_soon(name);
    }

    /// Whatever is known of the nodes was said under the old configuration: as Redis, begin to watch them anew.
    fn meet_members_anew(&mut self, io: &mut Io, name: &str) {
        let now = io.now.mono_ms();
        for id in self.members(name) {
            self.drop_links(io, id);
            let Some(i) = self.insts.get_mut(&id) else { continue };
            let fresh = Instance::new(i.kind, i.addr.clone(), name, i.down_after_ms, now);
            *i = Instance { ip: i.ip.take(), own_ip: i.own_ip.take(), ..fresh };
            if i.kind == Kind::Replica {
                self.event(io, "+slave", id, "");
            }
        }
    }
}
