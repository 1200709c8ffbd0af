//! `COMMAND` (<https://redis.io/docs/latest/commands/command/>): the table of commands, from the table itself.

use super::{Args, Ctx, Error, Flags, Group, OwnedArgs, Result, Spec, arguments, facts, help, table};
use crate::glob::glob_match;
use crate::resp::writer::Reply;

const LOOK: Flags = Flags(Flags::LOADING.0 | Flags::STALE.0);

const fn sub(name: &'static str, arity: i32, handler: super::Handler) -> Spec {
    Spec::new(Group::Server, name, arity, handler).flags(LOOK)
}

/// The family's commands.
pub const COMMANDS: &[Spec] =
    &[sub("command", -1, all).doc("2.8.13", "Get array of Redis command details").subcommands(&[
        sub("command|count", 2, count).doc("2.8.13", "Get total number of Redis commands"),
        sub("command|docs", -2, docs).doc("7.0.0", "Get array of specific Redis command documentation"),
        sub("command|getkeys", -4, |c| getkeys(c, false))
            .doc("2.8.13", "Extract keys given a full Redis command"),
        sub("command|getkeysandflags", -4, |c| getkeys(c, true))
            .doc("7.0.0", "Extract keys and access flags given a full Redis command"),
        sub("command|help", 2, command_help)
            .doc("5.0.0", "Show helpful text about the different subcommands"),
        sub("command|info", -2, info)
            .doc("2.8.13", "Get array of specific Redis command details, or all when no argument is given."),
        sub("command|list", -2, list).doc("7.0.0", "Get an array of Redis command names"),
    ])];

/// A command by its name, `container|subcommand` included.
fn named(name: &[u8]) -> Option<&'static Spec> {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    match name.split_once('|') {
        None => table::named(&name),
        Some((container, word)) => table::subcommand(table::named(container)?, word.as_bytes()),
    }
}

/// All top-level commands by name.
fn sorted() -> Vec<&'static Spec> {
    let mut specs: Vec<&Spec> = table::all().collect();
    specs.sort_by_key(|s| s.name);
    specs
}

/// `COMMAND`
fn all(ctx: &mut Ctx<'_>) -> Result {
    let specs = sorted();
    ctx.reply.array(specs.len());
    specs.into_iter().for_each(|s| describe(&mut ctx.reply, s));
    Ok(())
}

