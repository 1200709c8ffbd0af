//! Memory for small objects: pages of one size of object each, without a header per object and in steps of 8 bytes, so
//! that a key of 40 bytes takes 40. One thread owns a heap; others may only hand back what is its.
//!
//! Addresses are reserved once, so that an address alone tells whose memory it is. Pages that have become empty serve
//! any size again; more than a few of them are given back to the system.

#![allow(unsafe_code)]

use std::alloc::Layout;
use std::ptr::{self, NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

/// Bytes of a page: small enough that pages empty again, large enough that their heads and tails do not count.
const PAGE: usize = 32 * 1024;
/// Bytes of a page's head.
const HEAD: usize = 64;
/// Largest object.
pub const MAX_SIZE: usize = 1024;
/// Largest alignment: a page's head, and the sizes, are multiples of it.
pub const MAX_ALIGN: usize = 64;
/// Sizes: every 8 bytes up to 256, every 16 up to 512, every 32 up to 1024.
const CLASSES: usize = 32 + 16 + 16;
/// Memory is made accessible in pieces of so many bytes.
const COMMIT: usize = 2 << 20;
/// Empty pages that are kept at hand (8 MiB) before others are given back to the system.
const KEPT: usize = 256;
/// Objects that others have handed back which are looked at whenever a new page is needed.
const TAKEN_BACK_AT_ONCE: usize = 512;

/// The class of objects of this layout, if they are small.
#[inline]
pub fn class_of(layout: Layout) -> Option<usize> {
    if layout.align() > MAX_ALIGN || layout.size() > MAX_SIZE {
        return None;
    }
    // A multiple of its alignment is a class of its own, so objects are as aligned as their size.
    let size = (layout.size() + layout.align() - 1) & !(layout.align() - 1);
    Some(match size {
        0..=256 => size.div_ceil(8).saturating_sub(1),
        257..=512 => 32 + (size - 256).div_ceil(16) - 1,
        _ => 48 + (size - 512).div_ceil(32) - 1,
    })
}

/// Bytes of an object of a class.
const fn size_of_class(class: usize) -> usize {
    match class {
        0..32 => (class + 1) * 8,
        32..48 => 256 + (class - 31) * 16,
        _ => 512 + (class - 47) * 32,
    }
}

/// An object that is not in use.
struct Free {
    next: *mut Free,
}

/// The head of a page.
#[repr(C, align(64))]
struct Page {
    /// Objects that were in use.
    free: *mut Free,
    /// Other pages of the class that have room.
    next: *mut Page,
    prev: *mut Page,
    /// Offset of the first object that has never been in use.
    fresh: u32,
    used: u32,
    class: u32,
}

const _: () = assert!(size_of::<Page>() == HEAD && HEAD.is_multiple_of(MAX_ALIGN));

/// A thread's heap. See the module's description.
pub struct Heap {
    base: *mut u8,
    reserved: usize,
    /// Bytes from `base` on that have been made accessible.
    committed: usize,
    /// Bytes from `base` on that have been used for pages.
    carved: usize,
    /// Per class, the pages with room.
    with_room: [*mut Page; CLASSES],
    /// Empty pages at hand.
    empty: *mut Page,
    empty_count: usize,
    /// Numbers of empty pages whose memory has been given back; room for all there can be.
    cold: *mut u32,
    cold_count: usize,
    /// What others have handed back, as far as it has been taken over.
    taken_over: *mut Free,
}

/// Where other threads leave objects of a heap.
pub struct Returned(AtomicPtr<Free>);

impl Returned {
    /// Nothing.
    pub const fn new() -> Self {
        Returned(AtomicPtr::new(null_mut()))
    }

    /// Leaves an object.
    ///
    /// # Safety
    /// It is an object of the heap whose place this is, and not in use any more.
    pub unsafe fn push(&self, p: *mut u8) {
        let p = p.cast::<Free>();
        let mut first = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: nobody else uses the object, and all have room for a pointer.
            unsafe { (*p).next = first };
            match self.0.compare_exchange_weak(first, p, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => first = now,
            }
        }
    }

    fn take_all(&self) -> *mut Free {
        if self.0.load(Ordering::Relaxed).is_null() {
            null_mut()
        } else {
            self.0.swap(null_mut(), Ordering::Acquire)
        }
    }
}

