//! Messages between the members of a cluster: what is published on one reaches the subscribers of all, and what is
//! published on a shard's channel those of the shard, as over the bus of a Redis Cluster.
//!
//! Contract: a message is delivered at most once, those of one publisher in their order. One that cannot leave now is
//! dropped, so a member that is away or slow costs a bounded amount of memory and holds nobody up.

use std::collections::BTreeMap;

use crate::io::{Action, ConnId, ConnectError, Io, LinkToken, Peer};
use crate::resp::encode_command;
use crate::server::Server;
use crate::server::pubsub::Kind;
use crate::shardmap::{NodeAddr, ShardMap};

/// Limit for reaching a member, milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 1000;
/// A member that could not be reached is left alone for so long, milliseconds.
const RETRY_MS: u64 = 1000;
/// Bytes that may wait for one member.
const MOST_WAITING: usize = 4 * 1024 * 1024;

enum Link {
    /// What has been published meanwhile waits.
    Connecting {
        token: LinkToken,
        waiting: Vec<u8>,
    },
    Up(ConnId),
    Down {
        retry_at_ms: u64,
    },
}

/// The links to other members, made when there is a first message for them.
#[derive(Default)]
pub(super) struct Messenger {
    links: BTreeMap<NodeAddr, Link>,
}

impl Messenger {
    fn of_conn(&self, conn: ConnId) -> Option<&NodeAddr> {
        self.links.iter().find(|(_, link)| matches!(link, Link::Up(c) if *c == conn)).map(|(node, _)| node)
    }

    fn of_token(&mut self, wanted: LinkToken) -> Option<(&NodeAddr, &mut Link)> {
        self.links.iter_mut().find(|(_, l)| matches!(l, Link::Connecting { token, .. } if *token == wanted))
    }
}

/// Whom a message of this kind is for: every member but `own`, or those of its shard.
fn recipients<'a>(
    map: &'a ShardMap,
    own: &'a NodeAddr,
    shard: u32,
    kind: Kind,
) -> impl Iterator<Item = &'a NodeAddr> {
    let concerned = map.shards.iter().filter(move |s| kind != Kind::Shard || s.index == shard);
    concerned.flat_map(|s| &s.members).filter(move |node| *node != own)
}

impl Server {
    /// True where messages go from member to member instead of along the replication streams.
    pub(crate) fn sends_messages(&self) -> bool {
        self.config.cluster_enabled && self.managed.is_some()
    }

    /// Passes on what a client of this node has published.
    pub(crate) fn send_message(&mut self, io: &mut Io, kind: Kind, channel: &[u8], message: &[u8]) {
        let Some(managed) = &mut self.managed else { return };
        let Some(map) = &managed.kept.map else { return };
        let word: &[u8] = if kind == Kind::Shard { b"SPUBLISH" } else { b"PUBLISH" };
        let mut command = Vec::new();
        encode_command(&mut command, &[b"REPLICASET".as_slice(), word, channel, message]);
        let links = &mut managed.messenger.links;
        links.retain(|node, link| {
            let stays = map.shards.iter().any(|s| s.has_member(node));
            if let Link::Up(conn) = link
                && !stays
            {
                io.close(*conn, false);
            }
            stays
        });
        let now = io.now.mono_ms();
        for node in recipients(map, &managed.node, managed.shard, kind) {
            match links.get_mut(node) {
                Some(Link::Up(conn)) => {
                    if io.conn(*conn).is_some_and(|c| c.output.pending() + command.len() <= MOST_WAITING) {
                        io.send(*conn, &command);
                    }
                }
                Some(Link::Connecting { waiting, .. }) => {
                    if waiting.len() + command.len() <= MOST_WAITING {
                        waiting.extend_from_slice(&command);
                    }
                }
                Some(Link::Down { retry_at_ms }) if now < *retry_at_ms => {}
                Some(Link::Down { .. }) | None => {
                    self.next_token += 1;
                    let token = LinkToken(self.next_token);
                    links.insert(node.clone(), Link::Connecting { token, waiting: command.clone() });
                    io.ask(Action::Connect {
                        token,
                        host: node.host().to_owned(),
                        port: node.port(),
                        timeout_ms: CONNECT_TIMEOUT_MS,
                    });
                }
            }
        }
    }

    fn messenger(&mut self) -> Option<&mut Messenger> {
        self.managed.as_mut().map(|m| &mut m.messenger)
    }

    /// True if the attempt was for messages.
    pub(crate) fn messenger_connected(
        &mut self,
        io: &mut Io,
        token: LinkToken,
        result: &Result<(ConnId, Peer), ConnectError>,
    ) -> bool {
        let login = self.login_at_members();
        let Some((node, link)) = self.messenger().and_then(|m| m.of_token(token)) else { return false };
        let next = match result {
            Ok((conn, _)) => {
                let mut out = Vec::new();
                if let Some(words) = login {
                    encode_command(&mut out, &words);
                }
                encode_command(&mut out, &["CLIENT", "REPLY", "OFF"]);
                if let Link::Connecting { waiting, .. } = link {
                    out.append(waiting);
                }
                io.send(*conn, &out);
                Link::Up(*conn)
            }
            Err(e) => {
                tracing::warn!("No messages to {}: {e}", node.as_str());
                Link::Down { retry_at_ms: io.now.mono_ms() + RETRY_MS }
            }
        };
        *link = next;
        true
    }

    pub(crate) fn is_messengers(&self, conn: ConnId) -> bool {
        self.managed.as_ref().is_some_and(|m| m.messenger.of_conn(conn).is_some())
    }

    /// Only the log-in is answered.
    pub(crate) fn messenger_received(&mut self, io: &mut Io, conn: ConnId) {
        let Some(c) = io.conn(conn) else { return };
        let answer = std::mem::take(&mut c.input);
        if answer.first() == Some(&b'-') {
            tracing::warn!("A member takes no messages: {}", String::from_utf8_lossy(&answer).trim_end());
            io.close(conn, false);
        }
    }

    /// True if the connection was for messages.
    pub(crate) fn messenger_closed(&mut self, io: &mut Io, conn: ConnId) -> bool {
        let retry_at_ms = io.now.mono_ms() + RETRY_MS;
        let Some(messenger) = self.messenger() else { return false };
        let Some(node) = messenger.of_conn(conn).cloned() else { return false };
        messenger.links.insert(node, Link::Down { retry_at_ms });
        true
    }
}
