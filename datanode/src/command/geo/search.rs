//! Searches for members in an area.

use std::cmp::Ordering;

use super::super::zsets::store_result;
use super::super::{Ctx, Error, Result};
use super::{position, reply_distance, reply_position, unit};
use crate::store::geohash::{Area, Form, Point};
use crate::store::keyspace::KeyEntry;
use crate::store::partial_sort::sort_first;
use crate::store::value::ValueRef;
use crate::store::zset::{ScoreBound, ZSet};

/// What the command's name says already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// GEORADIUS and GEORADIUS_RO.
    Around { may_store: bool },
    /// GEORADIUSBYMEMBER and GEORADIUSBYMEMBER_RO.
    AroundMember { may_store: bool },
    /// GEOSEARCH.
    Area,
    /// GEOSEARCHSTORE.
    AreaStored,
}

impl Search {
    /// Argument with the set that is searched.
    fn source(self) -> usize {
        if self == Search::AreaStored { 2 } else { 1 }
    }

    /// First argument that may be an option.
    fn options(self) -> usize {
        match self {
            Search::Around { .. } => 6,
            Search::AroundMember { .. } => 5,
            Search::Area => 2,
            Search::AreaStored => 3,
        }
    }

    /// The area is said by options.
    fn by_options(self) -> bool {
        matches!(self, Search::Area | Search::AreaStored)
    }

    fn may_store(self) -> bool {
        matches!(self, Search::Around { may_store: true } | Search::AroundMember { may_store: true })
    }
}

/// Which option has said where the middle is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Member,
    Position,
}

/// A search with all its options.
struct Query<'a> {
    area: Area,
    from: Option<From>,
    /// Whether the form is known.
    formed: bool,
    with_distance: bool,
    with_score: bool,
    with_position: bool,
    /// Nearest first, or farthest first.
    order: Option<Order>,
    /// 0: all.
    count: usize,
    /// Any so many of them will do.
    any: bool,
    target: Option<&'a [u8]>,
    /// What is stored as score is the distance.
    store_distance: bool,
    /// The event of having stored something.
    event: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

/// A distance or size, by argument `i`; `what` it is, in the error.
fn number(ctx: &Ctx<'_>, i: usize, what: &str) -> Result<f64> {
    ctx.float(i).map_err(|_| Error::err(format_args!("need numeric {what}")))
}

/// A circle: radius by argument `i`, unit by the next.
fn circle(ctx: &Ctx<'_>, i: usize) -> Result<(Form, f64)> {
    let radius = number(ctx, i, "radius")?;
    if radius < 0.0 {
        return Err("ERR radius cannot be negative".into());
    }
    Ok((Form::Circle(radius), unit(ctx.args, i + 1)?))
}

/// A rectangle: width by argument `i`, height by the next, then the unit.
fn rectangle(ctx: &Ctx<'_>, i: usize) -> Result<(Form, f64)> {
    let (width, height) = (number(ctx, i, "width")?, number(ctx, i + 1, "height")?);
    if width < 0.0 || height < 0.0 {
        return Err("ERR height or width cannot be negative".into());
    }
    Ok((Form::Rectangle(width, height), unit(ctx.args, i + 2)?))
}

/// The position of a member of the set at a key. `None`: there is no set.
fn member_position(ctx: &mut Ctx<'_>, key: &[u8], i: usize) -> Result<Option<Point>> {
    let member = ctx.args.at(i);
    let Some(ValueRef::ZSet(z)) = ctx.keys.peek(key).map(KeyEntry::value) else { return Ok(None) };
    match z.score(member) {
        Some(score) => Ok(Some(Point::from_score(score))),
        None => Err("ERR could not decode requested zset member".into()),
    }
}

