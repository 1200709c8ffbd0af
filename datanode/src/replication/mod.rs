//! Replication as in Redis 7 (<https://redis.io/docs/latest/operate/oss_and_stack/management/replication/>): one stream
//! with an id and an offset, a backlog for replicas that come back, a second id after a promotion. `master` serves
//! replicas, `link` follows a master, `acks` holds replies until replicas have acknowledged.

pub mod acks;
pub mod backlog;
pub mod failover;
pub mod link;
pub mod master;
mod stream;
mod transfer;

use crate::config::Config;
use crate::io::{ConnId, Now};
use crate::server::client::Clients;
use crate::shardmap::NodeAddr;
use crate::store::rng::Rng;

use backlog::Backlog;
use failover::Failover;
use link::MasterLink;

/// 40 hex digits drawn at random: replication ids, run ids, dataset ids.
pub fn random_id(rng: &mut Rng) -> String {
    (0..40).map(|_| char::from_digit(rng.below(16) as u32, 16).unwrap_or('0')).collect()
}

/// Larger offsets are not believed: no stream is that long, and counting on from there would overflow.
const MAX_OFFSET: u64 = 1 << 62;

/// An offset that a master or a file tells.
pub fn parse_offset(text: &str) -> Option<u64> {
    text.parse().ok().filter(|&n| n <= MAX_OFFSET)
}

/// An id that stands for "none".
pub const NO_ID: &str = "0000000000000000000000000000000000000000";

/// How far a replica has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has introduced itself but not asked for the stream.
    Introduced,
    /// It needs a snapshot that has not been started.
    WaitsForSnapshot,
    /// A snapshot is being sent to it; the stream is queued behind.
    ReceivesSnapshot,
    /// It gets the stream.
    Online,
}

impl Stage {
    /// The name that INFO and the log have for it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Introduced | Stage::WaitsForSnapshot | Stage::ReceivesSnapshot => "wait_bgsave",
            Stage::Online => "online",
        }
    }
}

/// What the master knows of a replica.
#[derive(Debug)]
pub struct ReplicaState {
    /// Progress.
    pub stage: Stage,
    /// Port it listens on.
    pub port: u16,
    /// Name or address that it announces.
    pub announced: String,
    /// It understands `$EOF:` framing.
    pub capa_eof: bool,
    /// It understands `+CONTINUE <id>`.
    pub capa_psync2: bool,
    /// Offset it has acknowledged.
    pub acked: u64,
    /// Offset it has made durable (`FACK`), if it keeps an append-only file and says so.
    pub acked_durable: Option<u64>,
    /// Monotonic milliseconds of the last acknowledgement.
    pub acked_at_ms: u64,
    /// What of its output had been sent when that last changed, and when that was (monotonic milliseconds).
    pub unsent_from: u64,
    /// See `unsent_from`.
    pub unsent_since_ms: u64,
    /// First offset of the stream behind the snapshot that is being sent to it.
    pub resumes_at: u64,
    /// It has been sent a snapshot that ends with a mark, which Redis looks for at the end of what it has read: nothing
    /// may follow until it acknowledges.
    pub awaits_ack: bool,
    /// The snapshot so far, for one that has to know its length beforehand.
    pub gathered: Option<Vec<u8>>,
    /// It only wants the snapshot (`redis-cli --rdb`).
    pub rdb_only: bool,
    /// The snapshot is to hold no keys, but the libraries of functions where this is `Some(true)` (`rdb-filter-only`).
    pub filter: Option<bool>,
    /// It asked by SYNC, as before Redis 2.8: it is told neither id nor offset, and acknowledges nothing.
    pub pre_psync: bool,
    /// Under `managed yes`: it has said which epoch it follows, and that was right.
    pub admitted: bool,
}

impl ReplicaState {
    /// A connection that has said it is going to be a replica.
    pub fn new(now: Now) -> Self {
        ReplicaState {
            stage: Stage::Introduced,
            port: 0,
            announced: String::new(),
            capa_eof: false,
            capa_psync2: false,
            acked: 0,
            acked_durable: None,
            acked_at_ms: now.mono_ms(),
            unsent_from: 0,
            unsent_since_ms: now.mono_ms(),
            resumes_at: 0,
            awaits_ack: false,
            gathered: None,
            rdb_only: false,
            filter: None,
            pre_psync: false,
            admitted: false,
        }
    }

