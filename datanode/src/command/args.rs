//! A command's arguments without copying them: ranges of the buffer they came in.

use crate::resp::parse::ArgRanges;

/// Borrowed arguments; index 0 is the command's name.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    ranges: &'a [(usize, usize)],
}

impl<'a> Args<'a> {
    /// Arguments at `ranges` of `buf`.
    pub fn new(buf: &'a [u8], ranges: &'a ArgRanges) -> Self {
        Args { buf, ranges: &ranges.0 }
    }

    /// Arguments at some ranges of `buf`.
    pub fn at_ranges(buf: &'a [u8], ranges: &'a [(usize, usize)]) -> Self {
        Args { buf, ranges }
    }

    /// Number of arguments, the name included.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True if there is not even a name.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `i`, if there is one.
    pub fn get(&self, i: usize) -> Option<&'a [u8]> {
        self.ranges.get(i).map(|&(a, b)| &self.buf[a..b])
    }

    /// Argument `i`; empty where there is none (the arity has been checked before).
    pub fn at(&self, i: usize) -> &'a [u8] {
        self.get(i).unwrap_or_default()
    }

    /// True if argument `i` is this word in any case.
    pub fn is(&self, i: usize, word: &str) -> bool {
        self.get(i).is_some_and(|a| a.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.ranges.iter().map(|(a, b)| b - a).sum()
    }

    /// All from index `from` on.
    pub fn from(self, from: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone {
        let buf = self.buf;
        self.ranges[from.min(self.ranges.len())..].iter().map(move |&(a, b)| &buf[a..b])
    }

    /// All, with the name.
    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + DoubleEndedIterator + Clone {
        self.from(0)
    }

    /// A copy that outlives the buffer.
    pub fn to_owned(self) -> OwnedArgs {
        OwnedArgs::collect(self.iter())
    }
}

/// Arguments with a buffer of their own: queued in a transaction, or made by the server itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OwnedArgs {
    buf: Vec<u8>,
    ranges: ArgRanges,
}

impl OwnedArgs {
    /// None yet, with room for so many bytes in so many arguments.
    pub fn with_room(bytes: usize, args: usize) -> Self {
        OwnedArgs { buf: Vec::with_capacity(bytes), ranges: ArgRanges(Vec::with_capacity(args)) }
    }

    /// Copies the parts one behind the other.
    pub fn collect<A: AsRef<[u8]>>(parts: impl Iterator<Item = A>) -> Self {
        let mut owned = OwnedArgs::default();
        for part in parts {
            owned.push(part.as_ref());
        }
        owned
    }

    /// Forgets them; the buffer stays.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.ranges.0.clear();
    }

    /// Adds one.
    pub fn push(&mut self, arg: &[u8]) {
        let start = self.buf.len();
        self.buf.extend_from_slice(arg);
        self.ranges.0.push((start, self.buf.len()));
    }

    /// Borrows them.
    pub fn as_args(&self) -> Args<'_> {
        Args::new(&self.buf, &self.ranges)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.buf.len() + self.ranges.0.len() * size_of::<(usize, usize)>()
    }
}
