//! An ordered set that knows each element's rank: a B+ tree whose inner nodes count what is below them.
//!
//! Finding, adding, removing, and going from rank to element and back take O(log n). Equal elements are one element.

use std::ops::Range;

/// Most elements of a leaf, and most children of an inner node.
const MAX: usize = 64;
/// A node with fewer than this many is merged with a neighbour, or filled up from it.
const MIN: usize = MAX / 4;

/// See the module's description. Cloning an element should be cheap: the first one of each node is kept twice.
pub struct RankTree<T> {
    root: Node<T>,
}

enum Node<T> {
    Leaf(Vec<T>),
    Inner(Vec<Child<T>>),
}

struct Child<T> {
    count: usize,
    first: T,
    node: Box<Node<T>>,
}

impl<T: Ord + Clone> Node<T> {
    fn width(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(children) => children.len(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(children) => children.iter().map(|c| c.count).sum(),
        }
    }

    fn into_child(self) -> Child<T> {
        let first = match &self {
            Node::Leaf(items) => items[0].clone(),
            Node::Inner(children) => children[0].first.clone(),
        };
        Child { count: self.count(), first, node: Box::new(self) }
    }

    /// Adds an element. A node that was split returns its right part.
    fn insert(&mut self, item: T) -> Result<Option<Node<T>>, T> {
        let added_at = match self {
            Node::Leaf(items) => {
                let Err(at) = items.binary_search(&item) else { return Err(item) };
                if items.capacity() == items.len() {
                    // By halves: most sorted sets are small, and doubling would waste more.
                    items.reserve_exact((items.len() / 2).max(4).min(MAX + 1 - items.len()));
                }
                items.insert(at, item);
                at
            }
            Node::Inner(children) => {
                let at = child_for(children, &item);
                let child = &mut children[at];
                if item < child.first {
                    child.first = item.clone();
                }
                let split = child.node.insert(item)?;
                child.count += 1;
                let Some(right) = split else { return Ok(None) };
                let right = right.into_child();
                child.count -= right.count;
                children.insert(at + 1, right);
                at + 1
            }
        };
        if self.width() <= MAX {
            return Ok(None);
        }
        // Elements that come in order come at one end: the node they leave behind should be nearly full.
        let middle = match added_at {
            MAX => MAX - MAX / 8,
            0 | 1 => MAX / 8,
            _ => MAX / 2,
        };
        Ok(Some(match self {
            Node::Leaf(items) => Node::Leaf(items.split_off(middle)),
            Node::Inner(children) => Node::Inner(children.split_off(middle)),
        }))
    }

    fn remove(&mut self, item: &T) -> Option<T> {
        match self {
            Node::Leaf(items) => items.binary_search(item).ok().map(|at| items.remove(at)),
            Node::Inner(children) => {
                let at = child_for(children, item);
                let child = &mut children[at];
                let removed = child.node.remove(item)?;
                child.count -= 1;
                if child.count == 0 {
                    children.remove(at);
                    return Some(removed);
                }
                // The first element may have gone, and nothing must hold on to it.
                if child.first == removed {
                    child.first = child.node.first().clone();
                }
                if child.node.width() < MIN && children.len() > 1 {
                    rebalance(children, at.min(children.len() - 2));
                }
                Some(removed)
            }
        }
    }

    fn first(&self) -> &T {
        match self {
            Node::Leaf(items) => &items[0],
            Node::Inner(children) => &children[0].first,
        }
    }
}

/// The child in which an element is, or belongs.
fn child_for<T: Ord>(children: &[Child<T>], item: &T) -> usize {
    children.partition_point(|c| c.first <= *item).saturating_sub(1)
}

/// Makes one node of the children `at` and `at + 1`, or two of the same size.
fn rebalance<T: Ord + Clone>(children: &mut Vec<Child<T>>, at: usize) {
    let right = children.remove(at + 1);
    let left = &mut children[at];
    left.count += right.count;
    let rest = match (&mut *left.node, *right.node) {
        (Node::Leaf(a), Node::Leaf(b)) => {
            a.extend(b);
            (a.len() > MAX).then(|| Node::Leaf(a.split_off(a.len() / 2)))
        }
        (Node::Inner(a), Node::Inner(b)) => {
            a.extend(b);
            (a.len() > MAX).then(|| Node::Inner(a.split_off(a.len() / 2)))
        }
        _ => unreachable!("all leaves are at the same depth"),
    };
    if let Some(rest) = rest {
        let rest = rest.into_child();
        left.count -= rest.count;
        children.insert(at + 1, rest);
    }
}

