//! `CLIENT` (<https://redis.io/docs/latest/commands/client/>): what is known of connections, and power over them.

use std::sync::Arc;

use super::{Ctx, Error, Flags, Group, Result, Spec, help, tracking, wrong_form};
use crate::acl::User;
use crate::io::{ConnId, Io};
use crate::replication::link::MasterLink;
use crate::resp::parse::parse_i64;
use crate::server::Server;
use crate::server::client::{Client, ReplyMode};
use crate::server::client_memory::{Usage, usage};
use crate::server::tracking::Mode;

const OWN: Flags = Flags(Flags::NOSCRIPT.0 | Flags::LOADING.0 | Flags::STALE.0);
const OTHERS: Flags = Flags(Flags::ADMIN.0 | OWN.0);

const fn sub(name: &'static str, arity: i32, handler: super::Handler) -> Spec {
    Spec::new(Group::Connection, name, arity, handler)
}

/// The container.
pub const CLIENT: Spec =
    sub("client", -2, client_help).doc("2.4.0", "A container for client connection commands").subcommands(&[
        sub("client|caching", 3, tracking::caching)
            .flags(OWN)
            .doc("6.0.0", "Instruct the server about tracking or not keys in the next request"),
        sub("client|getname", 2, getname).flags(OWN).doc("2.6.9", "Get the current connection name"),
        sub("client|getredir", 2, tracking::getredir)
            .flags(OWN)
            .doc("6.0.0", "Get tracking notifications redirection client ID if any"),
        sub("client|help", 2, client_help)
            .flags(Flags(Flags::LOADING.0 | Flags::STALE.0))
            .doc("5.0.0", "Show helpful text about the different subcommands"),
        sub("client|id", 2, id).flags(OWN).doc("5.0.0", "Returns the client ID for the current connection"),
        sub("client|info", 2, info)
            .flags(OWN)
            .doc("6.2.0", "Returns information about the current client connection."),
        sub("client|kill", -3, kill).flags(OTHERS).doc("2.4.0", "Kill the connection of a client"),
        sub("client|list", -2, list).flags(OTHERS).doc("2.4.0", "Get the list of client connections"),
        sub("client|no-evict", 3, no_evict)
            .flags(OTHERS)
            .doc("7.0.0", "Set client eviction mode for the current connection"),
        sub("client|no-touch", 3, no_touch)
            .flags(OWN)
            .doc("7.2.0", "Reads of the current connection do not count as uses of keys"),
        sub("client|pause", -3, pause)
            .flags(OTHERS)
            .doc("2.9.50", "Stop processing commands from clients for some time"),
        sub("client|reply", 3, reply)
            .flags(OWN)
            .doc("3.2.0", "Instruct the server whether to reply to commands"),
        sub("client|setinfo", 4, setinfo)
            .flags(OWN)
            .doc("7.2.0", "Set the client library's name or version for the current connection"),
        sub("client|setname", 3, setname).flags(OWN).doc("2.6.9", "Set the current connection name"),
        sub("client|tracking", -3, tracking::tracking)
            .flags(OWN)
            .doc("6.0.0", "Enable or disable server assisted client side caching support"),
        sub("client|trackinginfo", 2, tracking::trackinginfo).flags(OWN).doc(
            "6.2.0",
            "Return information about server assisted client side caching for the current connection",
        ),
        sub("client|unblock", -3, unblock)
            .flags(OTHERS)
            .doc("5.0.0", "Unblock a client blocked in a blocking command from a different connection"),
        sub("client|unpause", 2, unpause)
            .flags(OTHERS)
            .doc("6.2.0", "Resume processing of clients that were paused"),
    ]);

/// A text that can stand in `CLIENT LIST`: printable ASCII without blanks.
fn is_word(text: &[u8]) -> bool {
    text.iter().all(|b| (b'!'..=b'~').contains(b))
}

/// A client's name as `SETNAME` takes it.
pub fn checked_name(name: &[u8]) -> Result<Vec<u8>> {
    if !is_word(name) {
        return Err("ERR Client names cannot contain spaces, newlines or special characters.".into());
    }
    Ok(name.to_vec())
}

