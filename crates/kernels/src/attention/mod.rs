//! Causal softmax attention with grouped queries.
//!
//! ```text
//! o_r = sum_{j <= position_r} softmax_j(scale_r q_r . k_j) v_j
//! ```
//!
//! Online softmax (arXiv:1805.02867, arXiv:2205.14135): keys go by in tiles of `TILE_KEYS`, each
//! row keeps its maximum, its sum and its weighted values, and no row of scores is ever whole.
//!
//! The result of a row depends on its query and on the keys and values up to its position, bit for
//! bit: tiles and runs of keys begin at fixed positions, a row goes through the same operations
//! whatever rows are beside it, keys that it does not see add exact zeros (where values are finite),
//! and results of runs are folded in order. How rows, heads and runs are cut into tasks changes
//! nothing of that.
//!
//! Compute-bound for many rows (`4 head_dim` flops per row, key and head), for one row bound by the
//! memory that keys and values are read from; these lie as the products want them, see `kv`.

#![expect(unsafe_code, reason = "heads write interleaved columns of one output")]

#[cfg(target_arch = "x86_64")]
mod avx512;
mod backward;
mod fold;
mod kv;
mod pages;
mod panels;
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

#[cfg(target_arch = "x86_64")]
use crate::cpu::{AmxBf16, Bf16Unit};
use crate::cpu::{narrow, wide};
use crate::threads::SharedMut;
use crate::{Arithmetic, Exec};
use fold::{Folded, NOTHING};
use kv::TILE_KEYS;
use std::ops::Range;

/// Keys whose results are folded at once, at absolute positions: enough for partial results to be
/// small beside what they are made of, few enough for one row of a long context to be work for
/// several threads.
const RUN_KEYS: usize = 1024;
const _: () = assert!(RUN_KEYS.is_multiple_of(TILE_KEYS), "a run is whole tiles");
/// Rows and heads make so many tasks per thread, or runs are tasks of their own.
const TASKS_PER_THREAD: usize = 4;
/// Elements of partial results: runs of keys go by in waves of as many as these have room for, or as many
/// as all threads need, so that their memory (4 MiB, or what that takes) does not grow with the context.
const PARTIAL: usize = if cfg!(test) { 1 << 10 } else { 1 << 20 };
/// Fewer multiply-adds than this are done by the caller alone: other threads would come too late.
const MIN_SHARED: usize = 128 << 10;

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
    Call { shape, q, positions, scales, kv }.attend(exec, keys, out, lse);
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
}

/// What a task does: some rows, the query heads of one key head, some runs of keys.
struct Part {
    rows: Range<usize>,
    head: usize,
    runs: Range<usize>,
}

/// Results over one run, for each row of a part and query head of its key head.
struct Results<'a> {
    /// Maximum of the scores and sum of the weights.
    stats: &'a [(f32, f32)],
    /// Weighted values, not yet divided by the sum, `width` apart.
    o: &'a [f32],
    width: usize,
}

