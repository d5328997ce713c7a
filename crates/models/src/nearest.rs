//! What rows are most like: for each the token whose embedding is nearest.

use crate::MiniMaxText01;
use tensor::Tensor;

/// The embeddings of some tokens.
#[derive(Clone, Debug)]
pub struct NearestTokens {
    ids: Vec<u32>,
    /// `[ids, hidden_size]`.
    embeddings: Vec<f32>,
    hidden_size: usize,
}

impl NearestTokens {
    /// Of the tokens `ids` of `model`.
    ///
    /// # Panics
    ///
    /// If the model has no such token, or there are none.
    #[track_caller]
    pub fn new(model: &MiniMaxText01, ids: Vec<u32>) -> Self {
        assert!(!ids.is_empty(), "no tokens to be like");
        let embeddings = model.embeddings().embed(&ids.clone().into());
        Self { ids, hidden_size: embeddings.last_dim(), embeddings: embeddings.to_vec() }
    }

    /// For each of `rows`, `[rows, hidden_size]`, the token with the least distance, of equals the first.
    ///
    /// # Panics
    ///
    /// If rows have another width.
    #[track_caller]
    pub fn of(&self, rows: &Tensor) -> Vec<u32> {
        assert_eq!(rows.last_dim(), self.hidden_size, "the width of rows");
        rows.data().chunks_exact(self.hidden_size).map(|row| self.of_row(row)).collect()
    }

    fn of_row(&self, row: &[f32]) -> u32 {
        let distance = |embedding: &[f32]| -> f64 {
            embedding.iter().zip(row).map(|(a, b)| f64::from(a - b).powi(2)).sum()
        };
        let distances = self.embeddings.chunks_exact(self.hidden_size).map(distance);
        let all = distances.zip(&self.ids);
        let least = all.min_by(|(a, _), (b, _)| a.total_cmp(b)).expect("there are tokens");
        *least.1
    }
}
