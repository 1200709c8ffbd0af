//! Counting different elements (<https://redis.io/docs/latest/commands/?group=hyperloglog>).

use super::{Ctx, Error, Event, Flags, Group, Handler, Keys, Propagation, Result, Spec};
use crate::store::Corrupt;
use crate::store::hyperloglog::{self as hll, REGISTERS, Registers};
use crate::store::rng::Rng;
use crate::store::str::Str;
use std::borrow::Cow;

const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);
/// It may keep a count in the key, and replicas are to have the same value.
const COUNT: Flags = Flags::READONLY.with(Flags::MAY_REPLICATE);

const fn one_key(name: &'static str, arity: i32, flags: Flags, handler: Handler) -> Spec {
    Spec::new(Group::HyperLogLog, name, arity, handler).flags(flags).keys(1, 1, 1)
}

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    one_key("pfadd", -2, GROW.with(Flags::FAST), pfadd).doc("2.8.9", "Adds elements to be counted."),
    one_key("pfcount", -2, COUNT, pfcount)
        .keys(1, -1, 1)
        .doc("2.8.9", "Returns about how many different elements were added to any of the keys."),
    one_key("pfmerge", -2, GROW, pfmerge)
        .keys(1, -1, 1)
        .doc("2.8.9", "Adds to the first key what was added to the others."),
    one_key("pfdebug", 3, GROW.with(Flags::ADMIN), pfdebug)
        .keys(2, 2, 1)
        .doc("2.8.9", "Shows and changes how a count is kept."),
    one_key("pfselftest", 1, Flags::ADMIN, pfselftest)
        .keys(0, 0, 0)
        .doc("2.8.9", "Tests that counting works."),
];

impl From<Corrupt> for Error {
    fn from(_: Corrupt) -> Error {
        "INVALIDOBJ Corrupted HLL object detected".into()
    }
}

/// The bytes of a string, which must have the form of a HyperLogLog.
fn checked(s: &Str) -> Result<Cow<'_, [u8]>> {
    let bytes = s.to_bytes();
    if hll::is_valid(&bytes) {
        return Ok(bytes);
    }
    Err("WRONGTYPE Key is not a valid HyperLogLog string value.".into())
}

/// The value at a key, to be changed.
fn find_mut<'k>(keys: &'k mut Keys<'_>, key: &[u8]) -> Result<Option<&'k mut Vec<u8>>> {
    let Some(s) = keys.string_mut(key)? else { return Ok(None) };
    checked(s)?;
    Ok(Some(s.make_mut()))
}

/// The value at a key, made where there is none; whether it was. What is there must have been checked.
fn find_or_new<'k>(keys: &'k mut Keys<'_>, key: &[u8]) -> Result<(&'k mut Vec<u8>, bool)> {
    let made = !keys.exists(key);
    let bytes = keys.string_or_new(key)?.make_mut();
    if made {
        *bytes = hll::new();
    }
    Ok((bytes, made))
}

fn sparse_max(ctx: &Ctx<'_>) -> usize {
    usize::try_from(ctx.keys.server.config.hll_sparse_max_bytes).unwrap_or(usize::MAX)
}

/// `PFADD key [element …]`
fn pfadd(ctx: &mut Ctx<'_>) -> Result {
    let (key, sparse_max) = (ctx.args.at(1), sparse_max(ctx));
    find_mut(&mut ctx.keys, key)?;
    let (bytes, made) = find_or_new(&mut ctx.keys, key)?;
    let (mut changes, mut failed) = (u64::from(made), None);
    for element in ctx.args.from(2) {
        match hll::add(bytes, element, sparse_max) {
            Ok(changed) => changes += u64::from(changed),
            Err(corrupt) => {
                failed = Some(corrupt);
                break;
            }
        }
    }
    // What was added before a corrupt part was met is to be the same everywhere.
    if changes > 0 {
        hll::invalidate(bytes);
        ctx.keys.dirty(changes - 1);
        ctx.keys.modified(ctx.io, Event::String, "pfadd", key);
    }
    if let Some(corrupt) = failed {
        return Err(corrupt.into());
    }
    ctx.reply.int(i64::from(changes > 0));
    Ok(())
}

/// `PFCOUNT key [key …]`
fn pfcount(ctx: &mut Ctx<'_>) -> Result {
    let count = if ctx.args.len() == 2 { count_one(ctx)? } else { count_union(ctx)? };
    ctx.reply.int(count as i64);
    Ok(())
}

fn count_union(ctx: &mut Ctx<'_>) -> Result<u64> {
    let mut registers: Registers = [0; REGISTERS];
    for key in ctx.args.from(1) {
        if let Some(s) = ctx.keys.string(key)? {
            hll::merge(&mut registers, &checked(s)?)?;
        }
    }
    Ok(hll::count_registers(&registers))
}

/// The count of one key is kept in it.
fn count_one(ctx: &mut Ctx<'_>) -> Result<u64> {
    let key = ctx.args.at(1);
    let Some(s) = ctx.keys.string(key)? else { return Ok(0) };
    let cached = hll::cached(&checked(s)?);
    if let Some(count) = cached
        && s.encoding() == "raw"
    {
        return Ok(count);
    }
    let Some(bytes) = find_mut(&mut ctx.keys, key)? else { return Ok(0) };
    if let Some(count) = cached {
        // Taking it to be changed has made it what OBJECT ENCODING is to show.
        return Ok(count);
    }
    let count = hll::count(bytes)?;
    hll::cache(bytes, count);
    ctx.keys.touched(key);
    ctx.keys.dirty(1);
    // A replica may count for itself, but what it logs is its master's stream and nothing else.
    if !ctx.keys.server.is_master() {
        ctx.propagation = Propagation::Done;
    }
    Ok(count)
}

