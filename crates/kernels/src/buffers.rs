//! Buffers that are used again: an operation's output is as large in every step, and fresh memory
//! costs a page fault for each 4 KiB, about as much as a small kernel.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All sizes are multiples of this many elements.
const GRANULE: usize = 1024;

/// `len` rounded up by at most an eighth, so that nearly equal sizes share.
pub(crate) fn size_class(len: usize) -> usize {
    len.next_multiple_of((len.next_power_of_two() / 16).max(GRANULE))
}

/// Sizes of buffers that may serve where one of `size` is asked for: one that is up to twice as
/// large is better than memory that keeps growing.
fn fitting(size: usize) -> RangeInclusive<usize> {
    size..=2 * size
}

/// A store of unused `Vec<f32>`; clones share it.
#[derive(Clone, Default)]
pub struct Buffers {
    free: Arc<Mutex<Free>>,
}

#[derive(Default)]
struct Free {
    by_size: BTreeMap<usize, Vec<Vec<f32>>>,
    /// How many of each size are out: only so many are taken back.
    lent: BTreeMap<usize, usize>,
    bytes: usize,
}

/// The sizes that a [`Buffers`] would come to hold, without the memory: what a computation will
/// need, known before it starts.
#[derive(Clone, Debug, Default)]
pub struct BufferPlan {
    free: BTreeMap<usize, usize>,
    elements: u64,
}

impl Buffers {
    /// A buffer of `len` elements whose contents are arbitrary numbers.
    pub fn take(&self, len: usize) -> Vec<f32> {
        let size = size_class(len);
        let mut free = self.lock();
        let fitting = free.by_size.range_mut(fitting(size));
        let kept = fitting.filter_map(|(_, buffers)| buffers.pop()).next();
        if let Some(buffer) = &kept {
            free.bytes -= buffer.capacity() * size_of::<f32>();
        }
        *free.lent.entry(kept.as_ref().map_or(size, Vec::capacity)).or_default() += 1;
        drop(free);
        let mut buffer = kept.unwrap_or_else(|| vec![0.0; size]);
        buffer.truncate(len);
        buffer
    }

    /// Takes a buffer back that [`take`](Self::take) gave out; others are dropped.
    pub fn give(&self, mut buffer: Vec<f32>) {
        let size = buffer.capacity();
        if size == 0 {
            return;
        }
        // Vectors from elsewhere would be kept for ever: nobody asks for them here.
        match self.lock().lent.get_mut(&size) {
            Some(lent) if *lent > 0 => *lent -= 1,
            _ => return,
        }
        // Only the part that `take` cut off is written again.
        buffer.resize(size, 0.0);
        let mut free = self.lock();
        free.bytes += size * size_of::<f32>();
        free.by_size.entry(size).or_default().push(buffer);
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes held for later use.
    pub fn free_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Returns all unused memory to the system.
    pub fn clear(&self) {
        let mut free = self.lock();
        (free.by_size, free.bytes) = (BTreeMap::new(), 0);
    }
}

impl BufferPlan {
    /// Counts a buffer of `len` elements as [`Buffers::take`] would; returns its size, to be given
    /// back.
    #[must_use = "a size that is not given back is never used again"]
    pub fn take(&mut self, len: usize) -> usize {
        // Whoever asks for more than there are addresses is to be told so, not to fail here.
        let size = size_class(len.min(usize::MAX / 8));
        let found = self.free.range_mut(fitting(size)).find(|(_, count)| **count > 0);
        if let Some((&size, count)) = found {
            *count -= 1;
            return size;
        }
        self.elements = self.elements.saturating_add(size as u64);
        size
    }

    /// Gives back what [`take`](Self::take) returned.
    pub fn give(&mut self, sizes: impl IntoIterator<Item = usize>) {
        for size in sizes {
            *self.free.entry(size).or_default() += 1;
        }
    }

    /// Bytes of all buffers, in use or not.
    pub fn bytes(&self) -> u64 {
        self.elements.saturating_mul(size_of::<f32>() as u64)
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

    /// Results that came from elsewhere filled the store, a few for every chunk of a prompt.
    #[test]
    fn foreign_vectors_are_dropped() {
        let buffers = Buffers::default();
        buffers.give(vec![0.0; 8 * GRANULE]);
        assert_eq!(buffers.free_bytes(), 0);
        let own = buffers.take(8 * GRANULE);
        for buffer in [own, vec![0.0; 8 * GRANULE]] {
            buffers.give(buffer);
        }
        assert_eq!(buffers.free_bytes(), 8 * GRANULE * 4);
    }

    #[test]
    fn a_plan_comes_to_what_the_store_holds() {
        let (buffers, mut plan) = (Buffers::default(), BufferPlan::default());
        let mut rng = crate::Rng(1);
        let (mut held, mut planned) = (Vec::new(), Vec::new());
        for _ in 0..300 {
            if held.is_empty() || rng.below(2) == 0 {
                let len = rng.below(40_000);
                held.push(buffers.take(len));
                planned.push(plan.take(len));
            } else {
                let i = rng.below(held.len());
                buffers.give(held.swap_remove(i));
                plan.give([planned.swap_remove(i)]);
            }
        }
        held.into_iter().for_each(|buffer| buffers.give(buffer));
        assert_eq!(plan.bytes(), buffers.free_bytes() as u64);
    }
}
