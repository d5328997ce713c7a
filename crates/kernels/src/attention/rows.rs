//! One tile: the rows of the query heads that share a key head, over one run of keys.

use super::kv::{Piece, Side};
use super::{Attention, Call, KvType, TILE_KEYS};
use crate::Exec;
use crate::exp::simd_exp_sum;
use crate::matmul::{Mat, MatMut, Scratch, serial};
use fearless_simd::{dispatch, prelude::*};
use std::ops::Range;

/// From this many rows on, a matrix product is faster than one dot product per key, although it
/// has to transpose the keys first.
const MIN_PRODUCT_ROWS: usize = 6;

pub(super) struct Tile<'a> {
    pub(super) call: Call<'a>,
    pub(super) kv_head: usize,
    pub(super) rows: Range<usize>,
}

/// Keys or values of a tile and head, `[keys, head_dim]`, `stride` apart.
#[derive(Clone, Copy)]
struct Rows<'a> {
    x: &'a [f32],
    stride: usize,
}

impl Tile<'_> {
    /// `[rows, group, 2 + head_dim]`: maximum, sum, weighted values (not yet divided by the sum).
    pub(super) fn attend(&self, exec: &Exec, keys: Range<usize>) -> Vec<f32> {
        let dim = self.call.shape.head_dim;
        let group = self.call.shape.group();
        let num_rows = self.rows.len() * group;
        let mut q = exec.buffers.take(num_rows * dim);
        self.scaled_queries(&mut q);
        let mut scores = exec.buffers.take(num_rows * TILE_KEYS);
        let mut o = exec.buffers.take(num_rows * dim);
        o.fill(0.0);
        let mut widened = match self.call.kv.kind() {
            KvType::F32 => Vec::new(),
            _ => exec.buffers.take(TILE_KEYS * dim),
        };
        let mut stats = vec![(f32::NEG_INFINITY, 0.0f32); num_rows];
        let mut scratch = Scratch::default();
        let positions = &self.call.positions[self.rows.clone()];
        let last = positions.iter().max().copied().unwrap_or(0);
        for start in keys.clone().step_by(TILE_KEYS) {
            let end = keys.end.min(start + TILE_KEYS).min(last + 1);
            if start >= end {
                break;
            }
            let tile = start..end;
            // Rows usually are in the order of their positions: the first ones may be done.
            let done = group * positions.iter().take_while(|&&position| position < start).count();
            let (stats, o) = (&mut stats[done..], &mut o[done * dim..]);
            let scores = &mut scores[..(num_rows - done) * tile.len()];
            let k = self.rows_of(exec, self.call.kv.k(), tile.clone(), &mut widened);
            self.scores(exec, &q[done * dim..], k, scores, &mut scratch);
            self.softmax(exec, done, tile.clone(), scores, stats, o);
            let v = self.rows_of(exec, self.call.kv.v(), tile.clone(), &mut widened);
            self.add_values(exec, scores, tile.len(), v, o, &mut scratch);
        }
        let mut results = exec.buffers.take(num_rows * (dim + 2));
        for ((result, (max, sum)), o) in
            results.chunks_exact_mut(dim + 2).zip(stats).zip(o.chunks_exact(dim))
        {
            (result[0], result[1]) = (max, sum);
            result[2..].copy_from_slice(o);
        }
        for buffer in [q, scores, o, widened] {
            exec.buffers.give(buffer);
        }
        results
    }

    /// The tile's queries times their scales, `[rows * group, head_dim]`.
    pub(super) fn scaled_queries(&self, out: &mut [f32]) {
        let Attention { heads, head_dim, .. } = *self.call.shape;
        let group = self.call.shape.group();
        for (row, out) in self.rows.clone().zip(out.chunks_exact_mut(group * head_dim)) {
            let q = &self.call.q[(row * heads + self.kv_head * group) * head_dim..];
            let scale = self.call.scales[row];
            out.iter_mut().zip(q).for_each(|(out, q)| *out = scale * q);
        }
    }

    /// Keys or values of the tile's head as a matrix `[keys, head_dim]`.
    pub(super) fn of_head<'b>(&self, x: &'b [f32], keys: Range<usize>) -> Mat<'b> {
        let Attention { kv_heads, head_dim, .. } = *self.call.shape;
        let stride = kv_heads * head_dim;
        let data = &x[keys.start * stride + self.kv_head * head_dim..];
        Mat::new(data, keys.len(), head_dim, stride, 1)
    }

    /// Keys or values of the tile's head as f32: where they are, or in `widened`.
    fn rows_of<'b>(
        &self,
        exec: &Exec,
        x: Side<'b>,
        keys: Range<usize>,
        widened: &'b mut [f32],
    ) -> Rows<'b> {
        let Attention { kv_heads, head_dim: dim, .. } = *self.call.shape;
        let (x, first) = x.piece(keys.start);
        let first = (keys.start - first) * kv_heads + self.kv_head;
        if let Piece::F32(x) = x {
            return Rows { x: &x[first * dim..], stride: kv_heads * dim };
        }
        let out = &mut widened[..keys.len() * dim];
        dispatch!(exec.cpu.level, simd => simd_widen(simd, x, first, kv_heads, dim, out));
        Rows { x: out, stride: dim }
    }

    /// Position of row `i` of the tile, where heads of a group count as rows.
    fn position(&self, i: usize) -> usize {
        self.call.positions[self.rows.start + i / self.call.shape.group()]
    }

    fn scores(
        &self,
        exec: &Exec,
        q: &[f32],
        k: Rows<'_>,
        scores: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let dim = self.call.shape.head_dim;
        let rows = q.len() / dim;
        let n = scores.len() / rows;
        if rows >= MIN_PRODUCT_ROWS {
            let (q, k) = (Mat::row_major(q, rows, dim), Mat::new(k.x, n, dim, k.stride, 1));
            serial(exec.cpu, q, k.t(), MatMut::row_major(scores, rows, n), false, scratch);
            return;
        }
        for (q, scores) in q.chunks_exact(dim).zip(scores.chunks_exact_mut(n)) {
            dispatch!(exec.cpu.level, simd => simd_dots(simd, q, k.x, k.stride, scores));
        }
    }

    /// Scores of rows from `first` on to weights, the row's maximum and sum brought up to date, its
    /// values rescaled.
    fn softmax(
        &self,
        exec: &Exec,
        first: usize,
        keys: Range<usize>,
        scores: &mut [f32],
        stats: &mut [(f32, f32)],
        o: &mut [f32],
    ) {
        let (dim, n) = (self.call.shape.head_dim, keys.len());
        for (i, ((row, stats), o)) in
            scores.chunks_exact_mut(n).zip(stats).zip(o.chunks_exact_mut(dim)).enumerate()
        {
            let visible = (self.position(first + i) + 1).saturating_sub(keys.start).min(n);
            row[visible..].fill(0.0);
            let row = &mut row[..visible];
            dispatch!(exec.cpu.level, simd => simd_weights(simd, row, stats, o));
        }
    }

    fn add_values(
        &self,
        exec: &Exec,
        weights: &[f32],
        n: usize,
        v: Rows<'_>,
        o: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let dim = self.call.shape.head_dim;
        let rows = weights.len() / n;
        if rows >= MIN_PRODUCT_ROWS {
            let (p, v) = (Mat::row_major(weights, rows, n), Mat::new(v.x, n, dim, v.stride, 1));
            serial(exec.cpu, p, v, MatMut::row_major(o, rows, dim), true, scratch);
            return;
        }
        for (weights, o) in weights.chunks_exact(n).zip(o.chunks_exact_mut(dim)) {
            dispatch!(exec.cpu.level, simd => simd_weighted_sum(simd, weights, v.x, v.stride, o));
        }
    }
}