impl<'a> Query<'a> {
    /// Reads the arguments. Members are looked up on the way, as their absence comes before errors of later arguments.
    fn parse(ctx: &mut Ctx<'a>, search: Search) -> Result<Query<'a>> {
        let args = ctx.args;
        let key = args.at(search.source());
        let mut q = Query {
            area: Area { center: Point::default(), form: Form::Circle(0.0), unit: 1.0 },
            from: None,
            formed: false,
            with_distance: false,
            with_score: false,
            with_position: false,
            order: None,
            count: 0,
            any: false,
            target: (search == Search::AreaStored).then(|| args.at(1)),
            store_distance: false,
            event: if search.by_options() { "geosearchstore" } else { "georadiusstore" },
        };
        match search {
            Search::Around { .. } => {
                q.area.center = position(ctx, 2)?;
                (q.area.form, q.area.unit) = circle(ctx, 4)?;
            }
            // With no set there is nothing to find, whatever the radius.
            Search::AroundMember { .. } => {
                if let Some(center) = member_position(ctx, key, 2)? {
                    q.area.center = center;
                    (q.area.form, q.area.unit) = circle(ctx, 3)?;
                }
            }
            Search::Area | Search::AreaStored => {}
        }
        let mut i = search.options();
        while i < args.len() {
            i += q.option(ctx, search, key, i)?;
        }
        q.check(ctx, search)?;
        Ok(q)
    }

    /// Reads the option at argument `i`; the number of its arguments.
    fn option(&mut self, ctx: &mut Ctx<'a>, search: Search, key: &[u8], i: usize) -> Result<usize> {
        let args = ctx.args;
        let left = args.len() - i - 1;
        let by_options = search.by_options();
        match args.at(i).to_ascii_lowercase().as_slice() {
            b"withdist" => self.with_distance = true,
            b"withhash" => self.with_score = true,
            b"withcoord" => self.with_position = true,
            b"any" => self.any = true,
            b"asc" => self.order = Some(Order::Ascending),
            b"desc" => self.order = Some(Order::Descending),
            b"count" if left >= 1 => {
                let count = ctx.int(i + 1)?;
                if count <= 0 {
                    return Err("ERR COUNT must be > 0".into());
                }
                self.count = count as usize;
                return Ok(2);
            }
            word @ (b"store" | b"storedist") if search.may_store() && left >= 1 => {
                self.target = args.get(i + 1);
                self.store_distance = word == b"storedist";
                return Ok(2);
            }
            b"storedist" if search == Search::AreaStored => self.store_distance = true,
            b"frommember" if by_options && left >= 1 && self.from != Some(From::Position) => {
                if let Some(center) = member_position(ctx, key, i + 1)? {
                    self.area.center = center;
                }
                self.from = Some(From::Member);
                return Ok(2);
            }
            b"fromlonlat" if by_options && left >= 2 && self.from != Some(From::Member) => {
                self.area.center = position(ctx, i + 1)?;
                self.from = Some(From::Position);
                return Ok(3);
            }
            b"byradius" if by_options && left >= 2 && !self.has(false) => {
                (self.area.form, self.area.unit) = circle(ctx, i + 1)?;
                self.formed = true;
                return Ok(3);
            }
            b"bybox" if by_options && left >= 3 && !self.has(true) => {
                (self.area.form, self.area.unit) = rectangle(ctx, i + 1)?;
                self.formed = true;
                return Ok(4);
            }
            _ => return Err(Error::Syntax),
        }
        Ok(1)
    }

    /// Whether the form has been said to be a circle, or a rectangle.
    fn has(&self, circle: bool) -> bool {
        self.formed && matches!(self.area.form, Form::Circle(_)) == circle
    }

    /// Whether the options fit together.
    fn check(&mut self, ctx: &Ctx<'_>, search: Search) -> Result {
        let name = || String::from_utf8_lossy(ctx.args.at(0)).into_owned();
        if self.target.is_some() && (self.with_distance || self.with_score || self.with_position) {
            let what = match search {
                Search::AreaStored => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            return Err(Error::err(format_args!(
                "{what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        if search.by_options() && self.from.is_none() {
            return Err(Error::err(format_args!(
                "exactly one of FROMMEMBER or FROMLONLAT can be specified for {}",
                name()
            )));
        }
        if search.by_options() && !self.formed {
            return Err(Error::err(format_args!(
                "exactly one of BYRADIUS and BYBOX can be specified for {}",
                name()
            )));
        }
        if self.any && self.count == 0 {
            return Err("ERR the ANY argument requires COUNT argument".into());
        }
        // Some of them should be the nearest, unless any will do.
        if self.count > 0 && !self.any {
            self.order.get_or_insert(Order::Ascending);
        }
        Ok(())
    }

    /// The members that are wanted, in order.
    fn find(&self, z: &ZSet) -> Vec<Found> {
        let bound = |score, exclusive| ScoreBound { score, exclusive };
        let in_range = |(from, to)| z.range(z.by_score(bound(from, false), bound(to, true)));
        let found = self.area.ranges().into_iter().flat_map(in_range).filter_map(|(member, score)| {
            let point = Point::from_score(score);
            let distance = self.area.distance(point)?;
            Some(Found { member: member.to_bytes().into_owned(), point, score, distance })
        });
        let most = if self.count == 0 { usize::MAX } else { self.count };
        let mut found: Vec<Found> = found.take(if self.any { most } else { usize::MAX }).collect();
        let nearer = |a: &Found, b: &Found| a.distance.total_cmp(&b.distance);
        let compare: &dyn Fn(&Found, &Found) -> Ordering = match self.order {
            None => return found,
            Some(Order::Ascending) => &nearer,
            Some(Order::Descending) => &|a, b| nearer(b, a),
        };
        if found.len() <= most {
            found.sort_by(compare);
        } else {
            sort_first(&mut found, most, compare);
            found.truncate(most);
        }
        found
    }

    fn reply(&self, ctx: &mut Ctx<'_>, found: &[Found]) {
        let more = [self.with_distance, self.with_score, self.with_position];
        let more = more.into_iter().filter(|&with| with).count();
        ctx.reply.array(found.len());
        for f in found {
            if more > 0 {
                ctx.reply.array(more + 1);
            }
            ctx.reply.bulk(&f.member);
            if self.with_distance {
                reply_distance(&mut ctx.reply, f.distance / self.area.unit);
            }
            if self.with_score {
                ctx.reply.int(f.score as i64);
            }
            if self.with_position {
                reply_position(&mut ctx.reply, f.point);
            }
        }
    }

    fn store(&self, ctx: &mut Ctx<'_>, target: &[u8], found: &[Found]) {
        let limits = ctx.keys.limits();
        let longest = found.iter().map(|f| f.member.len()).max().unwrap_or(0);
        let mut result = ZSet::sized(&limits, found.len(), longest);
        for f in found {
            let score = if self.store_distance { f.distance / self.area.unit } else { f.score };
            result.insert(&limits, &f.member, score);
        }
        // Each member counts as a change.
        ctx.keys.dirty(found.len().saturating_sub(1) as u64);
        store_result(ctx, target, result, self.event);
    }
}

/// A member that was found.
struct Found {
    member: Vec<u8>,
    point: Point,
    score: f64,
    /// From the middle, in metres.
    distance: f64,
}

/// `GEORADIUS key longitude latitude radius M|KM|FT|MI [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC|DESC]
/// [STORE key | STOREDIST key]`, `GEORADIUSBYMEMBER key member radius …`, both with `_RO` without STORE,
/// `GEOSEARCH key FROMMEMBER member | FROMLONLAT longitude latitude BYRADIUS radius unit | BYBOX width height unit …`,
/// `GEOSEARCHSTORE destination source … [STOREDIST]`
pub(super) fn run(ctx: &mut Ctx<'_>, search: Search) -> Result {
    let key = ctx.args.at(search.source());
    ctx.keys.zset(key)?;
    let query = Query::parse(ctx, search)?;
    let found = match ctx.keys.peek(key).map(KeyEntry::value) {
        Some(ValueRef::ZSet(z)) => query.find(z),
        _ => Vec::new(),
    };
    match query.target {
        Some(target) => query.store(ctx, target, &found),
        None => query.reply(ctx, &found),
    }
    Ok(())
}
