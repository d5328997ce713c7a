//! Lines of the cache out of buffers of f32.

use crate::Buffers;

/// What is made of whole lines of the cache.
///
/// # Safety
///
/// * Any bits are a value.
/// * Values start at multiples of 64 bytes and have no gaps.
pub(super) unsafe trait Lines: Copy {}

// SAFETY: arrays have the alignment of their elements and no gaps between them.
unsafe impl<T: Lines, const N: usize> Lines for [T; N] {}

/// Calls `f` with `len` values, which hold arbitrary numbers.
pub(super) fn with_lines<T: Lines, R>(
    buffers: &Buffers,
    len: usize,
    f: impl FnOnce(&mut [T]) -> R,
) -> R {
    const { assert!(align_of::<T>() == 64 && size_of::<T>().is_multiple_of(64)) }
    let mut buffer = buffers.take((len * size_of::<T>() + 64) / 4);
    // SAFETY: any bits are a `T`, and any bits of a `T` without gaps are numbers.
    let (_, lines, _) = unsafe { buffer.align_to_mut::<T>() };
    let result = f(&mut lines[..len]);
    buffers.give(buffer);
    result
}

/// Calls `f` with `len` numbers, arbitrary ones, from the start of a line on.
pub(super) fn with_floats<R>(buffers: &Buffers, len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = buffers.take(with_room(len));
    let result = f(from_line(&mut buffer, len));
    buffers.give(buffer);
    result
}

/// Elements of which `len` begin at a line, wherever the first one is.
pub(super) fn with_room(len: usize) -> usize {
    len + 64 / size_of::<f32>() - 1
}

/// The first `len` numbers from the start of a line on.
///
/// # Panics
///
/// If there are not so many, which [`with_room`] makes sure of.
pub(super) fn from_line(x: &mut [f32], len: usize) -> &mut [f32] {
    let start = x.as_ptr().align_offset(64);
    &mut x[start..start + len]
}
