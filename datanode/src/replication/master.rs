//! The master's side: replicas that introduce themselves (REPLCONF), ask for the stream (PSYNC), get a snapshot where
//! the backlog does not reach back far enough, then the stream, and acknowledge it.

use super::{ReplicaState, Stage};
use crate::command::{Args, Error};
use crate::io::{Action, ConnId, Io, Tuning};
use crate::resp::encode_command;
use crate::resp::parse::{parse_i64, split_words};
use crate::server::Server;
use crate::server::client::Client;

/// While a replica's output holds more than this, the snapshot that is being sent to it is not walked on, bytes.
pub const SNAPSHOT_HIGH_WATER: usize = 1 << 20;

impl Server {
    /// `REPLCONF option value …`: the reply's line, if one is due.
    pub fn replconf(&mut self, io: &mut Io, conn: ConnId, args: Args<'_>) -> Result<Option<String>, Error> {
        if args.len().is_multiple_of(2) {
            return Err(Error::Syntax);
        }
        let now = io.now;
        for i in (1..args.len()).step_by(2) {
            let value = args.at(i + 1);
            let number = parse_i64(value).and_then(|n| u64::try_from(n).ok());
            if args.is(i, "replicaset-epoch") {
                self.clients
                    .get_mut(conn)
                    .map(|c| c.replica.get_or_insert_with(|| Box::new(ReplicaState::new(now))));
                return self.admit_member(conn, value, args).map(Some);
            }
            let Some(client) = self.clients.get_mut(conn) else { return Ok(None) };
            let replica = client.replica.get_or_insert_with(|| Box::new(ReplicaState::new(now)));
            if args.is(i, "listening-port") {
                replica.port = number.and_then(|n| n.try_into().ok()).ok_or(Error::NotInteger)?;
            } else if args.is(i, "ip-address") {
                let text = String::from_utf8_lossy(value).into_owned();
                if text.len() > 255 {
                    return Err(Error::err(format_args!(
                        "REPLCONF ip-address provided by replica instance is too long: {} bytes",
                        text.len()
                    )));
                }
                replica.announced = text;
            } else if args.is(i, "capa") {
                replica.capa_eof |= args.is(i + 1, "eof");
                replica.capa_psync2 |= args.is(i + 1, "psync2");
            } else if args.is(i, "rdb-only") {
                replica.rdb_only = match parse_i64(value) {
                    Some(0) => false,
                    Some(1) => true,
                    Some(_) => return Err(Error::err("value is out of range, value must between 0 and 1")),
                    None => return Err(Error::NotInteger),
                };
            } else if args.is(i, "rdb-filter-only") {
                replica.filter = Some(filter(value)?);
            } else if args.is(i, "ack") {
                let Some(offset) = number else { return Ok(None) };
                if replica.synced_or_syncing() {
                    replica.acked = replica.acked.max(offset);
                    replica.acked_at_ms = now.mono_ms();
                    // Without the word it keeps no append-only file, or none that is complete yet.
                    replica.acked_durable = match args.is(i + 2, "fack") {
                        true => args.get(i + 3).and_then(parse_i64).and_then(|n| u64::try_from(n).ok()),
                        false => None,
                    };
                    self.repl.acks_changed = true;
                    if std::mem::take(&mut replica.awaits_ack) {
                        self.stream_behind_snapshot(io, conn);
                        self.repl.hold_for_replicas(&self.clients);
                    }
                }
                return Ok(None);
            } else if args.is(i, "getack") {
                return Ok(None);
            } else {
                return Err(Error::err(format_args!(
                    "Unrecognized REPLCONF option: {}",
                    String::from_utf8_lossy(args.at(i))
                )));
            }
        }
        Ok(Some("OK".into()))
    }

