//! Changes to inputs: bytes, numbers of all sizes, pieces left out, put in twice or from elsewhere, words of a language.

use datanode::rng::Rng;

/// Bytes that mean something in one format or another.
const BYTES: [u8; 22] = [
    0, 1, 2, 3, 0x0a, 0x0d, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0x81, 0xbf, 0xc0, 0xc3, 0xdf, 0xe0, 0xf0, 0xf1,
    0xf4, 0xfe, 0xff,
];
/// Numbers at which formats and integers change.
const NUMBERS: [u64; 16] = [
    0,
    1,
    63,
    64,
    127,
    255,
    4095,
    16_383,
    32_767,
    65_535,
    65_536,
    i32::MAX as u64,
    u32::MAX as u64,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];
/// Changes to one input, at most.
const MOST_CHANGES: u64 = 5;
/// An input does not grow beyond that.
const MOST_BYTES: usize = 64 * 1024;

/// One of them.
pub fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.below(from.len() as u64) as usize]
}

/// A place in `0..=len`.
fn place(rng: &mut Rng, len: usize) -> usize {
    rng.below(len as u64 + 1) as usize
}

/// A range of at most `most` bytes.
fn range(rng: &mut Rng, len: usize, most: usize) -> std::ops::Range<usize> {
    let from = place(rng, len);
    from..from + place(rng, (len - from).min(most))
}

/// One of the corpus, changed. `words` are put in here and there.
pub fn mutate(rng: &mut Rng, corpus: &[Vec<u8>], words: &[&[u8]]) -> Vec<u8> {
    let mut input = pick(rng, corpus).clone();
    change(rng, &mut input, corpus, words);
    // One is the most likely to be taken, and so to reach what lies behind the first look.
    for _ in 1..MOST_CHANGES {
        if rng.below(2) == 0 {
            break;
        }
        change(rng, &mut input, corpus, words);
    }
    input.truncate(MOST_BYTES);
    input
}

/// One change.
pub fn change(rng: &mut Rng, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&[u8]]) {
    let len = input.len();
    match rng.below(if words.is_empty() { 11 } else { 14 }) {
        0..=2 if len > 0 => *at(rng, input) = *pick(rng, &BYTES),
        3 if len > 0 => *at(rng, input) = rng.next_u64() as u8,
        4 if len > 0 => *at(rng, input) ^= 1 << rng.below(8),
        5 if len > 0 => {
            let byte = at(rng, input);
            *byte = byte.wrapping_add(if rng_bit(*byte) { 1 } else { 255 });
        }
        6 => overwrite_number(rng, input),
        7 => {
            input.drain(range(rng, len, 16));
        }
        8 => {
            let piece = input[range(rng, len, 64)].to_vec();
            let to = place(rng, len);
            input.splice(to..to, piece);
        }
        9 => {
            let other = pick(rng, corpus);
            let piece = &other[range(rng, other.len(), 256)];
            let over = range(rng, len, piece.len());
            input.splice(over, piece.iter().copied());
        }
        10 if rng.below(4) == 0 => input.truncate(place(rng, len)),
        11.. => {
            let over = if rng.below(2) == 0 { range(rng, len, 8) } else { 0..0 };
            let to = if over.is_empty() { place(rng, len) } else { over.start };
            let over = to..over.end.max(to);
            input.splice(over, pick(rng, words).iter().copied());
        }
        _ => {
            let to = place(rng, len);
            input.insert(to, *pick(rng, &BYTES));
        }
    }
}

fn rng_bit(byte: u8) -> bool {
    byte.count_ones().is_multiple_of(2)
}

fn at<'a>(rng: &mut Rng, input: &'a mut [u8]) -> &'a mut u8 {
    let place = rng.below(input.len() as u64) as usize;
    &mut input[place]
}

/// Writes a number of 2, 4 or 8 bytes over what is there, or in front of it as a length of RDB files.
fn overwrite_number(rng: &mut Rng, input: &mut Vec<u8>) {
    let number = pick(rng, &NUMBERS).wrapping_add(rng.below(3)).wrapping_sub(1);
    let bytes = match rng.below(6) {
        0 => (number as u16).to_le_bytes().to_vec(),
        1 => (number as u32).to_le_bytes().to_vec(),
        2 => number.to_le_bytes().to_vec(),
        3 => (number as u32).to_be_bytes().to_vec(),
        4 => [&[0x80][..], &(number as u32).to_be_bytes()].concat(),
        _ => [&[0x81][..], &number.to_be_bytes()].concat(),
    };
    let to = place(rng, input.len());
    let over = if bytes.len() % 2 == 0 { bytes.len() } else { 1 };
    input.splice(to..(to + over).min(input.len()), bytes);
}
