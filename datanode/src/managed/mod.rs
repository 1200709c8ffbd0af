//! A datanode under `managed yes`: it follows the newest shard map. See `docs/architecture.md`, "Rules of the datanode".

pub mod slots;

use crate::command::Error;
use crate::config::Config;
use crate::disk::Disk;
use crate::io::{ConnId, ConnectError, Io, LinkToken, Peer};
use crate::server::Server;
use crate::shardmap::NodeAddr;

/// Map, promise and role.
pub struct Managed {}

impl Managed {
    /// Reads what was persisted.
    pub fn load(_config: &Config, _disk: &dyn Disk) -> Result<Managed, String> {
        Ok(Managed {})
    }

    /// It has been told to be master and may take writes.
    pub fn is_master(&self) -> bool {
        false
    }

    /// `writeAckReplicas` of the map.
    pub fn write_ack_replicas(&self) -> usize {
        0
    }

    /// True if the map lists this address in our shard.
    pub fn is_member(&self, _node: &NodeAddr) -> bool {
        false
    }

    /// Why writes are refused.
    pub fn refusal(&self) -> Error {
        "READONLY You can't write against a read only replica.".into()
    }
}

impl Server {
    pub(crate) fn start_as_nobody(&mut self, _io: &mut Io) {}
    pub(crate) fn managed_cron(&mut self, _io: &mut Io) {}
    pub(crate) fn ask_for_handover(&mut self, _io: &mut Io) -> u64 {
        0
    }
    pub(crate) fn managed_link_closed(&mut self, _io: &mut Io, _conn: ConnId) -> bool {
        false
    }
    pub(crate) fn managed_link_connected(
        &mut self,
        _io: &mut Io,
        _token: LinkToken,
        _result: &Result<(ConnId, Peer), ConnectError>,
    ) -> bool {
        false
    }
    pub(crate) fn admit_member(
        &mut self,
        _conn: ConnId,
        _epoch: &[u8],
        _args: crate::command::Args<'_>,
    ) -> Result<(), Error> {
        Ok(())
    }
    pub(crate) fn introduce_member(&self) -> Option<Vec<String>> {
        None
    }
    pub(crate) fn check_master(&self, _reply: &str) -> Result<(), String> {
        Ok(())
    }
    pub(crate) fn followed_master(&mut self, _io: &mut Io) {}
    pub(crate) fn may_acknowledge(&self) -> bool {
        true
    }
    pub(crate) fn acks_at_once(&self) -> bool {
        self.managed.is_some()
    }
}