    /// `PSYNC id offset`: continues the replica's history or starts a full resync. The reply is written to `out`.
    pub fn psync(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let known = self.clients.get(conn).is_some_and(|c| c.is_replica());
        if known {
            return Ok(());
        }
        let full = args.is(0, "sync");
        let id = String::from_utf8_lossy(args.at(1)).into_owned();
        if !full && args.is(3, "failover") {
            self.accept_failover(io, &id)?;
        }
        if self.repl.failover.is_some() {
            return Err("NOMASTERLINK Can't SYNC while failing over".into());
        }
        if !self.is_master() && !self.repl.link_is_up() {
            return Err("NOMASTERLINK Can't SYNC while not connected with my master".into());
        }
        let introduced = self.clients.get(conn).and_then(|c| c.replica.as_ref());
        if self.managed.is_some() && !introduced.is_some_and(|r| r.admitted || r.rdb_only) {
            return Err("ERR this node follows a shard map: only its members replicate from it".into());
        }
        if !out.is_empty() || io.conn(conn).is_some_and(|c| c.output.pending() > 0) {
            return Err("ERR SYNC and PSYNC are invalid with pending output".into());
        }
        let peer = self.peer_name(conn);
        tracing::info!("Replica {peer} asks for synchronization");
        let from = match (full, parse_i64(args.at(2))) {
            (true, _) => None,
            (false, Some(from)) => u64::try_from(from).ok(),
            (false, None) => {
                tracing::warn!("Replica {peer} asks for synchronization but with a wrong offset");
                return Err(Error::NotInteger);
            }
        };
        self.repl.ensure_backlog(&self.config);
        // What is pending belongs in front of this replica's part of the stream.
        self.release_effects();
        self.flush_stream(io);
        let now = io.now;
        let Some(client) = self.clients.get_mut(conn) else { return Ok(()) };
        let replica = client.replica.get_or_insert_with(|| Box::new(ReplicaState::new(now)));
        if replica.announced.is_empty() {
            replica.announced = peer.rsplit_once(':').map(|(ip, _)| ip.to_owned()).unwrap_or_default();
        }
        replica.acked_at_ms = now.mono_ms();
        replica.pre_psync = full;
        // Fewer, larger packets for the price of some delay, where that is asked for.
        let tuning = Tuning::NoDelay(!self.config.repl_disable_tcp_nodelay);
        io.ask(Action::Tune { conn, tuning });
        if let Some(functions) = replica.filter {
            return self.sync_filtered(io, conn, functions, out);
        }
        if !full
            && let Some(from) = from
            && self.repl.can_continue(&id, from)
        {
            replica.stage = Stage::Online;
            replica.acked = from.saturating_sub(1);
            let line = if replica.capa_psync2 {
                format!("+CONTINUE {}\r\n", self.repl.id)
            } else {
                "+CONTINUE\r\n".into()
            };
            out.extend_from_slice(line.as_bytes());
            if let Some(b) = self.repl.backlog() {
                let before = out.len();
                b.copy_from(from, out);
                self.stats.repl_output_bytes += (out.len() - before) as u64;
            }
            self.repl.replicas.push(conn);
            self.stats.sync_partial_ok += 1;
            tracing::info!("Partial resynchronization request from {peer} accepted, from offset {from}.");
            self.replicas_changed();
            return Ok(());
        }
        if !full && id != "?" {
            self.stats.sync_partial_err += 1;
            tracing::info!("Partial resynchronization not accepted from {peer}: id {id} offset {from:?}");
        }
        replica.stage = Stage::WaitsForSnapshot;
        self.repl.replicas.push(conn);
        self.stats.sync_full += 1;
        tracing::info!("Full resync requested by replica {peer}");
        Ok(())
    }

    /// A replica that wants no keys: its snapshot takes no time, and the stream follows, unless it wants only that.
    fn sync_filtered(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        functions: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let snapshot = self.snapshot_without_keys(io, functions);
        let resync = format!("+FULLRESYNC {} {}\r\n", self.repl.id, self.repl.offset());
        let Some(replica) = self.clients.get_mut(conn).and_then(|c| c.replica.as_mut()) else {
            return Ok(());
        };
        replica.stage = Stage::Online;
        let rdb_only = replica.rdb_only;
        if !replica.pre_psync {
            out.extend_from_slice(resync.as_bytes());
        }
        out.extend_from_slice(format!("${}\r\n", snapshot.len()).as_bytes());
        out.extend_from_slice(&snapshot);
        self.stats.sync_full += 1;
        self.selected_db = None;
        if rdb_only {
            self.close_client(io, conn, true);
        } else {
            self.repl.replicas.push(conn);
            self.replicas_changed();
        }
        Ok(())
    }

