//! Attention in f32: rows of the query heads that share a key head, over runs of keys.

use super::fold::NOTHING;
use super::kv::{BLOCK, Kv, KvType, TILE_KEYS};
use super::panels::{Panels, Rows, simd_product};
use super::{Attention, Call, Part, RUN_KEYS, Results};
use crate::Exec;
use crate::exp::simd_exp_sum;
use fearless_simd::{dispatch, prelude::*};
use std::ops::Range;

/// Query rows of a task, but for what leaves no small rest: if keys are widened for each task, that should cost little beside what is
/// done with them; all that is kept of the rows should stay in the second-level cache.
pub(super) const QUERY_ROWS: Range<usize> = 48..128;
/// With so few query rows, keys and values arrive from memory more slowly than they are used.
const STREAMED_ROWS: usize = 16;

/// Memory of one task.
struct Work {
    /// `[query rows, head_dim]`, times the scales.
    q: Vec<f32>,
    /// `[query rows, TILE_KEYS]`, scores, then weights.
    scores: Vec<f32>,
    /// `[query rows, head_dim]`, heads padded to whole blocks, not yet divided by the sum.
    o: Vec<f32>,
    /// A panel, where it is not read in place.
    panel: Vec<f32>,
    /// Maximum and sum of each query row.
    stats: Vec<(f32, f32)>,
}

/// Calls `emit` with the results of each run of `part`, in order.
pub(super) fn attend(exec: &Exec, call: Call<'_>, part: &Part, mut emit: impl FnMut(Results<'_>)) {
    let dim = call.shape.head_dim;
    let width = dim.next_multiple_of(BLOCK);
    let n = part.rows.len() * call.shape.group();
    let in_place = matches!(call.kv, Kv::Pages(_)) && call.kv.kind() == KvType::F32;
    let panel = if in_place { 0 } else { BLOCK * width.max(TILE_KEYS) };
    let take = |len: usize| exec.buffers.take(len);
    let mut work = Work {
        q: take(n * dim),
        scores: take(n * TILE_KEYS),
        o: take(n * width),
        panel: take(panel),
        stats: vec![NOTHING; n],
    };
    scaled_queries(call, part, &mut work.q);
    if let (Kv::Pages(pages), true) = (call.kv, n <= STREAMED_ROWS) {
        pages.ask_for_first(part.head, part.runs.start * RUN_KEYS);
    }
    for run in part.runs.clone() {
        let keys = run * RUN_KEYS..call.keys_of(part).end.min((run + 1) * RUN_KEYS);
        work.stats.fill(NOTHING);
        work.o.fill(0.0);
        dispatch!(exec.cpu.level, simd => simd_run(simd, call, part, keys, &mut work));
        emit(Results { stats: &work.stats, o: &work.o, width });
    }
    for buffer in [work.q, work.scores, work.o, work.panel] {
        exec.buffers.give(buffer);
    }
}

/// The queries of a part times their scales, `[rows * group, head_dim]`.
pub(super) fn scaled_queries(call: Call<'_>, part: &Part, out: &mut [f32]) {
    let Attention { heads, head_dim, .. } = *call.shape;
    let group = call.shape.group();
    for (row, out) in part.rows.clone().zip(out.chunks_exact_mut((group * head_dim).max(1))) {
        let q = &call.q[(row * heads + part.head * group) * head_dim..];
        let scale = call.scales[row];
        out.iter_mut().zip(q).for_each(|(out, q)| *out = scale * q);
    }
}

/// Goes over `keys`, a run or the beginning of one.
#[inline(always)]
fn simd_run<S: Simd>(simd: S, call: Call<'_>, part: &Part, keys: Range<usize>, work: &mut Work) {
    let Work { q, scores, o, panel, stats } = work;
    let (dim, group) = (call.shape.head_dim, call.shape.group());
    let (width, num_rows) = (dim.next_multiple_of(BLOCK), stats.len());
    let positions = &call.positions[part.rows.clone()];
    let streamed = (num_rows <= STREAMED_ROWS).then_some(call.keys_of(part).end);
    let panels = Panels { kv: call.kv, shape: call.shape, head: part.head, streamed };
    let mut done = 0;
    for start in keys.clone().step_by(TILE_KEYS) {
        let n = TILE_KEYS.min(keys.end - start);
        // Rows usually are in the order of their positions: the first ones may be done.
        while done < positions.len() && positions[done] < start {
            done += 1;
        }
        let first = done * group;
        let count = num_rows - first;
        let queries = Rows { x: &q[first * dim..], stride: dim, count };
        for block in (0..n).step_by(BLOCK) {
            let keys = panels.keys(simd, start + block, panel);
            let to = &mut scores[first * TILE_KEYS + block..];
            simd_product::<S, false>(simd, queries, keys, to, TILE_KEYS);
        }
        for i in first..num_rows {
            let scores = &mut scores[i * TILE_KEYS..][..n];
            let visible = (positions[i / group] + 1).saturating_sub(start).min(n);
            scores[visible..].fill(0.0);
            let o = &mut o[i * width..][..width];
            simd_weights(simd, &mut scores[..visible], &mut stats[i], o);
        }
        let weights = Rows { x: &scores[first * TILE_KEYS..], stride: TILE_KEYS, count };
        for step in 0..width / BLOCK {
            let values = panels.values(simd, start, n, step, panel);
            let to = &mut o[first * width + step * BLOCK..];
            simd_product::<S, true>(simd, weights, values, to, width);
        }
    }
}

/// Scores to weights; the maximum and the sum of the row so far are brought up to date, its values
/// rescaled.
#[inline(always)]
fn simd_weights<S: Simd>(simd: S, scores: &mut [f32], (max, sum): &mut (f32, f32), o: &mut [f32]) {
    if scores.is_empty() {
        return;
    }
    let new = simd_max(simd, scores).max(*max);
    if new > *max {
        let factor = (*max - new).exp();
        *sum *= factor;
        for o in o {
            *o *= factor;
        }
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
    let max = maxima[0].max(maxima[1]).max(maxima[2].max(maxima[3])).reduce_max();
    rest.remainder().iter().copied().fold(max, f32::max)
}
