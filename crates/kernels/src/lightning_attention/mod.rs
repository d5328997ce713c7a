//! Lightning attention (MiniMax-01, arXiv:2501.08313, section 2.2): linear attention with a fixed
//! decay per head.
//!
//! ```text
//! S_t = exp(-slope) S_(t-1) + k_t v_t^T        S: [head_dim, head_dim], one per head
//! o_t = S_t^T q_t
//! ```
//!
//! The same in blocks of `m` tokens (`docs/math/lightning_attention.md`), positions `i` from 1:
//!
//! ```text
//! O = (Q * exp(-slope i)) S + ((Q K^T) * D) V          D[i][j] = exp(-slope (i - j)) for i >= j
//! S = exp(-slope m) S + (K * exp(-slope (m - i)))^T V
//! ```
//!
//! A block is compute-bound, `4 m head_dim (m + head_dim)` flops per block and head; a single token
//! is memory-bound, it reads and writes the state once. All exponents are at most 0, so nothing
//! overflows, and D comes from a table of differences, never from a quotient of two decays.

#![expect(unsafe_code, reason = "heads write interleaved columns of one output")]

mod backward;
mod chunk;
mod reference;
#[cfg(test)]
mod tests;

pub use backward::lightning_attention_backward;
pub use reference::reference;

use crate::cpu::{narrow, wide};
use crate::lanes::prefetch;
use crate::matmul::{Mat, MatMut, Scratch, serial};
use crate::threads::SharedMut;
use crate::{Arithmetic, Cpu, Exec};
use fearless_simd::{dispatch, prelude::*};
use std::ops::Range;

/// Sizes that all calls for a layer share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lightning {
    /// Number of heads.
    pub heads: usize,
    /// Width of q, k and v of one head.
    pub head_dim: usize,
    /// Tokens per block; any value gives the same result up to rounding.
    pub chunk_size: usize,
}

impl Lightning {
    /// Sizes with the block length that costs least on a CPU: the work per token inside a block
    /// grows with the block, that for the state does not depend on it, and a product with 32 tokens
    /// is deep enough to be worth its loads and stores (`docs/perf/PADDING.md`).
    pub fn new(heads: usize, head_dim: usize) -> Self {
        Self { heads, head_dim, chunk_size: 32 }
    }

    /// Elements of the state of one sequence, `[heads, head_dim, head_dim]`.
    pub fn state_len(&self) -> usize {
        self.heads * self.head_dim * self.head_dim
    }

    /// Elements per token of q, k and v together, `[heads, 3, head_dim]`.
    pub fn qkv_width(&self) -> usize {
        3 * self.heads * self.head_dim
    }

    #[track_caller]
    fn check(&self, slopes: &[f32], qkv: &[f32], spans: &[Range<usize>]) {
        assert!(self.chunk_size > 0, "chunk_size 0");
        assert_eq!(slopes.len(), self.heads, "one slope per head");
        let end = spans.iter().map(|span| span.end).max().unwrap_or(0);
        assert!(end * self.qkv_width() <= qkv.len(), "qkv is shorter than the spans");
        assert!(spans.windows(2).all(|s| s[0].end <= s[1].start), "spans must be in order");
    }
}

/// Reads `qkv: [tokens, heads, 3, head_dim]` and writes `out: [tokens, heads, head_dim]`.
///
/// Each of `spans` is a run of tokens of one sequence, whose state, one of `states`, each
/// `[heads, head_dim, head_dim]`, is carried in and out. Tokens outside all spans are left alone.
///
/// # Panics
///
/// If lengths disagree, or spans overlap or are out of order.
#[track_caller]
pub fn lightning_attention(
    exec: &Exec,
    shape: &Lightning,
    slopes: &[f32],
    qkv: &[f32],
    spans: &[Range<usize>],
    states: &mut [&mut [f32]],
    out: &mut [f32],
) {
    shape.check(slopes, qkv, spans);
    let Lightning { heads, head_dim, .. } = *shape;
    assert_eq!(states.len(), spans.len(), "one state per span");
    assert!(states.iter().all(|s| s.len() == shape.state_len()), "states of another shape");
    let end = spans.iter().map(|span| span.end).max().unwrap_or(0);
    assert!(end * heads * head_dim <= out.len(), "out is shorter than the spans");
    if exec.cpu.arithmetic == Arithmetic::F64 {
        return in_f64(shape, slopes, qkv, spans, states, out);
    }
    let out = SharedMut(out.as_mut_ptr());
    let states: Vec<_> = states.iter_mut().map(|state| SharedMut(state.as_mut_ptr())).collect();
    let tasks = tasks(exec, shape, spans);
    let task = |i: usize| {
        let Task { span, heads: ref range } = tasks[i];
        let (at, len) = (range.start * head_dim * head_dim, range.len() * head_dim * head_dim);
        // SAFETY: tasks share no head of a span; each state holds all heads, as checked above.
        let states = unsafe { std::slice::from_raw_parts_mut(states[span].at(at), len) };
        let heads: Vec<_> =
            range.clone().map(|head| HeadRows::new(shape, qkv, head, slopes[head])).collect();
        // SAFETY: tasks of different spans write different rows, of different heads different
        // columns; `span.end` rows of `out` exist.
        let row = |token: usize, head: usize| unsafe {
            let to = out.at((token * shape.heads + head) * head_dim);
            std::slice::from_raw_parts_mut(to, head_dim)
        };
        let span = spans[span].clone();
        if span.len() <= FEW_TOKENS {
            for (head, state) in heads.iter().zip(states.chunks_exact_mut(head_dim * head_dim)) {
                for token in span.clone() {
                    let [q, k, v] = head.token(token);
                    let step_of = Step { q, k, v, slope: head.slope };
                    step(exec.cpu, step_of, state, row(token, head.head));
                }
            }
        } else {
            chunk::chunks(exec, &heads, span, states, |token, head, o| {
                row(token, head).copy_from_slice(o);
            });
        }
    };
    // Handing out tasks costs more than a few decode steps of small heads.
    if spans.iter().map(Range::len).sum::<usize>() * shape.state_len() < 50_000 {
        (0..tasks.len()).for_each(task);
    } else {
        exec.threads.run(tasks.len(), task);
    }
}

