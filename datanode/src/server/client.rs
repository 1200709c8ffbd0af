//! What the server knows of each connection.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use crate::acl::User;
use crate::command::{Flags, OwnedArgs, Spec};
use crate::io::{ConnId, Peer};
use crate::replication::ReplicaState;
use crate::resp::parse::Half;

use super::tracking::TrackingState;

/// A transaction being queued (MULTI).
pub struct Multi {
    /// Commands waiting for EXEC.
    pub queue: Vec<(&'static Spec, OwnedArgs)>,
    /// Memory that they take.
    pub bytes: usize,
    /// A command could not be queued: EXEC is refused.
    pub failed: bool,
    /// What some queued command is.
    pub some: Flags,
    /// What every queued command is.
    pub all: Flags,
    /// Some queued command writes, or may have others do so.
    pub may_replicate: bool,
}

impl Default for Multi {
    fn default() -> Multi {
        Multi {
            queue: Vec::new(),
            bytes: 0,
            failed: false,
            some: Flags::NONE,
            all: Flags(u32::MAX),
            may_replicate: false,
        }
    }
}

impl Multi {
    /// Puts a command off until EXEC. `flags`: what it is, where that depends on its arguments.
    pub fn push(&mut self, spec: &'static Spec, flags: Flags, args: OwnedArgs) {
        self.some = self.some.with(flags);
        self.all = Flags(self.all.0 & flags.0);
        self.bytes += args.bytes();
        self.queue.push((spec, args));
    }
}

/// A key that a client watches.
#[derive(Debug)]
pub struct Watched {
    /// Its database.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// Its time was up already, though it was still there: that it goes is no change.
    pub stale: bool,
}

/// Why a client's further requests wait.
pub enum Blocked {
    /// `WAIT`: until `replicas` have acknowledged `offset`.
    Wait {
        /// Replication offset to be acknowledged.
        offset: u64,
        /// How many replicas.
        replicas: usize,
    },
    /// `WAITAOF`: until enough append-only files have what the client wrote.
    WaitAof(super::blocking::AofWait),
    /// A blocking list, sorted set or stream command: it is run again when one of its keys gets an element.
    Keys {
        /// Database and keys it waits for.
        keys: Vec<(usize, Box<[u8]>)>,
        /// The command.
        spec: &'static Spec,
        /// The command as it is to be run again.
        command: OwnedArgs,
    },
    /// `REPLICASET HANDOVER`: until a member has acknowledged `offset`.
    Handover {
        /// The member.
        member: crate::shardmap::NodeAddr,
        /// Replication offset to be acknowledged.
        offset: u64,
    },
    /// `SHUTDOWN`: until the process ends, or the shutdown fails.
    Shutdown,
    /// `MIGRATE`: until its keys have arrived elsewhere, or not.
    Migrate,
    /// Whoever is behind this server ([`super::front`]): until it replies.
    Left,
    /// Writes are paused (CLIENT PAUSE, a planned move): it is run again afterwards.
    Paused(OwnedArgs),
}

impl Blocked {
    /// The command that is to be run again, or for the first time.
    pub fn command(&self) -> Option<&OwnedArgs> {
        match self {
            Blocked::Keys { command, .. } | Blocked::Paused(command) => Some(command),
            _ => None,
        }
    }

    /// `CLIENT UNBLOCK` may end it.
    pub fn may_be_ended(&self) -> bool {
        matches!(self, Blocked::Keys { .. } | Blocked::Wait { .. } | Blocked::WaitAof(_))
    }

    /// It waits for what only a master can do.
    pub fn ends_with_role(&self) -> bool {
        self.may_be_ended() || matches!(self, Blocked::Migrate)
    }
}

/// A blocked client's state.
pub struct Blocking {
    /// What it waits for.
    pub on: Blocked,
    /// Monotonic milliseconds; 0: none.
    pub deadline_ms: u64,
}

/// Replies from stream position `at` on leave once replication offset `offset` has been acknowledged, and `mark` is durable
/// where that is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    /// Position in the connection's output stream.
    pub at: u64,
    /// Offset to be acknowledged by enough replicas.
    pub offset: u64,
    /// How far the append-only file had been fed.
    pub mark: u64,
    /// Since when it has been held, monotonic milliseconds.
    pub since_ms: u64,
}

/// `CLIENT REPLY` mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyMode {
    /// Replies are sent.
    On,
    /// None is sent.
    Off,
    /// The next one is not sent.
    SkipNext,
    /// The present one is not sent.
    Skip,
}

