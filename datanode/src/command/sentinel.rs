//! `SENTINEL` (<https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>) in the table: what it is called
//! and what it takes. The sentinel behind the server carries it out ([`crate::sentinel`]); there is none behind a data
//! server.

use super::{Ctx, Error, Flags, Group, Result, Spec, help};

const OPERATE: Flags = Flags(Flags::ADMIN.0 | Flags::SENTINEL.0);
const HELP: Flags = Flags(Flags::LOADING.0 | Flags::STALE.0);

const fn sub(name: &'static str, arity: i32, since: &'static str, summary: &'static str) -> Spec {
    Spec::new(Group::Sentinel, name, arity, nobody).flags(OPERATE).doc(since, summary)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[Spec::new(Group::Sentinel, "sentinel", -2, nobody)
    .flags(OPERATE)
    .doc("2.8.4", "A container for Sentinel commands")
    .subcommands(&[
        sub("sentinel|ckquorum", 3, "2.8.4", "Check for a Sentinel quorum"),
        sub("sentinel|config", -3, "6.2.0", "Configure Sentinel"),
        sub("sentinel|debug", -2, "7.0.0", "List or update the current configurable parameters"),
        sub("sentinel|failover", 3, "2.8.4", "Force a failover"),
        sub("sentinel|flushconfig", 2, "2.8.4", "Rewrite configuration file"),
        sub("sentinel|get-master-addr-by-name", 3, "2.8.4", "Get port and address of a master"),
        Spec::new(Group::Sentinel, "sentinel|help", 2, sentinel_help)
            .flags(HELP)
            .doc("6.2.0", "Show helpful text about the different subcommands"),
        sub("sentinel|info-cache", -3, "3.2.0", "Get cached INFO from the instances in the deployment"),
        sub("sentinel|is-master-down-by-addr", 6, "2.8.4", "Check if a master is down"),
        sub("sentinel|master", 3, "2.8.4", "Shows the state of a master"),
        sub("sentinel|masters", 2, "2.8.4", "List the monitored masters"),
        sub("sentinel|monitor", 6, "2.8.4", "Start monitoring"),
        sub("sentinel|myid", 2, "6.2.0", "Get the Sentinel instance ID"),
        sub("sentinel|pending-scripts", 2, "2.8.4", "Get information about pending scripts"),
        sub("sentinel|remove", 3, "2.8.4", "Stop monitoring"),
        sub("sentinel|replicas", 3, "5.0.0", "List the monitored replicas"),
        sub("sentinel|reset", 3, "2.8.4", "Reset masters by name pattern"),
        sub("sentinel|sentinels", 3, "2.8.4", "List the Sentinel instances"),
        sub("sentinel|set", -5, "2.8.4", "Change the configuration of a monitored master"),
        sub("sentinel|simulate-failure", -3, "3.2.0", "Simulate failover scenarios"),
        sub("sentinel|slaves", 3, "2.8.0", "List the monitored slaves"),
    ])];

fn nobody(_: &mut Ctx<'_>) -> Result {
    Err(Error::err("this is not a sentinel"))
}

/// `SENTINEL HELP`
fn sentinel_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "SENTINEL",
        &[
            (
                "CKQUORUM <master-name>",
                "Whether enough sentinels are there to see a failure and to decide a failover.",
            ),
            ("CONFIG SET <param> <value>", "Change a setting of the sentinel itself."),
            ("CONFIG GET <param>", "Settings of the sentinel itself."),
            ("DEBUG [<param> <value> ...]", "The sentinel's times in milliseconds, or change some."),
            ("GET-MASTER-ADDR-BY-NAME <master-name>", "Where the master is."),
            ("FAILOVER <master-name>", "Promote a replica though nothing has failed."),
            ("FLUSHCONFIG", "Write configuration and state into the file."),
            (
                "INFO-CACHE <master-name> [<master-name> ...]",
                "What master and replicas last said of themselves.",
            ),
            ("IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>", "What other sentinels ask."),
            ("MASTER <master-name>", "All about a master."),
            ("MASTERS", "All about all masters."),
            ("MONITOR <name> <ip> <port> <quorum>", "Begin to watch a master."),
            ("MYID", "This sentinel's id."),
            ("PENDING-SCRIPTS", "Scripts that run or wait."),
            ("REMOVE <master-name>", "Watch a master no longer."),
            ("REPLICAS <master-name>", "All about a master's replicas."),
            ("RESET <pattern>", "Forget replicas and sentinels of the masters that match."),
            ("SENTINELS <master-name>", "All about the other sentinels of a master."),
            ("SET <master-name> <option> <value> [<option> <value> ...]", "Change how a master is watched."),
            ("SIMULATE-FAILURE [CRASH-AFTER-ELECTION] [CRASH-AFTER-PROMOTION] [HELP]", "Crash later."),
        ],
    )
}
