//! The SENTINEL command and the descriptions of instances it answers with; field names, order and texts as Redis 7.0.

use super::commands::Call;
use super::failover::{Failover, Step};
use super::hello::parse_epoch;
use super::instance::{InstId, Instance, Kind, Reconf};
use super::{Master, Sentinel};
use crate::glob::glob_match;
use crate::io::Io;

pub(super) const NO_SUCH_MASTER: &str = "ERR No such master with that name";
pub(super) const MANAGED: &str =
    "ERR this sentinel follows the shard map: change the RedisReplicaSet instead";

impl Sentinel {
    pub(super) fn sentinel_command(&mut self, io: &mut Io, call: &mut Call<'_>) {
        let now = io.now.mono_ms();
        let sub = call.word(1).to_ascii_lowercase();
        let name = call.word(2);
        let changes = matches!(sub.as_str(), "monitor" | "remove" | "set");
        if changes && self.managed.is_some() {
            return call.reply.error(MANAGED);
        }
        match (sub.as_str(), call.args.len()) {
            ("masters", 2) => {
                let ids: Vec<InstId> = self.masters.values().filter_map(|m| m.inst).collect();
                self.describe_all(call, &ids, now);
            }
            ("master", 3) => match self.masters.get(&name).map(|m| m.inst) {
                Some(Some(id)) => self.describe(call, id, &name, now),
                _ => call.reply.error(NO_SUCH_MASTER),
            },
            ("replicas" | "slaves", 3) => match self.masters.get(&name) {
                Some(m) => {
                    // Some do not want to be known to clients (`replica-announced no`).
                    let announced = |id: &&InstId| self.insts.get(id).is_none_or(|i| i.info.announced);
                    let ids: Vec<InstId> = m.replicas.iter().filter(announced).copied().collect();
                    self.describe_group(call, &ids, &name, now);
                }
                None => call.reply.error(NO_SUCH_MASTER),
            },
            ("sentinels", 3) => match self.masters.get(&name) {
                Some(m) => {
                    let ids: Vec<InstId> = m.peers.keys().copied().collect();
                    self.describe_group(call, &ids, &name, now);
                }
                None => call.reply.error(NO_SUCH_MASTER),
            },
            ("get-master-addr-by-name", 3) => {
                match self.current_master(&name).and_then(|id| self.insts.get(&id)) {
                    Some(i) => {
                        call.reply.array(2);
                        call.reply.bulk(i.host_for_clients(self.names()).as_bytes());
                        call.reply.bulk(i.addr.port().to_string().as_bytes());
                    }
                    None => call.reply.null_array(),
                }
            }
            ("is-master-down-by-addr", 6) => self.is_master_down(io, call),
            ("ckquorum", 3) => self.ckquorum(call, &name),
            ("failover", 3) => self.failover_command(io, call, &name),
            ("flushconfig", 2) => self.save_and_reply(call),
            ("myid", 2) => call.reply.bulk(self.myid.as_bytes()),
            ("monitor", 6) => self.monitor_command(io, call, &name),
            ("remove", 3) => {
                if !self.masters.contains_key(&name) {
                    return call.reply.error(NO_SUCH_MASTER);
                }
                self.event_of(io, "-monitor", &name, "");
                self.remove_master(io, &name);
                self.save_and_reply(call);
            }
            ("set", 5..) => self.set_command(io, call, &name),
            ("reset", 3) => self.reset_command(io, call),
            ("config", _) => self.config_command(io, call),
            ("info-cache", _) => self.info_cache(call, now),
            ("debug", _) => self.debug_command(call),
            ("simulate-failure", _) => self.simulate_failure(call),
            ("pending-scripts", 2) => self.pending_scripts(call, now),
            _ => call.unknown_subcommand(),
        }
    }

    fn is_master_down(&mut self, io: &mut Io, call: &mut Call<'_>) {
        let host = call.word(2);
        let (Ok(port), Some(epoch)) = (call.word(3).parse::<u16>(), parse_epoch(&call.word(4))) else {
            return call.reply.error("ERR value is not an integer or out of range");
        };
        let run_id = call.word(5);
        let name =
            self.masters.keys().find(|n| self.master_inst(n).is_some_and(|i| i.is_at(&host, port))).cloned();
        let vote = match &name {
            Some(n) if run_id != "*" && self.managed.is_none() => self.vote(io, n, epoch, &run_id, false),
            _ => None,
        };
        call.reply.array(3);
        self.answer_vote(call, name.as_deref(), vote);
    }

