//! What both sides are given: the shape of the network, its first weights, the batches.

use kernels::Rng;
use kernels::adamw::AdamW;

/// A decoder: embedding, layers of norm, attention, norm and SwiGLU, norm, head; no biases, no
/// positions beyond the causal mask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) dim: usize,
    pub(crate) heads: usize,
    pub(crate) ffn: usize,
    pub(crate) vocab: usize,
    pub(crate) seq: usize,
    pub(crate) batch: usize,
}

/// Added to the mean square under the root of RMSNorm.
pub(crate) const EPS: f32 = 1e-5;

/// The optimizer, the same for all parameters.
pub(crate) const OPTIMIZER: AdamW =
    AdamW { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };

impl Shape {
    /// The configuration that our tape has to win.
    pub(crate) const MEASURED: Self =
        Self { layers: 4, dim: 256, heads: 4, ffn: 1024, vocab: 1024, seq: 512, batch: 8 };

    /// A step of milliseconds: shows that everything runs.
    pub(crate) const TINY: Self =
        Self { layers: 2, dim: 32, heads: 2, ffn: 64, vocab: 64, seq: 32, batch: 2 };

    pub(crate) fn tokens(&self) -> usize {
        self.batch * self.seq
    }

    pub(crate) fn head_dim(&self) -> usize {
        self.dim / self.heads
    }

    /// Multiplications and additions of a step that every implementation needs: products with
    /// weights, and attention over visible pairs; the backward pass is twice the forward pass.
    pub(crate) fn flops(&self) -> f64 {
        let Self { layers, dim, ffn, vocab, seq, batch, .. } = *self;
        let weights = layers * (4 * dim * dim + 3 * dim * ffn) + vocab * dim;
        let pairs = batch * seq * (seq + 1) / 2;
        (3 * (2 * self.tokens() * weights + 4 * layers * dim * pairs)) as f64
    }
}

/// Random weights; whoever asks for the same matrices in the same order gets the same numbers.
#[derive(Debug)]
pub(crate) struct Weights(Rng);

impl Weights {
    pub(crate) fn new() -> Self {
        Self(Rng(1))
    }

    /// The next matrix `[rows, cols]`, row-major, normal with standard deviation 0.02.
    pub(crate) fn matrix(&mut self, rows: usize, cols: usize) -> Vec<f32> {
        (0..rows * cols).map(|_| 0.02 * self.0.normal()).collect()
    }

    /// The transpose of the next matrix `[rows, cols]`.
    pub(crate) fn transposed(&mut self, rows: usize, cols: usize) -> Vec<f32> {
        let matrix = self.matrix(rows, cols);
        (0..rows * cols).map(|i| matrix[i % rows * cols + i / rows]).collect()
    }
}

/// A source of batches with something to learn: mostly, a token follows from the one before it.
#[derive(Debug)]
pub(crate) struct Task {
    shape: Shape,
    rng: Rng,
}

impl Task {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, rng: Rng(2) }
    }

    /// `[batch * seq]` ids and, for each, the one that follows.
    pub(crate) fn batch(&mut self) -> (Vec<u32>, Vec<u32>) {
        let Shape { vocab, seq, batch, .. } = self.shape;
        let (mut ids, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..batch {
            let mut id = self.rng.below(vocab);
            for _ in 0..seq {
                ids.push(id as u32);
                id =
                    if self.rng.chance(0.1) { self.rng.below(vocab) } else { (5 * id + 3) % vocab };
                targets.push(id as u32);
            }
        }
        (ids, targets)
    }
}
