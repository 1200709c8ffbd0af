//! The process's allocator, counted: `used_memory` is what was asked for and not given back.
//!
//! The thread that owns the data takes small objects from slabs (`slab`); everything else is the system's. An address
//! tells where an object came from, so any thread may free it.

#![allow(unsafe_code)]

use super::slab::{Heap, Returned, class_of};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Addresses reserved for slabs, at least; twice the machine's memory, if that is more.
const RESERVED_LEAST: usize = 64 << 30;

/// The allocator.
pub struct Allocator;

/// The slabs of the thread that has adopted them.
struct Slabs(UnsafeCell<Option<Heap>>);

// SAFETY: only the thread whose `OWNER` is set reaches into it, and there is only one such thread, ever.
unsafe impl Sync for Slabs {}

static SLABS: Slabs = Slabs(UnsafeCell::new(None));
static RETURNED: Returned = Returned::new();
static ADOPTED: AtomicBool = AtomicBool::new(false);
/// The addresses of slabs. While there are none: one from which no address is a short way up.
static START: AtomicUsize = AtomicUsize::new(1 << 63);
static LENGTH: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static OWNER: Cell<bool> = const { Cell::new(false) };
}

/// Bytes that the owner has asked for beyond those it has given back; wraps around.
static BY_OWNER: AtomicU64 = AtomicU64::new(0);
/// The same of all other threads.
static BY_OTHERS: AtomicU64 = AtomicU64::new(0);

/// Bytes in use.
pub fn in_use() -> u64 {
    BY_OWNER.load(Ordering::Relaxed).wrapping_add(BY_OTHERS.load(Ordering::Relaxed))
}

/// Tells the system's allocator to keep what buffers of large requests and replies have taken: its own way is to return
/// each to the kernel, and to have the kernel clear the same pages again for the next.
pub fn keep_buffers() {
    /// Freed memory at the end of the heap that is kept, bytes.
    const KEPT: libc::c_int = 32 << 20;
    /// Larger blocks are the kernel's at once, bytes: the most that the allocator takes for this.
    const LARGE: libc::c_int = 32 << 20;
    // SAFETY: these are settings; where one is not taken the allocator goes on as before.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Makes the calling thread the one that takes small objects from slabs. Without effect where another thread has, or where
/// the system has no addresses to reserve: the system's allocator then serves all.
pub fn adopt() {
    if ADOPTED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: it only asks.
    let (pages, page) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    let memory = usize::try_from(pages).unwrap_or(0) * usize::try_from(page).unwrap_or(0);
    let Some(heap) = Heap::reserve(RESERVED_LEAST.max(2 * memory)) else { return };
    let (start, length) = heap.range();
    // SAFETY: nobody is the owner yet, and `ADOPTED` lets one thread come this far.
    unsafe { *SLABS.0.get() = Some(heap) };
    LENGTH.store(length, Ordering::Relaxed);
    // Others see an address of a slab only after they have been handed one.
    START.store(start, Ordering::Release);
    OWNER.set(true);
}

/// Takes over at most `most` objects that other threads have freed; true if there are more. To be called now and then by
/// the owner.
pub fn take_back(most: usize) -> bool {
    // SAFETY: see `slabs`.
    OWNER.get() && unsafe { slabs() }.is_some_and(|heap| heap.take_back(&RETURNED, most))
}

/// # Safety
/// Only for the owner, and the reference must not outlive the call of the allocator it is made in.
#[inline]
unsafe fn slabs() -> Option<&'static mut Heap> {
    // SAFETY: the caller's promise; the heap's methods do not call the allocator, so there is one reference at a time.
    unsafe { (*SLABS.0.get()).as_mut() }
}

#[inline]
fn is_ours(p: *mut u8) -> bool {
    p.addr().wrapping_sub(START.load(Ordering::Relaxed)) < LENGTH.load(Ordering::Relaxed)
}

#[inline]
fn count(owner: bool, more: usize, less: usize) {
    let change = (more as u64).wrapping_sub(less as u64);
    if owner {
        // Nobody else writes it: no need for a locked instruction.
        BY_OWNER.store(BY_OWNER.load(Ordering::Relaxed).wrapping_add(change), Ordering::Relaxed);
    } else {
        BY_OTHERS.fetch_add(change, Ordering::Relaxed);
    }
}

