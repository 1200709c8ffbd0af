//! Sorted set values: a listpack of members and scores in order while small; after that a table from member to score and
//! a tree ordered by (score, member).
//!
//! All ranges are ranges of ranks, in ascending order: `by_score` and `by_lex` find them, `range` and `remove_range` use them.

use super::Corrupt;
use super::dict::{Dict, Entry};
use super::either::Either;
use super::elem::Elem;
use super::limits::Limits;
use super::listpack::Listpack;
use super::num::{IntBuf, float_as_int, format_float, parse_float};
use super::prefetch::{Stage, fetch_block};
use super::ranktree::RankTree;
use super::rng::Rng;
use super::small::SmallBytes;
use super::thin::{Size, Word};
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

/// A sorted set value.
#[derive(Clone)]
pub struct ZSet(Word<Listpack, Tree>);

struct Tree {
    members: Dict<Arc<Member>>,
    order: RankTree<Item>,
}

struct Member {
    score: f64,
    name: SmallBytes,
}

impl Entry for Arc<Member> {
    #[inline]
    fn key(&self) -> &[u8] {
        &self.name
    }

    #[inline]
    fn fetch(&self) {
        fetch_block(Arc::as_ptr(self), size_of::<Member>());
    }
}

/// A member in the tree. The score is kept here too, so that most comparisons stay in the node.
#[derive(Clone)]
struct Item {
    score: f64,
    member: Arc<Member>,
}

fn compare(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    // 0 and -0 are equal, and NaN is never stored.
    a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
}

impl Ord for Item {
    #[inline]
    fn cmp(&self, other: &Item) -> Ordering {
        compare((self.score, &self.member.name), (other.score, &other.member.name))
    }
}

impl PartialOrd for Item {
    #[inline]
    fn partial_cmp(&self, other: &Item) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Item {}

/// One end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    /// The score; may be infinite.
    pub score: f64,
    /// Whether members with this score are left out.
    pub exclusive: bool,
}

/// One end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// `-`: before every member.
    Min,
    /// `+`: after every member.
    Max,
    /// `[member`.
    Inclusive(&'a [u8]),
    /// `(member`.
    Exclusive(&'a [u8]),
}

impl ScoreBound {
    /// Whether a member with this score lies before a range that starts here.
    fn is_after(&self, score: f64) -> bool {
        if self.exclusive { score <= self.score } else { score < self.score }
    }

    /// Whether a member with this score lies before the end of a range that ends here.
    fn reaches(&self, score: f64) -> bool {
        if self.exclusive { score < self.score } else { score <= self.score }
    }
}

impl LexBound<'_> {
    fn is_after(&self, member: &[u8]) -> bool {
        match *self {
            LexBound::Min => false,
            LexBound::Max => true,
            LexBound::Inclusive(b) => member < b,
            LexBound::Exclusive(b) => member <= b,
        }
    }

    fn reaches(&self, member: &[u8]) -> bool {
        match *self {
            LexBound::Min => false,
            LexBound::Max => true,
            LexBound::Inclusive(b) => member <= b,
            LexBound::Exclusive(b) => member < b,
        }
    }
}

impl Default for ZSet {
    fn default() -> Self {
        ZSet::new()
    }
}

fn read_score(e: Elem) -> Option<f64> {
    match e {
        Elem::Int(n) => Some(n as f64),
        Elem::Bytes(b) => parse_float(b),
    }
}

/// The score at a position of a listpack that has been checked.
fn score_at(lp: &Listpack, pos: usize) -> f64 {
    read_score(lp.get(pos)).expect("every second element is a score")
}

fn with_score<R>(score: f64, f: impl FnOnce(Elem) -> R) -> R {
    match float_as_int(score) {
        Some(n) => f(Elem::Int(n)),
        None => f(Elem::Bytes(format_float(score).as_bytes())),
    }
}

/// Members with their scores, from either end.
#[derive(Clone)]
struct Pairs<'a>(super::listpack::Iter<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (Elem<'a>, f64);
    fn next(&mut self) -> Option<Self::Item> {
        let member = self.0.next()?;
        Some((member, read_score(self.0.next()?)?))
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let score = read_score(self.0.next_back()?)?;
        Some((self.0.next_back()?, score))
    }
}

