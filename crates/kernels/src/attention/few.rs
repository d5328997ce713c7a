//! Few query rows over many keys: bound by reading K and V, so each is read once and in the order
//! it lies in memory, all heads of a key together.
//!
//! A tile of keys gives scores for all rows and heads, then weights, then the tile of values goes by
//! in the same way. Queries, running sums and weighted values stay in the first-level cache, and so
//! do the few keys or values of a head that are widened at a time if they are not kept as f32.

use super::kv::{Piece, Side};
use super::rows::simd_weights;
use super::{Attention, Call, KvType, PAGE_TOKENS, TILE_KEYS};
use crate::Exec;
use crate::lanes;
use fearless_simd::{dispatch, prelude::*};
use std::ops::Range;

/// Keys and values of a task take about so many bytes: far more than is asked for beyond its end.
const RUN_BYTES: usize = 2 << 20;
/// About so many tasks at most: all partial results are small beside what was read.
const MAX_RUNS: usize = 128;
/// Bytes between what is computed with and what is asked for (`docs/perf/LOG.md`, 2026-11-26).
const AHEAD: usize = 16 << 10;
/// Elements of f32 in a line of memory.
const LINE: usize = 16;
/// Keys or values of a head that are widened at once: 8 KiB where a head is 128 wide.
const WIDENED: usize = 16;
/// Values that share a load and a store of the weighted sum.
const VALUES: usize = 4;

/// The rows of one call, with all keys and values.
pub(super) struct FewRows<'a> {
    pub(super) call: Call<'a>,
}

/// Memory of one task. A query row is one row of one head; those that share a key head are
/// together: `[kv_heads, rows, group]`. Vectors of a head start at [`offset`] and are whole.
struct Work {
    /// `[query rows, vectors, lanes]`, times the scales, zero where vectors overlap.
    q: Vec<f32>,
    /// `[query rows, vectors, lanes]`, not yet divided by the sum.
    o: Vec<f32>,
    /// `[query rows, TILE_KEYS]`.
    scores: Vec<f32>,
    /// `[WIDENED, head_dim]`, if keys and values are not f32.
    widened: Vec<f32>,
    /// Maximum and sum of each query row.
    stats: Vec<(f32, f32)>,
}

/// Keys per task for a total of `keys`.
pub(super) fn run_keys(shape: &Attention, kind: KvType, keys: usize) -> usize {
    let bytes_per_key = 2 * shape.kv_heads * kind.head_bytes(shape.head_dim);
    (RUN_BYTES / bytes_per_key.max(1))
        .max(keys / MAX_RUNS)
        .next_multiple_of(PAGE_TOKENS)
        .max(PAGE_TOKENS)
}

