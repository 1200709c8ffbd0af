//! Sorting lists, sets and sorted sets (<https://redis.io/docs/latest/commands/sort/>).

use super::{Args, Ctx, Error, Event, Keys, Result};
use crate::store::list::{End, List};
use crate::store::num::parse_float;
use crate::store::value::{Value, ValueRef};
use std::cmp::Ordering;

/// The keys of a call: what is sorted, and where the result goes.
pub fn find_keys(args: &Args<'_>) -> Vec<usize> {
    let (mut target, mut i) = (None, 2);
    while i < args.len() {
        if args.is(i, "limit") {
            i += 2;
        } else if args.is(i, "get") || args.is(i, "by") {
            i += 1;
        } else if args.is(i, "store") && i + 1 < args.len() {
            i += 1;
            target = Some(i);
        }
        i += 1;
    }
    [1].into_iter().chain(target).collect()
}

/// Options of SORT.
#[derive(Default)]
struct Options<'a> {
    descending: bool,
    alpha: bool,
    limit: Option<(i64, i64)>,
    store: Option<&'a [u8]>,
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(ctx: &Ctx<'a>, readonly: bool) -> Result<Options<'a>> {
        let (mut o, mut i, args) = (Options::default(), 2, ctx.args);
        let cluster = ctx.keys.server.config.cluster_enabled;
        while i < args.len() {
            let left = args.len() - i - 1;
            if args.is(i, "asc") {
                o.descending = false;
            } else if args.is(i, "desc") {
                o.descending = true;
            } else if args.is(i, "alpha") {
                o.alpha = true;
            } else if args.is(i, "limit") && left >= 2 {
                o.limit = Some((ctx.int(i + 1)?, ctx.int(i + 2)?));
                i += 2;
            } else if args.is(i, "store") && left >= 1 && !readonly {
                i += 1;
                o.store = args.get(i);
            } else if args.is(i, "by") && left >= 1 {
                i += 1;
                o.by = args.get(i);
                if cluster && !o.unsorted() {
                    return Err("ERR BY option of SORT denied in cluster mode.".into());
                }
                if !o.unsorted() && !ctx.may_read_all() {
                    return Err("ERR BY option of SORT denied due to insufficient ACL permissions.".into());
                }
            } else if args.is(i, "get") && left >= 1 {
                if cluster {
                    return Err("ERR GET option of SORT denied in cluster mode.".into());
                }
                if !ctx.may_read_all() {
                    return Err("ERR GET option of SORT denied due to insufficient ACL permissions.".into());
                }
                i += 1;
                o.get.push(args.at(i));
            } else {
                return Err(Error::Syntax);
            }
            i += 1;
        }
        Ok(o)
    }

    /// A pattern that is the same for all elements: nothing to sort by.
    fn unsorted(&self) -> bool {
        self.by.is_some_and(|by| !by.contains(&b'*'))
    }
}

/// What `pattern` says of an element: the element itself (`#`), or what is at the key, or in the field of the hash at the
/// key, whose name has the element in the place of the `*`.
fn look_up(keys: &mut Keys<'_>, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = pattern.iter().position(|&b| b == b'*')?;
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    // An arrow with nothing behind it belongs to the key's name.
    let arrow = after.windows(2).position(|w| w == b"->").filter(|at| at + 2 < after.len());
    let (after, field) = match arrow {
        Some(at) => (&after[..at], Some(&after[at + 2..])),
        None => (after, None),
    };
    let key = [before, element, after].concat();
    match (keys.find(&key)?.value(), field) {
        (ValueRef::Str(s), None) => Some(s.to_bytes().into_owned()),
        (ValueRef::Hash(h), Some(field)) => h.get(field).map(|v| v.to_bytes().into_owned()),
        _ => None,
    }
}

/// What an element is sorted by.
enum Weight {
    Number(f64),
    Text(Option<Vec<u8>>),
}

/// A number as C's `strtod` reads it: blanks may be in front, and no text at all is 0.
fn weight(text: &[u8]) -> Result<f64> {
    let blanks = text.iter().take_while(|b| b.is_ascii_whitespace() || **b == 0x0b).count();
    match &text[blanks..] {
        [] if blanks == 0 => Ok(0.0),
        rest => parse_float(rest)
            .ok_or(Error::Text("ERR One or more scores can't be converted into double".into())),
    }
}

