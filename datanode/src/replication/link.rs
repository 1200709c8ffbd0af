//! The replica's side: a link to the master that is made, introduced, synchronised and followed; and made again
//! whenever it breaks.

use super::transfer::Transfer;
use crate::command::OwnedArgs;
use crate::disk;
use crate::io::{Action, ConnId, ConnectError, Gone, Io, LinkToken, Peer};
use crate::logging::{self, Role};
use crate::replication::parse_offset;
use crate::resp::encode_command;
use crate::resp::parse::Half;
use crate::resp::reader;
use crate::server::Server;

/// Pause between two attempts to connect, milliseconds.
const RETRY_MS: u64 = 1000;
/// The same under a shard map, where seconds of a replica's absence hold up writes, milliseconds.
const MANAGED_RETRY_MS: u64 = 100;
/// Limit for one attempt to connect, milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 5000;
/// How often the offset is acknowledged without being asked, milliseconds.
const ACK_PERIOD_MS: u64 = 1000;
/// What the log says when the connection ends.
const LOST: &str = "Connection with master lost.";

/// How far the link is.
enum State {
    /// Nothing is under way; the next attempt starts at this monotonic millisecond.
    Idle { retry_at_ms: u64 },
    /// A connection is being made.
    Connecting(LinkToken),
    /// Introducing ourselves: what is to be sent and answered next.
    Handshake(Step),
    /// The snapshot is arriving.
    Receiving(Box<Transfer>),
    /// It is being loaded; this is its replication id.
    Loading(String),
    /// The stream is flowing.
    Online,
}

/// Steps of the handshake, each a command that is answered before the next is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ping,
    Auth,
    Port,
    Address,
    Capabilities,
    Epoch,
    Psync,
}

/// The link to our master.
pub struct MasterLink {
    /// Where the master is.
    pub host: String,
    /// Its port.
    pub port: u16,
    state: State,
    conn: Option<ConnId>,
    /// Both ends of the connection, as `CLIENT KILL` names them.
    peer: Peer,
    /// Monotonic milliseconds when bytes last arrived.
    pub last_io_ms: u64,
    /// Monotonic milliseconds since when the link is down.
    pub down_since_ms: u64,
    acked_at_ms: u64,
    /// A transaction of the stream that has not been closed by EXEC yet.
    pub(super) transaction: Option<Vec<OwnedArgs>>,
    /// A command of the stream of which only the first part has arrived.
    pub(super) half: Option<Box<Half>>,
    /// `CLIENT PAUSE` holds up the stream.
    pub(super) waits: bool,
}

impl MasterLink {
    /// A link that is going to be made at the next opportunity.
    pub fn new(host: String, port: u16, now_ms: u64) -> Self {
        MasterLink {
            host,
            port,
            state: State::Idle { retry_at_ms: now_ms },
            conn: None,
            peer: Peer::default(),
            last_io_ms: now_ms,
            down_since_ms: now_ms,
            acked_at_ms: 0,
            transaction: None,
            half: None,
            waits: false,
        }
    }

    /// Its connection, once there is one.
    pub fn conn(&self) -> Option<ConnId> {
        self.conn
    }

    /// Its ends, while there is a connection.
    pub fn peer(&self) -> Option<&Peer> {
        self.conn.and(Some(&self.peer))
    }

    /// The stream is flowing.
    pub fn is_online(&self) -> bool {
        matches!(self.state, State::Online)
    }

    /// A snapshot is arriving.
    pub fn is_syncing(&self) -> bool {
        matches!(self.state, State::Receiving(_) | State::Loading(_))
    }

    /// The replication id of the snapshot that is arriving or being loaded.
    pub fn syncing_id(&self) -> Option<&str> {
        match &self.state {
            State::Receiving(t) => Some(&t.id),
            State::Loading(id) => Some(id),
            _ => None,
        }
    }

    /// Bytes of the snapshot received so far, and how many are missing where that is known.
    pub fn progress(&self) -> Option<(u64, Option<u64>)> {
        match &self.state {
            State::Receiving(t) => Some(t.progress()),
            _ => None,
        }
    }

    /// The name ROLE gives to the link's state.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Idle { .. } => "connect",
            State::Connecting(_) => "connecting",
            State::Handshake(_) => "handshake",
            State::Receiving(_) | State::Loading(_) => "sync",
            State::Online => "connected",
        }
    }
}

