//! Publish/subscribe: who listens to what.

use std::collections::{BTreeSet, HashMap};

use crate::glob::glob_match;
use crate::io::{ConnId, Io};
use crate::resp::writer::Reply;

use super::Server;
use super::client::{Client, Clients};

/// What a subscription is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A channel by its name.
    Channel,
    /// Channels by a pattern.
    Pattern,
    /// A channel that belongs to one shard, as a key does.
    Shard,
}

/// Subscriptions of all clients.
#[derive(Default)]
pub struct PubSub {
    channels: HashMap<Vec<u8>, BTreeSet<ConnId>>,
    patterns: HashMap<Vec<u8>, BTreeSet<ConnId>>,
    shard_channels: HashMap<Vec<u8>, BTreeSet<ConnId>>,
}

impl PubSub {
    fn table(&self, kind: Kind) -> &HashMap<Vec<u8>, BTreeSet<ConnId>> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shard_channels,
        }
    }

    fn table_mut(&mut self, kind: Kind) -> &mut HashMap<Vec<u8>, BTreeSet<ConnId>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shard_channels,
        }
    }

    fn add(&mut self, kind: Kind, name: &[u8], conn: ConnId) {
        self.table_mut(kind).entry(name.to_vec()).or_default().insert(conn);
    }

    fn remove(&mut self, kind: Kind, name: &[u8], conn: ConnId) {
        let table = self.table_mut(kind);
        if let Some(conns) = table.get_mut(name) {
            conns.remove(&conn);
            if conns.is_empty() {
                table.remove(name);
            }
        }
    }

    /// Removes all subscriptions of a client that is going.
    pub fn forget(&mut self, client: &Client) {
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            for name in client.subscribed_to(kind) {
                self.remove(kind, name, client.conn);
            }
        }
    }

    /// Channels (or patterns) with subscribers.
    pub fn names(&self, kind: Kind) -> impl ExactSizeIterator<Item = &Vec<u8>> {
        self.table(kind).keys()
    }

    /// Number of subscribers of a channel.
    pub fn subscribers(&self, kind: Kind, channel: &[u8]) -> usize {
        self.table(kind).get(channel).map_or(0, BTreeSet::len)
    }

    /// Delivers a message of a channel, or of a shard's; returns the number of receivers.
    pub fn deliver(&self, out: &mut Receivers<'_>, kind: Kind, channel: &[u8], message: &[u8]) -> usize {
        match kind {
            Kind::Shard => out.send(self.shard_channels.get(channel), &[b"smessage", channel, message]),
            Kind::Channel | Kind::Pattern => self.publish(out, channel, message),
        }
    }

    /// Delivers a message; returns the number of receivers.
    pub fn publish(&self, out: &mut Receivers<'_>, channel: &[u8], message: &[u8]) -> usize {
        let mut receivers = out.send(self.channels.get(channel), &[b"message", channel, message]);
        for (pattern, conns) in &self.patterns {
            if glob_match(pattern, channel, false) {
                receivers += out.send(Some(conns), &[b"pmessage", pattern, channel, message]);
            }
        }
        receivers
    }
}

/// Where messages go.
pub struct Receivers<'a> {
    /// Connections.
    pub io: &'a mut Io,
    /// Who they belong to.
    pub clients: &'a Clients,
    /// The publisher and its output, where it is a client.
    pub own: Option<(ConnId, &'a mut Vec<u8>)>,
}

impl Receivers<'_> {
    fn send(&mut self, conns: Option<&BTreeSet<ConnId>>, parts: &[&[u8]]) -> usize {
        let mut receivers = 0;
        let mut out = Vec::new();
        let mut written_for = 0;
        for client in conns.into_iter().flatten().filter_map(|&conn| self.clients.get(conn)) {
            if written_for != client.proto {
                written_for = client.proto;
                out.clear();
                let mut reply = Reply { out: &mut out, proto: client.proto };
                reply.push(parts.len());
                parts.iter().for_each(|part| reply.bulk(part));
            }
            match &mut self.own {
                Some((own, output)) if *own == client.conn => output.extend_from_slice(&out),
                _ => self.io.send(client.conn, &out),
            }
            receivers += 1;
        }
        receivers
    }
}

impl Client {
    /// What it has subscribed to.
    pub fn subscribed_to(&self, kind: Kind) -> &std::collections::HashSet<Vec<u8>> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shard_channels,
        }
    }

    fn subscribed_to_mut(&mut self, kind: Kind) -> &mut std::collections::HashSet<Vec<u8>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shard_channels,
        }
    }
}

impl Server {
    /// Adds a client's subscription.
    pub fn subscribe(&mut self, kind: Kind, name: &[u8], conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn)
            && client.subscribed_to_mut(kind).insert(name.to_vec())
        {
            self.pubsub.add(kind, name, conn);
        }
    }

    /// Removes a client's subscription.
    pub fn unsubscribe(&mut self, kind: Kind, name: &[u8], conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn)
            && client.subscribed_to_mut(kind).remove(name)
        {
            self.pubsub.remove(kind, name, conn);
        }
    }

    /// Removes all subscriptions of a client.
    pub fn unsubscribe_all(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn) {
            self.pubsub.forget(client);
            client.channels.clear();
            client.patterns.clear();
            client.shard_channels.clear();
        }
    }
}
