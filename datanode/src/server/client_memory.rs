//! `maxmemory-clients`: the memory of all clients together is bounded. Above the bound those that take most are closed
//! (<https://redis.io/docs/latest/develop/reference/clients/#client-eviction>).

use super::Server;
use super::client::Client;
use crate::command::client::describe;
use crate::config::Config;
use crate::config::types::ClientMemory;
use crate::io::{ConnId, Io};

/// Memory that a client takes, bytes.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Received and not consumed.
    pub input: usize,
    /// Written and not sent. What queues up for a replica is the backlog's.
    pub output: usize,
    /// Commands of a transaction.
    pub multi: usize,
    /// Everything.
    pub total: usize,
}

/// What a client takes now.
pub fn usage(client: &Client, io: &mut Io) -> Usage {
    let (input, output) = io.conn(client.conn).map_or((0, 0), |c| (c.input.len(), c.output.pending()));
    let multi: usize = client.multi.iter().flat_map(|m| &m.queue).map(|(_, args)| args.bytes()).sum();
    let names = client.channels.iter().chain(&client.patterns).chain(&client.shard_channels);
    let names = names.chain(client.tracking.iter().flat_map(|t| &t.prefixes));
    let kept: usize = names.map(|name| size_of::<Vec<u8>>() + name.len()).sum();
    let watched: usize = client.watched.iter().map(|key| size_of_val(key) + key.key.len()).sum();
    let total = size_of::<Client>() + client.name.len() + input + output + multi + kept + watched;
    Usage { input, output, multi, total }
}

/// The bound, bytes; `None` where there is none.
fn limit(config: &Config) -> Option<usize> {
    let bytes = match config.maxmemory_clients {
        ClientMemory::Bytes(n) => n,
        ClientMemory::Percent(percent) => config.maxmemory / 100 * u64::from(percent),
    };
    usize::try_from(bytes).ok().filter(|&n| n > 0)
}

/// Those that may be closed: not replicas, nor the authority's connections, nor the protected.
fn may_go(client: &Client) -> bool {
    !client.no_evict && !client.closing && !client.control && !client.is_replica()
}

impl Server {
    /// Counts a client anew whose buffers have changed.
    pub(super) fn recount_client(&mut self, io: &mut Io, conn: ConnId) {
        if limit(&self.config).is_none() {
            return;
        }
        let Some(client) = self.clients.get_mut(conn) else { return };
        let now = if may_go(client) { usage(client, io).total } else { 0 };
        self.client_memory = self.client_memory + now - std::mem::replace(&mut client.counted, now);
    }

    /// Counts all clients anew, for what changed without anybody noticing.
    pub(crate) fn recount_clients(&mut self, io: &mut Io) {
        if limit(&self.config).is_none() {
            return;
        }
        let conns: Vec<ConnId> = self.clients.iter().map(|c| c.conn).collect();
        conns.into_iter().for_each(|conn| self.recount_client(io, conn));
    }

    /// Closes clients until the bound is kept, the largest first.
    pub(super) fn evict_clients(&mut self, io: &mut Io) {
        let Some(most) = limit(&self.config) else { return };
        let grown: Vec<ConnId> = io.dirty().collect();
        grown.into_iter().for_each(|conn| self.recount_client(io, conn));
        while self.client_memory > most {
            let largest = self.clients.iter().filter(|c| may_go(c)).max_by_key(|c| c.counted);
            let Some(client) = largest else { break };
            let conn = client.conn;
            tracing::info!("Evicting client: {}", describe(client, io));
            self.stats.evicted_clients += 1;
            self.close_client(io, conn, false);
            self.recount_client(io, conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Action;
    use crate::server::testing::Bench;

    fn closed(b: &mut Bench) -> Vec<ConnId> {
        let actions = std::iter::from_fn(|| b.io.next_action());
        actions.filter_map(|a| if let Action::Close { conn, .. } = a { Some(conn) } else { None }).collect()
    }

    #[test]
    fn the_largest_goes_unless_it_is_protected() {
        let config = Config { maxmemory_clients: ClientMemory::Bytes(100_000), ..Config::default() };
        let mut b = Bench::new(config);
        let (small, large, protected) = (b.connect(), b.connect(), b.connect());
        b.send(protected, "CLIENT NO-EVICT ON");
        let text = format!("MULTI\r\nSET k {}", "x".repeat(60_000));
        b.send(protected, &text);
        b.send(large, &text);
        assert_eq!(closed(&mut b), []);
        b.send(small, &format!("SET k {}\r\nGET k", "x".repeat(30_000)));
        // The small one has taken its reply by now: it is counted anew before anybody is closed.
        assert_eq!(closed(&mut b), []);
        b.send(small, &text);
        assert_eq!(closed(&mut b).len(), 1);
        assert_eq!(b.server.stats.evicted_clients, 1);
        assert!(b.server.client_memory < 100_000);
        b.pass(200);
        assert_eq!(closed(&mut b), []);
    }
}
