//! Keys and values as second operands of products in f32: panels of 32 columns, and the product.
//!
//! Each element of a result is one chain of multiply-adds over the rows of the panel, in order, so it
//! does not depend on which other rows are multiplied with it.

use super::Attention;
use super::kv::{BLOCK, Kv, KvType, Part, SCALES, TILE_KEYS};
use super::pages::{KvPages, Line, elements};
use crate::half::bf16_to_f32;
use crate::lanes::prefetch;
use fearless_simd::prelude::*;

/// Bytes of a line of the cache.
const LINE: usize = size_of::<Line>();

/// Keys and values of one head, as panels.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) kv: Kv<'a>,
    pub(super) shape: &'a Attention,
    pub(super) head: usize,
    /// Up to which key they are read, if they come from memory and few rows meet them: then what will
    /// be read is asked for.
    pub(super) streamed: Option<usize>,
}

/// Rows of 32 columns.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    rows: &'a [f32],
    /// How many bytes behind each row lies what is asked for; 0 for nothing.
    ahead: usize,
}

impl Panels<'_> {
    fn steps(&self) -> usize {
        self.shape.head_dim.div_ceil(BLOCK)
    }

    /// Keys from `first` on, which begins a block: `[head_dim, 32]`, where they are or in `scratch`.
    /// Columns of keys that are not there are arbitrary numbers.
    #[inline(always)]
    pub(super) fn keys<'b, S: Simd>(
        &'b self,
        simd: S,
        first: usize,
        scratch: &'b mut [f32],
    ) -> Panel<'b> {
        let Attention { kv_heads, head_dim: dim, .. } = *self.shape;
        match self.kv {
            Kv::Rows { k, .. } => {
                let rows = &k[first * kv_heads * dim..];
                simd_columns(simd, rows, kv_heads * dim, self.head * dim, dim, scratch);
                Panel { rows: &scratch[..dim * BLOCK], ahead: 0 }
            }
            Kv::Pages(pages) => {
                let at = Part::Keys.block(pages.kind(), first % TILE_KEYS, 0, self.steps());
                let first = first / TILE_KEYS * TILE_KEYS;
                self.panel(simd, pages, Part::Keys, first, at, dim, scratch)
            }
        }
    }

    /// Elements `32 step..` of `n` values from `first` on, which begins a tile: `[n, 32]`, where they
    /// are or in `scratch`. Columns beyond the head are zeros.
    #[inline(always)]
    pub(super) fn values<'b, S: Simd>(
        &'b self,
        simd: S,
        first: usize,
        n: usize,
        step: usize,
        scratch: &'b mut [f32],
    ) -> Panel<'b> {
        let Attention { kv_heads, head_dim: dim, .. } = *self.shape;
        match self.kv {
            Kv::Rows { v, .. } => {
                let scratch = &mut scratch[..n * BLOCK];
                let columns = step * BLOCK..dim.min((step + 1) * BLOCK);
                let rows = v[first * kv_heads * dim..].chunks(kv_heads * dim);
                for (out, row) in scratch.chunks_exact_mut(BLOCK).zip(rows) {
                    let (out, beyond) = out.split_at_mut(columns.len());
                    out.copy_from_slice(&row[self.head * dim..][columns.clone()]);
                    beyond.fill(0.0);
                }
                Panel { rows: scratch, ahead: 0 }
            }
            Kv::Pages(pages) => {
                let at = Part::Values.block(pages.kind(), 0, step, self.steps());
                self.panel(simd, pages, Part::Values, first, at, n, scratch)
            }
        }
    }

    /// `rows` rows of the blocks from line `at` of the tile with key `key` on.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "where it is")]
    fn panel<'b, S: Simd>(
        &self,
        simd: S,
        pages: &'b KvPages,
        part: Part,
        key: usize,
        at: usize,
        rows: usize,
        scratch: &'b mut [f32],
    ) -> Panel<'b> {
        let kind = pages.kind();
        let tile = pages.tile(self.head, key);
        let blocks = &tile[at..][..rows.div_ceil(BLOCK) * kind.block_lines()];
        let ahead = match self.streamed {
            Some(end) => pages.ahead(self.head, key, at * LINE, end),
            None => 0,
        };
        match kind {
            KvType::F32 => return Panel { rows: &elements(blocks)[..rows * BLOCK], ahead },
            KvType::Bf16 => simd_widen_bf16(simd, blocks, scratch, ahead),
            KvType::Q8 if part == Part::Keys => {
                simd_widen_q8::<S, true>(simd, blocks, scratch, ahead);
            }
            KvType::Q8 => simd_widen_q8::<S, false>(simd, blocks, scratch, ahead),
        }
        Panel { rows: &scratch[..rows * BLOCK], ahead: 0 }
    }
}

