//! Muon: momentum whose direction is made orthogonal, for matrices (arXiv:2502.16982).
//!
//! ```text
//! m = b m + g
//! X = (g + b m) / ||g + b m||
//! five times: A = X X^T,  X = 3.4445 X - 4.7750 A X + 2.0315 A A X
//! p = p - lr (0.2 sqrt(max(rows, cols)) X + decay p)
//! ```
//!
//! The five Newton-Schulz rounds bring all singular values of X near 1, so that rare directions
//! move as far as frequent ones; the factor makes an element's step as large as AdamW's.
//! Compute-bound: about `5 (4 cols + 2 rows) rows^2` flops per matrix with `rows <= cols`.

use crate::Exec;
use crate::matmul::{Mat, MatMut, Scratch, serial};

/// The optimizer's settings for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// Learning rate.
    pub lr: f32,
    /// Memory of the sum of gradients, b.
    pub momentum: f32,
    /// Share of the parameter taken away, times the learning rate.
    pub weight_decay: f32,
}

/// Coefficients of a round and number of rounds, from the paper.
pub(crate) const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
pub(crate) const ROUNDS: usize = 5;

/// One step of a stack of matrices, `[count, rows, cols]`, each by itself; the gradient is
/// multiplied by `grad_scale` first. `m` is the sum of gradients, zeros at first.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn muon(
    exec: &Exec,
    settings: &Muon,
    [count, rows, cols]: [usize; 3],
    param: &mut [f32],
    grad: &[f32],
    grad_scale: f32,
    m: &mut [f32],
) {
    let n = count * rows * cols;
    assert_eq!((param.len(), grad.len(), m.len()), (n, n, n), "param, grad, m: [{count}, ...]");
    if n == 0 {
        return;
    }
    let size = rows * cols;
    let parts = param.chunks_exact_mut(size).zip(m.chunks_exact_mut(size));
    let parts = parts.zip(grad.chunks_exact(size));
    let mut matrices: Vec<_> = parts.map(|((param, m), grad)| Matrix { param, grad, m }).collect();
    muon_each(exec, settings, [rows, cols], &mut matrices, grad_scale);
}

/// A matrix, its gradient and the sum of its gradients so far.
#[derive(Debug)]
pub struct Matrix<'a> {
    /// The matrix, `[rows, cols]`.
    pub param: &'a mut [f32],
    /// The gradient, `[rows, cols]`.
    pub grad: &'a [f32],
    /// The sum, `[rows, cols]`.
    pub m: &'a mut [f32],
}

/// [`muon`] of matrices that are not in one place, all of one shape.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn muon_each(
    exec: &Exec,
    settings: &Muon,
    [rows, cols]: [usize; 2],
    matrices: &mut [Matrix<'_>],
    grad_scale: f32,
) {
    let size = rows * cols;
    for Matrix { param, grad, m } in &*matrices {
        assert_eq!((param.len(), grad.len(), m.len()), (size, size, size), "[{rows}, {cols}]");
    }
    exec.threads.for_each_chunk(matrices, 1, |_, matrix| {
        let Matrix { param, grad, m } = &mut matrix[0];
        let mut x = exec.buffers.take(size);
        for ((x, m), g) in x.iter_mut().zip(&mut **m).zip(*grad) {
            *m = settings.momentum * *m + grad_scale * g;
            *x = settings.momentum * *m + grad_scale * g;
        }
        orthogonalize(exec, &mut x, rows, cols);
        let keep = 1.0 - settings.lr * settings.weight_decay;
        let rate = settings.lr * 0.2 * (rows.max(cols) as f32).sqrt();
        for (p, x) in param.iter_mut().zip(&x) {
            *p = keep * *p - rate * x;
        }
        exec.buffers.give(x);
    });
}

/// Brings the singular values of `x: [rows, cols]` near 1; zeros stay.
fn orthogonalize(exec: &Exec, x: &mut [f32], rows: usize, cols: usize) {
    let norm = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let factor = (norm + 1e-20).recip() as f32;
    x.iter_mut().for_each(|x| *x *= factor);
    let n = rows.min(cols);
    let mut gram = exec.buffers.take(n * n);
    let mut polynomial = exec.buffers.take(n * n);
    let mut next = exec.buffers.take(rows * cols);
    let mut scratch = Scratch::default();
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..ROUNDS {
        // The smaller of X X^T and X^T X.
        let view = Mat::row_major(x, rows, cols);
        let (lhs, rhs) = if rows <= cols { (view, view.t()) } else { (view.t(), view) };
        serial(exec.cpu, lhs, rhs, MatMut::row_major(&mut gram, n, n), false, &mut scratch);
        let square = Mat::row_major(&gram, n, n);
        let out = MatMut::row_major(&mut polynomial, n, n);
        serial(exec.cpu, square, square, out, false, &mut scratch);
        for (i, (p, g)) in polynomial.iter_mut().zip(&gram).enumerate() {
            *p = b * g + c * *p + if i % (n + 1) == 0 { a } else { 0.0 };
        }
        let factor = Mat::row_major(&polynomial, n, n);
        let (lhs, rhs) = if rows <= cols { (factor, view) } else { (view, factor) };
        let out = MatMut::row_major(&mut next, rows, cols);
        serial(exec.cpu, lhs, rhs, out, false, &mut scratch);
        x.copy_from_slice(&next);
    }
    for buffer in [gram, polynomial, next] {
        exec.buffers.give(buffer);
    }
}