impl Server {
    /// Follows another master, or none (`REPLICAOF`). The data and, where possible, the history are kept.
    pub fn follow(&mut self, io: &mut Io, master: Option<(String, u16)>) {
        if let Some(link) = &self.repl.link
            && let Some((host, port)) = &master
            && link.host == *host
            && link.port == *port
        {
            return;
        }
        let had_link = self.unfollow(io);
        match master {
            Some((host, port)) => {
                tracing::info!(
                    "Before turning into a replica, using my own master parameters to synthesize a cached master: I may be able to synchronize with the new master with just a partial transfer."
                );
                self.repl.ensure_backlog(&self.config);
                if self.managed.is_some() {
                    self.drop_replicas(io);
                }
                self.drop_held(io);
                // Without a shard map they stay: only another history is a reason to ask anew.
                self.unblock_all(io, "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)");
                self.repl.link = Some(MasterLink::new(host, port, io.now.mono_ms()));
                logging::set_role(Role::Replica);
                self.link_cron(io);
            }
            None if had_link => {
                self.begin_history(io);
                tracing::info!("MASTER MODE enabled");
            }
            None => {}
        }
    }

    /// Follows nobody any more, and knows where it was: with whoever goes on with that history it can continue. False if
    /// it followed nobody.
    pub(crate) fn unfollow(&mut self, io: &mut Io) -> bool {
        let had_link = self.repl.link.is_some();
        self.close_link(io);
        self.repl.link = None;
        self.own_expires.clear();
        self.release_effects();
        self.selected_db = None;
        self.repl.alone_since_ms = io.now.mono_ms();
        had_link
    }

    /// What was applied so far is a history that others share; from here on it is ours.
    pub(crate) fn begin_history(&mut self, io: &mut Io) {
        self.repl.fork(&mut self.rng);
        self.drop_replicas(io);
        self.repl.ensure_backlog(&self.config);
        logging::set_role(Role::Master);
    }

    fn close_link(&mut self, io: &mut Io) {
        let Some(link) = self.repl.link.as_mut() else { return };
        if let Some(conn) = link.conn.take() {
            io.hang_up(conn);
        }
        if let State::Receiving(t) = &link.state {
            let _ = self.disk.remove(&t.temp);
        }
        (link.transaction, link.half) = (None, None);
        link.state = State::Idle { retry_at_ms: io.now.mono_ms() };
    }

    /// Starts due attempts, notices a silent master, acknowledges. At every tick.
    pub(crate) fn link_cron(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        let timeout = u64::from(self.config.repl_timeout) * 1000;
        let Some(link) = self.repl.link.as_mut() else { return };
        if let Some(conn) = link.conn.filter(|_| link.waits && self.client_pause.until_ms <= now) {
            link.waits = false;
            self.resume.push(conn);
        }
        match link.state {
            State::Idle { retry_at_ms } if now >= retry_at_ms => {
                self.next_token += 1;
                let token = LinkToken(self.next_token);
                link.state = State::Connecting(token);
                let (host, port) = (link.host.clone(), link.port);
                tracing::info!("Connecting to MASTER {host}:{port}");
                io.ask(Action::Connect { token, host, port, timeout_ms: CONNECT_TIMEOUT_MS });
            }
            State::Online if now > link.last_io_ms + timeout => {
                self.link_failed(io, "MASTER timeout: no data nor PING received...")
            }
            State::Receiving(_) | State::Handshake(_) if now > link.last_io_ms + timeout => {
                self.link_failed(io, "Timeout connecting to the MASTER...");
            }
            State::Online if now >= link.acked_at_ms + ACK_PERIOD_MS => self.acknowledge(io),
            _ => {}
        }
    }

    pub(super) fn link_failed(&mut self, io: &mut Io, why: &str) {
        let managed = self.managed.is_some();
        let Some(link) = self.repl.link.as_mut() else { return };
        tracing::warn!("{why}");
        let was_online = link.is_online();
        if was_online {
            link.down_since_ms = io.now.mono_ms();
        }
        self.close_link(io);
        if let Some(link) = self.repl.link.as_mut() {
            // What worked a moment ago is tried again at once.
            let pause = match () {
                () if was_online => {
                    tracing::info!("Reconnecting to MASTER {}:{}", link.host, link.port);
                    0
                }
                () if managed => MANAGED_RETRY_MS,
                () => RETRY_MS,
            };
            link.state = State::Idle { retry_at_ms: io.now.mono_ms() + pause };
        }
    }

