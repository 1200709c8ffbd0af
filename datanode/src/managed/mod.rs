//! A datanode under `managed yes`: it follows the newest shard map. See `docs/architecture.md`, "Rules of the datanode".
//!
//! `role` decides (pure) what a map makes of a node, this file acts on it; `errand` asks the sentinels for a planned move;
//! `messages` carries what is published from member to member.

mod errand;
mod handover;
mod handshake;
mod lease;
mod messages;
pub mod role;
mod seal;
pub mod slots;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::command::Error;
use crate::config::Config;
use crate::disk::{self, Disk};
use crate::io::{ConnId, Io, Now};
use crate::mutation::{self, Mutation};
use crate::replication::acks::WriteAcks;
use crate::replication::link::MasterLink;
use crate::server::client::Client;
use crate::server::{Pause, Server};
use crate::shardmap::{NodeAddr, NodeRole, NodeStatus, ReplicaStatus, Shard, ShardMap};

use errand::Errand;
use lease::Lease;
use messages::Messenger;
use role::Part;
use seal::Seal;

/// The file in `dir` that keeps map and promise.
pub const STATE_FILE: &str = "replicaset.json";

/// Where the data comes from: the dataset's id and the epoch of the master whose stream it last followed. Kept in the
/// data files themselves, so that they cannot disagree with the data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lineage {
    /// 40 hex digits; none on a volume that never held a dataset of a shard map.
    pub dataset: Option<String>,
    /// Epoch of the data.
    pub epoch: u64,
}

/// What survives a restart.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    map: Option<ShardMap>,
    promised: u64,
    /// What the files hold of all that was acknowledged.
    #[serde(default)]
    seal: Seal,
    /// The start of the machine at which they were sealed, as the kernel names it.
    #[serde(default)]
    boot: String,
}

/// Map, promise and role.
pub struct Managed {
    path: PathBuf,
    /// This node's address in the map.
    pub node: NodeAddr,
    /// Index of its shard.
    pub shard: u32,
    kept: Kept,
    /// The largest epoch promised since the process started.
    promised_now: u64,
    part: Part,
    /// When it became master the last time, monotonic milliseconds.
    master_since_ms: u64,
    /// See [`NodeStatus::intact`].
    intact: bool,
    /// Offset of the master when the link was made: from there on this node is intact.
    intact_at: Option<u64>,
    /// The seal says more than is true, and could not be broken.
    oversealed: bool,
    /// It is not known which seal is on disk: the one in `kept`, or a weaker one.
    seal_unsure: bool,
    /// When a seal that could not be written is tried again, monotonic milliseconds.
    seal_retry_ms: u64,
    /// What the master said of its dataset in the handshake.
    offered_dataset: Option<String>,
    /// Why this node does not follow its master, where that needs a person.
    pub refuses: Option<String>,
    lease: Lease,
    /// Until when the lease runs, monotonic milliseconds, as of the last echo, role or map; none: without limit.
    lease_until_ms: Option<u64>,
    /// It is master, but its lease has run out and its clients have been sent away.
    fenced: bool,
    errand: Option<Errand>,
    messenger: Messenger,
}

