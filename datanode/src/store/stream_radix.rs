//! How many nodes Redis' radix tree has for a stream's index (`radix-tree-nodes` of `XINFO STREAM`). Here the index is
//! another one; the figure is one that tools show.

use super::stream_id::{ID_BYTES, StreamId};

/// The number for these ids, in ascending order. A node is made for each id, for each place where ids part, and for each
/// run of bytes that several places of parting, or the ends, have between them.
pub fn nodes(ids: impl Iterator<Item = StreamId>) -> usize {
    // Depths at which the path to the last id parts from others; growing.
    let mut partings: Vec<usize> = Vec::new();
    let mut previous: Option<[u8; ID_BYTES]> = None;
    let mut count = 0;
    // From behind the byte that is chosen at depth `above` to depth `below`.
    let run = |above: Option<usize>, below: usize| usize::from(below > above.map_or(0, |a| a + 1));
    for id in ids {
        let id = id.to_bytes();
        count += 1;
        if let Some(previous) = previous {
            let depth = id.iter().zip(&previous).take_while(|(a, b)| a == b).count();
            let mut below = ID_BYTES;
            while let Some(above) = partings.pop_if(|p| *p > depth) {
                count += run(Some(above), below);
                below = above;
            }
            if partings.last() != Some(&depth) {
                partings.push(depth);
                count += 1;
            }
            count += run(Some(depth), below);
        }
        previous = Some(id);
    }
    if previous.is_none() {
        return 1;
    }
    let mut below = ID_BYTES;
    while let Some(above) = partings.pop() {
        count += run(Some(above), below);
        below = above;
    }
    count + run(None, below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rng::Rng;
    use std::collections::{BTreeMap, BTreeSet};

    /// The same by building the tree: byte by byte, then counted with runs taken together.
    fn counted(ids: &BTreeSet<StreamId>) -> usize {
        #[derive(Default)]
        struct Tree(BTreeMap<u8, Tree>);
        let mut root = Tree::default();
        for id in ids {
            id.to_bytes().iter().fold(&mut root, |t, b| t.0.entry(*b).or_default());
        }
        fn count(mut tree: &Tree) -> usize {
            let mut run = 0;
            while tree.0.len() == 1 {
                (run, tree) = (1, tree.0.values().next().unwrap());
            }
            run + 1 + tree.0.values().map(count).sum::<usize>()
        }
        count(&root)
    }

    #[test]
    fn as_many_as_a_tree_has() {
        // What redis-server 7.0 says of an empty stream and one of a single node.
        assert_eq!(nodes([].into_iter()), 1);
        assert_eq!(nodes([StreamId::new(1, 1)].into_iter()), 2);
        let mut rng = Rng::new(3);
        for round in 0..300 {
            let spread = 1 << rng.below(40);
            let ids: BTreeSet<StreamId> = (0..rng.below(60))
                .map(|_| {
                    StreamId::new(1_700_000_000_000 + rng.below(spread) as u64, rng.below(1 + round) as u64)
                })
                .collect();
            assert_eq!(nodes(ids.iter().copied()), counted(&ids), "{ids:?}");
        }
    }
}
