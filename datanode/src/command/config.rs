//! `CONFIG` (<https://redis.io/docs/latest/commands/config/>): reading and changing the configuration at run time.

use super::{Ctx, Error, Flags, Group, Result, Spec, help};
use crate::config::{Change, Rewritten, SetContext, apply_failed};
use crate::io::Io;
use crate::persist::progress::Loading;
use crate::server::Server;
use crate::server::start::{limits_of, outgoing};
use crate::system::{crash, title, watchdog};

const OPERATE: Flags = Flags(Flags::ADMIN.0 | Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[Spec::new(Group::Server, "config", -2, config_help)
    .doc("2.0.0", "A container for server configuration commands")
    .subcommands(&[
        Spec::new(Group::Server, "config|get", -3, get)
            .flags(OPERATE)
            .doc("2.0.0", "Get the values of configuration parameters"),
        Spec::new(Group::Server, "config|help", 2, config_help)
            .flags(Flags(Flags::LOADING.0 | Flags::STALE.0))
            .doc("5.0.0", "Show helpful text about the different subcommands"),
        Spec::new(Group::Server, "config|resetstat", 2, resetstat)
            .flags(OPERATE)
            .doc("2.0.0", "Reset the stats returned by INFO"),
        Spec::new(Group::Server, "config|rewrite", 2, rewrite)
            .flags(OPERATE)
            .doc("2.8.0", "Rewrite the configuration file with the in memory configuration"),
        Spec::new(Group::Server, "config|set", -4, set)
            .flags(OPERATE)
            .doc("2.0.0", "Set configuration parameters to the given values"),
    ])];

/// `CONFIG GET parameter [parameter …]`
fn get(ctx: &mut Ctx<'_>) -> Result {
    let patterns: Vec<String> = ctx.args.from(2).map(|a| String::from_utf8_lossy(a).into_owned()).collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let found = ctx.keys.server.config.get(&patterns);
    ctx.reply.map(found.len());
    for (name, value) in found {
        ctx.reply.bulk(name.as_bytes());
        ctx.reply.bulk(value.as_bytes());
    }
    Ok(())
}

/// `CONFIG SET parameter value [parameter value …]`: all of it or nothing.
fn set(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.args.len().is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    let pairs: Vec<(&[u8], &[u8])> =
        (2..ctx.args.len()).step_by(2).map(|i| (ctx.args.at(i), ctx.args.at(i + 1))).collect();
    let local_client = ctx.client().is_none_or(|c| c.is_local());
    let server = &mut *ctx.keys.server;
    let context =
        SetContext { loading: server.load_state() != Loading::No, local_client, disk: &*server.disk };
    let change = server.config.set(&pairs, &context).map_err(|text| Error::Text(text.into()))?;
    server.apply_config(ctx.io, change)?;
    ctx.reply.ok();
    Ok(())
}

/// `CONFIG RESETSTAT`
fn resetstat(ctx: &mut Ctx<'_>) -> Result {
    ctx.keys.server.stats.reset();
    ctx.reply.ok();
    Ok(())
}

/// `CONFIG REWRITE`
fn rewrite(ctx: &mut Ctx<'_>) -> Result {
    rewrite_file(ctx.keys.server, false)?;
    ctx.reply.ok();
    Ok(())
}

/// Writes the configuration into its file; `all`: what is at its default, too.
pub(super) fn rewrite_file(server: &Server, all: bool) -> Result {
    let users = server.user_lines();
    let (config, disk) = (&server.config, &*server.disk);
    let rewritten = if all { config.rewrite_all(disk, &[users]) } else { config.rewrite(disk, &[users]) };
    match rewritten {
        Ok(Rewritten::File(path)) => tracing::info!("CONFIG REWRITE executed: {}", path.display()),
        Ok(Rewritten::Copy { path, reason }) => {
            tracing::warn!("CONFIG REWRITE wrote a copy, {}: {reason}", path.display());
        }
        Err(e) => return Err(Error::Text(e.0.into())),
    }
    Ok(())
}

impl Server {
    /// Takes a changed configuration over, and does at once what follows from it.
    fn apply_config(&mut self, io: &mut Io, change: Change) -> Result {
        let Change { config, names } = change;
        // What can fail comes first: then nothing has been changed.
        if let Some(name) = names.iter().find(|name| matches!(**name, "bind" | "port"))
            && let Err(e) = io.listen(&config.bind, config.port)
        {
            tracing::warn!("{e}");
            let reason = match *name {
                "port" => "Unable to listen on this port. Check server logs.",
                _ => "Failed to bind to specified addresses.",
            };
            return Err(Error::Text(apply_failed(name, reason).into()));
        }
        if let Some(name) = names.iter().find(|name| name.starts_with("oom-score-adj"))
            && let Err(e) = self.oom.apply(&config, !self.is_master())
        {
            tracing::warn!("Unable to write oom_score_adj: {e}");
            let reason = "Failed to apply new oom_score_adj configuration, check server logs.";
            return Err(Error::Text(apply_failed(name, reason).into()));
        }
        if names.contains(&"appendonly") {
            self.set_appendonly(io, config.appendonly)
                .map_err(|reason| Error::Text(apply_failed("appendonly", &reason).into()))?;
        }
        self.config = config;
        self.limits = limits_of(&self.config, self.limits.seed);
        for name in names {
            match name {
                "requirepass" => self.update_default_password(),
                "bind" | "port" | "proc-title-template" => title::set(&self.config, false),
                "crash-log-enabled" => crash::enable(self.config.crash_log_enabled),
                "watchdog-period" => watchdog::set(self.config.watchdog_period.into()),
                "maxmemory-clients" => self.recount_clients(io),
                "bind-source-addr" => io.outgoing = outgoing(&self.config),
                "maxmemory-policy" => self.forget_candidates(),
                "repl-backlog-size" => self.repl.resize_backlog(self.config.repl_backlog_size),
                "slowlog-max-len" => self.slowlog.trim(&self.config),
                "loglevel" => crate::logging::set_level(self.config.loglevel),
                "aof-disable-auto-gc" => self.remove_history(io),
                "write-ack-replicas" | "write-ack-fsync" => self.write_acks_changed(),
                _ => {}
            }
        }
        Ok(())
    }
}

/// `CONFIG HELP`
fn config_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "CONFIG",
        &[
            ("GET <pattern>", "Directives whose names match, with their values."),
            ("SET <directive> <value>", "Change a directive, or several at once."),
            ("RESETSTAT", "Start the statistics of INFO anew."),
            ("REWRITE", "Write the present configuration into the file."),
        ],
    )
}