    /// Tells the master how far we are.
    pub(crate) fn acknowledge(&mut self, io: &mut Io) {
        let offset = self.persist.handed_over(self.repl.offset());
        if !self.may_acknowledge() || self.persist.is_abandoned() {
            return;
        }
        let durable = self.persist.durable_offset(offset);
        // Under a shard map that waits for disks nothing else is said of what is in memory alone, to no master.
        let waits = self.managed.is_some() && self.write_acks().fsync;
        let offset = durable.filter(|_| waits).unwrap_or(offset);
        let Some(link) = self.repl.link.as_mut() else { return };
        let (Some(conn), State::Online) = (link.conn, &link.state) else { return };
        link.acked_at_ms = io.now.mono_ms();
        let mut out = Vec::new();
        let offset = offset.to_string();
        match durable {
            Some(d) => encode_command(&mut out, &["REPLCONF", "ACK", &offset, "FACK", &d.to_string()]),
            None => encode_command(&mut out, &["REPLCONF", "ACK", &offset]),
        }
        io.send(conn, &out);
    }

    /// Has the master know that we are alive, while we load what it has sent.
    pub(crate) fn greet_while_loading(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        if let Some(link) = self.repl.link.as_mut()
            && let (Some(conn), State::Loading(_)) = (link.conn, &link.state)
            && now >= link.acked_at_ms + ACK_PERIOD_MS
        {
            link.acked_at_ms = now;
            io.send(conn, b"\n");
        }
    }

    pub(crate) fn link_connected(
        &mut self,
        io: &mut Io,
        token: LinkToken,
        result: Result<(ConnId, Peer), ConnectError>,
    ) {
        let expected =
            self.repl.link.as_ref().is_some_and(|l| matches!(l.state, State::Connecting(t) if t == token));
        match result {
            Ok((conn, _)) if !expected => io.close(conn, false),
            Ok((conn, peer)) => {
                let Some(link) = self.repl.link.as_mut() else { return };
                tracing::info!("MASTER <-> REPLICA sync started");
                link.conn = Some(conn);
                link.peer = peer;
                link.last_io_ms = io.now.mono_ms();
                self.handshake(io, Step::Ping);
            }
            Err(e) if expected => self.link_failed(io, &format!("Error condition on socket for SYNC: {e}")),
            Err(_) => {}
        }
    }

    pub(crate) fn link_closed(&mut self, io: &mut Io, why: Gone) {
        if let Some(link) = self.repl.link.as_mut() {
            link.conn = None;
        }
        if why != Gone::Asked {
            self.link_failed(io, LOST);
        }
    }

    /// How this node logs in at its master and at other members; none without a password.
    pub(crate) fn login_at_members(&self) -> Option<Vec<String>> {
        let (user, password) = (&self.config.masteruser, &self.config.masterauth);
        if password.is_empty() {
            return None;
        }
        let words = [Some("AUTH"), Some(user.as_str()).filter(|u| !u.is_empty()), Some(password)];
        Some(words.into_iter().flatten().map(str::to_owned).collect())
    }

    /// Closes the connection to the master for somebody who asks for that; another one is made as after any loss.
    pub fn cut_link(&mut self, io: &mut Io) {
        self.link_failed(io, LOST);
    }

    /// Sends a step's command, or goes on to the next step where there is nothing to say.
    fn handshake(&mut self, io: &mut Io, step: Step) {
        let command: Option<Vec<String>> = match step {
            Step::Ping => Some(vec!["PING".into()]),
            Step::Auth => self.login_at_members(),
            Step::Port => {
                let port = match self.config.replica_announce_port {
                    0 => self.config.port,
                    announced => announced,
                };
                Some(vec!["REPLCONF".into(), "listening-port".into(), port.to_string()])
            }
            Step::Address if self.config.replica_announce_ip.is_empty() => None,
            Step::Address => {
                Some(vec!["REPLCONF".into(), "ip-address".into(), self.config.replica_announce_ip.clone()])
            }
            Step::Capabilities => {
                Some(["REPLCONF", "capa", "eof", "capa", "psync2"].iter().map(|s| (*s).to_owned()).collect())
            }
            Step::Epoch => self.introduce_member(),
            Step::Psync => {
                let (id, from) = (self.repl.id.clone(), self.repl.offset() + 1);
                let mut words = if !self.repl.has_history {
                    vec!["PSYNC".into(), "?".into(), "-1".into()]
                } else {
                    tracing::info!("Trying a partial resynchronization (request {id}:{from}).");
                    vec!["PSYNC".into(), id, from.to_string()]
                };
                words.extend(self.repl.failover.as_ref().map(|_| "FAILOVER".into()));
                Some(words)
            }
        };
        let Some(link) = self.repl.link.as_mut() else { return };
        link.state = State::Handshake(step);
        match (command, link.conn) {
            (Some(words), Some(conn)) => {
                let mut out = Vec::new();
                encode_command(&mut out, &words);
                io.send(conn, &out);
            }
            _ => self.handshake(io, step.next()),
        }
    }

