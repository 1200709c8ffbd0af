//! From bytes to a command's function: parsing, the checks that come before every command, execution, and what its
//! effects set off (propagation, blocked clients, held replies).

use std::time::Instant;

use super::Server;
use super::client::{Blocked, Blocking, Multi, ReplyMode};
use super::effects::Targets;
use super::front;
use super::limits;
use super::slowlog::SlowLog;
use crate::command::{Args, Ctx, Error, Flags, Keys, OwnedArgs, Propagation, Spec, table, transactions};
use crate::io::{ConnId, Io};
use crate::persist::progress::Loading;
use crate::resp::parse::{self, ArgRanges, Bounds, Half, Inline, Parsed, UNAUTHENTICATED_BOUNDS};
use crate::resp::writer::Reply;
use crate::store::keyspace::SEE_ALL;

/// Who wants a command executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client: all checks apply.
    Client,
    /// Our master's stream: whatever it says is done.
    Master,
    /// The append-only file at start.
    Aof,
}

const LOADING: &str = "LOADING Redis is loading the dataset in memory";

/// An argument that is larger than this has room made for it when its beginning has arrived, bytes (as Redis'
/// PROTO_MBULK_BIG_ARG), …
const BIG_ARGUMENT: usize = 32 * 1024;
/// … at most this much ahead of what has arrived, or as much again as that: a length is quickly said.
const MOST_AHEAD: usize = 4 << 20;
/// Room beyond the argument, so that reading its end makes the buffer grow no more.
const READ_AT_ONCE: usize = 16 * 1024;

/// Makes just enough room for what is `missing` of an argument, where a growing buffer would take up to twice as much.
pub(crate) fn make_room_for(input: &mut Vec<u8>, missing: usize) {
    if missing > BIG_ARGUMENT {
        input.reserve_exact(missing.min(MOST_AHEAD.max(input.len())) + READ_AT_ONCE);
    }
}

impl Server {
    /// Serves the requests that a client has sent so far.
    pub(super) fn serve(&mut self, io: &mut Io, conn: ConnId) {
        let Some(c) = io.conn(conn) else { return };
        let input = std::mem::take(&mut c.input);
        let mut out = std::mem::take(&mut self.scratch);
        let mut ahead = std::mem::take(&mut self.ahead);
        let mut half = None;
        if let Some(client) = self.clients.get_mut(conn) {
            client.reading = (input.len(), input.capacity());
            half = client.half.take();
        }
        let (mut at, mut missing) = (0, 0);
        while at < input.len() {
            let Some(client) = self.clients.get(conn) else { break };
            if !self.is_served(conn) {
                break;
            }
            // What a client may send changes once it has said who it is: until then it is read one by one.
            let stranger = self.must_log_in(client);
            let (bounds, limit) = if stranger {
                (UNAUTHENTICATED_BOUNDS, 1)
            } else {
                (
                    Bounds { max_bulk: self.config.proto_max_bulk_len as usize, ..Bounds::default() },
                    usize::MAX,
                )
            };
            if input[at] == b'*' {
                let db = client.db;
                let stopped = ahead.read(&input, &mut at, &bounds, limit, &mut half);
                if ahead.requests().is_empty() {
                    match stopped {
                        Some(Parsed::Invalid(text)) => {
                            self.protocol_error(io, conn, &text, &mut out);
                            at = input.len();
                        }
                        Some(Parsed::Incomplete { need }) => {
                            missing = need;
                            break;
                        }
                        Some(Parsed::Request { .. }) | None => {}
                    }
                    continue;
                }
                if ahead.requests().len() > 1 {
                    ahead.prefetch(&input, &self.keyspace, db);
                }
                self.lap = Some(Instant::now());
                for request in ahead.requests() {
                    at = request.end;
                    self.request(io, conn, request.spec, ahead.args(&input, request), &mut out);
                    self.hand_over(io, conn, &mut out);
                    // Logged out, it may send less than what was read ahead.
                    let strange = self.clients.get(conn).is_some_and(|c| self.must_log_in(c));
                    if !self.is_served(conn) || strange != stranger {
                        break;
                    }
                }
                self.lap = None;
            } else {
                match parse::inline(&input, at, &bounds) {
                    Inline::Words(words, consumed) => {
                        at += consumed;
                        if words.is_empty() {
                            self.note_sign_of_life(io, conn);
                        }
                        let owned = OwnedArgs::collect(words.iter());
                        let args = owned.as_args();
                        self.request(io, conn, table::find(args).ok(), args, &mut out);
                        self.hand_over(io, conn, &mut out);
                    }
                    Inline::Incomplete => break,
                    Inline::Invalid(text) => {
                        self.protocol_error(io, conn, &text, &mut out);
                        at = input.len();
                    }
                }
            }
        }
        if let Some(c) = io.conn(conn) {
            // The buffer goes back with what is left; its capacity only where that is not excessive.
            const KEEP: usize = 64 * 1024;
            if at < input.len() || input.capacity() <= 2 * KEEP {
                let newer = std::mem::replace(&mut c.input, input);
                c.input.drain(..at);
                c.input.extend_from_slice(&newer);
                make_room_for(&mut c.input, missing);
            }
            if !out.is_empty() {
                c.output.append(&mut out);
                io.flush(conn);
            }
        }
        if let Some(client) = self.clients.get_mut(conn) {
            client.reading = (0, 0);
            client.half = half;
        }
        out.clear();
        out.shrink_to(2 * limits::PIECE);
        self.scratch = out;
        self.ahead = ahead;
        self.check_query_buffer(io, conn);
        // A client that is over its own limit takes nobody else with it.
        self.check_output_limit(io, conn);
        self.recount_client(io, conn);
    }

