//! Which weights these are, in 16 bytes.

use super::Checkpoint;
use std::thread;
use twox_hash::XxHash3_128;

/// Bytes that are looked at in one piece.
const PIECE: usize = 64 << 10;

impl Checkpoint {
    /// A checksum (XXH3, 128 bits) of names, types, shapes and bytes of all tensors, in the order of
    /// their names: of all bytes, as long as they are `most` or fewer, and else of pieces of each
    /// tensor, about `most` together, the first and the last of each among them. It does not depend on how
    /// tensors are spread over files.
    pub fn digest(&self, most: usize) -> u128 {
        let tensors: Vec<&[u8]> = self.entries.values().map(|entry| self.bytes(entry)).collect();
        let stride = self.total_bytes().div_ceil(most.max(1)).max(1);
        let pieces: Vec<&[u8]> = tensors.iter().flat_map(|bytes| pieces(bytes, stride)).collect();
        let sums = sums(&pieces);
        let mut hash = XxHash3_128::new();
        for (name, entry) in &self.entries {
            let head = format!("{name}\0{} {:?}\n", entry.dtype, entry.shape);
            hash.write(head.as_bytes());
        }
        sums.iter().for_each(|sum| hash.write(&sum.to_be_bytes()));
        hash.finish_128()
    }
}

/// Every `stride`th piece, and the last one.
fn pieces(bytes: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let count = bytes.len().div_ceil(PIECE);
    let of = move |i: usize| &bytes[i * PIECE..bytes.len().min((i + 1) * PIECE)];
    let last = count.checked_sub(1).filter(|last| !last.is_multiple_of(stride));
    (0..count).step_by(stride).chain(last).map(of)
}

/// The checksum of each piece, by all processors.
fn sums(pieces: &[&[u8]]) -> Vec<u128> {
    let threads = thread::available_parallelism().map_or(1, |n| n.get());
    let each = pieces.len().div_ceil(threads).max(1);
    let mut sums = vec![0; pieces.len()];
    thread::scope(|scope| {
        for (sums, pieces) in sums.chunks_mut(each).zip(pieces.chunks(each)) {
            let work = move || {
                sums.iter_mut().zip(pieces).for_each(|(sum, piece)| {
                    *sum = XxHash3_128::oneshot(piece);
                });
            };
            scope.spawn(work);
        }
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Saved, Tensor, safetensors};
    use std::collections::BTreeMap;
    use std::path::Path;

    /// Elements of five pieces.
    const N: usize = 5 * PIECE / 4;

    fn digest(path: &Path, tensors: &[(&str, &[usize], Vec<f32>)], most: usize) -> u128 {
        let device = Device::cpu(1);
        let saved = tensors.iter().map(|(name, shape, data)| {
            ((*name).to_owned(), Saved::Tensor(Tensor::new(&device, shape, data.clone())))
        });
        safetensors::save(path, saved.collect(), &BTreeMap::new()).unwrap();
        Checkpoint::open(path).unwrap().digest(most)
    }

    /// Every value counts, and so do names and shapes; of large ones the ends at least.
    #[test]
    fn other_weights_have_another_digest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let a: Vec<f32> = (0..N).map(|i| i as f32).collect();
        let with = |a: &[f32], b: f32| [("a", &[N][..], a.to_vec()), ("b", &[1][..], vec![b])];
        let first = digest(&path, &with(&a, 1.0), usize::MAX);
        assert_eq!(digest(&path, &with(&a, 1.0), usize::MAX), first);
        assert_ne!(digest(&path, &with(&a, 2.0), usize::MAX), first);
        for at in [0, 1, N / 2, N - 1] {
            let mut other = a.clone();
            other[at] += 0.5;
            assert_ne!(digest(&path, &with(&other, 1.0), usize::MAX), first, "{at}");
        }
        let renamed = [("a", &[N][..], a.clone()), ("c", &[1][..], vec![1.0])];
        assert_ne!(digest(&path, &renamed, usize::MAX), first);
        let reshaped = [("a", &[2, N / 2][..], a.clone()), ("b", &[1][..], vec![1.0])];
        assert_ne!(digest(&path, &reshaped, usize::MAX), first);
        // A piece of each, and the last ones.
        let sampled = digest(&path, &with(&a, 1.0), 1);
        for at in [0, N - 1] {
            let mut other = a.clone();
            other[at] += 0.5;
            assert_ne!(digest(&path, &with(&other, 1.0), 1), sampled, "{at}");
        }
        assert_ne!(digest(&path, &with(&a, 2.0), 1), sampled);
    }
}
