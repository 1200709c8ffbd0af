//! List values: one listpack while small; then a queue of listpacks of bounded size (Redis' quicklist). An element that
//! is larger than such a node is a node of its own.

use super::either::Either;
use super::elem::Elem;
use super::limits::Limits;
use super::listpack::Listpack;
use super::thin::{Size, Word};
use std::collections::VecDeque;
use std::ops::Range;

/// A list value.
#[derive(Clone)]
pub struct List(Word<Listpack, Nodes>);

/// A list of other than one listpack.
#[derive(Clone, Default)]
struct Nodes {
    nodes: VecDeque<Node>,
    len: usize,
}

/// A piece of a list; never empty.
#[derive(Clone)]
pub enum Node {
    /// Several elements.
    Packed(Listpack),
    /// One large element.
    Plain(Box<[u8]>),
}

/// A piece of a list, to be read.
#[derive(Clone, Copy)]
pub enum NodeRef<'a> {
    /// Several elements.
    Packed(&'a Listpack),
    /// One large element.
    Plain(&'a [u8]),
}

/// Which end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The head (LPUSH, LPOP).
    Front,
    /// The tail (RPUSH, RPOP).
    Back,
}

impl<'a> NodeRef<'a> {
    /// Number of elements.
    #[allow(clippy::len_without_is_empty)] // It never is.
    pub fn len(self) -> usize {
        match self {
            NodeRef::Packed(lp) => lp.len(),
            NodeRef::Plain(_) => 1,
        }
    }

    /// Size in bytes.
    pub fn byte_len(self) -> usize {
        match self {
            NodeRef::Packed(lp) => lp.byte_len(),
            NodeRef::Plain(b) => b.len(),
        }
    }

    /// The elements.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Elem<'a>> + Clone {
        match self {
            NodeRef::Packed(lp) => Either::One(lp.iter()),
            NodeRef::Plain(b) => Either::Two(std::iter::once(Elem::Bytes(b))),
        }
    }
}

impl Node {
    fn of(e: &[u8], limits: &Limits) -> Node {
        if e.len() > limits.list_node_bytes() {
            return Node::Plain(e.into());
        }
        let mut lp = Listpack::new();
        lp.push_back(Elem::Bytes(e));
        Node::Packed(lp)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// Never true of a node in a list.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Elem<'_>> + Clone {
        self.as_ref().iter()
    }

    fn as_ref(&self) -> NodeRef<'_> {
        match self {
            Node::Packed(lp) => NodeRef::Packed(lp),
            Node::Plain(b) => NodeRef::Plain(b),
        }
    }

    fn get(&self, i: usize) -> Option<Elem<'_>> {
        match self {
            Node::Packed(lp) => lp.seek(i as i64).map(|at| lp.get(at)),
            Node::Plain(b) => (i == 0).then_some(Elem::Bytes(b)),
        }
    }

    /// The listpack, if `e` may be added to it.
    fn with_room(&mut self, e: &[u8], limits: &Limits) -> Option<&mut Listpack> {
        match self {
            Node::Packed(lp) if has_room(lp, e, limits) => Some(lp),
            _ => None,
        }
    }

    fn remove(&mut self, i: usize, count: usize) {
        if let Node::Packed(lp) = self
            && let Some(at) = lp.seek(i as i64)
        {
            lp.remove(at, count);
        }
    }
}

/// What an element may take in a listpack beyond its data.
const NODE_OVERHEAD: usize = 10;

/// Whether an element may be added to a node.
fn has_room(lp: &Listpack, e: &[u8], limits: &Limits) -> bool {
    has_room_for(lp, 1, e.len(), limits)
}

/// Whether `count` elements of so many bytes together may be.
fn has_room_for(lp: &Listpack, count: usize, bytes: usize, limits: &Limits) -> bool {
    let needs = bytes.saturating_add(count.saturating_mul(NODE_OVERHEAD));
    lp.byte_len().saturating_add(needs) <= limits.list_node_bytes()
        && lp.len().saturating_add(count) <= limits.list_node_len()
}

