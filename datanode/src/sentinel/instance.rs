//! A monitored process (master, replica or other sentinel): its links, what it has said, and whether it seems down.

use std::collections::{BTreeMap, VecDeque};

use crate::io::{ConnId, LinkToken};
use crate::shardmap::{Authority, NodeAddr, NodeStatus};

/// Names an instance while this process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct InstId(pub u64);

/// What an instance is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Master,
    Replica,
    Sentinel,
}

impl Kind {
    /// The word used in events.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Master => "master",
            Kind::Replica => "slave",
            Kind::Sentinel => "sentinel",
        }
    }
}

/// The two connections to a data node. Other sentinels have the first one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Channel {
    /// Commands and their answers.
    Command,
    /// Classic: subscribed to hello messages. Managed: commands whose answer takes its time (HANDOVER).
    Second,
}

/// What the next reply on a link answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expect {
    Ignore,
    Auth,
    /// To hear the hello messages.
    Subscribe,
    Ping,
    Info,
    Hello,
    MasterDown {
        master: String,
    },
    Offer,
    Accept {
        shard: u32,
        epoch: u64,
    },
    Status,
    PeerEpoch,
    Promise {
        shard: u32,
        epoch: u64,
    },
    Handover {
        shard: u32,
        epoch: u64,
    },
}

/// One outgoing connection.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub conn: Option<ConnId>,
    pub dialing: Option<LinkToken>,
    pub pending: VecDeque<Expect>,
    /// When it was last tried to connect, and when that succeeded.
    pub tried_ms: u64,
    pub connected_ms: u64,
    /// Last byte received.
    pub heard_ms: u64,
    /// Since when a living host has refused every attempt, and how many it were.
    pub refused_since_ms: Option<u64>,
    pub refusals: u32,
}

impl Link {
    pub fn up(&self) -> bool {
        self.conn.is_some()
    }
}

/// Progress of a replica's reconfiguration during a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reconf {
    #[default]
    None,
    Sent,
    InProgress,
    Done,
}

/// What INFO said.
#[derive(Debug, Clone, Default)]
pub(super) struct Info {
    pub text: String,
    pub is_master: bool,
    pub master_host: String,
    pub master_port: u16,
    pub master_link_up: bool,
    pub master_link_down_ms: u64,
    pub priority: u32,
    pub offset: u64,
    pub announced: bool,
    pub replicas: Vec<(String, u16)>,
    pub run_id: String,
}

impl Info {
    /// Reads the fields that Sentinel uses.
    pub fn parse(text: &str) -> Info {
        let mut info = Info { text: text.to_owned(), priority: 100, announced: true, ..Info::default() };
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            match key {
                "run_id" => info.run_id = value.into(),
                "role" => info.is_master = value == "master",
                "master_host" => info.master_host = value.into(),
                "master_port" => info.master_port = value.parse().unwrap_or(0),
                "master_link_status" => info.master_link_up = value == "up",
                "master_link_down_since_seconds" => {
                    info.master_link_down_ms = value.parse::<i64>().unwrap_or(0).max(0) as u64 * 1000;
                }
                "slave_priority" => info.priority = value.parse().unwrap_or(100),
                "slave_repl_offset" => info.offset = value.parse().unwrap_or(0),
                "replica_announced" => info.announced = value == "1",
                _ if is_replica_key(key) => info.replicas.extend(replica_line(value)),
                _ => {}
            }
        }
        info
    }
}