impl Heap {
    /// Reserves addresses; `None` if the system refuses.
    pub fn reserve(bytes: usize) -> Option<Heap> {
        let reserved = bytes.next_multiple_of(COMMIT);
        // SAFETY: fresh mappings, which touch nothing that exists.
        let (start, cold) = unsafe {
            (
                map(reserved + COMMIT, libc::PROT_NONE)?,
                map(reserved / PAGE * size_of::<u32>(), libc::PROT_READ | libc::PROT_WRITE)?,
            )
        };
        let base = start.map_addr(|a| a.next_multiple_of(COMMIT));
        Some(Heap {
            base,
            reserved,
            committed: 0,
            carved: 0,
            with_room: [null_mut(); CLASSES],
            empty: null_mut(),
            empty_count: 0,
            cold: cold.cast(),
            cold_count: 0,
            taken_over: null_mut(),
        })
    }

    /// The addresses of its objects: the first, and how many.
    pub fn range(&self) -> (usize, usize) {
        (self.base.addr(), self.reserved)
    }

    /// An object of a class; null if there is no more memory.
    #[inline]
    pub fn allocate(&mut self, class: usize, returned: &Returned) -> *mut u8 {
        let page = self.with_room[class];
        if page.is_null() {
            return self.allocate_in_new_page(class, returned);
        }
        // SAFETY: pages on these lists are ours, initialised, and have room.
        unsafe { self.take(page) }
    }

    /// # Safety
    /// The page is one of those with room.
    #[inline]
    unsafe fn take(&mut self, page: *mut Page) -> *mut u8 {
        // SAFETY: the caller's promise. An object on the free list starts with the next one; one that is fresh lies within
        // the page, since there is room for a whole one behind `fresh` where the free list is empty.
        unsafe {
            let head = &mut *page;
            let size = size_of_class(head.class as usize);
            let object = match NonNull::new(head.free) {
                Some(free) => {
                    head.free = free.as_ref().next;
                    free.as_ptr().cast()
                }
                None => {
                    let at = head.fresh as usize;
                    head.fresh += size as u32;
                    page.cast::<u8>().add(at)
                }
            };
            head.used += 1;
            if head.free.is_null() && head.fresh as usize + size > PAGE {
                self.unlink(page);
            }
            object
        }
    }

    #[cold]
    fn allocate_in_new_page(&mut self, class: usize, returned: &Returned) -> *mut u8 {
        self.take_back(returned, TAKEN_BACK_AT_ONCE);
        if self.with_room[class].is_null() {
            let page = self.empty_page();
            if page.is_null() {
                return null_mut();
            }
            let head = Page {
                free: null_mut(),
                next: null_mut(),
                prev: null_mut(),
                fresh: HEAD as u32,
                used: 0,
                class: class as u32,
            };
            // SAFETY: the page is accessible and in no use.
            unsafe {
                page.write(head);
                self.link(page);
            }
        }
        // SAFETY: it is on the list of those with room.
        unsafe { self.take(self.with_room[class]) }
    }

    fn empty_page(&mut self) -> *mut Page {
        if !self.empty.is_null() {
            let page = self.empty;
            // SAFETY: pages on this list are ours and initialised.
            self.empty = unsafe { (*page).next };
            self.empty_count -= 1;
            return page;
        }
        let number = if self.cold_count > 0 {
            self.cold_count -= 1;
            // SAFETY: below `cold_count` numbers have been written.
            unsafe { *self.cold.add(self.cold_count) as usize }
        } else {
            if self.carved == self.committed && !self.commit() {
                return null_mut();
            }
            self.carved += PAGE;
            self.carved / PAGE - 1
        };
        // SAFETY: within what is committed.
        unsafe { self.base.add(number * PAGE).cast() }
    }