    /// A snapshot for replicas begins at the present offset: those that wait for one get its header. It ends with a mark,
    /// or for replicas that do not know marks it is gathered, since its length has to be sent first.
    pub fn start_sync_of_waiting(&mut self, io: &mut Io, eof_mark: &str) -> Vec<ConnId> {
        let resync = format!("+FULLRESYNC {} {}\r\n", self.repl.id, self.repl.offset());
        let framed = format!("$EOF:{eof_mark}\r\n");
        let resumes_at = self.repl.offset() + 1;
        let mut receivers = Vec::new();
        for &conn in &self.repl.replicas {
            if let Some(replica) = self.clients.get_mut(conn).and_then(|c| c.replica.as_mut())
                && replica.stage == Stage::WaitsForSnapshot
            {
                replica.stage = Stage::ReceivesSnapshot;
                replica.resumes_at = resumes_at;
                replica.gathered = (!replica.capa_eof).then(Vec::new);
                if !replica.pre_psync {
                    io.send(conn, resync.as_bytes());
                }
                if replica.capa_eof {
                    io.send(conn, framed.as_bytes());
                }
                receivers.push(conn);
            }
        }
        self.repl.hold_for_replicas(&self.clients);
        // The stream behind the snapshot has to name its database.
        self.selected_db = None;
        receivers
    }

    /// A piece of the snapshot for a replica.
    pub fn send_snapshot(&mut self, io: &mut Io, conn: ConnId, piece: &[u8]) {
        self.stats.repl_output_bytes += piece.len() as u64;
        let replica = self.clients.get_mut(conn).and_then(|c| c.replica.as_mut());
        match replica.and_then(|r| r.gathered.as_mut()) {
            Some(gathered) => gathered.extend_from_slice(piece),
            None => io.send(conn, piece),
        }
    }

    /// The end of the snapshot for a replica: the mark, or all that was gathered.
    pub fn end_snapshot_for(&mut self, io: &mut Io, conn: ConnId, eof_mark: &str) {
        let replica = self.clients.get_mut(conn).and_then(|c| c.replica.as_mut());
        match replica.and_then(|r| r.gathered.take()) {
            Some(gathered) => {
                io.send(conn, format!("${}\r\n", gathered.len()).as_bytes());
                io.send(conn, &gathered);
            }
            None => io.send(conn, eof_mark.as_bytes()),
        }
    }

    /// The snapshot has been handed to these replicas: the stream that has queued up behind it follows, or will once they
    /// have acknowledged.
    pub fn finish_sync(&mut self, io: &mut Io, receivers: &[ConnId]) {
        for &conn in receivers {
            let Some(client) = self.clients.get_mut(conn) else { continue };
            let Some(replica) = client.replica.as_mut() else { continue };
            if replica.rdb_only {
                tracing::info!("Closing the connection of a client that only wanted the snapshot");
                self.close_client(io, conn, true);
                continue;
            }
            replica.stage = Stage::Online;
            replica.acked_at_ms = io.now.mono_ms();
            tracing::info!("Synchronization with replica {} succeeded", client.peer.remote);
            // A member of a shard map finds the mark anywhere.
            replica.awaits_ack = replica.capa_eof && !replica.admitted;
            if !replica.awaits_ack {
                self.stream_behind_snapshot(io, conn);
            }
        }
        self.replicas_changed();
    }

    /// Sends a replica what has queued up behind its snapshot. The stream itself has to go to it from now on.
    fn stream_behind_snapshot(&mut self, io: &mut Io, conn: ConnId) {
        let Some(resumes_at) = self.clients.get(conn).and_then(|c| Some(c.replica.as_ref()?.resumes_at))
        else {
            return;
        };
        match self.repl.backlog().filter(|b| b.reaches(resumes_at)) {
            Some(backlog) => {
                let mut queued = Vec::new();
                backlog.copy_from(resumes_at, &mut queued);
                self.stats.repl_output_bytes += queued.len() as u64;
                io.send(conn, &queued);
            }
            None => {
                tracing::error!("The stream behind the snapshot of replica {} is gone", self.peer_name(conn));
                self.close_client(io, conn, false);
            }
        }
    }