/// Up to 32 rows, `stride` apart, as columns: `out: [dim, 32]`, elements from `start` on.
#[inline(always)]
fn simd_columns<S: Simd>(
    _: S,
    rows: &[f32],
    stride: usize,
    start: usize,
    dim: usize,
    out: &mut [f32],
) {
    for (column, row) in rows.chunks(stride).take(BLOCK).enumerate() {
        let row = &row[start..][..dim];
        for (out, x) in out.chunks_exact_mut(BLOCK).zip(row) {
            out[column] = *x;
        }
    }
}

#[inline(always)]
fn simd_widen_bf16<S: Simd>(simd: S, blocks: &[Line], out: &mut [f32], ahead: usize) {
    let lanes = S::f32s::LEN;
    let odd_half = S::u32s::splat(simd, 0xFFFF_0000);
    let pairs = elements::<u32>(blocks).chunks_exact(BLOCK);
    for (pairs, out) in pairs.zip(out.chunks_exact_mut(2 * BLOCK)) {
        if ahead > 0 {
            let next = pairs.as_ptr().wrapping_byte_add(ahead);
            prefetch(next);
            prefetch(next.wrapping_byte_add(LINE));
        }
        for c in (0..BLOCK).step_by(lanes) {
            let pair = S::u32s::from_slice(simd, &pairs[c..c + lanes]);
            let [even, odd]: [S::f32s; 2] = [(pair << 16).bitcast(), (pair & odd_half).bitcast()];
            even.store_slice(&mut out[c..c + lanes]);
            odd.store_slice(&mut out[BLOCK + c..BLOCK + c + lanes]);
        }
    }
}

/// `KEYS`: a scale belongs to a column; else to a row.
#[inline(always)]
fn simd_widen_q8<S: Simd, const KEYS: bool>(_: S, blocks: &[Line], out: &mut [f32], ahead: usize) {
    let blocks = blocks.chunks_exact(KvType::Q8.block_lines());
    for (block, out) in blocks.zip(out.chunks_exact_mut(BLOCK * BLOCK)) {
        let mut scales = [0.0; BLOCK];
        for (scale, &bits) in scales.iter_mut().zip(&elements(block)[SCALES..]) {
            *scale = bf16_to_f32(bits);
        }
        let pairs = elements::<u16>(block)[..SCALES].as_chunks::<BLOCK>().0;
        let out = out.as_chunks_mut::<BLOCK>().0.as_chunks_mut().0;
        for (i, (pairs, [even, odd])) in pairs.iter().zip(out).enumerate() {
            if ahead > 0 {
                prefetch(pairs.as_ptr().wrapping_byte_add(ahead));
            }
            for c in 0..BLOCK {
                let (low, high) = ((pairs[c] << 8) as i16 >> 8, pairs[c] as i16 >> 8);
                let (first, second) =
                    if KEYS { (scales[c], scales[c]) } else { (scales[2 * i], scales[2 * i + 1]) };
                even[c] = first * f32::from(low);
                odd[c] = second * f32::from(high);
            }
        }
    }
}