impl Default for List {
    fn default() -> Self {
        List::new()
    }
}

impl List {
    /// An empty one.
    pub fn new() -> List {
        List(Word::small(Listpack::new()))
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0.get() {
            Size::Small(lp) => lp.len(),
            Size::Large(nodes) => nodes.len,
        }
    }

    /// Has the beginning of what it keeps elsewhere fetched into the processor's cache.
    #[inline]
    pub fn fetch(&self) {
        self.0.prefetch();
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces it is made of: as they go into files.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeRef<'_>> {
        let (one, more) = match self.0.get() {
            Size::Small(lp) => (Some(lp).filter(|lp| !lp.is_empty()), None),
            Size::Large(nodes) => (None, Some(&nodes.nodes)),
        };
        let count = usize::from(one.is_some()) + more.map_or(0, VecDeque::len);
        let mut all =
            one.into_iter().map(NodeRef::Packed).chain(more.into_iter().flatten().map(Node::as_ref));
        // Neither part alone knows how long both are.
        (0..count).map(move |_| all.next().expect("there are as many as were counted"))
    }

    /// Changes it as a queue of nodes.
    fn as_nodes<R>(&mut self, f: impl FnOnce(&mut Nodes) -> R) -> R {
        if let Size::Large(nodes) = self.0.get_mut() {
            let result = f(nodes);
            if nodes.is_one_listpack() {
                self.shrink();
            }
            return result;
        }
        let mut nodes = Nodes::default();
        if let Size::Small(lp) = std::mem::take(self).0.into_inner() {
            nodes.push_node(Node::Packed(lp));
        }
        let result = f(&mut nodes);
        let one = nodes.is_one_listpack();
        self.0 = Word::large(Box::new(nodes));
        if one {
            self.shrink();
        }
        result
    }

    fn shrink(&mut self) {
        if let Size::Large(nodes) = self.0.get_mut() {
            self.0 = Word::small(match nodes.nodes.pop_front() {
                Some(Node::Packed(lp)) => lp,
                _ => Listpack::new(),
            });
        }
    }

    /// Adds a piece from a file at the tail; an empty one is dropped.
    pub fn push_node(&mut self, node: Node) {
        match node {
            Node::Packed(lp) if self.is_empty() => self.0 = Word::small(lp),
            node => self.as_nodes(|n| n.push_node(node)),
        }
    }

    /// Adds an element at an end.
    pub fn push(&mut self, limits: &Limits, end: End, e: &[u8]) {
        match self.0.get_mut() {
            Size::Large(nodes) => nodes.push(limits, end, e),
            Size::Small(lp) if has_room(lp, e, limits) => match end {
                End::Front => lp.push_front(Elem::Bytes(e)),
                End::Back => lp.push_back(Elem::Bytes(e)),
            },
            Size::Small(_) => self.as_nodes(|n| n.push(limits, end, e)),
        }
    }

