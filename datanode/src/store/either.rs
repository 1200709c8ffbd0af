//! An iterator that is one of two, for collections with two encodings.

#[derive(Clone)]
pub(super) enum Either<A, B> {
    One(A),
    Two(B),
}

impl<A: Iterator, B: Iterator<Item = A::Item>> Iterator for Either<A, B> {
    type Item = A::Item;
    #[inline]
    fn next(&mut self) -> Option<A::Item> {
        match self {
            Either::One(a) => a.next(),
            Either::Two(b) => b.next(),
        }
    }
}

impl<A: DoubleEndedIterator, B: DoubleEndedIterator<Item = A::Item>> DoubleEndedIterator for Either<A, B> {
    #[inline]
    fn next_back(&mut self) -> Option<A::Item> {
        match self {
            Either::One(a) => a.next_back(),
            Either::Two(b) => b.next_back(),
        }
    }
}
