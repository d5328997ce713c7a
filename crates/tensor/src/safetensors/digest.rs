//! Which weights these are, in 16 bytes.

use super::Checkpoint;
use crate::checksums::sums;
use twox_hash::XxHash3_128;

/// Bytes that are looked at in one piece.
const PIECE: usize = 64 << 10;

impl Checkpoint {
    /// A checksum (XXH3, 128 bits) of names, types, shapes and bytes of all tensors, in the order of
    /// their names: of all bytes, if they are no more than `most`, and else of `most` at most: half of it
    /// goes to both ends of each tensor, as far as that reaches, half to pieces at equal distances. It does
    /// not depend on how tensors are spread over files.
    pub fn digest(&self, most: usize) -> u128 {
        let tensors: Vec<&[u8]> = self.entries.values().map(|entry| self.bytes(entry)).collect();
        let mut hash = XxHash3_128::new();
        for (name, entry) in &self.entries {
            let head = format!("{name}\0{} {:?}\n", entry.dtype, entry.shape);
            hash.write(head.as_bytes());
        }
        hash.write(sums(&looked_at(&tensors, most)).as_flattened());
        hash.finish_128()
    }
}

/// All bytes in pieces, or some of them.
fn looked_at<'a>(tensors: &[&'a [u8]], most: usize) -> Vec<&'a [u8]> {
    let pieces = tensors.iter().flat_map(|bytes| bytes.chunks(PIECE));
    if tensors.iter().map(|bytes| bytes.len()).sum::<usize>() <= most {
        return pieces.collect();
    }
    let at_end = (most / 4 / tensors.len()).min(PIECE);
    let ends = tensors.iter().flat_map(|bytes| {
        let len = at_end.min(bytes.len());
        [&bytes[..len], &bytes[bytes.len() - len..]]
    });
    let between = match most / 2 / PIECE {
        0 => None,
        count => Some(pieces.clone().count().div_ceil(count)),
    };
    let every = between.into_iter().flat_map(|n| pieces.clone().skip(n - 1).step_by(n));
    ends.chain(every).collect()
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
        // Of what is too much the ends of each.
        let sampled = digest(&path, &with(&a, 1.0), PIECE);
        for at in [0, N - 1] {
            let mut other = a.clone();
            other[at] += 0.5;
            assert_ne!(digest(&path, &with(&other, 1.0), PIECE), sampled, "{at}");
        }
        assert_ne!(digest(&path, &with(&a, 2.0), PIECE), sampled);
        // Names and shapes count even if no byte does.
        assert_ne!(digest(&path, &renamed, 0), digest(&path, &with(&a, 1.0), 0));
    }

    /// However many tensors there are, and whatever their sizes.
    #[test]
    fn no_more_is_looked_at() {
        let bytes = vec![0; 40 * PIECE];
        let whole = [&bytes[..]];
        let many: Vec<&[u8]> = bytes.chunks(1000).collect();
        let mixed = [&bytes[..10 * PIECE], &bytes[..0], &bytes[..7], &bytes[..PIECE + 1]];
        for tensors in [&whole[..], &many, &mixed, &[]] {
            let all: usize = tensors.iter().map(|tensor| tensor.len()).sum();
            for most in [0, 1, 100, PIECE, 2 * PIECE + 1, 9 * PIECE, 39 * PIECE, usize::MAX] {
                let looked: usize = looked_at(tensors, most).iter().map(|piece| piece.len()).sum();
                assert!(looked <= most.min(all), "{looked} of {all}, expected {most}");
                // And not much less.
                let budget = most.min(all) / 4;
                assert!(most < 2 * PIECE || looked >= budget, "{looked} of {all}, most {most}");
            }
        }
    }
}
