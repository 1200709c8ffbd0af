//! Commands about the connection itself.

use super::{Ctx, Flags, Group, Result, Spec};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[Spec::new(Group::Connection, "ping", -1, ping)
    .flags(Flags::FAST)
    .doc("1.0.0", "Returns the server's liveliness response.")];

/// `PING [message]`: <https://redis.io/docs/latest/commands/ping/>
fn ping(ctx: &mut Ctx<'_>) -> Result {
    if ctx.args.len() > 2 {
        return Err(super::Error::Arity("ping"));
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
