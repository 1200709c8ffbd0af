//! HyperLogLog: how many different elements there are, in at most 12 KiB, with a standard error of 0.81 %. The value is
//! a string, byte for byte Redis' (<https://redis.io/docs/latest/commands/pfadd/>): a header of magic, encoding and
//! cached count, then 16384 registers of 6 bits ("dense"), or runs of equal registers while most are zero ("sparse").
//!
//! Functions here take strings that [`is_valid`] has seen. Such a string may still be corrupt inside: then they say so,
//! whatever it contains, and never panic.

use super::Corrupt;
use std::fmt;

/// Number of registers.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of an element's hash that choose its register.
const INDEX_BITS: u32 = 14;
/// The other bits of the hash: a register holds the place of the lowest of them that is set, at most this and one.
const RANK_BITS: u32 = 64 - INDEX_BITS;
/// Bits of a register.
const REGISTER_BITS: usize = 6;
/// Length of a dense value.
const DENSE_LEN: usize = HEADER + REGISTERS * REGISTER_BITS / 8;
/// Length of the header: 4 bytes magic, 1 encoding, 3 unused, 8 count.
const HEADER: usize = 16;
const MAGIC: &[u8] = b"HYLL";
const ENCODING: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Where the cached count is, little endian.
const COUNT: std::ops::Range<usize> = 8..16;
/// In the last byte of the count: it is out of date.
const STALE: u8 = 0x80;
/// Seed of the hash.
const SEED: u64 = 0xadc8_3b19;
/// The limit of the estimator's bias correction: 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;
const CORRUPT: Corrupt = Corrupt("HyperLogLog: the runs are not those of its registers");

/// A value for each register.
pub type Registers = [u8; REGISTERS];

/// A run of equal registers, as it is written in the sparse form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    /// Zero; one byte, up to 64 registers.
    Zero(usize),
    /// Zero; two bytes, up to 16384 registers.
    LongZero(usize),
    /// A value up to 32; one byte, up to 4 registers.
    Value(u8, usize),
}

impl Run {
    const MAX_ZEROS: usize = 64;
    const MAX_VALUE: u8 = 32;
    const MAX_VALUES: usize = 4;

    /// The run that begins at `at`.
    fn read(bytes: &[u8], at: usize) -> Option<Run> {
        let first = *bytes.get(at)?;
        let low = usize::from(first & 0x3f);
        Some(match first >> 6 {
            0 => Run::Zero(low + 1),
            // Redis' strings end with a zero that does not count.
            1 => Run::LongZero((low << 8 | usize::from(bytes.get(at + 1).copied().unwrap_or(0))) + 1),
            _ => Run::Value((first >> 2 & 0x1f) + 1, usize::from(first & 3) + 1),
        })
    }

    /// Zeros, in the shorter form.
    fn zeros(len: usize) -> Run {
        if len > Run::MAX_ZEROS { Run::LongZero(len) } else { Run::Zero(len) }
    }

    /// Registers.
    fn len(self) -> usize {
        match self {
            Run::Zero(len) | Run::LongZero(len) | Run::Value(_, len) => len,
        }
    }

    /// Bytes.
    fn size(self) -> usize {
        if matches!(self, Run::LongZero(_)) { 2 } else { 1 }
    }

    fn write(self, out: &mut Vec<u8>) {
        match self {
            Run::Zero(len) => out.push((len - 1) as u8),
            Run::LongZero(len) => out.extend([0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
            Run::Value(value, len) => out.push(0x80 | (value - 1) << 2 | (len - 1) as u8),
        }
    }
}

/// As `PFDEBUG DECODE` shows it.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Run::Zero(len) => write!(f, "z:{len}"),
            Run::LongZero(len) => write!(f, "Z:{len}"),
            Run::Value(value, len) => write!(f, "v:{value},{len}"),
        }
    }
}

/// The runs of a sparse value.
pub fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let run = Run::read(bytes, at)?;
        at += run.size();
        Some(run)
    })
}

/// An empty one.
pub fn new() -> Vec<u8> {
    let mut bytes = header(SPARSE);
    Run::LongZero(REGISTERS).write(&mut bytes);
    bytes
}

fn header(encoding: u8) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(encoding);
    bytes.resize(HEADER, 0);
    bytes
}

/// Whether a string has the outward form of a HyperLogLog.
pub fn is_valid(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(MAGIC)
        && (bytes[ENCODING] == SPARSE || bytes[ENCODING] == DENSE && bytes.len() == DENSE_LEN)
}

/// Whether it is in the dense form.
pub fn is_dense(bytes: &[u8]) -> bool {
    bytes[ENCODING] == DENSE
}