/// Every `kv_heads`th head from `first` on as f32, `out: [keys, head_dim]`.
#[inline(always)]
fn simd_widen<S: Simd>(
    _: S,
    x: Piece<'_>,
    first: usize,
    kv_heads: usize,
    dim: usize,
    out: &mut [f32],
) {
    for (key, out) in out.chunks_exact_mut(dim).enumerate() {
        x.widen_head(first + key * kv_heads, out);
    }
}

/// Scores to weights; the maximum and the sum of the row so far are brought up to date, its values
/// rescaled.
#[inline(always)]
pub(super) fn simd_weights<S: Simd>(
    simd: S,
    scores: &mut [f32],
    (max, sum): &mut (f32, f32),
    o: &mut [f32],
) {
    if scores.is_empty() {
        return;
    }
    let new = simd_max(simd, scores).max(*max);
    if new > *max {
        let factor = (*max - new).exp();
        *sum *= factor;
        o.iter_mut().for_each(|o| *o *= factor);
        *max = new;
    }
    *sum += simd_exp_sum(simd, scores, 1.0, new);
}

/// The largest element, in several chains.
#[inline(always)]
fn simd_max<S: Simd>(simd: S, x: &[f32]) -> f32 {
    const VECTORS: usize = 4;
    let lanes = S::f32s::LEN;
    let mut maxima = [S::f32s::splat(simd, f32::NEG_INFINITY); VECTORS];
    let groups = x.chunks_exact(VECTORS * lanes);
    let mut rest = groups.remainder().chunks_exact(lanes);
    for group in groups {
        for (max, x) in maxima.iter_mut().zip(group.chunks_exact(lanes)) {
            *max = max.max(S::f32s::from_slice(simd, x));
        }
    }
    for x in &mut rest {
        maxima[0] = maxima[0].max(S::f32s::from_slice(simd, x));
    }
    let max = maxima[0].max(maxima[1]).max(maxima[2].max(maxima[3]));
    let lanes = max.as_slice().iter().chain(rest.remainder());
    lanes.copied().fold(f32::NEG_INFINITY, f32::max)
}