    /// Adds elements at an end, one after the other.
    pub fn push_all<'a>(
        &mut self,
        limits: &Limits,
        end: End,
        elements: impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone,
    ) {
        if let Size::Small(lp) = self.0.get_mut()
            && has_room_for(lp, elements.len(), elements.clone().map(<[u8]>::len).sum(), limits)
        {
            return match end {
                End::Front => lp.prepend(elements.rev().map(Elem::Bytes)),
                End::Back => lp.append(elements.map(Elem::Bytes)),
            };
        }
        elements.for_each(|e| self.push(limits, end, e));
    }

    /// The element at an end.
    pub fn peek(&self, end: End) -> Option<Elem<'_>> {
        match (self.0.get(), end) {
            (Size::Small(lp), End::Front) => lp.iter().next(),
            (Size::Small(lp), End::Back) => lp.iter().next_back(),
            (Size::Large(nodes), _) => nodes.peek(end),
        }
    }

    /// Removes the element at an end; what `f` makes of it before.
    pub fn pop<R>(&mut self, end: End, f: impl FnOnce(Elem) -> R) -> Option<R> {
        let result = f(self.peek(end)?);
        match (self.0.get_mut(), end) {
            (Size::Small(lp), _) => {
                let at = if end == End::Front { lp.first() } else { lp.last() };
                at.map(|at| lp.remove(at, 1));
            }
            (Size::Large(nodes), End::Front) => nodes.remove_range(0..1),
            (Size::Large(nodes), End::Back) => nodes.remove_range(nodes.len - 1..nodes.len),
        }
        if let Size::Large(nodes) = self.0.get()
            && nodes.is_one_listpack()
        {
            self.shrink();
        }
        Some(result)
    }

    /// The index that a client's number means, negative from the tail.
    pub fn index(&self, i: i64) -> Option<usize> {
        let len = self.len();
        let i = if i < 0 { i.checked_add_unsigned(len as u64)? } else { i };
        usize::try_from(i).ok().filter(|&i| i < len)
    }

    /// Element number `i`.
    pub fn get(&self, i: usize) -> Option<Elem<'_>> {
        match self.0.get() {
            Size::Small(lp) => lp.seek(i as i64).map(|at| lp.get(at)),
            Size::Large(nodes) => nodes.get(i),
        }
    }

    /// Replaces element number `i`; false if there is none.
    pub fn set(&mut self, limits: &Limits, i: usize, e: &[u8]) -> bool {
        self.as_nodes(|n| n.set(limits, i, e))
    }

    /// Adds an element so that it becomes number `i` (at most the length).
    pub fn insert(&mut self, limits: &Limits, i: usize, e: &[u8]) {
        self.as_nodes(|n| n.insert(limits, i, e));
    }

    /// Removes the elements of a range, which is cut to the length of the list.
    pub fn remove_range(&mut self, range: Range<usize>) {
        match self.0.get_mut() {
            Size::Small(lp) => {
                let count = range.end.min(lp.len()).saturating_sub(range.start);
                if count > 0
                    && let Some(at) = lp.seek(range.start as i64)
                {
                    lp.remove(at, count);
                }
            }
            Size::Large(_) => self.as_nodes(|n| n.remove_range(range)),
        }
    }

    /// Keeps only the elements of a range (LTRIM).
    pub fn retain_range(&mut self, range: Range<usize>) {
        self.remove_range(range.end.max(range.start)..usize::MAX);
        self.remove_range(0..range.start);
    }

    /// Removes elements equal to `e` (LREM): the first `count`, the last -`count`, or with 0 all. Returns how many.
    pub fn remove_equal(&mut self, e: &[u8], count: i64) -> usize {
        self.as_nodes(|n| n.remove_equal(e, count))
    }

    /// The elements, from either end.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Elem<'_>> {
        match self.0.get() {
            Size::Small(lp) => Either::One(lp.iter()),
            Size::Large(nodes) => Either::Two(nodes.nodes.iter().flat_map(Node::iter)),
        }
    }

    /// The elements of a range, which is cut to the length of the list.
    pub fn range(&self, range: Range<usize>) -> impl Iterator<Item = Elem<'_>> {
        match self.0.get() {
            Size::Small(lp) => Either::One(lp.slice(range.start, range.end.saturating_sub(range.start))),
            Size::Large(nodes) => Either::Two(nodes.range(range)),
        }
    }

    /// The name `OBJECT ENCODING` gives it in Redis 7.0.
    pub fn encoding(&self) -> &'static str {
        "quicklist"
    }

    /// Memory beyond its own size; `sample` nodes are looked at (0: all).
    pub fn heap_bytes(&self, sample: usize) -> usize {
        match self.0.get() {
            Size::Small(lp) => lp.heap_bytes(),
            Size::Large(nodes) => size_of::<Nodes>() + nodes.heap_bytes(sample),
        }
    }
}