impl Managed {
    /// Reads what was persisted.
    pub fn load(config: &Config, disk: &dyn Disk) -> Result<Managed, String> {
        let host = match config.replica_announce_ip.as_str() {
            "" => "127.0.0.1",
            name => name,
        };
        let port = if config.replica_announce_port != 0 { config.replica_announce_port } else { config.port };
        let node = NodeAddr::new(host, port).map_err(|e| format!("this node's address: {}", e.0))?;
        let path = config.dir.join(STATE_FILE);
        let kept: Kept = match disk::read(disk, &path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|e| format!("{} is damaged: {e}", path.display()))?
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(e) => return Err(format!("{} cannot be read: {e}", path.display())),
        };
        Ok(Managed {
            path,
            node,
            shard: config.managed_shard,
            promised_now: 0,
            kept,
            part: Part::Nobody,
            master_since_ms: 0,
            intact: false,
            intact_at: None,
            oversealed: false,
            seal_unsure: false,
            seal_retry_ms: 0,
            offered_dataset: None,
            refuses: None,
            lease: Lease::default(),
            lease_until_ms: Some(0),
            fenced: false,
            errand: None,
            messenger: Messenger::default(),
        })
    }

    /// The newest map known.
    pub fn map(&self) -> Option<&ShardMap> {
        self.kept.map.as_ref()
    }

    /// The map's entry of this node's shard.
    pub fn own_shard(&self) -> Option<&Shard> {
        self.map()?.shard(self.shard)
    }

    /// It has been told to be master and may take writes.
    pub fn is_master(&self) -> bool {
        matches!(self.part, Part::Master { .. })
    }

    /// It has become master so lately that its replicas may still be on their way: they are silent for no longer than a
    /// node is that does not count as down.
    pub fn is_new_master(&self, now: Now) -> bool {
        let patience_ms = self.map().map_or(0, |map| map.down_after_ms);
        self.is_master() && now.mono_ms() < self.master_since_ms + patience_ms
    }

    /// It waits for a map that tells it what to be.
    pub fn is_nobody(&self) -> bool {
        matches!(self.part, Part::Nobody)
    }

    /// `writeAckReplicas` and `writeAckFsync` of the map.
    pub fn write_acks(&self) -> WriteAcks {
        let rule =
            |m: &ShardMap| WriteAcks { replicas: m.write_ack_replicas as usize, fsync: m.write_ack_fsync };
        self.map().map(rule).unwrap_or_default()
    }

    /// True if the map lists this address in our shard.
    pub fn is_member(&self, node: &NodeAddr) -> bool {
        self.own_shard().is_some_and(|s| s.has_member(node))
    }

    /// True if what this member acknowledges counts.
    pub fn counts(&self, node: &NodeAddr) -> bool {
        self.own_shard().is_some_and(|s| s.counts(node))
    }

    /// The epoch at which it is master.
    pub fn master_epoch(&self) -> Option<u64> {
        match self.part {
            Part::Master { epoch } => Some(epoch),
            _ => None,
        }
    }

    /// See [`NodeStatus::intact`].
    pub fn is_intact(&self) -> bool {
        self.intact
    }

    /// It is master and its lease still runs.
    pub fn holds_lease(&self, now: Now) -> bool {
        self.is_master() && self.lease_until_ms.is_none_or(|until| now.mono_ms() < until)
    }

    /// Works out until when the lease runs: whenever an echo, the role or the map has changed, and not with every write.
    fn renew_lease(&mut self) {
        if let (Some(epoch), Some(map)) = (self.master_epoch(), &self.kept.map) {
            self.lease_until_ms = self.lease.until_ms(map, epoch);
        }
    }

    /// Why writes are refused.
    pub fn refusal(&self) -> Error {
        "READONLY You can't write against a read only replica.".into()
    }

    /// Where the map and the promises are kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn keep(&self, disk: &dyn Disk) -> Result<(), String> {
        let json = serde_json::to_vec(&self.kept).map_err(|e| e.to_string())?;
        disk::replace(disk, &self.path, &json)
            .map_err(|e| format!("{} cannot be written: {e}", self.path.display()))
    }
}

impl Server {
    fn managed_mut(&mut self) -> Result<&mut Managed, Error> {
        self.managed
            .as_mut()
            .ok_or_else(|| Error::err("this server does not follow a shard map (managed no)"))
    }

    /// `REPLICASET OFFER json`: merges, persists, applies; the merged map as JSON.
    pub fn offer_map(&mut self, io: &mut Io, from: ConnId, json: &[u8]) -> Result<String, Error> {
        let disk = self.disk.clone();
        let managed = self.managed_mut()?;
        let offered = ShardMap::from_json(json).map_err(|e| Error::err(&e.0))?;
        let before = managed.kept.map.clone();
        if ShardMap::offer(&mut managed.kept.map, offered).map_err(|e| Error::err(&e.0))?
            && let Err(e) = managed.keep(&*disk)
        {
            // What could not be persisted must not be acted on.
            managed.kept.map = before;
            return Err(Error::err(e));
        }
        self.apply_map(io, Some(from));
        self.write_acks_changed();
        self.managed_mut()?.renew_lease();
        Ok(self.managed_mut()?.map().map(ShardMap::to_json).unwrap_or_default())
    }

    /// `REPLICASET PROMISE shard epoch`
    pub fn promise(&mut self, io: &mut Io, from: ConnId, shard: u32, epoch: u64) -> Result<String, Error> {
        let disk = self.disk.clone();
        let managed = self.managed_mut()?;
        if shard != managed.shard {
            return Err(Error::err(format_args!("this node belongs to shard {}", managed.shard)));
        }
        if epoch < managed.kept.promised {
            return Err(Error::Text(format!("STALEEPOCH promised {}", managed.kept.promised).into()));
        }
        if epoch > managed.kept.promised {
            let before = managed.kept.promised;
            managed.kept.promised = epoch;
            if let Err(e) = managed.keep(&*disk) {
                managed.kept.promised = before;
                return Err(Error::err(e));
            }
            tracing::info!("Promised epoch {epoch}");
        }
        managed.promised_now = epoch;
        let outdated = match managed.part {
            Part::Master { epoch: own } => own < epoch,
            Part::Replica { epoch: followed, .. } => followed < epoch,
            Part::Nobody => false,
        };
        if outdated && !mutation::active(Mutation::PromiseIgnored) {
            self.take_part(io, Part::Nobody, Some(from));
        }
        Ok(self.status_json(io))
    }

