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

#[cfg(target_arch = "x86_64")]
mod avx512;
mod backward;
mod few;
mod kv;
mod pages;
mod reference;
mod rows;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;

pub use backward::{AttentionSpan, Forward, attention_backward};
pub use kv::{Kv, KvType, Q8_BLOCK, Q8_ERROR};
pub use pages::{KvPages, PAGE_TOKENS, Page, PageError};
pub use reference::reference;

use crate::cpu::{narrow, wide};
use crate::threads::SharedMut;
use crate::{Arithmetic, Exec};
use few::FewRows;
use rows::Tile;
#[cfg(target_arch = "x86_64")]
use tiles::TileRows;

/// Keys per tile: 128 keys of 128 features take a quarter of a 256 KiB L2.
const TILE_KEYS: usize = 128;
/// Rows per tile; query heads that share a key head count as rows.
const TILE_ROWS: usize = 48;
/// Rows per tile when it is counted how many tasks there are.
const SPLIT_ROWS: usize = 48;
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

/// Attends with `q: [rows, heads, head_dim]` over one sequence, and writes
/// `out: [rows, heads, head_dim]`.
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
    kv: Kv<'_>,
    out: &mut [f32],
    lse: Option<&mut [f32]>,
) {
    shape.check();
    let Attention { heads, head_dim, .. } = *shape;
    let num_rows = positions.len();
    assert_eq!(scales.len(), num_rows, "one scale per row");
    assert_eq!(q.len(), num_rows * heads * head_dim, "q must be [rows, heads, head_dim]");
    assert_eq!(out.len(), q.len(), "out must be [rows, heads, head_dim]");
    let keys = positions.iter().map(|&p| p + 1).max().unwrap_or(0);
    assert!(keys <= kv.keys(shape), "a position beyond the keys");
    if let Some(lse) = &lse {
        assert_eq!(lse.len(), num_rows * heads, "lse must be [rows, heads]");
    }
    if num_rows == 0 {
        return;
    }
    if exec.cpu.arithmetic == Arithmetic::F64 && lse.is_none() {
        return in_f64(exec, shape, q, positions, scales, kv, out);
    }
    let call = Call { shape, q, positions, scales, kv, keys };
    #[cfg(target_arch = "x86_64")]
    if let Some(rows) = TileRows::new(exec.cpu, call) {
        return with_tiles(exec, call, &rows, out, lse);
    }
    if num_rows * shape.group() <= FEW_ROWS {
        few_rows(exec, call, out, lse);
    } else {
        many_rows(exec, call, out, lse);
    }
}

/// What a call was given.
#[derive(Clone, Copy)]
struct Call<'a> {
    shape: &'a Attention,
    /// `[rows, heads, head_dim]`.
    q: &'a [f32],
    positions: &'a [usize],
    scales: &'a [f32],
    kv: Kv<'a>,
    /// How many keys any row sees.
    keys: usize,
}

impl Call<'_> {
    /// Length of a partial result: `[maximum, sum, o]` for each row and query head over a run of
    /// keys.
    fn partial_len(&self) -> usize {
        self.positions.len() * self.shape.heads * (self.shape.head_dim + 2)
    }

    /// Into how many runs keys are cut, and how long these are, when there are many rows. Tiles of
    /// rows are work enough if there are many of them; then runs would only make more partial
    /// results.
    fn runs(&self) -> (usize, usize) {
        let tiles = self.positions.len().div_ceil((SPLIT_ROWS / self.shape.group()).max(1));
        let tasks = tiles * self.shape.kv_heads;
        let splits = self.keys.div_ceil(SPLIT_KEYS).min(ENOUGH_TASKS.div_ceil(tasks));
        let run = self.keys.div_ceil(splits).next_multiple_of(PAGE_TOKENS);
        (self.keys.div_ceil(run), run)
    }
}

/// A task is a run of keys.
fn few_rows(exec: &Exec, call: Call<'_>, out: &mut [f32], lse: Option<&mut [f32]>) {
    let run = few::run_keys(call.shape, call.kv.kind(), call.keys);
    let splits = call.keys.div_ceil(run);
    let mut partial = exec.buffers.take(splits * call.partial_len());
    exec.threads.for_each_chunk(&mut partial, call.partial_len(), |split, results| {
        let keys = split * run..call.keys.min((split + 1) * run);
        FewRows { call }.attend(exec, keys, results);
    });
    merge(&partial, splits, call.shape.head_dim, out, lse);
    exec.buffers.give(partial);
}

