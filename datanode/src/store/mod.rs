//! The in-memory data structures of the engine. They know nothing of commands, connections or files: time, random
//! numbers and encoding limits are handed in.

pub mod dict;
mod either;
pub mod elem;
pub mod entry;
pub mod extended;
pub mod geohash;
pub mod hash;
pub mod hyperloglog;
pub mod intset;
pub mod keyspace;
pub mod limits;
pub mod list;
pub mod listpack;
pub mod num;
pub mod partial_sort;
pub mod prefetch;
pub mod ranktree;
pub mod rng;
pub mod set;
pub mod slot;
pub mod small;
pub mod str;
pub mod stream;
pub mod stream_group;
pub mod stream_id;
pub mod stream_ids;
pub mod stream_log;
pub mod stream_node;
mod stream_radix;
pub mod thin;
pub mod value;
pub mod zset;

/// Bytes from outside that are not what they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt {0}")]
pub struct Corrupt(pub &'static str);

/// The sum of `len` sizes, estimated from the first `sample` of them (0: all).
fn sampled(sizes: impl Iterator<Item = usize>, len: usize, sample: usize) -> usize {
    if sample == 0 || sample >= len {
        return sizes.sum();
    }
    // In u128: sizes and numbers of elements may both be large.
    (sizes.take(sample).sum::<usize>() as u128 * len as u128 / sample as u128) as usize
}

/// Memory of a B-tree of `len` elements: its nodes are about three quarters full.
fn tree_bytes<K, V>(len: usize) -> usize {
    len * (size_of::<K>() + size_of::<V>()) * 4 / 3
}

/// Memory of a table with entries of `each` bytes plus what `more` says, estimated from `sample` of them.
fn table_bytes<E: dict::Entry>(
    table: &dict::Dict<E>,
    sample: usize,
    each: usize,
    more: impl Fn(&E) -> usize,
) -> usize {
    table.bytes() + table.len() * each + sampled(table.iter().map(more), table.len(), sample)
}