    /// The snapshot could not be finished: the replicas have to ask again.
    pub fn abort_sync(&mut self, io: &mut Io, receivers: &[ConnId]) {
        for &conn in receivers {
            self.close_client(io, conn, false);
        }
    }

    /// Replicas that wait for a snapshot.
    pub fn waiting_for_snapshot(&self) -> usize {
        let replicas = self.repl.replicas.iter().filter_map(|&c| self.clients.get(c)?.replica.as_ref());
        replicas.filter(|r| r.stage == Stage::WaitsForSnapshot).count()
    }

    /// Hands what the stream has grown by to backlog and replicas.
    pub(crate) fn flush_stream(&mut self, io: &mut Io) {
        // What a final snapshot has recorded as the end of the stream must stay that.
        let ended = self.shutdown.is_some_and(|s| s.done);
        let paused = ended || self.pause.until_ms > io.now.mono_ms() && self.shutdown.is_none();
        if self.repl.wants_acks && !paused && self.is_master() && !self.repl.replicas.is_empty() {
            self.repl.wants_acks = false;
            let mut ask = Vec::new();
            encode_command(&mut ask, &["REPLCONF", "GETACK", "*"]);
            self.repl.feed(&ask);
        }
        let bytes = self.repl.take_pending();
        if !bytes.is_empty() {
            for &conn in &self.repl.replicas {
                let Some(replica) = self.clients.get_mut(conn).and_then(|c| c.replica.as_mut()) else {
                    continue;
                };
                match replica.stage {
                    Stage::Online if !replica.rdb_only && !replica.awaits_ack => {
                        self.stats.repl_output_bytes += bytes.len() as u64;
                        io.send(conn, &bytes);
                    }
                    _ => {}
                }
            }
        }
        self.repl.recycle(bytes);
    }

    /// PINGs replicas, drops those that have been silent for `repl-timeout`, lets an unused backlog go. Once a second.
    pub(crate) fn replica_cron(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        let period = u64::from(self.config.repl_ping_replica_period) * 1000;
        // During a handover offsets have to stand still, to be comparable.
        let paused = self.pause.until_ms > now;
        if self.is_master()
            && !paused
            && !self.repl.replicas.is_empty()
            && now >= self.repl.pinged_at_ms + period
        {
            self.repl.pinged_at_ms = now;
            let mut ping = Vec::new();
            encode_command(&mut ping, &["PING"]);
            self.repl.feed(&ping);
        }
        let timeout = u64::from(self.config.repl_timeout) * 1000;
        let mut late = Vec::new();
        for &conn in &self.repl.replicas {
            let Some(client) = self.clients.get_mut(conn) else { continue };
            let Some(replica) = client.replica.as_mut() else { continue };
            match replica.stage {
                Stage::Online if !replica.pre_psync && now > replica.acked_at_ms + timeout => {
                    late.push((conn, "streaming sync"));
                }
                // Newlines keep the link alive while the replica has to wait.
                Stage::WaitsForSnapshot => io.send(conn, b"\n"),
                Stage::ReceivesSnapshot if replica.gathered.is_some() => io.send(conn, b"\n"),
                Stage::ReceivesSnapshot => {
                    // It holds up the others as long as it takes nothing.
                    let unsent = io.conn(conn).map_or(0, |c| c.output.unsent_from());
                    if unsent != replica.unsent_from {
                        (replica.unsent_from, replica.unsent_since_ms) = (unsent, now);
                    } else if io.conn(conn).is_some_and(|c| c.output.pending() > 0)
                        && now > replica.unsent_since_ms + timeout
                    {
                        late.push((conn, "full sync"));
                    }
                }
                _ => {}
            }
        }
        for (conn, what) in late {
            tracing::warn!("Disconnecting timedout replica ({what}): {}", self.peer_name(conn));
            self.close_client(io, conn, false);
        }
        let ttl = self.config.repl_backlog_ttl * 1000;
        if self.repl.replicas.is_empty()
            && self.repl.has_backlog()
            && !self.repl.always_counts
            && self.repl.link.is_none()
            && ttl > 0
            && now > self.repl.alone_since_ms + ttl
        {
            tracing::info!(
                "Replication backlog freed: no replica for {} seconds.",
                self.config.repl_backlog_ttl
            );
            self.repl.drop_backlog(&mut self.rng);
        }
    }