/// `CLIENT ID`
fn id(ctx: &mut Ctx<'_>) -> Result {
    let id = ctx.client().map_or(0, |c| c.id);
    ctx.reply.int(id as i64);
    Ok(())
}

/// `CLIENT GETNAME`
fn getname(ctx: &mut Ctx<'_>) -> Result {
    match ctx.client().map(|c| c.name.clone()).filter(|n| !n.is_empty()) {
        Some(name) => ctx.reply.bulk(&name),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// `CLIENT SETNAME name`
fn setname(ctx: &mut Ctx<'_>) -> Result {
    let name = checked_name(ctx.args.at(2))?;
    if let Some(client) = ctx.client() {
        client.name = name;
    }
    ctx.reply.ok();
    Ok(())
}

/// `CLIENT SETINFO LIB-NAME|LIB-VER value`
fn setinfo(ctx: &mut Ctx<'_>) -> Result {
    let value = ctx.args.at(3);
    let option = String::from_utf8_lossy(ctx.args.at(2)).into_owned();
    let name = option.to_ascii_lowercase();
    if name != "lib-name" && name != "lib-ver" {
        return Err(Error::err(format_args!("Unrecognized option '{option}'")));
    }
    if !is_word(value) {
        return Err(Error::err(format_args!(
            "{name} cannot contain spaces, newlines or special characters."
        )));
    }
    if let Some(client) = ctx.client() {
        let place = if name == "lib-name" { &mut client.lib_name } else { &mut client.lib_ver };
        *place = value.to_vec();
    }
    ctx.reply.ok();
    Ok(())
}

/// `ON` or `OFF` as argument `i`.
fn switch(ctx: &Ctx<'_>, i: usize) -> Result<bool> {
    match () {
        () if ctx.args.is(i, "on") => Ok(true),
        () if ctx.args.is(i, "off") => Ok(false),
        () => Err(Error::Syntax),
    }
}

/// `CLIENT NO-EVICT ON|OFF`
fn no_evict(ctx: &mut Ctx<'_>) -> Result {
    let on = switch(ctx, 2)?;
    if let Some(client) = ctx.client() {
        client.no_evict = on;
    }
    ctx.reply.ok();
    Ok(())
}

/// `CLIENT NO-TOUCH ON|OFF`
fn no_touch(ctx: &mut Ctx<'_>) -> Result {
    let on = switch(ctx, 2)?;
    if let Some(client) = ctx.client() {
        client.no_touch = on;
    }
    ctx.reply.ok();
    Ok(())
}

/// `CLIENT REPLY ON|OFF|SKIP`
fn reply(ctx: &mut Ctx<'_>) -> Result {
    let args = ctx.args;
    let Some(client) = ctx.client() else { return Ok(()) };
    if args.is(2, "on") {
        client.reply_mode = ReplyMode::On;
        ctx.reply.ok();
    } else if args.is(2, "off") {
        client.reply_mode = ReplyMode::Off;
    } else if args.is(2, "skip") {
        if client.reply_mode != ReplyMode::Off {
            client.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(Error::Syntax);
    }
    Ok(())
}

/// `CLIENT INFO`
fn info(ctx: &mut Ctx<'_>) -> Result {
    let server = &*ctx.keys.server;
    let line = server.clients.get(ctx.conn).map(|c| describe(c, ctx.io)).unwrap_or_default();
    ctx.reply.verbatim(&format!("{line}\n"));
    Ok(())
}

/// Kinds of clients, as `CLIENT LIST TYPE` and `CLIENT KILL TYPE` name them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Normal,
    Master,
    Replica,
    PubSub,
}

impl Type {
    fn parse(word: &[u8]) -> Result<Type> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Type::Normal),
            b"master" => Ok(Type::Master),
            b"replica" | b"slave" => Ok(Type::Replica),
            b"pubsub" => Ok(Type::PubSub),
            _ => Err(Error::err(format_args!("Unknown client type '{}'", String::from_utf8_lossy(word)))),
        }
    }

    fn of(client: &Client) -> Type {
        match client {
            c if c.is_replica() => Type::Replica,
            c if c.subscribed() => Type::PubSub,
            _ => Type::Normal,
        }
    }
}

