//! What a sequence keeps of a layer, in the layout that the kernels read.
//!
//! Of each head, panels of [`BLOCK`] columns, each `[rows, 32]` or `[32, 32]`:
//!
//! ```text
//! K^T         one panel: row d holds feature d of the block's keys, by place
//! S           head_dim / 32 panels of columns: the state at the last boundary of blocks
//! V           head_dim / 32 panels of columns: row i is the value at place i
//! ```
//!
//! So `q^T [K^T | S]`, which every token needs, is one product with neighbouring panels, and a panel
//! lies in one piece, whatever power of two `head_dim` is. A token writes a column of K^T and a row of
//! V; S is written once in 32 tokens. Rows beyond `head_dim` are 0 or nobody's business.

use super::{BLOCK, Lightning};

/// Floats of a line of the cache, and of the widest vectors.
pub(super) const LINE: usize = 16;
/// Rows of K^T and S are a multiple of this: tiles of them are computed whole.
const ROWS: usize = 4;

/// Sizes of a head's part of a state.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadSizes {
    /// Width of a head.
    pub(super) dim: usize,
    /// Rows of K^T and of the panels of S.
    pub(super) rows: usize,
    /// Panels of S, and of V.
    pub(super) panels: usize,
}

impl HeadSizes {
    pub(super) fn new(shape: &Lightning) -> Self {
        let dim = shape.head_dim;
        Self { dim, rows: dim.div_ceil(ROWS).saturating_mul(ROWS), panels: dim.div_ceil(BLOCK) }
    }

    /// Elements of K^T, or of a panel of S.
    pub(super) fn panel(self) -> usize {
        self.rows * BLOCK
    }

    /// Elements of a head, a whole number of lines; saturates.
    pub(super) fn len(self) -> usize {
        let rows = self.panels.saturating_add(1).saturating_mul(self.rows);
        rows.saturating_add(self.panels.saturating_mul(BLOCK)).saturating_mul(BLOCK)
    }

    /// K^T, S and V of one head.
    pub(super) fn split(self, head: &mut [f32]) -> [&mut [f32]; 3] {
        let (kt, rest) = head.split_at_mut(self.panel());
        let (s, v) = rest.split_at_mut(self.panels * self.panel());
        [kt, s, v]
    }
}

/// What a sequence keeps of one layer: of each head the state at the last boundary of blocks, and the
/// keys and values that came after. It is a function of the tokens read, bit for bit, and does not
/// grow. A new one is that of a sequence that has read nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct LightningState {
    lines: Vec<Line>,
}

/// 64 bytes, aligned to a line of the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

impl LightningState {
    /// Of a sequence that has read nothing.
    pub fn new(shape: &Lightning) -> Self {
        let len = shape.heads * HeadSizes::new(shape).len();
        Self { lines: vec![Line([0.0; LINE]); len / LINE] }
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.lines[..])
    }

    /// `[heads, HeadSizes::len]`.
    pub(super) fn floats(&mut self) -> &mut [f32] {
        let (lines, len) = (self.lines.as_mut_ptr(), self.lines.len() * LINE);
        // SAFETY: a line is `LINE` floats without padding (64 bytes, `repr(C)`), so the lines are
        // `len` floats in a row; they are borrowed mutably for as long as the result.
        unsafe { std::slice::from_raw_parts_mut(lines.cast(), len) }
    }
}
