//! Connections of clients: reading requests, authentication, and the commands about the connection itself.

use std::collections::BTreeSet;

use super::Sentinel;
use super::commands::Call;
use crate::io::{ConnId, Io, Peer};
use crate::resp::parse::{self, ArgRanges, Bounds, Inline, Parsed, UNAUTHENTICATED_BOUNDS};
use crate::resp::writer::Reply;

/// Most bytes of one argument: a shard map is the largest thing a sentinel is told.
const MAX_BULK: usize = 16 << 20;
const MAX_ARGS: usize = 4096;
/// Client connections at most (Redis' default `maxclients`).
pub(super) const MAX_CLIENTS: usize = 10_000;
/// A client that does not log in within this is closed where a password is needed, milliseconds.
const LOGIN_MS: u64 = 60_000;
/// Output that a client may leave unread, bytes.
const MAX_UNREAD: usize = 64 << 20;

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    pub id: u64,
    pub peer: Peer,
    pub name: String,
    pub library: [String; 2],
    pub proto: u8,
    pub authenticated: bool,
    pub since_ms: u64,
    pub heard_ms: u64,
    pub channels: BTreeSet<Vec<u8>>,
    pub patterns: BTreeSet<Vec<u8>>,
}

impl Sentinel {
    pub(super) fn client_accepted(&mut self, io: &mut Io, conn: ConnId, peer: Peer) {
        self.stats.connections += 1;
        let host = peer.remote.rsplit_once(':').map_or("", |(h, _)| h).trim_matches(['[', ']']).to_owned();
        let loopback = host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let refusal = if self.cfg.protected_mode && self.cfg.requirepass.is_none() && !loopback {
            Some(
                "-DENIED Sentinel is running in protected mode without a password: only loopback clients are served\r\n",
            )
        } else if self.clients.len() >= MAX_CLIENTS {
            Some("-ERR max number of clients reached\r\n")
        } else {
            None
        };
        if let Some(text) = refusal {
            io.send(conn, text.as_bytes());
            return io.close(conn, true);
        }
        let now = io.now.mono_ms();
        let client = Client {
            id: self.next_client,
            peer,
            name: String::new(),
            library: Default::default(),
            proto: 2,
            authenticated: self.cfg.requirepass.is_none(),
            since_ms: now,
            heard_ms: now,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
        };
        self.next_client += 1;
        self.clients.insert(conn, client);
    }

    pub(super) fn close_idle_clients(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        for (conn, c) in &self.clients {
            let unread = io.conn(*conn).map_or(0, |b| b.output.pending());
            if unread > MAX_UNREAD || (!c.authenticated && now.saturating_sub(c.since_ms) > LOGIN_MS) {
                io.close(*conn, false);
            }
        }
    }

    pub(super) fn client_received(&mut self, io: &mut Io, conn: ConnId) {
        let mut ranges = ArgRanges::default();
        loop {
            let Some(client) = self.clients.get_mut(&conn) else { return };
            client.heard_ms = io.now.mono_ms();
            let bounds = if client.authenticated {
                Bounds { max_bulk: MAX_BULK, max_args: MAX_ARGS, ..Bounds::default() }
            } else {
                UNAUTHENTICATED_BOUNDS
            };
            let Some(c) = io.conn(conn) else { return };
            let Some(&first) = c.input.first() else { return };
            let args: Vec<Vec<u8>>;
            if first == b'*' {
                match parse::request(&c.input, 0, &bounds, &mut ranges) {
                    Parsed::Incomplete { .. } => return,
                    Parsed::Invalid(text) => return refuse(io, conn, &text),
                    Parsed::Request { consumed } => {
                        args = ranges.0.iter().map(|&(a, b)| c.input[a..b].to_vec()).collect();
                        c.input.drain(..consumed);
                    }
                }
            } else {
                match parse::inline(&c.input, 0, &bounds) {
                    Inline::Incomplete => return,
                    Inline::Invalid(text) => return refuse(io, conn, &text),
                    Inline::Words(words, consumed) => {
                        args = words;
                        c.input.drain(..consumed);
                    }
                }
            }
            if !args.is_empty() {
                self.serve(io, conn, &args);
            }
        }
    }

    fn serve(&mut self, io: &mut Io, conn: ConnId, args: &[Vec<u8>]) {
        self.stats.commands += 1;
        let proto = self.clients.get(&conn).map_or(2, |c| c.proto);
        let mut out = Vec::new();
        let mut call = Call { conn, args, reply: Reply { out: &mut out, proto }, close: false };
        self.execute(io, &mut call);
        let close = call.close;
        io.send(conn, &out);
        if close {
            self.clients.remove(&conn);
            io.close(conn, true);
        }
    }

    /// True if the user and password are right.
    fn log_in(&mut self, conn: ConnId, user: &[u8], pass: &[u8]) -> bool {
        let right =
            user == b"default" && self.cfg.requirepass.as_ref().is_none_or(|p| same(p.as_bytes(), pass));
        if right && let Some(c) = self.clients.get_mut(&conn) {
            c.authenticated = true;
        }
        right
    }

    pub(super) fn auth(&mut self, call: &mut Call<'_>) {
        let (user, pass): (&[u8], &[u8]) = match &call.args[1..] {
            [pass] if self.cfg.requirepass.is_none() => {
                let _ = pass;
                return call.reply.error(
                    "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                     your configuration is correct?",
                );
            }
            [pass] => (b"default", pass),
            [user, pass] => (user, pass),
            _ => return call.reply.error("ERR syntax error"),
        };
        if self.log_in(call.conn, user, pass) {
            call.reply.ok();
        } else {
            call.reply.error(WRONGPASS);
        }
    }

