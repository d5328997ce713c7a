//! Linear attention without order: every query reads one sum over all keys.
//!
//! ```text
//! S = sum_j k_j v_j^T      o_i = S^T q_i        S: [k_dim, v_dim] for each head
//! ```
//!
//! The plain form of arXiv:2006.16236; kernels (ReLU), rotation and the normalizer (the same sum
//! with `v = 1`) are applied around it. Compute-bound: `4 k_dim v_dim` flops per token and head,
//! whatever the number of tokens.
//!
//! Backward, with `dS = sum_i q_i do_i^T`: `dq_i = S do_i`, `dk_j = dS v_j`, `dv_j = dS^T k_j`.

use crate::attention::AttentionSpan;
use crate::matmul::{Mat, MatMut, Scratch, serial};
use crate::{Arithmetic, Exec};
use std::ops::Range;

/// Sizes that all calls for a layer share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearAttention {
    /// Number of heads, of queries, keys and values alike.
    pub heads: usize,
    /// Width of a head of queries and keys.
    pub k_dim: usize,
    /// Width of a head of values.
    pub v_dim: usize,
}

/// Attends with `q: [rows, heads, k_dim]` over `k: [keys, heads, k_dim]` and
/// `v: [keys, heads, v_dim]`, each span within itself, and writes `out: [rows, heads, v_dim]`.
/// Together the spans are all rows, in order.
///
/// # Panics
///
/// If lengths disagree or the spans are not all rows in order.
#[track_caller]
pub fn linear_attention(
    exec: &Exec,
    shape: &LinearAttention,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    spans: &[AttentionSpan],
    out: &mut [f32],
) {
    let heads = Heads { exec, heads: shape.heads };
    let (q, k) = (Rows { data: q, dim: shape.k_dim }, Rows { data: k, dim: shape.k_dim });
    let v = Rows { data: v, dim: shape.v_dim };
    let rows: Vec<_> = spans.iter().map(|span| span.rows.clone()).collect();
    let keys: Vec<_> = spans.iter().map(|span| span.keys.clone()).collect();
    if exec.cpu.arithmetic == Arithmetic::F64 {
        let states = heads.sums_in_f64(k, v, &keys);
        return heads.apply_in_f64(q, &states, shape.v_dim, &rows, out);
    }
    let states = heads.sums(k, v, &keys);
    heads.apply(q, Side::Left, &states, shape.v_dim, &rows, out);
    exec.buffers.give(states);
}

/// The derivative: from `grad: [rows, heads, v_dim]` to those of q, k and v, which are written.
/// Spans share neither rows nor keys, and are all of both, in order.
///
/// # Panics
///
/// If lengths disagree or the spans are not as said.
#[track_caller]
pub fn linear_attention_backward(
    exec: &Exec,
    shape: &LinearAttention,
    [q, k, v]: [&[f32]; 3],
    spans: &[AttentionSpan],
    grad: &[f32],
    [grad_q, grad_k, grad_v]: [&mut [f32]; 3],
) {
    let heads = Heads { exec, heads: shape.heads };
    let (q, k) = (Rows { data: q, dim: shape.k_dim }, Rows { data: k, dim: shape.k_dim });
    let (v, grad) = (Rows { data: v, dim: shape.v_dim }, Rows { data: grad, dim: shape.v_dim });
    let rows: Vec<_> = spans.iter().map(|span| span.rows.clone()).collect();
    let keys: Vec<_> = spans.iter().map(|span| span.keys.clone()).collect();
    let states = heads.sums(k, v, &keys);
    heads.apply(grad, Side::Right, &states, shape.k_dim, &rows, grad_q);
    exec.buffers.give(states);
    let grad_states = heads.sums(q, grad, &rows);
    heads.apply(v, Side::Right, &grad_states, shape.k_dim, &keys, grad_k);
    heads.apply(k, Side::Left, &grad_states, shape.v_dim, &keys, grad_v);
    exec.buffers.give(grad_states);
}

