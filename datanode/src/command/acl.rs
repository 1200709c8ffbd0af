//! `ACL` (<https://redis.io/docs/latest/commands/acl/>): users, what they may do, and what was denied.

use std::io::Read;

use super::{Ctx, Error, Flags, Group, OwnedArgs, Result, Spec, facts, help, table};
use crate::acl::{self, Entry, Selector, User};
use crate::resp::writer::Reply;

const OPERATE: Flags = Flags(Flags::ADMIN.0 | OWN.0);
const OWN: Flags = Flags(Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0);

const fn sub(name: &'static str, arity: i32, handler: super::Handler) -> Spec {
    Spec::new(Group::Server, name, arity, handler).flags(OPERATE)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[Spec::new(Group::Server, "acl", -2, acl_help)
    .doc("6.0.0", "A container for Access List Control commands ")
    .subcommands(&[
        sub("acl|cat", -2, cat)
            .flags(OWN)
            .doc("6.0.0", "List the ACL categories or the commands inside a category"),
        sub("acl|deluser", -3, deluser)
            .doc("6.0.0", "Remove the specified ACL users and the associated rules"),
        sub("acl|dryrun", -4, dryrun).doc(
            "7.0.0",
            "Returns whether the user can execute the given command without executing the command.",
        ),
        sub("acl|genpass", -2, genpass)
            .flags(OWN)
            .doc("6.0.0", "Generate a pseudorandom secure password to use for ACL users"),
        sub("acl|getuser", 3, getuser).doc("6.0.0", "Get the rules for a specific ACL user"),
        sub("acl|help", 2, acl_help)
            .flags(Flags(Flags::LOADING.0 | Flags::STALE.0))
            .doc("6.0.0", "Show helpful text about the different subcommands"),
        sub("acl|list", 2, list).doc("6.0.0", "List the current ACL rules in ACL config file format"),
        sub("acl|load", 2, load).doc("6.0.0", "Reload the ACLs from the configured ACL file"),
        sub("acl|log", -2, log).doc("6.0.0", "List latest events denied because of ACLs in place"),
        sub("acl|save", 2, save).doc("6.0.0", "Save the current ACL rules in the configured ACL file"),
        sub("acl|setuser", -3, setuser).doc("6.0.0", "Modify or create the rules for a specific ACL user"),
        sub("acl|users", 2, users).doc("6.0.0", "List the username of all the configured ACL rules"),
        sub("acl|whoami", 2, whoami)
            .flags(OWN)
            .doc("6.0.0", "Return the name of the user associated to the current connection"),
    ])];

/// What subcommands reply to more arguments than they take.
fn too_many(subcommand: &str) -> Error {
    Error::err(format_args!(
        "unknown subcommand or wrong number of arguments for '{subcommand}'. Try ACL HELP."
    ))
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// `ACL WHOAMI`
fn whoami(ctx: &mut Ctx<'_>) -> Result {
    match ctx.client().map(|c| c.user.clone()) {
        Some(user) => ctx.reply.bulk(&user.name),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// `ACL USERS`
fn users(ctx: &mut Ctx<'_>) -> Result {
    let users = ctx.keys.server.acl.users();
    ctx.reply.array(users.len());
    users.for_each(|user| ctx.reply.bulk(&user.name));
    Ok(())
}

/// `ACL LIST`
fn list(ctx: &mut Ctx<'_>) -> Result {
    let users = ctx.keys.server.acl.users();
    ctx.reply.array(users.len());
    users.for_each(|user| ctx.reply.bulk(&user.line()));
    Ok(())
}

/// `ACL GETUSER username`
fn getuser(ctx: &mut Ctx<'_>) -> Result {
    let Some(user) = ctx.keys.server.acl.find(ctx.args.at(2)) else {
        ctx.reply.null();
        return Ok(());
    };
    let reply = &mut ctx.reply;
    reply.map(6);
    reply.bulk(b"flags");
    let flags = user.flags();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    let passwords = user.passwords();
    reply.array(passwords.len());
    passwords.for_each(|hash| reply.bulk(hash.as_bytes()));
    let (own, others) = user.selectors().split_at(1);
    own.iter().for_each(|selector| describe(reply, selector));
    reply.bulk(b"selectors");
    reply.array(others.len());
    for selector in others {
        reply.map(3);
        describe(reply, selector);
    }
    Ok(())
}

/// The three pairs that tell what a selector allows.
fn describe(reply: &mut Reply<'_>, selector: &Selector) {
    for (name, rules) in [
        ("commands", selector.command_rules()),
        ("keys", selector.key_rules()),
        ("channels", selector.channel_rules()),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(&rules.join(&b' '));
    }
}

/// `ACL CAT [category]`
fn cat(ctx: &mut Ctx<'_>) -> Result {
    match ctx.args.len() {
        2 => {
            ctx.reply.array(facts::CATEGORIES.len());
            facts::CATEGORIES.iter().for_each(|c| ctx.reply.bulk(c.trim_start_matches('@').as_bytes()));
        }
        3 => {
            let name = ctx.args.at(2);
            let Some(category) = acl::category_named(name) else {
                const SHOWN: usize = 128;
                let shown = text(&name[..name.len().min(SHOWN)]);
                return Err(Error::err(format_args!("Unknown category '{shown}'")));
            };
            ctx.reply.array(acl::in_category(category).count());
            acl::in_category(category).for_each(|spec| ctx.reply.bulk(spec.name.as_bytes()));
        }
        _ => return Err(too_many(&text(ctx.args.at(1)))),
    }
    Ok(())
}

/// Most bits of a password that is made.
const MAX_BITS: i64 = 4096;

/// `ACL GENPASS [bits]`: hexadecimal digits from the system's source of randomness.
fn genpass(ctx: &mut Ctx<'_>) -> Result {
    const RANGE: &str = "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number \
                         up to 4096";
    let bits = match ctx.args.len() {
        2 => 256,
        3 => Some(ctx.int(2)?).filter(|n| (1..=MAX_BITS).contains(n)).ok_or(Error::Text(RANGE.into()))?,
        _ => return Err(too_many(&text(ctx.args.at(1)))),
    };
    let digits = (bits as usize).div_ceil(4);
    let mut bytes = vec![0u8; digits.div_ceil(2)];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(|e| Error::err(format_args!("no randomness: {e}")))?;
    let mut text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    text.truncate(digits);
    ctx.reply.bulk(text.as_bytes());
    Ok(())
}

/// `ACL LOG [count|RESET]`
fn log(ctx: &mut Ctx<'_>) -> Result {
    const USUAL: i64 = 10;
    let count = match ctx.args.len() {
        2 => USUAL,
        3 if ctx.args.is(2, "reset") => {
            ctx.keys.server.acl.log.clear();
            ctx.reply.ok();
            return Ok(());
        }
        3 => ctx.int(2)?.max(0),
        _ => return Err(too_many(&text(ctx.args.at(1)))),
    };
    let now = ctx.now_ms();
    let entries = ctx.keys.server.acl.log.entries();
    let count = entries.len().min(usize::try_from(count).unwrap_or(usize::MAX));
    ctx.reply.array(count);
    entries.take(count).for_each(|entry| show(&mut ctx.reply, entry, now));
    Ok(())
}

fn show(reply: &mut Reply<'_>, entry: &Entry, now_ms: i64) {
    reply.map(7);
    reply.bulk(b"count");
    reply.int(entry.count as i64);
    for (name, value) in [
        ("reason", entry.reason.name().as_bytes()),
        ("context", entry.context.name().as_bytes()),
        ("object", &entry.object),
        ("username", &entry.username),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(value);
    }
    reply.bulk(b"age-seconds");
    reply.double((now_ms - entry.at_ms) as f64 / 1000.0);
    reply.bulk(b"client-info");
    reply.bulk(entry.client.as_bytes());
}

/// `ACL DRYRUN username command [arg …]`
fn dryrun(ctx: &mut Ctx<'_>) -> Result {
    let name = ctx.args.at(2);
    let Some(user) = ctx.keys.server.acl.find(name) else {
        return Err(Error::err(format_args!("User '{}' not found", text(name))));
    };
    let command = OwnedArgs::collect(ctx.args.from(3));
    let args = command.as_args();
    let spec = table::find(args).map_err(|e| match e {
        Error::Arity(_) => e,
        _ => Error::err(format_args!("Command '{}' not found", text(ctx.args.at(3)))),
    })?;
    match user.may_run(spec, args) {
        Ok(()) => ctx.reply.ok(),
        Err(denied) => ctx.reply.bulk(&denied.dry_run(spec, args)),
    }
    Ok(())
}

/// `ACL SETUSER username [rule …]`: all rules or none.
fn setuser(ctx: &mut Ctx<'_>) -> Result {
    let name = ctx.args.at(2);
    if !User::is_name(name) {
        return Err("ERR Usernames can't contain spaces or null characters".into());
    }
    let rules = acl::join_selectors(ctx.args.from(3)).map_err(|open| {
        Error::err(format_args!("Unmatched parenthesis in acl selector starting at '{}'.", text(open)))
    })?;
    let server = &mut *ctx.keys.server;
    let all_channels = acl::opens_channels(&server.config);
    let known = server.acl.find(name);
    let mut user = known.map_or_else(|| User::new(name, all_channels), |known| (**known).clone());
    for rule in &rules {
        user.apply(rule, all_channels)
            .map_err(|e| Error::err(format_args!("Error in ACL SETUSER modifier '{}': {e}", text(rule))))?;
    }
    server.set_user(ctx.io, user, ctx.conn);
    ctx.reply.ok();
    Ok(())
}

/// `ACL DELUSER username [username …]`
fn deluser(ctx: &mut Ctx<'_>) -> Result {
    if ctx.args.from(2).any(|name| name == acl::DEFAULT_USER) {
        return Err("ERR The 'default' user cannot be removed".into());
    }
    let deleted = ctx.args.from(2).filter(|name| ctx.keys.server.delete_user(ctx.io, name, ctx.conn)).count();
    ctx.reply.int(deleted as i64);
    Ok(())
}

fn check_file(ctx: &Ctx<'_>) -> Result {
    if ctx.keys.server.config.aclfile.is_empty() {
        return Err(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL \
             SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in \
             order to store users in the Redis configuration."
                .into(),
        );
    }
    Ok(())
}

/// `ACL LOAD`
fn load(ctx: &mut Ctx<'_>) -> Result {
    check_file(ctx)?;
    ctx.keys.server.load_users(ctx.io, ctx.conn).map_err(Error::err)?;
    ctx.reply.ok();
    Ok(())
}

/// `ACL SAVE`
fn save(ctx: &mut Ctx<'_>) -> Result {
    check_file(ctx)?;
    let server = &*ctx.keys.server;
    if let Err(e) = acl::file::save(&server.acl, &server.config, &*server.disk) {
        tracing::warn!("The ACL file could not be written: {e}");
        return Err(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information"
                .into(),
        );
    }
    ctx.reply.ok();
    Ok(())
}

/// `ACL HELP`
fn acl_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "ACL",
        &[
            ("CAT [<category>]", "Categories of commands, or the commands of one."),
            ("DELUSER <username> [<username> ...]", "Remove users and close their connections."),
            ("DRYRUN <username> <command> [<arg> ...]", "Whether the user might execute a command."),
            ("GENPASS [<bits>]", "A random password (default 256 bits)."),
            ("GETUSER <username>", "What a user may do."),
            ("LIST", "The users as rules."),
            ("LOAD", "Take the users from the ACL file."),
            ("LOG [<count>|RESET]", "What was denied, the latest first."),
            ("SAVE", "Write the users into the ACL file."),
            ("SETUSER <username> <rule> [<rule> ...]", "Make or change a user."),
            ("USERS", "The users' names."),
            ("WHOAMI", "This connection's user."),
        ],
    )
}
