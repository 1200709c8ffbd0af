//! What `COMMAND INFO` says of commands beyond what their execution needs: ACL categories, tips for clients that talk to
//! several nodes, and how each key is used. Facts of Redis 7.0's own tables.

use super::{Args, Flags, Group, Spec};
use crate::resp::writer::Reply;

/// ACL categories.
pub const CATEGORIES: [&str; 21] = [
    "@keyspace",
    "@read",
    "@write",
    "@set",
    "@sortedset",
    "@list",
    "@hash",
    "@string",
    "@bitmap",
    "@hyperloglog",
    "@geo",
    "@stream",
    "@pubsub",
    "@admin",
    "@fast",
    "@slow",
    "@blocking",
    "@dangerous",
    "@connection",
    "@transaction",
    "@scripting",
];

/// Categories that neither group nor flags tell.
const MORE_CATEGORIES: &[(&[&str], &[&str])] = &[
    (&["keys", "migrate", "restore", "info"], &["@dangerous"]),
    (&["swapdb", "flushdb", "flushall", "restore-asking"], &["@keyspace", "@dangerous"]),
    (&["dbsize", "object|help"], &["@keyspace"]),
    (&["xgroup|help", "xinfo|help"], &["@stream"]),
    (&["role", "lastsave"], &["@admin", "@dangerous"]),
    (&["wait", "waitaof", "readonly", "readwrite", "asking", "client|help"], &["@connection"]),
    (&["sort", "sort_ro"], &["@set", "@sortedset", "@list", "@dangerous"]),
];

/// The ACL categories of a command, in Redis' order.
pub fn categories(spec: &Spec) -> Vec<&'static str> {
    let name = spec.name;
    let mut has: Vec<&str> = Vec::new();
    let of_group = match spec.group {
        Group::Bitmap => "@bitmap",
        Group::Connection => "@connection",
        Group::Generic => "@keyspace",
        Group::Geo => "@geo",
        Group::Hash => "@hash",
        Group::HyperLogLog => "@hyperloglog",
        Group::List => "@list",
        Group::PubSub => "@pubsub",
        Group::Scripting => "@scripting",
        Group::Set => "@set",
        Group::SortedSet => "@sortedset",
        Group::Stream => "@stream",
        Group::String => "@string",
        Group::Transactions => "@transaction",
        Group::Cluster | Group::Sentinel | Group::Server => "",
    };
    let sorts = matches!(name, "sort" | "sort_ro" | "wait" | "waitaof");
    let scripts = spec.group == Group::Scripting;
    if spec.subcommands.is_empty() && (scripts || !name.ends_with("|help")) && !sorts {
        has.push(of_group);
    }
    if name == "command" || name.starts_with("command|") {
        has.push("@connection");
    }
    for (flag, implied) in [
        (Flags::WRITE, &["@write"][..]),
        // What a script reads is not known before.
        (if scripts { Flags::NONE } else { Flags::READONLY }, &["@read"]),
        (Flags::ADMIN, &["@admin", "@dangerous"]),
        (Flags::PUBSUB, &["@pubsub"]),
        (Flags::BLOCKING, &["@blocking"]),
    ] {
        if spec.flags.any(flag) {
            has.extend(implied);
        }
    }
    has.push(if spec.flags.any(Flags::FAST) { "@fast" } else { "@slow" });
    for (_, more) in MORE_CATEGORIES.iter().filter(|(names, _)| names.contains(&name)) {
        has.extend(*more);
    }
    CATEGORIES.into_iter().filter(|c| has.contains(c)).collect()
}

const VARIES: &str = "nondeterministic_output";
const ORDER_VARIES: &str = "nondeterministic_output_order";
const ALL_NODES: &str = "request_policy:all_nodes";
const ALL_SHARDS: &str = "request_policy:all_shards";
const MULTI_SHARD: &str = "request_policy:multi_shard";
const ALL_SUCCEED: &str = "response_policy:all_succeeded";
const SUM: &str = "response_policy:agg_sum";
const SPECIAL: &str = "response_policy:special";

