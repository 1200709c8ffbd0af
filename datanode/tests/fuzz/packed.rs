//! Old encodings that nothing writes any more, written for the corpus, and the headers of compact encodings put right
//! behind changes.

/// A length as RDB files have it.
pub fn length(len: usize) -> Vec<u8> {
    match len {
        0..64 => vec![len as u8],
        64..16_384 => vec![0x40 | (len >> 8) as u8, len as u8],
        _ => [&[0x80][..], &(len as u32).to_be_bytes()].concat(),
    }
}

/// A string as RDB files have it.
pub fn string(bytes: &[u8]) -> Vec<u8> {
    [&length(bytes.len())[..], bytes].concat()
}

/// A ziplist. Integers are given as text, too.
pub fn ziplist(elements: &[&[u8]]) -> Vec<u8> {
    let (mut out, mut previous, mut tail) = (vec![0; 10], 0usize, 10);
    for e in elements {
        tail = out.len();
        match previous {
            0..254 => out.push(previous as u8),
            _ => out.extend([&[0xfe][..], &(previous as u32).to_le_bytes()].concat()),
        }
        let number = std::str::from_utf8(e).ok().and_then(|t| t.parse::<i64>().ok());
        match number {
            Some(n @ 0..=12) => out.push(0xf1 + n as u8),
            Some(n) if i8::try_from(n).is_ok() => out.extend([0xfe, n as u8]),
            Some(n) if i16::try_from(n).is_ok() => {
                out.extend([&[0xc0][..], &(n as i16).to_le_bytes()].concat())
            }
            Some(n) if (-0x80_0000..0x80_0000).contains(&n) => {
                out.extend([&[0xf0][..], &(n as i32).to_le_bytes()[..3]].concat());
            }
            Some(n) if i32::try_from(n).is_ok() => {
                out.extend([&[0xd0][..], &(n as i32).to_le_bytes()].concat())
            }
            Some(n) => out.extend([&[0xe0][..], &n.to_le_bytes()].concat()),
            None if e.len() < 64 => out.extend([&[e.len() as u8][..], e].concat()),
            None => out.extend([&[0x40 | (e.len() >> 8) as u8, e.len() as u8][..], e].concat()),
        }
        previous = out.len() - tail;
    }
    out.push(0xff);
    let size = out.len() as u32;
    out[..4].copy_from_slice(&size.to_le_bytes());
    out[4..8].copy_from_slice(&(tail as u32).to_le_bytes());
    out[8..10].copy_from_slice(&(elements.len() as u16).to_le_bytes());
    out
}

/// A zipmap.
pub fn zipmap(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = vec![pairs.len() as u8];
    for (field, value) in pairs {
        out.extend([&[field.len() as u8][..], field, &[value.len() as u8, 0], value].concat());
    }
    out.push(0xff);
    out
}

/// Puts the size in the header right, and the end mark: what a reader looks at before anything else.
pub fn mend_header(packed: &mut [u8]) {
    let size = packed.len() as u32;
    if let Some(header) = packed.first_chunk_mut::<4>() {
        *header = size.to_le_bytes();
    }
    if let Some(last) = packed.last_mut() {
        *last = 0xff;
    }
}
