//! Reads one value of any type. Nothing is kept that is not whole: a corrupt value is an error with its offset.

use std::io::Read;

use super::input::Input;
use super::*;
use crate::store::Corrupt;
use crate::store::elem::Elem;
use crate::store::hash::Hash;
use crate::store::intset::Intset;
use crate::store::limits::Limits;
use crate::store::list::{End, List, Node};
use crate::store::listpack::Listpack;
use crate::store::num::{IntBuf, parse_float};
use crate::store::set::Set;
use crate::store::str::Str;
use crate::store::value::Value;
use crate::store::zset::ZSet;

// What errors call encodings.
const HASH_ZIPLIST: &str = "Hash ziplist";
const ZSET_ZIPLIST: &str = "Zset ziplist";
const ZIPMAP: &str = "Zipmap";

// What a node of a quicklist is.
pub const NODE_PLAIN: u64 = 1;
pub const NODE_PACKED: u64 = 2;

/// Characters of a module type's name, six bits each, nine of them; the lowest ten bits are its version.
const MODULE_NAME: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Reads a value of type `kind`. A collection may turn out empty, which no key may hold: the caller decides.
pub fn read<R: Read>(input: &mut Input<R>, kind: u8, limits: &Limits) -> Result<Value, Error> {
    Ok(match kind {
        T_STRING => Value::Str(Str::from_vec(input.string()?)),
        T_LIST => {
            let mut list = List::new();
            for _ in 0..input.len()? {
                list.push(limits, End::Back, &input.string()?);
            }
            Value::List(Box::new(list))
        }
        T_LIST_ZIPLIST => {
            let mut list = List::new();
            push_ziplist(input, &mut list, limits, "List ziplist")?;
            Value::List(Box::new(list))
        }
        T_LIST_QUICKLIST => {
            let mut list = List::new();
            for _ in 0..input.len()? {
                push_ziplist(input, &mut list, limits, "Ziplist")?;
            }
            Value::List(Box::new(list))
        }
        T_LIST_QUICKLIST_2 => Value::List(Box::new(quicklist(input)?)),
        T_SET => {
            let mut set = Set::new();
            for _ in 0..input.len()? {
                let member = input.string()?;
                add_member(input, "Set", &mut set, limits, &member)?;
            }
            Value::Set(Box::new(set))
        }
        T_SET_LISTPACK => {
            let (lp, mut set) = (listpack(input, "Set listpack")?, Set::new());
            let mut buf = IntBuf::new();
            for e in lp.iter() {
                add_member(input, "Set listpack", &mut set, limits, e.as_bytes(&mut buf))?;
            }
            Value::Set(Box::new(set))
        }
        T_SET_INTSET => {
            let ints = Intset::from_bytes(input.borrowed()?).map_err(|e| flaw(input, "Intset", e))?;
            Value::Set(Box::new(Set::from_intset(ints, limits)))
        }
        T_ZSET | T_ZSET_2 => {
            let mut zset = ZSet::new();
            for _ in 0..input.len()? {
                let member = input.string()?;
                let score = if kind == T_ZSET { input.text_double()? } else { input.double()? };
                add_scored(input, "Zset", &mut zset, limits, &member, score)?;
            }
            Value::ZSet(Box::new(zset))
        }
        T_ZSET_LISTPACK => {
            let lp = listpack(input, "Zset listpack")?;
            let zset = ZSet::from_listpack(lp, limits).map_err(|e| flaw(input, "Zset listpack", e))?;
            Value::ZSet(Box::new(zset))
        }
        T_ZSET_ZIPLIST => {
            let (bytes, mut zset) = (input.string()?, ZSet::new());
            for (member, score) in ziplist_pairs(input, &bytes, ZSET_ZIPLIST)? {
                let score = parse_float(&score.to_bytes());
                let score = score.ok_or_else(|| flaw(input, ZSET_ZIPLIST, Corrupt("not a score")))?;
                add_scored(input, ZSET_ZIPLIST, &mut zset, limits, &member.to_bytes(), score)?;
            }
            Value::ZSet(Box::new(zset))
        }
        T_HASH => {
            let mut hash = Hash::new();
            for _ in 0..input.len()? {
                let (field, value) = (input.string()?, input.string()?);
                add_field(input, "Hash", &mut hash, limits, &field, &value)?;
            }
            Value::Hash(Box::new(hash))
        }
        T_HASH_LISTPACK => {
            let lp = listpack(input, "Hash listpack")?;
            let hash = Hash::from_listpack(lp, limits).map_err(|e| flaw(input, "Hash listpack", e))?;
            Value::Hash(Box::new(hash))
        }
        T_HASH_ZIPLIST => {
            let (bytes, mut hash) = (input.string()?, Hash::new());
            for (field, value) in ziplist_pairs(input, &bytes, HASH_ZIPLIST)? {
                add_field(input, HASH_ZIPLIST, &mut hash, limits, &field.to_bytes(), &value.to_bytes())?;
            }
            Value::Hash(Box::new(hash))
        }
        T_HASH_ZIPMAP => {
            let (bytes, mut hash) = (input.string()?, Hash::new());
            for (field, value) in packed::zipmap(&bytes).map_err(|e| flaw(input, ZIPMAP, e))? {
                add_field(input, ZIPMAP, &mut hash, limits, field, value)?;
            }
            Value::Hash(Box::new(hash))
        }
        T_STREAM | T_STREAM_2 | T_STREAM_3 => Value::Stream(Box::new(stream::read(input, kind)?)),
        T_MODULE | T_MODULE_DRAFT => {
            let id = input.len()?;
            let text =
                format!("a value of the module type '{}' cannot be read without its module", module_name(id));
            return Err(input.error(ErrorKind::Unsupported(text)));
        }
        other => return Err(input.corrupt(format!("unknown value type {other}"))),
    })
}

