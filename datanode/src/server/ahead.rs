//! Requests read ahead: of a pipeline, several are parsed at once and what they need is fetched from memory for all of
//! them, before the first is executed. So the processor waits for memory once for many requests instead of for each.

use std::ops::Range;

use crate::command::{Args, Flags, Group, Spec, table};
use crate::resp::parse::{self, ArgRanges, Bounds, Half, Parsed};
use crate::store::keyspace::{Keyspace, Use};

/// Requests read ahead at once: more would find what was fetched first thrown out again.
const MOST: usize = 32;
/// Memory for more arguments than that is given back.
const KEPT_ARGS: usize = 64 * 1024;
/// Keys of one request that are fetched, and elements.
const KEYS_EACH: usize = 16;
const ELEMENTS_EACH: usize = 8;

/// A request of the input.
pub struct Request {
    args: Range<usize>,
    /// The command; none where there is no such command, or not with so many arguments.
    pub spec: Option<&'static Spec>,
    /// Where it ends in the input.
    pub end: usize,
}

/// The requests that have been read ahead; its memory is used again and again.
#[derive(Default)]
pub struct Ahead {
    ranges: ArgRanges,
    requests: Vec<Request>,
    uses: Vec<Use>,
    last: table::Last,
}

impl Ahead {
    /// Gives back what a request of very many arguments took; between requests only.
    pub fn shrink(&mut self, most: usize) {
        if self.ranges.0.capacity() * size_of::<(usize, usize)>() > most {
            *self = Ahead { last: self.last, ..Ahead::default() };
        }
    }

    /// Reads whole requests from `input[*at..]`, at most `limit`, and moves `at` behind them. Why it stopped, if not because
    /// of a limit or another form of request; what was read is to be served first. `half` is what is known of a request at
    /// `at` of which more has arrived since; it is left where the last request is not whole.
    pub fn read(
        &mut self,
        input: &[u8],
        at: &mut usize,
        bounds: &Bounds,
        limit: usize,
        half: &mut Option<Box<Half>>,
    ) -> Option<Parsed> {
        self.ranges.0.clear();
        self.ranges.0.shrink_to(KEPT_ARGS);
        self.requests.clear();
        while self.requests.len() < limit.min(MOST) && input.get(*at) == Some(&b'*') {
            let first = self.ranges.0.len();
            match parse::further_request(input, *at, bounds, &mut self.ranges, half) {
                Parsed::Request { consumed } => {
                    *at += consumed;
                    let args = first..self.ranges.0.len();
                    if !args.is_empty() {
                        let spec = self.last.find(Args::at_ranges(input, &self.ranges.0[args.clone()])).ok();
                        self.requests.push(Request { args, spec, end: *at });
                    }
                }
                other => return Some(other),
            }
        }
        None
    }

    /// Has what the requests are about fetched.
    pub fn prefetch(&mut self, input: &[u8], keyspace: &Keyspace, db: usize) {
        self.note_keys(input, keyspace, db);
        self.fetch_noted(keyspace);
    }

    /// Notes what the first request of an input is about, to have it fetched together with that of other inputs.
    pub fn note_first(&mut self, input: &[u8], keyspace: &Keyspace, db: usize) {
        self.read(input, &mut 0, &Bounds::default(), 1, &mut None);
        self.note_keys(input, keyspace, db);
    }

    /// Has everything fetched that has been noted.
    pub fn fetch_noted(&mut self, keyspace: &Keyspace) {
        keyspace.prefetch(&self.uses);
        self.uses.clear();
    }

    fn note_keys(&mut self, input: &[u8], keyspace: &Keyspace, db: usize) {
        for r in &self.requests {
            let Some(spec) = r.spec else { continue };
            let args = Args::at_ranges(input, &self.ranges.0[r.args.clone()]);
            let (first, step) = elements(spec);
            for i in spec.key_positions(&args).take(KEYS_EACH) {
                let key = keyspace.hash(args.at(i));
                let noted = self.uses.len();
                if spec.keys.last == 1 {
                    let elements = args.from(first).step_by(step).take(ELEMENTS_EACH);
                    self.uses.extend(elements.map(|e| Use { db, key, element: Some(keyspace.hash(e)) }));
                }
                if self.uses.len() == noted {
                    self.uses.push(Use { db, key, element: None });
                }
            }
        }
    }

    /// The requests, in order.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The arguments of a request.
    pub fn args<'a>(&'a self, input: &'a [u8], request: &Request) -> Args<'a> {
        Args::at_ranges(input, &self.ranges.0[request.args.clone()])
    }
}

/// Where a command on one key names elements of the collection there: the first, and how far it is to the next. A guess by
/// the command's kind: at worst something is fetched in vain.
fn elements(spec: &Spec) -> (usize, usize) {
    match spec.group {
        Group::Set => (2, 1),
        Group::Hash => (2, 2),
        Group::SortedSet if spec.flags.any(Flags::WRITE) && spec.flags.any(Flags::DENYOOM) => (3, 2),
        Group::SortedSet => (2, 1),
        _ => (usize::MAX, 1),
    }
}
