//! Attention over bf16 or q8 with the tiles of AMX: both products in bf16 with sums in f32, softmax
//! in f32.
//!
//! ```text
//! S = bf16(scale q / ln 2) K^T       P = exp2(S - max)       O += bf16(P) V
//! ```
//!
//! Keys and values of bf16 are read in place, those of q8 become bf16 tile by tile; they meet blocks
//! of 32 query rows:
//!
//! ```text
//! q  [blocks][2][dim / 32][16][32]       rows of bf16, 16 to a tile, a line per row and step
//! s  [32][TILE_KEYS]                     f32
//! p  [2][keys / 32][16][32]              as q
//! o  [blocks][32][dim]                   f32
//! ```
//!
//! All but `s` is padded with zeros to whole lines. Subnormal sums count as zero, as the unit has it.

use super::avx512;
use super::fold::NOTHING;
use super::kv::{BLOCK as STEP, Kv, KvType, TILE_BLOCKS, TILE_KEYS};
use super::pages::{KvPages, Line, elements, lines_of};
use super::{Attention, Call, Part, RUN_KEYS, Results};
use crate::Exec;
use crate::cpu::AmxBf16;
use crate::matmul::bf16::tiles::Tiles;
use std::ops::Range;

/// Rows of a tile.
const ROWS: usize = 16;
/// Query rows of a task: all that is kept of them should stay in the second-level cache, and q8
/// becomes bf16 for each task.
pub(super) const QUERY_ROWS: Range<usize> = 64..512;

/// The part of a call that a task does.
struct Task<'a> {
    call: Call<'a>,
    pages: &'a KvPages,
    part: &'a Part,
    unit: AmxBf16,
    /// Query rows.
    num_rows: usize,
    /// Lines of 32 elements of a head.
    steps: usize,
}

/// Memory of one task, see above.
struct Work<'a> {
    q: &'a mut [Line],
    /// A tile of keys and values in bf16, if they are q8.
    kv: &'a mut [Line],
    s: &'a mut [Line],
    p: &'a mut [Line],
    o: &'a mut [Line],
    /// Maximum, base 2, and sum of each row.
    stats: Vec<(f32, f32)>,
}

