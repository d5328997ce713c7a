//! Some heads of some tokens, block by block: four products per block, all operands in the
//! second-level cache.
//!
//! ```text
//! P^T = (K Q^T) * D^T                                not above the diagonal
//! O = (Q S) * exp(-slope (i + 1)) + P V
//! S = exp(-32 slope) S + (K * exp(-slope (31 - j)))^T V        when the block is complete
//! ```
//!
//! New keys and values go where the sequence keeps them, next to those of the block that were there,
//! and all products read them and S from there. Q is copied, for in `qkv` the rows of a head are often
//! a power of two apart, and so few of them find a place in the first-level cache that each product
//! would miss it. Q and K are transposed on the way, so that each left operand is read as columns, at
//! distances that the compiler knows.
//!
//! A tile of results, two vectors wide, stays in registers until it is final; decays are applied to
//! tiles, not in passes of their own. Each element is one chain of multiply-adds in the order of the
//! formula, so it does not depend on the other tokens of a call. Tiles go on with zeros where a token
//! does not see another: that changes no bit but the sign of a zero, and a last `+ 0` takes that away.
//!
//! Heads of a task take turns with each block: a token's heads are next to each other in memory,
//! and what is asked for ahead comes in longer pieces.

use super::NOTHING;
use super::state::{HeadSizes, LINE};
use super::{BLOCK, HeadRows, Lightning, decays};
use crate::Exec;
use fearless_simd::{dispatch, prelude::*};
use std::ops::Range;

/// Bytes of the states that a task works on: together with the operands of a block they are to stay
/// in a second-level cache of 1 MiB.
const STATES: usize = 384 << 10;

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

/// Decays by the distance of two tokens: 0 for distances less than 0, which nobody sees across, and
/// for distances beyond a block, which are asked for by lanes that nobody reads.
pub(super) struct Decays([f32; 3 * BLOCK]);

impl Decays {
    pub(super) fn new(slope: f32) -> Self {
        let mut all = [0.0; 3 * BLOCK];
        all[BLOCK..=2 * BLOCK].copy_from_slice(&decays(slope));
        Self(all)
    }

    /// At a distance of 0 to `BLOCK`.
    #[inline(always)]
    pub(super) fn at(&self, distance: usize) -> f32 {
        self.0[BLOCK + distance]
    }

    /// From the distance `later - earlier` on, upwards.
    #[inline(always)]
    fn from(&self, later: usize, earlier: usize) -> &[f32] {
        &self.0[BLOCK + later - earlier..]
    }
}

/// Working memory of a task, whole lines each.
struct Operands<'a> {
    /// Rows of tokens: q and k before they are transposed, then O.
    rows: &'a mut [f32],
    /// `[head_dim, 32]`.
    qt: &'a mut [f32],
    /// P^T, `[32, 32]`: by key, then by query.
    scores: &'a mut [f32],
}

/// Between rows of tokens: a line more than they need, so that they are no power of two apart.
fn row_stride(sizes: HeadSizes) -> usize {
    sizes.width + LINE
}

/// Heads of a task: as many as have their states in the cache, but some tasks for each thread.
pub(super) fn heads_per_task(exec: &Exec, shape: &Lightning) -> usize {
    let threads = exec.threads.num_threads();
    let tasks = if threads == 1 { 1 } else { 2 * threads };
    let bytes = size_of::<f32>() * HeadSizes::new(shape).len();
    (STATES / bytes.max(1)).min(shape.heads.div_ceil(tasks)).max(1)
}