impl FewRows<'_> {
    /// Writes `[rows, heads, 2 + head_dim]`, maximum, sum and weighted values (not yet divided by
    /// the sum) over `keys`.
    pub(super) fn attend(&self, exec: &Exec, keys: Range<usize>, results: &mut [f32]) {
        dispatch!(exec.cpu.level, simd => self.simd_attend(simd, exec, keys, results));
    }

    #[inline(always)]
    fn simd_attend<S: Simd>(&self, simd: S, exec: &Exec, keys: Range<usize>, results: &mut [f32]) {
        let lanes = S::f32s::LEN;
        let Attention { heads, head_dim: dim, .. } = *self.call.shape;
        let query_rows = self.call.positions.len() * heads;
        let padded = dim.next_multiple_of(lanes);
        let take = |len: usize| exec.buffers.take(query_rows * len);
        let mut work = Work {
            q: take(padded),
            o: take(padded),
            scores: take(TILE_KEYS),
            widened: match self.call.kv.kind() {
                KvType::F32 => Vec::new(),
                _ => exec.buffers.take(WIDENED * dim),
            },
            stats: vec![(f32::NEG_INFINITY, 0.0); query_rows],
        };
        self.scaled_queries(lanes, &mut work.q);
        work.o.fill(0.0);
        let last = self.call.positions.iter().max().copied().unwrap_or(0);
        let keys = keys.start..keys.end.min(last + 1);
        for start in keys.clone().step_by(TILE_KEYS) {
            let tile = start..keys.end.min(start + TILE_KEYS);
            self.simd_scores(simd, tile.clone(), &mut work);
            self.simd_softmax(simd, tile.clone(), &mut work);
            self.simd_values(simd, tile, &mut work);
        }
        for (i, (max, sum)) in work.stats.iter().enumerate() {
            let (row, head) = self.row_and_head(i);
            let result = &mut results[(row * heads + head) * (dim + 2)..][..dim + 2];
            (result[0], result[1]) = (*max, *sum);
            let o = &work.o[i * padded..][..padded];
            for (c, o) in o.chunks_exact(lanes).enumerate() {
                lanes::store::<S>(
                    S::f32s::from_slice(simd, o),
                    &mut result[2 + offset(c, lanes, dim)..],
                );
            }
        }
        for buffer in [work.q, work.o, work.scores, work.widened] {
            exec.buffers.give(buffer);
        }
    }

    /// Keys or values `keys` of a head as f32: where they are, or in `widened`.
    #[inline(always)]
    fn run<'b>(
        &self,
        x: Side<'b>,
        keys: Range<usize>,
        head: usize,
        widened: &'b mut [f32],
    ) -> Run<'b> {
        let Attention { kv_heads, head_dim: dim, .. } = *self.call.shape;
        let (x, first) = x.piece(keys.start);
        let keys = keys.start - first..keys.end - first;
        if let Piece::F32(x) = x {
            let x = &x[(keys.start * kv_heads + head) * dim..];
            return Run { x, stride: kv_heads * dim, dim, ahead: AHEAD / size_of::<f32>() };
        }
        for (key, out) in keys.zip(widened.chunks_exact_mut(dim)) {
            x.prefetch_head(key * kv_heads + head, dim, AHEAD);
            x.widen_head(key * kv_heads + head, out);
        }
        Run { x: widened, stride: dim, dim, ahead: 0 }
    }

    /// Query rows of one key head.
    fn rows_per_key_head(&self) -> usize {
        self.call.positions.len() * self.call.shape.group()
    }

    /// Row of the call and head of query row `i`.
    fn row_and_head(&self, i: usize) -> (usize, usize) {
        let (group, n) = (self.call.shape.group(), self.rows_per_key_head());
        (i % n / group, i / n * group + i % group)
    }

    fn scaled_queries(&self, lanes: usize, out: &mut [f32]) {
        let Attention { heads, head_dim: dim, .. } = *self.call.shape;
        for (i, out) in out.chunks_exact_mut(dim.next_multiple_of(lanes)).enumerate() {
            let (row, head) = self.row_and_head(i);
            let q = &self.call.q[(row * heads + head) * dim..][..dim];
            for (c, out) in out.chunks_exact_mut(lanes).enumerate() {
                let at = offset(c, lanes, dim);
                for (lane, out) in out.iter_mut().enumerate() {
                    let own = at + lane >= c * lanes && at + lane < dim;
                    *out = if own { self.call.scales[row] * q[at + lane] } else { 0.0 };
                }
            }
        }
    }

    /// `scores = q . k` of the tile.
    #[inline(always)]
    fn simd_scores<S: Simd>(&self, simd: S, tile: Range<usize>, work: &mut Work) {
        let (lanes, n) = (S::f32s::LEN, self.rows_per_key_head());
        let padded = self.call.shape.head_dim.next_multiple_of(lanes);
        for first in (0..tile.len()).step_by(lanes) {
            for head in 0..self.call.shape.kv_heads {
                let num_keys = lanes.min(tile.len() - first);
                let from = tile.start + first;
                let mut keys =
                    self.run(self.call.kv.k(), from..from + num_keys, head, &mut work.widened);
                let (mut row, end) = (head * n, (head + 1) * n);
                while row < end {
                    let q = &work.q[row * padded..];
                    // Scores of keys beyond the tile are those of its last one, and not used.
                    if row + 1 < end {
                        let scores = simd_dots::<S, 2>(simd, &q[..2 * padded], keys, num_keys);
                        for (r, scores) in scores.iter().enumerate() {
                            let at = (row + r) * TILE_KEYS + first;
                            scores.store_slice(&mut work.scores[at..][..lanes]);
                        }
                        row += 2;
                    } else {
                        let [scores] = simd_dots::<S, 1>(simd, &q[..padded], keys, num_keys);
                        scores.store_slice(&mut work.scores[row * TILE_KEYS + first..][..lanes]);
                        row += 1;
                    }
                    keys.ahead = 0;
                }
            }
        }
    }

    /// Scores to weights, 0 for keys that the row does not see.
    #[inline(always)]
    fn simd_softmax<S: Simd>(&self, simd: S, tile: Range<usize>, work: &mut Work) {
        let padded = self.call.shape.head_dim.next_multiple_of(S::f32s::LEN);
        let rows = work.scores.chunks_exact_mut(TILE_KEYS).zip(&mut work.stats);
        for (i, ((scores, stats), o)) in rows.zip(work.o.chunks_exact_mut(padded)).enumerate() {
            let position = self.call.positions[self.row_and_head(i).0];
            let visible = (position + 1).saturating_sub(tile.start).min(tile.len());
            scores[visible..].fill(0.0);
            simd_weights(simd, &mut scores[..visible], stats, o);
        }
    }

    /// `o += weights . v` of the tile.
    #[inline(always)]
    fn simd_values<S: Simd>(&self, simd: S, tile: Range<usize>, work: &mut Work) {
        let n = self.rows_per_key_head();
        let padded = self.call.shape.head_dim.next_multiple_of(S::f32s::LEN);
        // f32 is read as it lies; what is widened is used for as long as it is there.
        let at_once = if self.call.kv.kind() == KvType::F32 { VALUES } else { WIDENED };
        for first in (0..tile.len()).step_by(at_once) {
            let count = at_once.min(tile.len() - first);
            for head in 0..self.call.shape.kv_heads {
                let from = tile.start + first;
                let mut values =
                    self.run(self.call.kv.v(), from..from + count, head, &mut work.widened);
                for row in head * n..(head + 1) * n {
                    let weights = &work.scores[row * TILE_KEYS + first..][..count];
                    let o = &mut work.o[row * padded..][..padded];
                    let (fours, ones) = weights.as_chunks::<VALUES>();
                    for (i, weights) in fours.iter().enumerate() {
                        simd_add::<S, VALUES>(simd, weights, values.from(i * VALUES), o);
                    }
                    for (i, weight) in ones.iter().enumerate() {
                        let values = values.from(fours.len() * VALUES + i);
                        simd_add::<S, 1>(simd, &[*weight], values, o);
                    }
                    values.ahead = 0;
                }
            }
        }
    }
}

