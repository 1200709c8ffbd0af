//! Links to monitored instances: connecting, sending, and telling which reply answers what.

use super::instance::{Channel, Expect, InstId, Kind};
use super::switchover::HANDOVER_LOST;
use super::{HELLO_CHANNEL, Sentinel};
use crate::io::{Action, ConnId, ConnectError, Gone, Io, LinkToken, Peer};
use crate::resp::reader::{self, Value};

/// Limit of one attempt to connect, milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 2000;
/// Time between two attempts (Redis' SENTINEL_PING_PERIOD), milliseconds.
const RECONNECT_MS: u64 = 1000;
/// The same under the shard map, where a refusal is evidence that should not be waited for.
const RECONNECT_MANAGED_MS: u64 = 50;
/// Commands without a reply that a link may have before nothing more is sent (Redis: 100).
const MAX_PENDING: usize = 100;
/// Longest reply that is read from an instance, bytes.
const MAX_REPLY: usize = 16 << 20;

impl Sentinel {
    /// Starts missing connections of an instance.
    pub(super) fn reconnect(&mut self, io: &mut Io, id: InstId) {
        let now = io.now.mono_ms();
        let period = if self.managed.is_some() { RECONNECT_MANAGED_MS } else { RECONNECT_MS };
        let Some(inst) = self.insts.get_mut(&id) else { return };
        let channels: &[Channel] = match inst.kind {
            Kind::Sentinel => &[Channel::Command],
            _ => &[Channel::Command, Channel::Second],
        };
        for &channel in channels {
            let addr = inst.addr.clone();
            let link = inst.link(channel);
            if link.up() || link.dialing.is_some() || (link.tried_ms != 0 && now < link.tried_ms + period) {
                continue;
            }
            let token = LinkToken(self.next_id);
            self.next_id += 1;
            link.tried_ms = now;
            link.dialing = Some(token);
            self.dialing.insert(token, (id, channel));
            io.ask(Action::Connect {
                token,
                host: addr.host().to_owned(),
                port: addr.port(),
                timeout_ms: CONNECT_TIMEOUT_MS,
            });
        }
    }

    pub(super) fn link_connected(
        &mut self,
        io: &mut Io,
        token: LinkToken,
        result: Result<(ConnId, Peer), ConnectError>,
    ) {
        let now = io.now.mono_ms();
        let known = self.dialing.remove(&token).filter(|(id, _)| self.insts.contains_key(id));
        let Some((id, channel)) = known else {
            if let Ok((conn, _)) = result {
                io.close(conn, false);
            }
            return;
        };
        let Some(inst) = self.insts.get_mut(&id) else { return };
        match result {
            Err(e) => {
                let link = inst.link(channel);
                link.dialing = None;
                if e == ConnectError::Refused {
                    link.refused_since_ms.get_or_insert(now);
                    link.refusals += 1;
                } else {
                    (link.refused_since_ms, link.refusals) = (None, 0);
                }
                tracing::debug!("connecting to {}: {e}", inst.addr);
            }
            Ok((conn, peer)) => {
                inst.ip = peer.remote.rsplit_once(':').map(|(h, _)| h.trim_matches(['[', ']']).to_owned());
                let own = peer.local.rsplit_once(':').map(|(h, _)| h.trim_matches(['[', ']']).to_owned());
                inst.own_ip.clone_from(&own);
                let link = inst.link(channel);
                link.dialing = None;
                link.conn = Some(conn);
                link.pending.clear();
                link.connected_ms = now;
                link.heard_ms = now;
                (link.refused_since_ms, link.refusals) = (None, 0);
                self.links.insert(conn, (id, channel));
                if own.is_some() {
                    self.own_ip = own;
                }
                self.greet(io, id, channel);
            }
        }
    }

    /// The first words on a new connection.
    fn greet(&mut self, io: &mut Io, id: InstId, channel: Channel) {
        if let Some((user, pass)) = self.credentials(id) {
            match user {
                Some(u) => self.send(io, id, channel, Expect::Auth, &["AUTH", &u, &pass]),
                None => self.send(io, id, channel, Expect::Auth, &["AUTH", &pass]),
            };
        }
        let suffix = if channel == Channel::Command { "cmd" } else { "pubsub" };
        let name = format!("sentinel-{}-{suffix}", &self.myid[..8]);
        self.send(io, id, channel, Expect::Ignore, &["CLIENT", "SETNAME", &name]);
        match channel {
            Channel::Command => self.ping(io, id),
            Channel::Second if self.managed.is_none() => {
                self.send(io, id, channel, Expect::Subscribe, &["SUBSCRIBE", HELLO_CHANNEL]);
            }
            Channel::Second => {}
        }
    }

    fn credentials(&self, id: InstId) -> Option<(Option<String>, String)> {
        let inst = self.insts.get(&id)?;
        if inst.kind == Kind::Sentinel || self.managed.is_some() {
            if let Some(pass) = self.cfg.sentinel_pass.clone() {
                return Some((self.cfg.sentinel_user.clone(), pass));
            }
            // The password that is asked for here is that of all of them.
            let own = &self.front.config.requirepass;
            return (!own.is_empty()).then(|| (None, own.clone()));
        }
        let m = self.masters.get(&inst.group)?;
        Some((m.opt.auth_user.clone(), m.opt.auth_pass.clone()?))
    }