impl Nodes {
    /// Nothing that would need a queue.
    fn is_one_listpack(&self) -> bool {
        match self.nodes.len() {
            0 => true,
            1 => matches!(self.nodes[0], Node::Packed(_)),
            _ => false,
        }
    }

    /// Adds a piece at the tail; an empty one is dropped.
    fn push_node(&mut self, node: Node) {
        if !node.is_empty() {
            self.len += node.len();
            self.nodes.push_back(node);
        }
    }

    /// Adds an element at an end.
    fn push(&mut self, limits: &Limits, end: End, e: &[u8]) {
        self.len += 1;
        let node = match end {
            End::Front => self.nodes.front_mut(),
            End::Back => self.nodes.back_mut(),
        };
        match (node.and_then(|n| n.with_room(e, limits)), end) {
            (Some(lp), End::Front) => lp.push_front(Elem::Bytes(e)),
            (Some(lp), End::Back) => lp.push_back(Elem::Bytes(e)),
            (None, End::Front) => self.nodes.push_front(Node::of(e, limits)),
            (None, End::Back) => self.nodes.push_back(Node::of(e, limits)),
        }
    }

    /// The element at an end.
    fn peek(&self, end: End) -> Option<Elem<'_>> {
        match end {
            End::Front => self.nodes.front()?.iter().next(),
            End::Back => self.nodes.back()?.iter().next_back(),
        }
    }

    /// Node and place in it of element `i`, which exists.
    fn locate(&self, i: usize) -> (usize, usize) {
        if i < self.len / 2 {
            let mut left = i;
            for (n, node) in self.nodes.iter().enumerate() {
                let len = node.len();
                if left < len {
                    return (n, left);
                }
                left -= len;
            }
        } else {
            // From the tail: how many elements come after those of the node.
            let mut before = self.len;
            for (n, node) in self.nodes.iter().enumerate().rev() {
                before -= node.len();
                if i >= before {
                    return (n, i - before);
                }
            }
        }
        unreachable!("the nodes hold as many elements as the list counts")
    }

    /// Element number `i`.
    fn get(&self, i: usize) -> Option<Elem<'_>> {
        if i >= self.len {
            return None;
        }
        let (n, at) = self.locate(i);
        self.nodes[n].get(at)
    }

    /// Replaces element number `i`; false if there is none.
    fn set(&mut self, limits: &Limits, i: usize, e: &[u8]) -> bool {
        if i >= self.len {
            return false;
        }
        let (n, at) = self.locate(i);
        if let Node::Packed(lp) = &mut self.nodes[n]
            && let Some(pos) = lp.seek(at as i64)
        {
            let grown = lp.byte_len() + e.len() + NODE_OVERHEAD;
            if grown - lp.get(pos).len().min(grown) <= limits.list_node_bytes() {
                lp.replace(pos, Elem::Bytes(e));
                return true;
            }
        }
        self.remove_range(i..i + 1);
        self.insert(limits, i, e);
        true
    }

    /// Adds an element so that it becomes number `i` (at most the length).
    fn insert(&mut self, limits: &Limits, i: usize, e: &[u8]) {
        if i == 0 {
            return self.push(limits, End::Front, e);
        }
        if i >= self.len {
            return self.push(limits, End::Back, e);
        }
        let (n, at) = self.locate(i);
        self.len += 1;
        if let Some(lp) = self.nodes[n].with_room(e, limits) {
            let pos = lp.seek(at as i64).expect("locate names an existing element");
            return lp.insert_before(pos, Elem::Bytes(e));
        }
        // A full node: the new element goes between its halves.
        let mut place = n;
        if at > 0 {
            if let Node::Packed(lp) = &mut self.nodes[n] {
                let tail = lp.split_off(lp.seek(at as i64).expect("locate names an existing element"));
                self.nodes.insert(n + 1, Node::Packed(tail));
            }
            place += 1;
        }
        if place > 0
            && let Some(lp) = self.nodes[place - 1].with_room(e, limits)
        {
            return lp.push_back(Elem::Bytes(e));
        }
        if let Some(lp) = self.nodes.get_mut(place).and_then(|n| n.with_room(e, limits)) {
            return lp.push_front(Elem::Bytes(e));
        }
        self.nodes.insert(place, Node::of(e, limits));
    }

    /// Removes the elements of a range, which is cut to the length of the list.
    fn remove_range(&mut self, range: Range<usize>) {
        let end = range.end.min(self.len);
        if range.start >= end {
            return;
        }
        let (mut n, mut at) = self.locate(range.start);
        let mut left = end - range.start;
        self.len -= left;
        let (mut first_empty, mut empty) = (None, 0);
        while left > 0 {
            let len = self.nodes[n].len();
            let count = left.min(len - at);
            if count == len {
                first_empty.get_or_insert(n);
                empty += 1;
            } else {
                self.nodes[n].remove(at, count);
            }
            left -= count;
            (n, at) = (n + 1, 0);
        }
        if let Some(first) = first_empty {
            self.nodes.drain(first..first + empty);
        }
    }

    /// Removes elements equal to `e` (LREM): the first `count`, the last -`count`, or with 0 all. Returns how many.
    fn remove_equal(&mut self, e: &[u8], count: i64) -> usize {
        let most = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
        let mut removed = 0;
        let mut n = if count < 0 { self.nodes.len() } else { 0 };
        while removed < most && if count < 0 { n > 0 } else { n < self.nodes.len() } {
            if count < 0 {
                n -= 1;
            }
            match &mut self.nodes[n] {
                Node::Plain(b) if **b == *e => {
                    removed += 1;
                    self.nodes.remove(n);
                    continue;
                }
                Node::Plain(_) => {}
                Node::Packed(lp) => {
                    removed += remove_equal_in(lp, e, most - removed, count < 0);
                    if lp.is_empty() {
                        self.nodes.remove(n);
                        continue;
                    }
                }
            }
            if count >= 0 {
                n += 1;
            }
        }
        self.len -= removed;
        removed
    }

    /// The elements of a range, which is cut to the length of the list.
    fn range(&self, range: Range<usize>) -> impl Iterator<Item = Elem<'_>> {
        let end = range.end.min(self.len);
        let count = end.saturating_sub(range.start);
        let (n, at) = if count > 0 { self.locate(range.start) } else { (self.nodes.len(), 0) };
        let head = match self.nodes.get(n) {
            Some(Node::Packed(lp)) => Some(Either::One(lp.iter_from(lp.seek(at as i64)))),
            Some(Node::Plain(b)) => Some(Either::Two(std::iter::once(Elem::Bytes(b)))),
            None => None,
        };
        let rest = self.nodes.range((n + 1).min(self.nodes.len())..).flat_map(Node::iter);
        head.into_iter().flatten().chain(rest).take(count)
    }

    /// Memory beyond its own size; `sample` nodes are looked at (0: all).
    fn heap_bytes(&self, sample: usize) -> usize {
        let heap = |n: &Node| match n {
            Node::Packed(lp) => lp.heap_bytes(),
            Node::Plain(b) => b.len(),
        };
        let own = self.nodes.capacity() * size_of::<Node>();
        own + super::sampled(self.nodes.iter().map(heap), self.nodes.len(), sample)
    }
}

fn remove_equal_in(lp: &mut Listpack, e: &[u8], most: usize, backwards: bool) -> usize {
    let mut removed = 0;
    let mut at = if backwards { lp.last() } else { lp.first() };
    while removed < most
        && let Some(pos) = at
    {
        let hit = lp.get(pos).eq_bytes(e);
        at = if backwards { lp.prev(pos) } else { lp.next(pos) };
        if hit {
            removed += 1;
            let next = lp.remove(pos, 1);
            if !backwards {
                at = next;
            }
        }
    }
    removed
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
