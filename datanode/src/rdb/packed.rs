//! The compact encodings of earlier Redis versions, ziplists and zipmaps, checked to the last byte before any element
//! is used. (Listpacks and intsets are the store's own.)

use crate::store::Corrupt;
use crate::store::elem::Elem;

const ZIPLIST_HEADER: usize = 10;
const END: u8 = 255;
/// First byte of a previous length or a zipmap length that takes four more bytes.
const LONG: u8 = 254;

/// Takes `N` bytes off the front.
fn take<'a, const N: usize>(b: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, rest) = b.split_first_chunk::<N>()?;
    *b = rest;
    Some(head)
}

fn take_slice<'a>(b: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, rest) = b.split_at_checked(len)?;
    *b = rest;
    Some(head)
}

/// Elements of a ziplist: its size (u32), offset of its last entry (u32), number of entries (u16, 65535: more than that
/// can say), entries, and an end byte; little-endian. An entry is the length of the one before, an encoding, and data.
pub fn ziplist(bytes: &[u8]) -> Result<Vec<Elem<'_>>, Corrupt> {
    let mut rest = bytes;
    let header = (|| Some((take::<4>(&mut rest)?, take::<4>(&mut rest)?, take::<2>(&mut rest)?)))();
    let Some((&size, &tail, &count)) = header else { return Err(Corrupt("ziplist: no header")) };
    if u32::from_le_bytes(size) as usize != bytes.len() || bytes.last() != Some(&END) {
        return Err(Corrupt("ziplist: wrong size"));
    }
    rest = &rest[..rest.len().saturating_sub(1)];
    let mut elements = Vec::new();
    let (mut last, mut previous) = (ZIPLIST_HEADER, 0);
    while !rest.is_empty() {
        let start = bytes.len() - 1 - rest.len();
        let (before, element) = ziplist_entry(&mut rest).ok_or(Corrupt("ziplist: broken entry"))?;
        if before != previous {
            return Err(Corrupt("ziplist: wrong length of a previous entry"));
        }
        last = start;
        previous = bytes.len() - 1 - rest.len() - start;
        elements.push(element);
    }
    let count = u16::from_le_bytes(count);
    if count != u16::MAX && usize::from(count) != elements.len() {
        return Err(Corrupt("ziplist: wrong number of entries"));
    }
    if u32::from_le_bytes(tail) as usize != last {
        return Err(Corrupt("ziplist: wrong place of the last entry"));
    }
    Ok(elements)
}

fn ziplist_entry<'a>(b: &mut &'a [u8]) -> Option<(usize, Elem<'a>)> {
    let before = match take::<1>(b)?[0] {
        LONG => u32::from_le_bytes(*take(b)?) as usize,
        END => return None,
        n => usize::from(n),
    };
    let encoding = take::<1>(b)?[0];
    let len = match encoding >> 6 {
        0 => usize::from(encoding & 0x3f),
        1 => usize::from(encoding & 0x3f) << 8 | usize::from(take::<1>(b)?[0]),
        2 => u32::from_be_bytes(*take(b)?) as usize,
        _ => {
            let n = match encoding {
                0xc0 => i64::from(i16::from_le_bytes(*take(b)?)),
                0xd0 => i64::from(i32::from_le_bytes(*take(b)?)),
                0xe0 => i64::from_le_bytes(*take(b)?),
                0xf0 => {
                    let &[low, middle, high] = take(b)?;
                    i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8)
                }
                0xfe => i64::from(i8::from_le_bytes(*take(b)?)),
                0xf1..=0xfd => i64::from(encoding & 0x0f) - 1,
                _ => return None,
            };
            return Some((before, Elem::Int(n)));
        }
    };
    Some((before, Elem::Bytes(take_slice(b, len)?)))
}

/// A field and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Fields and values of a zipmap: number of pairs (u8, 254: more than that can say), pairs, and an end byte. A pair is
/// a length and a field, then a length, a number of unused bytes (u8), a value and the unused bytes.
pub fn zipmap(bytes: &[u8]) -> Result<Vec<Pair<'_>>, Corrupt> {
    let mut rest = bytes;
    let count = take::<1>(&mut rest).ok_or(Corrupt("zipmap: empty"))?[0];
    let mut pairs = Vec::new();
    loop {
        match rest {
            [END] => break,
            _ => pairs.push(zipmap_pair(&mut rest).ok_or(Corrupt("zipmap: broken pair"))?),
        }
    }
    if count < LONG && usize::from(count) != pairs.len() {
        return Err(Corrupt("zipmap: wrong number of pairs"));
    }
    if pairs.is_empty() {
        return Err(Corrupt("zipmap: no pairs"));
    }
    Ok(pairs)
}

