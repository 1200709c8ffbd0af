//! One command to one of the sentinels, whichever answers first in order: how a master that is about to leave asks for a
//! planned move.

use crate::io::{Action, ConnId, ConnectError, Io, LinkToken, Peer};
use crate::resp::{encode_command, reader};
use crate::server::Server;
use crate::shardmap::NodeAddr;

/// Limit for reaching one sentinel, milliseconds.
const CONNECT_TIMEOUT_MS: u64 = 500;
/// Pause before the list of sentinels is tried again, milliseconds.
const RETRY_MS: u64 = 200;

enum Stage {
    Idle {
        retry_at_ms: u64,
    },
    Connecting(LinkToken),
    /// So many replies are still expected.
    Asking {
        conn: ConnId,
        replies: usize,
    },
}

/// A command on its way.
pub(super) struct Errand {
    targets: Vec<NodeAddr>,
    next: usize,
    command: Vec<String>,
    until_ms: u64,
    stage: Stage,
}

impl Server {
    pub(super) fn start_errand(
        &mut self,
        io: &mut Io,
        targets: Vec<NodeAddr>,
        command: Vec<String>,
        until_ms: u64,
    ) {
        if targets.is_empty() {
            return;
        }
        let stage = Stage::Idle { retry_at_ms: io.now.mono_ms() };
        if let Some(m) = &mut self.managed {
            m.errand = Some(Errand { targets, next: 0, command, until_ms, stage });
        }
        self.errand_cron(io);
    }

    pub(super) fn errand_cron(&mut self, io: &mut Io) {
        let now = io.now.mono_ms();
        let Some(managed) = self.managed.as_mut() else { return };
        let Some(errand) = managed.errand.as_mut() else { return };
        if now >= errand.until_ms {
            if let Stage::Asking { conn, .. } = errand.stage {
                io.close(conn, false);
            }
            managed.errand = None;
            return;
        }
        if let Stage::Idle { retry_at_ms } = errand.stage
            && now >= retry_at_ms
        {
            let target = &errand.targets[errand.next % errand.targets.len()];
            errand.next += 1;
            self.next_token += 1;
            let token = LinkToken(self.next_token);
            errand.stage = Stage::Connecting(token);
            io.ask(Action::Connect {
                token,
                host: target.host().to_owned(),
                port: target.port(),
                timeout_ms: CONNECT_TIMEOUT_MS,
            });
        }
    }

    fn errand(&mut self) -> Option<&mut Errand> {
        self.managed.as_mut()?.errand.as_mut()
    }

    fn errand_failed(&mut self, io: &mut Io, why: &str) {
        let now = io.now.mono_ms();
        if let Some(errand) = self.errand() {
            tracing::warn!("{} was not taken by a sentinel: {why}", errand.command.join(" "));
            let pause = if errand.next.is_multiple_of(errand.targets.len()) { RETRY_MS } else { 0 };
            errand.stage = Stage::Idle { retry_at_ms: now + pause };
        }
    }

    /// True if the attempt was ours.
    pub(crate) fn managed_link_connected(
        &mut self,
        io: &mut Io,
        token: LinkToken,
        result: &Result<(ConnId, Peer), ConnectError>,
    ) -> bool {
        let password = self.config.masterauth.clone();
        let Some(errand) = self.errand() else { return false };
        if !matches!(errand.stage, Stage::Connecting(t) if t == token) {
            return false;
        }
        match result {
            Ok((conn, _)) => {
                let mut out = Vec::new();
                if !password.is_empty() {
                    encode_command(&mut out, &["AUTH", &password]);
                }
                encode_command(&mut out, &errand.command);
                let replies = if password.is_empty() { 1 } else { 2 };
                errand.stage = Stage::Asking { conn: *conn, replies };
                io.send(*conn, &out);
            }
            Err(e) => self.errand_failed(io, &e.to_string()),
        }
        true
    }

    /// True if the connection was ours.
    pub(crate) fn managed_link_closed(&mut self, io: &mut Io, conn: ConnId) -> bool {
        let ours = self.errand_conn() == Some(conn);
        if ours {
            self.errand_failed(io, "connection closed");
        }
        ours
    }

    pub(crate) fn errand_conn(&mut self) -> Option<ConnId> {
        match self.errand()?.stage {
            Stage::Asking { conn, .. } => Some(conn),
            _ => None,
        }
    }

    pub(crate) fn errand_received(&mut self, io: &mut Io, conn: ConnId) {
        loop {
            let Some(c) = io.conn(conn) else { return };
            let value = match reader::take(&mut c.input, reader::MAX_SHORT_REPLY) {
                Ok(Some(value)) => value,
                Ok(None) => return,
                Err(_) => return io.close(conn, false),
            };
            let Some(errand) = self.errand() else { return };
            let Stage::Asking { replies, .. } = &mut errand.stage else { return };
            *replies -= 1;
            let last = *replies == 0;
            if let reader::Value::Error(e) = value {
                self.errand_failed(io, &e);
                return io.close(conn, false);
            }
            if last {
                tracing::info!("A sentinel has taken up the planned move");
                if let Some(m) = &mut self.managed {
                    m.errand = None;
                }
                return io.close(conn, false);
            }
        }
    }
}
