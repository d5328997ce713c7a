//! Large memory in large pages, where the system gives them to who asks.
//!
//! A read of memory that no cache holds looks up its page first. There are 256 pages of 4 KiB in
//! each MiB and the CPU remembers one or two thousand, so weights that stream past miss it every
//! 4 KiB; pages of 2 MiB make a product with one row 7 % faster (`docs/perf/LOG.md`, 2026-11-26),
//! and fresh memory costs one fault instead of 512.

#![expect(unsafe_code, reason = "allocates, and tells the system about addresses and lengths")]

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of a large page on the CPUs that we know: a range without a whole one is left alone.
/// Where pages are larger (aarch64 with 64 KiB pages: 512 MiB) the system ignores shorter ranges.
const LARGE_PAGE: usize = 2 << 20;

/// Asks the system to back `memory` with large pages, as far as whole ones fit in it: for what is
/// about to be written for the first time, and read often. Contents do not change; a system that
/// cannot or need not be asked is left in peace.
pub fn advise_huge<T>(memory: &[T]) {
    let start = memory.as_ptr().addr();
    if let Some((offset, len)) = whole_pages(start, size_of_val(memory)) {
        advise(memory.as_ptr().wrapping_byte_add(offset).cast(), len);
    }
}

/// `len` copies of `value` in memory for which [`advise_huge`] was asked before it was touched.
pub fn filled<T: Copy>(value: T, len: usize) -> Vec<T> {
    let mut vec = Vec::with_capacity(len);
    let fresh: &[MaybeUninit<T>] = vec.spare_capacity_mut();
    advise_huge(fresh);
    vec.resize(len, value);
    vec
}

/// `len` copies of `value` in memory that begins with a large page, if there is enough for one, and
/// for which [`advise_huge`] was asked before it was touched: all of it can be in large pages.
pub(crate) struct Filled<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: it owns its elements, as a vector does.
unsafe impl<T: Send> Send for Filled<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Filled<T> {}

impl<T: Copy> Filled<T> {
    /// # Panics
    ///
    /// If there is no memory.
    pub(crate) fn new(value: T, len: usize) -> Self {
        let mut new = Self { start: NonNull::dangling(), len };
        let Some(layout) = new.layout() else { return new };
        // SAFETY: the size of the layout is not 0.
        let start = unsafe { std::alloc::alloc(layout) };
        let Some(start) = NonNull::new(start.cast()) else {
            std::alloc::handle_alloc_error(layout)
        };
        new.start = start;
        // SAFETY: just allocated for as many elements, which need not be initialized here.
        let fresh = unsafe { std::slice::from_raw_parts_mut(start.cast().as_ptr(), len) };
        advise_huge(fresh);
        fresh.fill(MaybeUninit::new(value));
        new
    }
}

impl<T> Filled<T> {
    /// `None` if there is nothing to be held.
    fn layout(&self) -> Option<Layout> {
        let layout = Layout::array::<T>(self.len).expect("less than all memory");
        let align = if layout.size() < LARGE_PAGE { 1 } else { LARGE_PAGE };
        (layout.size() > 0).then(|| layout.align_to(align).expect("less than all memory"))
    }
}

impl<T> Deref for Filled<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: all elements were written by `new`; nothing but a `&mut self` changes them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Filled<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Filled<T> {
    fn drop(&mut self) {
        if let Some(layout) = self.layout() {
            // SAFETY: allocated by `new` with this layout, and elements are `Copy`: nothing of theirs
            // is to be dropped.
            unsafe { std::alloc::dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}

/// Offset and length of the large pages that lie within `len` bytes from the address `start` on.
fn whole_pages(start: usize, len: usize) -> Option<(usize, usize)> {
    let offset = start.wrapping_neg() % LARGE_PAGE;
    let len = len.checked_sub(offset)? / LARGE_PAGE * LARGE_PAGE;
    (len > 0).then_some((offset, len))
}

#[cfg(target_os = "linux")]
fn advise(start: *const u8, len: usize) {
    use std::ffi::{c_int, c_void};
    /// `MADV_HUGEPAGE` of `madvise(2)`, the same on every architecture that Rust knows.
    const HUGE_PAGE: c_int = 14;
    unsafe extern "C" {
        fn madvise(start: *mut c_void, len: usize, advice: c_int) -> c_int;
    }
    // SAFETY: the range lies within a live allocation, as the only caller made sure; this advice
    // neither changes nor frees what is there. An error means that there are no large pages.
    unsafe { madvise(start.cast_mut().cast(), len, HUGE_PAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_start: *const u8, _len: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_are_asked_for() {
        let page = LARGE_PAGE;
        for (start, len, want) in [
            (0, 0, None),
            (0, page - 1, None),
            (0, page, Some((0, page))),
            (0, 2 * page - 1, Some((0, page))),
            (1, page, None),
            (1, 2 * page - 1, Some((page - 1, page))),
            (page - 16, 16, None),
            (page - 16, 3 * page, Some((16, 2 * page))),
            (usize::MAX, 0, None),
        ] {
            assert_eq!(whole_pages(start, len), want, "{len} bytes at {start}");
        }
    }

    #[test]
    fn large_memory_begins_with_a_large_page() {
        for len in [0, 1, 1000, LARGE_PAGE / 8 - 1, LARGE_PAGE / 8, LARGE_PAGE / 2 + 3] {
            let mut filled = Filled::new(7u64, len);
            assert!(filled.len() == len && filled.iter().all(|&x| x == 7));
            let large = size_of_val(&filled[..]) >= LARGE_PAGE;
            assert!(!large || filled.as_ptr().addr().is_multiple_of(LARGE_PAGE), "{len}");
            filled.fill(8);
            assert!(filled.iter().all(|&x| x == 8));
        }
    }

    #[test]
    fn contents_do_not_change() {
        for len in [0, 1, 1000, (5 << 20) + 3] {
            let mut vec = filled(7u8, len);
            assert!(vec.len() == len && vec.iter().all(|&x| x == 7));
            vec.fill(8);
            advise_huge(&vec);
            assert!(vec.iter().all(|&x| x == 8));
        }
    }
}
