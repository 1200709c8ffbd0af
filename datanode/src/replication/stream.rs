//! The replica's side: the master's stream, applied.

use crate::command::{Args, Flags, table};
use crate::config::types::PropagationError;
use crate::io::{ConnId, Io};
use crate::resp::parse::{ArgRanges, Parsed};
use crate::server::Server;
use crate::server::dispatch::{Origin, make_room_for};

impl Server {
    /// Applies the commands of the stream that have arrived.
    pub(super) fn follow_stream(&mut self, io: &mut Io, conn: ConnId) {
        let Some(c) = io.conn(conn) else { return };
        let input = std::mem::take(&mut c.input);
        let mut half = self.repl.link.as_mut().and_then(|link| link.half.take());
        let mut ranges = ArgRanges::default();
        let (mut at, mut missing) = (0, 0);
        let mut asked = false;
        while at < input.len() {
            match Server::next_command(&input, at, &mut ranges, &mut half) {
                Parsed::Request { consumed } => {
                    let raw = &input[at..at + consumed];
                    let args = Args::new(&input, &ranges);
                    if self.stream_waits(io, args) {
                        break;
                    }
                    at += consumed;
                    asked |= args.is(0, "replconf") && args.is(1, "getack");
                    self.apply_from_master(io, args, raw);
                }
                Parsed::Incomplete { need } => {
                    missing = need;
                    break;
                }
                Parsed::Invalid(text) => {
                    self.link_failed(io, &format!("The master's stream cannot be understood: {text}"));
                    return;
                }
            }
            if self.repl.link_conn() != Some(conn) {
                return;
            }
        }
        if let Some(link) = self.repl.link.as_mut() {
            link.half = half;
        }
        if let Some(c) = io.conn(conn) {
            let newer = std::mem::replace(&mut c.input, input);
            c.input.drain(..at);
            c.input.extend_from_slice(&newer);
            make_room_for(&mut c.input, missing);
        }
        self.stats.repl_input_bytes += at as u64;
        if asked || self.acks_at_once() {
            self.ack_due = true;
        }
    }

    /// Notes whether a command of the stream has to wait for the end of `CLIENT PAUSE`, and all that follow it.
    fn stream_waits(&mut self, io: &Io, args: Args<'_>) -> bool {
        let changes = || table::find(args).is_ok_and(|s| s.flags.any(Flags::WRITE | Flags::MAY_REPLICATE));
        let waits = self.client_pause.until_ms > io.now.mono_ms() && (self.client_pause.all || changes());
        if let Some(link) = self.repl.link.as_mut() {
            link.waits = waits;
        }
        waits
    }

    /// One command of the stream. A transaction is applied as a whole, at its EXEC.
    fn apply_from_master(&mut self, io: &mut Io, args: Args<'_>, raw: &[u8]) {
        self.note_applied(args, raw);
        // Backlog and sub-replicas get the stream byte for byte.
        self.repl.feed(raw);
        if args.is_empty() || args.is(0, "ping") || args.is(0, "replconf") {
            return;
        }
        let Some(link) = self.repl.link.as_mut() else { return };
        if args.is(0, "multi") {
            link.transaction = Some(Vec::new());
        } else if args.is(0, "exec") {
            for command in link.transaction.take().unwrap_or_default() {
                self.apply_one(io, command.as_args());
            }
            self.after_unit(io);
        } else if let Some(queue) = &mut link.transaction {
            queue.push(args.to_owned());
        } else {
            self.apply_one(io, args);
            self.after_unit(io);
        }
    }

    fn apply_one(&mut self, io: &mut Io, args: Args<'_>) {
        if self.disk_forbids(io, args) {
            return;
        }
        self.stats.commands_processed += 1;
        let conn = self.repl.link_conn().unwrap_or(ConnId(u64::MAX));
        let applied = table::find(args).and_then(|spec| self.apply(io, conn, spec, args, Origin::Master));
        if let Err(e) = applied {
            self.stats.unexpected_errors += 1;
            let name = table::find(args).map(|s| s.name).unwrap_or("?");
            tracing::error!(
                "== CRITICAL == This replica is sending an error to its master: '{}' after processing the command '{name}'",
                e.text()
            );
            // A replica that takes writes of its own differs from its master anyway.
            let follows = self.config.replica_read_only && self.managed.is_none();
            if follows && self.config.propagation_error_behavior != PropagationError::Ignore {
                self.abandon(io, "The data would no longer be the master's: exiting");
            }
        }
    }

    /// Whether a write of the master cannot be written to disk here, and `replica-ignore-disk-write-errors` does not
    /// make light of it: then the process ends. Under a shard map it is for the authority to decide about the node.
    fn disk_forbids(&mut self, io: &mut Io, args: Args<'_>) -> bool {
        let ignored = self.managed.is_some() || self.config.replica_ignore_disk_write_errors;
        if ignored || self.persist.write_refusal(&self.config).is_none() {
            return false;
        }
        let writes = table::find(args).is_ok_and(|spec| spec.flags.any(Flags::WRITE));
        if writes {
            self.abandon(io, "Replica was unable to write command to disk.");
        }
        writes
    }
}
