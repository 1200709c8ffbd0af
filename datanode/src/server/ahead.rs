//! Requests read ahead: of a pipeline, several are parsed at once and what they need is fetched from memory for all of
//! them, before the first is executed. So the processor waits for memory once for many requests instead of for each.

use std::ops::Range;

use crate::command::{Args, Spec, table};
use crate::resp::parse::{self, ArgRanges, Bounds, Parsed};
use crate::store::keyspace::Keyspace;

/// Requests read ahead at once: more would find what was fetched first thrown out again.
const MOST: usize = 32;
/// Keys of one request that are fetched.
const KEYS_EACH: usize = 16;

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
    hashes: Vec<(usize, u64)>,
}

impl Ahead {
    /// Reads whole requests from `input[*at..]`, at most `limit`, and moves `at` behind them. Why it stopped, if not because
    /// of a limit or another form of request; what was read is to be served first.
    pub fn read(&mut self, input: &[u8], at: &mut usize, bounds: &Bounds, limit: usize) -> Option<Parsed> {
        self.ranges.0.clear();
        self.requests.clear();
        while self.requests.len() < limit.min(MOST) && input.get(*at) == Some(&b'*') {
            let first = self.ranges.0.len();
            match parse::further_request(input, *at, bounds, &mut self.ranges) {
                Parsed::Request { consumed } => {
                    *at += consumed;
                    let args = first..self.ranges.0.len();
                    if !args.is_empty() {
                        let spec = table::find(Args::at_ranges(input, &self.ranges.0[args.clone()])).ok();
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
        self.read(input, &mut 0, &Bounds::default(), 1);
        self.note_keys(input, keyspace, db);
    }

    /// Has everything fetched that has been noted.
    pub fn fetch_noted(&mut self, keyspace: &Keyspace) {
        keyspace.prefetch_entries(&self.hashes);
        self.hashes.clear();
    }

    fn note_keys(&mut self, input: &[u8], keyspace: &Keyspace, db: usize) {
        for r in &self.requests {
            let Some(spec) = r.spec else { continue };
            let args = Args::at_ranges(input, &self.ranges.0[r.args.clone()]);
            for i in spec.fixed_keys(args.len()).take(KEYS_EACH) {
                self.hashes.push((db, keyspace.prefetch(db, args.at(i))));
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