impl<T: Ord + Clone> Default for RankTree<T> {
    fn default() -> Self {
        RankTree { root: Node::Leaf(Vec::new()) }
    }
}

impl<T: Ord + Clone> RankTree<T> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.root.count()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.root.width() == 0
    }

    /// Adds an element; false if it was there.
    pub fn insert(&mut self, item: T) -> bool {
        match self.root.insert(item) {
            Err(_) => false,
            Ok(None) => true,
            Ok(Some(right)) => {
                let left = std::mem::replace(&mut self.root, Node::Leaf(Vec::new()));
                self.root = Node::Inner(vec![left.into_child(), right.into_child()]);
                true
            }
        }
    }

    /// Removes an element; returns it if it was there.
    pub fn remove(&mut self, item: &T) -> Option<T> {
        let removed = self.root.remove(item)?;
        loop {
            match &mut self.root {
                Node::Inner(children) if children.len() == 1 => {
                    let only = children.pop().expect("there is one child");
                    self.root = *only.node;
                }
                Node::Inner(children) if children.is_empty() => self.root = Node::Leaf(Vec::new()),
                _ => return Some(removed),
            }
        }
    }

    /// How many elements `pred` holds for; it must hold for a prefix of the order.
    pub fn partition_point(&self, pred: impl Fn(&T) -> bool) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(items) => return rank + items.partition_point(&pred),
                Node::Inner(children) => {
                    let at = children.partition_point(|c| pred(&c.first)).saturating_sub(1);
                    rank += children[..at].iter().map(|c| c.count).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The element of a rank.
    pub fn get(&self, rank: usize) -> Option<&T> {
        let (mut node, mut left) = (&self.root, rank);
        loop {
            match node {
                Node::Leaf(items) => return items.get(left),
                Node::Inner(children) => {
                    let child = children.iter().find(|c| {
                        let here = left < c.count;
                        left -= if here { 0 } else { c.count };
                        here
                    })?;
                    node = &child.node;
                }
            }
        }
    }

    /// The elements of a range of ranks (cut to the length), from either end.
    pub fn range(&self, ranks: Range<usize>) -> Iter<'_, T> {
        let len = self.len();
        let to = ranks.end.min(len);
        let from = ranks.start.min(to);
        Iter { tree: self, from, to, front: &[], back: &[] }
    }

    /// The leaf that holds a rank, and the place in it.
    fn leaf(&self, rank: usize) -> (&[T], usize) {
        let (mut node, mut left) = (&self.root, rank);
        loop {
            match node {
                Node::Leaf(items) => return (items, left),
                Node::Inner(children) => {
                    let mut at = 0;
                    while left >= children[at].count && at + 1 < children.len() {
                        left -= children[at].count;
                        at += 1;
                    }
                    node = &children[at].node;
                }
            }
        }
    }

    /// Memory of the nodes.
    pub fn heap_bytes(&self) -> usize {
        fn below<T>(node: &Node<T>) -> usize {
            match node {
                Node::Leaf(items) => items.capacity() * size_of::<T>(),
                Node::Inner(children) => {
                    children.capacity() * size_of::<Child<T>>()
                        + children.iter().map(|c| size_of::<Node<T>>() + below(&c.node)).sum::<usize>()
                }
            }
        }
        below(&self.root)
    }
}

/// Elements of a range of ranks. Goes down from the root once per leaf.
pub struct Iter<'a, T> {
    tree: &'a RankTree<T>,
    /// Ranks not yet given, without those in `front` and `back`.
    from: usize,
    to: usize,
    front: &'a [T],
    back: &'a [T],
}

impl<'a, T: Ord + Clone> Iterator for Iter<'a, T> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        if self.front.is_empty() {
            if self.from == self.to {
                let (first, rest) = self.back.split_first()?;
                self.back = rest;
                return Some(first);
            }
            let (leaf, at) = self.tree.leaf(self.from);
            let count = (leaf.len() - at).min(self.to - self.from);
            self.front = &leaf[at..at + count];
            self.from += count;
        }
        let (first, rest) = self.front.split_first()?;
        self.front = rest;
        Some(first)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.to - self.from + self.front.len() + self.back.len();
        (n, Some(n))
    }
}

