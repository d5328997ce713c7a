//! Rows of other models in a text: pictures and sounds where tokens stand for them.
//!
//! In a sequence of token ids a picture or a sound of n rows is n *content ids*, numbers that no tokenizer
//! has:
//!
//! ```text
//! id(digest, index) = 2^31 + 31 bits of a hash of (digest, index)
//! ```
//!
//! The digest is of what is seen or heard and of the model that makes rows of it. So whatever is found by
//! ids tells one picture from another, and knows the same one again. Ids are never embedded: rows come
//! beside them.

use crate::Error;
use std::ops::Range;
use std::sync::Arc;
use tensor::{Rng, Tensor};

/// The first content id; tokens of texts are below.
const CONTENT: u32 = 1 << 31;

/// Whether an id stands for a row of a picture or a sound.
pub fn is_content(id: u32) -> bool {
    id >= CONTENT
}

/// The ids of `rows` rows of what has this digest. They are the same for ever: files hold them.
pub fn content_ids(digest: u128, rows: usize) -> impl Iterator<Item = u32> {
    let [low, high] = [digest as u64, (digest >> 64) as u64];
    (0..rows as u64).map(move |index| {
        let first = Rng::stream(low, index).next_u64();
        let both = Rng::stream(high ^ first, index).next_u64();
        CONTENT | (both >> 33) as u32
    })
}

/// Rows of one picture or sound, and where they stand in a sequence.
#[derive(Clone, Debug)]
pub struct ContentRows {
    /// The position of the first row.
    pub first: usize,
    /// f32 on the CPU, `[rows, hidden_size]`.
    pub rows: Tensor,
}

impl ContentRows {
    /// The positions of all rows.
    pub fn span(&self) -> Range<usize> {
        self.first..self.first.saturating_add(self.rows.rows())
    }
}

/// Rows that take the place of tokens' embeddings.
#[derive(Clone, Debug)]
pub struct Inserted {
    /// The tokens, in order, `[rows]`.
    pub tokens: Arc<[usize]>,
    /// What stands for them, `[rows, hidden_size]`.
    pub rows: Tensor,
}

impl Inserted {
    /// What is read for `ids`: the rows in their places, and between them embeddings from `table`,
    /// `[vocab_size, hidden_size]`; `[ids, hidden_size]`.
    #[track_caller]
    pub(crate) fn embed(&self, table: &Tensor, ids: &[u32]) -> Tensor {
        let n = ids.len();
        let others: Arc<[usize]> =
            (0..n).filter(|i| self.tokens.binary_search(i).is_err()).collect();
        let texts: Arc<[u32]> = others.iter().map(|&i| ids[i]).collect();
        let inserted = self.rows.put_rows(&self.tokens, n);
        table.embed(&texts).put_rows(&others, n).add_scaled(1.0, &inserted, 1.0)
    }
}

/// `ids` with every `placeholder` as often as the next of `counts` says, and where those are then.
///
/// # Errors
///
/// If there is not a placeholder for each of `counts`.
pub fn expand(
    ids: &[u32],
    placeholder: u32,
    counts: &[usize],
) -> Result<(Vec<u32>, Arc<[usize]>), Error> {
    let found = ids.iter().filter(|&&id| id == placeholder).count();
    if found != counts.len() {
        return Err(Error::Placeholders { placeholder, found, expected: counts.len() });
    }
    let mut counts = counts.iter();
    let (mut expanded, mut places) = (Vec::with_capacity(ids.len()), Vec::new());
    for &id in ids {
        let count = if id == placeholder { counts.next().copied().unwrap_or(0) } else { 1 };
        if id == placeholder {
            places.extend(expanded.len()..expanded.len() + count);
        }
        expanded.extend(std::iter::repeat_n(id, count));
    }
    Ok((expanded, places.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::Device;

    #[test]
    fn placeholders_become_as_many_as_there_are_rows() {
        let (ids, places) = expand(&[5, 9, 6, 9, 9], 9, &[2, 0, 3]).unwrap();
        assert_eq!(ids, [5, 9, 9, 6, 9, 9, 9]);
        assert_eq!(places[..], [1, 2, 4, 5, 6]);
        let error = expand(&[5, 9, 6], 9, &[2, 1]).unwrap_err().to_string();
        assert_eq!(
            error,
            "the text has 1 placeholders (token 9), expected 2, one for each of what is inserted"
        );
    }

    #[test]
    fn rows_are_in_their_places() {
        let device = Device::cpu(1);
        let table = Tensor::new(&device, &[4, 2], (0..8).map(|i| i as f32).collect());
        let rows = Tensor::new(&device, &[2, 2], vec![-1.0, -2.0, -3.0, -0.0]);
        let inserted = Inserted { tokens: [0, 2].into(), rows: rows.clone() };
        // What stands in the places is not looked at, be it a token or not.
        let x = inserted.embed(&table, &[CONTENT, 1, 9, 3]);
        assert_eq!(x.data(), [-1.0, -2.0, 2.0, 3.0, -3.0, 0.0, 6.0, 7.0]);
        // Rows alone are the same to the bit.
        let alone = Inserted { tokens: [0, 1].into(), rows }.embed(&table, &[CONTENT, CONTENT]);
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(alone.data()), bits(&[-1.0, -2.0, -3.0, 0.0]));
    }

    /// Files hold them, so they never change; and none is a token.
    #[test]
    fn content_ids_tell_contents_apart() {
        let ids = |digest, rows| content_ids(digest, rows).collect::<Vec<_>>();
        assert_eq!(ids(7, 3), ids(7, 5)[..3]);
        assert!(ids(7, 500).iter().all(|&id| is_content(id)));
        assert!(!is_content(u32::MAX >> 1));
        let mut all: Vec<u32> =
            (0..32).flat_map(|bit| ids(1 << (4 * bit), 16)).chain(ids(0, 16)).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 33 * 16);
        let pinned = ids(0x0123_4567_89AB_CDEF_0011_2233_4455_6677, 2);
        assert_eq!(pinned, [3_463_918_659, 2_533_462_519]);
    }
}