    /// A replica sends empty lines while it loads what it was sent.
    fn note_sign_of_life(&mut self, io: &Io, conn: ConnId) {
        if let Some(replica) = self.clients.get_mut(conn).and_then(|c| c.replica.as_mut()) {
            replica.acked_at_ms = io.now.mono_ms();
        }
    }

    /// A client's requests are being served: it neither waits for something, its own script included, nor is being closed.
    fn is_served(&self, conn: ConnId) -> bool {
        self.clients.get(conn).is_some_and(|c| !c.closing && c.blocked.is_none())
            && !crate::script::run::is_of(&self.scripting.running, conn)
    }

    fn protocol_error(&mut self, io: &mut Io, conn: ConnId, text: &str, out: &mut Vec<u8>) {
        Reply { out, proto: 2 }.error(text);
        tracing::debug!("Protocol error from client: {text}");
        self.close_client(io, conn, true);
    }

    fn check_query_buffer(&mut self, io: &mut Io, conn: ConnId) {
        // What a transaction has queued was sent, too, and has not been served yet.
        let queued = self.clients.get(conn).and_then(|c| c.multi.as_ref()).map_or(0, |m| m.bytes);
        let limit = self.config.client_query_buffer_limit as usize;
        if io.conn(conn).is_some_and(|c| c.input.len() + queued > limit) {
            tracing::warn!("Closing client that reached max query buffer length");
            self.close_client(io, conn, false);
        }
    }

