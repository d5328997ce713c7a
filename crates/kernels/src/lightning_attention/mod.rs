//! Lightning attention (MiniMax-01, arXiv:2501.08313, section 2.2): linear attention with a fixed
//! decay per head.
//!
//! ```text
//! S_t = exp(-slope) S_(t-1) + k_t v_t^T        S: [head_dim, head_dim], one per head
//! o_t = S_t^T q_t
//! ```
//!
//! The same in blocks of 32 tokens, which begin at positions 0, 32, 64, ... of the sequence, however
//! it is read. With S the state before the block and places i, j of tokens in it, from 0:
//!
//! ```text
//! o_i = exp(-slope (i + 1)) S^T q_i + sum_(j <= i) exp(-slope (i - j)) (q_i k_j) v_j
//! S  <- exp(-32 slope) S + sum_j exp(-slope (31 - j)) k_j v_j^T        when place 31 is read
//! ```
//!
//! **What comes out for a token depends on the tokens before it and on the CPU level only, bit for
//! bit**: not on the pieces in which a sequence is read, the batch, or the number of threads. A
//! sequence keeps S and the keys and values of the unfinished block ([`LightningState`]); each element
//! of o is one chain of multiply-adds in the order of the formula, which every form below computes,
//! and so is each element of S. Why: `docs/adr/0007-a-token-depends-on-its-prefix.md`.
//!
//! Three forms: a few tokens one by one (`row`), bound by memory: S is only read; many tokens block by
//! block (`block`), bound by arithmetic, `4 head_dim (32 + head_dim)` flops per token and head; and
//! plain loops in f64 (`exact`). All exponents are at most 0, so nothing overflows, and decays come
//! from a table of differences, never from a quotient of two.

#![expect(unsafe_code, reason = "heads write interleaved columns of one output")]

mod backward;
mod block;
mod exact;
mod reference;
mod row;
mod state;
#[cfg(test)]
mod tests;

pub use backward::lightning_attention_backward;
pub use reference::reference;
pub use state::LightningState;

use crate::lanes::prefetch;
use crate::threads::SharedMut;
use crate::{Arithmetic, Exec};
use state::HeadSizes;
use std::ops::Range;

/// Tokens of a block, and columns of a panel. The work per token inside a block grows with the block,
/// that for the state does not depend on it, and a product with 32 tokens is deep enough to be worth
/// its loads and stores (`docs/perf/LOG.md`, 2026-11-26).
pub const BLOCK: usize = 32;

/// Sizes that all calls for a layer share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lightning {
    /// Number of heads.
    pub heads: usize,
    /// Width of q, k and v of one head.
    pub head_dim: usize,
}

impl Lightning {
    /// Elements of the states S of one sequence, `[heads, head_dim, head_dim]`.
    pub fn state_len(&self) -> usize {
        self.heads * self.head_dim * self.head_dim
    }

    /// Bytes of a [`LightningState`]; `u64::MAX` if there are more.
    pub fn state_bytes(&self) -> u64 {
        let of_head = HeadSizes::new(self).len() as u64;
        [of_head, size_of::<f32>() as u64].into_iter().fold(self.heads as u64, u64::saturating_mul)
    }

    /// Elements per token of q, k and v together, `[heads, 3, head_dim]`.
    pub fn qkv_width(&self) -> usize {
        3 * self.heads * self.head_dim
    }

    #[track_caller]
    fn check(&self, slopes: &[f32], qkv: &[f32], runs: impl Iterator<Item = Range<usize>>) {
        assert_eq!(slopes.len(), self.heads, "one slope per head");
        let mut end = 0;
        for rows in runs {
            assert!(end <= rows.start && rows.start <= rows.end, "rows {rows:?} after {end}");
            end = rows.end;
        }
        assert!(end * self.qkv_width() <= qkv.len(), "qkv has no {end} rows");
    }
}

