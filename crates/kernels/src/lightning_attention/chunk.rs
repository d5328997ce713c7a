//! The chunk form of some heads: four products per block, all operands in the second-level cache.
//!
//! ```text
//! P^T = (K Q^T) * D^T                                not above the diagonal
//! O = (Q S) * exp(-slope i) + P V
//! S = exp(-slope m) S + (K * exp(-slope (m - i)))^T V
//! ```
//!
//! Q, K, V and the state are copied first, next to each other and aligned to lines of the cache:
//! in `qkv` the rows of a head are often a power of two apart, as the rows of the state are, and so
//! few of them find a place in the first-level cache that each product would miss it. Rows of the
//! copies are a line longer than they need be, for the same reason. Q and K are transposed on the
//! way, so that each left operand is read as columns, at distances that the compiler knows.
//!
//! A tile of results, two vectors wide, stays in registers until it is final; decays are applied to
//! tiles, not in passes of their own. Each element is one chain of multiply-adds in the order of the
//! formula, so it does not depend on threads or on what else is in the batch.
//!
//! Heads of a task take turns with each block: a token's heads are next to each other in memory,
//! and what is asked for ahead comes in longer pieces.

use super::{HeadRows, Lightning, NOTHING, decays};
use crate::Exec;
use fearless_simd::{dispatch, prelude::*};
use std::ops::Range;

/// Floats of a line of the cache, and of the widest vectors.
const LINE: usize = 16;
/// Bytes of the states that a task works on: together with the operands of a block they are to stay
/// in a second-level cache of 1 MiB.
const STATES: usize = 256 << 10;

/// Rows of which each product reads columns or pairs of vectors, `stride` apart.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
}

/// The same, to be written.
struct RowsMut<'a> {
    data: &'a mut [f32],
    stride: usize,
}

/// A tile of sums.
type Tile<S, const ROWS: usize> = [[<S as Simd>::f32s; 2]; ROWS];

/// Sizes of the matrices in scratch memory.
struct Sizes {
    /// Tokens of a block.
    block: usize,
    /// The same, in whole pairs of vectors.
    tokens: usize,
    /// Between rows of tokens.
    token_stride: usize,
    /// Features, in whole pairs of vectors.
    features: usize,
    /// Between rows of features.
    feature_stride: usize,
}

impl Sizes {
    fn new(shape: &Lightning, tokens: usize) -> Self {
        let block = shape.chunk_size.min(tokens).max(1);
        let [tokens, features] = [block, shape.head_dim].map(|n| n.next_multiple_of(2 * LINE));
        let [token_stride, feature_stride] = [tokens, features].map(|n| n + LINE);
        Self { block, tokens, token_stride, features, feature_stride }
    }

    /// Elements of K, V and O; Q^T and K^T; P^T.
    fn operands(&self) -> [usize; 6] {
        let rows = self.tokens * self.feature_stride;
        let columns = self.features * self.token_stride;
        [rows, rows, rows, columns, columns, self.tokens * self.token_stride]
    }

    /// Elements of a head's state and of its decays.
    fn of_head(&self) -> [usize; 2] {
        [self.features * self.feature_stride, 2 * self.tokens + LINE]
    }
}

/// Heads of a task: as many as have their states in the cache, but some tasks for each thread.
pub(super) fn heads_per_task(exec: &Exec, shape: &Lightning) -> usize {
    let threads = exec.threads.num_threads();
    let tasks = if threads == 1 { 1 } else { 2 * threads };
    let bytes = size_of::<f32>() * shape.head_dim * shape.head_dim;
    (STATES / bytes.max(1)).min(shape.heads.div_ceil(tasks)).max(1)
}

