//! Rows of other models in a text: pictures and sounds where tokens stand for them.

use crate::Error;
use std::sync::Arc;
use tensor::Tensor;

/// Rows that take the place of tokens' embeddings.
#[derive(Clone, Debug)]
pub struct Inserted {
    /// The tokens, in order, `[rows]`.
    pub tokens: Arc<[usize]>,
    /// What stands for them, `[rows, hidden_size]`.
    pub rows: Tensor,
}

impl Inserted {
    /// `embeddings`, `[tokens, hidden_size]`, with the rows in their places.
    #[track_caller]
    pub(crate) fn into_embeddings(&self, embeddings: &Tensor) -> Tensor {
        let n = embeddings.rows();
        let others: Arc<[usize]> =
            (0..n).filter(|i| self.tokens.binary_search(i).is_err()).collect();
        let inserted = self.rows.put_rows(&self.tokens, n);
        embeddings.take_rows(&others).put_rows(&others, n).add_scaled(1.0, &inserted, 1.0)
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
        let text = Tensor::new(&device, &[4, 2], (0..8).map(|i| i as f32).collect());
        let rows = Tensor::new(&device, &[2, 2], vec![-1.0, -2.0, -3.0, -4.0]);
        let inserted = Inserted { tokens: [0, 2].into(), rows };
        let x = inserted.into_embeddings(&text);
        assert_eq!(x.data(), [-1.0, -2.0, 2.0, 3.0, -3.0, -4.0, 6.0, 7.0]);
    }
}