    /// `REPLICASET VOTE master-name epoch run-id generation planned`: as IS-MASTER-DOWN-BY-ADDR, by the master's name, for a
    /// shard may have no master yet; `generation` is that of the asker's map, `planned` 1 for a planned move.
    pub(super) fn asked_for_vote(&mut self, io: &mut Io, call: &mut Call<'_>) {
        let name = call.word(2);
        let (Some(epoch), Ok(generation)) = (parse_epoch(&call.word(3)), call.word(5).parse::<u64>()) else {
            return call.reply.error("ERR value is not an integer or out of range");
        };
        let (run_id, planned) = (call.word(4), call.word(6) == "1");
        let stale = self.map().is_none_or(|m| m.generation > generation);
        if stale {
            // By the rules of an older topology nothing is decided any more.
            self.spread_soon();
        }
        let may = run_id != "*" && !stale && self.masters.contains_key(&name);
        let vote = if may { self.vote(io, &name, epoch, &run_id, planned) } else { None };
        let shard = self.shard_named(&name).map_or(0, |s| s.index);
        let authority = serde_json::to_vec(&self.newest_authority(shard)).unwrap_or_default();
        call.reply.array(4);
        self.answer_vote(call, Some(&name), vote);
        call.reply.bulk(&authority);
    }

    fn answer_vote(&self, call: &mut Call<'_>, name: Option<&str>, vote: Option<(String, u64)>) {
        let down = name.and_then(|n| self.master_inst(n)).is_some_and(|i| i.sdown()) && !self.tilt();
        let (leader, leader_epoch) = vote.unwrap_or_else(|| ("*".into(), 0));
        call.reply.int(i64::from(down));
        call.reply.bulk(leader.as_bytes());
        call.reply.int(leader_epoch as i64);
    }

    /// Sentinels of a master that are not down, this one included.
    pub(super) fn usable_sentinels(&self, m: &Master) -> usize {
        1 + m.peers.keys().filter(|id| self.insts.get(id).is_some_and(|i| !i.sdown())).count()
    }

    fn ckquorum(&mut self, call: &mut Call<'_>, name: &str) {
        let Some(m) = self.masters.get(name) else { return call.reply.error(NO_SUCH_MASTER) };
        let voters = m.peers.len() + 1;
        let usable = self.usable_sentinels(m);
        let quorum = usable >= m.opt.quorum as usize;
        let majority = usable > voters / 2;
        if quorum && majority {
            return call.reply.simple(&format!(
                "OK {usable} usable Sentinels. Quorum and failover authorization can be reached"
            ));
        }
        let mut text = format!("NOQUORUM {usable} usable Sentinels. ");
        if !quorum {
            text += "Not enough available Sentinels to reach the specified quorum for this master";
        }
        if !majority {
            if !quorum {
                text += ". ";
            }
            text += "Not enough available Sentinels to reach the majority and authorize a failover";
        }
        call.reply.error(&text);
    }

    fn failover_command(&mut self, io: &mut Io, call: &mut Call<'_>, name: &str) {
        let Some(m) = self.masters.get(name) else { return call.reply.error(NO_SUCH_MASTER) };
        if m.failover.active() {
            return call.reply.error("INPROG Failover already in progress");
        }
        if self.managed.is_some() {
            return match self.start_planned(io, name, None) {
                Ok(()) => call.reply.ok(),
                Err(text) => call.reply.error(&text),
            };
        }
        if self.best_replica(name, io.now.mono_ms()).is_none() {
            return call.reply.error("NOGOODSLAVE No suitable replica to promote");
        }
        tracing::warn!("Executing user requested FAILOVER of '{name}'");
        self.start_failover(io, name, true);
        call.reply.ok();
    }

    /// Forgets replicas and sentinels of the masters whose name matches; they are discovered anew.
    fn reset_command(&mut self, io: &mut Io, call: &mut Call<'_>) {
        let now = io.now.mono_ms();
        let names: Vec<String> =
            self.masters.keys().filter(|n| glob_match(&call.args[2], n.as_bytes(), false)).cloned().collect();
        if self.managed.is_none() {
            for name in &names {
                let Some(m) = self.masters.get_mut(name) else { continue };
                // The next failover need not wait for the end of what the last one holds back.
                m.failover = Failover::default();
                m.odown_since_ms = None;
                m.leader = None;
                let gone: Vec<InstId> = m.replicas.drain(..).chain(m.peers.keys().copied()).collect();
                m.peers.clear();
                let master = m.inst;
                for id in gone {
                    self.remove_instance(io, id);
                }
                if let Some(id) = master {
                    self.drop_links(io, id);
                    if let Some(i) = self.insts.get_mut(&id) {
                        *i = Instance::new(Kind::Master, i.addr.clone(), name, i.down_after_ms, now);
                    }
                }
                self.event_of(io, "+reset-master", name, "");
            }
            self.save_or_warn();
        }
        call.reply.int(names.len() as i64);
    }

