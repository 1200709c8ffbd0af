//! `CLIENT TRACKING` and its kin: what a client says about its cache
//! (<https://redis.io/docs/latest/commands/client-tracking/>).

use std::collections::BTreeSet;

use super::{Ctx, Error, Result};
use crate::resp::parse::parse_i64;
use crate::server::tracking::{Mode, Redirect, TrackingState};

/// What the words behind `CLIENT TRACKING ON` ask for.
#[derive(Default)]
struct Asked<'a> {
    redirect: Option<Redirect>,
    broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    noloop: bool,
    prefixes: Vec<&'a [u8]>,
}

impl<'a> Asked<'a> {
    fn read(ctx: &mut Ctx<'a>) -> Result<Asked<'a>> {
        let mut asked = Asked::default();
        let args = ctx.args;
        let mut i = 3;
        while i < args.len() {
            let more = i + 1 < args.len();
            if more && args.is(i, "redirect") {
                i += 1;
                if asked.redirect.is_some() {
                    return Err("ERR A client can only redirect to a single other client".into());
                }
                let id = parse_i64(args.at(i)).ok_or(Error::NotInteger)?;
                let target = u64::try_from(id).ok().and_then(|id| ctx.keys.server.clients.by_id(id));
                let target = target.ok_or("ERR The client ID you want redirect to does not exist")?;
                asked.redirect = Some(Redirect { id: target.id, conn: target.conn });
            } else if more && args.is(i, "prefix") {
                i += 1;
                asked.prefixes.push(args.at(i));
            } else {
                match args.at(i).to_ascii_lowercase().as_slice() {
                    b"bcast" => asked.broadcast = true,
                    b"optin" => asked.opt_in = true,
                    b"optout" => asked.opt_out = true,
                    b"noloop" => asked.noloop = true,
                    _ => return Err(Error::Syntax),
                }
            }
            i += 1;
        }
        Ok(asked)
    }

    /// Whether it makes sense, alone and beside what the client has asked for before.
    fn check(&self, before: Option<&TrackingState>) -> Result {
        if !self.broadcast && !self.prefixes.is_empty() {
            return Err("ERR PREFIX option requires BCAST mode to be enabled".into());
        }
        if before.is_some_and(|b| (b.mode == Mode::Broadcast) != self.broadcast) {
            return Err(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
                        re-enabling it with a different mode."
                    .into(),
            );
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return Err("ERR OPTIN and OPTOUT are not compatible with BCAST".into());
        }
        if self.opt_in && self.opt_out {
            return Err("ERR You can't specify both OPTIN mode and OPTOUT mode".into());
        }
        let opposite = match before.map(|b| b.mode) {
            Some(Mode::OptIn) => self.opt_out,
            Some(Mode::OptOut) => self.opt_in,
            _ => false,
        };
        if opposite {
            return Err(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
                        re-enabling it with a different mode."
                    .into(),
            );
        }
        check_prefixes(&self.prefixes, before.map(|b| &b.prefixes))
    }

    fn into_state(self) -> TrackingState {
        let mode = match (self.broadcast, self.opt_in, self.opt_out) {
            (true, ..) => Mode::Broadcast,
            (_, true, _) => Mode::OptIn,
            (.., true) => Mode::OptOut,
            _ => Mode::Reads,
        };
        let mut prefixes: BTreeSet<Vec<u8>> = self.prefixes.iter().map(|p| p.to_vec()).collect();
        if self.broadcast && prefixes.is_empty() {
            prefixes.insert(Vec::new());
        }
        let (noloop, redirect) = (self.noloop, self.redirect);
        TrackingState { mode, noloop, redirect, broken: false, caching: false, prefixes }
    }
}

/// A key must be announced to a client once: none of its prefixes may begin with another.
fn check_prefixes(asked: &[&[u8]], before: Option<&BTreeSet<Vec<u8>>>) -> Result {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    let error = |a: &[u8], which: &str, b: &[u8]| {
        Error::err(format_args!(
            "Prefix '{}' overlaps with {which} prefix '{}'. Prefixes for a single client must not overlap.",
            String::from_utf8_lossy(a),
            String::from_utf8_lossy(b)
        ))
    };
    for (i, prefix) in asked.iter().enumerate() {
        if let Some(old) = before.into_iter().flatten().find(|old| overlap(old, prefix)) {
            return Err(error(prefix, "an existing", old));
        }
        if let Some(other) = asked[i + 1..].iter().find(|other| overlap(prefix, other)) {
            return Err(error(prefix, "another provided", other));
        }
    }
    Ok(())
}

/// `CLIENT TRACKING ON|OFF [REDIRECT client-id] [PREFIX prefix [PREFIX prefix …]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`
pub fn tracking(ctx: &mut Ctx<'_>) -> Result {
    let asked = Asked::read(ctx)?;
    let conn = ctx.conn;
    if ctx.args.is(2, "on") {
        asked.check(ctx.client().and_then(|c| c.tracking.as_deref()))?;
        ctx.server().track(conn, asked.into_state());
    } else if ctx.args.is(2, "off") {
        ctx.server().untrack(conn);
    } else {
        return Err(Error::Syntax);
    }
    ctx.reply.ok();
    Ok(())
}

/// `CLIENT CACHING YES|NO`
pub fn caching(ctx: &mut Ctx<'_>) -> Result {
    let args = ctx.args;
    let Some(state) = ctx.client().and_then(|c| c.tracking.as_deref_mut()) else {
        return Err(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
             enabled"
                .into(),
        );
    };
    if args.is(2, "yes") {
        if state.mode != Mode::OptIn {
            return Err("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.".into());
        }
    } else if args.is(2, "no") {
        if state.mode != Mode::OptOut {
            return Err("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.".into());
        }
    } else {
        return Err(Error::Syntax);
    }
    state.caching = true;
    ctx.reply.ok();
    Ok(())
}

/// `CLIENT GETREDIR`: a client's id; 0: it tracks without redirection, -1: it does not track.
pub fn getredir(ctx: &mut Ctx<'_>) -> Result {
    let to = redirection(ctx.client().and_then(|c| c.tracking.as_deref()));
    ctx.reply.int(to);
    Ok(())
}

/// Redirection as `CLIENT LIST`, `CLIENT GETREDIR` and `CLIENT TRACKINGINFO` show it.
pub fn redirection(state: Option<&TrackingState>) -> i64 {
    state.map_or(-1, |s| s.redirect.map_or(0, |r| r.id as i64))
}

/// `CLIENT TRACKINGINFO`
pub fn trackinginfo(ctx: &mut Ctx<'_>) -> Result {
    let state = ctx.client().and_then(|c| c.tracking.as_deref()).cloned();
    let mut flags = vec![if state.is_some() { "on" } else { "off" }];
    if let Some(s) = &state {
        let (mode, caching) = match s.mode {
            Mode::Reads => ("", ""),
            Mode::Broadcast => ("bcast", ""),
            Mode::OptIn => ("optin", "caching-yes"),
            Mode::OptOut => ("optout", "caching-no"),
        };
        let said = [(mode, true), (caching, s.caching), ("noloop", s.noloop), ("broken_redirect", s.broken)];
        flags.extend(said.iter().filter(|(flag, on)| *on && !flag.is_empty()).map(|(flag, _)| *flag));
    }
    let reply = &mut ctx.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"redirect");
    reply.int(redirection(state.as_ref()));
    reply.bulk(b"prefixes");
    let prefixes = state.map(|s| s.prefixes).unwrap_or_default();
    reply.array(prefixes.len());
    prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