/// In f64 between f32 inputs and outputs.
fn in_f64(
    shape: &Lightning,
    slopes: &[f32],
    qkv: &[f32],
    pieces: &mut [Piece<'_>],
    out: &mut [f32],
) {
    let Lightning { heads, head_dim } = *shape;
    let sizes = HeadSizes::new(shape);
    for Piece { rows, past, state } in pieces {
        let [states, low] = state.floats_and_low(shape);
        assert_eq!(states.len(), heads * sizes.len(), "a state of another shape");
        let low = low.chunks_exact_mut(head_dim * head_dim);
        for (head, state) in states.chunks_exact_mut(sizes.len()).zip(low).enumerate() {
            let row = |token: usize| (token * heads + head) * head_dim;
            exact::tokens(
                HeadRows::new(shape, qkv, head, slopes[head]),
                rows.clone(),
                *past,
                sizes,
                state,
                |token, o| out[row(token)..][..head_dim].copy_from_slice(o),
            );
        }
    }
}

/// A run of tokens of one sequence.
#[derive(Debug)]
pub struct Piece<'a> {
    /// Their rows in the batch.
    pub rows: Range<usize>,
    /// Tokens that the sequence has read before: the position of the first.
    pub past: usize,
    /// What the sequence keeps; brought up to date.
    pub state: &'a mut LightningState,
}

/// Reads `qkv: [tokens, heads, 3, head_dim]` and writes `out: [tokens, heads, head_dim]`, for the rows
/// of `pieces`; other rows are left alone.
///
/// Values that are no finite number may reach tokens of the same call up to 11 places before them.
///
/// # Panics
///
/// If lengths disagree, or the rows of pieces overlap or are out of order.
#[track_caller]
pub fn lightning_attention(
    exec: &Exec,
    shape: &Lightning,
    slopes: &[f32],
    qkv: &[f32],
    pieces: &mut [Piece<'_>],
    out: &mut [f32],
) {
    shape.check(slopes, qkv, pieces.iter().map(|piece| piece.rows.clone()));
    let Lightning { heads, head_dim } = *shape;
    let sizes = HeadSizes::new(shape);
    let end = pieces.last().map_or(0, |piece| piece.rows.end);
    assert!(end * heads * head_dim <= out.len(), "out has no {end} rows");
    if exec.cpu.arithmetic == Arithmetic::F64 {
        return in_f64(shape, slopes, qkv, pieces, out);
    }
    let out = SharedMut(out.as_mut_ptr());
    let states: Vec<_> = pieces
        .iter_mut()
        .map(|piece| {
            let state = piece.state.floats();
            assert_eq!(state.len(), heads * sizes.len(), "a state of another shape");
            SharedMut(state.as_mut_ptr())
        })
        .collect();
    let pieces: Vec<_> = pieces.iter().map(|piece| (piece.rows.clone(), piece.past)).collect();
    let tasks = tasks(exec, shape, &pieces);
    let task = |i: usize| {
        let Task { piece, heads: ref range } = tasks[i];
        let (at, len) = (range.start * sizes.len(), range.len() * sizes.len());
        // SAFETY: tasks share no head of a piece; each state holds all heads, as checked above.
        let states = unsafe { std::slice::from_raw_parts_mut(states[piece].at(at), len) };
        let heads: Vec<_> =
            range.clone().map(|head| HeadRows::new(shape, qkv, head, slopes[head])).collect();
        // SAFETY: tasks of different pieces write different rows, of different heads different
        // columns; `end` rows of `out` exist.
        let row = |token: usize, head: usize| unsafe {
            let to = out.at((token * shape.heads + head) * head_dim);
            std::slice::from_raw_parts_mut(to, head_dim)
        };
        let (rows, past) = pieces[piece].clone();
        if rows.len() <= FEW_TOKENS {
            for (head, state) in heads.iter().zip(states.chunks_exact_mut(sizes.len())) {
                let decays = block::Decays::new(head.slope);
                let mut first = rows.start;
                while first < rows.end {
                    let place = (past + first - rows.start) % BLOCK;
                    let count = (rows.end - first).min(row::MOST).min(BLOCK - place);
                    let token = |i| if i < count { head.token(first + i) } else { [&[][..]; 3] };
                    let out = |i| if i < count { row(first + i, head.head) } else { &mut [] };
                    let qkv: [_; row::MOST] = std::array::from_fn(token);
                    let mut out: [_; row::MOST] = std::array::from_fn(out);
                    let (qkv, out) = (&qkv[..count], &mut out[..count]);
                    row::tokens(exec.cpu, qkv, place, &decays, sizes, state, out);
                    first += count;
                }
            }
        } else {
            block::blocks(exec, &heads, rows, past, states, |token, head, o| {
                row(token, head).copy_from_slice(o);
            });
        }
    };
    // Handing out tasks costs more than a few decode steps of small heads.
    if pieces.iter().map(|(rows, _)| rows.len()).sum::<usize>() * shape.state_len() < 50_000 {
        (0..tasks.len()).for_each(task);
    } else {
        exec.threads.run(tasks.len(), task);
    }
}

/// [`lightning_attention`] of whole sequences, one for each of `spans`, whose states nobody wants.
///
/// # Panics
///
/// If lengths disagree, or spans overlap or are out of order.
#[track_caller]
pub fn whole_sequences(
    exec: &Exec,
    shape: &Lightning,
    slopes: &[f32],
    qkv: &[f32],
    spans: &[Range<usize>],
    out: &mut [f32],
) {
    let mut states: Vec<_> = spans.iter().map(|_| LightningState::new(shape)).collect();
    let piece = |(rows, state): (&Range<usize>, _)| Piece { rows: rows.clone(), past: 0, state };
    let mut pieces: Vec<_> = spans.iter().zip(&mut states).map(piece).collect();
    lightning_attention(exec, shape, slopes, qkv, &mut pieces, out);
}

/// What one thread does at a time: some heads of one piece.
struct Task {
    piece: usize,
    heads: Range<usize>,
}

/// Pieces that are no longer are read a few tokens at a time, which is less work for each call.
const FEW_TOKENS: usize = 8;

/// The tasks of a call, the longest first, so that none is left to one thread at the end.
fn tasks(exec: &Exec, shape: &Lightning, pieces: &[(Range<usize>, usize)]) -> Vec<Task> {
    /// Elements of the states of a task that reads few tokens: some microseconds.
    const FEW: usize = 32 << 10;
    let of_few = (FEW / (shape.head_dim * shape.head_dim).max(1)).max(1);
    let of_blocks = block::heads_per_task(exec, shape);
    let tokens = |i: usize| pieces[i].0.len();
    let mut order: Vec<usize> = (0..pieces.len()).filter(|&i| tokens(i) > 0).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(tokens(i)));
    let of_piece = |piece: usize| {
        let size = if tokens(piece) <= FEW_TOKENS { of_few } else { of_blocks };
        let heads = (0..shape.heads).step_by(size);
        heads.map(move |head| Task { piece, heads: head..shape.heads.min(head + size) })
    };
    order.into_iter().flat_map(of_piece).collect()
}