/// Rows of one operand, `[rows, heads, dim]`.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    dim: usize,
}

/// Which index of the states a product sums over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

struct Heads<'a> {
    exec: &'a Exec,
    heads: usize,
}

impl Heads<'_> {
    /// Head `head` of a range of rows, as a matrix `[rows, dim]`.
    fn head<'a>(&self, x: Rows<'a>, rows: &Range<usize>, head: usize) -> Mat<'a> {
        let width = self.heads * x.dim;
        let data = if rows.is_empty() { &[] } else { &x.data[rows.start * width + head * x.dim..] };
        Mat::new(data, rows.len(), x.dim, width, 1)
    }

    /// `sum_j a_j b_j^T` for each span and head: `[spans, heads, a_dim, b_dim]`.
    #[track_caller]
    fn sums(&self, a: Rows<'_>, b: Rows<'_>, spans: &[Range<usize>]) -> Vec<f32> {
        let size = a.dim * b.dim;
        let mut states = self.exec.buffers.take(spans.len() * self.heads * size);
        states.fill(0.0);
        self.exec.threads.for_each_chunk(&mut states, size.max(1), |task, state| {
            let (span, head) = (&spans[task / self.heads], task % self.heads);
            let (a, b) = (self.head(a, span, head).t(), self.head(b, span, head));
            let c = MatMut::row_major(state, a.rows(), b.cols());
            serial(self.exec.cpu, a, b, c, false, &mut Scratch::default());
        });
        states
    }

    /// Each row of `x` times the state of its span, or times its transpose.
    #[track_caller]
    fn apply(
        &self,
        x: Rows<'_>,
        side: Side,
        states: &[f32],
        out_dim: usize,
        spans: &[Range<usize>],
        out: &mut [f32],
    ) {
        let (width, size) = (self.heads * out_dim, x.dim * out_dim);
        let num_rows = check_spans(spans, x.data.len(), self.heads * x.dim);
        assert_eq!(out.len(), num_rows * width, "out must be [rows, heads, {out_dim}]");
        if out.is_empty() {
            return;
        }
        let rows = self.exec.threads.rows_per_task(num_rows, 32);
        self.exec.threads.for_each_chunk(out, rows * width, |task, out| {
            let here = task * rows..task * rows + out.len() / width;
            let mut scratch = Scratch::default();
            for (i, span) in spans.iter().enumerate() {
                let part = span.start.max(here.start)..span.end.min(here.end);
                if part.is_empty() {
                    continue;
                }
                let out = &mut out[(part.start - here.start) * width..];
                for head in 0..self.heads {
                    let state = &states[(i * self.heads + head) * size..][..size];
                    let state = match side {
                        Side::Left => Mat::row_major(state, x.dim, out_dim),
                        Side::Right => Mat::row_major(state, out_dim, x.dim).t(),
                    };
                    let c = MatMut::new(&mut out[head * out_dim..], part.len(), out_dim, width);
                    let x = self.head(x, &part, head);
                    serial(self.exec.cpu, x, state, c, false, &mut scratch);
                }
            }
        });
    }

    fn sums_in_f64(&self, a: Rows<'_>, b: Rows<'_>, spans: &[Range<usize>]) -> Vec<f64> {
        let mut states = vec![0.0; spans.len() * self.heads * a.dim * b.dim];
        self.exec.threads.for_each_chunk(&mut states, (a.dim * b.dim).max(1), |task, state| {
            let (span, head) = (&spans[task / self.heads], task % self.heads);
            for row in span.clone() {
                let a = &a.data[(row * self.heads + head) * a.dim..][..a.dim];
                let b = &b.data[(row * self.heads + head) * b.dim..][..b.dim];
                for (state, a) in state.chunks_exact_mut(b.len()).zip(a) {
                    let a = f64::from(*a);
                    state.iter_mut().zip(b).for_each(|(s, b)| *s += a * f64::from(*b));
                }
            }
        });
        states
    }

    #[track_caller]
    fn apply_in_f64(
        &self,
        x: Rows<'_>,
        states: &[f64],
        out_dim: usize,
        spans: &[Range<usize>],
        out: &mut [f32],
    ) {
        let width = self.heads * out_dim;
        let num_rows = check_spans(spans, x.data.len(), self.heads * x.dim);
        assert_eq!(out.len(), num_rows * width, "out must be [rows, heads, {out_dim}]");
        let span_of: Vec<usize> =
            spans.iter().enumerate().flat_map(|(i, span)| span.clone().map(move |_| i)).collect();
        self.exec.threads.for_each_chunk(out, out_dim.max(1), |task, out| {
            let (row, head) = (task / self.heads, task % self.heads);
            let at = (span_of[row] * self.heads + head) * x.dim * out_dim;
            let x = &x.data[task * x.dim..][..x.dim];
            for (j, out) in out.iter_mut().enumerate() {
                let terms =
                    x.iter().enumerate().map(|(i, x)| f64::from(*x) * states[at + i * out_dim + j]);
                *out = terms.sum::<f64>() as f32;
            }
        });
    }
}

