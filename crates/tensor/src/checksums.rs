//! Checksums of many pieces of memory at once.

use std::sync::{Mutex, PoisonError};
use std::thread;
use twox_hash::XxHash3_128;

/// Bytes of a checksum.
pub(crate) const SUM_BYTES: usize = 16;

/// XXH3, 128 bits, big endian.
pub(crate) fn sum(bytes: &[u8]) -> [u8; SUM_BYTES] {
    XxHash3_128::oneshot(bytes).to_be_bytes()
}

/// The checksum of each piece, as fast as memory and all processors are: for who reads a mapped file this
/// is also when it comes into memory.
pub(crate) fn sums(pieces: &[&[u8]]) -> Vec<[u8; SUM_BYTES]> {
    let mut sums = vec![[0; SUM_BYTES]; pieces.len()];
    let threads = thread::available_parallelism().map_or(1, |n| n.get()).min(pieces.len());
    let left = Mutex::new(sums.iter_mut().zip(pieces));
    let work = || {
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((out, piece)) = next else { return };
            *out = sum(piece);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where there are no more threads, this one does it all.
            _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_has_its_own() {
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(i) >> 3) as u8).collect();
        for size in [1, 999, 50_000, 100_000] {
            let pieces: Vec<&[u8]> = bytes.chunks(size).chain([&[][..]]).collect();
            let want: Vec<_> = pieces.iter().map(|piece| sum(piece)).collect();
            assert_eq!(sums(&pieces), want, "pieces of {size}");
        }
        assert!(sums(&[]).is_empty());
    }
}
