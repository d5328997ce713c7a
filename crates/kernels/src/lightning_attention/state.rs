//! What a sequence keeps of a layer, in the layout that the kernels read.
//!
//! Of each head two matrices, the second after the first:
//!
//! ```text
//! [K^T | S]   row d: feature d of the block's keys by place, [32], then row d of S, [width]
//! V           row i: the value at place i, [width]                    width: head_dim in whole 32
//! ```
//!
//! S is the state at the last boundary of blocks. So `q^T [K^T | S]`, which every token needs, reads
//! memory in one piece, and its rows are no power of two apart where `head_dim` is one. A token writes
//! a column of K^T and a row of V; S is written once in 32 tokens.

use super::{BLOCK, Lightning};
use crate::memory::Kept;

/// Floats of a line of the cache, and of the widest vectors.
pub(super) const LINE: usize = 16;
/// Rows of K^T and S are a multiple of this: tiles of them are computed whole.
const ROWS: usize = 4;

/// Sizes of a head's part of a state.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadSizes {
    /// Width of a head.
    pub(super) dim: usize,
    /// The same in whole [`BLOCK`]s: between rows of V.
    pub(super) width: usize,
    /// Between rows of K^T and S.
    pub(super) stride: usize,
    /// Rows of K^T and S; those beyond `dim` are 0.
    pub(super) rows: usize,
}

impl HeadSizes {
    pub(super) fn new(shape: &Lightning) -> Self {
        let dim = shape.head_dim;
        let [width, rows] = [BLOCK, ROWS].map(|n| dim.div_ceil(n).saturating_mul(n));
        Self { dim, width, stride: width.saturating_add(BLOCK), rows }
    }

    /// Elements of a head, a whole number of lines; saturates.
    pub(super) fn len(self) -> usize {
        let values = self.width.saturating_mul(BLOCK);
        self.rows.saturating_mul(self.stride).saturating_add(values)
    }

    /// `[K^T | S]` and V of one head.
    pub(super) fn split(self, head: &mut [f32]) -> (&mut [f32], &mut [f32]) {
        head.split_at_mut(self.rows * self.stride)
    }
}

/// What a sequence keeps of one layer: of each head the state at the last boundary of blocks, and the
/// keys and values that came after. It is a function of the tokens read, bit for bit, and does not
/// grow. A new one is that of a sequence that has read nothing.
#[derive(Debug, PartialEq)]
pub struct LightningState {
    lines: Kept<Line>,
    /// What f32 leaves of S, `[heads, head_dim, head_dim]`, where arithmetic is in f64; else nothing.
    low: Vec<f32>,
}

impl Clone for LightningState {
    fn clone(&self) -> Self {
        Self { lines: self.lines.clone(), low: self.low.clone() }
    }

    /// In place.
    fn clone_from(&mut self, source: &Self) {
        self.lines.copy_from_slice(&source.lines);
        self.low.clone_from(&source.low);
    }
}

/// 64 bytes, aligned to a line of the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

impl LightningState {
    /// Of a sequence that has read nothing.
    pub fn new(shape: &Lightning) -> Self {
        let len = shape.heads * HeadSizes::new(shape).len();
        Self { lines: Kept::new(Line([0.0; LINE]), len / LINE), low: Vec::new() }
    }

    /// One whose [`elements`](Self::elements) these are; `None` if they are not as many as a sequence
    /// keeps. Any numbers are a state.
    pub fn from_elements(
        shape: &Lightning,
        elements: impl ExactSizeIterator<Item = f32>,
    ) -> Option<Self> {
        let mut state = Self::new(shape);
        let to = state.floats();
        if elements.len() != to.len() {
            return None;
        }
        to.iter_mut().zip(elements).for_each(|(to, x)| *to = x);
        Some(state)
    }

    /// All of it as numbers, `[heads, elements of a head]`, in the layout above.
    pub fn elements(&self) -> &[f32] {
        let (lines, len) = (self.lines.as_ptr(), self.lines.len() * LINE);
        // SAFETY: as in `floats_of`, borrowed as shared.
        unsafe { std::slice::from_raw_parts(lines.cast(), len) }
    }

    /// Memory held; what arithmetic in f64 keeps beside it is not counted.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.lines[..])
    }

    /// `[heads, HeadSizes::len]`.
    pub(super) fn floats(&mut self) -> &mut [f32] {
        floats_of(&mut self.lines)
    }

    /// The same, and what f32 leaves of S.
    pub(super) fn floats_and_low(&mut self, shape: &Lightning) -> [&mut [f32]; 2] {
        self.low.resize(shape.state_len(), 0.0);
        [floats_of(&mut self.lines), &mut self.low]
    }
}

fn floats_of(lines: &mut [Line]) -> &mut [f32] {
    let (start, len) = (lines.as_mut_ptr(), lines.len() * LINE);
    // SAFETY: a line is `LINE` floats without padding (64 bytes, `repr(C)`), so the lines are `len` floats
    // in a row; they are borrowed mutably for as long as the result.
    unsafe { std::slice::from_raw_parts_mut(start.cast(), len) }
}
