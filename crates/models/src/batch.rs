//! What one forward pass works on, as plain data.

use crate::inserted::Inserted;
use std::ops::Range;
use std::sync::Arc;

/// Tokens of one or more sequences.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Token ids of all sequences, one after the other, `[tokens]`.
    pub input_ids: Arc<[u32]>,
    /// The run of tokens of each sequence; together all tokens, in order.
    pub spans: Arc<[Range<usize>]>,
    /// Position of each token in its sequence, `[tokens]`.
    pub positions: Arc<[usize]>,
    /// Tokens whose hidden state is wanted, in order.
    pub output_rows: Arc<[usize]>,
    /// Tokens that query softmax layers, in order; all unless set.
    pub(crate) query_rows: Option<Arc<[usize]>>,
    /// What stands for tokens that are no text.
    pub(crate) inserted: Option<Inserted>,
}

impl Batch {
    /// One piece of one sequence: `input_ids` from `position` on.
    pub fn single(input_ids: &[u32], position: usize, output_rows: &[usize]) -> Self {
        Self::new([(input_ids, position)], output_rows)
    }

    /// A piece of each of several sequences, given as tokens and the position of the first.
    pub fn new<'a>(
        pieces: impl IntoIterator<Item = (&'a [u32], usize)>,
        output_rows: &[usize],
    ) -> Self {
        let (mut ids, mut spans, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        for (piece, position) in pieces {
            spans.push(ids.len()..ids.len() + piece.len());
            positions.extend(position..position + piece.len());
            ids.extend_from_slice(piece);
        }
        Self {
            input_ids: ids.into(),
            spans: spans.into(),
            positions: positions.into(),
            output_rows: output_rows.into(),
            query_rows: None,
            inserted: None,
        }
    }

    /// The same with rows of pictures or sounds in place of tokens of this batch, which keep their
    /// positions; their ids are not looked at.
    ///
    /// # Panics
    ///
    /// If there is not a row per token, or tokens are not in order or not in the batch.
    #[track_caller]
    pub fn with(self, inserted: Inserted) -> Self {
        assert_eq!(inserted.tokens.len(), inserted.rows.rows(), "a row for each token");
        assert!(inserted.tokens.is_sorted_by(|a, b| a < b), "tokens in order");
        assert!(inserted.tokens.last().is_none_or(|&last| last < self.tokens()), "tokens inside");
        Self { inserted: Some(inserted), ..self }
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// The same with softmax layers queried only by each sequence's tokens from the first `id` on;
    /// by all of those for which `relevant` holds already. Brings `relevant` up to date.
    pub(crate) fn queried_from(&self, id: u32, relevant: &mut [bool]) -> Self {
        let mut rows = Vec::new();
        for (span, relevant) in self.spans.iter().zip(relevant) {
            let ids = &self.input_ids[span.clone()];
            let first = if *relevant { Some(0) } else { ids.iter().position(|&i| i == id) };
            *relevant |= first.is_some();
            rows.extend(span.start + first.unwrap_or(ids.len())..span.end);
        }
        Self { query_rows: Some(rows.into()), ..self.clone() }
    }

    /// Whether all tokens are wanted.
    pub(crate) fn wants_all(&self) -> bool {
        self.output_rows.len() == self.tokens()
    }
}
