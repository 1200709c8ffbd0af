//! Asks the processor for memory before it is needed, so that the waiting for several places overlaps.

/// Bytes that the processor fetches at once.
const LINE: usize = 64;

/// Has the memory where `place` begins fetched. Nothing is read, so the place may be changing or even be gone.
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

/// Has a block of the allocator fetched: what it begins with, and the allocator's own word before it, which is needed when
/// it is freed.
#[inline]
pub fn fetch_block<T: ?Sized>(block: *const T) {
    let start = block.cast::<u8>();
    fetch(start);
    if start.addr() % LINE == 0 {
        fetch(start.wrapping_sub(1));
    }
}
