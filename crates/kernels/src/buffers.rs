//! Buffers that are used again: an operation's output is as large in every step, and fresh memory
//! costs a page fault for each 4 KiB, about as much as a small kernel.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// All sizes are multiples of this many elements.
const GRANULE: usize = 1024;

/// `len` rounded up by at most an eighth, so that nearly equal sizes share.
pub(crate) fn size_class(len: usize) -> usize {
    len.next_multiple_of((len.next_power_of_two() / 16).max(GRANULE))
}

/// A store of unused `Vec<f32>`; clones share it.
#[derive(Clone, Default)]
pub struct Buffers {
    free: Arc<Mutex<Free>>,
}

#[derive(Default)]
struct Free {
    by_size: BTreeMap<usize, Vec<Vec<f32>>>,
    bytes: usize,
}

impl Buffers {
    /// A buffer of `len` elements whose contents are arbitrary numbers.
    pub fn take(&self, len: usize) -> Vec<f32> {
        let size = size_class(len);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is up to twice as large is better than memory that keeps growing.
        let fitting = free.by_size.range_mut(size..=2 * size);
        let kept = fitting.filter_map(|(_, buffers)| buffers.pop()).next();
        if let Some(buffer) = &kept {
            free.bytes -= buffer.capacity() * size_of::<f32>();
        }
        drop(free);
        let mut buffer = kept.unwrap_or_else(|| vec![0.0; size]);
        buffer.truncate(len);
        buffer
    }

    /// Takes a buffer back that [`take`](Self::take) gave out; others are dropped.
    pub fn give(&self, mut buffer: Vec<f32>) {
        let size = buffer.capacity();
        if size == 0 || !size.is_multiple_of(GRANULE) {
            return;
        }
        // Only the part that `take` cut off is written again.
        buffer.resize(size, 0.0);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.bytes += size * size_of::<f32>();
        free.by_size.entry(size).or_default().push(buffer);
    }

    /// Bytes held for later use.
    pub fn free_bytes(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Returns all unused memory to the system.
    pub fn clear(&self) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) = Free::default();
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffers({} free bytes)", self.free_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_for_its_size() {
        let buffers = Buffers::default();
        let first = buffers.take(5000);
        let address = first.as_ptr();
        buffers.give(first);
        assert_eq!(buffers.free_bytes(), 5120 * 4);
        let small = buffers.take(1000);
        assert_ne!(small.as_ptr(), address, "far too large");
        let again = buffers.take(3000);
        assert_eq!((again.as_ptr(), again.len()), (address, 3000));
        let other = buffers.take(5120);
        assert_ne!(other.as_ptr(), address, "it is in use");
        buffers.give(again);
        buffers.clear();
        assert_eq!(buffers.free_bytes(), 0);
    }
}