const TIPS: &[(&[&str], &[&str])] = &[
    (
        &[
            "zrandmember",
            "xadd",
            "xtrim",
            "xpending",
            "xclaim",
            "xautoclaim",
            "xinfo|consumers",
            "pttl",
            "ttl",
            "hscan",
            "sscan",
            "zscan",
            "migrate",
            "spop",
            "dump",
            "time",
            "hrandfield",
            "srandmember",
            "lastsave",
            "client|list",
            "client|info",
            "object|freq",
            "object|encoding",
            "object|idletime",
            "object|refcount",
            "cluster|nodes",
            "cluster|shards",
            "cluster|count-failure-reports",
            "cluster|replicas",
            "cluster|slots",
            "cluster|bumpepoch",
            "cluster|slaves",
            "cluster|links",
            "cluster|info",
            "cluster|getkeysinslot",
        ],
        &[VARIES],
    ),
    (
        &[
            "hgetall",
            "sdiff",
            "sinter",
            "sunion",
            "smembers",
            "hkeys",
            "hvals",
            "command",
            "command|list",
            "command|info",
            "command|docs",
            "module|list",
            "function|list",
        ],
        &[ORDER_VARIES],
    ),
    (&["function|stats"], &[VARIES, ALL_SHARDS, SPECIAL]),
    (&["function|load", "function|delete", "function|flush", "function|restore"], &[ALL_SHARDS, ALL_SUCCEED]),
    (&["function|kill", "script|kill"], &[ALL_SHARDS, "response_policy:one_succeeded"]),
    (&["script|load", "script|flush"], &[ALL_NODES, ALL_SUCCEED]),
    (&["script|exists"], &[ALL_SHARDS, "response_policy:agg_logical_and"]),
    (&["mget"], &[MULTI_SHARD]),
    (&["keys"], &[ALL_SHARDS, ORDER_VARIES]),
    (&["unlink", "exists", "del", "touch"], &[MULTI_SHARD, SUM]),
    (&["slowlog|reset", "latency|reset", "config|set"], &[ALL_NODES, ALL_SUCCEED]),
    (&["slowlog|len"], &[ALL_NODES, SUM, VARIES]),
    (&["slowlog|get"], &[ALL_NODES, VARIES]),
    (&["ping", "memory|purge", "flushdb", "flushall"], &[ALL_SHARDS, ALL_SUCCEED]),
    (&["memory|doctor", "memory|malloc-stats", "memory|stats", "info"], &[VARIES, ALL_SHARDS, SPECIAL]),
    (
        &["latency|doctor", "latency|latest", "latency|histogram", "latency|graph", "latency|history"],
        &[VARIES, ALL_NODES, SPECIAL],
    ),
    (&["wait", "waitaof"], &[ALL_SHARDS, "response_policy:agg_min"]),
    (&["scan"], &[VARIES, "request_policy:special"]),
    (&["mset"], &[MULTI_SHARD, ALL_SUCCEED]),
    (&["msetnx"], &[MULTI_SHARD, "response_policy:agg_min"]),
    (&["randomkey"], &[ALL_SHARDS, VARIES]),
    (&["dbsize"], &[ALL_SHARDS, SUM]),
];

/// Tips for clients (<https://redis.io/docs/latest/develop/reference/command-tips/>).
pub fn tips(name: &str) -> &'static [&'static str] {
    TIPS.iter().find(|(names, _)| names.contains(&name)).map_or(&[], |(_, tips)| tips)
}

/// Where a search for keys begins.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Begin {
    Index(i64),
    Keyword(&'static str, i64),
    Unknown,
}

/// Which keys there are from there on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Find {
    /// Up to the last one (relative; negative: from the end), every so many.
    Range(i64, i64),
    /// The first half of all that follows.
    Half,
    /// As many as an argument says.
    Counted,
    Unknown,
}

/// One place of keys (<https://redis.io/docs/latest/develop/reference/key-specs/>).
#[derive(Debug, Clone)]
pub struct KeySpec {
    flags: &'static [&'static str],
    begin: Begin,
    find: Find,
    notes: &'static str,
}

const fn key(flags: &'static [&'static str], begin: Begin, find: Find) -> KeySpec {
    KeySpec { flags, begin, find, notes: "" }
}