    /// Bytes from the master have arrived.
    pub(crate) fn link_received(&mut self, io: &mut Io) {
        let Some(link) = self.repl.link.as_mut() else { return };
        let Some(conn) = link.conn else { return };
        link.last_io_ms = io.now.mono_ms();
        loop {
            let Some(link) = self.repl.link.as_mut() else { return };
            if link.conn != Some(conn) {
                return;
            }
            let went_on = match &link.state {
                State::Handshake(step) => {
                    let step = *step;
                    self.handshake_reply(io, conn, step)
                }
                State::Receiving(_) => self.receive_snapshot(io, conn),
                State::Online => {
                    self.follow_stream(io, conn);
                    false
                }
                State::Idle { .. } | State::Connecting(_) | State::Loading(_) => false,
            };
            if !went_on {
                return;
            }
        }
    }

    /// Handles the reply to a handshake step; false if it is not whole yet.
    fn handshake_reply(&mut self, io: &mut Io, conn: ConnId, step: Step) -> bool {
        let Some(c) = io.conn(conn) else { return false };
        let newlines = c.input.iter().take_while(|&&b| b == b'\n').count();
        c.input.drain(..newlines);
        let value = match reader::take(&mut c.input, reader::MAX_SHORT_REPLY) {
            Ok(Some(value)) => value,
            Ok(None) => return false,
            Err(e) => {
                self.link_failed(io, &format!("Master's reply cannot be understood: {e}"));
                return false;
            }
        };
        let text = match &value {
            reader::Value::Error(e) => format!("-{e}"),
            other => other.text().unwrap_or_default(),
        };
        match step {
            Step::Psync => return self.psync_reply(io, &text),
            Step::Ping if text.starts_with("-NOAUTH") || text.starts_with("-NOPERM") || text == "PONG" => {}
            Step::Ping | Step::Auth | Step::Epoch if text.starts_with('-') => {
                self.link_failed(
                    io,
                    &match step {
                        Step::Ping => format!("Error reply to PING from master: '{text}'"),
                        Step::Auth => format!("Unable to AUTH to MASTER: {text}"),
                        _ => format!("{step:?} with MASTER failed: {text}"),
                    },
                );
                return false;
            }
            Step::Epoch => {
                if let Err(why) = self.check_master(&text) {
                    self.link_failed(io, &why);
                    return false;
                }
            }
            // A master that does not know an option can still be followed.
            _ if text.starts_with('-') => {
                tracing::info!("(Non critical) Master does not understand {step:?}: {text}")
            }
            _ => {}
        }
        self.handshake(io, step.next());
        true
    }

    fn psync_reply(&mut self, io: &mut Io, text: &str) -> bool {
        let mut words = text.split(' ');
        if text.starts_with("CONTINUE") || text.starts_with("FULLRESYNC") {
            self.failover_done();
        } else if self.abort_failover(io, "Failover target rejected psync request") {
            return false;
        }
        match (words.next(), words.next(), words.next()) {
            (Some("CONTINUE"), id, _) => {
                tracing::info!("Successful partial resynchronization with master.");
                if let Some(id) = id.filter(|id| id.len() == 40) {
                    if id != self.repl.id {
                        tracing::info!("Master replication ID changed to {id}");
                        self.drop_replicas(io);
                    }
                    self.repl.rename(id);
                }
                self.repl.ensure_backlog(&self.config);
                self.link_online(io);
                true
            }
            (Some("FULLRESYNC"), Some(id), Some(offset)) if id.len() == 40 => {
                let Some(offset) = parse_offset(offset) else {
                    self.link_failed(io, "Master's FULLRESYNC reply has no offset");
                    return false;
                };
                tracing::info!("Full resync from master: {id}:{offset}");
                self.begin_transfer(io, id.to_owned(), offset)
            }
            _ => {
                let why = match text.strip_prefix('-') {
                    Some(e) if e.starts_with("NOMASTERLINK") || e.starts_with("LOADING") => {
                        format!("MASTER is currently unable to PSYNC but should be in the future: {text}")
                    }
                    _ => format!("Unexpected reply to PSYNC from master: {text}"),
                };
                self.link_failed(io, &why);
                false
            }
        }
    }

