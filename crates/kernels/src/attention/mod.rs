//! Causal softmax attention with grouped queries.
//!
//! ```text
//! o_r = sum_{j <= position_r} softmax_j(scale_r q_r . k_j) v_j
//! ```
//!
//! Online softmax (arXiv:1805.02867, arXiv:2205.14135): keys go by in tiles of `TILE_KEYS`, each
//! row keeps its maximum, its sum and its weighted values, and no row of scores is ever whole.
//! Keys are cut into runs whose partial results are merged in order, so that one row of a long
//! context still has work for several threads; the cuts depend on the shapes alone, so the bits of
//! the result do not depend on the number of threads.
//!
//! Compute-bound for many rows (`4 head_dim` flops per row, key and head), for one row bound by the
//! memory that K and V are read from.

#![expect(unsafe_code, reason = "heads write interleaved columns of one output")]

mod backward;
mod few;
mod reference;
mod rows;
#[cfg(test)]
mod tests;

pub use backward::{AttentionSpan, Forward, attention_backward};
pub use reference::reference;

use crate::cpu::{narrow, wide};
use crate::threads::SharedMut;
use crate::{Arithmetic, Exec};
use few::FewRows;
use rows::Tile;

/// Keys per tile: 128 keys of 128 features take a quarter of a 256 KiB L2.
const TILE_KEYS: usize = 128;
/// Rows per tile; query heads that share a key head count as rows.
const TILE_ROWS: usize = 48;
/// Keys per task, at least, of a tile of rows.
const SPLIT_KEYS: usize = 16 * 1024;
/// Keys are cut into runs until there are so many tasks.
const ENOUGH_TASKS: usize = 64;
/// Up to so many query rows per key head all heads of a key are read together; with more, a matrix
/// product for each head is faster.
const FEW_ROWS: usize = 8;

/// Sizes that all calls for a layer share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; divides `heads`. Query head `h` uses `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl Attention {
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    #[track_caller]
    pub(crate) fn check(&self) {
        assert!(
            self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads),
            "{} query heads for {} key heads",
            self.heads,
            self.kv_heads
        );
    }
}