const ONE: Find = Find::Range(0, 1);
const REST: Find = Find::Range(-1, 1);
const READ: &[&str] = &["RO", "access"];
const LOOK: &[&str] = &["RO"];
const TAKE: &[&str] = &["RW", "access", "delete"];
const CHANGE: &[&str] = &["RW", "access", "update"];
const ADD: &[&str] = &["RW", "insert"];
const MAY_CHANGE: &[&str] = &["RW", "access", "update", "variable_flags"];
const WRITE: &[&str] = &["RW", "update"];
const DELETE: &[&str] = &["RW", "delete"];
const OVERWRITE: &[&str] = &["OW", "update"];
const CREATE: &[&str] = &["OW", "insert"];

/// How a command uses the keys of its range, where that is not the reader's or writer's usual way.
const USES: &[(&[&str], &[&str])] = &[
    (
        &[
            "zremrangebyscore",
            "zremrangebylex",
            "zremrangebyrank",
            "zrem",
            "srem",
            "ltrim",
            "lrem",
            "hdel",
            "xdel",
            "xtrim",
            "xautoclaim",
            "xgroup|destroy",
            "xgroup|delconsumer",
        ],
        DELETE,
    ),
    (
        &[
            "pexpireat",
            "expireat",
            "pexpire",
            "expire",
            "persist",
            "lset",
            "hset",
            "hmset",
            "zadd",
            "geoadd",
            "setrange",
            "xsetid",
            "xack",
            "xclaim",
            "xgroup|setid",
        ],
        WRITE,
    ),
    (
        &["bzpopmin", "bzpopmax", "zpopmin", "zpopmax", "lpop", "rpop", "blpop", "brpop", "spop", "getdel"],
        TAKE,
    ),
    (&["setex", "psetex", "mset", "restore", "restore-asking"], OVERWRITE),
    (&["del", "unlink"], &["RM", "delete"]),
    (
        &[
            "rpush",
            "rpushx",
            "lpush",
            "lpushx",
            "linsert",
            "sadd",
            "hsetnx",
            "append",
            "pfadd",
            "xgroup|create",
            "xgroup|createconsumer",
        ],
        ADD,
    ),
    (&["pfdebug"], &["RW", "access"]),
    (&["msetnx", "setnx"], CREATE),
    (&["ssubscribe", "sunsubscribe", "spublish"], &["not_key"]),
    (
        &[
            "strlen",
            "xlen",
            "hexists",
            "type",
            "hstrlen",
            "exists",
            "memory|usage",
            "zcard",
            "sismember",
            "scard",
            "hlen",
            "touch",
            "llen",
            "watch",
            "object|freq",
            "object|encoding",
            "object|idletime",
            "object|refcount",
        ],
        LOOK,
    ),
];

const BY_PATTERN: &str = "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the \
                          content of the key we sort";
const BY_KEYWORD: &str = "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear \
                          anywhere in the argument array";

const BY_GET: &str = "RW and ACCESS due to the optional `GET` argument";
const BY_TRIMMING: &str = "UPDATE instead of INSERT because of the optional trimming feature";
const BY_SCRIPT: &str = "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE";
const BY_READING_SCRIPT: &str =
    "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS";
const BY_OPERATION: &str = "This command allows both access and modification of the key";
const BY_EXPIRY: &str = "RW and UPDATE because it changes the TTL";
const BY_COUNT: &str =
    "RW because it may change the internal representation of the key, and propagate to replicas";