/// # Safety
/// As `GlobalAlloc::alloc`; `owner`: whether the calling thread is.
#[inline]
unsafe fn allocate(layout: Layout, owner: bool) -> *mut u8 {
    if owner && let Some(class) = class_of(layout) {
        // SAFETY: this is the owner.
        let p = unsafe { slabs() }.map_or(std::ptr::null_mut(), |heap| heap.allocate(class, &RETURNED));
        if !p.is_null() {
            return p;
        }
    }
    // SAFETY: the caller's obligations are those of the system's allocator.
    unsafe { System.alloc(layout) }
}

/// # Safety
/// As `GlobalAlloc::dealloc`; `owner`: whether the calling thread is.
#[inline]
unsafe fn release(p: *mut u8, layout: Layout, owner: bool) {
    // SAFETY: what is ours by its address came from `Heap::allocate`, the rest from the system with this layout.
    unsafe {
        match (is_ours(p), owner) {
            (false, _) => System.dealloc(p, layout),
            (true, false) => RETURNED.push(p),
            (true, true) => {
                if let Some(heap) = slabs() {
                    heap.free(p);
                }
            }
        }
    }
}

// SAFETY: objects come from a heap or from the system, are of at least the size and alignment asked for, and are given
// back to where they came from, which their address says. Nothing here allocates or panics.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let owner = OWNER.get();
        count(owner, layout.size(), 0);
        // SAFETY: passed on.
        unsafe { allocate(layout, owner) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let owner = OWNER.get();
        count(owner, layout.size(), 0);
        // SAFETY: passed on; what comes from the system in large pieces is zero already, which it knows.
        unsafe {
            if !owner || class_of(layout).is_none() {
                return System.alloc_zeroed(layout);
            }
            let p = allocate(layout, owner);
            if !p.is_null() {
                p.write_bytes(0, layout.size());
            }
            p
        }
    }

    #[inline]
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        let owner = OWNER.get();
        count(owner, 0, layout.size());
        // SAFETY: passed on.
        unsafe { release(p, layout, owner) }
    }

    #[inline]
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let owner = OWNER.get();
        // SAFETY: the caller promises that the new size is a valid one.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let ours = is_ours(p);
        let class = class_of(wanted);
        // SAFETY: an object stays where it is if its class does, or moves with what both sizes have in common.
        unsafe {
            let moved = if ours && class == class_of(layout) {
                p
            } else if !ours && (!owner || class.is_none()) {
                System.realloc(p, layout, size)
            } else {
                let new = allocate(wanted, owner);
                if !new.is_null() {
                    new.copy_from_nonoverlapping(p, size.min(layout.size()));
                    release(p, layout, owner);
                }
                new
            };
            if !moved.is_null() {
                count(owner, size, layout.size());
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By itself, not as the global allocator: whether what one thread takes can be given back by another.
    #[test]
    fn threads_share_objects() {
        let a = Allocator;
        let of = |size| Layout::from_size_align(size, 8).unwrap();
        let before = in_use();
        std::thread::spawn(move || {
            adopt();
            assert!(OWNER.get());
            // SAFETY: each object is used within its size and given back once, with its layout.
            let objects: Vec<usize> = unsafe {
                let mut p = a.alloc_zeroed(of(40));
                assert!(is_ours(p) && *p.add(39) == 0);
                p.write_bytes(3, 40);
                for size in [33, 40, 100, 1024, 3000, 50_000, 700, 8] {
                    let old = if size == 33 { 40 } else { 33 };
                    p = a.realloc(p, of(old), size);
                    assert!(*p.add(size.min(33) - 1) == 3 && is_ours(p) == (size <= 1024), "{size}");
                    if size < 33 {
                        p = a.realloc(p, of(size), 33);
                        p.add(8).write_bytes(3, 25);
                    } else if size > 33 {
                        p = a.realloc(p, of(size), 33);
                    }
                }
                a.dealloc(p, of(33));
                (0..5000).map(|_| a.alloc(of(64)).expose_provenance()).collect()
            };
            let others = std::thread::spawn(move || {
                assert!(!OWNER.get());
                for p in objects {
                    // SAFETY: as above; the first is moved to the system's memory before.
                    unsafe {
                        let p = a.realloc(std::ptr::with_exposed_provenance_mut(p), of(64), 80);
                        assert!(!is_ours(p));
                        a.dealloc(p, of(80));
                    }
                }
            });
            others.join().unwrap();
            assert!(take_back(10));
            assert!(!take_back(100_000));
        })
        .join()
        .unwrap();
        // Other tests do not count here: they use the system's allocator directly.
        assert_eq!(in_use(), before);
        assert!(!take_back(1));
    }
}