    fn commit(&mut self) -> bool {
        if self.committed == self.reserved {
            return false;
        }
        // SAFETY: the piece lies within our reservation.
        let done = unsafe {
            let at = self.base.add(self.committed).cast();
            libc::mprotect(at, COMMIT, libc::PROT_READ | libc::PROT_WRITE) == 0
        };
        self.committed += if done { COMMIT } else { 0 };
        done
    }

    /// Takes back an object.
    ///
    /// # Safety
    /// It came from `allocate` of this heap, and is not in use any more.
    #[inline]
    pub unsafe fn free(&mut self, object: *mut u8) {
        let page: *mut Page = object.map_addr(|a| a & !(PAGE - 1)).cast();
        // SAFETY: pages are aligned to their size, so this is the head of the object's page.
        unsafe {
            let head = &mut *page;
            let size = size_of_class(head.class as usize);
            let was_full = head.free.is_null() && head.fresh as usize + size > PAGE;
            let object = object.cast::<Free>();
            (*object).next = head.free;
            head.free = object;
            head.used -= 1;
            if was_full {
                self.link(page);
            } else if head.used == 0 {
                self.retire(page);
            }
        }
    }

    /// A page has become empty. The last one with room of its class stays, since it will be needed again.
    ///
    /// # Safety
    /// The page is on the list of those with room, and none of its objects is in use.
    #[cold]
    unsafe fn retire(&mut self, page: *mut Page) {
        // SAFETY: the caller's promise.
        unsafe {
            if (*page).next.is_null() && (*page).prev.is_null() {
                return;
            }
            self.unlink(page);
            if self.empty_count < KEPT {
                (*page).next = self.empty;
                self.empty = page;
                self.empty_count += 1;
                return;
            }
            libc::madvise(page.cast(), PAGE, libc::MADV_DONTNEED);
            // Each page is at most once on the list, and there is room for all.
            *self.cold.add(self.cold_count) = ((page.addr() - self.base.addr()) / PAGE) as u32;
            self.cold_count += 1;
        }
    }

    /// # Safety
    /// The page is ours, initialised, and not on a list.
    unsafe fn link(&mut self, page: *mut Page) {
        // SAFETY: the caller's promise; the first page of the list is as good.
        unsafe {
            let first = &mut self.with_room[(*page).class as usize];
            (*page).prev = null_mut();
            (*page).next = *first;
            if !first.is_null() {
                (**first).prev = page;
            }
            *first = page;
        }
    }