/// The number of rows, if the spans are all of them in order.
#[track_caller]
fn check_spans(spans: &[Range<usize>], len: usize, width: usize) -> usize {
    let mut end = 0;
    for span in spans {
        assert_eq!(span.start, end, "spans must be all rows, in order");
        end = span.end;
    }
    assert_eq!(len, end * width, "operands must be [{end} rows, heads, dim]");
    end
}

/// The definition of one head: `q: [rows, k_dim]`, `k: [keys, k_dim]`, `v: [keys, v_dim]`, in f64,
/// as sums over keys with `q . k` as their weights.
pub fn reference(q: &[f64], k: &[f64], v: &[f64], k_dim: usize, v_dim: usize) -> Vec<f64> {
    let row = |q: &[f64]| {
        let mut out = vec![0.0; v_dim];
        for (k, v) in k.chunks_exact(k_dim).zip(v.chunks_exact(v_dim)) {
            let weight: f64 = q.iter().zip(k).map(|(q, k)| q * k).sum();
            out.iter_mut().zip(v).for_each(|(out, v)| *out += weight * v);
        }
        out
    };
    q.chunks_exact(k_dim).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::cpu::wide;
    use crate::testing::{assert_close, assert_gradient, execs, random};

    /// All heads and spans by the definition.
    fn by_definition(
        shape: &LinearAttention,
        [q, k, v]: [&[f64]; 3],
        spans: &[AttentionSpan],
    ) -> Vec<f64> {
        let LinearAttention { heads, k_dim, v_dim } = *shape;
        let rows: usize = spans.iter().map(|span| span.rows.len()).sum();
        let mut out = vec![f64::NAN; rows * heads * v_dim];
        for (span, head) in spans.iter().flat_map(|span| (0..heads).map(move |head| (span, head))) {
            let pick = |x: &[f64], dim: usize, rows: &Range<usize>| -> Vec<f64> {
                let row = |row| x[(row * heads + head) * dim..][..dim].to_vec();
                rows.clone().flat_map(row).collect()
            };
            let (q, k) = (pick(q, k_dim, &span.rows), pick(k, k_dim, &span.keys));
            let o = reference(&q, &k, &pick(v, v_dim, &span.keys), k_dim, v_dim);
            for (row, o) in span.rows.clone().zip(o.chunks_exact(v_dim)) {
                out[(row * heads + head) * v_dim..][..v_dim].copy_from_slice(o);
            }
        }
        out
    }

    fn spans(parts: &[(usize, usize)]) -> Vec<AttentionSpan> {
        let (mut row, mut key) = (0, 0);
        let span = |&(rows, keys): &(usize, usize)| {
            (row, key) = (row + rows, key + keys);
            AttentionSpan { rows: row - rows..row, keys: key - keys..key }
        };
        parts.iter().map(span).collect()
    }

    #[test]
    fn awkward_shapes() {
        for (heads, k_dim, v_dim) in [(1, 1, 1), (3, 12, 12), (2, 5, 1), (4, 33, 17)] {
            for parts in
                [&[(1, 1)][..], &[(7, 0)], &[(5, 9), (0, 2), (3, 3)], &[(100, 130), (37, 1)]]
            {
                let shape = LinearAttention { heads, k_dim, v_dim };
                let spans = spans(parts);
                let rows: usize = parts.iter().map(|part| part.0).sum();
                let keys: usize = parts.iter().map(|part| part.1).sum();
                let mut rng = Rng(3);
                let q = random(&mut rng, rows * heads * k_dim);
                let k = random(&mut rng, keys * heads * k_dim);
                let v = random(&mut rng, keys * heads * v_dim);
                let want = by_definition(&shape, [&wide(&q), &wide(&k), &wide(&v)], &spans);
                let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
                for exec in execs() {
                    let mut out = vec![f32::NAN; want.len()];
                    linear_attention(&exec, &shape, &q, &k, &v, &spans, &mut out);
                    assert_close(&format!("{shape:?} {parts:?}"), &want, &out, 1e-5);
                }
            }
        }
    }

    #[test]
    fn gradients() {
        let shape = LinearAttention { heads: 2, k_dim: 3, v_dim: 5 };
        let spans = spans(&[(3, 4), (2, 1)]);
        let mut rng = Rng(9);
        let (q, k) = (random(&mut rng, 5 * 6), random(&mut rng, 5 * 6));
        let (v, grad) = (random(&mut rng, 5 * 10), random(&mut rng, 5 * 10));
        let (wq, wk, wv) = (wide(&q), wide(&k), wide(&v));
        let loss = |q: &[f64], k: &[f64], v: &[f64]| -> f64 {
            let out = by_definition(&shape, [q, k, v], &spans);
            out.iter().zip(&grad).map(|(o, g)| o * f64::from(*g)).sum()
        };
        for exec in execs() {
            let (mut gq, mut gk) = (vec![f32::NAN; q.len()], vec![f32::NAN; k.len()]);
            let mut gv = vec![f32::NAN; v.len()];
            let grads = [&mut gq[..], &mut gk[..], &mut gv[..]];
            linear_attention_backward(&exec, &shape, [&q, &k, &v], &spans, &grad, grads);
            assert_gradient("q", &q, &gq, |q| loss(q, &wk, &wv), 1e-5);
            assert_gradient("k", &k, &gk, |k| loss(&wq, k, &wv), 1e-5);
            assert_gradient("v", &v, &gv, |v| loss(&wq, &wk, v), 1e-5);
        }
    }

    /// The order of keys means nothing; that of queries is that of the results.
    #[test]
    fn keys_have_no_order() {
        let shape = LinearAttention { heads: 1, k_dim: 4, v_dim: 3 };
        let mut rng = Rng(5);
        let (q, k, v) = (random(&mut rng, 2 * 4), random(&mut rng, 6 * 4), random(&mut rng, 6 * 3));
        let backwards = |x: &[f32], dim: usize| -> Vec<f32> {
            x.chunks_exact(dim).rev().flatten().copied().collect()
        };
        let exec = &execs()[0];
        let attend = |k: &[f32], v: &[f32]| {
            let mut out = vec![f32::NAN; 6];
            linear_attention(exec, &shape, &q, k, v, &spans(&[(2, 6)]), &mut out);
            out
        };
        assert_close("order", &attend(&k, &v), &attend(&backwards(&k, 4), &backwards(&v, 3)), 1e-6);
    }
}