/// The tokens of one head within `qkv`.
#[derive(Clone, Copy)]
struct HeadRows<'a> {
    shape: &'a Lightning,
    qkv: &'a [f32],
    head: usize,
    slope: f32,
}

impl<'a> HeadRows<'a> {
    fn new(shape: &'a Lightning, qkv: &'a [f32], head: usize, slope: f32) -> Self {
        Self { shape, qkv, head, slope }
    }

    /// q, k and v of one token, each `[head_dim]`.
    fn token(self, token: usize) -> [&'a [f32]; 3] {
        let dim = self.shape.head_dim;
        let start = (token * self.shape.heads + self.head) * 3 * dim;
        [0, 1, 2].map(|part| &self.qkv[start + part * dim..][..dim])
    }

    /// Asks for q, k and v of a token to be brought into the second-level cache.
    #[inline(always)]
    fn prefetch(self, token: usize) {
        let width = 3 * self.shape.head_dim;
        let row = &self.qkv[(token * self.shape.heads + self.head) * width..][..width];
        for line in row.chunks(16) {
            prefetch(line.as_ptr());
        }
    }
}

/// Decays that are smaller are 0, and states hear this much with every block.
///
/// Next to anything else it is nothing: a state whose slope is 1e-7 comes to 1e-18 by it. Without
/// it, a state decays to the least subnormal number in a long silence and stays there, for its
/// product with a decay of more than a half rounds up to it again; a CPU computes with such numbers
/// up to sixty times as slowly.
const NOTHING: f32 = 1e-25;

/// `exp(-slope i)` for `i` in `0..=BLOCK`, computed in f64; 0 where it is less than [`NOTHING`].
fn decays(slope: f32) -> [f32; BLOCK + 1] {
    let step = (-f64::from(slope)).exp();
    let mut decay = 1.0f64;
    std::array::from_fn(|_| {
        let rounded = decay as f32;
        decay *= step;
        if rounded < NOTHING { 0.0 } else { rounded }
    })
}
