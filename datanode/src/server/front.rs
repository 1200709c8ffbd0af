//! A server without data in front of a sentinel: its connections, users, subscriptions, and what there is of `CLIENT`,
//! `ACL` and `COMMAND`, are the data server's own. Commands that are the sentinel's business ([`Flags::SENTINEL`]) are
//! left to it, and their clients wait: it takes them by [`Server::next_left`] whenever it has had the server do something,
//! and replies by [`Server::answer`].
//!
//! [`Flags::SENTINEL`]: crate::command::Flags::SENTINEL

use std::collections::VecDeque;
use std::sync::Arc;

use super::client::Blocked;
use super::pubsub::Receivers;
use super::{Origins, Server};
use crate::command::{Args, Ctx, Error, OwnedArgs};
use crate::config::Config;
use crate::disk::Disk;
use crate::io::{ConnId, Io, Now};

/// A client's command that somebody else is to carry out.
pub struct Left {
    /// Whose it is.
    pub conn: ConnId,
    /// The client's RESP version.
    pub proto: u8,
    /// The command.
    pub args: OwnedArgs,
    silent: bool,
}

/// Commands that are left to the one behind, in the order in which they came.
#[derive(Default)]
pub struct Front(VecDeque<Left>);

impl Server {
    /// A server that is a sentinel's front; it has no dataset and no role. The error is what the process ends with.
    pub fn front(
        config: Config,
        disk: Arc<dyn Disk>,
        seed: u64,
        now: Now,
        origins: Origins,
    ) -> Result<Server, String> {
        // Following the shard map is the sentinel's affair.
        let mut server = Server::new(Config { managed: false, ..config }, disk, seed, now, origins)?;
        server.front = Some(Front::default());
        Ok(server)
    }

    /// Whether it is a sentinel's.
    #[inline]
    pub fn is_front(&self) -> bool {
        self.front.is_some()
    }

    /// What sort of server it is, as `HELLO` and `INFO` say it.
    pub fn mode_name(&self) -> &'static str {
        match (self.is_front(), self.config.cluster_enabled) {
            (true, _) => "sentinel",
            (_, true) => "cluster",
            _ => "standalone",
        }
    }

    /// The next command that is left to the one behind.
    pub fn next_left(&mut self) -> Option<Left> {
        self.front.as_mut()?.0.pop_front()
    }

    /// Sends the reply to a command that was left, and goes on with what its client has sent; `last`: it is closed instead.
    pub fn answer(&mut self, io: &mut Io, left: &Left, reply: &[u8], last: bool) {
        self.unblock(left.conn);
        if let Some(error) = reply.strip_prefix(b"-") {
            self.stats.count_error(Error::code_of(&String::from_utf8_lossy(error)));
        }
        if !left.silent {
            io.send(left.conn, reply);
        }
        match last {
            true => self.close_client(io, left.conn, true),
            false => self.serve(io, left.conn),
        }
    }

    /// Has everybody who listens hear of something; how many that are.
    pub fn announce(&mut self, io: &mut Io, channel: &[u8], message: &[u8]) -> usize {
        let mut out = Receivers { io, clients: &self.clients, own: None };
        self.pubsub.publish(&mut out, channel, message)
    }
}

/// Leaves a command to the one behind, for the reply of which its client waits.
pub(super) fn leave(ctx: &mut Ctx<'_>) {
    let (conn, args, proto): (_, Args<'_>, _) = (ctx.conn, ctx.args, ctx.reply.proto);
    let silent = ctx.client().is_some_and(|c| c.is_silent());
    let server = ctx.server();
    if let Some(front) = &mut server.front {
        front.0.push_back(Left { conn, proto, args: args.to_owned(), silent });
        server.block(conn, Blocked::Left, 0);
    }
}