    /// One request of a client, which has been looked up: the reply goes to `out`.
    pub(super) fn request(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        spec: Option<&'static Spec>,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) {
        if args.is_empty() {
            return;
        }
        self.stats.commands_processed += 1;
        let start = out.len();
        let (offset_before, mark_before) = (self.repl.offset(), self.persist.log_mark());
        let Some(client) = self.clients.get_mut(conn) else { return };
        client.last_active_ms = io.now.mono_ms();
        let proto = client.proto;
        // What it is sent is the stream, and nothing else.
        let streams = client.is_replica() && !client.monitor;
        let outer = self.serving.replace(conn);
        if let Err(e) = self.checked(io, conn, spec, args, out) {
            self.stats.count_error(&e.code());
            let proto = self.clients.get(conn).map_or(proto, |c| c.proto);
            Reply { out, proto }.error(&e.text());
        }
        self.after_unit(io);
        self.serving = outer;
        if streams && out.len() > start {
            self.refuse_replica(io, conn, spec, &out[start..]);
            out.truncate(start);
        }
        let pushed = self.own_invalidations();
        let (offset, mark) = (self.repl.offset(), self.persist.log_mark());
        let Some(client) = self.clients.get_mut(conn) else { return };
        if client.multi.is_none()
            && let Some(state) = client.tracking.as_deref_mut()
            && !args.is(0, "client")
        {
            state.caching = false;
        }
        match client.reply_mode {
            ReplyMode::On => {}
            ReplyMode::Off | ReplyMode::Skip => out.truncate(start),
            ReplyMode::SkipNext => {}
        }
        client.reply_mode = match client.reply_mode {
            ReplyMode::SkipNext => ReplyMode::Skip,
            ReplyMode::Skip => ReplyMode::On,
            other => other,
        };
        if mark != mark_before {
            client.log_mark = mark;
        }
        if offset != offset_before {
            client.write_offset = offset;
        }
        let wrote = (offset != offset_before || mark > mark_before) && !client.is_replica();
        // Pushed messages are no replies: they come even where no replies are wanted.
        out.extend_from_slice(&pushed);
        if wrote && self.holds_replies() {
            self.hold_reply(io, conn, start, out);
        }
    }

    /// A replica has sent a command that is answered.
    fn refuse_replica(&mut self, io: &mut Io, conn: ConnId, spec: Option<&'static Spec>, reply: &[u8]) {
        const SHOWN: usize = 128;
        let name = spec.map_or("?", |s| s.name);
        let text = String::from_utf8_lossy(&reply[..reply.len().min(SHOWN)]);
        if let Some(error) = text.strip_prefix('-') {
            tracing::warn!(
                "== CRITICAL == This master is sending an error to its replica: '{}' after processing the command '{name}'",
                error.trim_end()
            );
            self.stats.unexpected_errors += 1;
        }
        tracing::warn!(
            "Replica generated a reply to command '{name}', disconnecting it: {}",
            text.trim_end()
        );
        self.close_client(io, conn, false);
    }

    fn checked(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        spec: Option<&'static Spec>,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let in_multi = self.clients.get(conn).is_some_and(|c| c.multi.is_some());
        let result = self.admit(io, conn, spec, args);
        let spec = match result {
            Ok(spec) => spec,
            Err(_) if table::is_http(args) => {
                tracing::warn!("Possible SECURITY ATTACK: a client sends HTTP, its connection is closed");
                self.close_client(io, conn, false);
                return Ok(());
            }
            Err(e) => {
                // The error says what was wrong; which command it was, if any, has to be asked again.
                if let Ok(spec) = table::called(args) {
                    self.stats.count_rejected(spec.name);
                }
                if let Some(multi) = self.clients.get_mut(conn).and_then(|c| c.multi.as_mut()) {
                    multi.failed = true;
                }
                if args.is(0, "exec") {
                    self.discard_transaction(conn);
                    return Err(transactions::exec_abort(&e));
                }
                return Err(e);
            }
        };
        // It may have been closed to make room.
        if self.clients.get(conn).is_none_or(|c| c.closing) {
            return Ok(());
        }
        self.limit_tracking();
        // Keys that went to make room were there before this command.
        self.send_invalidations(io);
        self.push_before_reply(conn, out);
        let is_queued = in_multi && !table::runs_inside_multi(spec.name);
        let waits = self.must_pause(io, conn, spec, args)
            || (!is_queued && self.must_wait_for_migration(conn, spec, args));
        if is_queued && !waits {
            let flags = self.flags_of(spec, args);
            let Some(client) = self.clients.get_mut(conn) else { return Ok(()) };
            let proto = client.proto;
            let multi = client.multi.get_or_insert_with(Multi::default);
            multi.may_replicate |= flags.any(Flags::WRITE | Flags::MAY_REPLICATE);
            multi.push(spec, flags, args.to_owned());
            Reply { out, proto }.simple("QUEUED");
            return Ok(());
        }
        if waits {
            if let Some(client) = self.clients.get_mut(conn) {
                client.blocked = Some(Blocking { on: Blocked::Paused(args.to_owned()), deadline_ms: 0 });
                self.blocked_clients += 1;
            }
            return Ok(());
        }
        self.call(io, conn, spec, args, Origin::Client, out);
        Ok(())
    }