    /// Becomes what the newest map says. Sending a map again changes nothing.
    fn apply_map(&mut self, io: &mut Io, from: Option<ConnId>) {
        let lineage = self.persist.lineage().clone();
        let has_data = !self.keyspace.is_empty();
        let Some(managed) = &self.managed else { return };
        let Some(shard) = managed.own_shard() else { return };
        let situation = role::Situation {
            node: &managed.node,
            promised: managed.kept.promised,
            promised_now: managed.promised_now,
            dataset: lineage.dataset.as_deref(),
            has_data,
            broken: self.persist.restore_error().is_some(),
        };
        let part = role::assign(shard, &situation);
        if part != managed.part {
            self.take_part(io, part, from);
        }
    }

    /// Changes the role. `from`: the connection that brought the news stays open.
    fn take_part(&mut self, io: &mut Io, part: Part, from: Option<ConnId>) {
        // Everything executed so far belongs to the old role's stream.
        self.release_effects();
        self.flush_stream(io);
        let was_master = self.is_master();
        if was_master {
            self.step_down(io, from);
        }
        match part {
            Part::Nobody => {
                if let Some(m) = &mut self.managed {
                    m.part = Part::Nobody;
                }
                self.unfollow(io);
                tracing::info!("Waiting for a map of a newer epoch");
            }
            Part::Replica { ref master, epoch } => {
                tracing::info!("Following {master} at epoch {epoch}");
                let (host, port) = (master.host().to_owned(), master.port());
                let same = matches!(&self.managed, Some(m) if matches!(&m.part, Part::Replica { master: old, .. } if old == master));
                if let Some(m) = &mut self.managed {
                    m.part = part.clone();
                    m.intact_at = None;
                    m.refuses = None;
                }
                if same {
                    // The same master, promoted again: the link has to be introduced with the new epoch.
                    self.unfollow(io);
                }
                self.follow(io, Some((host, port)));
            }
            Part::Master { epoch } => {
                if let Err(e) = self.become_master(io, epoch) {
                    tracing::error!("Could not become master at epoch {epoch}: {e}");
                    if let Some(m) = &mut self.managed {
                        m.part = Part::Nobody;
                    }
                }
            }
        }
        self.publish_metrics(io);
    }

    /// A master that is one no more: nobody may take what it still had to say for an acknowledgement.
    fn step_down(&mut self, io: &mut Io, from: Option<ConnId>) {
        tracing::warn!("No longer master: closing clients' connections");
        self.pause = Pause::default();
        if !mutation::active(Mutation::ClientsKept) {
            self.close_clients(io, |c| Some(c.conn) != from);
        }
    }

    /// Closes connections, but those of the authority.
    fn close_clients(&mut self, io: &mut Io, which: impl Fn(&Client) -> bool) {
        let conns: Vec<ConnId> =
            self.clients.iter().filter(|c| !c.control && which(c)).map(|c| c.conn).collect();
        for conn in conns {
            self.close_client(io, conn, false);
        }
    }

    fn become_master(&mut self, io: &mut Io, epoch: u64) -> Result<(), String> {
        let Some(shard) = self.managed.as_ref().and_then(Managed::own_shard) else { return Ok(()) };
        let dataset = shard.dataset.clone();
        // The mark is durable before the first write is taken: an emptied volume can be told from a new one.
        self.set_lineage(io, Lineage { dataset, epoch })?;
        self.unfollow(io);
        self.begin_history(io);
        if let Some(m) = &mut self.managed {
            m.part = Part::Master { epoch };
            m.master_since_ms = io.now.mono_ms();
            m.renew_lease();
            m.intact = true;
            m.refuses = None;
            m.fenced = !m.holds_lease(io.now);
        }
        tracing::warn!("Master at epoch {epoch}, offset {}", self.repl.offset());
        Ok(())
    }

    pub(crate) fn start_as_nobody(&mut self, io: &mut Io) {
        if let Some(m) = &mut self.managed {
            m.part = Part::Nobody;
        }
        self.open_seal();
        // A kept map still tells a replica whom to follow; a restarted master waits for a newer epoch.
        self.apply_map(io, None);
    }

    pub(crate) fn managed_cron(&mut self, io: &mut Io) {
        let offset = self.repl.offset();
        let online = self.repl.link.as_ref().is_some_and(MasterLink::is_online);
        if let Some(m) = &mut self.managed
            && online
            && m.intact_at.is_some_and(|at| offset >= at)
        {
            m.intact = true;
            m.intact_at = None;
        }
        if online && self.persist.disk_error().is_none() {
            // It may not have been possible when the link was made.
            self.followed_master(io);
        }
        self.watch_lease(io);
        self.errand_cron(io);
    }

