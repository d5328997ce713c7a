//! Attention over bf16 or q8 with the tiles of AMX: both products in bf16 with sums in f32, softmax
//! in f32.
//!
//! ```text
//! S = bf16(scale q / ln 2) K^T       P = exp2(S - max)       O += bf16(P) V
//! ```
//!
//! Keys and values of a tile are packed once, as the unit wants its second operand, and meet blocks
//! of 32 query rows:
//!
//! ```text
//! q  [blocks][2][dim / 32][16][32]       rows of bf16, 16 to a tile, a line per row and step
//! k  [keys / 32][dim / 32][16][2][16][2] pairs of dim side by side, two lines of 16 keys per pair
//! s  [32][TILE_KEYS]                     f32
//! p  [2][keys / 32][16][32]              as q
//! v  [dim / 32][keys / 32][16][2][16][2] pairs of keys side by side, two lines of 16 dims per pair
//! o  [blocks][32][dim]                   f32, in the order of v's lines
//! ```
//!
//! All but `s` is padded with zeros to whole lines. q8 becomes bf16 as it is packed. The bits of a
//! row depend on its keys and on where they are cut into runs, not on other rows.
//!
//! A line of K takes four shuffles and one of V a single one; so little that one row over many keys
//! goes the same way and is bound by memory.

use super::avx512::{self, Ahead, Line, Narrow, Panels, STEP};
use super::kv::Side;
use super::{Attention, Call, KvType, PAGE_TOKENS, TILE_KEYS};
use crate::Exec;
use crate::cpu::{AmxBf16, Bf16Unit, Cpu};
use crate::matmul::bf16::tiles::Tiles;
use std::ops::Range;

const _: () = assert!(PAGE_TOKENS.is_multiple_of(TILE_KEYS), "tiles lie within a page");

/// Rows of a tile.
const ROWS: usize = 16;
/// Up to so many query rows per key head are one tile, and all heads of a key are read together.
pub(super) const FEW_ROWS: usize = ROWS;
/// Query rows of a task: packing keys should cost little beside what is done with them, and all that
/// is kept of the rows should stay in the second-level cache.
const MIN_ROWS: usize = 64;
const MAX_ROWS: usize = 512;
/// Keys of all heads that are packed at once while few rows read them, at least 32: values are asked
/// for meanwhile, so a few of these should fit in the second-level cache.
const FEW_BYTES: usize = 64 << 10;

/// Some rows with all keys and values.
pub(super) struct TileRows<'a> {
    call: Call<'a>,
    unit: AmxBf16,
    /// Keys of all heads that are packed at once while few rows read them.
    few_keys: usize,
}

/// What lies in one piece with key `key`, and the number of its first key.
fn narrow(x: Side<'_>, key: usize) -> (Narrow<'_>, usize) {
    let (piece, first) = x.piece(key);
    (Narrow::new(piece).expect("`TileRows::new` saw that it is not f32"), first)
}

/// Memory of one task, see above; `q`, `o` and `stats` for each key head.
struct Work<'a> {
    q: &'a mut [Line],
    k: &'a mut [Line],
    v: &'a mut [Line],
    s: &'a mut [Line],
    p: &'a mut [Line],
    o: &'a mut [Line],
    /// Maximum and sum of each row.
    stats: Vec<(f32, f32)>,
}

/// The part of a call that a task does: some rows, some key heads.
struct Part {
    rows: Range<usize>,
    heads: Range<usize>,
    /// Query rows of a head.
    num_rows: usize,
    /// Blocks of 32 of them.
    blocks: usize,
    /// Keys that are packed at once.
    tile_keys: usize,
}

impl<'a> TileRows<'a> {
    /// `None` if this level has no such unit, or keys and values are f32.
    pub(super) fn new(cpu: Cpu, call: Call<'a>) -> Option<Self> {
        let Some(Bf16Unit::Tiles(unit)) = cpu.bf16 else { return None };
        let bytes_per_key = call.shape.kv_heads * call.kv.kind().head_bytes(call.shape.head_dim);
        // Whole tiles make a page.
        let keys = (FEW_BYTES / bytes_per_key.max(1)).clamp(STEP, TILE_KEYS);
        let few_keys = if keys == TILE_KEYS { keys } else { (keys + 1).next_power_of_two() / 2 };
        (call.kv.kind() != KvType::F32).then_some(Self { call, unit, few_keys })
    }

