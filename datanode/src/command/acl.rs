//! `ACL` (<https://redis.io/docs/latest/commands/acl/>) for the one user there is: `default`, who may do everything, with
//! `requirepass` as password. Other users cannot be made, and that is said.

use std::io::Read;

use super::{Ctx, Error, Flags, Group, OwnedArgs, Result, Spec, facts, help, table, wrong_form};

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
        sub("acl|load", 2, no_file).doc("6.0.0", "Reload the ACLs from the configured ACL file"),
        sub("acl|log", -2, log).doc("6.0.0", "List latest events denied because of ACLs in place"),
        sub("acl|save", 2, no_file).doc("6.0.0", "Save the current ACL rules in the configured ACL file"),
        sub("acl|setuser", -3, setuser).doc("6.0.0", "Modify or create the rules for a specific ACL user"),
        sub("acl|users", 2, users).doc("6.0.0", "List the username of all the configured ACL rules"),
        sub("acl|whoami", 2, whoami)
            .flags(OWN)
            .doc("6.0.0", "Return the name of the user associated to the current connection"),
    ])];

/// `ACL WHOAMI`
fn whoami(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.bulk(b"default");
    Ok(())
}

/// `ACL USERS`
fn users(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.array(1);
    ctx.reply.bulk(b"default");
    Ok(())
}

/// The password as ACL rules show it: its SHA-256 is not kept here, so that it is not shown at all.
fn has_password(ctx: &Ctx<'_>) -> bool {
    !ctx.keys.server.config.requirepass.is_empty()
}

/// `ACL LIST`
fn list(ctx: &mut Ctx<'_>) -> Result {
    let pass = if has_password(ctx) { "" } else { "nopass " };
    ctx.reply.array(1);
    ctx.reply.bulk(format!("user default on {pass}~* &* +@all").as_bytes());
    Ok(())
}

/// `ACL GETUSER username`
fn getuser(ctx: &mut Ctx<'_>) -> Result {
    if ctx.args.at(2) != b"default" {
        ctx.reply.null();
        return Ok(());
    }
    let protected = has_password(ctx);
    let reply = &mut ctx.reply;
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(if protected { 1 } else { 2 });
    reply.bulk(b"on");
    if !protected {
        reply.bulk(b"nopass");
    }
    reply.bulk(b"passwords");
    reply.array(0);
    for (name, rule) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(name.as_bytes());
        reply.bulk(rule.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
    Ok(())
}

/// `ACL CAT [category]`
fn cat(ctx: &mut Ctx<'_>) -> Result {
    match ctx.args.len() {
        2 => {
            ctx.reply.array(facts::CATEGORIES.len());
            facts::CATEGORIES.iter().for_each(|c| ctx.reply.bulk(c.trim_start_matches('@').as_bytes()));
        }
        3 => {
            let name = String::from_utf8_lossy(ctx.args.at(2)).into_owned();
            let wanted = format!("@{}", name.to_ascii_lowercase());
            if !facts::CATEGORIES.contains(&wanted.as_str()) {
                return Err(Error::err(format_args!("Unknown category '{name}'")));
            }
            let specs = table::all().flat_map(|s| std::iter::once(s).chain(s.subcommands));
            let mut names: Vec<&str> =
                specs.filter(|s| facts::categories(s).contains(&wanted.as_str())).map(|s| s.name).collect();
            names.sort_unstable();
            ctx.reply.array(names.len());
            names.iter().for_each(|n| ctx.reply.bulk(n.as_bytes()));
        }
        _ => return Err(wrong_form(ctx, "ACL")),
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
        _ => return Err(wrong_form(ctx, "ACL")),
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

/// `ACL LOG [count|RESET]`: nothing is ever denied.
fn log(ctx: &mut Ctx<'_>) -> Result {
    match ctx.args.len() {
        2 => ctx.reply.array(0),
        3 if ctx.args.is(2, "reset") => ctx.reply.ok(),
        3 => {
            ctx.int(2)?;
            ctx.reply.array(0);
        }
        _ => return Err(wrong_form(ctx, "ACL")),
    }
    Ok(())
}

/// `ACL DRYRUN username command [arg …]`
fn dryrun(ctx: &mut Ctx<'_>) -> Result {
    let name = ctx.args.at(2);
    if name != b"default" {
        return Err(Error::err(format_args!("User '{}' not found", String::from_utf8_lossy(name))));
    }
    let command = OwnedArgs::collect(ctx.args.from(3));
    if let Err(e) = table::find(command.as_args()) {
        return Err(match e {
            Error::Arity(_) => e,
            _ => Error::err(format_args!("Command '{}' not found", String::from_utf8_lossy(ctx.args.at(3)))),
        });
    }
    ctx.reply.ok();
    Ok(())
}

/// `ACL SETUSER username [rule …]`
fn setuser(_ctx: &mut Ctx<'_>) -> Result {
    Err("ERR ACL rules are not supported by this server: the only user is 'default', whose password is requirepass".into())
}

/// `ACL DELUSER username [username …]`
fn deluser(ctx: &mut Ctx<'_>) -> Result {
    if ctx.args.from(2).any(|name| name == b"default") {
        return Err("ERR The 'default' user cannot be removed".into());
    }
    ctx.reply.int(0);
    Ok(())
}

/// `ACL SAVE`, `ACL LOAD`
fn no_file(_ctx: &mut Ctx<'_>) -> Result {
    Err("ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
         command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store \
         users in the Redis configuration."
        .into())
}

/// `ACL HELP`
fn acl_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "ACL",
        &[
            ("CAT [<category>]", "Categories of commands, or the commands of one."),
            ("DRYRUN <username> <command> [<arg> ...]", "Whether the user might execute a command."),
            ("GENPASS [<bits>]", "A random password (default 256 bits)."),
            ("GETUSER <username>", "What a user may do."),
            ("LIST", "The users as rules."),
            ("LOG [<count>|RESET]", "What was denied; nothing is."),
            ("USERS", "The users' names: only 'default'."),
            ("WHOAMI", "This connection's user."),
        ],
    )
}
