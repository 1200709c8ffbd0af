//! Settings changed while the sentinel runs: `SENTINEL MONITOR`, `SET`, `CONFIG` and `SIMULATE-FAILURE`, with the texts of
//! Redis 7.0.

use super::Sentinel;
use super::answers::{MANAGED, NO_SUCH_MASTER};
use super::commands::Call;
use super::config::MasterOptions;
use super::instance::{InstId, Kind};
use crate::glob::glob_match;
use crate::io::{Action, Io};
use crate::resp::parse::parse_i64;

/// What a sentinel exits with that was told to crash (as Redis).
const CRASHED: i32 = 99;

/// When this sentinel is to crash, for tests of what the others do then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    AfterElection = 1,
    AfterPromotion = 2,
}

const CRASHES: [(&str, Crash); 2] =
    [("crash-after-election", Crash::AfterElection), ("crash-after-promotion", Crash::AfterPromotion)];

impl Sentinel {
    /// `SENTINEL MONITOR name host port quorum`
    pub(super) fn monitor_command(&mut self, io: &mut Io, call: &mut Call<'_>, name: &str) {
        let number = |i: usize| parse_i64(&call.args[i]);
        let (quorum, port) = match (number(5), number(4)) {
            (None, _) => return call.reply.error("ERR Invalid quorum"),
            (_, None) => return call.reply.error("ERR Invalid port"),
            (Some(quorum), Some(port)) => (quorum, port),
        };
        let host = call.word(3);
        let wrong = if quorum <= 0 {
            "Quorum must be 1 or greater."
        } else if !self.cfg.resolve_hostnames && host.parse::<std::net::IpAddr>().is_err() {
            "Invalid IP address or hostname specified"
        } else if !(0..=65535).contains(&port) {
            "Invalid port number."
        } else if self.masters.contains_key(name) {
            "Duplicate master name."
        } else {
            ""
        };
        if !wrong.is_empty() {
            return call.reply.error(&format!("ERR {wrong}"));
        }
        let made = self.cfg.monitor(name, &host, &call.word(4), &call.word(5));
        self.cfg.masters.clear();
        match made {
            Ok(mut opt) => {
                opt.down_after_ms = self.timing.default_down_after;
                opt.failover_timeout_ms = self.timing.default_failover_timeout;
                self.add_master(opt, io.now.mono_ms());
                self.save_and_reply(call);
                self.say_monitored(io, name);
            }
            Err(e) => call.reply.error(&format!("ERR {e}")),
        }
    }

    /// Tells that a master is watched.
    pub(super) fn say_monitored(&mut self, io: &mut Io, name: &str) {
        let quorum = self.masters.get(name).map_or(0, |m| m.opt.quorum);
        self.event_of(io, "+monitor", name, &format!("quorum {quorum}"));
    }

    /// `SENTINEL SET name option value …`: all options or none are set.
    pub(super) fn set_command(&mut self, io: &mut Io, call: &mut Call<'_>, name: &str) {
        let Some(m) = self.masters.get(name) else { return call.reply.error(NO_SUCH_MASTER) };
        let mut opt = m.opt.clone();
        let mut told = Vec::new();
        let mut i = 3;
        while i < call.args.len() {
            let option = call.word(i).to_ascii_lowercase();
            let Some(n) = MasterOptions::arity(&option).filter(|n| i + n < call.args.len()) else {
                return call.reply.error(&format!(
                    "ERR Unknown option or number of arguments for SENTINEL SET '{}'",
                    call.word(i)
                ));
            };
            if option.ends_with("-script") && !self.cfg.allow_scripts_reconfig {
                return call.reply.error(
                    "ERR Reconfiguration of scripts path is denied for security reasons. Check the deny-scripts-reconfig \
                     configuration directive in your Sentinel configuration",
                );
            }
            let values: Vec<String> = (i + 1..=i + n).map(|k| call.word(k)).collect();
            if let Err(e) = opt.set(&option, &values, &self.cfg.dir) {
                return call.reply.error(&format!("ERR {e}"));
            }
            let shown = if option == "auth-pass" { "******".to_owned() } else { values.join(" ") };
            told.push(format!("{} {shown}", call.word(i)));
            i += n + 1;
        }
        let new_login = (&opt.auth_user, &opt.auth_pass) != (&m.opt.auth_user, &m.opt.auth_pass);
        if let Some(m) = self.masters.get_mut(name) {
            m.opt = opt;
        }
        self.set_down_after(name);
        if new_login {
            for id in self.members(name) {
                self.drop_links(io, id);
            }
        }
        for text in told {
            self.event_of(io, "+set", name, &text);
        }
        self.save_and_reply(call);
    }