/// Rows of a matrix that are `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) x: &'a [f32],
    pub(super) stride: usize,
    pub(super) count: usize,
}

/// `to (+)= A B`, B a panel of `depth` rows; A has at least `depth` columns. Rows of `to` are
/// `stride` apart.
///
/// # Panics
///
/// If there are not as many elements.
#[inline(always)]
pub(super) fn simd_product<S: Simd, const ACCUMULATE: bool>(
    simd: S,
    a: Rows<'_>,
    panel: Panel<'_>,
    to: &mut [f32],
    stride: usize,
) {
    if panel.ahead > 0 {
        simd_rows::<S, ACCUMULATE, true>(simd, a, panel, to, stride);
    } else {
        simd_rows::<S, ACCUMULATE, false>(simd, a, panel, to, stride);
    }
}

/// As many rows at once as there are registers for sums.
#[inline(always)]
fn simd_rows<S: Simd, const ACCUMULATE: bool, const STREAMED: bool>(
    simd: S,
    a: Rows<'_>,
    panel: Panel<'_>,
    to: &mut [f32],
    stride: usize,
) {
    let mut row = 0;
    macro_rules! rows {
        ($rows:literal, $vectors:literal) => {
            while a.count - row >= $rows {
                let x = &a.x[row * a.stride..];
                let to = &mut to[row * stride..];
                if STREAMED && row == 0 {
                    simd_tile::<S, ACCUMULATE, true, $rows, $vectors>(
                        simd, x, a.stride, panel, to, stride,
                    );
                } else {
                    simd_tile::<S, ACCUMULATE, false, $rows, $vectors>(
                        simd, x, a.stride, panel, to, stride,
                    );
                }
                row += $rows;
            }
        };
    }
    match S::f32s::LEN {
        16 => {
            rows!(12, 2);
            rows!(4, 2);
            rows!(1, 2);
        }
        8 => {
            rows!(3, 4);
            rows!(1, 4);
        }
        _ => rows!(1, 8),
    }
}

/// `R` rows times a panel, `V` vectors wide, the sums in registers all along.
#[inline(always)]
fn simd_tile<
    S: Simd,
    const ACCUMULATE: bool,
    const STREAMED: bool,
    const R: usize,
    const V: usize,
>(
    simd: S,
    a: &[f32],
    a_stride: usize,
    panel: Panel<'_>,
    to: &mut [f32],
    stride: usize,
) {
    let lanes = S::f32s::LEN;
    let depth = panel.rows.len() / BLOCK;
    assert!(V * lanes == BLOCK && a.len() >= (R - 1) * a_stride + depth, "rows of A");
    assert!(to.len() >= (R - 1) * stride + BLOCK, "rows of the result");
    let mut sums = [[S::f32s::splat(simd, 0.0); V]; R];
    if ACCUMULATE {
        for (i, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = S::f32s::from_slice(simd, &to[i * stride + v * lanes..][..lanes]);
            }
        }
    }
    for (k, row) in panel.rows.chunks_exact(BLOCK).enumerate() {
        if STREAMED {
            let next = row.as_ptr().wrapping_byte_add(panel.ahead);
            prefetch(next);
            prefetch(next.wrapping_byte_add(LINE));
        }
        let mut vectors = [S::f32s::splat(simd, 0.0); V];
        for (v, vector) in vectors.iter_mut().enumerate() {
            *vector = S::f32s::from_slice(simd, &row[v * lanes..][..lanes]);
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `i < R` and `k < depth`, so the first assertion shows that it is there.
            let x = S::f32s::splat(simd, unsafe { *a.get_unchecked(i * a_stride + k) });
            for (sum, vector) in sums.iter_mut().zip(vectors) {
                *sum = x.mul_add(vector, *sum);
            }
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            sum.store_slice(&mut to[i * stride + v * lanes..][..lanes]);
        }
    }
}