/// A task is one tile of rows, one key head, one run of keys.
fn many_rows(exec: &Exec, call: Call<'_>, out: &mut [f32], lse: Option<&mut [f32]>) {
    let Attention { heads, kv_heads, head_dim } = *call.shape;
    let (group, num_rows, width) = (call.shape.group(), call.positions.len(), head_dim + 2);
    let rows_per_tile = (TILE_ROWS / group).max(1);
    let tiles = num_rows.div_ceil(rows_per_tile);
    let (splits, run) = call.runs();
    let mut partial = exec.buffers.take(splits * call.partial_len());
    let shared = SharedMut(partial.as_mut_ptr());
    exec.threads.run(tiles * kv_heads * splits, |task| {
        let (tile, kv_head, split) =
            (task / kv_heads / splits, task / splits % kv_heads, task % splits);
        let first = tile * rows_per_tile;
        let rows = first..num_rows.min(first + rows_per_tile);
        let keys = split * run..call.keys.min((split + 1) * run);
        let tile = Tile { call, kv_head, rows: rows.clone() };
        let results = tile.attend(exec, keys);
        for (i, result) in results.chunks_exact(width).enumerate() {
            let (row, head) = (rows.start + i / group, kv_head * group + i % group);
            let at = ((split * num_rows + row) * heads + head) * width;
            // SAFETY: `partial` has a row for each (split, row, head), and each of them belongs
            // to one task.
            unsafe { std::slice::from_raw_parts_mut(shared.at(at), width) }.copy_from_slice(result);
        }
        exec.buffers.give(results);
    });
    merge(&partial, splits, head_dim, out, lse);
    exec.buffers.give(partial);
}

/// A task is a run of keys; of many rows also a part of them and one key head.
#[cfg(target_arch = "x86_64")]
fn with_tiles(
    exec: &Exec,
    call: Call<'_>,
    rows: &TileRows<'_>,
    out: &mut [f32],
    lse: Option<&mut [f32]>,
) {
    let Attention { heads, kv_heads, head_dim } = *call.shape;
    let (group, num_rows, width) = (call.shape.group(), call.positions.len(), head_dim + 2);
    let few = num_rows * group <= tiles::FEW_ROWS;
    let (splits, run) = match few {
        true => {
            let run = few::run_keys(call.shape, call.kv.kind(), call.keys);
            (call.keys.div_ceil(run), run)
        }
        false => call.runs(),
    };
    let (heads_at_once, rows_at_once) = match few {
        true => (kv_heads, num_rows),
        false => (1, rows.rows_per_task(exec.threads.num_threads(), splits)),
    };
    let (parts, parts_of_heads) =
        (num_rows.div_ceil(rows_at_once), kv_heads.div_ceil(heads_at_once));
    let mut partial = exec.buffers.take(splits * call.partial_len());
    let shared = SharedMut(partial.as_mut_ptr());
    exec.threads.run(parts * parts_of_heads * splits, |task| {
        let (part, head, split) =
            (task / parts_of_heads / splits, task / splits % parts_of_heads, task % splits);
        let first = part * rows_at_once;
        let part = first..num_rows.min(first + rows_at_once);
        let part_heads = head * heads_at_once..(head + 1) * heads_at_once;
        let keys = split * run..call.keys.min((split + 1) * run);
        rows.attend(exec, part, part_heads, keys, |row, head, max, sum, o| {
            let at = ((split * num_rows + row) * heads + head) * width;
            // SAFETY: as in `many_rows`.
            let result = unsafe { std::slice::from_raw_parts_mut(shared.at(at), width) };
            (result[0], result[1]) = (max, sum);
            result[2..].copy_from_slice(o);
        });
    });
    merge(&partial, splits, head_dim, out, lse);
    exec.buffers.give(partial);
}

/// The reference, over a few rows at a time.
fn in_f64(
    exec: &Exec,
    shape: &Attention,
    q: &[f32],
    positions: &[usize],
    scales: &[f32],
    kv: Kv<'_>,
    out: &mut [f32],
) {
    let [k, v] = kv.widen().map(|x| wide(&x));
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
    head_dim: usize,
    out: &mut [f32],
    mut lse: Option<&mut [f32]>,
) {
    let width = head_dim + 2;
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
