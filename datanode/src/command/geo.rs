//! Positions on Earth in sorted sets (<https://redis.io/docs/latest/commands/?group=geo>): adding and asking for single
//! ones. Searches are in a file of their own.

mod search;

use self::search::Search;
use super::zsets::{AddOptions, add_members};
use super::{Args, Ctx, Error, Flags, Group, Handler, Result, Spec};
use crate::resp::writer::Reply;
use crate::store::geohash::Point;

const READ: Flags = Flags::READONLY;
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);

const fn geo(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Spec {
    Spec::new(Group::Geo, name, arity, handler).flags(flags).keys(1, 1, 1)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    geo("geoadd", -5, GROW, geoadd).doc("3.2.0", "Adds members at positions, or moves them."),
    geo("geopos", -2, READ, geopos).doc("3.2.0", "Returns the positions of members."),
    geo("geodist", -4, READ, geodist).doc("3.2.0", "Returns the distance between two members."),
    geo("geohash", -2, READ, geohash).doc("3.2.0", "Returns the positions of members as geohash texts."),
    geo("georadius", -6, GROW, |c| search::run(c, Search::Around { may_store: true }))
        .find_keys(|a| source_and_targets(a, 6))
        .doc("3.2.0", "Returns or stores the members within a distance of a position."),
    geo("georadiusbymember", -5, GROW, |c| search::run(c, Search::AroundMember { may_store: true }))
        .find_keys(|a| source_and_targets(a, 5))
        .doc("3.2.0", "Returns or stores the members within a distance of a member."),
    geo("georadius_ro", -6, READ, |c| search::run(c, Search::Around { may_store: false }))
        .doc("3.2.10", "Returns the members within a distance of a position."),
    geo("georadiusbymember_ro", -5, READ, |c| search::run(c, Search::AroundMember { may_store: false }))
        .doc("3.2.10", "Returns the members within a distance of a member."),
    geo("geosearch", -7, READ, |c| search::run(c, Search::Area))
        .doc("6.2.0", "Returns the members in a circle or a rectangle."),
    geo("geosearchstore", -8, GROW, |c| search::run(c, Search::AreaStored))
        .keys(1, 2, 1)
        .doc("6.2.0", "Stores the members in a circle or a rectangle."),
];

/// The keys of a search by radius: its set, and where the result goes; options are from argument `from` on.
fn source_and_targets(args: &Args<'_>, from: usize) -> Vec<usize> {
    let behind = |word| (from + 1..args.len()).find(|&i| args.is(i - 1, word));
    [1].into_iter().chain(behind("store")).chain(behind("storedist")).collect()
}

/// The position that arguments `i` and `i + 1` say.
fn position(ctx: &Ctx<'_>, i: usize) -> Result<Point> {
    let (longitude, latitude) = (ctx.float(i)?, ctx.float(i + 1)?);
    Point::new(longitude, latitude).ok_or_else(|| {
        Error::err(format_args!("invalid longitude,latitude pair {longitude:.6},{latitude:.6}"))
    })
}

/// The metres of the unit that argument `i` names.
fn unit(args: Args<'_>, i: usize) -> Result<f64> {
    const UNITS: [(&str, f64); 4] = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    let named = UNITS.iter().find(|(name, _)| args.is(i, name));
    named.map(|u| u.1).ok_or_else(|| "ERR unsupported unit provided. please use M, KM, FT, MI".into())
}

/// Replies a distance, in its unit.
fn reply_distance(reply: &mut Reply<'_>, distance: f64) {
    reply.bulk(format!("{distance:.4}").as_bytes());
}

/// Replies longitude and latitude with all the digits that make sense.
fn reply_position(reply: &mut Reply<'_>, point: Point) {
    reply.array(2);
    for degrees in [point.longitude, point.latitude] {
        let digits = format!("{degrees:.17}");
        let text = digits.trim_end_matches('0').trim_end_matches('.');
        if reply.resp3() {
            reply.out.extend_from_slice(format!(",{text}\r\n").as_bytes());
        } else {
            reply.bulk(text.as_bytes());
        }
    }
}

/// `GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member …]`
fn geoadd(ctx: &mut Ctx<'_>) -> Result {
    let (args, key) = (ctx.args, ctx.args.at(1));
    let (mut o, mut first) = (AddOptions::default(), 2);
    loop {
        match () {
            () if args.is(first, "nx") => o.nx = true,
            () if args.is(first, "xx") => o.xx = true,
            () if args.is(first, "ch") => o.ch = true,
            () => break,
        }
        first += 1;
    }
    let places = first..args.len();
    if places.len() % 3 != 0 || places.is_empty() || o.nx && o.xx {
        return Err(Error::Syntax);
    }
    let members = places.step_by(3).map(|i| Ok((position(ctx, i)?.score(), args.at(i + 2))));
    let members = members.collect::<Result<Vec<_>>>()?;
    // To those who repeat it, it is a ZADD.
    if add_members(ctx, key, &o, members.iter().map(|&(score, member)| (score as f64, member)))? {
        let mut effect: Vec<Vec<u8>> = vec![b"zadd".to_vec()];
        effect.extend((1..first).map(|i| args.at(i).to_vec()));
        for (score, member) in members {
            effect.extend([score.to_string().into_bytes(), member.to_vec()]);
        }
        ctx.propagate(&effect);
    }
    Ok(())
}

/// Replies for each member that is asked for what `show` says of its position; `missing` where it has none.
fn each_member(ctx: &mut Ctx<'_>, missing: fn(&mut Reply<'_>), show: fn(&mut Reply<'_>, Point)) -> Result {
    let found = ctx.keys.zset(ctx.args.at(1))?;
    ctx.reply.array(ctx.args.len() - 2);
    for member in ctx.args.from(2) {
        match found.and_then(|z| z.score(member)) {
            Some(score) => show(&mut ctx.reply, Point::from_score(score)),
            None => missing(&mut ctx.reply),
        }
    }
    Ok(())
}

/// `GEOPOS key [member …]`
fn geopos(ctx: &mut Ctx<'_>) -> Result {
    each_member(ctx, |reply| reply.null_array(), reply_position)
}

/// `GEOHASH key [member …]`
fn geohash(ctx: &mut Ctx<'_>) -> Result {
    each_member(ctx, |reply| reply.null(), |reply, point| reply.bulk(&point.text()))
}

/// `GEODIST key member1 member2 [M | KM | FT | MI]`
fn geodist(ctx: &mut Ctx<'_>) -> Result {
    let unit = match ctx.args.len() {
        4 => 1.0,
        5 => unit(ctx.args, 4)?,
        _ => return Err(Error::Syntax),
    };
    let found = ctx.keys.zset(ctx.args.at(1))?;
    let of = |i| found.and_then(|z| z.score(ctx.args.at(i))).map(Point::from_score);
    match (of(2), of(3)) {
        (Some(from), Some(to)) => reply_distance(&mut ctx.reply, from.distance(to) / unit),
        _ => ctx.reply.null(),
    }
    Ok(())
}
