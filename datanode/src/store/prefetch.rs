//! Asks the processor for memory before it is needed, so that the waiting for several places overlaps.

/// Bytes that the processor fetches at once.
const LINE: usize = 64;
/// The most that is fetched of one block: what is read in order after that is fetched ahead by the processor itself.
const MOST: usize = 4 * LINE;

/// What it takes to find something in a table, in the order in which one leads to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Its bucket.
    Bucket,
    /// The entry itself.
    Entry,
    /// What the entry points to.
    Contents,
}

/// Has the line of memory with this address fetched. Nothing is read, so whatever is there may be changing or even be gone.
#[inline]
#[allow(unsafe_code)]
pub fn fetch<T: ?Sized>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint: it reads nothing and faults at no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Has the beginning of a block of `size` bytes fetched.
#[inline]
pub fn fetch_block<T: ?Sized>(block: *const T, size: usize) {
    let start = block.cast::<u8>();
    let lines = (start.addr() % LINE + size.min(MOST)).div_ceil(LINE);
    for i in 0..lines {
        fetch(start.wrapping_add(i * LINE));
    }
}