fn is_replica_key(key: &str) -> bool {
    key.strip_prefix("slave").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn replica_line(value: &str) -> Option<(String, u16)> {
    let field = |name: &str| value.split(',').find_map(|f| f.strip_prefix(name));
    Some((field("ip=")?.to_owned(), field("port=")?.parse().ok()?))
}

/// A monitored process.
#[derive(Debug)]
pub(super) struct Instance {
    pub kind: Kind,
    pub addr: NodeAddr,
    /// The address its name resolved to when it was last connected.
    pub ip: Option<String>,
    /// Our own address, as it sees us.
    pub own_ip: Option<String>,
    /// Name of its master; empty for sentinels of the shard map, which watch all its masters.
    pub group: String,
    pub run_id: String,
    pub command: Link,
    pub second: Link,
    pub down_after_ms: u64,
    /// When the ping was sent that has not been answered; 0: none.
    pub unanswered_ping_ms: u64,
    pub last_ping_ms: u64,
    /// Any answer to a ping, and the last one that says it is well.
    pub last_pong_ms: u64,
    pub last_ok_ms: u64,
    pub last_publish_ms: u64,
    pub last_hello_ms: u64,
    pub info: Info,
    pub info_ms: u64,
    /// What it last reported to be, and since when.
    pub role_reported: Kind,
    pub role_reported_ms: u64,
    pub master_changed_ms: u64,
    pub rebooted_ms: u64,
    pub sdown_since_ms: Option<u64>,
    /// When it last went down, even if it is well now; 0: never.
    pub last_down_ms: u64,
    pub reconf: Reconf,
    pub reconf_sent_ms: u64,
    pub promoted: bool,
    /// Managed: the last STATUS, when it came, and when it was asked for.
    pub status: Option<NodeStatus>,
    pub status_ms: u64,
    pub status_asked_ms: u64,
    pub offered_ms: u64,
    /// Managed, sentinels: the generation of the map that they have last answered with.
    pub generation: u64,
    /// Managed, sentinels: their epoch and whether they know nothing yet.
    pub peer_epoch: Option<PeerEpoch>,
}

/// What another sentinel of the shard map knows of votes and decisions.
#[derive(Debug, Clone)]
pub(super) struct PeerEpoch {
    pub epoch: u64,
    /// It may not vote, since it has lost its state.
    pub fresh: bool,
    /// See [`super::managed::Managed::accepted`].
    pub accepted: BTreeMap<u32, Authority>,
}

impl Instance {
    pub fn new(kind: Kind, addr: NodeAddr, group: &str, down_after_ms: u64, now_ms: u64) -> Self {
        Instance {
            kind,
            addr,
            ip: None,
            own_ip: None,
            group: group.to_owned(),
            run_id: String::new(),
            command: Link::default(),
            second: Link::default(),
            down_after_ms,
            unanswered_ping_ms: 0,
            last_ping_ms: 0,
            last_pong_ms: now_ms,
            last_ok_ms: now_ms,
            last_publish_ms: 0,
            last_hello_ms: now_ms,
            info: Info { priority: 100, announced: true, ..Info::default() },
            info_ms: 0,
            role_reported: kind,
            role_reported_ms: now_ms,
            master_changed_ms: now_ms,
            rebooted_ms: 0,
            sdown_since_ms: None,
            last_down_ms: 0,
            reconf: Reconf::None,
            reconf_sent_ms: 0,
            promoted: false,
            status: None,
            status_ms: 0,
            status_asked_ms: 0,
            offered_ms: 0,
            generation: 0,
            peer_epoch: None,
        }
    }

    pub fn link(&mut self, channel: Channel) -> &mut Link {
        match channel {
            Channel::Command => &mut self.command,
            Channel::Second => &mut self.second,
        }
    }

    /// True if `host:port` means this instance, by name or by address.
    pub fn is_at(&self, host: &str, port: u16) -> bool {
        self.addr.port() == port && (self.addr.host() == host || self.ip.as_deref() == Some(host))
    }

    pub fn sdown(&self) -> bool {
        self.sdown_since_ms.is_some()
    }

    /// The host as clients are told: the name where names are announced, else the address.
    pub fn host_for_clients(&self, names: bool) -> &str {
        if names { self.addr.host() } else { self.ip.as_deref().unwrap_or(self.addr.host()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_fields() {
        let text = "# Server\r\nrun_id:abc\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\n\
                    master_link_status:down\r\nmaster_link_down_since_seconds:7\r\nslave_priority:0\r\n\
                    slave_repl_offset:42\r\nreplica_announced:0\r\nconnected_slaves:1\r\n\
                    slave0:ip=10.0.0.9,port=6380,state=online,offset=5,lag=0\r\n";
        let i = Info::parse(text);
        assert!(!i.is_master && !i.master_link_up && !i.announced);
        assert_eq!((i.run_id.as_str(), i.master_host.as_str(), i.master_port), ("abc", "10.0.0.1", 6379));
        assert_eq!((i.master_link_down_ms, i.priority, i.offset), (7000, 0, 42));
        assert_eq!(i.replicas, [("10.0.0.9".to_owned(), 6380)]);
        assert_eq!(Info::parse("role:master\nmaster_link_down_since_seconds:-1\n").master_link_down_ms, 0);
    }
}