/// What one thread does at a time: some heads of one span.
struct Task {
    span: usize,
    heads: Range<usize>,
}

/// Spans that are no longer go through the recurrent form, whose state stays in the cache from one
/// token to the next: for 5 tokens it takes 0.5 to 0.7 of the time of a block, for 10 tokens 0.8
/// (`head_dim` 64) to 1.2 (128).
const FEW_TOKENS: usize = 8;

/// The tasks of a call, the longest first, so that none is left to one thread at the end. Spans of
/// few tokens go through the recurrent form, longer ones through that of chunks, side by side.
fn tasks(exec: &Exec, shape: &Lightning, spans: &[Range<usize>]) -> Vec<Task> {
    /// Elements of the states of a task that reads few tokens: some microseconds.
    const FEW: usize = 32 << 10;
    let of_few = (FEW / (shape.head_dim * shape.head_dim).max(1)).max(1);
    let of_chunk = chunk::heads_per_task(exec, shape);
    let mut order: Vec<usize> = (0..spans.len()).filter(|&i| !spans[i].is_empty()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(spans[i].len()));
    let of_span = |span: usize| {
        let size = if spans[span].len() <= FEW_TOKENS { of_few } else { of_chunk };
        let heads = (0..shape.heads).step_by(size);
        heads.map(move |head| Task { span, heads: head..shape.heads.min(head + size) })
    };
    order.into_iter().flat_map(of_span).collect()
}

/// The reference, span by span.
fn in_f64(
    shape: &Lightning,
    slopes: &[f32],
    qkv: &[f32],
    spans: &[Range<usize>],
    states: &mut [&mut [f32]],
    out: &mut [f32],
) {
    let width = shape.heads * shape.head_dim;
    for (span, state) in spans.iter().zip(states) {
        let qkv = wide(&qkv[span.start * 3 * width..span.end * 3 * width]);
        let out = &mut out[span.start * width..span.end * width];
        let (mut wide_state, mut wide_out) = (wide(state), vec![0.0; out.len()]);
        reference(shape, slopes, &qkv, &mut wide_state, &mut wide_out);
        narrow(&wide_state, state);
        narrow(&wide_out, out);
    }
}

/// One token of one head.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// `[head_dim]`.
    pub q: &'a [f32],
    /// `[head_dim]`.
    pub k: &'a [f32],
    /// `[head_dim]`.
    pub v: &'a [f32],
    /// Decay rate of the head, at least 0.
    pub slope: f32,
}

/// The recurrent form: advances `state: [head_dim, head_dim]` by one token, writes `out: [head_dim]`.
///
/// # Panics
///
/// If the lengths disagree.
#[track_caller]
pub fn step(cpu: Cpu, token: Step<'_>, state: &mut [f32], out: &mut [f32]) {
    let dim = token.v.len();
    assert_eq!((token.q.len(), token.k.len()), (dim, dim), "q, k and v must be [head_dim]");
    assert_eq!((state.len(), out.len()), (dim * dim, dim), "state and out");
    dispatch!(cpu.level, simd => simd_step(simd, token, state, out));
}

