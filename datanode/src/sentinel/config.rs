//! The `sentinel` directives: parsing them, and rewriting `sentinel.conf` with the state that must outlive the process,
//! as Redis Sentinel 7.0 does (comments, order and other directives stay).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::{Config as General, Foreign, SentinelLine};
use crate::disk::Disk;
use crate::shardmap::NodeAddr;

/// `down-after-milliseconds` where it is not configured.
pub(super) const DEFAULT_DOWN_AFTER_MS: u64 = 30_000;
/// `failover-timeout` where it is not configured.
pub(super) const DEFAULT_FAILOVER_TIMEOUT_MS: u64 = 180_000;

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\n*** FATAL CONFIG FILE ERROR ***\nReading the configuration {place}\n>>> '{line}'\n{text}")]
pub struct ConfigError {
    place: String,
    line: String,
    text: String,
}

/// Options of one monitored master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterOptions {
    /// Its name.
    pub name: String,
    /// Its address.
    pub addr: NodeAddr,
    /// Sentinels that must see it down.
    pub quorum: u32,
    /// Silence that makes it down, milliseconds.
    pub down_after_ms: u64,
    /// Limit of the steps of a failover, milliseconds.
    pub failover_timeout_ms: u64,
    /// Replicas reconfigured at once.
    pub parallel_syncs: u32,
    /// Password of the data nodes.
    pub auth_pass: Option<String>,
    /// User of the data nodes.
    pub auth_user: Option<String>,
    /// Called with event type and description.
    pub notification_script: Option<String>,
    /// Called when the master's address changes.
    pub client_reconfig_script: Option<String>,
    /// Commands that the data nodes know by another name; keys in upper case.
    pub renamed: BTreeMap<String, String>,
    /// How long a rebooted master may still load, milliseconds; 0: for ever.
    pub reboot_down_after_ms: u64,
    /// Epoch of the configuration.
    pub config_epoch: u64,
    /// Epoch of the last vote.
    pub leader_epoch: u64,
    /// Replicas known from an earlier life.
    pub known_replicas: Vec<NodeAddr>,
    /// Sentinels known from an earlier life, with their ids.
    pub known_sentinels: Vec<(NodeAddr, String)>,
}

impl MasterOptions {
    /// Options with Redis' defaults.
    pub fn new(name: &str, addr: NodeAddr, quorum: u32) -> Self {
        MasterOptions {
            name: name.into(),
            addr,
            quorum,
            down_after_ms: DEFAULT_DOWN_AFTER_MS,
            failover_timeout_ms: DEFAULT_FAILOVER_TIMEOUT_MS,
            parallel_syncs: 1,
            auth_pass: None,
            auth_user: None,
            notification_script: None,
            client_reconfig_script: None,
            renamed: BTreeMap::new(),
            reboot_down_after_ms: 0,
            config_epoch: 0,
            leader_epoch: 0,
            known_replicas: Vec::new(),
            known_sentinels: Vec::new(),
        }
    }

    /// Sets an option by its name in the file and in SENTINEL SET; `Err` says what is wrong. Scripts are sought from `dir`.
    pub fn set(&mut self, option: &str, args: &[String], dir: &Path) -> Result<(), String> {
        let one = || args.first().cloned().unwrap_or_default();
        let invalid = || format!("Invalid argument '{}' for SENTINEL SET '{option}'", one());
        let positive = || one().parse::<u64>().ok().filter(|&n| n > 0).ok_or_else(invalid);
        let text = || Some(one()).filter(|s| !s.is_empty());
        match option {
            "down-after-milliseconds" => self.down_after_ms = positive()?,
            "failover-timeout" => self.failover_timeout_ms = positive()?,
            "parallel-syncs" => self.parallel_syncs = positive()?.min(u64::from(u32::MAX)) as u32,
            "quorum" => self.quorum = positive()?.min(u64::from(u32::MAX)) as u32,
            "auth-pass" => self.auth_pass = text(),
            "auth-user" => self.auth_user = text(),
            "notification-script" => self.notification_script = script(text(), dir, "Notification")?,
            "client-reconfig-script" => {
                self.client_reconfig_script = script(text(), dir, "Client reconfiguration")?;
            }
            "master-reboot-down-after-period" => {
                self.reboot_down_after_ms = one().parse().map_err(|_| invalid())?;
            }
            "rename-command" => {
                let from = one().to_ascii_uppercase();
                let to = args.get(1).cloned().unwrap_or_default();
                if from.is_empty() || to.is_empty() {
                    return Err(format!("Invalid argument '' for SENTINEL SET '{option}'"));
                }
                // A command that has its own name again needs no mention.
                self.renamed.remove(&from);
                if !from.eq_ignore_ascii_case(&to) {
                    self.renamed.insert(from, to);
                }
            }
            _ => return Err(format!("Unknown option or number of arguments for SENTINEL SET '{option}'")),
        }
        Ok(())
    }