/// Reads the tokens `rows`, the first of which has `past` before it, brings the `states` of `heads`
/// up to date and calls `emit(token, head, o)` with each output `[head_dim]`.
pub(super) fn blocks(
    exec: &Exec,
    heads: &[HeadRows<'_>],
    rows: Range<usize>,
    past: usize,
    states: &mut [f32],
    emit: impl FnMut(usize, usize, &[f32]),
) {
    let Some(first) = heads.first() else { return };
    let sizes = HeadSizes::new(first.shape);
    let len = BLOCK * row_stride(sizes) + sizes.dim * BLOCK + BLOCK * BLOCK;
    let mut scratch = exec.buffers.take(len + LINE);
    let aligned = scratch.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    let (out, rest) = scratch[aligned..].split_at_mut(BLOCK * row_stride(sizes));
    let (qt, scores) = rest.split_at_mut(sizes.dim * BLOCK);
    let operands = Operands { rows: out, qt, scores };
    dispatch!(exec.cpu.level, simd => {
        simd_blocks(simd, heads, rows, past, sizes, states, operands, emit);
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

#[expect(clippy::too_many_arguments, reason = "operands, results and where they are")]
#[inline(always)]
fn simd_blocks<S: Simd>(
    simd: S,
    heads: &[HeadRows<'_>],
    rows: Range<usize>,
    past: usize,
    sizes: HeadSizes,
    states: &mut [f32],
    mut operands: Operands<'_>,
    mut emit: impl FnMut(usize, usize, &[f32]),
) {
    let decays: Vec<_> = heads.iter().map(|head| Decays::new(head.slope)).collect();
    let mut start = rows.start;
    while start < rows.end {
        let place = (past + start - rows.start) % BLOCK;
        let tokens = start..rows.end.min(start + BLOCK - place);
        start = tokens.end;
        for (i, (state, decays)) in states.chunks_exact_mut(sizes.len()).zip(&decays).enumerate() {
            // What comes next is brought nearer meanwhile.
            let next = match heads.get(i + 1) {
                Some(&head) => (head, tokens.clone()),
                None => (heads[0], tokens.end..rows.end.min(tokens.end + BLOCK)),
            };
            let block = Block { head: heads[i], tokens: tokens.clone(), place, decays, sizes };
            let emit = |token, o: &[f32]| emit(token, heads[i].head, o);
            block.read(simd, next, state, &mut operands, emit);
        }
    }
}

/// Tokens of one head that are next to each other in a block.
struct Block<'a> {
    head: HeadRows<'a>,
    tokens: Range<usize>,
    /// Of the first in the block.
    place: usize,
    decays: &'a Decays,
    sizes: HeadSizes,
}

impl Block<'_> {
    #[inline(always)]
    fn read<S: Simd>(
        &self,
        simd: S,
        (next_head, mut next): (HeadRows<'_>, Range<usize>),
        state: &mut [f32],
        operands: &mut Operands<'_>,
        mut emit: impl FnMut(usize, &[f32]),
    ) {
        let &Self { place, decays, sizes: HeadSizes { dim, .. }, .. } = self;
        let (pair, m, stride) = (2 * S::f32s::LEN, self.tokens.len(), row_stride(self.sizes));
        let end = place + m;
        self.keep(simd, state, operands.rows);
        let Operands { rows: out, qt, scores } = operands;
        // O has no values yet and lends its place to Q.
        self.transposed(simd, 0, out, RowsMut { data: qt, stride: BLOCK });
        let (keys_and_s, values) = self.sizes.split(state);
        let kt = Rows { data: keys_and_s, stride: self.sizes.stride };
        let (s, v) = (kt.from(BLOCK), Rows { data: values, stride: self.sizes.width });
        let qt = Rows { data: qt, stride: BLOCK };
        for col in (0..m).step_by(pair) {
            tiles!(S, end.min(place + col + pair), |row| score_tile(
                simd,
                kt.from(row),
                qt.from(col),
                dim,
                |key| decays.from(place + col, row + key),
                RowsMut { data: &mut scores[row * BLOCK + col..], stride: BLOCK },
            ));
        }
        // Tiles of O read a few scores of later tokens: they are 0, whatever those tokens hold.
        for (key, scores) in scores.chunks_exact_mut(BLOCK).enumerate().take(end) {
            let unseen = key.saturating_sub(place);
            scores[(unseen + 1).saturating_sub(max_rows::<S>())..unseen].fill(0.0);
        }
        let scores = Rows { data: scores, stride: BLOCK };
        let num_tiles = dim.div_ceil(pair) * m.div_ceil(max_rows::<S>());
        let per_tile = next.len().div_ceil(num_tiles);
        for col in (0..dim).step_by(pair) {
            tiles!(S, m, |row| out_tile(
                simd,
                (next_head, next.by_ref().take(per_tile)),
                qt.from(row),
                s.from(col),
                dim,
                decays.from(place + row + 1, 0),
                scores.from(row),
                v.from(col),
                end.min(place + row + max_rows::<S>()),
                RowsMut { data: &mut out[row * stride + col..], stride },
            ));
        }
        if end == BLOCK {
            advance(simd, self.sizes, decays, state);
        }
        for (token, out) in self.tokens.clone().zip(out.chunks_exact(stride)) {
            emit(token, &out[..dim]);
        }
    }

    /// Writes keys and values of the tokens to their places in the state.
    #[inline(always)]
    fn keep<S: Simd>(&self, simd: S, state: &mut [f32], rows: &mut [f32]) {
        let HeadSizes { width, stride, .. } = self.sizes;
        let (keys_and_s, values) = self.sizes.split(state);
        let places = values.chunks_exact_mut(width).enumerate().skip(self.place);
        for (token, (place, row)) in self.tokens.clone().zip(places) {
            let [_, k, v] = self.head.token(token);
            row[..v.len()].copy_from_slice(v);
            if self.tokens.len() < BLOCK {
                for (row, &k) in keys_and_s.chunks_exact_mut(stride).zip(k) {
                    row[place] = k;
                }
            }
        }
        if self.tokens.len() == BLOCK {
            self.transposed(simd, 1, rows, RowsMut { data: keys_and_s, stride });
        }
    }

    /// q or k (0, 1) of the tokens as columns of `out: [head_dim, ..]`, by way of `rows`. Columns up
    /// to a whole tile's are filled, with 0.
    #[inline(always)]
    fn transposed<S: Simd>(&self, simd: S, part: usize, rows: &mut [f32], out: RowsMut<'_>) {
        let (dim, stride) = (self.sizes.dim, row_stride(self.sizes));
        let whole = self.tokens.len().next_multiple_of(2 * S::f32s::LEN);
        let mut each = rows.chunks_exact_mut(stride).take(whole);
        for (token, row) in self.tokens.clone().zip(&mut each) {
            row[..dim].copy_from_slice(self.head.token(token)[part]);
            row[dim..].fill(0.0);
        }
        each.for_each(|row| row.fill(0.0));
        transpose(simd, Rows { data: rows, stride }, [whole, dim], out);
    }
}

/// The state after a block whose keys and values are all there.
#[inline(always)]
pub(super) fn advance<S: Simd>(simd: S, sizes: HeadSizes, decays: &Decays, state: &mut [f32]) {
    let lanes = S::f32s::LEN;
    let mut until_end = [0.0; BLOCK];
    for (j, decay) in until_end.iter_mut().enumerate() {
        *decay = decays.at(BLOCK - 1 - j);
    }
    let HeadSizes { dim, width, stride, rows } = sizes;
    let (keys_and_s, values) = sizes.split(state);
    // Tiles of the same rows one after the other: what they need of K is decayed once.
    let mut row = 0;
    while row < rows {
        let size = tile_rows::<S>(rows - row);
        let of_tile = &mut keys_and_s[row * stride..][..size * stride];
        let mut k = [[0.0; BLOCK]; 12];
        for (k, kt) in k.iter_mut().zip(of_tile.chunks_exact(stride)) {
            for (i, k) in k.chunks_exact_mut(lanes).enumerate() {
                let [kt, decay] = [kt, &until_end].map(|x| &x[i * lanes..][..lanes]);
                (S::f32s::from_slice(simd, kt) * S::f32s::from_slice(simd, decay)).store_slice(k);
            }
        }
        for col in (0..dim).step_by(2 * lanes) {
            let v = Rows { data: &values[col..], stride: width };
            let s = RowsMut { data: &mut of_tile[BLOCK + col..], stride };
            let decay = decays.at(BLOCK);
            match size {
                12 => state_tile::<S, 12>(simd, &k, v, decay, s),
                8 => state_tile::<S, 8>(simd, &k, v, decay, s),
                6 => state_tile::<S, 6>(simd, &k, v, decay, s),
                4 => state_tile::<S, 4>(simd, &k, v, decay, s),
                _ => state_tile::<S, 2>(simd, &k, v, decay, s),
            }
        }
        row += size;
    }
}

impl<'a> Rows<'a> {
    /// The columns from `col` on.
    fn from(self, col: usize) -> Self {
        Self { data: &self.data[col..], ..self }
    }
}

/// Scores of a pair of vectors of tokens with `ROWS` keys, decayed: `decays` of each key begin with
/// that of the first token.
#[inline(always)]
fn score_tile<'a, S: Simd, const ROWS: usize>(
    simd: S,
    kt: Rows<'_>,
    qt: Rows<'_>,
    dim: usize,
    decays: impl Fn(usize) -> &'a [f32],
    scores: RowsMut<'_>,
) {
    let lanes = S::f32s::LEN;
    let mut sums = product::<S, ROWS>(simd, zeros(simd), kt, qt, dim);
    for (key, [left, right]) in sums.iter_mut().enumerate() {
        let decays = &decays(key)[..2 * lanes];
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
    (next_head, next): (HeadRows<'_>, std::iter::Take<&mut Range<usize>>),
    qt: Rows<'_>,
    state: Rows<'_>,
    dim: usize,
    decays: &[f32],
    scores: Rows<'_>,
    v: Rows<'_>,
    tokens: usize,
    out: RowsMut<'_>,
) {
    // A few tokens with each tile, for they come slowly.
    next.for_each(|token| next_head.prefetch(token));
    let mut sums = product::<S, ROWS>(simd, zeros(simd), qt, state, dim);
    for (sums, &decay) in sums.iter_mut().zip(decays) {
        for sum in sums {
            *sum *= S::f32s::splat(simd, decay);
        }
    }
    let mut sums = product(simd, sums, scores, v, tokens);
    // Zeros of later tokens may have made -0 to 0: now it is 0 for all.
    sums.as_flattened_mut().iter_mut().for_each(|sum| *sum += S::f32s::splat(simd, 0.0));
    store::<S, ROWS>(sums, out);
}

/// `ROWS` rows of the state, a pair of vectors of features; `k` is decayed.
#[inline(always)]
fn state_tile<S: Simd, const ROWS: usize>(
    simd: S,
    k: &[[f32; BLOCK]; 12],
    v: Rows<'_>,
    decay: f32,
    state: RowsMut<'_>,
) {
    let lanes = S::f32s::LEN;
    let [decay, nothing] = [decay, NOTHING].map(|x| S::f32s::splat(simd, x));
    let mut sums = zeros::<S, ROWS>(simd);
    for (i, [left, right]) in sums.iter_mut().enumerate() {
        let state = &state.data[i * state.stride..][..2 * lanes];
        *left = S::f32s::from_slice(simd, &state[..lanes]).mul_add(decay, nothing);
        *right = S::f32s::from_slice(simd, &state[lanes..]).mul_add(decay, nothing);
    }
    for j in 0..BLOCK {
        let v = &v.data[j * v.stride..][..2 * lanes];
        let [left, right] = [&v[..lanes], &v[lanes..]].map(|v| S::f32s::from_slice(simd, v));
        for (sums, k) in sums.iter_mut().zip(k) {
            let k = S::f32s::splat(simd, k[j]);
            sums[0] = k.mul_add(left, sums[0]);
            sums[1] = k.mul_add(right, sums[1]);
        }
    }
    store::<S, ROWS>(sums, state);
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
fn transpose<S: Simd>(simd: S, x: Rows<'_>, [rows, cols]: [usize; 2], out: RowsMut<'_>) {
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
            // Columns beyond the last are no row of `out`.
            for (i, v) in block[..lanes.min(cols - col)].iter().enumerate() {
                v.store_slice(&mut out.data[(col + i) * out.stride + row..][..lanes]);
            }
        }
    }
}