/// Columns in blocks of four vectors, so that the sums stay in registers while the rows go by.
#[inline(always)]
fn simd_step<S: Simd>(simd: S, token: Step<'_>, state: &mut [f32], out: &mut [f32]) {
    const VECTORS: usize = 4;
    let (dim, lanes) = (out.len(), S::f32s::LEN);
    let decay = (-token.slope).exp();
    let [vdecay, nothing] = [decay, NOTHING].map(|x| S::f32s::splat(simd, x));
    let mut col = 0;
    while col + VECTORS * lanes <= dim {
        let mut o = [S::f32s::splat(simd, 0.0); VECTORS];
        let v: [S::f32s; VECTORS] = std::array::from_fn(|i| {
            S::f32s::from_slice(simd, &token.v[col + i * lanes..][..lanes])
        });
        for ((row, &q), &k) in state.chunks_exact_mut(dim).zip(token.q).zip(token.k) {
            let (q, k) = (S::f32s::splat(simd, q), S::f32s::splat(simd, k));
            for ((s, o), v) in
                row[col..][..VECTORS * lanes].chunks_exact_mut(lanes).zip(&mut o).zip(v)
            {
                let new = S::f32s::from_slice(simd, s).mul_add(vdecay, k.mul_add(v, nothing));
                new.store_slice(s);
                *o = new.mul_add(q, *o);
            }
        }
        for (o, out) in o.iter().zip(out[col..].chunks_exact_mut(lanes)) {
            o.store_slice(out);
        }
        col += VECTORS * lanes;
    }
    out[col..].fill(0.0);
    for ((row, &q), &k) in state.chunks_exact_mut(dim).zip(token.q).zip(token.k) {
        for ((s, o), v) in row[col..].iter_mut().zip(&mut out[col..]).zip(&token.v[col..]) {
            *s = decay.mul_add(*s, k.mul_add(*v, NOTHING));
            *o = q.mul_add(*s, *o);
        }
    }
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

    /// q, k or v (0, 1, 2) of `tokens` as a matrix `[tokens, head_dim]`.
    fn matrix(self, part: usize, tokens: Range<usize>) -> Mat<'a> {
        let Lightning { heads, head_dim, .. } = *self.shape;
        let start = (tokens.start * heads + self.head) * 3 * head_dim + part * head_dim;
        Mat::new(&self.qkv[start..], tokens.len(), head_dim, 3 * heads * head_dim, 1)
    }

    /// Row `i` of q, k or v times `factor(i)`, copied to `out: [tokens, head_dim]`.
    fn scaled(
        self,
        part: usize,
        tokens: Range<usize>,
        factor: impl Fn(usize) -> f32,
        out: &mut [f32],
    ) {
        let dim = self.shape.head_dim;
        for (i, (token, out)) in tokens.zip(out.chunks_exact_mut(dim)).enumerate() {
            let factor = factor(i);
            for (out, x) in out.iter_mut().zip(self.token(token)[part]) {
                *out = factor * x;
            }
        }
    }

    /// The state after one block; `rows: [m, head_dim]` is scratch.
    fn advance(
        self,
        cpu: Cpu,
        tokens: Range<usize>,
        decays: &[f32],
        state: &mut [f32],
        rows: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let (m, dim) = (tokens.len(), self.shape.head_dim);
        self.scaled(1, tokens.clone(), |i| decays[m - 1 - i], rows);
        state.iter_mut().for_each(|s| *s *= decays[m]);
        let (k, v) = (Mat::row_major(rows, m, dim), self.matrix(2, tokens));
        serial(cpu, k.t(), v, MatMut::row_major(state, dim, dim), true, scratch);
    }
}

/// `x * D`: entry `(i, j)` of `x: [m, m]` times `decays[i - j]`, zero above the diagonal.
fn mask(x: &mut [f32], m: usize, decays: &[f32]) {
    for (i, row) in x.chunks_exact_mut(m).enumerate() {
        for (x, decay) in row[..=i].iter_mut().zip(decays[..=i].iter().rev()) {
            *x *= decay;
        }
        row[i + 1..].fill(0.0);
    }
}

/// Decays that are smaller are 0, and states hear this much with every token.
///
/// Next to anything else it is nothing: a state whose slope is 1e-7 comes to 1e-18 by it. Without
/// it, a state decays to the least subnormal number in a long silence and stays there, for its
/// product with a decay of more than a half rounds up to it again, and a block has decays of that
/// kind from 87 / slope tokens on; a CPU computes with them up to sixty times as slowly.
const NOTHING: f32 = 1e-25;

/// `exp(-slope i)` for `i` in `0..=n`, computed in f64; 0 where it is less than [`NOTHING`].
fn decays(slope: f32, n: usize) -> Vec<f32> {
    let decay = |i| (-f64::from(slope) * i as f64).exp() as f32;
    (0..=n).map(decay).map(|decay| if decay < NOTHING { 0.0 } else { decay }).collect()
}
