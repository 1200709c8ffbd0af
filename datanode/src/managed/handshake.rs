//! What a member and its master say of themselves before PSYNC, and the guard on the lineage of what is copied.

use super::Lineage;
use super::role::{self, Part};
use crate::command::{Args, Error};
use crate::io::{ConnId, Io};
use crate::resp::parse::parse_i64;
use crate::server::Server;
use crate::shardmap::NodeAddr;

impl Server {
    /// `REPLCONF replicaset-epoch E dataset D node A`: a member wants to follow us. The answer's line.
    pub(crate) fn admit_member(
        &mut self,
        conn: ConnId,
        epoch: &[u8],
        args: Args<'_>,
    ) -> Result<String, Error> {
        let offset = self.repl.offset();
        let lineage = self.persist.lineage().clone();
        let Some(m) = &self.managed else {
            return Err("ERR this server does not follow a shard map".into());
        };
        let epoch = parse_i64(epoch).and_then(|n| u64::try_from(n).ok()).ok_or(Error::NotInteger)?;
        let Part::Master { epoch: own } = m.part else {
            return Err("NOTMASTER this node is not master".into());
        };
        if epoch != own {
            return Err(Error::Text(
                format!("STALEEPOCH this node is master at epoch {own}, not {epoch}").into(),
            ));
        }
        let node = String::from_utf8_lossy(args.at(6)).into_owned();
        let node: NodeAddr = node.parse().map_err(|_| Error::err("a member has to name its node"))?;
        if !m.is_member(&node) {
            tracing::info!(
                "{node} replicates from here but is not a member of this shard: it does not count"
            );
        }
        if let Some(replica) = self.clients.get_mut(conn).and_then(|c| c.replica.as_mut()) {
            replica.admitted = true;
            replica.announced = node.host().to_owned();
            replica.port = node.port();
        }
        Ok(format!("OK {} {own} {offset}", lineage.dataset.unwrap_or_default()))
    }

    /// What a member says of itself before PSYNC.
    pub(crate) fn introduce_member(&self) -> Option<Vec<String>> {
        let m = self.managed.as_ref()?;
        let Part::Replica { epoch, .. } = &m.part else { return None };
        let dataset = self.persist.lineage().dataset.clone().unwrap_or_else(|| "none".into());
        let words = [
            "REPLCONF",
            "replicaset-epoch",
            &epoch.to_string(),
            "dataset",
            &dataset,
            "node",
            m.node.as_str(),
        ];
        Some(words.iter().map(|w| (*w).to_owned()).collect())
    }

    /// The lineage guard: the master's answer to [`Server::introduce_member`].
    pub(crate) fn check_master(&mut self, reply: &str) -> Result<(), String> {
        let own = self.persist.lineage().clone();
        let has_data = !self.keyspace.is_empty();
        let Some(m) = self.managed.as_mut() else { return Ok(()) };
        let mut words = reply.split(' ').skip(1);
        let dataset = words.next().unwrap_or_default().to_owned();
        let mut number = || words.next().and_then(|w| w.parse::<u64>().ok());
        let (Some(epoch), Some(offset)) = (number(), number()) else {
            return Err(format!("The master's answer cannot be understood: {reply}"));
        };
        let verdict = role::may_copy(&own, has_data, &dataset, epoch);
        m.refuses = verdict.as_ref().err().cloned();
        verdict?;
        m.offered_dataset = Some(dataset);
        m.intact_at = Some(offset);
        Ok(())
    }

    /// The link is up: from here on the data is of the master's epoch.
    pub(crate) fn followed_master(&mut self, io: &mut Io) {
        let Some(m) = &self.managed else { return };
        let Part::Replica { epoch, .. } = m.part else { return };
        if self.persist.lineage().epoch == epoch && self.persist.lineage().dataset == m.offered_dataset {
            return;
        }
        let lineage = Lineage { dataset: m.offered_dataset.clone(), epoch };
        if let Err(e) = self.set_lineage(io, lineage) {
            tracing::error!("The data's epoch could not be recorded: {e}");
        }
    }
}