    /// A replica's connection is gone.
    pub(crate) fn replica_gone(&mut self, io: &mut Io, conn: ConnId, client: &Client) {
        if self.repl.replicas.contains(&conn) {
            self.repl.replicas.retain(|&c| c != conn);
            tracing::warn!("Connection with replica {} lost.", client.peer.remote);
            if self.repl.replicas.is_empty() {
                self.repl.alone_since_ms = io.now.mono_ms();
            }
            self.replicas_changed();
        }
    }

    /// Closes all replicas' connections: our history may have changed, they have to ask again.
    pub fn drop_replicas(&mut self, io: &mut Io) {
        for conn in self.repl.replicas.clone() {
            self.close_client(io, conn, false);
        }
    }

    fn peer_name(&self, conn: ConnId) -> String {
        self.clients.get(conn).map(|c| c.peer.remote.clone()).unwrap_or_default()
    }

    fn replicas_changed(&mut self) {
        self.repl.acks_changed = true;
        // A replica that has just come may have what clients wait for.
        self.ask_for_acks();
        self.repl.hold_for_replicas(&self.clients);
    }
}

/// Whether the words of `rdb-filter-only` keep the libraries of functions, the only thing that they can keep.
fn filter(words: &[u8]) -> Result<bool, Error> {
    let words = split_words(words).ok_or("ERR Missing rdb-filter-only values")?;
    match words.iter().find(|word| !word.eq_ignore_ascii_case(b"functions")) {
        Some(word) => {
            let word = String::from_utf8_lossy(word);
            Err(Error::err(format_args!("Unsupported rdb-filter-only option: {word}")))
        }
        None => Ok(!words.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::server::testing::Bench;

    #[test]
    fn nothing_follows_the_mark_at_the_end_of_a_snapshot_until_it_is_acknowledged() {
        let mut b = Bench::new(Config { repl_diskless_sync_delay: 0, ..Config::default() });
        let (client, replica) = (b.connect(), b.connect());
        b.send(replica, "REPLCONF capa eof capa psync2");
        let mut sent = b.send(replica, "PSYNC ? -1");
        for _ in 0..20 {
            b.pass(100);
            b.settle();
            b.send(client, "SET a 1");
            sent += &b.take(replica);
        }
        let mark = &sent.split("$EOF:").nth(1).unwrap()[..40];
        assert!(sent.ends_with(mark), "{sent:?}");
        let stream = b.send(replica, "REPLCONF ACK 0");
        assert_eq!(stream.matches("SET").count(), 20, "{stream:?}");
        b.send(client, "SET a 2");
        assert_eq!(b.take(replica).matches("SET").count(), 1);
    }

    #[test]
    fn a_replica_gets_its_stream_at_once_unless_that_is_disabled() {
        for disabled in [false, true] {
            let mut b = Bench::new(Config { repl_disable_tcp_nodelay: disabled, ..Config::default() });
            let replica = b.connect();
            b.send(replica, "REPLCONF capa eof capa psync2");
            b.send(replica, "PSYNC ? -1");
            let asked: Vec<Tuning> = std::iter::from_fn(|| b.io.next_action())
                .filter_map(|a| match a {
                    Action::Tune { conn, tuning: tuning @ Tuning::NoDelay(_) } if conn == replica => {
                        Some(tuning)
                    }
                    _ => None,
                })
                .collect();
            assert_eq!(asked, [Tuning::NoDelay(!disabled)]);
        }
    }
}