impl Clone for Tree {
    fn clone(&self) -> Tree {
        let mut copy = Tree { members: Dict::new(self.members.seed()), order: RankTree::default() };
        for item in self.order.range(0..usize::MAX) {
            copy.insert(&item.member.name, item.score);
        }
        copy
    }
}

impl Tree {
    fn new(limits: &Limits) -> Tree {
        Tree { members: Dict::new(limits.seed), order: RankTree::default() }
    }

    fn insert(&mut self, name: &[u8], score: f64) -> Option<f64> {
        let Some(slot) = self.members.find_mut(name) else {
            let member = Arc::new(Member { score, name: SmallBytes::new(name) });
            self.order.insert(Item { score, member: Arc::clone(&member) });
            self.members.insert(member);
            return None;
        };
        let old = slot.score;
        if old != score {
            let item = Item { score: old, member: Arc::clone(slot) };
            self.order.remove(&item);
            drop(item);
            // Out of the tree, the table's is the only reference.
            match Arc::get_mut(slot) {
                Some(member) => member.score = score,
                None => *slot = Arc::new(Member { score, name: slot.name.clone() }),
            }
            self.order.insert(Item { score, member: Arc::clone(slot) });
        }
        Some(old)
    }

    fn remove(&mut self, name: &[u8]) -> Option<f64> {
        let member = self.members.remove(name)?;
        let score = member.score;
        self.order.remove(&Item { score, member });
        Some(score)
    }
}

impl ZSet {
    /// An empty one.
    pub fn new() -> ZSet {
        ZSet(Word::small(Listpack::new()))
    }

    /// An empty one that is to get so many members, the longest of them of so many bytes: in the encoding that it will
    /// have then, without a conversion on the way.
    pub fn sized(limits: &Limits, members: usize, longest: usize) -> ZSet {
        let fits = members <= limits.zset_max_listpack_entries && longest <= limits.zset_max_listpack_value;
        ZSet(if fits { Word::small(Listpack::new()) } else { Word::large(Box::new(Tree::new(limits))) })
    }

    /// Takes over a listpack of members and scores from a file. Refused: an odd number of elements, what is no score, a
    /// member twice. One that is not in order is put in order.
    pub fn from_listpack(lp: Listpack, limits: &Limits) -> Result<ZSet, Corrupt> {
        if !lp.len().is_multiple_of(2) {
            return Err(Corrupt("sorted set: a member without a score"));
        }
        if lp.iter().skip(1).step_by(2).any(|s| read_score(s).is_none()) {
            return Err(Corrupt("sorted set: not a score"));
        }
        if lp.has_twice(limits.seed) {
            return Err(Corrupt("sorted set: a member twice"));
        }
        let longest = lp.iter().step_by(2).map(|m| m.len()).max().unwrap_or(0);
        let mut z = ZSet::sized(limits, lp.len() / 2, longest);
        let sorted = Pairs(lp.iter()).is_sorted_by(|a, b| {
            a.1 < b.1 || compare((a.1, &a.0.to_bytes()), (b.1, &b.0.to_bytes())) == Ordering::Less
        });
        if sorted && z.as_listpack().is_some() {
            return Ok(ZSet(Word::small(lp)));
        }
        for (member, score) in Pairs(lp.iter()) {
            z.insert(limits, &member.to_bytes(), score);
        }
        Ok(z)
    }

