//! `LATENCY` (<https://redis.io/docs/latest/commands/latency/>): what took long, and how long commands take.

use super::{Ctx, Error, Flags, Group, Result, Spec, help};
use crate::glob::glob_match;
use crate::server::histogram::Histogram;

const OPERATE: Flags = Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[Spec::new(Group::Server, "latency", -2, latency_help)
    .doc("2.8.13", "A container for latency diagnostics commands")
    .subcommands(&[
        Spec::new(Group::Server, "latency|doctor", 2, doctor)
            .flags(OPERATE)
            .doc("2.8.13", "Return a human readable latency analysis report."),
        Spec::new(Group::Server, "latency|graph", 3, graph)
            .flags(OPERATE)
            .doc("2.8.13", "Return a latency graph for the event."),
        Spec::new(Group::Server, "latency|help", 2, latency_help)
            .flags(Flags(Flags::LOADING.0 | Flags::STALE.0))
            .doc("2.8.13", "Show helpful text about the different subcommands."),
        Spec::new(Group::Server, "latency|histogram", -2, histogram)
            .flags(OPERATE)
            .doc("7.0.0", "Return the cumulative distribution of latencies of a subset of commands or all."),
        Spec::new(Group::Server, "latency|history", 3, history)
            .flags(OPERATE)
            .doc("2.8.13", "Return timestamp-latency samples for the event."),
        Spec::new(Group::Server, "latency|latest", 2, latest)
            .flags(OPERATE)
            .doc("2.8.13", "Return the latest latency samples for all events."),
        Spec::new(Group::Server, "latency|reset", -2, reset)
            .flags(OPERATE)
            .doc("2.8.13", "Reset latency data for one or more events."),
    ])];

/// `LATENCY LATEST`: of each event its name, when it was last seen, how long it took then, and the longest ever.
fn latest(ctx: &mut Ctx<'_>) -> Result {
    let latency = &ctx.keys.server.latency;
    ctx.reply.array(latency.events().len());
    for (name, event) in latency.events() {
        let (at, ms) = event.samples().last().unwrap_or_default();
        ctx.reply.array(4);
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.int(at);
        ctx.reply.int(ms as i64);
        ctx.reply.int(event.max as i64);
    }
    Ok(())
}

/// `LATENCY HISTORY event`
fn history(ctx: &mut Ctx<'_>) -> Result {
    let samples = ctx.keys.server.latency.event(ctx.args.at(2)).map(|(_, event)| event.samples());
    ctx.reply.array(samples.as_ref().map_or(0, ExactSizeIterator::len));
    for (at, ms) in samples.into_iter().flatten() {
        ctx.reply.array(2);
        ctx.reply.int(at);
        ctx.reply.int(ms as i64);
    }
    Ok(())
}

/// `LATENCY RESET [event …]`: the number of events that were reset.
fn reset(ctx: &mut Ctx<'_>) -> Result {
    let latency = &mut ctx.keys.server.latency;
    let n = match ctx.args.len() {
        2 => latency.reset_all(),
        _ => ctx.args.from(2).filter(|name| latency.reset(name)).count(),
    };
    ctx.reply.int(n as i64);
    Ok(())
}

/// `LATENCY GRAPH event`
fn graph(ctx: &mut Ctx<'_>) -> Result {
    let now_s = ctx.now_ms() / 1000;
    let Some((name, event)) = ctx.keys.server.latency.event(ctx.args.at(2)) else {
        return Err(Error::err(format_args!(
            "No samples available for event '{}'",
            String::from_utf8_lossy(ctx.args.at(2))
        )));
    };
    ctx.reply.verbatim(&event.graph(name, now_s));
    Ok(())
}

/// What helps against latency of an event.
fn advice(event: &str) -> &'static str {
    match event {
        "command" => {
            "SLOWLOG GET shows the slow commands; large values are dear to read, to change and to delete."
        }
        "fast-command" => {
            "Commands of constant cost took long: look for a busy machine, swapping, or huge pages."
        }
        "expire-cycle" | "expire-del" => {
            "Many keys, or large ones, expire together: spread their times, or set lazyfree-lazy-expire."
        }
        "eviction-cycle" | "eviction-del" => {
            "Room has to be made for new keys: raise maxmemory, or set lazyfree-lazy-eviction."
        }
        _ => "The disk is slow: give it less to do, or choose another appendfsync.",
    }
}

/// `LATENCY DOCTOR`
fn doctor(ctx: &mut Ctx<'_>) -> Result {
    let now_s = ctx.now_ms() / 1000;
    let server = &*ctx.keys.server;
    let mut text = String::new();
    if server.latency.events().len() == 0 {
        text = match server.config.latency_monitor_threshold {
            0 => "Latency is not recorded: CONFIG SET latency-monitor-threshold MILLISECONDS has it recorded.\n".into(),
            ms => format!("Nothing has taken {ms} ms or longer since latency is recorded.\n"),
        };
    }
    for (i, (name, event)) in server.latency.events().enumerate() {
        let s = event.summary(now_s);
        text += &format!(
            "{}. {name}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} sec). Worst all time event \
             {}ms.\n   {}\n",
            i + 1,
            s.samples,
            s.mean,
            s.deviation,
            s.period,
            event.max,
            advice(name),
        );
    }
    ctx.reply.verbatim(&text);
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
            ("GRAPH <event>", "Samples of an event as a picture."),
            (
                "HISTOGRAM [<command> ...]",
                "How long commands took, cumulative, by powers of two of microseconds.",
            ),
            ("HISTORY <event>", "Samples of an event, with their time."),
            ("LATEST", "The last sample of each event, and the longest."),
            ("RESET [<event> ...]", "Forget samples of these events, or of all."),
        ],
    )
}
