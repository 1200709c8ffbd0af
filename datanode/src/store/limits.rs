//! Where collections change from a compact to an indexed encoding: the thresholds that `CONFIG SET` can change.

use super::dict::HashSeed;
use super::listpack::MAX_BYTES;

/// Bytes of a list node when the limit is a number of elements (Redis' safety limit).
const NODE_SAFETY_BYTES: usize = 8192;

/// The thresholds. Conversions only go up; a changed limit applies from the next write on.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Seed of the tables that are made.
    pub seed: HashSeed,
    /// `list-max-listpack-size`: elements of a list node if positive; -1 to -5: 4, 8, 16, 32, 64 KiB.
    pub list_max_listpack_size: i64,
    /// `hash-max-listpack-entries`.
    pub hash_max_listpack_entries: usize,
    /// `hash-max-listpack-value`, in bytes, of fields and values.
    pub hash_max_listpack_value: usize,
    /// `set-max-intset-entries`.
    pub set_max_intset_entries: usize,
    /// `stream-node-max-bytes`; 0: no limit of its own.
    pub stream_node_max_bytes: usize,
    /// `stream-node-max-entries`; 0: no limit.
    pub stream_node_max_entries: u64,
    /// `zset-max-listpack-entries`.
    pub zset_max_listpack_entries: usize,
    /// `zset-max-listpack-value`, in bytes.
    pub zset_max_listpack_value: usize,
}

impl Limits {
    /// Redis' defaults.
    pub fn new(seed: HashSeed) -> Limits {
        Limits {
            seed,
            list_max_listpack_size: -2,
            hash_max_listpack_entries: 128,
            hash_max_listpack_value: 64,
            set_max_intset_entries: 512,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
        }
    }

    /// Bytes that make a stream's node full.
    pub fn stream_node_bytes(&self) -> usize {
        match self.stream_node_max_bytes {
            0 => MAX_BYTES,
            n => n.min(MAX_BYTES),
        }
    }

    /// Most bytes of a list node.
    pub fn list_node_bytes(&self) -> usize {
        match self.list_max_listpack_size {
            n if n >= 0 => NODE_SAFETY_BYTES,
            n => 4096 << (-n - 1).min(4),
        }
    }

    /// Most elements of a list node.
    pub fn list_node_len(&self) -> usize {
        match self.list_max_listpack_size {
            n if n >= 0 => n.max(1) as usize,
            _ => usize::MAX,
        }
    }
}