/// The definition for one matrix, in f64: the parameter and `m` after the step.
pub fn reference(
    settings: &Muon,
    [rows, cols]: [usize; 2],
    param: &[f64],
    m: &[f64],
    grad: &[f64],
) -> [Vec<f64>; 2] {
    let momentum = f64::from(settings.momentum);
    let m: Vec<f64> = m.iter().zip(grad).map(|(m, g)| momentum * m + g).collect();
    let mut x: Vec<f64> = m.iter().zip(grad).map(|(m, g)| momentum * m + g).collect();
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    x.iter_mut().for_each(|x| *x /= norm + 1e-20);
    let product = |a: &[f64], b: &[f64], k: usize, n: usize| -> Vec<f64> {
        let element = |i: usize| (0..k).map(|l| a[i / n * k + l] * b[l * n + i % n]).sum();
        (0..a.len() / k * n).map(element).collect()
    };
    let [a, b, c] = COEFFICIENTS.map(f64::from);
    for _ in 0..ROUNDS {
        let transposed: Vec<f64> =
            (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect();
        let gram = product(&x, &transposed, cols, rows);
        let once = product(&gram, &x, rows, cols);
        let twice = product(&gram, &once, rows, cols);
        x = (0..x.len()).map(|i| a * x[i] + b * once[i] + c * twice[i]).collect();
    }
    let lr = f64::from(settings.lr);
    let factor = 0.2 * (rows.max(cols) as f64).sqrt();
    let decay = f64::from(settings.weight_decay);
    let param = param.iter().zip(&x).map(|(p, x)| p - lr * (factor * x + decay * p)).collect();
    [param, m]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::cpu::wide;
    use crate::testing::{assert_close, execs, random};

    const SETTINGS: Muon = Muon { lr: 0.02, momentum: 0.95, weight_decay: 0.1 };

    #[test]
    fn three_steps_of_odd_shapes() {
        for [count, rows, cols] in [[0, 3, 3], [1, 1, 1], [2, 1, 7], [3, 5, 9], [2, 17, 6]] {
            for exec in execs() {
                let mut rng = Rng(4);
                let size = rows * cols;
                let mut p = random(&mut rng, count * size);
                let mut m = vec![0.0; p.len()];
                let mut want: Vec<[Vec<f64>; 2]> =
                    p.chunks_exact(size).map(|p| [wide(p), vec![0.0; size]]).collect();
                for _ in 0..3 {
                    let grad = random(&mut rng, p.len());
                    muon(&exec, &SETTINGS, [count, rows, cols], &mut p, &grad, 0.5, &mut m);
                    for (want, grad) in want.iter_mut().zip(grad.chunks_exact(size)) {
                        let grad: Vec<f64> = grad.iter().map(|&g| 0.5 * f64::from(g)).collect();
                        *want = reference(&SETTINGS, [rows, cols], &want[0], &want[1], &grad);
                    }
                }
                let part = |i: usize| -> Vec<f32> {
                    want.iter().flat_map(|want| want[i].iter().map(|&x| x as f32)).collect()
                };
                assert_close("param", &part(0), &p, 1e-4);
                assert_close("m", &part(1), &m, 1e-5);
            }
        }
    }

    /// A gradient of one strong and many weak directions moves the matrix in all of them alike.
    #[test]
    fn weak_directions_move_as_far_as_strong_ones() {
        let n = 12;
        let exec = Exec::new(1);
        let mut x: Vec<f32> = random(&mut Rng(1), n * n).iter().map(|x| 0.1 * x).collect();
        x.iter_mut().for_each(|x| *x += 1.0);
        orthogonalize(&exec, &mut x, n, n);
        let rows: Vec<&[f32]> = x.chunks_exact(n).collect();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let trace: f32 = rows.iter().map(|row| dot(row, row)).sum();
        // The sum of squared singular values; without this step nearly all of it is in the first.
        assert!((0.5..1.5).contains(&(trace / n as f32)), "{trace}");
        assert!(dot(rows[0], rows[0]) < 2.0);
    }
}