/// Reads the tokens of `span`, brings the states of `heads`, `[heads, head_dim, head_dim]`, up to
/// date and calls `emit(token, head, o)` with each output `[head_dim]`.
pub(super) fn chunks(
    exec: &Exec,
    heads: &[HeadRows<'_>],
    span: Range<usize>,
    states: &mut [f32],
    emit: impl FnMut(usize, usize, &[f32]),
) {
    let Some(first) = heads.first() else { return };
    let sizes = Sizes::new(first.shape, span.len());
    let of_heads = heads.len() * sizes.of_head().iter().sum::<usize>();
    let len = sizes.operands().iter().sum::<usize>() + of_heads + LINE;
    let mut scratch = exec.buffers.take(len);
    let aligned = scratch.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    dispatch!(exec.cpu.level, simd => {
        simd_chunks(simd, heads, span, &sizes, states, &mut scratch[aligned..], emit);
    });
    exec.buffers.give(scratch);
}

/// Calls a product for all tiles of the rows, the largest that there are rows for.
macro_rules! tiles {
    ($simd:ty, $rows:expr, |$row:ident| $product:ident($($argument:expr),* $(,)?)) => {
        let mut $row = 0;
        while $row < $rows {
            let size = tile_rows::<$simd>($rows - $row);
            match size {
                12 => $product::<$simd, 12>($($argument),*),
                8 => $product::<$simd, 8>($($argument),*),
                6 => $product::<$simd, 6>($($argument),*),
                4 => $product::<$simd, 4>($($argument),*),
                _ => $product::<$simd, 2>($($argument),*),
            }
            $row += size;
        }
    };
}

/// Rows of the largest tile: its sums fill three quarters of the registers.
#[inline(always)]
fn max_rows<S: Simd>() -> usize {
    if S::f32s::LEN == 16 { 12 } else { 6 }
}

/// Rows of the next tile where `rows` are left, which may be a few more.
#[inline(always)]
fn tile_rows<S: Simd>(rows: usize) -> usize {
    let unit = max_rows::<S>() / 3;
    rows.div_ceil(unit).min(3) * unit
}

#[inline(always)]
fn simd_chunks<S: Simd>(
    simd: S,
    heads: &[HeadRows<'_>],
    span: Range<usize>,
    sizes: &Sizes,
    states: &mut [f32],
    scratch: &mut [f32],
    mut emit: impl FnMut(usize, usize, &[f32]),
) {
    let dim = heads[0].shape.head_dim;
    let [state_len, decay_len] = sizes.of_head();
    let (own_states, rest) = scratch.split_at_mut(heads.len() * state_len);
    let (all_decays, operands) = rest.split_at_mut(heads.len() * decay_len);
    for (head, out) in heads.iter().zip(all_decays.chunks_exact_mut(decay_len)) {
        // Where a token comes after the other, nothing.
        out[..sizes.tokens].fill(0.0);
        let decays = decays(head.slope, sizes.tokens);
        out[sizes.tokens..][..decays.len()].copy_from_slice(&decays);
    }
    let stride = sizes.feature_stride;
    for (own, state) in own_states.chunks_exact_mut(state_len).zip(states.chunks_exact(dim * dim)) {
        own.fill(0.0);
        for (own, state) in own.chunks_exact_mut(stride).zip(state.chunks_exact(dim)) {
            own[..dim].copy_from_slice(state);
        }
    }
    for start in span.clone().step_by(sizes.block) {
        let tokens = start..span.end.min(start + sizes.block);
        let of_heads =
            own_states.chunks_exact_mut(state_len).zip(all_decays.chunks_exact(decay_len));
        for (i, (state, decays)) in of_heads.enumerate() {
            // What comes next is brought nearer meanwhile.
            let next = match heads.get(i + 1) {
                Some(&head) => (head, tokens.clone()),
                None => (heads[0], tokens.end..span.end.min(tokens.end + sizes.block)),
            };
            let emit = |token, o: &[f32]| emit(token, heads[i].head, o);
            simd_block(simd, heads[i], tokens.clone(), next, sizes, decays, state, operands, emit);
        }
    }
    for (own, state) in own_states.chunks_exact(state_len).zip(states.chunks_exact_mut(dim * dim)) {
        for (own, state) in own.chunks_exact(stride).zip(state.chunks_exact_mut(dim)) {
            state.copy_from_slice(&own[..dim]);
        }
    }
}

/// One block of one head.
#[expect(clippy::too_many_arguments, reason = "operands, results and where they are")]
#[inline(always)]
fn simd_block<S: Simd>(
    simd: S,
    head: HeadRows<'_>,
    tokens: Range<usize>,
    (next_head, mut next): (HeadRows<'_>, Range<usize>),
    sizes: &Sizes,
    decays: &[f32],
    state: &mut [f32],
    mut operands: &mut [f32],
    mut emit: impl FnMut(usize, &[f32]),
) {
    let (pair, dim, m) = (2 * S::f32s::LEN, head.shape.head_dim, tokens.len());
    let &Sizes { token_stride, feature_stride, .. } = sizes;
    let [k, v, out, qt, kt, scores] = sizes.operands().map(|len| {
        let (part, rest) = std::mem::take(&mut operands).split_at_mut(len);
        operands = rest;
        part
    });
    // Decays by the distance of two tokens, 0 for distances less than 0.
    let decay_from = |distance: usize| &decays[sizes.tokens + distance..];
    // O has no values yet and lends its place to Q.
    for (part, rows) in [&mut *out, &mut *k, &mut *v].into_iter().enumerate() {
        let mut rows = rows.chunks_exact_mut(feature_stride);
        for (token, row) in tokens.clone().zip(&mut rows) {
            row[..dim].copy_from_slice(head.token(token)[part]);
            row[dim..].fill(0.0);
        }
        // Tiles are computed whole.
        rows.take(m.next_multiple_of(pair) - m).for_each(|row| row.fill(0.0));
    }
    let whole = m.next_multiple_of(pair);
    for (rows, columns) in [(&*out, &mut *qt), (&*k, &mut *kt)] {
        let rows = Rows { data: rows, stride: feature_stride };
        transpose(simd, rows, whole, dim, RowsMut { data: columns, stride: token_stride });
    }
    for (row, decay) in k.chunks_exact_mut(feature_stride).zip(decay_from(0)[..m].iter().rev()) {
        row[..dim].iter_mut().for_each(|k| *k *= decay);
    }
    let (qt, kt) =
        (Rows { data: qt, stride: token_stride }, Rows { data: kt, stride: token_stride });
    for col in (0..m).step_by(pair) {
        tiles!(S, m.min(col + pair), |row| score_tile(
            simd,
            kt.from(row),
            qt.from(col),
            dim,
            &decays[..sizes.tokens + col - row + pair],
            RowsMut { data: &mut scores[row * token_stride + col..], stride: token_stride },
        ));
    }
    // Tiles of O read a few scores of later tokens: they are 0, whatever those tokens hold.
    for (i, scores) in scores.chunks_exact_mut(token_stride).take(m).enumerate() {
        scores[(i + 1).saturating_sub(max_rows::<S>())..i].fill(0.0);
    }
    let scores = Rows { data: scores, stride: token_stride };
    let per_tile = next.len().div_ceil(dim.div_ceil(pair) * dim.div_ceil(max_rows::<S>()));
    for col in (0..dim).step_by(pair) {
        let v = Rows { data: v, stride: feature_stride }.from(col);
        let s = Rows { data: state, stride: feature_stride }.from(col);
        tiles!(S, m, |row| out_tile(
            simd,
            qt.from(row),
            s,
            dim,
            decay_from(row + 1),
            scores.from(row),
            v,
            m.min(row + max_rows::<S>()),
            RowsMut { data: &mut out[row * feature_stride + col..], stride: feature_stride },
        ));
        let k = Rows { data: k, stride: feature_stride };
        tiles!(S, dim, |row| state_tile(
            simd,
            (next_head, next.by_ref().take(per_tile)),
            k.from(row),
            v,
            m,
            decays[sizes.tokens + m],
            RowsMut { data: &mut state[row * feature_stride + col..], stride: feature_stride },
        ));
    }
    for (token, out) in tokens.zip(out.chunks_exact(feature_stride)) {
        emit(token, &out[..dim]);
    }
}

impl<'a> Rows<'a> {
    /// The columns from `col` on.
    fn from(self, col: usize) -> Self {
        Self { data: &self.data[col..], ..self }
    }
}

/// Scores of a pair of vectors of tokens with `ROWS` keys, decayed; `decays` ends with those of the
/// first key.
#[inline(always)]
fn score_tile<S: Simd, const ROWS: usize>(
    simd: S,
    kt: Rows<'_>,
    qt: Rows<'_>,
    dim: usize,
    decays: &[f32],
    scores: RowsMut<'_>,
) {
    let lanes = S::f32s::LEN;
    let mut sums = product::<S, ROWS>(simd, zeros(simd), kt, qt, dim);
    for (i, [left, right]) in sums.iter_mut().enumerate() {
        let decays = &decays[decays.len() - 2 * lanes - i..][..2 * lanes];
        *left *= S::f32s::from_slice(simd, &decays[..lanes]);
        *right *= S::f32s::from_slice(simd, &decays[lanes..]);
    }
    store::<S, ROWS>(sums, scores);
}

/// Outputs of `ROWS` tokens, a pair of vectors of features: through the state, then within the
/// block.
#[expect(clippy::too_many_arguments, reason = "two products with three operands each")]
#[inline(always)]
fn out_tile<S: Simd, const ROWS: usize>(
    simd: S,
    qt: Rows<'_>,
    state: Rows<'_>,
    dim: usize,
    decays: &[f32],
    scores: Rows<'_>,
    v: Rows<'_>,
    tokens: usize,
    out: RowsMut<'_>,
) {
    let mut sums = product::<S, ROWS>(simd, zeros(simd), qt, state, dim);
    for (sums, &decay) in sums.iter_mut().zip(decays) {
        for sum in sums {
            *sum *= S::f32s::splat(simd, decay);
        }
    }
    store::<S, ROWS>(product(simd, sums, scores, v, tokens), out);
}

/// `ROWS` rows of the state, a pair of vectors of features.
#[inline(always)]
fn state_tile<S: Simd, const ROWS: usize>(
    simd: S,
    (next_head, next): (HeadRows<'_>, std::iter::Take<&mut Range<usize>>),
    k: Rows<'_>,
    v: Rows<'_>,
    tokens: usize,
    decay: f32,
    state: RowsMut<'_>,
) {
    let lanes = S::f32s::LEN;
    // A few tokens with each tile, for they come slowly.
    next.for_each(|token| next_head.prefetch(token));
    let [decay, nothing] = [decay, NOTHING].map(|x| S::f32s::splat(simd, x));
    let mut sums = zeros::<S, ROWS>(simd);
    for (i, [left, right]) in sums.iter_mut().enumerate() {
        let state = &state.data[i * state.stride..][..2 * lanes];
        *left = S::f32s::from_slice(simd, &state[..lanes]).mul_add(decay, nothing);
        *right = S::f32s::from_slice(simd, &state[lanes..]).mul_add(decay, nothing);
    }
    store::<S, ROWS>(product(simd, sums, k, v, tokens), state);
}

#[inline(always)]
fn zeros<S: Simd, const ROWS: usize>(simd: S) -> Tile<S, ROWS> {
    [[S::f32s::splat(simd, 0.0); 2]; ROWS]
}

#[inline(always)]
fn store<S: Simd, const ROWS: usize>(sums: Tile<S, ROWS>, out: RowsMut<'_>) {
    let lanes = S::f32s::LEN;
    for (i, [left, right]) in sums.into_iter().enumerate() {
        let out = &mut out.data[i * out.stride..][..2 * lanes];
        left.store_slice(&mut out[..lanes]);
        right.store_slice(&mut out[lanes..]);
    }
}

/// `sums + a^T b`: of `depth` rows the first `ROWS` elements of `a` and the first two vectors of
/// `b`.
#[inline(always)]
fn product<S: Simd, const ROWS: usize>(
    simd: S,
    mut sums: Tile<S, ROWS>,
    a: Rows<'_>,
    b: Rows<'_>,
    depth: usize,
) -> Tile<S, ROWS> {
    let lanes = S::f32s::LEN;
    for k in 0..depth {
        let (a, b) = (&a.data[k * a.stride..][..ROWS], &b.data[k * b.stride..][..2 * lanes]);
        let left = S::f32s::from_slice(simd, &b[..lanes]);
        let right = S::f32s::from_slice(simd, &b[lanes..]);
        for (sums, &x) in sums.iter_mut().zip(a) {
            let x = S::f32s::splat(simd, x);
            sums[0] = x.mul_add(left, sums[0]);
            sums[1] = x.mul_add(right, sums[1]);
        }
    }
    sums
}

/// Writes `x: [rows, cols]` as `out: [cols, rows]`, in blocks of a vector's width either way.
#[inline(always)]
fn transpose<S: Simd>(simd: S, x: Rows<'_>, rows: usize, cols: usize, out: RowsMut<'_>) {
    let lanes = S::f32s::LEN;
    for row in (0..rows).step_by(lanes) {
        for col in (0..cols).step_by(lanes) {
            let mut block = [S::f32s::splat(simd, 0.0); LINE];
            for (i, v) in block[..lanes].iter_mut().enumerate() {
                *v = S::f32s::from_slice(simd, &x.data[(row + i) * x.stride + col..][..lanes]);
            }
            // Merging row `i` with row `i + lanes / 2` turns a bit of the row's number into one of
            // the column's; after all bits, rows are columns.
            for _ in 0..lanes.ilog2() {
                let rows = block;
                for i in 0..lanes / 2 {
                    block[2 * i] = rows[i].zip_low(rows[i + lanes / 2]);
                    block[2 * i + 1] = rows[i].zip_high(rows[i + lanes / 2]);
                }
            }
            for (i, v) in block[..lanes].iter().enumerate() {
                v.store_slice(&mut out.data[(col + i) * out.stride + row..][..lanes]);
            }
        }
    }
}