fn zipmap_pair<'a>(b: &mut &'a [u8]) -> Option<Pair<'a>> {
    let len = zipmap_len(b)?;
    let field = take_slice(b, len)?;
    let len = zipmap_len(b)?;
    let unused = usize::from(take::<1>(b)?[0]);
    let value = take_slice(b, len)?;
    take_slice(b, unused)?;
    Some((field, value))
}

fn zipmap_len(b: &mut &[u8]) -> Option<usize> {
    match take::<1>(b)?[0] {
        END => None,
        LONG => Some(u32::from_le_bytes(*take(b)?) as usize),
        n => Some(usize::from(n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Corrupt> {
        Ok(ziplist(bytes)?.iter().map(|e| e.to_bytes().into_owned()).collect())
    }

    /// Entries with every encoding, as the format's description has them.
    fn sample() -> Vec<u8> {
        let mut long = vec![0x80, 0, 0, 0x40, 1];
        long.extend_from_slice(&[b'x'; 0x4001]);
        let mut middle = vec![0x41, 0x2c];
        middle.extend_from_slice(&[b'y'; 300]);
        let entries: [&[u8]; 10] = [
            &[2, b'a', b'b'],
            &middle,
            &long,
            &[0xc0, 0xff, 0x7f],
            &[0xd0, 0, 0, 0, 0x80],
            &[0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80],
            &[0xf0, 0xfe, 0xff, 0xff],
            &[0xfe, 0x80],
            &[0xf1],
            &[0xfd],
        ];
        let (mut body, mut previous, mut last) = (Vec::new(), 0usize, 0);
        for e in entries {
            last = body.len() + ZIPLIST_HEADER;
            let start = body.len();
            if previous < 254 {
                body.push(previous as u8);
            } else {
                body.push(LONG);
                body.extend_from_slice(&(previous as u32).to_le_bytes());
            }
            body.extend_from_slice(e);
            previous = body.len() - start;
        }
        let size = (ZIPLIST_HEADER + body.len() + 1) as u32;
        let header = [&size.to_le_bytes()[..], &(last as u32).to_le_bytes(), &10u16.to_le_bytes()].concat();
        [header, body, vec![END]].concat()
    }

    #[test]
    fn ziplists_of_all_encodings() {
        let got = texts(&sample()).unwrap();
        assert_eq!(got[0], b"ab");
        assert_eq!((got[1].len(), got[2].len()), (300, 0x4001));
        let ints = ["32767", "-2147483648", "-9223372036854775808", "-2", "-128", "0", "12"];
        assert_eq!(got[3..], ints.map(|s| s.as_bytes().to_vec()));
        assert_eq!(texts(&[11, 0, 0, 0, 10, 0, 0, 0, 0, 0, 255]).unwrap().len(), 0);
    }

    #[test]
    fn damaged_ziplists_are_refused() {
        let good = sample();
        for n in 0..200 {
            assert!(ziplist(&good[..n]).is_err());
        }
        for (at, byte) in
            [(0, 1), (4, 1), (8, 9), (10, 1), (11, 3), (good.len() - 1, 0), (good.len() - 2, 0xff)]
        {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(ziplist(&bad).is_err(), "{at}");
        }
    }

    #[test]
    fn zipmaps() {
        let mut map =
            vec![2, 3, b'f', b'o', b'o', 3, 0, b'b', b'a', b'r', 1, b'k', 2, 3, b'v', b'w', 0, 0, 0];
        map.push(END);
        let want: Vec<Pair> = vec![(b"foo", b"bar"), (b"k", b"vw")];
        assert_eq!(zipmap(&map).unwrap(), want);
        for n in 0..map.len() {
            assert!(zipmap(&map[..n]).is_err());
        }
        map[0] = 3;
        assert!(zipmap(&map).is_err());
        map[0] = 254;
        assert!(zipmap(&map).is_ok());
        let long = [&[1, LONG, 2, 0, 0, 0][..], b"ab", &[0, 0, END]].concat();
        assert_eq!(zipmap(&long).unwrap()[0].0, b"ab");
    }
}
