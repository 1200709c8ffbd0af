//! What happens is told in three ways: the log, clients subscribed to the event's name, and notification scripts.

use super::Sentinel;
use super::instance::{InstId, Kind};
use crate::io::Io;

/// Events that scripts are not told about (Redis logs them as notices).
const NOTICES: &[&str] = &[
    "+slave",
    "+sentinel",
    "+sentinel-address-switch",
    "+sentinel-invalid-addr",
    "+reboot",
    "+slave-reconf-sent",
    "+slave-reconf-sent-be",
    "-slave-reconf-sent-timeout",
    "+slave-reconf-inprog",
    "+slave-reconf-done",
    "+failover-state-send-slaveof-noone",
    "+failover-state-wait-promotion",
    "+convert-to-slave",
    "+fix-slave-config",
    "+role-change",
];

impl Sentinel {
    /// An event about an instance: `KIND NAME IP PORT`, and for others than masters ` @ MASTER IP PORT`.
    pub(super) fn event(&mut self, io: &mut Io, what: &str, id: InstId, extra: &str) {
        let Some(inst) = self.insts.get(&id) else { return };
        let names = self.names();
        let group = inst.group.clone();
        let host = inst.host_for_clients(names);
        let mut text = match inst.kind {
            Kind::Master => format!("master {group} {host} {}", inst.addr.port()),
            Kind::Replica => format!("slave {host}:{} {host} {}", inst.addr.port(), inst.addr.port()),
            Kind::Sentinel => format!("sentinel {} {host} {}", inst.run_id, inst.addr.port()),
        };
        if inst.kind != Kind::Master
            && let Some(m) = self.master_inst(&group)
        {
            text += &format!(" @ {group} {} {}", m.host_for_clients(names), m.addr.port());
        }
        if !extra.is_empty() {
            text += &format!(" {extra}");
        }
        self.tell(io, what, &text, Some(&group));
    }

    /// An event about a master, which may not exist yet.
    pub(super) fn event_of(&mut self, io: &mut Io, what: &str, name: &str, extra: &str) {
        match self.masters.get(name).and_then(|m| m.inst) {
            Some(id) => self.event(io, what, id, extra),
            None => {
                let text = format!("master {name} - 0 {extra}");
                self.tell(io, what, text.trim_end(), Some(name));
            }
        }
    }

    /// An event with this text.
    pub(super) fn tell(&mut self, io: &mut Io, what: &str, text: &str, master: Option<&str>) {
        let notice = NOTICES.contains(&what);
        if notice {
            tracing::info!("{what} {text}");
        } else {
            tracing::warn!("{what} {text}");
        }
        self.front.announce(io, what.as_bytes(), text.as_bytes());
        let script = master
            .filter(|_| !notice)
            .and_then(|m| self.masters.get(m))
            .and_then(|m| m.opt.notification_script.clone());
        if let Some(path) = script {
            self.schedule_script(io, path, vec![what.to_owned(), text.to_owned()]);
        }
    }

    /// True where clients are told names rather than addresses: always under the shard map, for names outlive pods.
    pub(super) fn names(&self) -> bool {
        self.managed.is_some() || self.cfg.announce_hostnames
    }
}