    /// Number of arguments of an option of [`MasterOptions::set`]; `None` for an unknown one.
    pub fn arity(option: &str) -> Option<usize> {
        match option {
            "rename-command" => Some(2),
            "down-after-milliseconds"
            | "failover-timeout"
            | "parallel-syncs"
            | "quorum"
            | "auth-pass"
            | "auth-user"
            | "notification-script"
            | "client-reconfig-script"
            | "master-reboot-down-after-period" => Some(1),
            _ => None,
        }
    }
}

fn script(path: Option<String>, dir: &Path, what: &str) -> Result<Option<String>, String> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(p) = &path {
        let executable =
            std::fs::metadata(dir.join(p)).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
        if !executable {
            return Err(format!("{what} script seems non existing or non executable"));
        }
    }
    Ok(path)
}

/// Everything that a Sentinel is configured with.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Users, directory and all else that is no `sentinel` directive; the server in front takes it.
    pub(super) general: General,
    /// The file to rewrite; none where all came from the command line.
    pub file: Option<PathBuf>,
    /// TCP port.
    pub port: u16,
    /// Working directory.
    pub dir: PathBuf,
    /// Masters come from the shard map.
    pub managed: bool,
    /// Masters to monitor (classic).
    pub masters: Vec<MasterOptions>,
    /// 40 hex digits; drawn at first start.
    pub myid: Option<String>,
    /// Largest epoch seen.
    pub current_epoch: u64,
    /// Address announced to other sentinels and clients.
    pub announce_ip: Option<String>,
    /// Port announced; 0: the real one.
    pub announce_port: u16,
    /// Host names may be used instead of addresses.
    pub resolve_hostnames: bool,
    /// Announce names where they are known.
    pub announce_hostnames: bool,
    /// SENTINEL SET may change scripts.
    pub allow_scripts_reconfig: bool,
    /// User for other sentinels.
    pub sentinel_user: Option<String>,
    /// Password for other sentinels.
    pub sentinel_pass: Option<String>,
}

impl Config {
    /// Takes the `sentinel` directives out of a loaded configuration.
    pub fn new(general: General) -> Result<Self, ConfigError> {
        let mut config = Config {
            file: general.extra.config_file.clone(),
            port: general.port,
            dir: general.dir.clone(),
            managed: general.managed,
            ..Config::default()
        };
        let file = config.file.as_ref().map(|f| format!("file '{}'", f.display())).unwrap_or_default();
        // The order of the lines means nothing: how hosts may be written holds for all of them, and what is said of a
        // master may stand before it.
        let rank = |l: &&SentinelLine| match l.words.first().map(|w| w.to_ascii_lowercase()).as_deref() {
            Some("resolve-hostnames") => 0,
            Some("monitor") => 1,
            _ => 2,
        };
        let mut lines: Vec<&SentinelLine> = general.extra.sentinel.iter().collect();
        lines.sort_by_key(rank);
        for l in lines {
            config.sentinel_directive(&l.words).map_err(|text| ConfigError {
                place: format!("{file}, at line {}", l.number),
                line: l.text.clone(),
                text,
            })?;
        }
        config.check().map_err(|text| ConfigError { place: file, line: "managed yes".into(), text })?;
        config.general = general;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.managed && self.announce_ip.is_none() {
            return Err(
                "'managed yes' needs 'sentinel announce-ip HOST': this sentinel's name in the map".into()
            );
        }
        if self.managed && !self.masters.is_empty() {
            return Err(
                "under 'managed yes' masters come from the shard map, not from 'sentinel monitor'".into()
            );
        }
        Ok(())
    }