    /// # Safety
    /// The page is on the list of those with room.
    unsafe fn unlink(&mut self, page: *mut Page) {
        // SAFETY: the caller's promise; its neighbours are on the same list.
        unsafe {
            let (prev, next) = ((*page).prev, (*page).next);
            match prev.is_null() {
                true => self.with_room[(*page).class as usize] = next,
                false => (*prev).next = next,
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
            ((*page).prev, (*page).next) = (null_mut(), null_mut());
        }
    }

    /// Takes back at most `most` objects that other threads have handed back; true if there are more.
    pub fn take_back(&mut self, returned: &Returned, most: usize) -> bool {
        for _ in 0..most {
            if self.taken_over.is_null() {
                self.taken_over = returned.take_all();
            }
            let object = self.taken_over;
            if object.is_null() {
                return false;
            }
            // SAFETY: what others left there are objects of ours that are not in use, each starting with the next.
            unsafe {
                self.taken_over = (*object).next;
                self.free(object.cast());
            }
        }
        true
    }
}

/// # Safety
/// None: a fresh mapping touches nothing. It is never given back.
unsafe fn map(bytes: usize, protection: i32) -> Option<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: the kernel chooses the address.
    let p = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    (p != libc::MAP_FAILED).then_some(p.cast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rng::Rng;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn classes_are_as_large_and_aligned_as_asked() {
        for size in 0..=MAX_SIZE {
            for align in [1, 2, 4, 8, 16, 32, 64] {
                let rounded = size.next_multiple_of(align);
                let Some(class) = class_of(layout(size, align)) else { panic!("{size} {align}") };
                assert!(
                    size_of_class(class) >= rounded && size_of_class(class) <= rounded + rounded / 16 + 8
                );
                assert_eq!(size_of_class(class).min(64 * size) % align, 0, "{size} {align}");
            }
        }
        assert!(class_of(layout(MAX_SIZE + 1, 8)).is_none() && class_of(layout(8, 128)).is_none());
    }

    /// No two objects overlap, what is written stays, and emptied pages are used again.
    #[test]
    fn objects_are_apart() {
        static RETURNED: Returned = Returned::new();
        let mut heap = Heap::reserve(64 << 20).unwrap();
        let (base, len) = heap.range();
        let mut rng = Rng::new(5);
        for round in 0..4 {
            let mut live: Vec<(*mut u8, usize, u8)> = Vec::new();
            for step in 0..60_000u32 {
                if live.len() < 8000 || rng.one_in(2) {
                    let most = if rng.one_in(4) { MAX_SIZE } else { 64 };
                    let size = 1 + rng.below(most);
                    let p = heap.allocate(class_of(layout(size, 8)).unwrap(), &RETURNED);
                    assert!(p.addr().is_multiple_of(8) && p.addr() >= base && p.addr() + size <= base + len);
                    let mark = step as u8;
                    // SAFETY: it is ours, and of that size.
                    unsafe { p.write_bytes(mark, size) };
                    live.push((p, size, mark));
                } else {
                    let (p, size, mark) = live.swap_remove(rng.below(live.len()));
                    // SAFETY: it is in use until here.
                    unsafe {
                        assert!(std::slice::from_raw_parts(p, size).iter().all(|&b| b == mark));
                        if rng.one_in(3) { RETURNED.push(p) } else { heap.free(p) }
                    }
                }
            }
            for (p, size, mark) in live {
                // SAFETY: as above.
                unsafe {
                    assert!(std::slice::from_raw_parts(p, size).iter().all(|&b| b == mark));
                    heap.free(p);
                }
            }
            while heap.take_back(&RETURNED, 100) {}
            // All that is left is one empty page per class, and what is at hand.
            let at_hand = heap.empty_count + heap.cold_count;
            assert!(heap.carved / PAGE - at_hand <= CLASSES, "{round}: {} {at_hand}", heap.carved / PAGE);
        }
    }

    #[test]
    fn what_is_empty_goes_back_to_the_system_and_comes_again() {
        static RETURNED: Returned = Returned::new();
        let mut heap = Heap::reserve(32 << 20).unwrap();
        let class = class_of(layout(1000, 8)).unwrap();
        for _ in 0..3 {
            let mut all = Vec::new();
            loop {
                let p = heap.allocate(class, &RETURNED);
                if p.is_null() {
                    break;
                }
                // SAFETY: it is ours, and of that size.
                unsafe { p.write_bytes(7, 1000) };
                all.push(p);
            }
            assert!(all.len() > 31_000 && heap.carved == 32 << 20);
            // SAFETY: each came from `allocate`.
            all.into_iter().for_each(|p| unsafe { heap.free(p) });
            assert_eq!((heap.empty_count, heap.cold_count), (KEPT, (32 << 20) / PAGE - KEPT - 1));
        }
    }

    #[test]
    fn other_threads_hand_back() {
        static RETURNED: Returned = Returned::new();
        let mut heap = Heap::reserve(16 << 20).unwrap();
        let class = class_of(layout(48, 8)).unwrap();
        for _ in 0..20 {
            let objects: Vec<usize> =
                (0..10_000).map(|_| heap.allocate(class, &RETURNED).expose_provenance()).collect();
            std::thread::scope(|s| {
                for part in objects.chunks(2500) {
                    s.spawn(move || {
                        for &p in part {
                            // SAFETY: they are in use by nobody.
                            unsafe { RETURNED.push(ptr::with_exposed_provenance_mut(p)) };
                        }
                    });
                }
                heap.take_back(&RETURNED, 5000);
            });
            while heap.take_back(&RETURNED, 1000) {}
        }
        // 10 000 objects of 48 bytes fit into 15 pages.
        assert!(heap.carved / PAGE <= 20, "{}", heap.carved / PAGE);
    }
}
