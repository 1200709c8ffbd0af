//! Channels of this sentinel's clients: events go out on channels named after them.

use super::Sentinel;
use super::commands::Call;
use crate::glob::glob_match;
use crate::io::{ConnId, Io};
use crate::resp::writer::Reply;

/// Channels and patterns of one client at most.
const MAX_SUBSCRIPTIONS: usize = 1024;
/// A subscriber that lets so many bytes pile up is closed (Redis: 32 MB hard limit for pub/sub clients).
const MAX_BACKLOG: usize = 32 << 20;

impl Sentinel {
    /// Sends a message to whoever listens; their number.
    pub(super) fn publish(&mut self, io: &mut Io, channel: &[u8], payload: &[u8]) -> i64 {
        let mut receivers = 0;
        for (conn, client) in &self.clients {
            let mut out = Vec::new();
            let mut reply = Reply { out: &mut out, proto: client.proto };
            if client.channels.contains(channel) {
                reply.push(3);
                for part in [b"message".as_slice(), channel, payload] {
                    reply.bulk(part);
                }
                receivers += 1;
            }
            for pattern in client.patterns.iter().filter(|p| glob_match(p, channel, false)) {
                reply.push(4);
                for part in [b"pmessage".as_slice(), pattern, channel, payload] {
                    reply.bulk(part);
                }
                receivers += 1;
            }
            if out.is_empty() {
                continue;
            }
            io.send(*conn, &out);
            if io.conn(*conn).is_some_and(|c| c.output.pending() > MAX_BACKLOG) {
                io.close(*conn, false);
            }
        }
        receivers
    }

    /// SUBSCRIBE and PSUBSCRIBE.
    pub(super) fn subscribe(&mut self, call: &mut Call<'_>, patterns: bool) {
        let Some(client) = self.clients.get_mut(&call.conn) else { return };
        let word: &[u8] = if patterns { b"psubscribe" } else { b"subscribe" };
        for name in &call.args[1..] {
            if client.channels.len() + client.patterns.len() >= MAX_SUBSCRIPTIONS {
                return call.reply.error("ERR too many subscriptions");
            }
            let set = if patterns { &mut client.patterns } else { &mut client.channels };
            set.insert(name.clone());
            let count = client.channels.len() + client.patterns.len();
            call.reply.push(3);
            call.reply.bulk(word);
            call.reply.bulk(name);
            call.reply.int(count as i64);
        }
    }

    /// UNSUBSCRIBE and PUNSUBSCRIBE; without names from all.
    pub(super) fn unsubscribe(&mut self, call: &mut Call<'_>, patterns: bool) {
        let Some(client) = self.clients.get_mut(&call.conn) else { return };
        let word: &[u8] = if patterns { b"punsubscribe" } else { b"unsubscribe" };
        let set = if patterns { &client.patterns } else { &client.channels };
        let mut names: Vec<Option<Vec<u8>>> = call.args[1..].iter().cloned().map(Some).collect();
        if names.is_empty() {
            names = set.iter().cloned().map(Some).collect();
        }
        if names.is_empty() {
            names.push(None);
        }
        for name in names {
            let set = if patterns { &mut client.patterns } else { &mut client.channels };
            if let Some(n) = &name {
                set.remove(n);
            }
            let count = client.channels.len() + client.patterns.len();
            call.reply.push(3);
            call.reply.bulk(word);
            match &name {
                Some(n) => call.reply.bulk(n),
                None => call.reply.null(),
            }
            call.reply.int(count as i64);
        }
    }

    /// True while a RESP2 client may only send pub/sub commands.
    pub(super) fn only_pubsub(&self, conn: ConnId) -> bool {
        self.clients
            .get(&conn)
            .is_some_and(|c| c.proto < 3 && !(c.channels.is_empty() && c.patterns.is_empty()))
    }
}