    pub(super) fn sentinel_directive(&mut self, args: &[String]) -> Result<(), String> {
        let option = args.first().map(|s| s.to_ascii_lowercase()).unwrap_or_default();
        let args = args.get(1..).unwrap_or_default();
        let bad = || Err(String::from("Unrecognized sentinel configuration statement."));
        match (option.as_str(), args) {
            ("monitor", [name, host, port, quorum]) => self.monitor(name, host, port, quorum).map(|_| ()),
            ("myid", [id]) if crate::shardmap::is_dataset_id(id) => {
                self.myid = Some(id.clone());
                Ok(())
            }
            ("myid", [_]) => Err("Malformed Sentinel id in myid option.".into()),
            ("current-epoch", [n]) => number(n).map(|n| self.current_epoch = self.current_epoch.max(n)),
            ("config-epoch", [m, n]) => number(n).and_then(|n| self.master(m).map(|m| m.config_epoch = n)),
            ("leader-epoch", [m, n]) => number(n).and_then(|n| self.master(m).map(|m| m.leader_epoch = n)),
            ("known-replica" | "known-slave", [m, host, port]) => {
                let addr = address(host, port)?;
                self.master(m).map(|m| m.known_replicas.push(addr))
            }
            // As old versions wrote it, without an id.
            ("known-sentinel", [_, _, _]) => Ok(()),
            ("known-sentinel", [m, host, port, id]) => {
                let addr = address(host, port)?;
                let id = id.clone();
                self.master(m).map(|m| m.known_sentinels.push((addr, id)))
            }
            ("announce-ip", [host]) => {
                self.announce_ip = Some(host.clone()).filter(|h| !h.is_empty());
                Ok(())
            }
            ("announce-port", [n]) => {
                self.announce_port = n.parse().map_err(|_| format!("Invalid port '{n}'"))?;
                Ok(())
            }
            ("resolve-hostnames", [v]) => yes_no(v).map(|v| self.resolve_hostnames = v),
            ("announce-hostnames", [v]) => yes_no(v).map(|v| self.announce_hostnames = v),
            ("deny-scripts-reconfig", [v]) => yes_no(v).map(|v| self.allow_scripts_reconfig = !v),
            ("sentinel-user", [v]) => {
                self.sentinel_user = Some(v.clone()).filter(|v| !v.is_empty());
                Ok(())
            }
            ("sentinel-pass", [v]) => {
                self.sentinel_pass = Some(v.clone()).filter(|v| !v.is_empty());
                Ok(())
            }
            (other, [master, rest @ ..]) => match MasterOptions::arity(other) {
                Some(n) if n == rest.len() => {
                    let dir = self.dir.clone();
                    self.master(master)?.set(other, rest, &dir)
                }
                _ => bad(),
            },
            _ => bad(),
        }
    }

    /// Adds a master to monitor.
    pub fn monitor(
        &mut self,
        name: &str,
        host: &str,
        port: &str,
        quorum: &str,
    ) -> Result<MasterOptions, String> {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return Err(format!("Invalid master name '{name}': letters, digits and . _ - only"));
        }
        if self.masters.iter().any(|m| m.name == name) {
            return Err("Duplicate master name.".into());
        }
        if !self.resolve_hostnames && host.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("Can't resolve instance hostname '{host}' (resolve-hostnames is no)."));
        }
        let quorum = quorum.parse().unwrap_or(0u32);
        if quorum == 0 {
            return Err("Quorum must be 1 or greater.".into());
        }
        let options = MasterOptions::new(name, address(host, port)?, quorum);
        self.masters.push(options.clone());
        Ok(options)
    }

    fn master(&mut self, name: &str) -> Result<&mut MasterOptions, String> {
        self.masters
            .iter_mut()
            .find(|m| m.name == name)
            .ok_or_else(|| "No such master with specified name.".into())
    }

    /// The lines of `sentinel` directives that are not about a master.
    pub fn global_state(&self, myid: &str, current_epoch: u64) -> Vec<String> {
        let mut out = vec![format!("sentinel myid {myid}")];
        let mut say = |name: &str, value: String| out.push(format!("sentinel {name} {value}"));
        if self.allow_scripts_reconfig {
            say("deny-scripts-reconfig", "no".into());
        }
        if self.resolve_hostnames {
            say("resolve-hostnames", "yes".into());
        }
        if self.announce_hostnames {
            say("announce-hostnames", "yes".into());
        }
        if let Some(host) = &self.announce_ip {
            say("announce-ip", quote(host));
        }
        if self.announce_port > 0 {
            say("announce-port", self.announce_port.to_string());
        }
        if let Some(user) = &self.sentinel_user {
            say("sentinel-user", quote(user));
        }
        if let Some(pass) = &self.sentinel_pass {
            say("sentinel-pass", quote(pass));
        }
        say("current-epoch", current_epoch.to_string());
        out
    }
}