/// Attends with `q: [rows, heads, head_dim]` over one sequence, `k` and `v`
/// `[keys, kv_heads, head_dim]`, and writes `out: [rows, heads, head_dim]`.
///
/// Row `r` sees keys `0..=positions[r]`; rows may be any subset of the positions, in any order.
/// `scales[r]` multiplies its scores. `lse: [rows, heads]`, if given, gets the logarithm of the sum
/// of exponentials, which the backward pass needs.
///
/// # Panics
///
/// If lengths disagree or a position is not below the number of keys.
#[expect(clippy::too_many_arguments, reason = "each is one array of the operation")]
#[track_caller]
pub fn attention(
    exec: &Exec,
    shape: &Attention,
    q: &[f32],
    positions: &[usize],
    scales: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    lse: Option<&mut [f32]>,
) {
    shape.check();
    let Attention { heads, kv_heads, head_dim } = *shape;
    let num_rows = positions.len();
    assert_eq!(scales.len(), num_rows, "one scale per row");
    assert_eq!(q.len(), num_rows * heads * head_dim, "q must be [rows, heads, head_dim]");
    assert_eq!(out.len(), q.len(), "out must be [rows, heads, head_dim]");
    assert_eq!(k.len(), v.len(), "k and v");
    let keys = positions.iter().map(|&p| p + 1).max().unwrap_or(0);
    assert!(keys * kv_heads * head_dim <= k.len(), "a position beyond the keys");
    if let Some(lse) = &lse {
        assert_eq!(lse.len(), num_rows * heads, "lse must be [rows, heads]");
    }
    if num_rows == 0 {
        return;
    }
    if exec.cpu.arithmetic == Arithmetic::F64 && lse.is_none() {
        return in_f64(exec, shape, q, positions, scales, [k, v], out);
    }
    // The partial result of a run of keys is one row of `[maximum, sum, o]` per row and query head.
    let group = shape.group();
    let width = head_dim + 2;
    if num_rows * group <= FEW_ROWS {
        let run = few::run_keys(shape, keys);
        let splits = keys.div_ceil(run);
        let mut partial = exec.buffers.take(splits * num_rows * heads * width);
        let rows = FewRows { shape, q, positions, scales, k, v };
        exec.threads.for_each_chunk(&mut partial, num_rows * heads * width, |split, results| {
            rows.attend(exec, split * run..keys.min((split + 1) * run), results);
        });
        merge(&partial, splits, width, out, lse);
        return exec.buffers.give(partial);
    }
    // A task is one tile of rows, one key head, one run of keys. Tiles are work enough if there are
    // many of them; then runs would only make more partial results.
    let rows_per_tile = (TILE_ROWS / group).max(1);
    let tiles = num_rows.div_ceil(rows_per_tile);
    let splits = keys.div_ceil(SPLIT_KEYS).min(ENOUGH_TASKS.div_ceil(tiles * kv_heads));
    let run = keys.div_ceil(splits).next_multiple_of(TILE_KEYS);
    let splits = keys.div_ceil(run);
    let mut partial = exec.buffers.take(splits * num_rows * heads * width);
    {
        let shared = SharedMut(partial.as_mut_ptr());
        exec.threads.run(tiles * kv_heads * splits, |task| {
            let (tile, kv_head, split) =
                (task / kv_heads / splits, task / splits % kv_heads, task % splits);
            let first = tile * rows_per_tile;
            let rows = first..num_rows.min(first + rows_per_tile);
            let keys = split * run..keys.min((split + 1) * run);
            let tile = Tile { shape, q, positions, scales, k, v, kv_head, rows: rows.clone() };
            let results = tile.attend(exec, keys);
            for (i, result) in results.chunks_exact(width).enumerate() {
                let (row, head) = (rows.start + i / group, kv_head * group + i % group);
                let at = ((split * num_rows + row) * heads + head) * width;
                // SAFETY: `partial` has a row for each (split, row, head), and each of them belongs
                // to one task.
                unsafe { std::slice::from_raw_parts_mut(shared.at(at), width) }
                    .copy_from_slice(result);
            }
            exec.buffers.give(results);
        });
    }
    merge(&partial, splits, width, out, lse);
    exec.buffers.give(partial);
}

/// The reference, over a few rows at a time.
fn in_f64(
    exec: &Exec,
    shape: &Attention,
    q: &[f32],
    positions: &[usize],
    scales: &[f32],
    kv: [&[f32]; 2],
    out: &mut [f32],
) {
    let [k, v] = kv.map(wide);
    let width = shape.heads * shape.head_dim;
    let rows = exec.threads.rows_per_task(positions.len(), 1);
    exec.threads.for_each_chunk(out, rows * width, |task, out| {
        let mut result = vec![0.0; out.len()];
        let part = task * rows..task * rows + out.len() / width;
        let q = wide(&q[part.start * width..part.end * width]);
        reference(shape, &q, &positions[part.clone()], &scales[part], &k, &v, &mut result);
        narrow(&result, out);
    });
}

/// Combines the partial results `[splits, rows * heads, 2 + head_dim]` of all runs of keys.
fn merge(
    partial: &[f32],
    splits: usize,
    width: usize,
    out: &mut [f32],
    mut lse: Option<&mut [f32]>,
) {
    let head_dim = width - 2;
    let stride = partial.len() / splits;
    for (i, out) in out.chunks_exact_mut(head_dim).enumerate() {
        let parts = || (0..splits).map(|split| &partial[split * stride + i * width..][..width]);
        let max = parts().map(|part| part[0]).fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        out.fill(0.0);
        // A run that the row sees nothing of has maximum -inf and weight 0.
        for part in parts() {
            let weight = (part[0] - max).exp();
            sum += weight * part[1];
            out.iter_mut().zip(&part[2..]).for_each(|(out, o)| *out += weight * o);
        }
        out.iter_mut().for_each(|out| *out /= sum);
        if let Some(lse) = lse.as_deref_mut() {
            lse[i] = max + sum.ln();
        }
    }
}
