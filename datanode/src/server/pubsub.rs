//! Publish/subscribe: who listens to what.

use std::collections::{BTreeSet, HashMap};

use crate::glob::glob_match;
use crate::io::{ConnId, Io};
use crate::resp::writer::Reply;

use super::client::Clients;

/// Subscriptions of all clients.
#[derive(Default)]
pub struct PubSub {
    channels: HashMap<Vec<u8>, BTreeSet<ConnId>>,
    patterns: HashMap<Vec<u8>, BTreeSet<ConnId>>,
}

impl PubSub {
    fn table(&mut self, pattern: bool) -> &mut HashMap<Vec<u8>, BTreeSet<ConnId>> {
        if pattern { &mut self.patterns } else { &mut self.channels }
    }

    /// Adds a subscription.
    pub fn subscribe(&mut self, pattern: bool, name: &[u8], conn: ConnId) {
        self.table(pattern).entry(name.to_vec()).or_default().insert(conn);
    }

    /// Removes a subscription.
    pub fn unsubscribe(&mut self, pattern: bool, name: &[u8], conn: ConnId) {
        let table = self.table(pattern);
        if let Some(conns) = table.get_mut(name) {
            conns.remove(&conn);
            if conns.is_empty() {
                table.remove(name);
            }
        }
    }

    /// Channels with subscribers.
    pub fn channels(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.channels.keys()
    }

    /// Number of subscribers of a channel.
    pub fn subscribers(&self, channel: &[u8]) -> usize {
        self.channels.get(channel).map_or(0, BTreeSet::len)
    }

    /// Number of distinct patterns.
    pub fn pattern_count(&self) -> usize {
        self.patterns.len()
    }

    /// Number of channels with subscribers.
    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// Delivers a message; returns the number of receivers.
    pub fn publish(&self, io: &mut Io, clients: &Clients, channel: &[u8], message: &[u8]) -> usize {
        let mut receivers = 0;
        let mut send = |conn: ConnId, parts: &[&[u8]]| {
            let Some(client) = clients.get(conn) else { return };
            let mut out = Vec::new();
            let mut reply = Reply { out: &mut out, proto: client.proto };
            reply.push(parts.len());
            for part in parts {
                reply.bulk(part);
            }
            io.send(conn, &out);
            receivers += 1;
        };
        for &conn in self.channels.get(channel).into_iter().flatten() {
            send(conn, &[b"message", channel, message]);
        }
        for (pattern, conns) in &self.patterns {
            if glob_match(pattern, channel, false) {
                for &conn in conns {
                    send(conn, &[b"pmessage", pattern, channel, message]);
                }
            }
        }
        receivers
    }
}