/// `PFMERGE destkey [sourcekey …]`
fn pfmerge(ctx: &mut Ctx<'_>) -> Result {
    let (target, sparse_max) = (ctx.args.at(1), sparse_max(ctx));
    let (mut registers, mut dense): (Registers, bool) = ([0; REGISTERS], false);
    for key in ctx.args.from(1) {
        if let Some(s) = ctx.keys.string(key)? {
            let bytes = checked(s)?;
            dense |= hll::is_dense(&bytes);
            hll::merge(&mut registers, &bytes)?;
        }
    }
    let (bytes, _) = find_or_new(&mut ctx.keys, target)?;
    if dense {
        hll::make_dense(bytes)?;
    }
    for (i, &value) in registers.iter().enumerate().filter(|(_, value)| **value > 0) {
        hll::raise(bytes, i, value, sparse_max)?;
    }
    hll::invalidate(bytes);
    ctx.keys.modified(ctx.io, Event::String, "pfadd", target);
    ctx.reply.ok();
    Ok(())
}

/// `PFDEBUG GETREG | DECODE | ENCODING | TODENSE key`
fn pfdebug(ctx: &mut Ctx<'_>) -> Result {
    let word = ctx.args.at(1).to_ascii_lowercase();
    let bytes = find_mut(&mut ctx.keys, ctx.args.at(2))?;
    let bytes = bytes.ok_or(Error::Text("ERR The specified key does not exist".into()))?;
    let sparse = !hll::is_dense(bytes);
    match word.as_slice() {
        b"getreg" => {
            hll::make_dense(bytes)?;
            let mut registers: Registers = [0; REGISTERS];
            hll::merge(&mut registers, bytes)?;
            ctx.reply.array(REGISTERS);
            registers.iter().for_each(|&r| ctx.reply.int(i64::from(r)));
            // Another encoding is a change, although the count is the same.
            ctx.keys.dirty(u64::from(sparse));
        }
        b"decode" => {
            if !sparse {
                return Err("ERR HLL encoding is not sparse".into());
            }
            let runs: Vec<String> = hll::runs(bytes).map(|run| run.to_string()).collect();
            ctx.reply.bulk(runs.join(" ").as_bytes());
        }
        b"encoding" => ctx.reply.simple(if sparse { "sparse" } else { "dense" }),
        b"todense" => {
            hll::make_dense(bytes)?;
            ctx.keys.dirty(u64::from(sparse));
            ctx.reply.int(i64::from(sparse));
        }
        _ => {
            let word = String::from_utf8_lossy(ctx.args.at(1)).into_owned();
            return Err(Error::err(format_args!("Unknown PFDEBUG subcommand '{word}'")));
        }
    }
    Ok(())
}

/// `PFSELFTEST`: adds random elements to a sparse and a dense value, and looks at the registers and the counts.
fn pfselftest(ctx: &mut Ctx<'_>) -> Result {
    selftest(&mut ctx.keys.server.rng).map_err(|what| Error::Text(format!("TESTFAILED {what}").into()))?;
    ctx.reply.ok();
    Ok(())
}

/// Elements that the self-test adds: few enough for nobody to notice a pause.
const TEST_ELEMENTS: u64 = 50_000;
/// Bytes of the value that stays sparse in it.
const TEST_SPARSE: usize = 3000;
/// The largest error of a count that counts as none: seven times the standard error.
const TEST_ERROR: f64 = 7.0 * 0.0081;

fn selftest(rng: &mut Rng) -> std::result::Result<(), String> {
    let (mut sparse, mut dense) = (hll::new(), hll::new());
    hll::make_dense(&mut dense).map_err(|e| e.to_string())?;
    let mut check_at = 1;
    let start = rng.next_u64();
    for n in 1..=TEST_ELEMENTS {
        let element = start.wrapping_add(n).to_be_bytes();
        for (value, limit) in [(&mut sparse, TEST_SPARSE), (&mut dense, 0)] {
            hll::add(value, &element, limit).map_err(|e| e.to_string())?;
        }
        if n < check_at {
            continue;
        }
        check_at *= 2;
        let mut both: [Registers; 2] = [[0; REGISTERS]; 2];
        for (registers, value) in both.iter_mut().zip([&sparse, &dense]) {
            hll::merge(registers, value).map_err(|e| e.to_string())?;
        }
        if let Some(i) = (0..REGISTERS).find(|&i| both[0][i] != both[1][i]) {
            return Err(format!(
                "Register {i} differs between the encodings: {} and {}",
                both[0][i], both[1][i]
            ));
        }
        let count = hll::count(&dense).map_err(|e| e.to_string())?;
        let error = (count as f64 - n as f64).abs();
        // Of few elements a miscount by one is no fault.
        if error > (TEST_ERROR * n as f64).max(2.0) {
            return Err(format!("Too large an error: {count} for {n} elements"));
        }
    }
    Ok(())
}
