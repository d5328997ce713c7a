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
mod reference;
#[cfg(test)]
mod tests;

pub use backward::lightning_attention_backward;
pub use reference::reference;

use crate::cpu::{narrow, wide};
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
    /// Sizes with the block length that costs least: the work per token inside a block grows with
    /// the block, that for the state is spread over it; both are equal at `head_dim` tokens.
    pub fn new(heads: usize, head_dim: usize) -> Self {
        Self { heads, head_dim, chunk_size: head_dim.clamp(32, 128) }
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
/// Each of `spans` is a run of tokens of one sequence, whose state, a piece of
/// `states: [spans, heads, head_dim, head_dim]`, is carried in and out. Tokens outside all spans
/// are left alone.
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
    states: &mut [f32],
    out: &mut [f32],
) {
    shape.check(slopes, qkv, spans);
    let Lightning { heads, head_dim, .. } = *shape;
    assert_eq!(states.len(), spans.len() * shape.state_len(), "one state per span");
    let end = spans.iter().map(|span| span.end).max().unwrap_or(0);
    assert!(end * heads * head_dim <= out.len(), "out is shorter than the spans");
    if exec.cpu.arithmetic == Arithmetic::F64 {
        return in_f64(shape, slopes, qkv, spans, states, out);
    }
    let out = SharedMut(out.as_mut_ptr());
    let state_size = head_dim * head_dim;
    let states = SharedMut(states.as_mut_ptr());
    let tokens: usize = spans.iter().map(Range::len).sum();
    let task = |i: usize| {
        let (span, head) = (&spans[i / heads], i % heads);
        // SAFETY: task `i` alone uses state `i`; `states` holds `spans.len() * heads` of them.
        let state =
            unsafe { std::slice::from_raw_parts_mut(states.at(i * state_size), state_size) };
        let rows = HeadRows::new(shape, qkv, head, slopes[head]);
        // SAFETY: tasks of different spans write different rows, of different heads different
        // columns; `span.end` rows of `out` exist.
        let emit = |token: usize, o: &[f32]| unsafe {
            let to = out.at((token * heads + head) * head_dim);
            std::slice::from_raw_parts_mut(to, head_dim).copy_from_slice(o);
        };
        if span.len() == 1 {
            let mut o = vec![0.0; head_dim];
            let [q, k, v] = rows.token(span.start);
            step(exec.cpu, Step { q, k, v, slope: slopes[head] }, state, &mut o);
            emit(span.start, &o);
        } else {
            rows.chunks(exec, span.clone(), state, emit);
        }
    };
    // Handing out tasks costs more than a few decode steps of small heads.
    if tokens * heads * state_size < 50_000 {
        (0..spans.len() * heads).for_each(task);
    } else {
        exec.threads.run(spans.len() * heads, task);
    }
}

/// The reference, span by span.
fn in_f64(
    shape: &Lightning,
    slopes: &[f32],
    qkv: &[f32],
    spans: &[Range<usize>],
    states: &mut [f32],
    out: &mut [f32],
) {
    let width = shape.heads * shape.head_dim;
    for (span, state) in spans.iter().zip(states.chunks_exact_mut(shape.state_len())) {
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
    let vdecay = S::f32s::splat(simd, decay);
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
                let new = S::f32s::from_slice(simd, s).mul_add(vdecay, k * v);
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
            *s = decay.mul_add(*s, k * v);
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

    /// The chunk form over `span`; `emit(token, o)` gets each output `[head_dim]`.
    fn chunks(
        self,
        exec: &Exec,
        span: Range<usize>,
        state: &mut [f32],
        emit: impl Fn(usize, &[f32]),
    ) {
        let (dim, size) = (self.shape.head_dim, self.shape.chunk_size.min(span.len()).max(1));
        let decays = decays(self.slope, size);
        let mut scratch = Scratch::default();
        let [mut scores, mut rows, mut out] =
            [size * size, size * dim, size * dim].map(|len| exec.buffers.take(len));
        for start in span.clone().step_by(size) {
            let tokens = start..span.end.min(start + size);
            let m = tokens.len();
            let (scores, rows, out) =
                (&mut scores[..m * m], &mut rows[..m * dim], &mut out[..m * dim]);
            self.scores(exec.cpu, tokens.clone(), &decays, scores, &mut scratch);
            let (cpu, v) = (exec.cpu, self.matrix(2, tokens.clone()));
            let intra = Mat::row_major(scores, m, m);
            serial(cpu, intra, v, MatMut::row_major(out, m, dim), false, &mut scratch);
            self.scaled(0, tokens.clone(), |i| decays[i + 1], rows);
            let (q, s) = (Mat::row_major(rows, m, dim), Mat::row_major(state, dim, dim));
            serial(cpu, q, s, MatMut::row_major(out, m, dim), true, &mut scratch);
            self.advance(cpu, tokens.clone(), &decays, state, rows, &mut scratch);
            for (token, o) in tokens.zip(out.chunks_exact(dim)) {
                emit(token, o);
            }
        }
        for buffer in [scores, rows, out] {
            exec.buffers.give(buffer);
        }
    }

    /// `(Q K^T) * D` of one block, `[m, m]`, zero above the diagonal.
    fn scores(
        self,
        cpu: Cpu,
        tokens: Range<usize>,
        decays: &[f32],
        scores: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let m = tokens.len();
        let (q, k) = (self.matrix(0, tokens.clone()), self.matrix(1, tokens));
        serial(cpu, q, k.t(), MatMut::row_major(scores, m, m), false, scratch);
        mask(scores, m, decays);
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

/// `exp(-slope i)` for `i` in `0..=n`, computed in f64.
fn decays(slope: f32, n: usize) -> Vec<f32> {
    (0..=n).map(|i| (-f64::from(slope) * i as f64).exp() as f32).collect()
}
