//! Commands as data: one [`Spec`] each (name, arity, flags, key positions, documentation) plus one function. A family
//! of commands has a file of its own that exports `COMMANDS`; `table` gathers them.

pub mod acl;
pub mod admin;
mod args;
pub mod arguments;
pub mod bitmaps;
pub mod client;
pub mod cluster;
pub mod config;
pub mod connection;
mod context;
pub mod debug;
mod error;
pub mod expiry;
pub(crate) mod facts;
pub mod functions;
pub mod generic;
pub mod geo;
pub mod hashes;
pub mod hyperloglog;
pub mod introspection;
pub mod latency;
mod lcs;
pub mod lists;
pub mod managed;
pub mod memory;
pub mod migrate;
pub mod persistence;
pub mod pubsub;
pub mod replication;
pub mod scan;
pub mod scripting;
pub mod sentinel;
pub mod sets;
pub mod slowlog;
mod sort;
pub mod streams;
pub mod strings;
pub mod table;
pub mod tracking;
pub mod transactions;
pub mod zsets;

pub use args::{Args, OwnedArgs};
pub use context::{Ctx, Event, Keys, Propagation};
pub use error::Error;

pub use crate::store::num::parse_float;

/// What a command's function returns; an error is sent as the reply.
pub type Result<T = ()> = std::result::Result<T, Error>;

/// A command's function: reads `ctx.args`, replies through `ctx.reply`.
pub type Handler = fn(&mut Ctx<'_>) -> Result;

/// Properties of a command, by the names that `COMMAND INFO` uses
/// (<https://redis.io/docs/latest/commands/command/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(pub u32);

#[allow(missing_docs)]
impl Flags {
    pub const NONE: Flags = Flags(0);
    pub const WRITE: Flags = Flags(1 << 0);
    pub const READONLY: Flags = Flags(1 << 1);
    pub const DENYOOM: Flags = Flags(1 << 2);
    pub const ADMIN: Flags = Flags(1 << 3);
    pub const PUBSUB: Flags = Flags(1 << 4);
    pub const NOSCRIPT: Flags = Flags(1 << 5);
    pub const BLOCKING: Flags = Flags(1 << 6);
    pub const LOADING: Flags = Flags(1 << 7);
    pub const STALE: Flags = Flags(1 << 8);
    pub const SKIP_MONITOR: Flags = Flags(1 << 9);
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 10);
    pub const ASKING: Flags = Flags(1 << 11);
    pub const FAST: Flags = Flags(1 << 12);
    pub const NO_AUTH: Flags = Flags(1 << 13);
    pub const MAY_REPLICATE: Flags = Flags(1 << 14);
    pub const NO_MULTI: Flags = Flags(1 << 15);
    pub const MOVABLEKEYS: Flags = Flags(1 << 16);
    pub const ALLOW_BUSY: Flags = Flags(1 << 17);
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 18);
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 19);
    pub const SENTINEL: Flags = Flags(1 << 20);

    /// These and `other`.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// True if any of `other`'s flags is set.
    pub const fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// Names of the flags that are set, in `COMMAND INFO`'s order; that a command may replicate, or
    /// that a sentinel carries it out itself, is not shown.
    pub fn names(self) -> Vec<&'static str> {
        const NAMES: [(Flags, &str); 19] = [
            (Flags::WRITE, "write"),
            (Flags::READONLY, "readonly"),
            (Flags::DENYOOM, "denyoom"),
            (Flags::ADMIN, "admin"),
            (Flags::PUBSUB, "pubsub"),
            (Flags::NOSCRIPT, "noscript"),
            (Flags::BLOCKING, "blocking"),
            (Flags::LOADING, "loading"),
            (Flags::STALE, "stale"),
            (Flags::SKIP_MONITOR, "skip_monitor"),
            (Flags::SKIP_SLOWLOG, "skip_slowlog"),
            (Flags::ASKING, "asking"),
            (Flags::FAST, "fast"),
            (Flags::NO_AUTH, "no_auth"),
            (Flags::NO_MULTI, "no_multi"),
            (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
            (Flags::MOVABLEKEYS, "movablekeys"),
            (Flags::ALLOW_BUSY, "allow_busy"),
            (Flags::NO_ASYNC_LOADING, "no_async_loading"),
        ];
        NAMES.iter().filter(|(f, _)| self.any(*f)).map(|(_, n)| *n).collect()
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// A command's group, as in the documentation and `COMMAND DOCS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Group {
    Bitmap,
    Cluster,
    Connection,
    Generic,
    Geo,
    Hash,
    HyperLogLog,
    List,
    PubSub,
    Scripting,
    Sentinel,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    Transactions,
}

impl Group {
    /// The name that `COMMAND DOCS` uses.
    pub fn name(self) -> &'static str {
        match self {
            Group::Bitmap => "bitmap",
            Group::Cluster => "cluster",
            Group::Connection => "connection",
            Group::Generic => "generic",
            Group::Geo => "geo",
            Group::Hash => "hash",
            Group::HyperLogLog => "hyperloglog",
            Group::List => "list",
            Group::PubSub => "pubsub",
            Group::Scripting => "scripting",
            Group::Sentinel => "sentinel",
            Group::Server => "server",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::String => "string",
            Group::Transactions => "transactions",
        }
    }
}

