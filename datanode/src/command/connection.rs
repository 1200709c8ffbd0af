//! Commands about the connection itself (<https://redis.io/docs/latest/commands/?group=connection>); `CLIENT` is in
//! `client`.

use super::{Ctx, Error, Flags, Group, Result, Spec, client};
use crate::acl;
use crate::config::REDIS_VERSION;
use crate::resp::parse::parse_i64;
use crate::server::Server;

/// Before authentication, and while data is being loaded.
const HANDSHAKE: Flags = Flags(
    Flags::NOSCRIPT.0
        | Flags::LOADING.0
        | Flags::STALE.0
        | Flags::FAST.0
        | Flags::NO_AUTH.0
        | Flags::ALLOW_BUSY.0,
);
const QUICK: Flags = Flags(Flags::LOADING.0 | Flags::STALE.0 | Flags::FAST.0);

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    Spec::new(Group::Connection, "ping", -1, ping).flags(Flags::FAST).doc("1.0.0", "Ping the server"),
    Spec::new(Group::Connection, "echo", 2, echo).flags(QUICK).doc("1.0.0", "Echo the given string"),
    Spec::new(Group::Connection, "auth", -2, auth)
        .flags(HANDSHAKE)
        .doc("1.0.0", "Authenticate to the server"),
    Spec::new(Group::Connection, "hello", -1, hello).flags(HANDSHAKE).doc("6.0.0", "Handshake with Redis"),
    Spec::new(Group::Connection, "select", 2, select)
        .flags(QUICK)
        .doc("1.0.0", "Change the selected database for the current connection"),
    Spec::new(Group::Connection, "quit", -1, quit).flags(HANDSHAKE).doc("1.0.0", "Close the connection"),
    Spec::new(Group::Connection, "reset", 1, reset).flags(HANDSHAKE).doc("6.2.0", "Reset the connection"),
    client::CLIENT,
];

/// `PING [message]`: <https://redis.io/docs/latest/commands/ping/>
fn ping(ctx: &mut Ctx<'_>) -> Result {
    if ctx.args.len() > 2 {
        return Err(Error::Arity("ping"));
    }
    let resp2_subscriber = ctx.reply.proto == 2 && ctx.client().is_some_and(|c| c.subscribed());
    let message = ctx.args.get(1);
    if resp2_subscriber {
        ctx.reply.array(2);
        ctx.reply.bulk(b"pong");
        ctx.reply.bulk(message.unwrap_or_default());
    } else {
        match message {
            Some(m) => ctx.reply.bulk(m),
            None => ctx.reply.simple("PONG"),
        }
    }
    Ok(())
}

/// `ECHO message`
fn echo(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.bulk(ctx.args.at(1));
    Ok(())
}

/// `AUTH [username] password`: <https://redis.io/docs/latest/commands/auth/>
fn auth(ctx: &mut Ctx<'_>) -> Result {
    let (user, password) = match ctx.args.len() {
        2 if ctx.keys.server.acl.default_user().needs_no_password() => {
            return Err(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?"
                    .into(),
            );
        }
        2 => (acl::DEFAULT_USER, ctx.args.at(1)),
        3 => (ctx.args.at(1), ctx.args.at(2)),
        _ => return Err(Error::Syntax),
    };
    authenticate(ctx, user, password)?;
    ctx.reply.ok();
    Ok(())
}

/// Lets the client in if user and password are right.
fn authenticate(ctx: &mut Ctx<'_>, user: &[u8], password: &[u8]) -> Result {
    if ctx.keys.server.log_in(ctx.io, ctx.conn, user, password, ctx.args.at(0)) {
        return Ok(());
    }
    Err("WRONGPASS invalid username-password pair or user is disabled.".into())
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`: <https://redis.io/docs/latest/commands/hello/>
fn hello(ctx: &mut Ctx<'_>) -> Result {
    let mut version = None;
    if let Some(text) = ctx.args.get(1) {
        match parse_i64(text) {
            None => return Err("ERR Protocol version is not an integer or out of range".into()),
            Some(n @ (2 | 3)) => version = Some(n as u8),
            Some(_) => return Err("NOPROTO unsupported protocol version".into()),
        }
    }
    let (mut name, mut credentials) = (None, None);
    let mut i = 2;
    while i < ctx.args.len() {
        let more = ctx.args.len() - 1 - i;
        if ctx.args.is(i, "auth") && more >= 2 {
            credentials = Some((ctx.args.at(i + 1), ctx.args.at(i + 2)));
            i += 3;
        } else if ctx.args.is(i, "setname") && more >= 1 {
            name = Some(client::checked_name(ctx.args.at(i + 1))?);
            i += 2;
        } else {
            return Err(Error::err(format_args!(
                "Syntax error in HELLO option '{}'",
                String::from_utf8_lossy(ctx.args.at(i))
            )));
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(ctx, user, password)?;
    }
    if ctx.client().is_some_and(|c| !c.authenticated) {
        return Err(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time"
                .into(),
        );
    }
    let Some(client) = ctx.client() else { return Ok(()) };
    if let Some(name) = name {
        client.name = name;
    }
    if let Some(version) = version {
        client.proto = version;
    }
    let (proto, id) = (client.proto, client.id);
    ctx.reply.proto = proto;
    let server = &*ctx.keys.server;
    let reply = &mut ctx.reply;
    let with_role = !server.is_front();
    reply.map(6 + usize::from(with_role));
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.int(i64::from(proto));
    reply.bulk(b"id");
    reply.int(id as i64);
    reply.bulk(b"mode");
    reply.bulk(server.mode_name().as_bytes());
    if with_role {
        reply.bulk(b"role");
        reply.bulk(if server.is_master() { b"master" } else { b"replica" });
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

/// `SELECT index`; in a stream of effects it says where the following ones belong.
fn select(ctx: &mut Ctx<'_>) -> Result {
    let db = ctx.int_in(1, i32::MIN.into()..=i32::MAX.into())?;
    if ctx.keys.server.config.cluster_enabled && db != 0 {
        return Err("ERR SELECT is not allowed in cluster mode".into());
    }
    let db = database(ctx.keys.server, db).ok_or(Error::Text("ERR DB index is out of range".into()))?;
    match ctx.client() {
        Some(client) => client.db = db,
        None => ctx.keys.server.origin_db = db,
    }
    ctx.reply.ok();
    Ok(())
}

/// The database of this number, if there is one.
pub fn database(server: &Server, n: i64) -> Option<usize> {
    usize::try_from(n).ok().filter(|&n| n < server.keyspace.databases())
}

/// `QUIT`
fn quit(ctx: &mut Ctx<'_>) -> Result {
    ctx.reply.ok();
    ctx.keys.server.close_client(ctx.io, ctx.conn, true);
    Ok(())
}

/// `RESET`: the connection is as if it had just been made.
fn reset(ctx: &mut Ctx<'_>) -> Result {
    let conn = ctx.conn;
    if ctx.client().is_some_and(|c| c.replica.is_some()) {
        return Err("ERR can only reset normal client connections".into());
    }
    let server = &mut *ctx.keys.server;
    server.discard_transaction(conn);
    server.unsubscribe_all(conn);
    server.untrack(conn);
    server.monitors.retain(|&c| c != conn);
    let (open, user) = (server.is_open(), server.acl.default_user().clone());
    if let Some(client) = server.clients.get_mut(conn) {
        client.reset(user, open);
    }
    ctx.reply.proto = 2;
    ctx.reply.simple("RESET");
    Ok(())
}