    /// The listpack, while it is one: as it goes into files.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        self.0.as_small()
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0.get() {
            Size::Small(lp) => lp.len() / 2,
            Size::Large(t) => t.members.len(),
        }
    }

    /// Has the beginning of what it keeps elsewhere fetched into the processor's cache.
    #[inline]
    pub fn fetch(&self) {
        self.0.prefetch();
    }

    /// Has a part of what it takes to find a member fetched, by its hash.
    #[inline]
    pub fn prefetch(&self, hash: u64, stage: Stage) {
        if let Size::Large(t) = self.0.get() {
            t.members.prefetch(hash, stage);
        }
    }

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self.0.get() {
            Size::Small(lp) => {
                let at = lp.find(lp.first(), member, 2)?;
                lp.next(at).map(|p| score_at(lp, p))
            }
            Size::Large(t) => t.members.find(member).map(|m| m.score),
        }
    }

    /// Adds a member or changes its score (which must not be NaN); returns the score it had.
    pub fn insert(&mut self, limits: &Limits, member: &[u8], score: f64) -> Option<f64> {
        debug_assert!(!score.is_nan());
        if let Size::Small(lp) = self.0.get_mut() {
            let at = lp.find(lp.first(), member, 2);
            let full = at.is_none() && lp.len() / 2 >= limits.zset_max_listpack_entries;
            if !full && member.len() <= limits.zset_max_listpack_value && lp.has_room(member.len() + 64) {
                let old = at.and_then(|at| lp.next(at)).map(|p| score_at(lp, p));
                if old.is_some_and(|old| old == score) {
                    return old;
                }
                if let Some(at) = at {
                    lp.remove(at, 2);
                }
                insert_packed(lp, member, score);
                return old;
            }
        }
        self.make_tree(limits).insert(member, score)
    }

    fn make_tree(&mut self, limits: &Limits) -> &mut Tree {
        if let Size::Small(lp) = self.0.get() {
            let mut tree = Tree::new(limits);
            for (member, score) in Pairs(lp.iter()) {
                tree.insert(&member.to_bytes(), score);
            }
            self.0 = Word::large(Box::new(tree));
        }
        match self.0.get_mut() {
            Size::Large(t) => t,
            Size::Small(_) => unreachable!("it has just been made a tree"),
        }
    }

    /// Removes a member; returns the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self.0.get_mut() {
            Size::Small(lp) => {
                let at = lp.find(lp.first(), member, 2)?;
                let score = lp.next(at).map(|p| score_at(lp, p));
                lp.remove(at, 2);
                score
            }
            Size::Large(t) => t.remove(member),
        }
    }

    /// The rank of a member, from 0 for the lowest score.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        match self.0.get() {
            Size::Small(lp) => lp.iter().step_by(2).position(|m| m.eq_bytes(member)),
            Size::Large(t) => {
                let m = t.members.find(member)?;
                let before = |i: &Item| compare((i.score, &i.member.name), (m.score, &m.name)).is_lt();
                Some(t.order.partition_point(before))
            }
        }
    }

    /// The ranks of the members with scores from `min` to `max`.
    pub fn by_score(&self, min: ScoreBound, max: ScoreBound) -> Range<usize> {
        let (from, to) = match self.0.get() {
            Size::Small(lp) => (
                Pairs(lp.iter()).take_while(|&(_, s)| min.is_after(s)).count(),
                Pairs(lp.iter()).take_while(|&(_, s)| max.reaches(s)).count(),
            ),
            Size::Large(t) => (
                t.order.partition_point(|i| min.is_after(i.score)),
                t.order.partition_point(|i| max.reaches(i.score)),
            ),
        };
        from..to.max(from)
    }

    /// The ranks of the members from `min` to `max`; only of use where all scores are the same.
    pub fn by_lex(&self, min: LexBound, max: LexBound) -> Range<usize> {
        let (from, to) = match self.0.get() {
            Size::Small(lp) => {
                let before = |f: &dyn Fn(&[u8]) -> bool| {
                    Pairs(lp.iter()).take_while(|(m, _)| f(m.as_bytes(&mut IntBuf::new()))).count()
                };
                (before(&|m| min.is_after(m)), before(&|m| max.reaches(m)))
            }
            Size::Large(t) => (
                t.order.partition_point(|i| min.is_after(&i.member.name)),
                t.order.partition_point(|i| max.reaches(&i.member.name)),
            ),
        };
        from..to.max(from)
    }

    /// The members of a range of ranks (cut to the length) with their scores; `rev()` for descending order.
    pub fn range(&self, ranks: Range<usize>) -> impl DoubleEndedIterator<Item = (Elem<'_>, f64)> {
        match self.0.get() {
            Size::Small(lp) => {
                let to = ranks.end.min(lp.len() / 2);
                let from = ranks.start.min(to);
                let part = lp.slice(2 * from, 2 * (to - from));
                Either::One(Pairs(part))
            }
            Size::Large(t) => {
                Either::Two(t.order.range(ranks).map(|i| (Elem::Bytes(&i.member.name), i.score)))
            }
        }
    }

    /// All members with their scores, in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Elem<'_>, f64)> {
        self.range(0..usize::MAX)
    }

    /// Removes a range of ranks (cut to the length), and gives each to `f`, in ascending order. Returns how many.
    pub fn remove_range(&mut self, ranks: Range<usize>, f: &mut dyn FnMut(Elem, f64)) -> usize {
        let to = ranks.end.min(self.len());
        let count = to.saturating_sub(ranks.start);
        if count == 0 {
            return 0;
        }
        self.range(ranks.start..to).for_each(|(member, score)| f(member, score));
        match self.0.get_mut() {
            Size::Small(lp) => {
                if let Some(at) = lp.seek(2 * ranks.start as i64) {
                    lp.remove(at, 2 * count);
                }
            }
            Size::Large(t) => {
                for _ in 0..count {
                    if let Some(item) = t.order.get(ranks.start).cloned() {
                        t.order.remove(&item);
                        t.members.remove(&item.member.name);
                    }
                }
            }
        }
        count
    }

    /// One member with its score, all with the same probability.
    pub fn random(&self, rng: &mut Rng) -> Option<(Elem<'_>, f64)> {
        match self.0.get() {
            Size::Small(_) => {
                let i = rng.below(self.len());
                self.range(i..i + 1).next()
            }
            Size::Large(t) => t.members.random(rng).map(|m| (Elem::Bytes(&m.name), m.score)),
        }
    }

    /// See `Dict::scan`; a listpack is given whole.
    pub fn scan(&self, cursor: u64, f: &mut dyn FnMut(Elem, f64)) -> u64 {
        match self.0.get() {
            Size::Small(lp) => {
                Pairs(lp.iter()).for_each(|(member, score)| f(member, score));
                0
            }
            Size::Large(t) => t.members.scan(cursor, &mut |m| f(Elem::Bytes(&m.name), m.score)),
        }
    }

    /// The name `OBJECT ENCODING` gives it.
    pub fn encoding(&self) -> &'static str {
        match self.0.get() {
            Size::Small(_) => "listpack",
            Size::Large(_) => "skiplist",
        }
    }

    /// Number of members in each slot, where there is a table.
    pub fn chain_lengths(&self) -> Option<Vec<usize>> {
        match self.0.get() {
            Size::Large(t) => Some(t.members.chain_lengths()),
            Size::Small(_) => None,
        }
    }

    /// Memory beyond its own size; `sample` members of a tree are looked at (0: all).
    pub fn heap_bytes(&self, sample: usize) -> usize {
        match self.0.get() {
            Size::Small(lp) => lp.heap_bytes(),
            Size::Large(t) => {
                // An `Arc` counts its references in front of the value.
                let each = size_of::<Member>() + 2 * size_of::<usize>();
                let table = super::table_bytes(&t.members, sample, each, |m| m.name.heap_bytes());
                table + t.order.heap_bytes() + size_of::<RankTree<Item>>()
            }
        }
    }
}

fn insert_packed(lp: &mut Listpack, member: &[u8], score: f64) {
    let mut at = lp.first();
    let mut buf = IntBuf::new();
    while let Some(pos) = at {
        let score_pos = lp.next(pos).expect("every member has a score");
        if compare((score_at(lp, score_pos), lp.get(pos).as_bytes(&mut buf)), (score, member))
            == Ordering::Greater
        {
            with_score(score, |s| lp.insert_before(pos, s));
            return lp.insert_before(pos, Elem::Bytes(member));
        }
        at = lp.next(score_pos);
    }
    lp.push_back(Elem::Bytes(member));
    with_score(score, |s| lp.push_back(s));
}

#[cfg(test)]
#[path = "zset_tests.rs"]
mod tests;