    /// `SENTINEL CONFIG GET pattern`, `SENTINEL CONFIG SET option value`
    pub(super) fn config_command(&mut self, io: &mut Io, call: &mut Call<'_>) {
        match (call.word(2).to_ascii_lowercase().as_str(), call.args.len()) {
            ("get", 4) => self.config_get(call),
            ("set", 5) if self.managed.is_some() => call.reply.error(MANAGED),
            ("set", 5) => self.config_set(io, call),
            _ => call
                .reply
                .error("ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported."),
        }
    }

    fn config_get(&self, call: &mut Call<'_>) {
        let c = &self.cfg;
        let yes = |b: bool| if b { "yes" } else { "no" }.to_owned();
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let all = [
            ("resolve-hostnames", yes(c.resolve_hostnames)),
            ("announce-hostnames", yes(c.announce_hostnames)),
            ("announce-ip", text(&c.announce_ip)),
            ("announce-port", c.announce_port.to_string()),
            ("sentinel-user", text(&c.sentinel_user)),
            ("sentinel-pass", text(&c.sentinel_pass)),
        ];
        let pattern = &call.args[3];
        let found: Vec<_> = all.iter().filter(|(k, _)| glob_match(pattern, k.as_bytes(), true)).collect();
        call.reply.map(found.len());
        for (key, value) in found {
            call.reply.bulk(key.as_bytes());
            call.reply.bulk(value.as_bytes());
        }
    }

    fn config_set(&mut self, io: &mut Io, call: &mut Call<'_>) {
        const KNOWN: [&str; 6] = [
            "resolve-hostnames",
            "announce-hostnames",
            "announce-ip",
            "announce-port",
            "sentinel-user",
            "sentinel-pass",
        ];
        let (option, value) = (call.word(3), call.word(4));
        let known = option.to_ascii_lowercase();
        if !KNOWN.contains(&known.as_str()) {
            return call.reply.error(&format!("ERR Invalid argument '{option}' to SENTINEL CONFIG SET"));
        }
        let credentials = known.starts_with("sentinel-");
        if self.cfg.sentinel_directive(&[known, value.clone()]).is_err() {
            return call
                .reply
                .error(&format!("ERR Invalid value '{value}' to SENTINEL CONFIG SET '{option}'"));
        }
        self.save_and_reply(call);
        if credentials {
            let peers = self.insts.iter().filter(|(_, i)| i.kind == Kind::Sentinel);
            for id in peers.map(|(id, _)| *id).collect::<Vec<InstId>>() {
                self.drop_links(io, id);
            }
        }
    }

    /// Makes the state durable and says whether that worked (`SENTINEL FLUSHCONFIG`, and after changes).
    pub(super) fn save_and_reply(&mut self, call: &mut Call<'_>) {
        match self.save() {
            Ok(()) => call.reply.ok(),
            Err(e) => {
                tracing::error!("Sentinel was not able to save its state to {}: {e}", self.state_path());
                call.reply.error("ERR Failed to save config file. Check server logs.");
            }
        }
    }

    /// `SENTINEL SIMULATE-FAILURE [crash-after-election] [crash-after-promotion] [help]`
    pub(super) fn simulate_failure(&mut self, call: &mut Call<'_>) {
        self.crashes = 0;
        for i in 2..call.args.len() {
            let word = call.word(i).to_ascii_lowercase();
            if word == "help" {
                call.reply.array(CRASHES.len());
                return CRASHES.iter().for_each(|(name, _)| call.reply.bulk(name.as_bytes()));
            }
            match CRASHES.iter().find(|(name, _)| *name == word) {
                Some((name, crash)) => {
                    tracing::warn!("Failure simulation: this Sentinel will {name}");
                    self.crashes |= *crash as u8;
                }
                None => return call.reply.error("ERR Unknown failure simulation specified"),
            }
        }
        call.reply.ok();
    }

    /// Crashes if that was asked for; then nothing more is to be done.
    pub(super) fn crashes_now(&mut self, io: &mut Io, crash: Crash) -> bool {
        let now = self.crashes & crash as u8 != 0;
        if now && !self.terminating {
            self.terminating = true;
            tracing::warn!("Sentinel CRASH because of SENTINEL simulate-failure");
            io.ask(Action::Exit(CRASHED));
        }
        now
    }
}
