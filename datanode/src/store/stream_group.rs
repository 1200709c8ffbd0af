//! Consumer groups: what has been delivered to whom and not been acknowledged yet.

use super::stream_id::StreamId;
use super::stream_ids::IdMap;

/// A consumer within its group, until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerId(u32);

/// A delivery that has not been acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// To whom.
    pub consumer: ConsumerId,
    /// When it was delivered last, Unix milliseconds.
    pub delivered_ms: i64,
    /// How often it has been delivered.
    pub deliveries: u64,
}

/// One consumer.
#[derive(Clone)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it was last heard of, Unix milliseconds.
    pub seen_ms: i64,
    pending: IdMap<()>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The entries that it has not acknowledged, in order.
    pub fn pending(&self) -> &IdMap<()> {
        &self.pending
    }
}

/// One group.
#[derive(Clone, Default)]
pub struct Group {
    /// The last entry delivered to any of its consumers.
    pub last_id: StreamId,
    /// How many entries were added to the stream up to that one, if it is known.
    pub entries_read: Option<i64>,
    pending: IdMap<Pending>,
    /// By their ids; a place that is free may be taken again.
    consumers: Vec<Option<Consumer>>,
    /// The ids in the order of the names.
    by_name: Vec<ConsumerId>,
}

impl Group {
    /// A group without consumers.
    pub fn new(last_id: StreamId, entries_read: Option<i64>) -> Group {
        Group { last_id, entries_read, ..Group::default() }
    }

    fn place(&self, name: &[u8]) -> Result<usize, usize> {
        self.by_name.binary_search_by(|&id| (*self.get(id).name).cmp(name))
    }

    /// A consumer.
    pub fn get(&self, id: ConsumerId) -> &Consumer {
        self.consumers[id.0 as usize].as_ref().expect("the ids of removed consumers are not kept")
    }

    fn get_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        self.consumers[id.0 as usize].as_mut().expect("the ids of removed consumers are not kept")
    }

    /// The consumer of this name.
    pub fn find(&self, name: &[u8]) -> Option<ConsumerId> {
        self.place(name).ok().map(|at| self.by_name[at])
    }

    /// Adds a consumer, unless there is one of this name.
    pub fn add_consumer(&mut self, name: &[u8], seen_ms: i64) -> Option<ConsumerId> {
        let at = self.place(name).err()?;
        let consumer = Consumer { name: name.into(), seen_ms, pending: IdMap::default() };
        let free = self
            .consumers
            .iter()
            .position(Option::is_none)
            .filter(|_| self.by_name.len() < self.consumers.len());
        let place = free.unwrap_or_else(|| {
            self.consumers.push(None);
            self.consumers.len() - 1
        });
        self.consumers[place] = Some(consumer);
        let id = ConsumerId(place as u32);
        self.by_name.insert(at, id);
        Some(id)
    }

    /// Removes a consumer with all that was delivered to it; how many entries that were.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.by_name.remove(self.place(name).ok()?);
        let consumer = self.consumers[id.0 as usize].take()?;
        for (entry, _) in consumer.pending.iter() {
            self.pending.remove(entry);
        }
        Some(consumer.pending.len())
    }

    /// A consumer was heard of.
    pub fn seen(&mut self, id: ConsumerId, now_ms: i64) {
        self.get_mut(id).seen_ms = now_ms;
    }

    /// Its consumers by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.by_name.iter().map(|&id| self.get(id))
    }

    /// Everything that is pending, in order.
    pub fn all_pending(&self) -> &IdMap<Pending> {
        &self.pending
    }

    /// The delivery of an entry.
    pub fn pending(&self, entry: StreamId) -> Option<Pending> {
        self.pending.get(entry).copied()
    }

    /// Notes a delivery, in the place of one to another consumer too.
    pub fn set_pending(&mut self, entry: StreamId, pending: Pending) {
        let before = self.pending.insert(entry, pending);
        if before.is_some_and(|b| b.consumer == pending.consumer) {
            return;
        }
        if let Some(before) = before {
            self.get_mut(before.consumer).pending.remove(entry);
        }
        self.get_mut(pending.consumer).pending.insert(entry, ());
    }

    /// Forgets a delivery: it was acknowledged, or the entry is gone. What it was.
    pub fn acknowledge(&mut self, entry: StreamId) -> Option<Pending> {
        let pending = self.pending.remove(entry)?;
        self.get_mut(pending.consumer).pending.remove(entry);
        Some(pending)
    }

    /// Memory beyond its own size, estimated.
    pub fn heap_bytes(&self) -> usize {
        let consumers: usize = self.consumers().map(|c| c.name.len() + c.pending.heap_bytes()).sum();
        self.pending.heap_bytes()
            + self.consumers.capacity() * size_of::<Option<Consumer>>()
            + self.by_name.capacity() * size_of::<ConsumerId>()
            + consumers
    }
}