    pub(super) fn hello(&mut self, call: &mut Call<'_>) {
        let mut words = call.args[1..].iter();
        let mut proto = None;
        if let Some(v) = words.next() {
            match parse::parse_i64(v) {
                Some(n @ 2..=3) => proto = Some(n as u8),
                Some(_) => return call.reply.error("NOPROTO unsupported protocol version"),
                None => return call.reply.error("ERR Protocol version is not an integer or out of range"),
            }
        }
        let mut name = None;
        while let Some(word) = words.next() {
            match word.to_ascii_uppercase().as_slice() {
                b"AUTH" if words.len() >= 2 => {
                    let (user, pass) = (words.next().cloned(), words.next().cloned());
                    if !self.log_in(call.conn, &user.unwrap_or_default(), &pass.unwrap_or_default()) {
                        return call.reply.error(WRONGPASS);
                    }
                }
                b"SETNAME" if words.len() >= 1 => name = words.next(),
                _ => {
                    let text =
                        format!("ERR Syntax error in HELLO option '{}'", String::from_utf8_lossy(word));
                    return call.reply.error(&text);
                }
            }
        }
        let Some(client) = self.clients.get_mut(&call.conn) else { return };
        if !client.authenticated {
            return call.reply.error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH \
                 <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
                 the same time",
            );
        }
        if let Some(n) = name {
            client.name = String::from_utf8_lossy(n).into_owned();
        }
        if let Some(p) = proto {
            client.proto = p;
            call.reply.proto = p;
        }
        let r = &mut call.reply;
        r.map(7);
        for (key, value) in [("server", "redis"), ("version", super::answers::VERSION)] {
            r.bulk(key.as_bytes());
            r.bulk(value.as_bytes());
        }
        r.bulk(b"proto");
        r.int(i64::from(client.proto));
        r.bulk(b"id");
        r.int(client.id as i64);
        r.bulk(b"mode");
        r.bulk(b"sentinel");
        r.bulk(b"role");
        r.bulk(b"sentinel");
        r.bulk(b"modules");
        r.array(0);
    }

    pub(super) fn client_command(&mut self, io: &mut Io, call: &mut Call<'_>) {
        let now = io.now.mono_ms();
        let sub = call.word(1).to_ascii_uppercase();
        let Some(client) = self.clients.get_mut(&call.conn) else { return };
        match (sub.as_str(), call.args.len()) {
            ("SETNAME", 3) => {
                let name = call.word(2);
                if name.bytes().any(|b| !(b'!'..=b'~').contains(&b)) {
                    return call
                        .reply
                        .error("ERR Client names cannot contain spaces, newlines or special characters.");
                }
                client.name = name;
                call.reply.ok();
            }
            ("GETNAME", 2) if client.name.is_empty() => call.reply.null(),
            ("GETNAME", 2) => call.reply.bulk(client.name.as_bytes()),
            ("SETINFO", 4) => {
                let at = match call.word(2).to_ascii_lowercase().as_str() {
                    "lib-name" => 0,
                    "lib-ver" => 1,
                    other => return call.reply.error(&format!("ERR Unrecognized option '{other}'")),
                };
                client.library[at] = call.word(3);
                call.reply.ok();
            }
            ("ID", 2) => call.reply.int(client.id as i64),
            ("INFO", 2) => {
                let line = describe(client, now);
                call.reply.verbatim(&(line + "\n"));
            }
            ("LIST", 2) => {
                let lines: Vec<String> = self.clients.values().map(|c| describe(c, now) + "\n").collect();
                call.reply.verbatim(&lines.concat());
            }
            ("NO-EVICT", 3) => call.reply.ok(),
            ("REPLY", 3) if call.word(2).eq_ignore_ascii_case("on") => call.reply.ok(),
            _ => call.unknown_subcommand(),
        }
    }

    pub(super) fn reset_client(&mut self, call: &mut Call<'_>) {
        let authenticated = self.cfg.requirepass.is_none();
        if let Some(c) = self.clients.get_mut(&call.conn) {
            c.channels.clear();
            c.patterns.clear();
            c.name.clear();
            c.proto = 2;
            c.authenticated = authenticated;
        }
        call.reply.proto = 2;
        call.reply.simple("RESET");
    }
}

const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";

fn refuse(io: &mut Io, conn: ConnId, text: &str) {
    io.send(conn, format!("-{text}\r\n").as_bytes());
    if let Some(c) = io.conn(conn) {
        c.input.clear();
    }
    io.close(conn, true);
}

/// Compares in a time that does not depend on where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

fn describe(c: &Client, now: u64) -> String {
    format!(
        "id={} addr={} laddr={} name={} age={} idle={} flags={} db=0 sub={} psub={} user=default lib-name={} lib-ver={} \
         resp={}",
        c.id,
        c.peer.remote,
        c.peer.local,
        c.name,
        now.saturating_sub(c.since_ms) / 1000,
        now.saturating_sub(c.heard_ms) / 1000,
        if c.channels.is_empty() && c.patterns.is_empty() { "N" } else { "P" },
        c.channels.len(),
        c.patterns.len(),
        c.library[0],
        c.library[1],
        c.proto
    )
}
