//! A map by entry ids that mostly grows at its end and shrinks at its front, as what is pending does: sorted chunks, full
//! but for the last, so that it takes little more memory than its elements do.

use super::stream_id::StreamId;
use std::collections::VecDeque;

/// Most elements of a chunk.
const MAX: usize = 64;
/// A chunk with fewer is merged with the one behind it, if both together are no more than half full.
const MIN: usize = MAX / 4;

/// See the module's description.
#[derive(Clone)]
pub struct IdMap<V> {
    /// None is empty.
    chunks: VecDeque<Vec<(StreamId, V)>>,
    len: usize,
}

impl<V> Default for IdMap<V> {
    fn default() -> Self {
        IdMap { chunks: VecDeque::new(), len: 0 }
    }
}

impl<V> IdMap<V> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunk that has `id`, if there is one, or would get it.
    fn chunk_of(&self, id: StreamId) -> usize {
        self.chunks.partition_point(|c| c[0].0 <= id).saturating_sub(1)
    }

    fn find(&self, id: StreamId) -> Option<(usize, usize)> {
        let chunk = self.chunk_of(id);
        let at = self.chunks.get(chunk)?.binary_search_by_key(&id, |e| e.0).ok()?;
        Some((chunk, at))
    }

    /// The value of `id`.
    pub fn get(&self, id: StreamId) -> Option<&V> {
        self.find(id).map(|(chunk, at)| &self.chunks[chunk][at].1)
    }

    /// Sets the value of `id`; the one that it had.
    pub fn insert(&mut self, id: StreamId, value: V) -> Option<V> {
        let mut i = self.chunk_of(id);
        let Some(chunk) = self.chunks.get_mut(i) else {
            self.chunks.push_back(vec![(id, value)]);
            self.len += 1;
            return None;
        };
        let mut at = match chunk.binary_search_by_key(&id, |e| e.0) {
            Ok(at) => return Some(std::mem::replace(&mut chunk[at].1, value)),
            Err(at) => at,
        };
        if chunk.len() == MAX {
            // At the end a new chunk begins and leaves a full one behind.
            let half = if at == MAX && i + 1 == self.chunks.len() { MAX } else { MAX / 2 };
            let tail = self.chunks[i].split_off(half);
            self.chunks[i].shrink_to_fit();
            self.chunks.insert(i + 1, tail);
            if at >= half {
                (i, at) = (i + 1, at - half);
            }
        }
        self.chunks[i].insert(at, (id, value));
        self.len += 1;
        None
    }

    /// Removes `id`; the value that it had.
    pub fn remove(&mut self, id: StreamId) -> Option<V> {
        let (i, at) = self.find(id)?;
        let (_, value) = self.chunks[i].remove(at);
        self.len -= 1;
        let left = self.chunks[i].len();
        if left == 0 {
            self.chunks.remove(i);
        } else if left < MIN {
            if self.chunks.get(i + 1).is_some_and(|next| left + next.len() <= MAX / 2) {
                let next = self.chunks.remove(i + 1).unwrap_or_default();
                self.chunks[i].extend(next);
            }
            self.chunks[i].shrink_to(2 * left);
        }
        Some(value)
    }

    /// The elements from one id to another, both included.
    pub fn range(&self, from: StreamId, to: StreamId) -> impl Iterator<Item = (StreamId, &V)> {
        let elements = self.chunks.range(self.chunk_of(from)..).flatten();
        let within = elements.skip_while(move |e| e.0 < from).take_while(move |e| e.0 <= to);
        within.map(|(id, value)| (*id, value))
    }

    /// All elements.
    pub fn iter(&self) -> impl Iterator<Item = (StreamId, &V)> {
        self.range(StreamId::MIN, StreamId::MAX)
    }

    /// The least and the largest id.
    pub fn ends(&self) -> Option<(StreamId, StreamId)> {
        Some((self.chunks.front()?.first()?.0, self.chunks.back()?.last()?.0))
    }

    /// Memory beyond its own size.
    pub fn heap_bytes(&self) -> usize {
        // All chunks are full but for some.
        self.chunks.capacity() * size_of::<Vec<(StreamId, V)>>() + self.len * size_of::<(StreamId, V)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rng::Rng;
    use std::collections::BTreeMap;

    #[test]
    fn as_a_sorted_map() {
        let mut rng = Rng::new(4);
        for (span, adds) in [(300, 5), (3000, 6), (3000, 4), (100_000, 7)] {
            let (mut map, mut model) = (IdMap::default(), BTreeMap::new());
            for step in 0..6000 {
                let id = match rng.below(3) {
                    0 => StreamId::new(span as u64 + step, 0),
                    _ => StreamId::new(rng.below(span) as u64, 1),
                };
                if rng.below(10) < adds {
                    assert_eq!(map.insert(id, step), model.insert(id, step));
                } else {
                    let first = model.keys().next().copied().filter(|_| rng.one_in(2)).unwrap_or(id);
                    assert_eq!(map.remove(first), model.remove(&first));
                }
                assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
                assert_eq!(map.get(id), model.get(&id));
                assert_eq!(map.ends(), model.keys().next().copied().zip(model.keys().last().copied()));
                if step % 50 == 0 {
                    let to = StreamId::new(id.ms + rng.below(span) as u64, 0);
                    let want: Vec<_> = model.range(id..=to).map(|(id, v)| (*id, v)).collect();
                    assert_eq!(map.range(id, to).collect::<Vec<_>>(), want);
                    assert!(map.chunks.iter().all(|c| !c.is_empty() && c.len() <= MAX));
                    let want: Vec<_> = model.iter().map(|(id, v)| (*id, v)).collect();
                    assert_eq!(map.iter().collect::<Vec<_>>(), want);
                }
            }
        }
    }

    #[test]
    fn ascending_ids_fill_it() {
        let mut map = IdMap::default();
        (0..6400).for_each(|ms| assert_eq!(map.insert(StreamId::new(ms, 0), ()), None));
        assert_eq!((map.chunks.len(), map.chunks.iter().map(Vec::capacity).sum::<usize>()), (100, 6400));
        (0..6400).for_each(|ms| assert_eq!(map.remove(StreamId::new(ms, 0)), Some(())));
        assert!(map.chunks.is_empty());
    }
}
