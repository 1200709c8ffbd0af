//! What lets a small value take one word and one exact allocation: bytes that know their own length (`Thin`), and a
//! word that is either such bytes or a large structure (`Word`).

#![allow(unsafe_code)]

use super::prefetch::fetch_block;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Bytes whose length can be read from their first `HEAD` bytes.
pub trait Measured {
    /// How many bytes that takes.
    const HEAD: usize;
    /// The length of all bytes, these included.
    fn measure(head: &[u8]) -> usize;
    /// Writes down another length.
    fn state(head: &mut [u8], len: usize);
}

/// Bytes in an allocation of their own, behind one pointer. Their length is what their head states: only `reshape`
/// changes it, and the head is never given out to be changed.
#[repr(transparent)]
pub struct Thin<M: Measured>(NonNull<u8>, PhantomData<M>);

// SAFETY: it owns plain bytes.
unsafe impl<M: Measured> Send for Thin<M> {}
// SAFETY: as above; they are changed through `&mut` only.
unsafe impl<M: Measured> Sync for Thin<M> {}

/// Bytes allocated for `len` bytes: in steps fine enough to waste a thirtieth, coarse enough that adding small pieces to
/// a large whole does not move it every time.
#[inline]
fn capacity(len: usize) -> usize {
    // A power of two, so no division is needed.
    let step = (len.next_power_of_two() / 32).max(8);
    (len + step - 1) & !(step - 1)
}

/// Capacities are far below `isize::MAX`: lengths are stated in 32 bits.
fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, 8).expect("a stated length fits into memory")
}

impl<M: Measured> Thin<M> {
    /// A copy of bytes that state their own length.
    ///
    /// # Panics
    /// If they state another one.
    pub fn copy_of(b: &[u8]) -> Self {
        assert!(
            b.len() >= M::HEAD && M::measure(&b[..M::HEAD]) == b.len(),
            "bytes of another length than they state"
        );
        let layout = layout(capacity(b.len()));
        // SAFETY: the capacity is not zero, since it is at least `HEAD`, which is not.
        let Some(p) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: `p` is fresh and has room for all of `b`.
        unsafe { p.as_ptr().copy_from_nonoverlapping(b.as_ptr(), b.len()) };
        Thin(p, PhantomData)
    }

    /// All bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: at least `HEAD` bytes are allocated and initialised, and so are as many as they state.
        unsafe {
            let len = M::measure(std::slice::from_raw_parts(self.0.as_ptr(), M::HEAD));
            std::slice::from_raw_parts(self.0.as_ptr(), len)
        }
    }

    /// The bytes behind the head, to be changed.
    #[inline]
    pub fn body_mut(&mut self) -> &mut [u8] {
        let len = self.as_slice().len();
        // SAFETY: as in `as_slice`, and `self` is borrowed exclusively. The head stays out of reach.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr().add(M::HEAD), len - M::HEAD) }
    }

    /// Makes the `old` bytes at `at` (behind the head) `new` ones, by moving what follows. Those of them that are not
    /// old ones have any content.
    ///
    /// # Panics
    /// If there are no such bytes.
    pub fn reshape(&mut self, at: usize, old: usize, new: usize) {
        let len = self.as_slice().len();
        assert!(at >= M::HEAD && at.checked_add(old).is_some_and(|end| end <= len), "no such bytes");
        let after = len - old + new;
        let (had, needs) = (capacity(len), capacity(after));
        if needs > had {
            self.reallocate(had, needs);
        }
        let p = self.0.as_ptr();
        // SAFETY: `at + old + tail == len` bytes are initialised; `at + new + tail == after` fit into the allocation, which
        // is of `max(had, needs)` bytes. Bytes between the old and the new end are initialised before they can be read.
        unsafe {
            if after > len {
                p.add(len).write_bytes(0, after - len);
            }
            p.add(at + old).copy_to(p.add(at + new), len - at - old);
            M::state(std::slice::from_raw_parts_mut(p, M::HEAD), after);
        }
        assert_eq!(self.as_slice().len(), after, "the head cannot state this length");
        if needs < had {
            self.reallocate(had, needs);
        }
    }

    fn reallocate(&mut self, had: usize, needs: usize) {
        // SAFETY: the allocation was made with `layout(had)`, and `needs` is not zero.
        let p = unsafe { realloc(self.0.as_ptr(), layout(had), needs) };
        self.0 = NonNull::new(p).unwrap_or_else(|| handle_alloc_error(layout(needs)));
    }

    /// Memory it takes.
    pub fn heap_bytes(&self) -> usize {
        capacity(self.as_slice().len())
    }
}