    fn info_cache(&mut self, call: &mut Call<'_>, now: u64) {
        let wanted: Vec<String> = (2..call.args.len()).map(|i| call.word(i)).collect();
        let names: Vec<String> =
            self.masters.keys().filter(|n| wanted.is_empty() || wanted.contains(n)).cloned().collect();
        call.reply.array(names.len() * 2);
        for name in names {
            call.reply.bulk(name.as_bytes());
            let members = self.members(&name);
            call.reply.array(members.len());
            for id in members {
                let Some(i) = self.insts.get(&id) else { continue };
                call.reply.array(2);
                call.reply.int(if i.info_ms == 0 { 0 } else { now.saturating_sub(i.info_ms) as i64 });
                if i.info.text.is_empty() {
                    call.reply.null()
                } else {
                    call.reply.bulk(i.info.text.as_bytes())
                }
            }
        }
    }

    /// INFO's section about masters.
    pub(super) fn sentinel_section(&self, now: u64) -> String {
        let since = self.tilt_since_ms.map_or(-1, |t| (now.saturating_sub(t) / 1000) as i64);
        let mut text = format!(
            "# Sentinel\r\nsentinel_masters:{}\r\nsentinel_tilt:{}\r\nsentinel_tilt_since_seconds:{since}\r\n\
             sentinel_running_scripts:{}\r\nsentinel_scripts_queue_length:{}\r\nsentinel_simulate_failure_flags:{}\r\n",
            self.masters.len(),
            i32::from(self.tilt()),
            self.scripts.running(),
            self.scripts.len(),
            self.crashes
        );
        for (n, (name, m)) in self.masters.iter().enumerate() {
            let inst = m.inst.and_then(|id| self.insts.get(&id));
            let status = match inst {
                _ if m.odown_since_ms.is_some() => "odown",
                Some(i) if !i.sdown() => "ok",
                _ => "sdown",
            };
            let address = inst
                .map_or("-:0".into(), |i| format!("{}:{}", i.host_for_clients(self.names()), i.addr.port()));
            text += &format!(
                "master{n}:name={name},status={status},address={address},slaves={},sentinels={}\r\n",
                m.replicas.len(),
                m.peers.len() + 1
            );
        }
        text
    }

    fn describe_all(&self, call: &mut Call<'_>, ids: &[InstId], now: u64) {
        call.reply.array(ids.len());
        for id in ids {
            let name = self.insts.get(id).map(|i| i.group.clone()).unwrap_or_default();
            self.describe(call, *id, &name, now);
        }
    }

    fn describe_group(&self, call: &mut Call<'_>, ids: &[InstId], name: &str, now: u64) {
        call.reply.array(ids.len());
        for id in ids {
            self.describe(call, *id, name, now);
        }
    }

    fn describe(&self, call: &mut Call<'_>, id: InstId, name: &str, now: u64) {
        let (Some(i), Some(m)) = (self.insts.get(&id), self.masters.get(name)) else {
            return call.reply.null();
        };
        let fields = self.fields(i, id, m, now);
        call.reply.map(fields.len());
        for (key, value) in fields {
            call.reply.bulk(key.as_bytes());
            call.reply.bulk(value.as_bytes());
        }
    }

