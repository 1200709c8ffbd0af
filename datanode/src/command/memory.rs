//! `MEMORY` (<https://redis.io/docs/latest/commands/memory-usage/>): where the memory is.

use super::{Ctx, Error, Flags, Group, Result, Spec, help};
use crate::server::memory::MemoryFigures;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[Spec::new(Group::Server, "memory", -2, memory_help)
    .doc("4.0.0", "A container for memory diagnostics commands")
    .subcommands(&[
        Spec::new(Group::Server, "memory|doctor", 2, doctor).doc("4.0.0", "Outputs memory problems report"),
        Spec::new(Group::Server, "memory|help", 2, memory_help)
            .flags(Flags(Flags::LOADING.0 | Flags::STALE.0))
            .doc("4.0.0", "Show helpful text about the different subcommands"),
        Spec::new(Group::Server, "memory|malloc-stats", 2, malloc_stats)
            .doc("4.0.0", "Show allocator internal stats"),
        Spec::new(Group::Server, "memory|purge", 2, purge)
            .doc("4.0.0", "Ask the allocator to release memory"),
        Spec::new(Group::Server, "memory|stats", 2, stats).doc("4.0.0", "Show memory usage details"),
        Spec::new(Group::Server, "memory|usage", -3, usage)
            .flags(Flags::READONLY)
            .keys(2, 2, 1)
            .doc("4.0.0", "Estimate the memory usage of a key"),
    ])];

/// Elements of a collection that `MEMORY USAGE` looks at where nothing else is asked for.
const DEFAULT_SAMPLES: usize = 5;

/// `MEMORY USAGE key [SAMPLES count]`; 0 samples all.
fn usage(ctx: &mut Ctx<'_>) -> Result {
    let mut samples = DEFAULT_SAMPLES;
    let mut i = 3;
    while i < ctx.args.len() {
        if !ctx.args.is(i, "samples") || i + 1 >= ctx.args.len() {
            return Err(Error::Syntax);
        }
        samples = usize::try_from(ctx.int(i + 1)?).map_err(|_| Error::Syntax)?;
        i += 2;
    }
    match ctx.keys.peek(ctx.args.at(2)).map(|e| e.memory_usage(samples)) {
        Some(bytes) => ctx.reply.int(bytes as i64),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// `MEMORY STATS`
fn stats(ctx: &mut Ctx<'_>) -> Result {
    let server = &*ctx.keys.server;
    let m = server.memory_figures(ctx.io);
    let reply = &mut ctx.reply;
    let used: Vec<usize> =
        (0..server.keyspace.databases()).filter(|&db| server.keyspace.len(db) > 0).collect();
    let scripts = server.scripting.figures();
    let numbers: [(&str, u64); 10] = [
        ("peak.allocated", m.peak),
        ("total.allocated", m.used),
        ("startup.allocated", m.startup),
        ("replication.backlog", m.backlog),
        ("clients.slaves", m.replicas),
        ("clients.normal", m.clients),
        ("cluster.links", 0),
        ("aof.buffer", m.aof_buffer),
        ("lua.caches", scripts.scripts as u64),
        ("functions.caches", scripts.functions as u64),
    ];
    reply.map(numbers.len() + used.len() + 17);
    for (name, n) in numbers {
        reply.bulk(name.as_bytes());
        reply.int(n as i64);
    }
    for db in used {
        reply.bulk(format!("db.{db}").as_bytes());
        reply.map(3);
        let overhead = server.keyspace.overhead_bytes(db);
        for (name, n) in [
            ("overhead.hashtable.main", overhead),
            ("overhead.hashtable.expires", 0),
            ("overhead.hashtable.slot-to-keys", 0),
        ] {
            reply.bulk(name.as_bytes());
            reply.int(n as i64);
        }
    }
    let mut int = |name: &str, n: i64| {
        reply.bulk(name.as_bytes());
        reply.int(n);
    };
    int("overhead.total", m.overhead() as i64);
    int("keys.count", m.keys as i64);
    int("keys.bytes-per-key", m.bytes_per_key() as i64);
    int("dataset.bytes", m.dataset() as i64);
    let mut double = |name: &str, v: f64| {
        reply.bulk(name.as_bytes());
        reply.double(v);
    };
    double("dataset.percentage", m.dataset_percent());
    double("peak.percentage", m.peak_percent());
    let mut int = |name: &str, n: i64| {
        reply.bulk(name.as_bytes());
        reply.int(n);
    };
    int("allocator.allocated", m.used as i64);
    int("allocator.active", m.resident as i64);
    int("allocator.resident", m.resident as i64);
    for (name, ratio, bytes) in [
        ("allocator-fragmentation", m.fragmentation(), m.fragmentation_bytes()),
        ("allocator-rss", 1.0, 0),
        ("rss-overhead", 1.0, 0),
    ] {
        reply.bulk(format!("{name}.ratio").as_bytes());
        reply.double(ratio);
        reply.bulk(format!("{name}.bytes").as_bytes());
        reply.int(bytes);
    }
    reply.bulk(b"fragmentation");
    reply.double(m.fragmentation());
    reply.bulk(b"fragmentation.bytes");
    reply.int(m.fragmentation_bytes());
    Ok(())
}

/// Below this many bytes nothing can be said about memory.
const TOO_LITTLE: u64 = 5 << 20;

fn diagnosis(m: &MemoryFigures) -> String {
    if m.used < TOO_LITTLE {
        return "This instance uses too little memory for a diagnosis.\n".into();
    }
    let mut found = Vec::new();
    if m.peak as f64 > m.used as f64 * 1.5 {
        found.push("* Peak memory: more than 150% of the present use was in use in the past; the rest may not have been \
                    given back to the system.\n");
    }
    if m.fragmentation() > 1.4 && m.fragmentation_bytes() > 10 << 20 {
        found.push("* High fragmentation: physical memory is more than 1.4 times of what is in use.\n");
    }
    if m.clients > m.used / 4 {
        found.push("* Big client buffers: clients' buffers take a quarter of the memory or more.\n");
    }
    if m.replicas > 10 << 20 {
        found.push("* Big replica buffers: replicas do not take their stream as fast as it grows.\n");
    }
    match found.is_empty() {
        true => "No memory problems were found.\n".into(),
        false => format!("Memory problems were found:\n\n{}", found.concat()),
    }
}

/// `MEMORY DOCTOR`
fn doctor(ctx: &mut Ctx<'_>) -> Result {
    let figures = ctx.keys.server.memory_figures(ctx.io);
    ctx.reply.verbatim(&diagnosis(&figures));
    Ok(())
}

/// `MEMORY MALLOC-STATS`
fn malloc_stats(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.bulk(b"Stats not supported for the current allocator");
    Ok(())
}

/// `MEMORY PURGE`: the allocator gives memory back by itself.
fn purge(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.ok();
    Ok(())
}

/// `MEMORY HELP`
fn memory_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "MEMORY",
        &[
            ("DOCTOR", "Report on problems with memory."),
            ("MALLOC-STATS", "Statistics of the allocator; it keeps none."),
            ("PURGE", "Give unused memory back to the system."),
            ("STATS", "Where the memory is."),
            (
                "USAGE <key> [SAMPLES <count>]",
                "Estimate of a key's memory; SAMPLES: elements looked at (default 5, 0: all).",
            ),
        ],
    )
}