    /// The checks before a client's command, in Redis' order; the command if it may run.
    fn admit(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        spec: Option<&'static Spec>,
        args: Args<'_>,
    ) -> Result<&'static Spec, Error> {
        // Looked up again, a command that is not there says what is wrong with it.
        let spec = spec.map_or_else(|| table::find(args), Ok)?;
        let Some(client) = self.clients.get(conn) else { return Ok(spec) };
        if self.must_log_in(client) && !spec.flags.any(Flags::NO_AUTH) {
            return Err("NOAUTH Authentication required.".into());
        }
        if client.multi.is_some() && spec.flags.any(Flags::NO_MULTI) {
            return Err("ERR Command not allowed inside a transaction".into());
        }
        self.check_permission(io, conn, false, spec, args).map_err(|d| d.error(spec))?;
        let Some(client) = self.clients.get(conn) else { return Ok(spec) };
        // EXEC may do what all of its commands may, and does what one of them does.
        let multi = client.multi.as_ref();
        let queued = multi.filter(|_| spec.name == "exec");
        let flags = self.flags_of(spec, args);
        let does = queued.map_or(flags, |m| m.some.with(flags));
        let may = queued.map_or(flags, |m| Flags(m.all.0 & flags.0));
        // What is queued takes memory, whatever it does.
        let queues = multi.is_some() && !matches!(spec.name, "exec" | "discard" | "quit" | "reset");
        let grows = does.any(Flags::DENYOOM) || queues;
        let copies = client.is_replica() && !client.monitor;
        let silenced = client.subscribed() && client.proto == 2;
        if let Some(busy) = self.busy_refusal(spec) {
            let loads = self.loading && !spec.flags.any(Flags::LOADING);
            return Err(if loads { LOADING.into() } else { busy });
        }
        self.redirect(conn, spec, args)?;
        self.evict_clients_over_limit(io);
        if self.config.maxmemory > 0 && !self.make_room(io) && grows {
            return Err("OOM command not allowed when used memory > 'maxmemory'.".into());
        }
        if does.any(Flags::WRITE) {
            self.refuse_write(io)?;
        } else if spec.name == "ping" && self.managed.is_none() {
            // Who asks whether it is well is told so. Under a shard map its authority asks otherwise.
            self.disk_refusal()?;
        }
        if silenced && !table::allowed_while_subscribed(spec.name) {
            return Err(Error::err(format_args!(
                "Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
                 context",
                spec.name
            )));
        }
        if !may.any(Flags::STALE) && !self.config.replica_serve_stale_data && !self.repl.link_is_up() {
            return Err(
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.".into()
            );
        }
        if self.loading && !may.any(Flags::LOADING) {
            return Err(LOADING.into());
        }
        if spec.flags.any(Flags::NO_ASYNC_LOADING) && self.load_state() == Loading::Async {
            return Err(LOADING.into());
        }
        if copies && spec.flags.any(Flags::WRITE | Flags::READONLY) {
            return Err("ERR Replica can't interact with the keyspace".into());
        }
        Ok(spec)
    }

    /// Refuses a write where the state of files, replicas or the role forbids it.
    pub(crate) fn refuse_write(&self, io: &Io) -> Result<(), Error> {
        if self.is_master() {
            self.disk_refusal()?;
            let is_new = || self.managed.as_ref().is_some_and(|m| m.is_new_master(io.now));
            if !self.repl.enough_replicas(&self.clients, &self.config, io.now) && !is_new() {
                return Err("NOREPLICAS Not enough good replicas to write.".into());
            }
        }
        self.role_refuses_writes(io.now).map_or(Ok(()), Err)
    }

    /// Refuses where files cannot be written, on a master: what PING is refused for, too.
    fn disk_refusal(&self) -> Result<(), Error> {
        let refusal = self.write_refusal().filter(|_| self.is_master());
        refusal.map_or(Ok(()), |text| Err(Error::Text(text.into())))
    }

    /// Why a master refuses writes, where files are the reason: they cannot be written, or one that replies wait for is
    /// not kept.
    pub(crate) fn write_refusal(&self) -> Option<String> {
        self.persist.write_refusal(&self.config).or_else(|| self.ack_refusal().map(str::to_owned))
    }

    /// Runs a command and takes over its effects. Errors become the reply.
    pub(crate) fn call(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        spec: &'static Spec,
        args: Args<'_>,
        origin: Origin,
        out: &mut Vec<u8>,
    ) -> bool {
        // Of a pipeline, each command begins where the one before ended.
        let lap = self.lap.take();
        let started = lap.unwrap_or_else(Instant::now);
        self.frozen = self.paused(io.now);
        let (db, proto) = match self.clients.get_mut(conn) {
            Some(client) => {
                // Of a transaction it is EXEC.
                if !self.in_exec {
                    client.last_command = spec.name;
                }
                self.no_touch = client.no_touch;
                (client.db, client.proto)
            }
            None => {
                self.no_touch = false;
                (self.origin_db, 2)
            }
        };
        crate::system::watchdog::running(spec.name);
        // A command that has waited was counted, and shown, when it came.
        let again = self.woken_by.is_some();
        let before = self.effects.dirty;
        let now_ms = if origin == Origin::Client { io.now.unix_ms } else { SEE_ALL };
        let mut ctx = Ctx {
            keys: Keys { server: self, db, origin, now_ms },
            io,
            conn,
            args,
            reply: Reply { out, proto },
            spec,
            propagation: Propagation::IfDirty,
        };
        let result = if ctx.keys.server.is_front() && spec.flags.any(Flags::SENTINEL) {
            front::leave(&mut ctx);
            Ok(())
        } else {
            (spec.handler)(&mut ctx)
        };
        let propagation = ctx.propagation;
        let dirty = self.effects.dirty != before;
        if self.propagates(origin) {
            match propagation {
                Propagation::IfDirty if dirty => self.effects.add_args(db, args),
                Propagation::Always => self.effects.add_args(db, args),
                Propagation::Message => self.effects.add_message(db, args),
                Propagation::IfDirty | Propagation::Done => {}
            }
        }
        let failed = result.is_err();
        if let Err(e) = result {
            if !matches!(e, Error::Counted(_)) {
                self.stats.count_error(&e.code());
            }
            Reply { out, proto }.error(&e.text());
        }
        if origin == Origin::Client && !self.in_script() {
            self.track_reads(conn, spec, args);
        }
        let ended = Instant::now();
        let took = ended - started;
        self.lap = lap.and(Some(ended));
        if !self.in_unit() {
            io.catch_up(ended);
        }
        if again {
            // That it failed comes out only now.
            self.stats.count_failed(spec.name, failed);
        } else {
            let event = if spec.flags.any(Flags::FAST) { "fast-command" } else { "command" };
            self.latency_sample(event, took.as_millis() as u64);
            self.stats.count_call(spec.name, took, failed, self.config.latency_tracking);
        }
        if SlowLog::wants(&self.config, took) && !spec.flags.any(Flags::SKIP_SLOWLOG) {
            let client = self.clients.get(conn);
            let peer = client.map(|c| c.peer.remote.clone()).unwrap_or_default();
            let name = client.map(|c| c.name.clone()).unwrap_or_default();
            self.slowlog.add(spec, args, io.now.unix_ms / 1000, took, peer, name);
            self.slowlog.trim(&self.config);
        }
        if !self.monitors.is_empty() && !again && !spec.flags.any(Flags::SKIP_MONITOR | Flags::ADMIN) {
            self.show_to_monitors(io, conn, db, spec, args, origin);
        }
        !failed
    }

    /// Effects are kept where somebody keeps or follows them; the master's stream is passed on as it is.
    pub(crate) fn propagates(&self, origin: Origin) -> bool {
        match origin {
            Origin::Client => self.persist.aof_on() || self.repl.has_backlog(),
            // The link records the stream as it came.
            Origin::Master | Origin::Aof => false,
        }
    }

    /// After a command or transaction: its effects leave as one unit, and clients that waited for a key are served.
    pub(crate) fn after_unit(&mut self, io: &mut Io) {
        if self.in_script() {
            return;
        }
        self.release_effects();
        self.announce_pending(io);
        while let Some((db, key)) = self.ready_keys.pop_front() {
            self.serve_blocked_on(io, db, &key);
        }
        self.send_invalidations(io);
    }

    /// The same, but not in the middle of what is to leave as a whole.
    pub(crate) fn release_unless_in_unit(&mut self) {
        if !self.in_unit() {
            self.release_effects();
        }
    }

    /// A transaction or a script is under way: no moment for a snapshot, which would have half of it.
    pub(crate) fn in_unit(&self) -> bool {
        self.in_exec || self.in_script()
    }

    /// Hands the collected effects to the append-only file and the replication stream.
    pub(crate) fn release_effects(&mut self) {
        // What a script has changed leaves together, once it has ended.
        if self.in_script() {
            return;
        }
        let dirty = std::mem::take(&mut self.effects.dirty);
        self.persist.dirty += dirty;
        if self.effects.is_empty() {
            return;
        }
        if self.effects.is_divided() {
            return self.release_divided();
        }
        let changes_data = self.effects.changes_data();
        let mut unit = std::mem::take(&mut self.unit);
        self.effects.drain_into(&mut unit, &mut self.selected_db);
        if !changes_data {
            // The log has not seen which database was selected.
            self.selected_db = None;
        } else if self.persist.aof_on() {
            self.feed_log(&unit, self.repl.offset());
        }
        if self.is_master() {
            self.repl.feed(&unit);
        }
        unit.clear();
        self.unit = unit;
    }

    /// The same where file and replicas do not get the same.
    fn release_divided(&mut self) {
        let (mut log, mut stream) = (Vec::new(), Vec::new());
        self.effects.write(Targets::LOG, &mut log, &mut None);
        self.effects.write(Targets::REPLICAS, &mut stream, &mut None);
        self.effects.clear();
        self.selected_db = None;
        if self.persist.aof_on() && !log.is_empty() {
            self.feed_log(&log, self.repl.offset());
        }
        if self.is_master() && !stream.is_empty() {
            self.repl.feed(&stream);
        }
    }

    /// A command of the master's stream or the append-only file; `conn` need not be a client.
    pub(crate) fn apply(
        &mut self,
        io: &mut Io,
        conn: ConnId,
        spec: &'static Spec,
        args: Args<'_>,
        origin: Origin,
    ) -> Result<(), Error> {
        let mut sink = std::mem::take(&mut self.apply_sink);
        sink.clear();
        self.call(io, conn, spec, args, origin, &mut sink);
        let error = sink.strip_prefix(b"-").map(|e| String::from_utf8_lossy(e).trim_end().to_owned());
        self.apply_sink = sink;
        error.map_or(Ok(()), |text| Err(Error::Text(text.into())))
    }

    /// Argument ranges of a stream's next command, for the loops that read streams.
    pub(crate) fn next_command(
        buf: &[u8],
        at: usize,
        ranges: &mut ArgRanges,
        half: &mut Option<Box<Half>>,
    ) -> Parsed {
        if buf.get(at).is_some_and(|&b| b == b'\n') {
            // Newlines keep a link alive while its master prepares something.
            ranges.0.clear();
            return Parsed::Request { consumed: 1 };
        }
        match buf.get(at) {
            Some(b'*') => {
                ranges.0.clear();
                let bounds = Bounds { max_args: usize::MAX >> 8, ..Bounds::default() };
                parse::further_request(buf, at, &bounds, ranges, half)
            }
            Some(_) => Parsed::Invalid("expected '*'".into()),
            None => Parsed::Incomplete { need: 0 },
        }
    }
}