    /// Rows of the call that make a task, of which there should be a few for each thread.
    pub(super) fn rows_per_task(&self, num_threads: usize, splits: usize) -> usize {
        let Attention { heads, .. } = *self.call.shape;
        let all = self.call.positions.len() * heads * splits;
        let fair = all.div_ceil(4 * num_threads).clamp(MIN_ROWS, MAX_ROWS);
        (fair.next_multiple_of(STEP) / self.call.shape.group()).max(1)
    }

    /// Calls `emit(row of the call, query head, maximum, sum, o)` for each of `rows` and each query
    /// head of `heads`: weighted values over `keys`, `[head_dim]`, not yet divided by the sum.
    pub(super) fn attend(
        &self,
        exec: &Exec,
        rows: Range<usize>,
        heads: Range<usize>,
        keys: Range<usize>,
        mut emit: impl FnMut(usize, usize, f32, f32, &[f32]),
    ) {
        let (dim, group) = (self.call.shape.head_dim, self.call.shape.group());
        let num_rows = rows.len() * group;
        let tile_keys = if num_rows <= FEW_ROWS { self.few_keys } else { TILE_KEYS };
        let part = Part { rows, heads, num_rows, blocks: num_rows.div_ceil(STEP), tile_keys };
        let (steps, heads) = (dim.div_ceil(STEP), part.heads.len());
        let lens = [
            heads * part.blocks * 2 * steps * ROWS,
            tile_keys * steps,
            tile_keys * steps,
            STEP * tile_keys / ROWS,
            tile_keys,
            heads * part.blocks * STEP * 2 * steps,
        ];
        let mut buffer = exec.buffers.take((lens.iter().sum::<usize>() + 1) * 16);
        // SAFETY: lines are f32 and nothing else, and any f32 is one.
        let (_, lines, _) = unsafe { buffer.align_to_mut::<Line>() };
        let (q, lines) = lines.split_at_mut(lens[0]);
        let (k, lines) = lines.split_at_mut(lens[1]);
        let (v, lines) = lines.split_at_mut(lens[2]);
        let (s, lines) = lines.split_at_mut(lens[3]);
        let (p, lines) = lines.split_at_mut(lens[4]);
        let stats = vec![(f32::NEG_INFINITY, 0.0f32); heads * num_rows];
        let mut work = Work { q, k, v, s, p, o: &mut lines[..lens[5]], stats };
        work.o.fill(Line([0.0; 16]));
        self.round_queries(&part, work.q);
        self.over(&part, keys, &mut work);
        let mut o = vec![0.0; dim];
        for (i, &(max, sum)) in work.stats.iter().enumerate() {
            let (head, row) = (i / num_rows, i % num_rows);
            let lines = &work.o[(head * part.blocks * STEP + row) * 2 * steps..][..2 * steps];
            Panels::in_order(lines, &mut o);
            let query_head = (part.heads.start + head) * group + row % group;
            let max = max * std::f32::consts::LN_2;
            emit(part.rows.start + row / group, query_head, max, sum, &o);
        }
        exec.buffers.give(buffer);
    }

    /// The queries times their scales and `1 / ln 2`, as the unit wants them; zeros where a block has
    /// no row.
    fn round_queries(&self, part: &Part, out: &mut [Line]) {
        let Attention { heads, head_dim: dim, .. } = *self.call.shape;
        let (group, steps) = (self.call.shape.group(), dim.div_ceil(STEP));
        let tiles = out.chunks_exact_mut(steps * ROWS).enumerate();
        for (tile, lines) in tiles {
            let (head, tile) = (tile / (2 * part.blocks), tile % (2 * part.blocks));
            for i in 0..ROWS {
                let row = tile * ROWS + i;
                let x = (row < part.num_rows).then(|| {
                    let at = part.rows.start + row / group;
                    let head = (part.heads.start + head) * group + row % group;
                    let q = &self.call.q[(at * heads + head) * dim..][..dim];
                    (q, self.call.scales[at] * std::f32::consts::LOG2_E)
                });
                let (q, scale) = x.unwrap_or((&[], 0.0));
                avx512::round(self.unit.avx512(), q, scale, &mut lines[i..], ROWS);
            }
        }
    }