impl<M: Measured> Drop for Thin<M> {
    fn drop(&mut self) {
        let layout = layout(self.heap_bytes());
        // SAFETY: it was allocated with the capacity that belongs to its length, and is not used again.
        unsafe { dealloc(self.0.as_ptr(), layout) };
    }
}

impl<M: Measured> Clone for Thin<M> {
    fn clone(&self) -> Self {
        Thin::copy_of(self.as_slice())
    }
}

/// A type that is nothing but a `Thin`.
///
/// # Safety
/// It must be `repr(transparent)` over a `Thin`.
pub unsafe trait IsThin {}

/// One word: a small value `S`, or a large one, `L`, in a box.
pub struct Word<S: IsThin, L>(NonNull<u8>, PhantomData<(S, Box<L>)>);

// SAFETY: it owns an `S` or a `Box<L>` and nothing else.
unsafe impl<S: IsThin + Send, L: Send> Send for Word<S, L> {}

/// Bytes of a small value that are fetched ahead: its length would have to be waited for.
const SMALL_FETCHED: usize = 128;

/// What a `Word` is.
pub enum Size<S, L> {
    /// Small.
    Small(S),
    /// Large.
    Large(L),
}

/// Set in the address of a large value. Both kinds of address are multiples of at least 2.
const LARGE: usize = 1;

impl<S: IsThin, L> Word<S, L> {
    const ALIGNED: () = assert!(align_of::<L>() > LARGE && size_of::<S>() == size_of::<usize>());

    /// A small one.
    pub fn small(s: S) -> Self {
        const { Self::ALIGNED };
        // SAFETY: `S` is transparent over `Thin`, which is one non-null pointer to memory aligned to 8: its lowest bit is 0.
        let word = unsafe { std::mem::transmute_copy::<S, NonNull<u8>>(&s) };
        std::mem::forget(s);
        Word(word, PhantomData)
    }

    /// A large one.
    pub fn large(l: Box<L>) -> Self {
        const { Self::ALIGNED };
        let p = Box::into_raw(l).cast::<u8>().map_addr(|a| a | LARGE);
        // SAFETY: a box's address is not null, and no less so with a bit set.
        Word(unsafe { NonNull::new_unchecked(p) }, PhantomData)
    }

    #[inline]
    fn large_at(&self) -> Option<*mut L> {
        let p = self.0.as_ptr();
        (p.addr() & LARGE != 0).then(|| p.map_addr(|a| a & !LARGE).cast())
    }

    /// Has the beginning of what it points to fetched into the processor's cache.
    #[inline]
    pub fn prefetch(&self) {
        match self.large_at() {
            Some(p) => fetch_block(p, size_of::<L>()),
            None => fetch_block(self.0.as_ptr(), SMALL_FETCHED),
        }
    }

    /// To be read.
    #[inline]
    pub fn get(&self) -> Size<&S, &L> {
        match self.large_at() {
            // SAFETY: a set bit means that the rest of the address is that of a box that we own.
            Some(p) => Size::Large(unsafe { &*p }),
            // SAFETY: without it our word is an `S`, bit by bit.
            None => Size::Small(unsafe { &*(&raw const self.0).cast::<S>() }),
        }
    }

    /// The small one, while it is one.
    #[inline]
    pub fn as_small(&self) -> Option<&S> {
        match self.get() {
            Size::Small(s) => Some(s),
            Size::Large(_) => None,
        }
    }

    /// To be changed.
    #[inline]
    pub fn get_mut(&mut self) -> Size<&mut S, &mut L> {
        match self.large_at() {
            // SAFETY: as in `get`, and `self` is borrowed exclusively.
            Some(p) => Size::Large(unsafe { &mut *p }),
            // SAFETY: as above; whatever `S` is made to be has a lowest bit of 0.
            None => Size::Small(unsafe { &mut *(&raw mut self.0).cast::<S>() }),
        }
    }

