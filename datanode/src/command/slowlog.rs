//! `SLOWLOG` and `LATENCY`: where time went.

use super::{Ctx, Error, Flags, Group, Result, Spec, help, wrong_form};
use crate::glob::glob_match;
use crate::server::histogram::Histogram;

const LOG: Flags = Flags(Flags::ADMIN.0 | Flags::LOADING.0 | Flags::STALE.0);
const OPERATE: Flags = Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0);
const HELP: Flags = Flags(Flags::LOADING.0 | Flags::STALE.0);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    Spec::new(Group::Server, "slowlog", -2, slowlog_help)
        .doc("2.2.12", "A container for slow log commands")
        .subcommands(&[
            Spec::new(Group::Server, "slowlog|get", -2, get)
                .flags(LOG)
                .doc("2.2.12", "Get the slow log's entries"),
            Spec::new(Group::Server, "slowlog|help", 2, slowlog_help)
                .flags(HELP)
                .doc("6.2.0", "Show helpful text about the different subcommands"),
            Spec::new(Group::Server, "slowlog|len", 2, len)
                .flags(LOG)
                .doc("2.2.12", "Get the slow log's length"),
            Spec::new(Group::Server, "slowlog|reset", 2, reset)
                .flags(LOG)
                .doc("2.2.12", "Clear all entries from the slow log"),
        ]),
    Spec::new(Group::Server, "latency", -2, latency_help)
        .doc("2.8.13", "A container for latency diagnostics commands")
        .subcommands(&[
            Spec::new(Group::Server, "latency|doctor", 2, doctor)
                .flags(OPERATE)
                .doc("2.8.13", "Return a human readable latency analysis report."),
            Spec::new(Group::Server, "latency|graph", 3, graph)
                .flags(OPERATE)
                .doc("2.8.13", "Return a latency graph for the event."),
            Spec::new(Group::Server, "latency|help", 2, latency_help)
                .flags(HELP)
                .doc("2.8.13", "Show helpful text about the different subcommands."),
            Spec::new(Group::Server, "latency|histogram", -2, histogram).flags(OPERATE).doc(
                "7.0.0",
                "Return the cumulative distribution of latencies of a subset of commands or all.",
            ),
            Spec::new(Group::Server, "latency|history", 3, empty)
                .flags(OPERATE)
                .doc("2.8.13", "Return timestamp-latency samples for the event."),
            Spec::new(Group::Server, "latency|latest", 2, empty)
                .flags(OPERATE)
                .doc("2.8.13", "Return the latest latency samples for all events."),
            Spec::new(Group::Server, "latency|reset", -2, latency_reset)
                .flags(OPERATE)
                .doc("2.8.13", "Reset latency data for one or more events."),
        ]),
];

/// Entries that `SLOWLOG GET` shows where no number is given.
const DEFAULT_ENTRIES: usize = 10;

/// `SLOWLOG GET [count]`; -1 stands for all.
fn get(ctx: &mut Ctx<'_>) -> Result {
    let count = match ctx.args.len() {
        2 => DEFAULT_ENTRIES,
        3 => match ctx.int(2) {
            Ok(-1) => usize::MAX,
            Ok(n) if n >= 0 => n as usize,
            _ => return Err("ERR count should be greater than or equal to -1".into()),
        },
        _ => return Err(wrong_form(ctx, "SLOWLOG")),
    };
    let log = &ctx.keys.server.slowlog;
    ctx.reply.array(log.entries().len().min(count));
    for entry in log.entries().take(count) {
        ctx.reply.array(6);
        ctx.reply.int(entry.id as i64);
        ctx.reply.int(entry.at);
        ctx.reply.int(entry.micros as i64);
        ctx.reply.array(entry.args.len());
        entry.args.iter().for_each(|a| ctx.reply.bulk(a));
        ctx.reply.bulk(entry.peer.as_bytes());
        ctx.reply.bulk(&entry.name);
    }
    Ok(())
}

/// `SLOWLOG LEN`
fn len(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.int(ctx.keys.server.slowlog.entries().len() as i64);
    Ok(())
}

/// `SLOWLOG RESET`
fn reset(ctx: &mut Ctx<'_>) -> Result {
    ctx.keys.server.slowlog.clear();
    ctx.reply.ok();
    Ok(())
}

/// `SLOWLOG HELP`
fn slowlog_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "SLOWLOG",
        &[
            ("GET [<count>]", "The last slow commands, newest first (default 10, -1: all)."),
            ("LEN", "Number of entries."),
            ("RESET", "Forget them all."),
        ],
    )
}

/// `LATENCY LATEST`, `LATENCY HISTORY event`: no events are recorded.
fn empty(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.array(0);
    Ok(())
}

/// `LATENCY RESET [event …]`: the number of events that were reset.
fn latency_reset(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.int(0);
    Ok(())
}

/// `LATENCY GRAPH event`
fn graph(ctx: &mut Ctx<'_>) -> Result {
    Err(Error::err(format_args!(
        "No samples available for event '{}'",
        String::from_utf8_lossy(ctx.args.at(2))
    )))
}

/// `LATENCY DOCTOR`
fn doctor(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.verbatim(
        "Latency events are not recorded by this server. SLOWLOG GET shows slow commands, LATENCY HISTOGRAM how long \
         each command takes.\n",
    );
    Ok(())
}

/// `LATENCY HISTOGRAM [command …]`; a container's name stands for its subcommands.
fn histogram(ctx: &mut Ctx<'_>) -> Result {
    let wanted: Vec<Vec<u8>> = ctx.args.from(2).map(<[u8]>::to_ascii_lowercase).collect();
    let is_wanted = |name: &str| {
        wanted.is_empty()
            || wanted.iter().any(|w| {
                w == name.as_bytes() || glob_match(&[w, b"|*".as_slice()].concat(), name.as_bytes(), false)
            })
    };
    let mut found: Vec<(&str, &Histogram)> = ctx
        .keys
        .server
        .stats
        .commands
        .iter()
        .filter(|(name, _)| is_wanted(name))
        .filter_map(|(name, c)| Some((name, c.latency.as_ref()?)))
        .collect();
    found.sort_by_key(|(name, _)| *name);
    ctx.reply.map(found.len());
    for (name, latency) in found {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.map(2);
        ctx.reply.bulk(b"calls");
        ctx.reply.int(latency.total() as i64);
        ctx.reply.bulk(b"histogram_usec");
        let points = latency.cumulative_micros();
        ctx.reply.map(points.len());
        for (micros, count) in points {
            ctx.reply.int(micros as i64);
            ctx.reply.int(count as i64);
        }
    }
    Ok(())
}

/// `LATENCY HELP`
fn latency_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "LATENCY",
        &[
            ("DOCTOR", "Where to look for the causes of latency."),
            ("GRAPH <event>", "Samples of an event as a picture; none are recorded by this server."),
            (
                "HISTOGRAM [<command> ...]",
                "How long commands took, cumulative, by powers of two of microseconds.",
            ),
            ("HISTORY <event>", "Samples of an event; none are recorded by this server."),
            ("LATEST", "The last sample of each event; none are recorded by this server."),
            ("RESET [<event> ...]", "Forget samples."),
        ],
    )
}