/// One connection to the server.
pub struct Client {
    /// Grows by one with every client; what `CLIENT ID` answers.
    pub id: u64,
    /// The connection.
    pub conn: ConnId,
    /// Its addresses.
    pub peer: Peer,
    /// `CLIENT SETNAME`
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`
    pub lib_name: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`
    pub lib_ver: Vec<u8>,
    /// RESP version: 2 or 3.
    pub proto: u8,
    /// Selected database.
    pub db: usize,
    /// Has given the password, or none was needed when it connected.
    pub authenticated: bool,
    /// Whose rights it has.
    pub user: Arc<User>,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// Monotonic milliseconds of the last request.
    pub last_active_ms: u64,
    /// The last command's name.
    pub last_command: &'static str,
    /// A request of which only the first part has arrived: what is known of it.
    pub half: Option<Box<Half>>,
    /// The transaction being queued.
    pub multi: Option<Multi>,
    /// `WATCH`ed keys.
    pub watched: Vec<Watched>,
    /// A watched key was touched: EXEC answers nil.
    pub watch_broken: bool,
    /// Subscribed channels.
    pub channels: HashSet<Vec<u8>>,
    /// Subscribed patterns.
    pub patterns: HashSet<Vec<u8>>,
    /// Subscribed shard channels.
    pub shard_channels: HashSet<Vec<u8>>,
    /// Why it waits, if it does.
    pub blocked: Option<Blocking>,
    /// Replies waiting for replicas, in order.
    pub holds: VecDeque<Hold>,
    /// Replication offset right behind this client's last write; what `WAIT` waits for.
    pub write_offset: u64,
    /// How much the append-only file had been fed right behind this client's last write; what `WAITAOF` waits for.
    pub log_mark: u64,
    /// `CLIENT REPLY`
    pub reply_mode: ReplyMode,
    /// `READONLY` on a cluster's replica.
    pub readonly: bool,
    /// The next command may touch an importing slot.
    pub asking: bool,
    /// `CLIENT NO-EVICT`
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH`
    pub no_touch: bool,
    /// Set where the peer is a replica of ours (after PSYNC), or prepares to be one (REPLCONF).
    pub replica: Option<Box<ReplicaState>>,
    /// `CLIENT TRACKING`
    pub tracking: Option<Box<TrackingState>>,
    /// Being closed: nothing more is read from it.
    pub closing: bool,
    /// `MONITOR`
    pub monitor: bool,
    /// It has used the commands of the authority: a sentinel or the operator, which stay connected at a demotion.
    pub control: bool,
    /// Length and capacity of its input, bytes, while that is being served.
    pub reading: (usize, usize),
    /// What it has been counted with under `maxmemory-clients`, bytes.
    pub counted: usize,
    /// Monotonic milliseconds since which its unsent output is over the soft limit; 0: it is not.
    pub over_soft_limit_ms: u64,
}

impl Client {
    /// A client that has just connected.
    pub fn new(id: u64, conn: ConnId, peer: Peer, user: Arc<User>, now: crate::io::Now) -> Self {
        Client {
            id,
            conn,
            peer,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            proto: 2,
            db: 0,
            authenticated: false,
            user,
            created_ms: now.unix_ms,
            last_active_ms: now.mono_ms(),
            last_command: "NULL",
            half: None,
            multi: None,
            watched: Vec::new(),
            watch_broken: false,
            channels: HashSet::new(),
            patterns: HashSet::new(),
            shard_channels: HashSet::new(),
            blocked: None,
            holds: VecDeque::new(),
            write_offset: 0,
            log_mark: 0,
            reply_mode: ReplyMode::On,
            readonly: false,
            asking: false,
            no_evict: false,
            no_touch: false,
            replica: None,
            tracking: None,
            closing: false,
            monitor: false,
            control: false,
            reading: (0, 0),
            counted: 0,
            over_soft_limit_ms: 0,
        }
    }

    /// Back to the state of a new connection (`RESET`); transaction and subscriptions have been ended before.
    pub fn reset(&mut self, user: Arc<User>, authenticated: bool) {
        self.user = user;
        self.authenticated = authenticated;
        self.name.clear();
        self.proto = 2;
        self.db = 0;
        self.reply_mode = ReplyMode::On;
        self.readonly = false;
        self.asking = false;
        self.no_evict = false;
        self.no_touch = false;
        self.monitor = false;
    }

    /// It wants no reply to what is being done (`CLIENT REPLY`).
    pub fn is_silent(&self) -> bool {
        matches!(self.reply_mode, ReplyMode::Off | ReplyMode::Skip)
    }

    /// In the state in which RESP2 allows only subscription commands.
    pub fn subscribed(&self) -> bool {
        self.subscriptions() > 0 || !self.shard_channels.is_empty()
    }

    /// Number of subscribed channels and patterns.
    pub fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    /// The other end is on this machine.
    pub fn is_local(&self) -> bool {
        self.peer.unix
            || self
                .peer
                .remote
                .parse::<std::net::SocketAddr>()
                .is_ok_and(|a| a.ip().to_canonical().is_loopback())
    }

    /// True once it is a replica that gets our stream.
    pub fn is_replica(&self) -> bool {
        self.replica.as_ref().is_some_and(|r| r.synced_or_syncing())
    }
}

/// All clients, by connection.
#[derive(Default)]
pub struct Clients {
    slots: Vec<Option<Box<Client>>>,
    next_id: u64,
    count: usize,
}

impl Clients {
    /// Adds a client for a new connection.
    pub fn add(&mut self, conn: ConnId, peer: Peer, user: Arc<User>, now: crate::io::Now) -> &mut Client {
        self.next_id += 1;
        self.count += 1;
        if self.slots.len() <= conn.slot() {
            self.slots.resize_with(conn.slot() + 1, || None);
        }
        self.slots[conn.slot()].insert(Box::new(Client::new(self.next_id, conn, peer, user, now)))
    }

    /// The client of a connection, while it is there.
    pub fn get(&self, conn: ConnId) -> Option<&Client> {
        self.slots.get(conn.slot())?.as_deref().filter(|c| c.conn == conn)
    }

    /// The client of a connection, while it is there.
    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Client> {
        self.slots.get_mut(conn.slot())?.as_deref_mut().filter(|c| c.conn == conn)
    }

    /// Removes and returns it.
    pub fn remove(&mut self, conn: ConnId) -> Option<Box<Client>> {
        let place = self.slots.get_mut(conn.slot())?;
        let client = place.take_if(|c| c.conn == conn)?;
        self.count -= 1;
        Some(client)
    }

    /// The client with this `CLIENT ID`.
    pub fn by_id(&self, id: u64) -> Option<&Client> {
        self.iter().find(|c| c.id == id)
    }

    /// Number of clients.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.slots.iter().filter_map(|c| c.as_deref())
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.slots.iter_mut().filter_map(|c| c.as_deref_mut())
    }
}