    /// It has asked for the stream.
    pub fn synced_or_syncing(&self) -> bool {
        self.stage != Stage::Introduced
    }

    /// Bytes of the stream that wait in the backlog until its snapshot has been sent; the stream is at `offset`.
    pub fn queued(&self, offset: u64) -> u64 {
        if self.wants_stream_behind_snapshot() { (offset + 1).saturating_sub(self.resumes_at) } else { 0 }
    }

    fn wants_stream_behind_snapshot(&self) -> bool {
        (self.stage == Stage::ReceivesSnapshot || self.awaits_ack) && !self.rdb_only
    }

    /// The address under which a shard map lists it.
    pub fn address(&self) -> Option<NodeAddr> {
        NodeAddr::new(&self.announced, self.port).ok()
    }
}

/// The stream's state, and our master where we have one.
pub struct Replication {
    /// Id of the present stream.
    pub id: String,
    /// Id of the stream that this one continues, valid up to `second_offset`.
    pub id2: String,
    /// First offset at which `id2` is not valid any more.
    pub second_offset: u64,
    /// Bytes of the stream so far; on a replica: those it has applied.
    offset: u64,
    backlog: Option<Backlog>,
    /// Bytes of the stream that are not in the backlog yet: they go there, and to the replicas, once per loop.
    pending: Vec<u8>,
    /// The link to our master, where we are a replica.
    pub link: Option<MasterLink>,
    /// Our replicas, waiting ones included.
    pub replicas: Vec<ConnId>,
    /// `FAILOVER`: mastership is being moved to a replica.
    pub failover: Option<Failover>,
    /// Keep a backlog even while there are no replicas: offsets have to be comparable between members.
    pub always_counts: bool,
    /// Monotonic milliseconds of the last PING to the replicas.
    pub pinged_at_ms: u64,
    /// Monotonic milliseconds since which there has been no replica.
    pub alone_since_ms: u64,
    /// The acknowledgements changed: held replies and WAITs may be due.
    pub acks_changed: bool,
    /// Some client waits in WAIT: the replicas are asked to acknowledge at once.
    pub wants_acks: bool,
    /// There is something to resume: a stream was followed, read from disk, or begun.
    pub has_history: bool,
}

impl Replication {
    /// The state of a server that starts with no history.
    pub fn new(rng: &mut Rng) -> Self {
        Replication {
            id: random_id(rng),
            id2: NO_ID.into(),
            second_offset: 0,
            offset: 0,
            backlog: None,
            pending: Vec::new(),
            link: None,
            replicas: Vec::new(),
            failover: None,
            always_counts: false,
            pinged_at_ms: 0,
            alone_since_ms: 0,
            acks_changed: false,
            wants_acks: false,
            has_history: false,
        }
    }

    /// Offset of the last byte of the stream (`master_repl_offset`).
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The stream is being recorded.
    pub fn has_backlog(&self) -> bool {
        self.backlog.is_some()
    }

    /// The backlog, if there is one.
    pub fn backlog(&self) -> Option<&Backlog> {
        self.backlog.as_ref()
    }

    /// Continues a history read from disk.
    pub fn restore(&mut self, id: String, offset: u64) {
        self.has_history = true;
        self.id = id;
        self.offset = offset;
        self.backlog = None;
    }

    /// Starts to record the stream.
    pub fn ensure_backlog(&mut self, config: &Config) {
        if self.backlog.is_none() {
            self.backlog = Some(Backlog::new(config.repl_backlog_size as usize, self.offset + 1));
        }
    }

    /// Stops to record the stream. Its id is given up with it: what follows could not be told from what was lost.
    pub fn drop_backlog(&mut self, rng: &mut Rng) {
        self.backlog = None;
        self.new_id(rng);
        self.id2 = NO_ID.into();
        self.second_offset = 0;
    }

    /// Changes the backlog's size.
    pub fn resize_backlog(&mut self, size: u64) {
        if let Some(b) = &mut self.backlog {
            b.resize(size as usize);
        }
    }

    /// Takes a new id; a master does that whenever the history may have forked.
    pub fn new_id(&mut self, rng: &mut Rng) {
        self.id = random_id(rng);
    }

    /// A replica becomes master: others may continue with the old id up to here.
    pub fn fork(&mut self, rng: &mut Rng) {
        self.id2 = std::mem::replace(&mut self.id, random_id(rng));
        self.second_offset = self.offset + 1;
    }

