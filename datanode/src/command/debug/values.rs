//! `DEBUG` about values and tables: where they are, how large, how well their tables are filled.

use crate::command::{Ctx, Error, Result};
use crate::rdb::dump;
use crate::rdb::encode::ValueWriter;
use crate::store::keyspace::KeyEntry;
use crate::store::list::{List, NodeRef};
use crate::store::value::ValueRef;

/// Bytes of a DUMP payload around the value itself: type, version, checksum.
const AROUND_VALUE: usize = 11;
/// Chains of this length and longer are counted together (Redis' DICT_STATS_VECTLEN).
const LONGEST_SHOWN: usize = 50;

fn entry<'c>(ctx: &'c mut Ctx<'_>) -> Result<&'c KeyEntry> {
    let key = ctx.args.at(2);
    // Even one whose time is up, as long as it is there.
    ctx.keys.server.keyspace.peek(ctx.keys.db, key).ok_or(Error::NoSuchKey)
}

/// `DEBUG OBJECT key`
pub fn object(ctx: &mut Ctx<'_>) -> Result {
    let config = &ctx.keys.server.config;
    let (compression, fill) = (config.rdbcompression, config.list_max_listpack_size);
    let e = entry(ctx)?;
    let length = dump::encode(&mut ValueWriter::new(compression), e.value()).len() - AROUND_VALUE;
    let (at, encoding, stamp) = (&raw const *e, e.value().encoding(), e.access().get());
    let nodes = match e.value() {
        ValueRef::List(list) => {
            let (count, bytes) = (list.nodes().len(), list.nodes().map(NodeRef::byte_len).sum::<usize>());
            format!(
                " ql_nodes:{count} ql_avg_node:{:.2} ql_listpack_max:{fill} ql_compressed:0 ql_uncompressed_size:{bytes}",
                list.len() as f64 / count.max(1) as f64,
            )
        }
        _ => String::new(),
    };
    let idle = ctx.keys.server.access_clock.idle_seconds(stamp);
    ctx.reply.simple(&format!(
        "Value at:{at:p} refcount:1 encoding:{encoding} serializedlength:{length} lru:{} lru_seconds_idle:{idle}{nodes}",
        stamp & 0xff_ffff
    ));
    Ok(())
}

/// `DEBUG SDSLEN key`
pub fn sdslen(ctx: &mut Ctx<'_>) -> Result {
    let e = entry(ctx)?;
    let ValueRef::Str(s) = e.value() else { return Err("ERR Not an sds encoded string.".into()) };
    if s.as_int().is_some() {
        return Err("ERR Not an sds encoded string.".into());
    }
    // The key is a part of its entry.
    let key = e.memory_usage(0) - size_of::<usize>() - s.heap_bytes();
    let (length, heap) = (s.len(), s.heap_bytes());
    let text = format!(
        "key_sds_len:{}, key_sds_avail:0, key_zmalloc: {key}, val_sds_len:{length}, val_sds_avail:{}, val_zmalloc: {heap}",
        e.key().len(),
        heap.saturating_sub(length),
    );
    ctx.reply.simple(&text);
    Ok(())
}

/// `DEBUG LISTPACK key`: prints the elements of a value that is one listpack.
pub fn listpack(ctx: &mut Ctx<'_>) -> Result {
    let e = entry(ctx)?;
    let packed = match e.value() {
        ValueRef::Hash(v) => v.as_listpack(),
        ValueRef::ZSet(v) => v.as_listpack(),
        _ => None,
    };
    let lp = packed.ok_or("ERR Not a listpack encoded object.")?;
    println!("{{total bytes {}}} {{num entries {}}}", lp.as_bytes().len(), lp.len());
    for (i, e) in lp.iter().enumerate() {
        println!("{i}: {}", String::from_utf8_lossy(&e.to_bytes()));
    }
    ctx.reply.simple("Listpack structure printed on stdout");
    Ok(())
}