    /// Sends a command; false if the link is down or clogged.
    pub(super) fn send(
        &mut self,
        io: &mut Io,
        id: InstId,
        channel: Channel,
        expect: Expect,
        args: &[&str],
    ) -> bool {
        let Some(inst) = self.insts.get_mut(&id) else { return false };
        let renamed = self.masters.get(&inst.group).and_then(|m| m.opt.renamed.get(args[0])).cloned();
        let link = inst.link(channel);
        let Some(conn) = link.conn.filter(|_| link.pending.len() < MAX_PENDING) else { return false };
        link.pending.push_back(expect);
        let mut words: Vec<&str> = args.to_vec();
        if let Some(name) = &renamed {
            words[0] = name;
        }
        let mut bytes = Vec::new();
        crate::resp::encode_command(&mut bytes, &words);
        io.send(conn, &bytes);
        true
    }

    /// Reads replies of a link.
    pub(super) fn link_received(&mut self, io: &mut Io, conn: ConnId, id: InstId, channel: Channel) {
        let now = io.now.mono_ms();
        loop {
            let Some(c) = io.conn(conn) else { return };
            let value = match reader::take(&mut c.input, MAX_REPLY) {
                Ok(Some(value)) => value,
                Ok(None) => return,
                Err(e) => {
                    tracing::warn!("{}: {e}", self.insts.get(&id).map_or("?", |i| i.addr.as_str()));
                    return io.close(conn, false);
                }
            };
            let Some(inst) = self.insts.get_mut(&id) else { return };
            let link = inst.link(channel);
            link.heard_ms = now;
            if let Some(message) = pubsub_message(&value) {
                self.process_hello(io, &message);
                continue;
            }
            let Some(expect) = link.pending.pop_front() else { continue };
            self.answered(io, id, expect, value);
        }
    }

    fn answered(&mut self, io: &mut Io, id: InstId, expect: Expect, value: Value) {
        match expect {
            Expect::Ignore => {}
            Expect::Auth => {
                if let Value::Error(e) = &value {
                    let addr = self.insts.get(&id).map(|i| i.addr.to_string()).unwrap_or_default();
                    // Whoever needs none serves us all the same; else what follows is refused.
                    tracing::warn!("{addr} refuses our password: {e}");
                }
            }
            Expect::Subscribe => {
                if matches!(value, Value::Error(_)) {
                    self.give_up_links(io, id);
                }
            }
            Expect::Ping => self.pong(io, id, &value),
            Expect::Info => {
                if let Some(text) = value.text() {
                    self.refresh_info(io, id, &text);
                }
            }
            Expect::Hello => {
                if let (Value::Int(_), Some(inst)) = (&value, self.insts.get_mut(&id)) {
                    inst.last_publish_ms = io.now.mono_ms();
                }
            }
            Expect::MasterDown { master } => self.master_down_answer(io, id, &master, &value),
            Expect::Offer => self.offer_answer(io, id, &value),
            Expect::Accept { shard, epoch } => self.accept_answer(io, id, shard, epoch, &value),
            Expect::Status => self.status_answer(io, id, &value),
            Expect::PeerEpoch => self.peer_epoch_answer(io, id, &value),
            Expect::Promise { shard, epoch } => self.promise_answer(io, id, shard, epoch, &value),
            Expect::Handover { shard, epoch } => self.handover_answer(io, id, shard, epoch, &value),
        }
    }

    pub(super) fn link_closed(&mut self, io: &mut Io, id: InstId, channel: Channel, why: Gone) {
        let Some(inst) = self.insts.get_mut(&id) else { return };
        let link = inst.link(channel);
        link.conn = None;
        let lost = std::mem::take(&mut link.pending);
        if why != Gone::Asked {
            // It closed in order or was reset: whether it is still there is found out by the next attempt, at once.
            link.tried_ms = 0;
        }
        for expect in lost {
            if let Expect::Handover { shard, epoch } = expect {
                let gone = Value::Error(HANDOVER_LOST.into());
                self.handover_answer(io, id, shard, epoch, &gone);
            }
        }
    }

    /// An instance that does not let us in counts as not connected, until another attempt succeeds.
    fn give_up_links(&mut self, io: &mut Io, id: InstId) {
        if self.managed.is_some() {
            return;
        }
        self.close_link(io, id, Channel::Command);
        self.close_link(io, id, Channel::Second);
    }

    /// Closes a link, which is then made anew.
    pub(super) fn close_link(&mut self, io: &mut Io, id: InstId, channel: Channel) {
        if let Some(conn) = self.insts.get_mut(&id).and_then(|inst| inst.link(channel).conn) {
            io.close(conn, false);
        }
    }

    /// Closes both links of an instance.
    pub(super) fn drop_links(&mut self, io: &mut Io, id: InstId) {
        let Some(inst) = self.insts.get_mut(&id) else { return };
        for channel in [Channel::Command, Channel::Second] {
            let link = std::mem::take(inst.link(channel));
            if let Some(conn) = link.conn {
                self.links.remove(&conn);
                io.close(conn, false);
            }
            if let Some(token) = link.dialing {
                self.dialing.remove(&token);
            }
        }
    }
}

/// The payload of a published message.
fn pubsub_message(value: &Value) -> Option<String> {
    match value.items()? {
        [kind, channel, payload] if kind.text().as_deref() == Some("message") => {
            (channel.text().as_deref() == Some(HELLO_CHANNEL)).then(|| payload.text())?
        }
        _ => None,
    }
}