impl MasterOptions {
    /// This master's lines of the file.
    pub fn state(&self) -> Vec<String> {
        let name = &self.name;
        let mut out = vec![format!(
            "sentinel monitor {name} {} {} {}",
            self.addr.host(),
            self.addr.port(),
            self.quorum
        )];
        let mut say = |option: &str, value: String| out.push(format!("sentinel {option} {name} {value}"));
        if self.down_after_ms != DEFAULT_DOWN_AFTER_MS {
            say("down-after-milliseconds", self.down_after_ms.to_string());
        }
        if self.failover_timeout_ms != DEFAULT_FAILOVER_TIMEOUT_MS {
            say("failover-timeout", self.failover_timeout_ms.to_string());
        }
        if self.parallel_syncs != 1 {
            say("parallel-syncs", self.parallel_syncs.to_string());
        }
        for (option, value) in [
            ("auth-pass", &self.auth_pass),
            ("auth-user", &self.auth_user),
            ("notification-script", &self.notification_script),
            ("client-reconfig-script", &self.client_reconfig_script),
        ] {
            if let Some(v) = value {
                say(option, quote(v));
            }
        }
        if self.reboot_down_after_ms > 0 {
            say("master-reboot-down-after-period", self.reboot_down_after_ms.to_string());
        }
        for (from, to) in &self.renamed {
            say("rename-command", format!("{from} {}", quote(to)));
        }
        say("config-epoch", self.config_epoch.to_string());
        say("leader-epoch", self.leader_epoch.to_string());
        for r in &self.known_replicas {
            say("known-replica", format!("{} {}", r.host(), r.port()));
        }
        for (s, id) in &self.known_sentinels {
            say("known-sentinel", format!("{} {} {id}", s.host(), s.port()));
        }
        out
    }
}

/// Writes `state` and users into the file of a configuration, in the places of the lines they replace.
pub fn rewrite(
    general: &General,
    disk: &dyn Disk,
    state: &[String],
    users: Foreign<'_>,
) -> Result<(), String> {
    let mut foreign: Vec<Foreign<'_>> =
        STATE_OPTIONS.iter().map(|option| Foreign { option, lines: Vec::new() }).collect();
    for line in state {
        let is_of = |f: &Foreign<'_>| line.strip_prefix(f.option).is_some_and(|rest| rest.starts_with(' '));
        match foreign.iter_mut().find(|f| is_of(f)) {
            Some(f) => f.lines.push(line.clone()),
            None => return Err(format!("no place in the file for '{line}'")),
        }
    }
    foreign.insert(0, users);
    general.rewrite(disk, &foreign).map(|_| ()).map_err(|e| e.0)
}

/// What the state's lines begin with.
const STATE_OPTIONS: [&str; 24] = [
    "sentinel myid",
    "sentinel deny-scripts-reconfig",
    "sentinel resolve-hostnames",
    "sentinel announce-hostnames",
    "sentinel announce-ip",
    "sentinel announce-port",
    "sentinel sentinel-user",
    "sentinel sentinel-pass",
    "sentinel current-epoch",
    "sentinel monitor",
    "sentinel down-after-milliseconds",
    "sentinel failover-timeout",
    "sentinel parallel-syncs",
    "sentinel auth-pass",
    "sentinel auth-user",
    "sentinel notification-script",
    "sentinel client-reconfig-script",
    "sentinel master-reboot-down-after-period",
    "sentinel rename-command",
    "sentinel config-epoch",
    "sentinel leader-epoch",
    "sentinel known-replica",
    "sentinel known-slave",
    "sentinel known-sentinel",
];

/// A word as it is written into the file.
fn quote(s: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'#');
    if !s.is_empty() && s.bytes().all(plain) {
        return s.to_owned();
    }
    let mut out = String::from("\"");
    for b in s.bytes() {
        match b {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(b));
            }
            b' '..=b'~' => out.push(char::from(b)),
            _ => out += &format!("\\x{b:02x}"),
        }
    }
    out + "\""
}