    fn begin_transfer(&mut self, io: &mut Io, id: String, offset: u64) -> bool {
        let temp = disk::temp_name(&self.synced_path());
        match self.disk.create(&temp) {
            Ok(file) => {
                let transfer = Transfer::new(id, offset, temp, file);
                if let Some(link) = self.repl.link.as_mut() {
                    link.state = State::Receiving(Box::new(transfer));
                }
                self.log_sync_load();
                true
            }
            Err(e) => {
                self.link_failed(
                    io,
                    &format!("Opening the temp file needed for MASTER <-> REPLICA synchronization: {e}"),
                );
                false
            }
        }
    }

    /// Takes over what has arrived of the snapshot; true if it is complete and the stream may follow.
    fn receive_snapshot(&mut self, io: &mut Io, conn: ConnId) -> bool {
        let Some(link) = self.repl.link.as_mut() else { return false };
        let State::Receiving(t) = &mut link.state else { return false };
        let Some(c) = io.conn(conn) else { return false };
        let before = c.input.len();
        let taken = t.take(&mut c.input);
        self.stats.repl_input_bytes += before.saturating_sub(c.input.len()) as u64;
        match taken {
            Ok(true) => self.adopt_snapshot(io),
            Ok(false) => false,
            Err(e) => {
                self.link_failed(io, &format!("I/O error trying to sync with MASTER: {e}"));
                false
            }
        }
    }

    /// The snapshot is complete: it is loaded beside the present data, and only when that has succeeded does it take
    /// their place, in memory and on disk.
    fn adopt_snapshot(&mut self, io: &mut Io) -> bool {
        let Some(link) = self.repl.link.as_mut() else { return false };
        let conn = link.conn;
        let State::Receiving(t) = std::mem::replace(&mut link.state, State::Loading(String::new())) else {
            return false;
        };
        link.state = State::Loading(t.id.clone());
        self.log_load_of_received();
        if let Err(e) =
            t.file.sync().map_err(|e| e.to_string()).and_then(|()| self.load_snapshot_of_master(io, &t.temp))
        {
            let _ = self.disk.remove(&t.temp);
            self.link_failed(io, &format!("Failed trying to load the MASTER synchronization DB: {e}"));
            return false;
        }
        self.repl.reset_to(&t.id, t.offset, &self.config);
        self.drop_replicas(io);
        self.touch_all_watched();
        self.all_keys_changed(io);
        self.selected_db = None;
        self.origin_db = 0;
        if let Err(e) = self.adopt_synced_file(io, &t.temp) {
            self.link_failed(io, &format!("The received snapshot could not be made the local file: {e}"));
            // Data in memory and on disk differ now; what is acknowledged must be on disk.
            self.repl.reset_to(crate::replication::NO_ID, 0, &self.config);
            return false;
        }
        tracing::info!("MASTER <-> REPLICA sync: Finished with success");
        if self.repl.link_conn().is_none() || self.repl.link_conn() != conn {
            // The connection ended meanwhile: another one goes on from where this one was.
            return false;
        }
        self.link_online(io);
        true
    }

    fn link_online(&mut self, io: &mut Io) {
        if let Some(link) = self.repl.link.as_mut() {
            link.state = State::Online;
            (link.transaction, link.half) = (None, None);
        }
        self.selected_db = None;
        self.followed_master(io);
        self.acknowledge(io);
    }
}

impl Step {
    fn next(self) -> Step {
        match self {
            Step::Ping => Step::Auth,
            Step::Auth => Step::Port,
            Step::Port => Step::Address,
            Step::Address => Step::Capabilities,
            Step::Capabilities => Step::Epoch,
            Step::Epoch | Step::Psync => Step::Psync,
        }
    }
}