/// The count of the last time, if nothing has changed since.
pub fn cached(bytes: &[u8]) -> Option<u64> {
    let count: [u8; 8] = bytes[COUNT].try_into().ok()?;
    (count[7] & STALE == 0).then(|| u64::from_le_bytes(count))
}

/// Keeps a count in the header.
pub fn cache(bytes: &mut [u8], count: u64) {
    bytes[COUNT].copy_from_slice(&count.to_le_bytes());
}

/// Says that the count in the header is out of date.
pub fn invalidate(bytes: &mut [u8]) {
    bytes[COUNT.end - 1] |= STALE;
}

/// MurmurHash64A, by Austin Appleby.
fn hash(element: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mixed = |k: u64| k ^ k >> 47;
    let mut h = SEED ^ (element.len() as u64).wrapping_mul(M);
    let (words, rest) = element.as_chunks::<8>();
    for word in words {
        let k = mixed(u64::from_le_bytes(*word).wrapping_mul(M)).wrapping_mul(M);
        h = (h ^ k).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        h = (h ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    mixed(mixed(h).wrapping_mul(M))
}

/// The register of an element, and the least value that it gives it.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = hash(element);
    let rest = hash >> INDEX_BITS | 1 << RANK_BITS;
    (hash as usize & (REGISTERS - 1), rest.trailing_zeros() as u8 + 1)
}

/// Adds an element; whether that changed a register. `sparse_max`: bytes up to which a value stays sparse.
pub fn add(bytes: &mut Vec<u8>, element: &[u8], sparse_max: usize) -> Result<bool, Corrupt> {
    let (index, value) = place(element);
    raise(bytes, index, value, sparse_max)
}

/// Raises a register to a value; false if it is not less already.
pub fn raise(bytes: &mut Vec<u8>, index: usize, value: u8, sparse_max: usize) -> Result<bool, Corrupt> {
    if !is_dense(bytes) {
        match raise_sparse(bytes, index, value, sparse_max)? {
            Some(changed) => return Ok(changed),
            None => make_dense(bytes)?,
        }
    }
    let registers = &mut bytes[HEADER..];
    let changed = dense_get(registers, index) < value;
    if changed {
        dense_set(registers, index, value);
    }
    Ok(changed)
}

fn dense_get(registers: &[u8], index: usize) -> u8 {
    let (at, shift) = (index * REGISTER_BITS / 8, index * REGISTER_BITS % 8);
    let next = registers.get(at + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([registers[at], next]) >> shift) as u8 & 0x3f
}

fn dense_set(registers: &mut [u8], index: usize, value: u8) {
    let (at, shift) = (index * REGISTER_BITS / 8, index * REGISTER_BITS % 8);
    let [low, high] = (u16::from(value) << shift).to_le_bytes();
    let [keep_low, keep_high] = (!(0x3f_u16 << shift)).to_le_bytes();
    registers[at] = registers[at] & keep_low | low;
    if let Some(next) = registers.get_mut(at + 1) {
        *next = *next & keep_high | high;
    }
}

/// Raises a register of a sparse value. `None`: the sparse form cannot take it.
fn raise_sparse(
    bytes: &mut Vec<u8>,
    index: usize,
    value: u8,
    sparse_max: usize,
) -> Result<Option<bool>, Corrupt> {
    if value > Run::MAX_VALUE {
        return Ok(None);
    }
    // The run that has the register, and where the one before it begins.
    let (mut at, mut before, mut first) = (HEADER, HEADER, 0);
    let run = loop {
        let run = Run::read(bytes, at).ok_or(CORRUPT)?;
        if index < first + run.len() {
            break run;
        }
        first += run.len();
        before = at;
        at += run.size();
    };
    if at + run.size() > bytes.len() {
        return Err(CORRUPT);
    }
    if matches!(run, Run::Value(old, _) if old >= value) {
        return Ok(Some(false));
    }
    let (left, right) = (index - first, first + run.len() - 1 - index);
    let rest = |len: usize| match run {
        Run::Value(old, _) => Run::Value(old, len),
        _ => Run::zeros(len),
    };
    let mut parts = Vec::with_capacity(5);
    if left > 0 {
        rest(left).write(&mut parts);
    }
    Run::Value(value, 1).write(&mut parts);
    if right > 0 {
        rest(right).write(&mut parts);
    }
    let longer = bytes.len() + parts.len() - run.size();
    if parts.len() > run.size() && longer > sparse_max {
        return Ok(None);
    }
    bytes.splice(at..at + run.size(), parts);
    join(bytes, before);
    invalidate(bytes);
    Ok(Some(true))
}

/// Joins runs of the same value, from `at` on as far as a change can have made any.
fn join(bytes: &mut Vec<u8>, mut at: usize) {
    /// A run before the change, and what came of the one that was changed.
    const STEPS: usize = 5;
    for _ in 0..STEPS {
        match (Run::read(bytes, at), Run::read(bytes, at + 1)) {
            (None, _) => break,
            (Some(Run::Value(a, m)), Some(Run::Value(b, n))) if a == b && m + n <= Run::MAX_VALUES => {
                let mut joined = Vec::with_capacity(1);
                Run::Value(a, m + n).write(&mut joined);
                bytes.splice(at..at + 2, joined);
            }
            (Some(run), _) => at += run.size(),
        }
    }
}

/// Makes it dense.
pub fn make_dense(bytes: &mut Vec<u8>) -> Result<(), Corrupt> {
    if is_dense(bytes) {
        return Ok(());
    }
    let mut dense = header(DENSE);
    dense[ENCODING + 1..].copy_from_slice(&bytes[ENCODING + 1..HEADER]);
    dense.resize(DENSE_LEN, 0);
    each_value(bytes, |i, value| dense_set(&mut dense[HEADER..], i, value))?;
    *bytes = dense;
    Ok(())
}

/// Calls `f` with each register of a sparse value that is not zero.
fn each_value(bytes: &[u8], mut f: impl FnMut(usize, u8)) -> Result<(), Corrupt> {
    let mut i = 0;
    for run in runs(bytes) {
        let range = i..i + run.len();
        i = range.end;
        if i > REGISTERS {
            break;
        }
        if let Run::Value(value, _) = run {
            range.for_each(|i| f(i, value));
        }
    }
    if i == REGISTERS { Ok(()) } else { Err(CORRUPT) }
}

/// Raises each of `registers` to what it is in `bytes`.
pub fn merge(registers: &mut Registers, bytes: &[u8]) -> Result<(), Corrupt> {
    if !is_dense(bytes) {
        return each_value(bytes, |i, value| registers[i] = registers[i].max(value));
    }
    for (i, r) in registers.iter_mut().enumerate() {
        *r = (*r).max(dense_get(&bytes[HEADER..], i));
    }
    Ok(())
}

/// How many registers have each value.
type Histogram = [usize; 1 << REGISTER_BITS];

/// The number of different elements in it.
pub fn count(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut histogram: Histogram = [0; _];
    if is_dense(bytes) {
        (0..REGISTERS).for_each(|i| histogram[usize::from(dense_get(&bytes[HEADER..], i))] += 1);
    } else {
        for run in runs(bytes) {
            let value = if let Run::Value(value, _) = run { value } else { 0 };
            histogram[usize::from(value)] += run.len();
        }
        if histogram.iter().sum::<usize>() != REGISTERS {
            return Err(CORRUPT);
        }
    }
    Ok(estimate(&histogram))
}

/// The number of different elements that set these registers.
pub fn count_registers(registers: &Registers) -> u64 {
    let mut histogram: Histogram = [0; _];
    registers.iter().for_each(|&r| histogram[usize::from(r)] += 1);
    estimate(&histogram)
}

/// The raw estimator of O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (arXiv:1702.01284),
/// algorithm 6.
fn estimate(histogram: &Histogram) -> u64 {
    let m = REGISTERS as f64;
    let top = RANK_BITS as usize;
    let mut z = m * tau((m - histogram[top + 1] as f64) / m);
    for &registers in histogram[1..=top].iter().rev() {
        z = (z + registers as f64) * 0.5;
    }
    z += m * sigma(histogram[0] as f64 / m);
    let count = (ALPHA * m * m / z).round();
    // Registers that no element can have set make it infinite: what C makes of that on x86-64.
    if count < i64::MAX as f64 { count as u64 } else { 1 << 63 }
}

/// The paper's sigma: what registers that are zero contribute.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The paper's tau: what registers at their limit contribute.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rng::Rng;

    const SPARSE_MAX: usize = 3000;

    fn filled(elements: usize, sparse_max: usize) -> Vec<u8> {
        let mut bytes = new();
        for i in 0..elements {
            add(&mut bytes, format!("e{i}").as_bytes(), sparse_max).unwrap();
        }
        bytes
    }

    fn registers(bytes: &[u8]) -> Registers {
        let mut registers = [0; REGISTERS];
        merge(&mut registers, bytes).unwrap();
        registers
    }

    /// What redis-server 7.0 makes of PFADD with these elements.
    #[test]
    fn elements_are_placed_as_redis_does() {
        let mut bytes = new();
        for element in [&b""[..], b"a", b"12345678", b"a longer element"] {
            assert_eq!(add(&mut bytes, element, SPARSE_MAX), Ok(true));
            assert_eq!(add(&mut bytes, element, SPARSE_MAX), Ok(false));
        }
        assert_eq!(shown(&bytes), REDIS_RUNS);
    }

    const REDIS_RUNS: &str = "Z:1013 v:1,1 Z:4924 v:2,1 Z:4640 v:3,1 Z:2131 v:2,1 Z:3672";

    fn shown(bytes: &[u8]) -> String {
        runs(bytes).map(|run| run.to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn registers_do_not_touch_each_other() {
        let mut rng = Rng::new(5);
        let (mut packed, mut plain) = (vec![0; DENSE_LEN - HEADER], [0; REGISTERS]);
        for _ in 0..50_000 {
            let (i, value) = (rng.below(REGISTERS), rng.below(64) as u8);
            dense_set(&mut packed, i, value);
            plain[i] = value;
        }
        assert!((0..REGISTERS).all(|i| dense_get(&packed, i) == plain[i]));
    }

    /// Registers raised at random, close together, so that runs are split and joined in every way.
    #[test]
    fn sparse_and_dense_hold_the_same() {
        let mut rng = Rng::new(6);
        for round in 0..60 {
            let (mut sparse, mut plain) = (new(), [0u8; REGISTERS]);
            let width = [8, 300, REGISTERS][round % 3];
            let start = rng.below(REGISTERS - width + 1);
            for _ in 0..300 {
                let (i, value) = (start + rng.below(width), 1 + rng.below(4) as u8);
                assert_eq!(raise(&mut sparse, i, value, usize::MAX), Ok(plain[i] < value));
                plain[i] = plain[i].max(value);
            }
            assert!(!is_dense(&sparse) && is_valid(&sparse));
            assert_eq!(registers(&sparse), plain);
            let count_sparse = count(&sparse).unwrap();
            make_dense(&mut sparse).unwrap();
            assert!(is_dense(&sparse) && is_valid(&sparse));
            assert_eq!((registers(&sparse), count(&sparse)), (plain, Ok(count_sparse)));
            assert_eq!(count_registers(&plain), count_sparse);
        }
    }

    #[test]
    fn becomes_dense_where_it_must() {
        assert!(!is_dense(&filled(100, SPARSE_MAX)) && is_dense(&filled(5000, SPARSE_MAX)));
        assert!(is_dense(&filled(1, 0)), "not a byte more than allowed");
        let mut bytes = filled(3, SPARSE_MAX);
        assert_eq!(raise(&mut bytes, 9, Run::MAX_VALUE, SPARSE_MAX), Ok(true));
        assert!(!is_dense(&bytes));
        assert_eq!(raise(&mut bytes, 9, Run::MAX_VALUE + 1, SPARSE_MAX), Ok(true));
        assert!(is_dense(&bytes));
        assert_eq!(registers(&bytes)[9], Run::MAX_VALUE + 1);
    }

    #[test]
    fn counts_are_close() {
        assert_eq!(count(&new()), Ok(0));
        for n in [1, 2, 10, 1000, 20_000, 200_000] {
            let counted = count(&filled(n, SPARSE_MAX)).unwrap() as f64;
            assert!((counted / n as f64 - 1.0).abs() < 0.03, "{counted} for {n}");
        }
    }

    #[test]
    fn a_count_is_kept_until_something_changes() {
        let mut bytes = new();
        assert_eq!(cached(&bytes), Some(0));
        add(&mut bytes, b"x", SPARSE_MAX).unwrap();
        assert_eq!(cached(&bytes), None);
        cache(&mut bytes, 0x0123_4567_89ab);
        assert_eq!(cached(&bytes), Some(0x0123_4567_89ab));
        make_dense(&mut bytes).unwrap();
        assert_eq!(cached(&bytes), Some(0x0123_4567_89ab), "the form is another, the count the same");
        invalidate(&mut bytes);
        assert_eq!(cached(&bytes), None);
    }

    /// Whatever the bytes behind the header, nothing panics, and what is refused is refused everywhere.
    #[test]
    fn corrupt_values_are_errors() {
        let mut rng = Rng::new(8);
        for _ in 0..3000 {
            let mut bytes = header(SPARSE);
            let len = rng.below(12);
            bytes.extend((0..len).map(|_| rng.next_u64() as u8));
            let whole = runs(&bytes).map(Run::len).sum::<usize>() == REGISTERS;
            assert_eq!(count(&bytes).is_ok(), whole);
            let mut copy = bytes.clone();
            assert_eq!(make_dense(&mut copy).is_ok(), whole);
            assert_eq!(merge(&mut [0; REGISTERS], &bytes).is_ok(), whole);
            assert!(whole || copy == bytes);
            for i in [0, 100, REGISTERS - 1] {
                let _ = raise(&mut bytes, i, 1 + rng.below(40) as u8, 20);
            }
        }
        for short in [&b""[..], b"HYLL", b"HYLL\x01\0\0\0\0\0\0\0\0\0\0", &header(DENSE), &header(2)] {
            assert!(!is_valid(short));
        }
    }
}