/// `CLIENT LIST [TYPE NORMAL|MASTER|REPLICA|PUBSUB] [ID client-id [client-id …]]`
fn list(ctx: &mut Ctx<'_>) -> Result {
    let (mut kind, mut ids) = (None, None);
    match ctx.args.len() {
        2 => {}
        4 if ctx.args.is(2, "type") => kind = Some(Type::parse(ctx.args.at(3))?),
        n if n > 3 && ctx.args.is(2, "id") => {
            let parsed: Option<Vec<i64>> = ctx.args.from(3).map(parse_i64).collect();
            ids = Some(parsed.ok_or(Error::Text("ERR Invalid client ID".into()))?);
        }
        _ => return Err(Error::Syntax),
    }
    let server = &*ctx.keys.server;
    let line = |c: &Client, io: &mut Io| describe(c, io) + "\n";
    let mut text = String::new();
    match ids {
        // In the order in which they were asked for.
        Some(ids) => {
            for client in ids.iter().filter_map(|&id| server.clients.by_id(u64::try_from(id).ok()?)) {
                text += &line(client, ctx.io);
            }
        }
        None => {
            let mut found: Vec<&Client> =
                server.clients.iter().filter(|c| kind.is_none_or(|k| k == Type::of(c))).collect();
            found.sort_unstable_by_key(|c| c.id);
            found.into_iter().for_each(|client| text += &line(client, ctx.io));
        }
    }
    ctx.reply.verbatim(&text);
    Ok(())
}

/// Letters that tell a client's state.
fn flags(client: &Client) -> String {
    let mut flags = String::new();
    if client.is_replica() {
        flags.push('S');
    }
    if client.monitor {
        flags.push('O');
    }
    if client.subscribed() {
        flags.push('P');
    }
    if client.multi.is_some() {
        flags.push('x');
    }
    if client.blocked.is_some() {
        flags.push('b');
    }
    if let Some(state) = &client.tracking {
        flags.push('t');
        if state.broken {
            flags.push('R');
        }
        if state.mode == Mode::Broadcast {
            flags.push('B');
        }
    }
    if client.watch_broken {
        flags.push('d');
    }
    if client.closing {
        flags.push('c');
    }
    if client.peer.unix {
        flags.push('U');
    }
    if client.readonly {
        flags.push('r');
    }
    if client.no_evict {
        flags.push('e');
    }
    if client.no_touch {
        flags.push('T');
    }
    if flags.is_empty() {
        flags.push('N');
    }
    flags
}

/// A client's line in `CLIENT LIST`, without the newline.
pub fn describe(client: &Client, io: &mut Io) -> String {
    let Usage { input: used, output, multi: multi_memory, total } = usage(client, io);
    let free = io.conn(client.conn).map_or(0, |c| c.input.capacity() - c.input.len());
    let multi = client.multi.as_ref().map_or(-1, |m| m.queue.len() as i64);
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={multi} \
         qbuf={used} qbuf-free={free} argv-mem=0 multi-mem={multi_memory} rbs=0 rbp=0 obl={} oll={} omem={output} \
         tot-mem={total} events={} cmd={} user={} redir={} resp={} lib-name={} lib-ver={}",
        client.id,
        client.peer.remote,
        client.peer.local,
        // The driver keeps descriptors to itself; the place in its tables serves as well to tell clients apart.
        client.conn.slot(),
        text(&client.name),
        (io.now.unix_ms - client.created_ms).max(0) / 1000,
        io.now.mono_ms().saturating_sub(client.last_active_ms) / 1000,
        flags(client),
        client.db,
        client.channels.len(),
        client.patterns.len(),
        client.shard_channels.len(),
        output,
        0,
        if output > 0 { "rw" } else { "r" },
        client.last_command,
        text(&client.user.name),
        tracking::redirection(client.tracking.as_deref()),
        client.proto,
        text(&client.lib_name),
        text(&client.lib_ver),
    )
}

