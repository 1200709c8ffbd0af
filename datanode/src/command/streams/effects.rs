//! How deliveries are repeated elsewhere. Who reads, claims and times out depends on the moment, so what came of it is
//! passed on: `XCLAIM` for each entry, `XGROUP SETID` for a group's place, `XGROUP CREATECONSUMER` for a consumer that
//! nothing else would make.

use crate::command::{Ctx, Propagation};
use crate::store::stream_group::{Group, Pending};
use crate::store::stream_id::StreamId;

/// Effects on one group of one stream, gathered while it is being changed.
pub struct Effects<'a> {
    key: &'a [u8],
    group: &'a [u8],
    wanted: bool,
    commands: Vec<Vec<Vec<u8>>>,
}

impl<'a> Effects<'a> {
    /// None yet. The command itself is not repeated.
    pub fn new(ctx: &mut Ctx<'_>, key: &'a [u8], group: &'a [u8]) -> Effects<'a> {
        ctx.propagation = Propagation::Done;
        Effects { key, group, wanted: ctx.keys.propagates(), commands: Vec::new() }
    }

    fn add(&mut self, words: &[&[u8]]) {
        self.commands.push(words.iter().map(|w| w.to_vec()).collect());
    }

    /// An entry was delivered, or is no more pending because it is gone; `id` as it shall be written.
    pub fn claimed(&mut self, group: &Group, id: &[u8], pending: &Pending) {
        if !self.wanted {
            return;
        }
        let (time, count) = (pending.delivered_ms.to_string(), pending.deliveries.to_string());
        let (consumer, last) = (group.get(pending.consumer).name(), group.last_id.to_string());
        let (time, count, last) = (time.as_bytes(), count.as_bytes(), last.as_bytes());
        self.add(&[
            b"XCLAIM",
            self.key,
            self.group,
            consumer,
            b"0",
            id,
            b"TIME",
            time,
            b"RETRYCOUNT",
            count,
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            last,
        ]);
    }

    /// The same, with the id in its usual form.
    pub fn delivered(&mut self, group: &Group, id: StreamId, pending: &Pending) {
        if self.wanted {
            self.claimed(group, id.to_string().as_bytes(), pending);
        }
    }

    /// A group's place has moved.
    pub fn moved(&mut self, group: &Group) {
        if !self.wanted {
            return;
        }
        let (id, read) = (group.last_id.to_string(), group.entries_read.unwrap_or(-1).to_string());
        self.add(&[
            b"XGROUP",
            b"SETID",
            self.key,
            self.group,
            id.as_bytes(),
            b"ENTRIESREAD",
            read.as_bytes(),
        ]);
    }

    /// A consumer was made.
    pub fn made(&mut self, consumer: &[u8]) {
        if self.wanted {
            self.add(&[b"XGROUP", b"CREATECONSUMER", self.key, self.group, consumer]);
        }
    }

    /// Hands them on.
    pub fn release(self, ctx: &mut Ctx<'_>) {
        for command in &self.commands {
            ctx.propagate(command);
        }
    }
}