    /// `REPLICASET STATUS sentinel epoch run-id token`: a sentinel that knows this node as master of `epoch` echoes a token.
    pub(crate) fn take_echo(
        &mut self,
        io: &mut Io,
        from: ConnId,
        sentinel: NodeAddr,
        epoch: u64,
        run_id: &[u8],
        token: u64,
    ) {
        let ours = run_id == self.run_id.as_bytes() && token <= io.now.mono_ms();
        if let Some(m) = self.managed.as_mut().filter(|_| ours) {
            m.lease.echoed(sentinel, epoch, token, from);
            m.renew_lease();
        }
        self.watch_lease(io);
    }

    /// A connection is gone: no echo that came through it counts any more.
    pub(crate) fn forget_echoes(&mut self, conn: ConnId) {
        if let Some(m) = &mut self.managed
            && m.lease.disconnected(conn)
        {
            m.renew_lease();
        }
    }

    /// Sends clients away when the lease has run out: they are to look for the master elsewhere.
    fn watch_lease(&mut self, io: &mut Io) {
        let Some(m) = self.managed.as_mut().filter(|m| m.is_master()) else { return };
        let fenced = !m.holds_lease(io.now);
        let before = std::mem::replace(&mut m.fenced, fenced);
        if fenced && !before {
            tracing::warn!(
                "Not enough sentinels have been heard of: taking no writes, closing clients' connections"
            );
            self.close_clients(io, |c| c.replica.is_none());
        } else if before && !fenced {
            tracing::warn!("A majority of the sentinels has been heard of: taking writes");
        }
    }

    /// The answer of `REPLICASET STATUS`, as JSON.
    pub fn status_json(&mut self, io: &Io) -> String {
        self.status(io).and_then(|s| serde_json::to_string(&s).ok()).unwrap_or_default()
    }

    /// The answer of `REPLICASET STATUS`.
    pub fn status(&self, io: &Io) -> Option<NodeStatus> {
        let m = self.managed.as_ref()?;
        let now = io.now.mono_ms();
        let link = self.repl.link.as_ref();
        let replicas = self.repl.online(&self.clients).filter_map(|r| {
            Some(ReplicaStatus {
                node: r.address()?,
                offset: r.acked,
                lag_ms: now.saturating_sub(r.acked_at_ms),
                online: true,
            })
        });
        let lineage = self.persist.lineage();
        Some(NodeStatus {
            node: m.node.clone(),
            shard: m.shard,
            role: match m.part {
                Part::Nobody => NodeRole::Nobody,
                Part::Master { .. } => NodeRole::Master,
                Part::Replica { .. } => NodeRole::Replica,
            },
            epoch: lineage.epoch,
            offset: self.repl.offset(),
            dataset: lineage.dataset.clone(),
            promised: m.kept.promised,
            map_epoch: m.own_shard().map_or(0, |s| s.epoch),
            generation: m.map().map_or(0, |m| m.generation),
            run_id: self.run_id.clone(),
            started_at_ms: self.started.unix_ms.max(0) as u64,
            intact: m.intact,
            loading: self.loading,
            link_up: link.is_some_and(MasterLink::is_online),
            syncing: link.is_some_and(MasterLink::is_syncing),
            lag_ms: link.map_or(0, |l| now.saturating_sub(l.last_io_ms)),
            master_host: link.and_then(|l| NodeAddr::new(&l.host, l.port).ok()),
            writable: m.holds_lease(io.now) && self.write_refusal().is_none(),
            keys: (0..self.keyspace.databases()).map(|db| self.keyspace.len(db) as u64).sum(),
            used_memory: self.used_memory,
            disk_error: self.persist.disk_error(),
            restore_error: self.persist.restore_error().or_else(|| m.refuses.clone()),
            replicas: replicas.collect(),
            token: now,
            fenced: m.is_master() && !m.holds_lease(io.now),
        })
    }

    /// A replica acknowledges nothing to a master of an older epoch than it has promised, and under a shard map nothing that
    /// it cannot hand to its disk: it would not survive the end of its process.
    pub(crate) fn may_acknowledge(&self) -> bool {
        match &self.managed {
            None => true,
            Some(m) if m.is_oversealed() || self.persist.log_error().is_some() => false,
            Some(m) => match m.part {
                Part::Replica { epoch, .. } => {
                    epoch >= m.kept.promised || mutation::active(Mutation::PromiseIgnored)
                }
                _ => false,
            },
        }
    }

    /// Under a shard map clients wait for acknowledgements: they are sent with each batch.
    pub(crate) fn acks_at_once(&self) -> bool {
        self.managed.is_some()
    }
}