    /// What it is, taken out.
    pub fn into_inner(self) -> Size<S, Box<L>> {
        let word = std::mem::ManuallyDrop::new(self);
        match word.large_at() {
            // SAFETY: the box is ours; `word` is not dropped, so it is taken once.
            Some(p) => Size::Large(unsafe { Box::from_raw(p) }),
            // SAFETY: as above, for the `S` that the word is.
            None => Size::Small(unsafe { (&raw const word.0).cast::<S>().read() }),
        }
    }
}

impl<S: IsThin, L> Drop for Word<S, L> {
    fn drop(&mut self) {
        match self.large_at() {
            // SAFETY: the box is ours and not used again.
            Some(p) => drop(unsafe { Box::from_raw(p) }),
            // SAFETY: the word is an `S` and not used again.
            None => unsafe { (&raw mut self.0).cast::<S>().drop_in_place() },
        }
    }
}

impl<S: IsThin + Clone, L: Clone> Clone for Word<S, L> {
    fn clone(&self) -> Self {
        match self.get() {
            Size::Small(s) => Word::small(s.clone()),
            Size::Large(l) => Word::large(Box::new(l.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::*;

    /// Two bytes of length in front.
    struct Short;

    impl Measured for Short {
        const HEAD: usize = 2;
        fn measure(head: &[u8]) -> usize {
            usize::from(u16::from_le_bytes([head[0], head[1]]))
        }
        fn state(head: &mut [u8], len: usize) {
            head.copy_from_slice(&(len as u16).to_le_bytes());
        }
    }

    #[repr(transparent)]
    #[derive(Clone)]
    struct Bytes(Thin<Short>);
    // SAFETY: it is transparent.
    unsafe impl IsThin for Bytes {}

    fn bytes(body: &[u8]) -> Bytes {
        let mut b = ((body.len() + 2) as u16).to_le_bytes().to_vec();
        b.extend_from_slice(body);
        Bytes(Thin::copy_of(&b))
    }

    #[test]
    fn is_reshaped_like_a_vector() {
        let mut rng = Rng::new(7);
        for round in 0..200 {
            let (mut thin, mut model) = (bytes(b"").0, vec![2, 0]);
            for _ in 0..if round == 0 { 2000 } else { 30 } {
                let at = 2 + rng.below(model.len() - 1);
                let old = rng.below(model.len() - at + 1).min(rng.below(40));
                let new: Vec<u8> = (0..rng.below(60)).map(|_| rng.next_u64() as u8).collect();
                thin.reshape(at, old, new.len());
                thin.body_mut()[at - 2..at - 2 + new.len()].copy_from_slice(&new);
                model.splice(at..at + old, new);
                let len = model.len() as u16;
                model[..2].copy_from_slice(&len.to_le_bytes());
                assert_eq!(thin.as_slice(), model);
                assert!(thin.heap_bytes() >= model.len() && thin.heap_bytes() <= model.len() * 17 / 16 + 8);
            }
            assert_eq!(thin.clone().as_slice(), model);
        }
    }

    #[test]
    #[should_panic(expected = "another length")]
    fn a_wrong_length_is_not_believed() {
        drop(Thin::<Short>::copy_of(&[5, 0, 1]));
    }

    #[test]
    #[should_panic(expected = "no such bytes")]
    fn nothing_is_moved_past_the_end() {
        bytes(b"abc").0.reshape(4, 2, 0);
    }

    #[test]
    #[should_panic(expected = "cannot state")]
    fn a_length_that_cannot_be_stated_is_noticed() {
        bytes(b"abc").0.reshape(4, 0, 70_000);
    }

    #[test]
    fn a_word_is_either() {
        assert_eq!(size_of::<Option<Word<Bytes, String>>>(), 8);
        let mut w: Word<Bytes, String> = Word::small(bytes(b"abc"));
        match w.get_mut() {
            Size::Small(s) => s.0.reshape(2, 1, 300),
            Size::Large(_) => panic!("it is small"),
        }
        let copy = w.clone();
        w = Word::large(Box::new("large".into()));
        match w.get_mut() {
            Size::Large(l) => l.push('!'),
            Size::Small(_) => panic!("it is large"),
        }
        assert!(matches!(w.get(), Size::Large(l) if l == "large!"));
        assert!(matches!(copy.get(), Size::Small(s) if s.0.as_slice().len() == 304));
        assert!(matches!(w.clone().into_inner(), Size::Large(l) if *l == "large!"));
        assert!(matches!(copy.into_inner(), Size::Small(s) if s.0.as_slice().ends_with(b"bc")));
    }
}