/// Commands whose keys are no simple range, are used in different ways, or have notes.
const PLACES: &[(&[&str], &[KeySpec])] = &[
    (
        &["zintercard", "zunion", "zinter", "zdiff", "sintercard"],
        &[key(READ, Begin::Index(1), Find::Counted)],
    ),
    (&["zmpop", "lmpop"], &[key(TAKE, Begin::Index(1), Find::Counted)]),
    (&["blmpop", "bzmpop"], &[key(TAKE, Begin::Index(2), Find::Counted)]),
    (
        &["zinterstore", "zunionstore", "zdiffstore"],
        &[key(OVERWRITE, Begin::Index(1), ONE), key(READ, Begin::Index(2), Find::Counted)],
    ),
    (
        &["sunionstore", "sdiffstore"],
        &[key(OVERWRITE, Begin::Index(1), ONE), key(READ, Begin::Index(2), REST)],
    ),
    (&["sinterstore"], &[key(WRITE, Begin::Index(1), ONE), key(READ, Begin::Index(2), REST)]),
    (
        &["zrangestore", "geosearchstore"],
        &[key(OVERWRITE, Begin::Index(1), ONE), key(READ, Begin::Index(2), ONE)],
    ),
    (&["bitop"], &[key(OVERWRITE, Begin::Index(2), ONE), key(READ, Begin::Index(3), REST)]),
    (
        &["lmove", "blmove", "rpoplpush", "brpoplpush", "smove"],
        &[key(TAKE, Begin::Index(1), ONE), key(ADD, Begin::Index(2), ONE)],
    ),
    (&["eval", "fcall"], &[KeySpec { notes: BY_SCRIPT, ..key(CHANGE, Begin::Index(2), Find::Counted) }]),
    (&["evalsha"], &[key(CHANGE, Begin::Index(2), Find::Counted)]),
    (
        &["eval_ro", "fcall_ro"],
        &[KeySpec { notes: BY_READING_SCRIPT, ..key(READ, Begin::Index(2), Find::Counted) }],
    ),
    (&["evalsha_ro"], &[key(READ, Begin::Index(2), Find::Counted)]),
    (&["set"], &[KeySpec { notes: BY_GET, ..key(MAY_CHANGE, Begin::Index(1), ONE) }]),
    (&["bitfield"], &[KeySpec { notes: BY_OPERATION, ..key(MAY_CHANGE, Begin::Index(1), ONE) }]),
    (&["getex"], &[KeySpec { notes: BY_EXPIRY, ..key(CHANGE, Begin::Index(1), ONE) }]),
    (&["pfcount"], &[KeySpec { notes: BY_COUNT, ..key(&["RW", "access"], Begin::Index(1), REST) }]),
    (
        &["pfmerge"],
        &[key(&["RW", "access", "insert"], Begin::Index(1), ONE), key(READ, Begin::Index(2), REST)],
    ),
    (
        &["georadius"],
        &[
            key(READ, Begin::Index(1), ONE),
            key(OVERWRITE, Begin::Keyword("STORE", 6), ONE),
            key(OVERWRITE, Begin::Keyword("STOREDIST", 6), ONE),
        ],
    ),
    (
        &["georadiusbymember"],
        &[
            key(READ, Begin::Index(1), ONE),
            key(OVERWRITE, Begin::Keyword("STORE", 5), ONE),
            key(OVERWRITE, Begin::Keyword("STOREDIST", 5), ONE),
        ],
    ),
    (&["xadd"], &[KeySpec { notes: BY_TRIMMING, ..key(WRITE, Begin::Index(1), ONE) }]),
    (&["xread"], &[key(READ, Begin::Keyword("STREAMS", 1), Find::Half)]),
    (&["xreadgroup"], &[key(READ, Begin::Keyword("STREAMS", 4), Find::Half)]),
    (&["copy"], &[key(READ, Begin::Index(1), ONE), key(OVERWRITE, Begin::Index(2), ONE)]),
    (&["rename"], &[key(TAKE, Begin::Index(1), ONE), key(OVERWRITE, Begin::Index(2), ONE)]),
    (&["renamenx"], &[key(TAKE, Begin::Index(1), ONE), key(CREATE, Begin::Index(2), ONE)]),
    (
        &["migrate"],
        &[
            key(TAKE, Begin::Index(3), ONE),
            key(&["RW", "access", "delete", "incomplete"], Begin::Keyword("KEYS", -2), REST),
        ],
    ),
    (
        &["sort_ro"],
        &[
            key(READ, Begin::Index(1), ONE),
            KeySpec { notes: BY_PATTERN, ..key(READ, Begin::Unknown, Find::Unknown) },
        ],
    ),
    (
        &["sort"],
        &[
            key(READ, Begin::Index(1), ONE),
            KeySpec { notes: BY_PATTERN, ..key(READ, Begin::Unknown, Find::Unknown) },
            KeySpec { notes: BY_KEYWORD, ..key(OVERWRITE, Begin::Unknown, Find::Unknown) },
        ],
    ),
];