/// Calls `emit` with the results of each run of `part`, in order.
pub(super) fn attend(
    exec: &Exec,
    unit: AmxBf16,
    call: Call<'_>,
    part: &Part,
    mut emit: impl FnMut(Results<'_>),
) {
    let Kv::Pages(pages) = call.kv else { panic!("f32 has no tiles") };
    let num_rows = part.rows.len() * call.shape.group();
    let (blocks, steps) = (num_rows.div_ceil(STEP), call.shape.head_dim.div_ceil(STEP));
    let task = Task { call, pages, part, unit, num_rows, steps };
    let kv_lines = if pages.kind() == KvType::Q8 { 2 * TILE_KEYS * steps } else { 0 };
    let row_lines = 2 * steps;
    let lens = [
        blocks * 2 * steps * ROWS,
        kv_lines,
        STEP * TILE_KEYS / ROWS,
        TILE_KEYS,
        blocks * STEP * row_lines,
    ];
    let mut buffer = exec.buffers.take((lens.iter().sum::<usize>() + 1) * ROWS);
    let (q, lines) = lines_of(&mut buffer).split_at_mut(lens[0]);
    let (kv, lines) = lines.split_at_mut(lens[1]);
    let (s, lines) = lines.split_at_mut(lens[2]);
    let (p, lines) = lines.split_at_mut(lens[3]);
    let o = &mut lines[..lens[4]];
    let mut work = Work { q, kv, s, p, o, stats: vec![NOTHING; num_rows] };
    task.round_queries(work.q);
    let tiles = Tiles::new(unit, num_rows.clamp(1, ROWS));
    let keys = call.keys_of(part);
    if num_rows <= ROWS && !keys.is_empty() {
        pages.ask_for_first(part.head, keys.start);
    }
    for run in part.runs.clone() {
        work.stats.fill(NOTHING);
        work.o.fill(Line([0.0; 16]));
        task.over(&tiles, run * RUN_KEYS..keys.end.min((run + 1) * RUN_KEYS), &mut work);
        for (max, _) in &mut work.stats {
            *max *= std::f32::consts::LN_2;
        }
        let (stats, o) = (&work.stats[..], elements(work.o));
        emit(Results { stats, o, width: row_lines * ROWS });
    }
    exec.buffers.give(buffer);
}

impl Task<'_> {
    /// The queries times their scales and `1 / ln 2`, as the unit wants them; zeros where a block has
    /// no row.
    fn round_queries(&self, out: &mut [Line]) {
        let Attention { heads, head_dim: dim, .. } = *self.call.shape;
        let (group, part) = (self.call.shape.group(), self.part);
        for (tile, lines) in out.chunks_exact_mut(self.steps * ROWS).enumerate() {
            for i in 0..ROWS {
                let row = tile * ROWS + i;
                let x = (row < self.num_rows).then(|| {
                    let at = part.rows.start + row / group;
                    let head = part.head * group + row % group;
                    let q = &self.call.q[(at * heads + head) * dim..][..dim];
                    (q, self.call.scales[at] * std::f32::consts::LOG2_E)
                });
                let (q, scale) = x.unwrap_or((&[], 0.0));
                avx512::round(self.unit.avx512(), q, scale, &mut lines[i..], ROWS);
            }
        }
    }

    /// Goes over `keys`, a run or the beginning of one.
    fn over(&self, tiles: &Tiles, keys: Range<usize>, work: &mut Work<'_>) {
        let positions = &self.call.positions[self.part.rows.clone()];
        let mut done = 0;
        for start in keys.clone().step_by(TILE_KEYS) {
            let n = TILE_KEYS.min(keys.end - start);
            // Rows usually are in the order of their positions: the first blocks may be done.
            while done < positions.len() && positions[done] < start {
                done += 1;
            }
            let first_block = done * self.call.shape.group() / STEP;
            let tile = self.pages.tile(self.part.head, start);
            let kv = match self.pages.kind() {
                KvType::Q8 => {
                    let ahead = |at| self.ahead(start, at);
                    avx512::widen(self.unit.avx512(), tile, n, self.steps, ahead, work.kv);
                    &*work.kv
                }
                _ => tile,
            };
            let kv = kv.split_at(TILE_KEYS * self.steps);
            let work = Block { q: work.q, s: work.s, p: work.p, o: work.o, stats: &mut work.stats };
            self.blocks(tiles, start, n, first_block, kv.into(), work);
        }
    }

    /// See [`KvPages::ahead`]; many rows take longer over a tile than the next one to arrive.
    fn ahead(&self, key: usize, at: usize) -> usize {
        if self.num_rows > ROWS {
            return 0;
        }
        self.pages.ahead(self.part.head, key, at, self.call.keys_of(self.part).end)
    }

    /// Blocks of rows from `first` on over `n` keys from `start` on.
    fn blocks(
        &self,
        tiles: &Tiles,
        start: usize,
        n: usize,
        first: usize,
        [k, v]: [&[Line]; 2],
        work: Block<'_>,
    ) {
        let (group, steps) = (self.call.shape.group(), self.steps);
        let key_steps = n.div_ceil(STEP);
        let row_lines = TILE_KEYS / ROWS;
        // What is read in place and used once comes from memory.
        let in_place = self.pages.kind() == KvType::Bf16;
        let ahead =
            |line: usize| if in_place { self.ahead(start, line * size_of::<Line>()) } else { 0 };
        for block in first..self.num_rows.div_ceil(STEP) {
            let rows = block * STEP..self.num_rows.min((block + 1) * STEP);
            let both = rows.len() > ROWS;
            let q = &work.q[block * 2 * steps * ROWS..][..2 * steps * ROWS];
            let o = &mut work.o[block * STEP * 2 * steps..][..STEP * 2 * steps];
            for panel in 0..key_steps {
                let at = panel * steps * STEP;
                let k = &k[at..][..steps * STEP];
                let to = &mut work.s[2 * panel..];
                if both {
                    avx512::multiply_two(tiles, q, k, to, row_lines, false);
                } else {
                    avx512::multiply(tiles, q, k, to, row_lines, false, ahead(at));
                }
            }
            let stats = &mut work.stats[rows.clone()];
            for (i, (row, stats)) in rows.zip(stats).enumerate() {
                let position = self.call.positions[self.part.rows.start + row / group];
                let visible = (position + 1).saturating_sub(start).min(n);
                let scores = &work.s[i * row_lines..][..2 * key_steps];
                let o = &mut o[i * 2 * steps..][..2 * steps];
                let p = &mut work.p[i / ROWS * key_steps * ROWS + i % ROWS..];
                avx512::weigh(self.unit.avx512(), scores, visible, stats, o, p, ROWS);
            }
            let p = &work.p[..2 * key_steps * ROWS];
            for panel in 0..steps {
                let at = panel * TILE_BLOCKS * STEP;
                let v = &v[at..][..key_steps * STEP];
                let to = &mut o[2 * panel..];
                if both {
                    avx512::multiply_two(tiles, p, v, to, 2 * steps, true);
                } else {
                    avx512::multiply(
                        tiles,
                        p,
                        v,
                        to,
                        2 * steps,
                        true,
                        ahead(steps * TILE_KEYS + at),
                    );
                }
            }
        }
    }
}

/// [`Work`] without keys and values.
struct Block<'a> {
    q: &'a [Line],
    s: &'a mut [Line],
    p: &'a mut [Line],
    o: &'a mut [Line],
    stats: &'a mut [(f32, f32)],
}
