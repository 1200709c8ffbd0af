//! The lease of a master under sentinels: how long it may take writes without hearing again from a majority of them.
//!
//! Contract: a token is the node's own monotonic time, given away in STATUS and echoed by sentinels that know the node as
//! master of its epoch. The lease runs from the newest token that a majority has echoed, so that neither a paused process
//! nor a delayed packet can lengthen it. An echo counts as long as the connection that brought it. Pure: no clock of its own.
//! Gray, Cheriton: Leases (1989).

use std::collections::BTreeMap;

use crate::io::ConnId;
use crate::mutation::{self, Mutation};
use crate::shardmap::{NodeAddr, ShardMap};

#[derive(Debug, Clone, Copy)]
struct Echo {
    epoch: u64,
    token_ms: u64,
    conn: ConnId,
}

/// The newest echo of each sentinel.
#[derive(Debug, Default)]
pub struct Lease {
    echoes: BTreeMap<NodeAddr, Echo>,
}

impl Lease {
    /// A sentinel has echoed a token to the master of `epoch`. `token_ms` must be of this process, and not lie ahead.
    pub fn echoed(&mut self, sentinel: NodeAddr, epoch: u64, token_ms: u64, conn: ConnId) {
        let echo = self.echoes.entry(sentinel).or_insert(Echo { epoch, token_ms, conn });
        if (epoch, token_ms) >= (echo.epoch, echo.token_ms) {
            *echo = Echo { epoch, token_ms, conn };
        }
    }

    /// A connection is gone, and with it whatever reason there was to trust what came through it. True if something did.
    pub fn disconnected(&mut self, conn: ConnId) -> bool {
        let before = self.echoes.len();
        self.echoes.retain(|_, echo| echo.conn != conn);
        self.echoes.len() != before
    }

    /// Until when a master of `epoch` may take writes, in its own monotonic milliseconds; `None`: without limit.
    pub fn until_ms(&self, map: &ShardMap, epoch: u64) -> Option<u64> {
        let lease_ms = map.lease_ms()?;
        if mutation::active(Mutation::LeaseIgnored) {
            return None;
        }
        let valid = |s: &NodeAddr| self.echoes.get(s).filter(|e| e.epoch == epoch).map(|e| e.token_ms);
        let mut tokens: Vec<u64> = map.sentinels.iter().filter_map(valid).collect();
        tokens.sort_unstable_by(|a, b| b.cmp(a));
        let needed = if mutation::active(Mutation::OneEchoEnough) { 1 } else { map.majority() };
        Some(tokens.get(needed - 1).map_or(0, |token| token + lease_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(sentinels: usize) -> ShardMap {
        let sentinels: Vec<String> = (0..sentinels).map(|i| format!("s{i}:26379")).collect();
        let json = serde_json::json!({
            "name": "orders", "generation": 1, "settled": true, "quorum": 1, "downAfterMs": 1000,
            "failoverTimeoutMs": 10000, "graceMs": 30000, "parallelSyncs": 1, "writeAckReplicas": 0,
            "sentinels": sentinels,
            "shards": [{"index": 0, "slots": [[0, 16383]], "members": ["a:6379"], "epoch": 0, "master": null,
                        "dataset": null, "foundedAt": 0, "acceptLoss": 0}],
        });
        serde_json::from_value(json).unwrap()
    }

    fn sentinel(i: usize) -> NodeAddr {
        NodeAddr::new(&format!("s{i}"), 26379).unwrap()
    }

    #[test]
    fn it_runs_from_the_newest_token_that_a_majority_has_echoed() {
        let (map, mut lease) = (map(5), Lease::default());
        for (i, token) in [(0, 5000), (1, 4000), (2, 3000), (3, 2000)] {
            lease.echoed(sentinel(i), 7, token, ConnId(i as u64));
        }
        assert_eq!(lease.until_ms(&map, 7), Some(3000 + 800));
        // Late and repeated echoes change nothing; newer ones do.
        lease.echoed(sentinel(2), 7, 2500, ConnId(2));
        assert_eq!(lease.until_ms(&map, 7), Some(3800));
        lease.echoed(sentinel(3), 7, 6000, ConnId(3));
        assert_eq!(lease.until_ms(&map, 7), Some(4800));
    }

    #[test]
    fn only_echoes_of_the_epoch_of_sentinels_of_the_map_and_of_open_connections_count() {
        let (map, mut lease) = (map(3), Lease::default());
        lease.echoed(sentinel(0), 7, 5000, ConnId(0));
        lease.echoed(sentinel(9), 7, 5000, ConnId(9));
        assert_eq!(lease.until_ms(&map, 7), Some(0), "one of three");
        lease.echoed(sentinel(1), 6, 5000, ConnId(1));
        assert_eq!(lease.until_ms(&map, 7), Some(0), "another epoch");
        lease.echoed(sentinel(1), 7, 4000, ConnId(1));
        assert_eq!(lease.until_ms(&map, 7), Some(4800));
        lease.echoed(sentinel(1), 6, 9000, ConnId(1));
        assert_eq!(lease.until_ms(&map, 7), Some(4800), "an older epoch is late");
        assert!(lease.disconnected(ConnId(0)) && !lease.disconnected(ConnId(0)));
        assert_eq!(lease.until_ms(&map, 7), Some(0));
    }

    #[test]
    fn without_sentinels_there_is_none_and_it_is_over_before_anybody_counts_as_down() {
        assert_eq!(Lease::default().until_ms(&map(0), 1), None);
        let map = map(3);
        assert!(map.lease_ms().unwrap() < map.lease_over_ms() && map.lease_over_ms() < map.down_after_ms);
    }
}