/// The name that a module type's id stands for.
fn module_name(id: u64) -> String {
    (0..9).map(|i| char::from(MODULE_NAME[(id >> (58 - 6 * i)) as usize & 63])).collect()
}

/// Skips what a module has saved: numbers and strings that say what they are.
pub fn skip_module_data<R: Read>(input: &mut Input<R>) -> Result<(), Error> {
    const MODULE_EOF: u64 = 0;
    const MODULE_INTEGER: [u64; 2] = [1, 2];
    const MODULE_FLOAT: u64 = 3;
    const MODULE_DOUBLE: u64 = 4;
    const MODULE_STRING: u64 = 5;
    loop {
        match input.len()? {
            MODULE_EOF => return Ok(()),
            kind if MODULE_INTEGER.contains(&kind) => {
                input.len()?;
            }
            MODULE_FLOAT => {
                input.array::<4>()?;
            }
            MODULE_DOUBLE => {
                input.array::<8>()?;
            }
            MODULE_STRING => {
                input.string()?;
            }
            other => return Err(input.corrupt(format!("unknown kind {other} of module data"))),
        }
    }
}

/// What is wrong with a compact encoding, as Redis calls it in its log.
pub fn flaw<R: Read>(input: &Input<R>, encoding: &str, e: Corrupt) -> Error {
    input.corrupt(format!("{encoding} integrity check failed: {}", e.0))
}

pub fn listpack<R: Read>(input: &mut Input<R>, encoding: &str) -> Result<Listpack, Error> {
    Listpack::from_bytes(input.borrowed()?).map_err(|e| flaw(input, encoding, e))
}

fn push_ziplist<R: Read>(
    input: &mut Input<R>,
    list: &mut List,
    limits: &Limits,
    encoding: &str,
) -> Result<(), Error> {
    let bytes = input.string()?;
    let mut buf = IntBuf::new();
    for e in packed::ziplist(&bytes).map_err(|e| flaw(input, encoding, e))? {
        list.push(limits, End::Back, e.as_bytes(&mut buf));
    }
    Ok(())
}

fn quicklist<R: Read>(input: &mut Input<R>) -> Result<List, Error> {
    let mut list = List::new();
    for _ in 0..input.len()? {
        match input.len()? {
            // Only what is too large for a listpack is a node of its own.
            NODE_PLAIN => match input.string()? {
                empty if empty.is_empty() => {
                    return Err(input.corrupt("Quicklist integrity check failed: an empty node"));
                }
                element => list.push_node(Node::Plain(element.into_boxed_slice())),
            },
            NODE_PACKED => list.push_node(Node::Packed(listpack(input, "Listpack")?)),
            other => return Err(input.corrupt(format!("unknown kind {other} of a list's node"))),
        }
    }
    Ok(list)
}

fn ziplist_pairs<'a, R: Read>(
    input: &Input<R>,
    bytes: &'a [u8],
    encoding: &str,
) -> Result<impl Iterator<Item = (Elem<'a>, Elem<'a>)>, Error> {
    let elements = packed::ziplist(bytes).map_err(|e| flaw(input, encoding, e))?;
    if elements.len() % 2 == 1 {
        return Err(flaw(input, encoding, Corrupt("half a pair")));
    }
    let mut rest = elements.into_iter();
    Ok(std::iter::from_fn(move || Some((rest.next()?, rest.next()?))))
}

fn add_member<R: Read>(
    input: &Input<R>,
    encoding: &str,
    set: &mut Set,
    limits: &Limits,
    member: &[u8],
) -> Result<(), Error> {
    match set.insert(limits, member) {
        true => Ok(()),
        false => Err(flaw(input, encoding, Corrupt("a member twice"))),
    }
}

fn add_field<R: Read>(
    input: &Input<R>,
    encoding: &str,
    hash: &mut Hash,
    limits: &Limits,
    field: &[u8],
    value: &[u8],
) -> Result<(), Error> {
    match hash.insert(limits, field, value) {
        true => Ok(()),
        false => Err(flaw(input, encoding, Corrupt("a field twice"))),
    }
}

fn add_scored<R: Read>(
    input: &Input<R>,
    encoding: &str,
    zset: &mut ZSet,
    limits: &Limits,
    member: &[u8],
    score: f64,
) -> Result<(), Error> {
    if score.is_nan() {
        return Err(flaw(input, encoding, Corrupt("a score that is not a number")));
    }
    match zset.insert(limits, member, score) {
        None => Ok(()),
        Some(_) => Err(flaw(input, encoding, Corrupt("a member twice"))),
    }
}