    /// Goes over `keys`.
    fn over(&self, part: &Part, keys: Range<usize>, work: &mut Work<'_>) {
        let Attention { kv_heads, head_dim: dim, .. } = *self.call.shape;
        let avx512 = self.unit.avx512();
        let positions = &self.call.positions[part.rows.clone()];
        let last = positions.iter().max().copied().unwrap_or(0);
        let keys = keys.start..keys.end.min(last + 1);
        let tiles = Tiles::new(self.unit, part.num_rows.clamp(1, ROWS));
        // Many rows take longer over a tile than the next one to arrive, and are of one head.
        let ahead = |x: Side<'_>, start: usize| {
            if start >= keys.end || part.heads.len() < kv_heads {
                return Ahead::none();
            }
            let (x, first) = narrow(x, start);
            let end = keys.end.min(start + part.tile_keys) - first;
            x.ahead((start - first) * kv_heads..end * kv_heads, dim)
        };
        ahead(self.call.kv.k(), keys.start).all();
        ahead(self.call.kv.v(), keys.start).all();
        for start in keys.clone().step_by(part.tile_keys) {
            let n = part.tile_keys.min(keys.end - start);
            let next = start + n;
            let (mut next_k, mut next_v) =
                (ahead(self.call.kv.k(), next), ahead(self.call.kv.v(), next));
            let ((k, first), (v, _)) =
                (narrow(self.call.kv.k(), start), narrow(self.call.kv.v(), start));
            // Rows usually are in the order of their positions: the first blocks may be done.
            let done = positions.iter().take_while(|&&position| position < start).count();
            let first_block = done * self.call.shape.group() / STEP;
            for (i, head) in part.heads.clone().enumerate() {
                let first = (start - first) * kv_heads + head;
                let panels = Panels { first, stride: kv_heads, n, dim };
                avx512::pack_keys(avx512, k, panels, &mut next_k, work.k);
                avx512::pack_values(avx512, v, panels, &mut next_v, work.v);
                for block in first_block..part.blocks {
                    self.block(&tiles, part, start, n, i, block, work);
                }
            }
        }
    }

    /// One block of rows of head `head` of the part over the `n` keys that are packed, from `start`
    /// on.
    #[expect(clippy::too_many_arguments, reason = "where it is")]
    fn block(
        &self,
        tiles: &Tiles,
        part: &Part,
        start: usize,
        n: usize,
        head: usize,
        block: usize,
        work: &mut Work<'_>,
    ) {
        let (group, steps) = (self.call.shape.group(), self.call.shape.head_dim.div_ceil(STEP));
        let key_steps = n.div_ceil(STEP);
        let rows = block * STEP..part.num_rows.min((block + 1) * STEP);
        let both = rows.len() > ROWS;
        let place = head * part.blocks + block;
        let q = &work.q[place * 2 * steps * ROWS..][..2 * steps * ROWS];
        let o = &mut work.o[place * STEP * 2 * steps..][..STEP * 2 * steps];
        let row_lines = part.tile_keys / ROWS;
        for panel in 0..key_steps {
            let k = &work.k[panel * steps * STEP..][..steps * STEP];
            avx512::multiply(tiles, q, both, k, &mut work.s[2 * panel..], row_lines, false);
        }
        let stats = &mut work.stats[head * part.num_rows..][rows.clone()];
        for (i, (row, stats)) in rows.zip(stats).enumerate() {
            let position = self.call.positions[part.rows.start + row / group];
            let visible = (position + 1).saturating_sub(start).min(n);
            let scores = &work.s[i * row_lines..][..2 * key_steps];
            let o = &mut o[i * 2 * steps..][..2 * steps];
            let p = &mut work.p[i / ROWS * key_steps * ROWS + i % ROWS..];
            avx512::weigh(self.unit.avx512(), scores, visible, stats, o, p, ROWS);
        }
        let p = &work.p[..2 * key_steps * ROWS];
        for panel in 0..steps {
            let v = &work.v[panel * key_steps * STEP..][..key_steps * STEP];
            avx512::multiply(tiles, p, both, v, &mut o[2 * panel..], 2 * steps, true);
        }
    }
}