fn sorted(
    keys: &mut Keys<'_>,
    elements: Vec<Vec<u8>>,
    by: Option<&[u8]>,
    o: &Options<'_>,
) -> Result<Vec<Vec<u8>>> {
    let mut weighed = Vec::with_capacity(elements.len());
    for e in elements {
        let text = by.map(|pattern| look_up(keys, pattern, &e));
        let weight = match (o.alpha, text) {
            (true, text) => Weight::Text(text.unwrap_or_else(|| Some(e.clone()))),
            (false, Some(text)) => Weight::Number(text.map_or(Ok(0.0), |t| weight(&t))?),
            (false, None) => Weight::Number(weight(&e)?),
        };
        weighed.push((weight, e));
    }
    weighed.sort_by(|(a, x), (b, y)| {
        let order = match (a, b) {
            // Equal numbers are no reason for an arbitrary order.
            (Weight::Number(a), Weight::Number(b)) => {
                a.partial_cmp(b).unwrap_or(Ordering::Equal).then_with(|| x.cmp(y))
            }
            (Weight::Text(a), Weight::Text(b)) => a.cmp(b),
            _ => Ordering::Equal,
        };
        if o.descending { order.reverse() } else { order }
    });
    Ok(weighed.into_iter().map(|(_, e)| e).collect())
}

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC | DESC] [ALPHA] [STORE destination]`
pub fn sort(ctx: &mut Ctx<'_>) -> Result {
    run(ctx, false)
}

/// `SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC | DESC] [ALPHA]`
pub fn sort_ro(ctx: &mut Ctx<'_>) -> Result {
    run(ctx, true)
}

fn run(ctx: &mut Ctx<'_>, readonly: bool) -> Result {
    let mut o = Options::parse(ctx, readonly)?;
    let must_agree = o.store.is_some() || ctx.keys.server.in_script();
    let mut elements: Vec<Vec<u8>> = match ctx.keys.find(ctx.args.at(1)).map(|e| e.value()) {
        None => Vec::new(),
        Some(ValueRef::List(l)) => l.iter().map(|e| e.to_bytes().into_owned()).collect(),
        Some(ValueRef::ZSet(z)) => z.iter().map(|(e, _)| e.to_bytes().into_owned()).collect(),
        Some(ValueRef::Set(s)) => {
            if o.unsorted() && must_agree {
                // A set has no order of its own, and replicas and scripts must come to the same result each time.
                (o.by, o.alpha) = (None, true);
            }
            s.iter().map(|e| e.to_bytes().into_owned()).collect()
        }
        Some(_) => return Err(Error::WrongType),
    };
    if !o.unsorted() {
        elements = sorted(&mut ctx.keys, elements, o.by, &o)?;
    } else if o.descending {
        elements.reverse();
    }
    if let Some((start, count)) = o.limit {
        let start = start.clamp(0, elements.len() as i64) as usize;
        elements.drain(..start);
        elements.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    }
    let mut result: Vec<Option<Vec<u8>>> = Vec::with_capacity(elements.len() * o.get.len().max(1));
    for e in elements {
        if o.get.is_empty() {
            result.push(Some(e));
        } else {
            o.get.iter().for_each(|pattern| result.push(look_up(&mut ctx.keys, pattern, &e)));
        }
    }
    match o.store {
        None => {
            ctx.reply.array(result.len());
            for e in result {
                match e {
                    Some(e) => ctx.reply.bulk(&e),
                    None => ctx.reply.null(),
                }
            }
        }
        Some(target) => store(ctx, target, result),
    }
    Ok(())
}

/// Makes the result a list, with an empty string where there was nothing to get.
fn store(ctx: &mut Ctx<'_>, target: &[u8], result: Vec<Option<Vec<u8>>>) {
    let limits = ctx.keys.limits();
    let mut list = List::new();
    result.iter().for_each(|e| list.push(&limits, End::Back, e.as_deref().unwrap_or_default()));
    if !result.is_empty() {
        ctx.keys.put(target, Value::List(Box::new(list)), None);
        // Clients may have waited for a list while something else was there.
        ctx.keys.signal_ready(target);
        ctx.keys.modified(ctx.io, Event::List, "sortstore", target);
        ctx.keys.dirty(result.len() as u64 - 1);
    } else if ctx.keys.delete(target, ctx.keys.server.config.lazyfree_lazy_server_del) {
        ctx.keys.modified(ctx.io, Event::Generic, "del", target);
    }
    ctx.reply.int(result.len() as i64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::OwnedArgs;

    #[test]
    fn keys_are_found_behind_options() {
        let keys = |line: &str| find_keys(&OwnedArgs::collect(line.split(' ')).as_args());
        assert_eq!(keys("SORT a"), [1]);
        assert_eq!(keys("SORT a BY store LIMIT store 1 GET store STORE b"), [1, 10]);
        assert_eq!(keys("SORT a STORE b STORE c"), [1, 5]);
        assert_eq!(keys("SORT a STORE"), [1]);
    }

    #[test]
    fn weights_are_read_as_strtod_does() {
        assert_eq!(weight(b""), Ok(0.0));
        assert_eq!(weight(b" -1.5e1"), Ok(-15.0));
        assert!(weight(b" ").is_err() && weight(b"1 ").is_err() && weight(b"nan").is_err());
    }
}