impl Call<'_> {
    /// The keys that `part` is about and any of its rows sees; those of a later run may be none.
    fn keys_of(&self, part: &Part) -> Range<usize> {
        let positions = &self.positions[part.rows.clone()];
        let seen = positions.iter().map(|&position| position + 1).max().unwrap_or(0);
        part.runs.start * RUN_KEYS..seen.min(part.runs.end * RUN_KEYS)
    }

    /// Calls `emit` with the results of each run of `part`, in order.
    fn do_part(&self, exec: &Exec, part: &Part, emit: impl FnMut(Results<'_>)) {
        #[cfg(target_arch = "x86_64")]
        if let Some(unit) = self.tiles(exec) {
            return tiles::attend(exec, unit, *self, part, emit);
        }
        rows::attend(exec, *self, part, emit);
    }

    /// The unit for tiles, where keys and values are multiplied as bf16 and the level has it.
    #[cfg(target_arch = "x86_64")]
    fn tiles(&self, exec: &Exec) -> Option<AmxBf16> {
        match exec.cpu.bf16 {
            Some(Bf16Unit::Tiles(unit)) if self.kv.kind() != KvType::F32 => Some(unit),
            _ => None,
        }
    }

    /// Rows of a task, of which there should be a few for each thread.
    fn rows_per_task(&self, exec: &Exec) -> usize {
        #[cfg(target_arch = "x86_64")]
        let query_rows = self.tiles(exec).map_or(rows::QUERY_ROWS, |_| tiles::QUERY_ROWS);
        #[cfg(not(target_arch = "x86_64"))]
        let query_rows = rows::QUERY_ROWS;
        let (num_rows, group) = (self.positions.len(), self.shape.group());
        let all = num_rows * self.shape.heads;
        let fair = all.div_ceil(TASKS_PER_THREAD * exec.threads.num_threads());
        let fair = (fair.clamp(query_rows.start, query_rows.end) / group).max(1);
        // As many pieces as leave no small rest: keys and values are widened for each.
        let pieces = ((num_rows + fair / 2) / fair).max(1);
        // Tiles have room for 32.
        (num_rows.div_ceil(pieces) * group).next_multiple_of(32) / group
    }

    fn attend(&self, exec: &Exec, keys: usize, out: &mut [f32], lse: Option<&mut [f32]>) {
        let Attention { heads, kv_heads, head_dim: dim } = *self.shape;
        let (num_rows, cpu) = (self.positions.len(), exec.cpu);
        let rows_at_once = self.rows_per_task(exec).min(num_rows);
        let pieces = num_rows.div_ceil(rows_at_once) * kv_heads;
        let piece = |i: usize, runs: Range<usize>| {
            let first = i / kv_heads * rows_at_once;
            Part { rows: first..num_rows.min(first + rows_at_once), head: i % kv_heads, runs }
        };
        let small = keys * num_rows * heads * dim < MIN_SHARED;
        let run_tasks = |count: usize, task: &(dyn Fn(usize) + Sync)| match small {
            true => (0..count).for_each(task),
            false => exec.threads.run(count, task),
        };
        let output = Output {
            out: SharedMut(out.as_mut_ptr()),
            lse: lse.map(|lse| SharedMut(lse.as_mut_ptr())),
            dim,
        };
        let (runs, partial_len) = (keys.div_ceil(RUN_KEYS), num_rows * heads * (dim + 2));
        let tasks = TASKS_PER_THREAD * exec.threads.num_threads();
        if small || runs == 1 || pieces >= tasks {
            return run_tasks(pieces, &|i| {
                let part = piece(i, 0..runs);
                let n = part.rows.len() * self.shape.group();
                let (mut stats, mut o) = (vec![NOTHING; n], exec.buffers.take(n * dim));
                o.fill(0.0);
                self.do_part(exec, &part, |results| {
                    for (i, own, of_run) in results.each(dim) {
                        let o = &mut o[i * dim..][..dim];
                        Folded { stats: &mut stats[i], o }.add(cpu, own, of_run);
                    }
                });
                for (i, (stats, o)) in stats.iter_mut().zip(o.chunks_exact_mut(dim)).enumerate() {
                    // SAFETY: each row and head belongs to one piece.
                    unsafe { output.write(self.place(&part, i), &Folded { stats, o }) };
                }
                exec.buffers.give(o);
            });
        }
        let wave = (PARTIAL / partial_len).max(tasks.div_ceil(pieces)).min(runs);
        let mut partial = exec.buffers.take(wave * partial_len);
        let shared = SharedMut(partial.as_mut_ptr());
        let places = num_rows * heads;
        let (mut stats, mut o) = (vec![NOTHING; places], exec.buffers.take(places * dim));
        o.fill(0.0);
        let (stats, values) = (SharedMut(stats.as_mut_ptr()), SharedMut(o.as_mut_ptr()));
        let places_at_once = exec.threads.rows_per_task(places, 1);
        for start in (0..runs).step_by(wave) {
            let count = wave.min(runs - start);
            run_tasks(pieces * count, &|task| {
                let run = task / pieces;
                let part = piece(task % pieces, start + run..start + run + 1);
                self.do_part(exec, &part, |results| {
                    for (i, (max, sum), o) in results.each(dim) {
                        let at = run * partial_len + self.place(&part, i) * (dim + 2);
                        // SAFETY: `partial` has a place for each run of the wave, row and head, and
                        // each of them belongs to one task.
                        let result =
                            unsafe { std::slice::from_raw_parts_mut(shared.at(at), dim + 2) };
                        (result[0], result[1]) = (max, sum);
                        result[2..].copy_from_slice(o);
                    }
                });
            });
            run_tasks(places.div_ceil(places_at_once), &|task| {
                let first = task * places_at_once;
                for place in first..places.min(first + places_at_once) {
                    // SAFETY: each row and head belongs to one task, and has its place in both.
                    let (stats, o) = unsafe {
                        let o = std::slice::from_raw_parts_mut(values.at(place * dim), dim);
                        (&mut *stats.at(place), o)
                    };
                    let mut folded = Folded { stats, o };
                    for run in partial.chunks_exact(partial_len).take(count) {
                        let result = &run[place * (dim + 2)..][..dim + 2];
                        folded.add(cpu, (result[0], result[1]), &result[2..]);
                    }
                    if start + count == runs {
                        // SAFETY: as above.
                        unsafe { output.write(place, &folded) };
                    }
                }
            });
        }
        exec.buffers.give(partial);
        exec.buffers.give(o);
    }

    /// Number of query row `i` of `part` among all rows and heads.
    fn place(&self, part: &Part, i: usize) -> usize {
        let group = self.shape.group();
        (part.rows.start + i / group) * self.shape.heads + part.head * group + i % group
    }
}

impl Results<'_> {
    /// Number, maximum and sum, and weighted values of each query row.
    fn each(&self, dim: usize) -> impl Iterator<Item = (usize, (f32, f32), &[f32])> {
        let rows = self.stats.iter().zip(self.o.chunks_exact(self.width)).enumerate();
        rows.map(move |(i, (stats, o))| (i, *stats, &o[..dim]))
    }
}

/// Where results go.
struct Output {
    /// `[rows, heads, dim]`.
    out: SharedMut<f32>,
    /// `[rows, heads]`.
    lse: Option<SharedMut<f32>>,
    dim: usize,
}

impl Output {
    /// Writes row and head number `place`.
    ///
    /// # Safety
    ///
    /// * It is there, and nobody else writes it.
    unsafe fn write(&self, place: usize, folded: &Folded<'_>) {
        let out = self.out.at(place * self.dim);
        // SAFETY: the caller's promise; `attention` compared the lengths with the shape.
        let lse = folded.finish(unsafe { std::slice::from_raw_parts_mut(out, self.dim) });
        if let Some(to) = &self.lse {
            // SAFETY: as above.
            unsafe { *to.at(place) = lse };
        }
    }
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