/// `DEBUG QUICKLIST key [0|1]`: prints the nodes of a list, with 1 their elements too.
pub fn quicklist(ctx: &mut Ctx<'_>) -> Result {
    let full = super::number(ctx.args.at(3)) != 0;
    let e = entry(ctx)?;
    let ValueRef::List(list) = e.value() else { return Err("ERR Not a quicklist encoded object.".into()) };
    print_nodes(list, full);
    ctx.reply.simple("Quicklist structure printed on stdout");
    Ok(())
}

fn print_nodes(list: &List, full: bool) {
    println!("{{count : {}}} {{nodes : {}}}", list.len(), list.nodes().len());
    for (i, node) in list.nodes().enumerate() {
        let kind = if matches!(node, NodeRef::Plain(_)) { "PLAIN" } else { "PACKED" };
        println!(
            "{{node {i} {{container : {kind}}} {{count : {}}} {{size : {}}}}}",
            node.len(),
            node.byte_len()
        );
        if full {
            node.iter().for_each(|e| println!("  {}", String::from_utf8_lossy(&e.to_bytes())));
        }
    }
}

/// `DEBUG HTSTATS dbid`
pub fn htstats(ctx: &mut Ctx<'_>) -> Result {
    let db = ctx.int(2).map_err(|_| "ERR value is not an integer or out of range")?;
    let keyspace = &ctx.keys.server.keyspace;
    let db = usize::try_from(db).ok().filter(|&db| db < keyspace.databases());
    let db = db.ok_or("ERR Out of range database")?;
    let expires = match keyspace.expires(db) {
        0 => "No stats available for empty dictionaries\n".to_owned(),
        n => format!("An ordered index\n number of elements: {n}\n"),
    };
    let text = format!("[Dictionary HT]\n{}[Expires HT]\n{expires}", table_text(&keyspace.chain_lengths(db)));
    ctx.reply.verbatim(&text);
    Ok(())
}

/// `DEBUG HTSTATS-KEY key`
pub fn htstats_key(ctx: &mut Ctx<'_>) -> Result {
    let lengths = match entry(ctx)?.value() {
        ValueRef::Set(v) => v.chain_lengths(),
        ValueRef::Hash(v) => v.chain_lengths(),
        ValueRef::ZSet(v) => v.chain_lengths(),
        _ => None,
    };
    let lengths =
        lengths.ok_or("ERR The value stored at the specified key is not represented using an hash table")?;
    ctx.reply.verbatim(&table_text(&lengths));
    Ok(())
}

/// What is to be said of a table with so many entries in each of its slots.
fn table_text(lengths: &[usize]) -> String {
    let elements: usize = lengths.iter().sum();
    if elements == 0 {
        return "Hash table 0 stats (main hash table):\nNo stats available for empty dictionaries\n".into();
    }
    let used = lengths.iter().filter(|&&n| n > 0).count();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let mut counts = [0usize; LONGEST_SHOWN];
    lengths.iter().for_each(|&n| counts[n.min(LONGEST_SHOWN - 1)] += 1);
    let mut text = format!(
        "Hash table 0 stats (main hash table):\n table size: {}\n number of elements: {elements}\n different slots: {used}\n \
         max chain length: {longest}\n avg chain length (counted): {:.2}\n avg chain length (computed): {:.2}\n \
         Chain length distribution:\n",
        lengths.len(),
        elements as f64 / used as f64,
        elements as f64 / used as f64,
    );
    for (n, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let more = if n == LONGEST_SHOWN - 1 { ">= " } else { "" };
        text += &format!("   {more}{n}: {count} ({:.2}%)\n", 100.0 * count as f64 / lengths.len() as f64);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table_text;

    #[test]
    fn a_table_is_told_by_its_chains() {
        let text = table_text(&[0, 2, 0, 1]);
        for line in [
            " table size: 4",
            " number of elements: 3",
            " different slots: 2",
            " max chain length: 2",
            "   0: 2 (50.00%)",
        ] {
            assert!(text.contains(&format!("{line}\n")), "{text}");
        }
        assert!(table_text(&[0, 0]).contains("No stats available"));
    }
}