fn address(host: &str, port: &str) -> Result<NodeAddr, String> {
    let port = port.parse().map_err(|_| format!("Invalid port '{port}'"))?;
    NodeAddr::new(host, port).map_err(|e| e.to_string())
}

fn number(s: &str) -> Result<u64, String> {
    s.parse().map_err(|_| format!("'{s}' is not a number"))
}

fn yes_no(s: &str) -> Result<bool, String> {
    match s.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Mode, Source};
    use crate::disk::RealDisk;

    fn load(args: &[String]) -> Result<Config, String> {
        let source = Source {
            mode: Mode::Sentinel,
            args,
            disk: &RealDisk,
            cwd: Path::new("/"),
            stdin: &|| Ok(Vec::new()),
            is_command: &|_| false,
        };
        let general = General::load(&source).map_err(|e| e.to_string())?;
        Config::new(general).map_err(|e| e.to_string())
    }

    fn with_file<T>(name: &str, text: &str, f: impl FnOnce(&Path) -> T) -> T {
        let path = std::env::temp_dir().join(format!("sentinel-conf-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let out = f(&path);
        std::fs::remove_file(&path).unwrap();
        out
    }

    #[test]
    fn a_file_is_read_and_rewritten_in_place() {
        let text = "# mine\nport 5000\nsentinel monitor mymaster 127.0.0.1 6379 2\n\
                    sentinel down-after-milliseconds mymaster 5000\nsentinel known-replica mymaster 127.0.0.1 1\n\
                    sentinel auth-pass mymaster \"a b\"\nloglevel warning\n";
        with_file("rewrite", text, |path| {
            let args = [path.display().to_string()];
            let mut c = load(&args).unwrap();
            assert_eq!((c.port, c.masters[0].down_after_ms, c.masters[0].quorum), (5000, 5000, 2));
            assert_eq!(c.masters[0].auth_pass.as_deref(), Some("a b"));
            let m = &mut c.masters[0];
            m.addr = "127.0.0.1:6380".parse().unwrap();
            m.known_replicas = vec!["127.0.0.1:6379".parse().unwrap(), "127.0.0.1:6381".parse().unwrap()];
            m.known_sentinels = vec![("127.0.0.1:26380".parse().unwrap(), "ab".repeat(20))];
            m.config_epoch = 7;
            let mut state = c.global_state(&"cd".repeat(20), 7);
            state.extend(c.masters[0].state());
            rewrite(&c.general, &RealDisk, &state, Foreign { option: "user", lines: vec![] }).unwrap();
            let new = std::fs::read_to_string(path).unwrap();
            let front = "# mine\nport 5000\nsentinel monitor mymaster 127.0.0.1 6380 2\n\
                         sentinel down-after-milliseconds mymaster 5000\n\
                         sentinel known-replica mymaster 127.0.0.1 6379\n";
            assert!(new.starts_with(front), "{new}");
            let again = load(&args).unwrap();
            assert_eq!(again.masters, c.masters);
            assert_eq!((again.current_epoch, again.myid), (7, Some("cd".repeat(20))));
        });
    }

    #[test]
    fn errors_name_file_and_line() {
        for (i, (line, text)) in [
            ("nonsense 1", "Bad directive"),
            ("sentinel nonsense x", "Unrecognized"),
            ("sentinel monitor m 127.0.0.1 6379 0", "Quorum"),
            ("sentinel monitor m host 6379 1", "Can't resolve"),
            ("sentinel monitor m 127.0.0.1 99999 1", "Invalid port"),
            ("sentinel down-after-milliseconds m 5", "No such master"),
            ("sentinel myid 12", "Malformed"),
        ]
        .iter()
        .enumerate()
        {
            let e = with_file(&format!("bad{i}"), &format!("# first\n{line}\n"), |p| {
                load(&[p.display().to_string()]).unwrap_err()
            });
            assert!(e.contains(text) && e.contains("at line 2") && e.contains(line), "{e}");
        }
        let e = with_file("managed", "managed yes\n", |p| load(&[p.display().to_string()]).unwrap_err());
        assert!(e.contains("announce-ip"), "{e}");
    }

    #[test]
    fn the_command_line_adds_directives() {
        let args = ["--port", "1234", "--sentinel announce-ip", "s0", "--managed", "yes"].map(String::from);
        let c = load(&args).unwrap();
        assert_eq!((c.port, c.announce_ip.as_deref(), c.managed), (1234, Some("s0"), true));
    }
}
