//! The longest common subsequence of two strings (<https://redis.io/docs/latest/commands/lcs/>).

use super::{Ctx, Error, Result};
use crate::store::value::ValueRef;

/// Most cells of the table: its memory (4 bytes each) is the product of both lengths.
const MAX_CELLS: usize = 1 << 28;

/// Lengths of the longest common subsequences of all pairs of beginnings.
struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    cells: Vec<u32>,
}

/// A stretch that is the same in both strings: where it begins, and its length.
#[derive(Debug, PartialEq, Eq)]
struct Stretch {
    in_a: usize,
    in_b: usize,
    len: usize,
}

impl<'a> Table<'a> {
    /// `None` if it would take too much memory.
    fn new(a: &'a [u8], b: &'a [u8]) -> Option<Table<'a>> {
        let size = (a.len() + 1).checked_mul(b.len() + 1).filter(|&n| n <= MAX_CELLS)?;
        let mut t = Table { a, b, cells: vec![0; size] };
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                let at = t.index(i, j);
                t.cells[at] = match a[i - 1] == b[j - 1] {
                    true => t.len(i - 1, j - 1) + 1,
                    false => t.len(i - 1, j).max(t.len(i, j - 1)),
                };
            }
        }
        Some(t)
    }

    fn index(&self, i: usize, j: usize) -> usize {
        i * (self.b.len() + 1) + j
    }

    fn len(&self, i: usize, j: usize) -> u32 {
        self.cells[self.index(i, j)]
    }

    fn total(&self) -> u32 {
        self.len(self.a.len(), self.b.len())
    }

    /// The stretches of a longest common subsequence, the last one first.
    fn stretches(&self) -> Vec<Stretch> {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        let mut found: Vec<Stretch> = Vec::new();
        while i > 0 && j > 0 {
            if self.a[i - 1] != self.b[j - 1] {
                if self.len(i - 1, j) > self.len(i, j - 1) {
                    i -= 1
                } else {
                    j -= 1
                }
                continue;
            }
            match found.last_mut() {
                Some(s) if (s.in_a, s.in_b) == (i, j) => {
                    *s = Stretch { in_a: i - 1, in_b: j - 1, len: s.len + 1 }
                }
                _ => found.push(Stretch { in_a: i - 1, in_b: j - 1, len: 1 }),
            }
            (i, j) = (i - 1, j - 1);
        }
        found
    }
}

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]`
pub(super) fn lcs(ctx: &mut Ctx<'_>) -> Result {
    let mut strings = [Vec::new(), Vec::new()];
    for (i, text) in strings.iter_mut().enumerate() {
        match ctx.keys.find(ctx.args.at(i + 1)).map(|e| e.value()) {
            Some(ValueRef::Str(s)) => *text = s.to_bytes().into_owned(),
            Some(_) => return Err("ERR The specified keys must contain string values".into()),
            None => {}
        }
    }
    let (mut len, mut idx, mut with_len, mut least) = (false, false, false, 0);
    let mut i = 3;
    while i < ctx.args.len() {
        match ctx.args.at(i).to_ascii_uppercase().as_slice() {
            b"LEN" => len = true,
            b"IDX" => idx = true,
            b"WITHMATCHLEN" => with_len = true,
            b"MINMATCHLEN" if i + 1 < ctx.args.len() => {
                i += 1;
                least = ctx.int(i)?.max(0) as usize;
            }
            _ => return Err(Error::Syntax),
        }
        i += 1;
    }
    if len && idx {
        return Err("ERR If you want both the length and indexes, please just use IDX.".into());
    }
    let [a, b] = &strings;
    let table = Table::new(a, b)
        .ok_or(Error::Text("ERR Insufficient memory, transient memory for LCS exceeds the limit".into()))?;
    if len {
        ctx.reply.int(table.total().into());
        return Ok(());
    }
    let stretches = table.stretches();
    if !idx {
        let parts = stretches.iter().rev().map(|s| &a[s.in_a..s.in_a + s.len]);
        ctx.reply.bulk(&parts.collect::<Vec<_>>().concat());
        return Ok(());
    }
    let shown: Vec<&Stretch> = stretches.iter().filter(|s| s.len >= least).collect();
    ctx.reply.map(2);
    ctx.reply.bulk(b"matches");
    ctx.reply.array(shown.len());
    for s in shown {
        ctx.reply.array(if with_len { 3 } else { 2 });
        for start in [s.in_a, s.in_b] {
            ctx.reply.array(2);
            ctx.reply.int(start as i64);
            ctx.reply.int((start + s.len - 1) as i64);
        }
        if with_len {
            ctx.reply.int(s.len as i64);
        }
    }
    ctx.reply.bulk(b"len");
    ctx.reply.int(table.total().into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_the_command_page_shows() {
        let t = Table::new(b"ohmytext", b"mynewtext").unwrap();
        assert_eq!(t.total(), 6);
        assert_eq!(
            t.stretches(),
            [Stretch { in_a: 4, in_b: 5, len: 4 }, Stretch { in_a: 2, in_b: 0, len: 2 }]
        );
        assert!(Table::new(&vec![0; 1 << 15], &vec![0; 1 << 14]).is_none());
    }
}
