//! Large memory in large pages, where the system gives them to who asks.
//!
//! A read of memory that no cache holds looks up its page first. There are 256 pages of 4 KiB in
//! each MiB and the CPU remembers one or two thousand, so weights that stream past miss it every
//! 4 KiB; pages of 2 MiB make a product with one row 7 % faster (`docs/perf/LOG.md`, 2026-11-26),
//! and fresh memory costs one fault instead of 512.

#![expect(unsafe_code, reason = "allocates, and tells the system about addresses and lengths")]

use memmap2::{MmapMut, MmapOptions};
use std::alloc::Layout;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Bytes of a large page on the CPUs that we know: a range without a whole one is left alone.
/// Where pages are larger (aarch64 with 64 KiB pages: 512 MiB) the system ignores shorter ranges.
const LARGE_PAGE: usize = 2 << 20;
/// Where memory from the system begins is a multiple of this everywhere.
const SMALL_PAGE: usize = 4 << 10;
/// Bytes of a line of the cache, and of the widest vector.
const CACHE_LINE: usize = 64;
/// From so many bytes on pieces that are kept are the system's: 4 KiB, of which the last one is in part
/// unused, are few beside them.
const MAPPED: usize = 64 << 10;

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

/// Elements that stay: the states, keys and values of a conversation, weights. They begin at a line of the
/// cache, so that a vector that fills one is read from one.
///
/// Where there are many, their memory is taken from the system piece by piece and given back so. Pieces
/// come and go in no order, among buffers of all sizes; from an allocator's heap 1 GiB of them came to hold
/// 1.3 (`docs/perf/LOG.md`, 2026-11-27). Memory that is enough for a large page begins with one, and
/// [`advise_huge`] was asked before it was touched: all of it can be in large pages.
pub(crate) struct Kept<T> {
    memory: Memory,
    len: usize,
    elements: PhantomData<T>,
}

enum Memory {
    /// Elements begin at the offset.
    Mapped(MmapMut, usize),
    Heap(NonNull<u8>),
}

// SAFETY: it owns its elements, as a vector does.
unsafe impl<T: Send> Send for Kept<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Kept<T> {}

impl<T: Copy> Kept<T> {
    /// `len` copies of `value`.
    ///
    /// # Panics
    ///
    /// If there is no memory.
    pub(crate) fn new(value: T, len: usize) -> Self {
        Self::write(len, |fresh| fresh.fill(MaybeUninit::new(value)))
    }

    /// A copy of `elements`.
    ///
    /// # Panics
    ///
    /// If there is no memory.
    pub(crate) fn copy_of(elements: &[T]) -> Self {
        Self::write(elements.len(), |fresh| _ = fresh.write_copy_of_slice(elements))
    }

    /// Memory of `len` elements, all of which `write` writes.
    ///
    /// # Panics
    ///
    /// If there is no memory.
    pub(crate) fn write(len: usize, write: impl FnOnce(&mut [MaybeUninit<T>])) -> Self {
        let layout = layout::<T>(len);
        let memory = mapped(layout).unwrap_or_else(|| Memory::Heap(allocated(layout)));
        let mut new = Self { memory, len, elements: PhantomData };
        // SAFETY: enough memory for as many elements, which need not be initialized here.
        let fresh = unsafe { std::slice::from_raw_parts_mut(new.start_mut().cast(), len) };
        advise_huge(fresh);
        write(fresh);
        new
    }
}

impl<T> Kept<T> {
    fn start_mut(&mut self) -> *mut T {
        match &mut self.memory {
            Memory::Mapped(map, offset) => map[*offset..].as_mut_ptr().cast(),
            Memory::Heap(start) => start.as_ptr().cast(),
        }
    }
}

/// Memory of so many elements, from the start of a line on.
fn layout<T>(len: usize) -> Layout {
    let layout = Layout::array::<T>(len).and_then(|layout| layout.align_to(CACHE_LINE));
    layout.expect("less than all memory")
}

/// Memory from the system, if that much is asked for and it has some: it lets a process have only so many
/// pieces (on Linux 65 530, where neighbours count as one).
fn mapped(layout: Layout) -> Option<Memory> {
    if layout.size() < MAPPED || layout.align() > SMALL_PAGE {
        return None;
    }
    if layout.size() < LARGE_PAGE {
        // All of it is about to be written: faults at once cost less than one by one.
        let map = MmapOptions::new().len(layout.size()).populate().map_anon().ok()?;
        return Some(Memory::Mapped(map, 0));
    }
    let map = MmapMut::map_anon(layout.size().checked_add(LARGE_PAGE)?).ok()?;
    let offset = map.as_ptr().addr().wrapping_neg() % LARGE_PAGE;
    Some(Memory::Mapped(map, offset))
}

/// Memory from the allocator; of no elements an address that is nobody's.
fn allocated(layout: Layout) -> NonNull<u8> {
    if layout.size() == 0 {
        return layout.dangling_ptr();
    }
    // SAFETY: the size of the layout is not 0.
    let start = unsafe { std::alloc::alloc(layout) };
    NonNull::new(start).unwrap_or_else(|| std::alloc::handle_alloc_error(layout))
}

impl<T> Deref for Kept<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        let start = match &self.memory {
            Memory::Mapped(map, offset) => map[*offset..].as_ptr().cast(),
            Memory::Heap(start) => start.as_ptr().cast_const().cast(),
        };
        // SAFETY: all elements were written when it was made; nothing but a `&mut self` changes them.
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }
}

impl<T> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let (start, len) = (self.start_mut(), self.len);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        let layout = layout::<T>(self.len);
        if let (Memory::Heap(start), true) = (&self.memory, layout.size() > 0) {
            // SAFETY: allocated with this layout, and elements are `Copy`: nothing of theirs is to be
            // dropped.
            unsafe { std::alloc::dealloc(start.as_ptr(), layout) };
        }
    }
}

impl<T: Copy> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self::copy_of(self)
    }
}

impl<T: fmt::Debug> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: PartialEq> PartialEq for Kept<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
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
    fn what_is_kept_is_what_was_written() {
        for len in [0, 1, 1000, MAPPED / 8 - 1, MAPPED / 8, LARGE_PAGE / 8 - 1, LARGE_PAGE / 2 + 3]
        {
            let mut kept = Kept::new(7u64, len);
            assert!(kept.len() == len && kept.iter().all(|&x| x == 7));
            let bytes = size_of_val(&kept[..]);
            assert_eq!(matches!(kept.memory, Memory::Mapped(..)), bytes >= MAPPED, "{len}");
            let large = bytes >= LARGE_PAGE;
            assert!(!large || kept.as_ptr().addr().is_multiple_of(LARGE_PAGE), "{len}");
            let copy = kept.clone();
            for (i, x) in kept.iter_mut().enumerate() {
                *x = i as u64;
            }
            assert!(copy.len() == len && copy.iter().all(|&x| x == 7));
            assert!(len == 0 || kept != copy);
            assert!(Kept::copy_of(&kept).iter().enumerate().all(|(i, &x)| x == i as u64));
        }
    }

    #[test]
    fn what_the_system_does_not_map_is_allocated() {
        #[derive(Clone, Copy, PartialEq)]
        #[repr(align(8192))]
        struct Aligned(u8);
        let kept = Kept::new(Aligned(3), 20);
        assert!(matches!(kept.memory, Memory::Heap(_)));
        assert!(kept.iter().all(|x| *x == Aligned(3)));
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