/// Keys or values of one head, `dim` elements each, `stride` apart.
#[derive(Clone, Copy)]
struct Run<'a> {
    x: &'a [f32],
    stride: usize,
    dim: usize,
    /// How far ahead memory is asked for; 0 where it has been.
    ahead: usize,
}

impl<'a> Run<'a> {
    /// Those from number `first` on.
    #[inline(always)]
    fn from(self, first: usize) -> Self {
        Self { x: &self.x[first * self.stride..], ..self }
    }

    #[inline(always)]
    fn rows<const N: usize>(self) -> [&'a [f32]; N] {
        // Closures are compiled without the instructions of the level, so loops do it here.
        let mut rows: [&[f32]; N] = [&[]; N];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = &self.x[j * self.stride..][..self.dim];
        }
        rows
    }
}

/// Where vector `c` of a head starts: the last one overlaps the one before instead of ending
/// beyond the head.
#[inline(always)]
fn offset(c: usize, lanes: usize, dim: usize) -> usize {
    (c * lanes).min(dim.saturating_sub(lanes))
}

/// `q_r . k_j` in lane `j` of vector `r`, for `R` query rows and `num_keys` keys; later lanes repeat
/// the last.
#[inline(always)]
fn simd_dots<S: Simd, const R: usize>(
    simd: S,
    q: &[f32],
    keys: Run<'_>,
    num_keys: usize,
) -> [S::f32s; R] {
    let lanes = S::f32s::LEN;
    let mut dots = simd_four::<S, R>(simd, q, keys, 0, num_keys);
    if lanes > 4 {
        let next = simd_four::<S, R>(simd, q, keys, 4, num_keys);
        dots = add_pairs::<S, R>(dots, next);
    }
    if lanes > 8 {
        let third = simd_four::<S, R>(simd, q, keys, 8, num_keys);
        let fourth = simd_four::<S, R>(simd, q, keys, 12, num_keys);
        dots = add_pairs::<S, R>(dots, add_pairs::<S, R>(third, fourth));
    }
    dots
}