    /// A master told us the new id of the stream we follow.
    pub fn rename(&mut self, id: &str) {
        if self.id != id {
            self.id2 = std::mem::replace(&mut self.id, id.to_owned());
            self.second_offset = self.offset + 1;
        }
    }

    /// Starts over at a snapshot's id and offset.
    pub fn reset_to(&mut self, id: &str, offset: u64, config: &Config) {
        self.has_history = true;
        self.id = id.to_owned();
        self.id2 = NO_ID.into();
        self.second_offset = 0;
        self.offset = offset;
        self.pending.clear();
        self.backlog = None;
        self.ensure_backlog(config);
    }

    /// Appends to the stream, if it is recorded.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.backlog.is_some() {
            self.has_history = true;
            self.offset += bytes.len() as u64;
            self.pending.extend_from_slice(bytes);
        }
    }

    /// What was appended since the last call; it is in the backlog afterwards.
    pub fn take_pending(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.pending);
        if let Some(b) = &mut self.backlog {
            b.append(&bytes);
        }
        bytes
    }

    /// Has the backlog hold what replicas that get a snapshot will need, and no more.
    pub fn hold_for_replicas(&mut self, clients: &Clients) {
        let replicas = self.replicas.iter().filter_map(|&c| clients.get(c)?.replica.as_deref());
        let waiting = replicas.filter(|r| r.wants_stream_behind_snapshot());
        let from = waiting.map(|r| r.resumes_at).min();
        if let Some(b) = &mut self.backlog {
            b.demand(from);
        }
    }

    /// Gives the buffer of [`Replication::take_pending`] back, to be used again.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        const KEEP: usize = 1 << 20;
        if self.pending.is_empty() && buffer.capacity() <= KEEP {
            buffer.clear();
            self.pending = buffer;
        }
    }

    /// True if a replica that has history `id` up to before `from` can be continued.
    pub fn can_continue(&self, id: &str, from: u64) -> bool {
        let known = id == self.id || (id == self.id2 && from <= self.second_offset);
        known && self.backlog.as_ref().is_some_and(|b| b.reaches(from))
    }

    /// The connection to our master.
    pub fn link_conn(&self) -> Option<ConnId> {
        self.link.as_ref().and_then(MasterLink::conn)
    }

    /// True for masters, and for replicas whose master's stream is flowing.
    pub fn link_is_up(&self) -> bool {
        self.link.as_ref().is_none_or(MasterLink::is_online)
    }

    /// Number of replicas that have acknowledged `offset`.
    pub fn acked_by(&self, clients: &Clients, offset: u64) -> usize {
        self.online(clients).filter(|r| r.acked >= offset).count()
    }

    /// Replicas that get the stream.
    pub fn online<'a>(&'a self, clients: &'a Clients) -> impl Iterator<Item = &'a ReplicaState> {
        self.replicas
            .iter()
            .filter_map(|&c| clients.get(c)?.replica.as_deref())
            .filter(|r| r.stage == Stage::Online && !r.rdb_only && r.filter.is_none())
    }

    /// All replicas, with the addresses that their connections come from.
    pub fn with_peers<'a>(
        &'a self,
        clients: &'a Clients,
    ) -> impl Iterator<Item = (&'a str, &'a ReplicaState)> {
        self.replicas.iter().filter_map(|&c| {
            let client = clients.get(c)?;
            Some((client.peer.remote.as_str(), client.replica.as_deref()?))
        })
    }

    /// `min-replicas-to-write`: enough online replicas with an acknowledgement younger than `min-replicas-max-lag`.
    pub fn enough_replicas(&self, clients: &Clients, config: &Config, now: Now) -> bool {
        let (least, max_lag) = (config.min_replicas_to_write as usize, config.min_replicas_max_lag);
        if least == 0 || max_lag == 0 {
            return true;
        }
        self.good_replicas(clients, config, now) >= least
    }

    /// Number of replicas that count for `min-replicas-to-write`.
    pub fn good_replicas(&self, clients: &Clients, config: &Config, now: Now) -> usize {
        let oldest = now.mono_ms().saturating_sub(u64::from(config.min_replicas_max_lag) * 1000);
        self.online(clients).filter(|r| r.acked_at_ms >= oldest).count()
    }
}