impl<T: Ord + Clone> DoubleEndedIterator for Iter<'_, T> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.back.is_empty() {
            if self.from == self.to {
                let (last, rest) = self.front.split_last()?;
                self.front = rest;
                return Some(last);
            }
            let (leaf, at) = self.tree.leaf(self.to - 1);
            let count = (at + 1).min(self.to - self.from);
            self.back = &leaf[at + 1 - count..=at];
            self.to -= count;
        }
        let (last, rest) = self.back.split_last()?;
        self.back = rest;
        Some(last)
    }
}

impl<T: Ord + Clone> ExactSizeIterator for Iter<'_, T> {}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;
    use std::collections::BTreeSet;

    /// Counts and first elements are exact, no node too small or too large, all leaves at one depth.
    fn check<T: Ord + Clone + std::fmt::Debug>(node: &Node<T>, root: bool) -> usize {
        assert!(node.width() <= MAX && (root || node.width() >= 1));
        match node {
            Node::Leaf(items) => {
                assert!(items.is_sorted_by(|a, b| a < b));
                0
            }
            Node::Inner(children) => {
                assert!(children.len() >= 2 || !root);
                let depths: BTreeSet<usize> = children
                    .iter()
                    .map(|c| {
                        assert_eq!((c.count, &c.first), (c.node.count(), c.node.first()));
                        check(&c.node, false)
                    })
                    .collect();
                assert_eq!(depths.len(), 1);
                depths.first().unwrap() + 1
            }
        }
    }

    #[test]
    fn behaves_like_a_sorted_set() {
        for seed in 0..10 {
            let mut rng = Rng::new(seed);
            let (mut tree, mut model) = (RankTree::default(), BTreeSet::new());
            let space = if seed % 2 == 0 { 20_000 } else { 3000 };
            for step in 0..20_000 {
                let x = rng.below(space) as u32;
                let grow = (step / 5000) % 2 == 0;
                if rng.below(10) < if grow { 8 } else { 2 } {
                    assert_eq!(tree.insert(x), model.insert(x));
                } else {
                    assert_eq!(tree.remove(&x), model.take(&x));
                }
                if step % 500 == 0 {
                    check(&tree.root, true);
                    let all: Vec<u32> = model.iter().copied().collect();
                    assert_eq!(tree.len(), all.len());
                    for _ in 0..20 {
                        let x = rng.below(space) as u32;
                        assert_eq!(tree.partition_point(|y| *y < x), all.partition_point(|y| *y < x));
                        assert_eq!(tree.partition_point(|y| *y <= x), all.partition_point(|y| *y <= x));
                        let i = rng.below(all.len() + 2);
                        assert_eq!(tree.get(i), all.get(i));
                        let (a, b) = (rng.below(all.len() + 1), rng.below(all.len() + 1));
                        let want = &all[a.min(b)..b];
                        assert!(tree.range(a.min(b)..b).eq(want));
                        assert!(tree.range(a.min(b)..b).rev().eq(want.iter().rev()));
                        // From both ends at once.
                        let mut it = tree.range(a.min(b)..b);
                        let mut slice = want.iter();
                        loop {
                            assert_eq!(it.len(), slice.len());
                            let front = rng.one_in(2);
                            let got = if front { it.next() } else { it.next_back() };
                            assert_eq!(got, if front { slice.next() } else { slice.next_back() });
                            if got.is_none() {
                                break;
                            }
                        }
                    }
                }
            }
            for x in model {
                assert_eq!(tree.remove(&x), Some(x));
            }
            assert!(tree.is_empty());
        }
    }

    #[test]
    fn ascending_and_descending_order() {
        for descending in [false, true] {
            let mut tree = RankTree::default();
            for i in 0..100_000u32 {
                assert!(tree.insert(if descending { 100_000 - i } else { i }));
            }
            assert_eq!(check(&tree.root, true), 2);
            assert!(tree.heap_bytes() < 600_000, "{}", tree.heap_bytes());
            assert!(!tree.insert(5));
            assert!(tree.range(0..usize::MAX).is_sorted());
        }
    }
}