/// Products of `R` query rows with four keys from `first` on; a quarter of the lanes for each key.
#[inline(always)]
fn simd_four<S: Simd, const R: usize>(
    simd: S,
    q: &[f32],
    keys: Run<'_>,
    first: usize,
    num_keys: usize,
) -> [S::f32s; R] {
    let lanes = S::f32s::LEN;
    let Run { dim, ahead, .. } = keys;
    let padded = q.len() / R;
    let mut key_rows: [&[f32]; 4] = [&[]; 4];
    for (j, row) in key_rows.iter_mut().enumerate() {
        *row = &keys.x[(first + j).min(num_keys - 1) * keys.stride..][..dim];
    }
    let mut sums = [[S::f32s::splat(simd, 0.0); 4]; R];
    let whole = dim / lanes * lanes;
    for c in (0..whole).step_by(lanes) {
        for (j, key) in key_rows.iter().enumerate() {
            let key = &key[c..][..lanes];
            if c % LINE == 0 {
                lanes::prefetch(key.as_ptr().wrapping_add(ahead));
            }
            let key = S::f32s::from_slice(simd, key);
            for (r, sums) in sums.iter_mut().enumerate() {
                let q = S::f32s::from_slice(simd, &q[r * padded + c..][..lanes]);
                sums[j] = q.mul_add(key, sums[j]);
            }
        }
    }
    if whole < dim {
        for (j, key) in key_rows.iter().enumerate() {
            let key = lanes::load(simd, &key[dim.saturating_sub(lanes)..]);
            for (r, sums) in sums.iter_mut().enumerate() {
                let q = S::f32s::from_slice(simd, &q[r * padded + whole..][..lanes]);
                sums[j] = q.mul_add(key, sums[j]);
            }
        }
    }
    let mut dots = [sums[0][0]; R];
    for (dots, [a, b, c, d]) in dots.iter_mut().zip(sums) {
        *dots = add_pair::<S>(add_pair::<S>(a, b), add_pair::<S>(c, d));
    }
    dots
}

/// The sums of neighbours, those within `a` first.
#[inline(always)]
fn add_pair<S: Simd>(a: S::f32s, b: S::f32s) -> S::f32s {
    a.unzip_low(b) + a.unzip_high(b)
}

#[inline(always)]
fn add_pairs<S: Simd, const R: usize>(mut a: [S::f32s; R], b: [S::f32s; R]) -> [S::f32s; R] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = add_pair::<S>(*a, b);
    }
    a
}

/// `o += sum_j weights[j] v_j` for `N` values; `o` in the layout of [`Work`].
#[inline(always)]
fn simd_add<S: Simd, const N: usize>(simd: S, weights: &[f32], values: Run<'_>, o: &mut [f32]) {
    let lanes = S::f32s::LEN;
    let Run { dim, ahead, .. } = values;
    let values = values.rows::<N>();
    let mut factors = [S::f32s::splat(simd, 0.0); N];
    for (factor, &weight) in factors.iter_mut().zip(weights) {
        *factor = S::f32s::splat(simd, weight);
    }
    let whole = dim / lanes * lanes;
    let (whole_o, rest) = o.split_at_mut(whole);
    for (c, o) in whole_o.chunks_exact_mut(lanes).enumerate() {
        let mut sum = S::f32s::from_slice(simd, o);
        for (value, factor) in values.iter().zip(factors) {
            let value = &value[c * lanes..][..lanes];
            if c * lanes % LINE == 0 {
                lanes::prefetch(value.as_ptr().wrapping_add(ahead));
            }
            sum = S::f32s::from_slice(simd, value).mul_add(factor, sum);
        }
        sum.store_slice(o);
    }
    if whole < dim {
        let mut sum = S::f32s::from_slice(simd, rest);
        for (value, factor) in values.iter().zip(factors) {
            sum = lanes::load(simd, &value[dim.saturating_sub(lanes)..]).mul_add(factor, sum);
        }
        sum.store_slice(rest);
    }
}