/// Which clients `CLIENT KILL` is to close.
#[derive(Default)]
struct Victims {
    id: Option<u64>,
    kind: Option<Type>,
    addr: Option<String>,
    laddr: Option<String>,
    user: Option<Arc<User>>,
    nobody: bool,
}

impl Victims {
    fn has(&self, client: &Client) -> bool {
        !self.nobody
            && self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|k| k == Type::of(client))
            && self.addr.as_ref().is_none_or(|a| *a == client.peer.remote)
            && self.laddr.as_ref().is_none_or(|a| *a == client.peer.local)
            && self.user.as_ref().is_none_or(|u| Arc::ptr_eq(u, &client.user))
    }

    /// The connection to our master is no client here, but can be cut as one.
    fn has_link(&self, link: &MasterLink) -> bool {
        let Some(peer) = link.peer() else { return false };
        !self.nobody
            && self.id.is_none()
            && self.user.is_none()
            && self.kind.is_none_or(|k| k == Type::Master)
            && self.addr.as_ref().is_none_or(|a| *a == peer.remote)
            && self.laddr.as_ref().is_none_or(|a| *a == peer.local)
    }
}

/// `CLIENT KILL ip:port`, `CLIENT KILL [ID id] [TYPE type] [USER name] [ADDR ip:port] [LADDR ip:port] [SKIPME YES|NO]`
fn kill(ctx: &mut Ctx<'_>) -> Result {
    let mut victims = Victims::default();
    let text = |b: &[u8]| Some(String::from_utf8_lossy(b).into_owned());
    let old_form = ctx.args.len() == 3;
    let mut skip_me = !old_form;
    if old_form {
        victims.addr = text(ctx.args.at(2));
    } else if !ctx.args.len().is_multiple_of(2) {
        return Err(Error::Syntax);
    }
    for i in (2..ctx.args.len() - 1).step_by(2) {
        let value = ctx.args.at(i + 1);
        match ctx.args.at(i).to_ascii_lowercase().as_slice() {
            b"id" => {
                let id = parse_i64(value).and_then(|n| u64::try_from(n).ok()).filter(|&n| n > 0);
                victims.id = Some(id.ok_or(Error::Text("ERR client-id should be greater than 0".into()))?);
            }
            b"type" => victims.kind = Some(Type::parse(value)?),
            b"addr" => victims.addr = text(value),
            b"laddr" => victims.laddr = text(value),
            b"user" => {
                let user = ctx.keys.server.acl.find(value).cloned();
                victims.user = Some(user.ok_or_else(|| {
                    Error::err(format_args!("No such user '{}'", String::from_utf8_lossy(value)))
                })?);
            }
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => skip_me = true,
            b"skipme" if value.eq_ignore_ascii_case(b"no") => skip_me = false,
            _ => return Err(Error::Syntax),
        }
    }
    let server = &mut *ctx.keys.server;
    let cut = server.repl.link.as_ref().is_some_and(|link| victims.has_link(link));
    if cut {
        server.cut_link(ctx.io);
    }
    let me = ctx.conn;
    let found: Vec<ConnId> = server
        .clients
        .iter()
        .filter(|c| !c.closing && victims.has(c) && !(skip_me && c.conn == me))
        .map(|c| c.conn)
        .collect();
    for &conn in &found {
        // The caller still gets its reply.
        server.close_client(ctx.io, conn, conn == me);
    }
    if old_form {
        if found.is_empty() && !cut {
            return Err("ERR No such client".into());
        }
        ctx.reply.ok();
    } else {
        ctx.reply.int(found.len() as i64 + i64::from(cut));
    }
    Ok(())
}