/// `scores[j] = q . k_j`, keys `stride` apart.
#[inline(always)]
fn simd_dots<S: Simd>(simd: S, q: &[f32], k: &[f32], stride: usize, scores: &mut [f32]) {
    let lanes = S::f32s::LEN;
    let whole = q.len() / lanes * lanes;
    for (k, score) in k.chunks(stride).zip(scores) {
        let k = &k[..q.len()];
        let mut sum = S::f32s::splat(simd, 0.0);
        for (q, k) in q.chunks_exact(lanes).zip(k.chunks_exact(lanes)) {
            sum = S::f32s::from_slice(simd, q).mul_add(S::f32s::from_slice(simd, k), sum);
        }
        let tail = q[whole..].iter().zip(&k[whole..]).map(|(q, k)| q * k);
        *score = sum.reduce_sum() + tail.sum::<f32>();
    }
}

/// `o += sum_j weights[j] v_j`, values `stride` apart.
#[inline(always)]
fn simd_weighted_sum<S: Simd>(simd: S, weights: &[f32], v: &[f32], stride: usize, o: &mut [f32]) {
    let lanes = S::f32s::LEN;
    let whole = o.len() / lanes * lanes;
    for (v, &weight) in v.chunks(stride).zip(weights) {
        let v = &v[..o.len()];
        let w = S::f32s::splat(simd, weight);
        for (o, v) in o.chunks_exact_mut(lanes).zip(v.chunks_exact(lanes)) {
            let sum = S::f32s::from_slice(simd, v).mul_add(w, S::f32s::from_slice(simd, o));
            sum.store_slice(o);
        }
        for (o, v) in o[whole..].iter_mut().zip(&v[whole..]) {
            *o = weight.mul_add(*v, *o);
        }
    }
}