/// `COMMAND INFO [name …]`
fn info(ctx: &mut Ctx<'_>) -> Result {
    if ctx.args.len() == 2 {
        return all(ctx);
    }
    ctx.reply.array(ctx.args.len() - 2);
    for name in ctx.args.from(2) {
        match named(name) {
            Some(spec) => describe(&mut ctx.reply, spec),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

fn simple_set(reply: &mut Reply<'_>, words: &[&str]) {
    reply.set(words.len());
    words.iter().for_each(|w| reply.simple(w));
}

fn describe(reply: &mut Reply<'_>, spec: &Spec) {
    reply.array(10);
    reply.bulk(spec.name.as_bytes());
    reply.int(i64::from(spec.arity));
    simple_set(reply, &spec.flags.names());
    let keys = spec.keys;
    for n in [keys.first, keys.last, keys.step] {
        reply.int(i64::from(n));
    }
    simple_set(reply, &facts::categories(spec));
    let tips = facts::tips(spec.name);
    reply.set(tips.len());
    tips.iter().for_each(|t| reply.bulk(t.as_bytes()));
    let specs = facts::key_specs(spec);
    reply.set(specs.len());
    specs.iter().for_each(|k| k.write(reply));
    reply.set(spec.subcommands.len());
    spec.subcommands.iter().for_each(|s| describe(reply, s));
}

/// `COMMAND COUNT`
fn count(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.int(table::all().count() as i64);
    Ok(())
}

/// `COMMAND LIST [FILTERBY MODULE name|ACLCAT category|PATTERN pattern]`
fn list(ctx: &mut Ctx<'_>) -> Result {
    let filter: Box<dyn Fn(&Spec) -> bool> = match ctx.args.len() {
        2 => Box::new(|_| true),
        5 if ctx.args.is(2, "filterby") => {
            let value = ctx.args.at(4);
            match ctx.args.at(3).to_ascii_lowercase().as_slice() {
                b"module" => Box::new(|_| false),
                b"aclcat" => {
                    let wanted = format!("@{}", String::from_utf8_lossy(value).to_ascii_lowercase());
                    Box::new(move |s| facts::categories(s).contains(&wanted.as_str()))
                }
                b"pattern" => Box::new(move |s| glob_match(value, s.name.as_bytes(), true)),
                _ => return Err(Error::Syntax),
            }
        }
        _ => return Err(Error::Syntax),
    };
    let mut names = Vec::new();
    for spec in sorted() {
        names.extend(std::iter::once(spec).chain(spec.subcommands).filter(|s| filter(s)).map(|s| s.name));
    }
    ctx.reply.array(names.len());
    names.iter().for_each(|n| ctx.reply.bulk(n.as_bytes()));
    Ok(())
}

/// `COMMAND DOCS [name …]`
fn docs(ctx: &mut Ctx<'_>) -> Result {
    let specs: Vec<&Spec> = match ctx.args.len() {
        2 => sorted(),
        _ => ctx.args.from(2).filter_map(named).collect(),
    };
    ctx.reply.map(specs.len());
    specs.into_iter().for_each(|s| document(&mut ctx.reply, s));
    Ok(())
}

fn document(reply: &mut Reply<'_>, spec: &Spec) {
    reply.bulk(spec.name.as_bytes());
    let arguments = arguments::of(spec.name);
    reply.map(3 + usize::from(!arguments.is_empty()) + usize::from(!spec.subcommands.is_empty()));
    for (name, text) in [("summary", spec.summary), ("since", spec.since), ("group", spec.group.name())] {
        reply.bulk(name.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if !arguments.is_empty() {
        reply.bulk(b"arguments");
        arguments::reply(reply, &arguments);
    }
    if !spec.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(spec.subcommands.len());
        spec.subcommands.iter().for_each(|s| document(reply, s));
    }
}

/// `COMMAND GETKEYS command [arg …]`, `COMMAND GETKEYSANDFLAGS command [arg …]`
fn getkeys(ctx: &mut Ctx<'_>, with_flags: bool) -> Result {
    let owned = OwnedArgs::collect(ctx.args.from(2));
    let args: Args<'_> = owned.as_args();
    let spec = match table::find(args) {
        Ok(spec) => spec,
        Err(Error::Arity(_)) => return Err("ERR Invalid number of arguments specified for command".into()),
        Err(_) => return Err("ERR Invalid command specified".into()),
    };
    let keys = spec.key_indexes(&args);
    if keys.is_empty() && !spec.flags.any(Flags::NO_MANDATORY_KEYS) {
        let text = match spec.keys.first == 0 && spec.find_keys.is_none() {
            true => "ERR The command has no key arguments",
            false => "ERR Invalid arguments specified for command",
        };
        return Err(text.into());
    }
    ctx.reply.array(keys.len());
    for (n, i) in keys.into_iter().enumerate() {
        if with_flags {
            ctx.reply.array(2);
            ctx.reply.bulk(args.at(i));
            simple_set(&mut ctx.reply, facts::key_flags(spec, args, n));
        } else {
            ctx.reply.bulk(args.at(i));
        }
    }
    Ok(())
}

/// `COMMAND HELP`
fn command_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "COMMAND",
        &[
            ("(no subcommand)", "Details of all commands."),
            ("COUNT", "Number of commands."),
            ("DOCS [<command-name> ...]", "Documentation of commands."),
            ("GETKEYS <full-command>", "The keys of a command."),
            ("GETKEYSANDFLAGS <full-command>", "The keys of a command, and how it uses them."),
            ("INFO [<command-name> ...]", "Details of commands."),
            ("LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]", "Names of commands."),
        ],
    )
}
