//! The process's allocator, counted: `used_memory` is what was asked for and not given back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// The system's allocator with a count of bytes in use.
pub struct Counting;

/// What the threads have told so far, bytes.
static IN_USE: AtomicI64 = AtomicI64::new(0);
/// A thread tells what it has allocated and freed once that differs by so many bytes: an addition to a counter of its own
/// costs next to nothing, one to a counter that all share does.
const UNTOLD: i64 = 64 * 1024;

thread_local! {
    static OWN: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    // While a thread is being torn down its counter may be gone already.
    let told = OWN.try_with(|own| {
        let sum = own.get() + bytes;
        let tell = !(-UNTOLD..=UNTOLD).contains(&sum);
        own.set(if tell { 0 } else { sum });
        if tell { sum } else { 0 }
    });
    let tell = told.unwrap_or(bytes);
    if tell != 0 {
        IN_USE.fetch_add(tell, Ordering::Relaxed);
    }
}

/// Bytes in use: exactly what this thread has asked for, and what others have up to `UNTOLD` bytes each.
pub fn in_use() -> u64 {
    let own = OWN.try_with(Cell::get).unwrap_or(0);
    (IN_USE.load(Ordering::Relaxed) + own).max(0) as u64
}

// SAFETY: every call is passed on to the system's allocator unchanged; only a counter is kept beside it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's obligations are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above; `ptr` came from `alloc` with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}