    fn fields(&self, i: &Instance, id: InstId, m: &Master, now: u64) -> Vec<(&'static str, String)> {
        let ago = |t: u64| if t == 0 { 0 } else { now.saturating_sub(t) }.to_string();
        let host = i.host_for_clients(self.names());
        let shown = match i.kind {
            Kind::Master => m.opt.name.clone(),
            Kind::Replica => format!("{host}:{}", i.addr.port()),
            Kind::Sentinel if i.run_id.is_empty() => i.addr.to_string(),
            Kind::Sentinel => i.run_id.clone(),
        };
        let mut f = vec![
            ("name", shown),
            ("ip", host.to_owned()),
            ("port", i.addr.port().to_string()),
            ("runid", i.run_id.clone()),
            ("flags", flags(i, id, m)),
            ("link-pending-commands", i.command.pending.len().to_string()),
            ("link-refcount", "1".to_owned()),
        ];
        if i.kind == Kind::Master && m.failover.active() {
            f.push(("failover-state", m.failover.step.word().to_owned()));
        }
        f.push(("last-ping-sent", ago(i.unanswered_ping_ms)));
        f.push(("last-ok-ping-reply", ago(i.last_ok_ms)));
        f.push(("last-ping-reply", ago(i.last_pong_ms)));
        if let Some(t) = i.sdown_since_ms {
            f.push(("s-down-time", ago(t)));
        }
        if let Some(t) = m.odown_since_ms.filter(|_| i.kind == Kind::Master) {
            f.push(("o-down-time", ago(t)));
        }
        f.push(("down-after-milliseconds", i.down_after_ms.to_string()));
        if i.kind != Kind::Sentinel {
            f.push(("info-refresh", ago(i.info_ms.max(i.status_ms))));
            f.push(("role-reported", i.role_reported.word().to_owned()));
            f.push(("role-reported-time", ago(i.role_reported_ms)));
        }
        match i.kind {
            Kind::Master => self.master_fields(&mut f, m),
            Kind::Replica => replica_fields(&mut f, i),
            Kind::Sentinel => {
                let p = m.peers.get(&id).cloned().unwrap_or_default();
                f.push(("last-hello-message", ago(i.last_hello_ms)));
                f.push(("voted-leader", p.leader.unwrap_or_else(|| "?".to_owned())));
                f.push(("voted-leader-epoch", p.leader_epoch.to_string()));
            }
        }
        f
    }

    fn master_fields(&self, f: &mut Vec<(&'static str, String)>, m: &Master) {
        f.push(("config-epoch", m.opt.config_epoch.to_string()));
        f.push(("num-slaves", m.replicas.len().to_string()));
        f.push(("num-other-sentinels", m.peers.len().to_string()));
        f.push(("quorum", m.opt.quorum.to_string()));
        f.push(("failover-timeout", m.opt.failover_timeout_ms.to_string()));
        f.push(("parallel-syncs", m.opt.parallel_syncs.to_string()));
        if let Some(path) = &m.opt.notification_script {
            f.push(("notification-script", path.clone()));
        }
        if let Some(path) = &m.opt.client_reconfig_script {
            f.push(("client-reconfig-script", path.clone()));
        }
    }
}

fn replica_fields(f: &mut Vec<(&'static str, String)>, i: &Instance) {
    let s = i.status.as_ref();
    let up = s.map_or(i.info.master_link_up, |s| s.link_up);
    let master = s.and_then(|s| s.master_host.as_ref());
    let host = master.map_or(i.info.master_host.as_str(), |m| m.host());
    f.push(("master-link-down-time", i.info.master_link_down_ms.to_string()));
    f.push(("master-link-status", if up { "ok" } else { "err" }.to_owned()));
    f.push(("master-host", if host.is_empty() { "?" } else { host }.to_owned()));
    f.push(("master-port", master.map_or(i.info.master_port, |m| m.port()).to_string()));
    f.push(("slave-priority", i.info.priority.to_string()));
    f.push(("slave-repl-offset", s.map_or(i.info.offset, |s| s.offset).to_string()));
    f.push(("replica-announced", u8::from(i.info.announced).to_string()));
}

fn flags(i: &Instance, id: InstId, m: &Master) -> String {
    let is_master = i.kind == Kind::Master;
    let peer_says_down = m.peers.get(&id).is_some_and(|p| p.master_down);
    [
        (i.sdown(), "s_down"),
        (is_master && m.odown_since_ms.is_some(), "o_down"),
        (true, i.kind.word()),
        (!i.command.up(), "disconnected"),
        (peer_says_down, "master_down"),
        (is_master && m.failover.step != Step::None, "failover_in_progress"),
        (i.promoted, "promoted"),
        (i.reconf == Reconf::Sent, "reconf_sent"),
        (i.reconf == Reconf::InProgress, "reconf_inprog"),
        (i.reconf == Reconf::Done, "reconf_done"),
        (is_master && m.failover.forced, "force_failover"),
    ]
    .iter()
    .filter(|(set, _)| *set)
    .map(|(_, word)| *word)
    .collect::<Vec<_>>()
    .join(",")
}