/// Where the keys of a command are, and how it uses them.
pub fn key_specs(spec: &Spec) -> Vec<KeySpec> {
    if let Some((_, places)) = PLACES.iter().find(|(names, _)| names.contains(&spec.name)) {
        return places.to_vec();
    }
    let range = spec.keys;
    if range.first <= 0 {
        return Vec::new();
    }
    let usual = if spec.flags.any(Flags::WRITE) { CHANGE } else { READ };
    let flags = USES.iter().find(|(names, _)| names.contains(&spec.name)).map_or(usual, |(_, flags)| flags);
    let last = if range.last < 0 { range.last } else { range.last - range.first };
    vec![key(
        flags,
        Begin::Index(i64::from(range.first)),
        Find::Range(i64::from(last), i64::from(range.step)),
    )]
}

/// How a command uses its key number `n`, from 0, with these arguments.
pub fn key_flags(spec: &Spec, args: Args<'_>, n: usize) -> &'static [&'static str] {
    match spec.name {
        "set" if !(3..args.len()).any(|i| args.is(i, "get")) => OVERWRITE,
        "bitfield" if only_gets(args) => READ,
        "set" | "bitfield" => CHANGE,
        _ => usual_key_flags(spec, n),
    }
}

/// Whether all operations of a `BITFIELD` read.
fn only_gets(args: Args<'_>) -> bool {
    let mut i = 2;
    while i < args.len() {
        let left = args.len() - i - 1;
        i += match () {
            () if args.is(i, "get") && left >= 2 => 3,
            () if args.is(i, "overflow") && left >= 1 => 2,
            () => return false,
        };
    }
    true
}

/// How a command uses its key number `n`, from 0, whatever its other arguments.
pub fn usual_key_flags(spec: &Spec, n: usize) -> &'static [&'static str] {
    let specs = key_specs(spec);
    if n > 0 && spec.name == "sort" {
        return OVERWRITE;
    }
    let mut places = specs.iter().filter(|s| s.begin != Begin::Unknown);
    let first = places.next();
    let place = if n == 0 { first } else { places.next().or(first) };
    place.map_or(&[], |p| p.flags)
}

impl KeySpec {
    /// Writes it as `COMMAND INFO` does.
    pub fn write(&self, reply: &mut Reply<'_>) {
        fn pair(reply: &mut Reply<'_>, name: &str, n: i64) {
            reply.bulk(name.as_bytes());
            reply.int(n);
        }
        fn typed(reply: &mut Reply<'_>, name: &str, kind: &str, pairs: usize) {
            reply.bulk(name.as_bytes());
            reply.map(2);
            reply.bulk(b"type");
            reply.bulk(kind.as_bytes());
            reply.bulk(b"spec");
            reply.map(pairs);
        }
        fn range(reply: &mut Reply<'_>, last: i64, step: i64, limit: i64) {
            typed(reply, "find_keys", "range", 3);
            pair(reply, "lastkey", last);
            pair(reply, "keystep", step);
            pair(reply, "limit", limit);
        }
        reply.map(3 + usize::from(!self.notes.is_empty()));
        if !self.notes.is_empty() {
            reply.bulk(b"notes");
            reply.bulk(self.notes.as_bytes());
        }
        reply.bulk(b"flags");
        reply.set(self.flags.len());
        self.flags.iter().for_each(|f| reply.simple(f));
        match self.begin {
            Begin::Index(i) => {
                typed(reply, "begin_search", "index", 1);
                pair(reply, "index", i);
            }
            Begin::Keyword(word, from) => {
                typed(reply, "begin_search", "keyword", 2);
                reply.bulk(b"keyword");
                reply.bulk(word.as_bytes());
                pair(reply, "startfrom", from);
            }
            Begin::Unknown => typed(reply, "begin_search", "unknown", 0),
        }
        match self.find {
            Find::Range(last, step) => range(reply, last, step, 0),
            Find::Half => range(reply, -1, 1, 2),
            Find::Counted => {
                typed(reply, "find_keys", "keynum", 3);
                pair(reply, "keynumidx", 0);
                pair(reply, "firstkey", 1);
                pair(reply, "keystep", 1);
            }
            Find::Unknown => typed(reply, "find_keys", "unknown", 0),
        }
    }
}
