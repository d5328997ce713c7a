//! What the engine drives: a model, what a sequence has read of it, and the logits it gives.

use std::ops::Range;
use tensor::Tensor;

/// A causal language model as the engine sees it.
///
/// The law that everything here rests on: **the logits of a token depend on the tokens before it and
/// on nothing else**, to the bit. It does not matter in which pieces they were read, beside which other
/// sequences, or whether they were read or written. So what was read once may be used for anything that
/// begins alike, and checking a guessed token gives what writing it would have given.
pub trait Model: Send + Sync + 'static {
    /// What a sequence has read.
    type Memory: Memory;

    /// Number of ids that may be read and written. A head with more rows, for padding, is not looked at
    /// beyond.
    fn vocab_size(&self) -> usize;

    /// Most tokens of a sequence, prompt and answer together.
    fn context(&self) -> usize;

    /// Width of the rows that may stand for tokens, such as those of pictures; 0 if the model reads tokens
    /// only.
    fn row_width(&self) -> usize {
        0
    }

    /// The memory of a sequence that has read nothing.
    fn start(&self) -> Self::Memory;

    /// What a memory of so many tokens holds: the sum of its [`parts`](Memory::parts), exactly.
    fn bytes(&self, tokens: usize) -> Bytes;

    /// How much of the memory of a sequence cannot be shared with a fork that reads on: what is copied,
    /// at once or when the first of the two reads on. At most all of [`bytes`](Model::bytes).
    fn fork_bytes(&self, tokens: usize) -> u64;

    /// A memory can be brought back to any point from its last multiple of this on, see
    /// [`Memory::truncate`]; 1 if it cannot be brought back at all.
    fn block(&self) -> usize;

    /// What reading `tokens` tokens behind `past` others takes, in any unit. Snapshots that save much of
    /// it are kept longer.
    fn cost(&self, past: usize, tokens: usize) -> f64 {
        _ = past;
        tokens as f64
    }

    /// Reads each piece into its memory.
    ///
    /// Gives logits of the last [`outputs`](Piece::outputs) tokens of each piece, piece by piece; a row
    /// is as long as the vocabulary or longer.
    fn read(&self, pieces: &mut [Piece<'_, Self::Memory>]) -> Rows;

    /// The same, but gives what logits are made of: the hidden states behind the last norm. A row is as
    /// long as [`row_width`](Self::row_width) where that is not 0.
    fn hidden(&self, pieces: &mut [Piece<'_, Self::Memory>]) -> Rows;
}

/// What a sequence has read. A clone is a fork: the two share what neither of them changes.
pub trait Memory: Clone + Send + 'static {
    /// How many tokens.
    fn tokens(&self) -> usize;

    /// Forgets, exactly, all but the first `tokens`. Only asked for as far back as the last multiple of
    /// [`Model::block`].
    fn truncate(&mut self, tokens: usize);

    /// What holds it: the parts that belong to tokens from `from` on, which reading on or truncating to
    /// `from` may change, and all that belongs to no token, such as a state. With 0, everything.
    fn parts(&self, from: usize) -> impl Iterator<Item = Part>;
}

/// A piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// So many bytes of this memory alone; a clone has its own.
    Own(u64),
    /// An allocation that clones hold as well.
    Shared {
        /// Where it is: the same for all that hold it.
        address: usize,
        /// Its size: the same for all that hold it.
        bytes: u64,
    },
}

/// The size of a memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// What does not grow.
    pub state: u64,
    /// What grows with tokens.
    pub kv: u64,
}

impl Bytes {
    /// Both together.
    pub fn total(self) -> u64 {
        self.state.saturating_add(self.kv)
    }
}

/// Tokens that one sequence reads in a step.
#[derive(Debug)]
pub struct Piece<'a, M> {
    /// What the sequence has read before.
    pub memory: &'a mut M,
    /// The tokens, at least one.
    pub input_ids: &'a [u32],
    /// What stands for some of them, in ascending order. These are the tokens whose ids are no tokens'.
    pub inserted: Vec<PieceRows<'a>>,
    /// For how many of them, from the last one backwards, a row is wanted.
    pub outputs: usize,
}

/// Rows of a picture or a sound that stand for tokens of a piece.
#[derive(Clone, Debug)]
pub struct PieceRows<'a> {
    /// The tokens, counted from the piece's first.
    pub tokens: Range<usize>,
    /// Rows of all of the picture or sound, `[rows, width]`.
    pub rows: &'a Tensor,
    /// Which of them the first token has; the others follow.
    pub from: usize,
}

impl PieceRows<'_> {
    /// The rows of the tokens, one after the other, `[tokens, width]`.
    pub fn data(&self) -> &[f32] {
        let width = self.rows.last_dim();
        &self.rows.data()[self.from * width..][..self.tokens.len() * width]
    }
}

/// Logits or hidden states of some tokens, `[rows, width]`.
#[derive(Clone, Debug)]
pub struct Rows {
    values: Values,
    width: usize,
}

#[derive(Clone, Debug)]
enum Values {
    Own(Vec<f32>),
    Tensor(Tensor),
}

impl Rows {
    /// From `values: [rows, width]`.
    ///
    /// # Panics
    ///
    /// If there is no whole number of rows.
    #[track_caller]
    pub fn new(values: Vec<f32>, width: usize) -> Self {
        assert!(width > 0 && values.len().is_multiple_of(width), "rows of {width} numbers");
        Self { values: Values::Own(values), width }
    }

    /// How many.
    pub fn rows(&self) -> usize {
        self.values().len() / self.width
    }

    /// Those of one token, `[width]`.
    ///
    /// # Panics
    ///
    /// If there are not so many rows.
    #[track_caller]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.width..][..self.width]
    }

    fn values(&self) -> &[f32] {
        match &self.values {
            Values::Own(values) => values,
            Values::Tensor(tensor) => tensor.data(),
        }
    }
}

impl From<Tensor> for Rows {
    /// From an f32 tensor on the CPU, `[rows, width]`.
    fn from(tensor: Tensor) -> Self {
        let width = tensor.last_dim().max(1);
        Self { values: Values::Tensor(tensor), width }
    }
}