/// Where a command's keys stand: from `first` to `last` (negative counts from the end) every `step`; `first` 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange {
    /// Index of the first key.
    pub first: i32,
    /// Index of the last key.
    pub last: i32,
    /// Distance between keys.
    pub step: i32,
}

/// How the keys of a command with [`Flags::MOVABLEKEYS`] are found: indexes of the keys in the arguments.
pub type KeyFinder = fn(&Args<'_>) -> Vec<usize>;

/// One command.
#[derive(Clone, Copy)]
pub struct Spec {
    /// Small number that tells it from all others; given by `table`.
    pub id: u16,
    /// Lower case; a subcommand's has its container in front: `config|get`.
    pub name: &'static str,
    /// Number of arguments with the name; negative: at least so many.
    pub arity: i32,
    /// Properties.
    pub flags: Flags,
    /// Key positions.
    pub keys: KeyRange,
    /// For commands whose keys depend on other arguments.
    pub find_keys: Option<KeyFinder>,
    /// Group.
    pub group: Group,
    /// Redis version that introduced it.
    pub since: &'static str,
    /// One line of documentation.
    pub summary: &'static str,
    /// The function; for a container the one that serves calls without a known subcommand.
    pub handler: Handler,
    /// Subcommands of a container.
    pub subcommands: &'static [Spec],
}

impl Spec {
    /// A command of a group with its arity; flags, keys and documentation follow by the builder's other functions.
    pub const fn new(group: Group, name: &'static str, arity: i32, handler: Handler) -> Spec {
        Spec {
            id: 0,
            name,
            arity,
            flags: Flags::NONE,
            keys: KeyRange { first: 0, last: 0, step: 0 },
            find_keys: None,
            group,
            since: "1.0.0",
            summary: "",
            handler,
            subcommands: &[],
        }
    }

    /// Sets the flags.
    pub const fn flags(mut self, flags: Flags) -> Spec {
        self.flags = flags;
        self
    }

    /// Sets the key range.
    pub const fn keys(mut self, first: i32, last: i32, step: i32) -> Spec {
        self.keys = KeyRange { first, last, step };
        self
    }

    /// Sets the function that finds the keys.
    pub const fn find_keys(mut self, find: KeyFinder) -> Spec {
        self.find_keys = Some(find);
        self.flags = Flags(self.flags.0 | Flags::MOVABLEKEYS.0);
        self
    }

    /// Sets version and one line of documentation.
    pub const fn doc(mut self, since: &'static str, summary: &'static str) -> Spec {
        self.since = since;
        self.summary = summary;
        self
    }

    /// Makes it a container.
    pub const fn subcommands(mut self, subcommands: &'static [Spec]) -> Spec {
        self.subcommands = subcommands;
        self
    }

    /// True if a call with `argc` arguments, the name included, fits the arity.
    pub fn arity_fits(&self, argc: usize) -> bool {
        let argc = argc as i32;
        if self.arity >= 0 { argc == self.arity } else { argc >= -self.arity }
    }

    /// Indexes of the keys in `args`.
    pub fn key_indexes(&self, args: &Args<'_>) -> Vec<usize> {
        self.key_positions(args).collect()
    }

    /// Indexes of the keys in `args`, one after another; nothing is allocated where they are a range.
    pub fn key_positions(&self, args: &Args<'_>) -> impl Iterator<Item = usize> + use<> {
        let found = self.find_keys.map(|find| find(args));
        let fixed = found.is_none().then(|| self.fixed_keys(args.len()));
        found.into_iter().flatten().chain(fixed.into_iter().flatten())
    }

    /// Indexes of the keys that always stand at the same places, in a call with `argc` arguments.
    #[inline]
    pub fn fixed_keys(&self, argc: usize) -> impl Iterator<Item = usize> + use<> {
        let KeyRange { first, last, step } = self.keys;
        let last = if last < 0 { argc as i32 + last } else { last };
        let places = if first > 0 { first..last.min(argc as i32 - 1) + 1 } else { 0..0 };
        places.step_by(step.max(1) as usize).map(|i| i as usize)
    }
}

/// Finder for commands of the form `NAME … numkeys key [key …]` with `numkeys` at index `at`: none where there are fewer
/// than it says.
pub fn counted_keys(args: &Args<'_>, at: usize) -> Vec<usize> {
    let said = args.get(at).and_then(crate::resp::parse::parse_i64);
    let most = args.len().saturating_sub(at + 1);
    let n = said.and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= most).unwrap_or(0);
    (at + 1..at + 1 + n).collect()
}

/// The reply of a container's `HELP`: each subcommand's form and what it does.
pub fn help(ctx: &mut Ctx<'_>, container: &str, forms: &[(&str, &str)]) -> Result {
    let lines: usize = forms.iter().map(|(_, what)| what.lines().count()).sum();
    ctx.reply.array(forms.len() + lines + 3);
    ctx.reply.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (form, what) in forms {
        ctx.reply.simple(form);
        what.lines().for_each(|line| ctx.reply.simple(&format!("    {line}")));
    }
    ctx.reply.simple("HELP");
    ctx.reply.simple("    Prints this help.");
    Ok(())
}

/// What containers reply to a subcommand with more arguments than it takes.
pub fn wrong_form(ctx: &Ctx<'_>, container: &str) -> Error {
    Error::err(format_args!(
        "unknown subcommand or wrong number of arguments for '{}'. Try {container} HELP.",
        String::from_utf8_lossy(ctx.args.at(1))
    ))
}