/// `CLIENT PAUSE timeout [WRITE|ALL]`; a pause that is in force is only ever made longer or stricter.
fn pause(ctx: &mut Ctx<'_>) -> Result {
    let all = match ctx.args.len() {
        3 => true,
        4 if ctx.args.is(3, "all") => true,
        4 if ctx.args.is(3, "write") => false,
        4 => return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".into()),
        _ => return Err(wrong_form(ctx, "CLIENT")),
    };
    let timeout = parse_i64(ctx.args.at(2))
        .ok_or(Error::Text("ERR timeout is not an integer or out of range".into()))?;
    let timeout = u64::try_from(timeout).map_err(|_| Error::Text("ERR timeout is negative".into()))?;
    let now = ctx.io.now.mono_ms();
    let pause = &mut ctx.keys.server.client_pause;
    let running = pause.until_ms > now;
    pause.all = all || (running && pause.all);
    pause.until_ms = now.saturating_add(timeout).max(if running { pause.until_ms } else { 0 });
    ctx.reply.ok();
    Ok(())
}

/// `CLIENT UNPAUSE`
fn unpause(ctx: &mut Ctx<'_>) -> Result {
    ctx.keys.server.client_pause = Default::default();
    ctx.reply.ok();
    Ok(())
}

/// `CLIENT UNBLOCK client-id [TIMEOUT|ERROR]`
fn unblock(ctx: &mut Ctx<'_>) -> Result {
    let with_error = match ctx.args.len() {
        3 => false,
        4 if ctx.args.is(3, "timeout") => false,
        4 if ctx.args.is(3, "error") => true,
        4 => return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".into()),
        _ => return Err(wrong_form(ctx, "CLIENT")),
    };
    let id = ctx.int(2)?;
    let server = &mut *ctx.keys.server;
    let waits = |c: &&Client| c.blocked.as_ref().is_some_and(|b| b.on.may_be_ended());
    let found = u64::try_from(id).ok().and_then(|id| server.clients.by_id(id)).filter(waits).map(|c| c.conn);
    if let Some(conn) = found {
        end_waiting(server, ctx.io, conn, with_error);
    }
    ctx.reply.int(i64::from(found.is_some()));
    Ok(())
}

fn end_waiting(server: &mut Server, io: &mut Io, conn: ConnId, with_error: bool) {
    if let Some(client) = server.clients.get(conn) {
        // To Redis both ways are failures of its command.
        server.stats.count_failed(client.last_command, true);
    }
    if with_error {
        server.unblock_with_error(io, conn, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    } else {
        server.unblock_as_late(io, conn);
    }
}

/// `CLIENT HELP`
fn client_help(ctx: &mut Ctx<'_>) -> Result {
    help(
        ctx,
        "CLIENT",
        &[
            ("CACHING (YES|NO)", "Enable or disable tracking of the keys of the next command."),
            ("GETNAME", "This connection's name."),
            ("GETREDIR", "The client that tracking notifications are redirected to."),
            ("ID", "This connection's id."),
            ("INFO", "This connection's line of CLIENT LIST."),
            ("KILL <ip:port>", "Close the connection from that address."),
            (
                "KILL [ID <id>] [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [USER <name>] [ADDR <ip:port>] [LADDR <ip:port>] \
                 [SKIPME (YES|NO)]",
                "Close the connections for which all of this is true.",
            ),
            ("LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <id> ...]", "One line about each connection."),
            ("NO-EVICT (ON|OFF)", "Protect this connection from being closed for want of memory."),
            ("NO-TOUCH (ON|OFF)", "Reads of this connection do not count as uses of keys."),
            ("PAUSE <timeout> [WRITE|ALL]", "Have commands wait for up to <timeout> milliseconds."),
            ("REPLY (ON|OFF|SKIP)", "Whether replies are sent to this connection."),
            ("SETINFO (LIB-NAME|LIB-VER) <value>", "Name or version of the library at the other end."),
            ("SETNAME <name>", "Give this connection a name."),
            (
                "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> ...] [OPTIN] [OPTOUT] [NOLOOP]",
                "Be told when keys change that this connection may have in its cache.",
            ),
            ("TRACKINGINFO", "State of tracking for this connection."),
            ("UNBLOCK <id> [TIMEOUT|ERROR]", "End the waiting of a blocked client."),
            ("UNPAUSE", "End a pause."),
        ],
    )
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
