//! Scales and shifts of whole rows, chosen by row: biases, modulation by a condition, gates.
//!
//! ```text
//! out_r = x_r * scale_{g(r)} + shift_{g(r)}          out_r = x_r / (d_r + eps)
//! ```
//!
//! Memory-bound.

use crate::Exec;

/// Columns whose gradients are summed by one task: fixed, and rows are taken in order, so that the
/// sums do not depend on the number of threads.
const COLUMNS: usize = 64;

/// A scale, a shift or both for each row of `x: [rows, dim]`: row `groups[r]` of each table,
/// `[_, dim]`. What is not given is 1 and 0.
///
/// # Panics
///
/// If lengths disagree or a group is beyond a table.
#[track_caller]
pub fn affine(
    exec: &Exec,
    x: &[f32],
    scale: Option<&[f32]>,
    shift: Option<&[f32]>,
    groups: &[usize],
    out: &mut [f32],
) {
    assert_eq!(x.len(), out.len(), "lengths of x and out");
    let Some(dim) = width(x, groups) else { return };
    let rows = exec.threads.rows_per_task(groups.len(), 8);
    exec.threads.for_each_chunk(out, rows * dim, |task, out| {
        let groups = &groups[task * rows..];
        let x = &x[task * rows * dim..];
        for ((out, x), &g) in out.chunks_exact_mut(dim).zip(x.chunks_exact(dim)).zip(groups) {
            let here = g * dim..(g + 1) * dim;
            match (scale, shift) {
                (Some(scale), Some(shift)) => {
                    let (scale, shift) = (&scale[here.clone()], &shift[here]);
                    let factors = x.iter().zip(scale).zip(shift);
                    out.iter_mut().zip(factors).for_each(|(o, ((x, a), b))| *o = x * a + b);
                }
                (Some(scale), None) => {
                    let factors = x.iter().zip(&scale[here]);
                    out.iter_mut().zip(factors).for_each(|(o, (x, a))| *o = x * a);
                }
                (None, Some(shift)) => {
                    let terms = x.iter().zip(&shift[here]);
                    out.iter_mut().zip(terms).for_each(|(o, (x, b))| *o = x + b);
                }
                (None, None) => out.copy_from_slice(x),
            }
        }
    });
}

/// The gradients of the tables of [`affine`], which are added to: of the scales, `sum grad * x` over
/// the rows of each group, if `x` is given, or else of the shifts, `sum grad`.
///
/// # Panics
///
/// If lengths disagree or a group is beyond the table.
#[track_caller]
pub fn affine_backward(
    exec: &Exec,
    x: Option<&[f32]>,
    groups: &[usize],
    grad: &[f32],
    grad_table: &mut [f32],
) {
    assert!(x.is_none_or(|x| x.len() == grad.len()), "lengths of x and grad");
    let Some(dim) = width(grad, groups) else { return };
    assert!(grad_table.len().is_multiple_of(dim), "a table of rows of {dim}");
    let num_groups = grad_table.len() / dim;
    let mut parts = vec![0.0f32; dim.div_ceil(COLUMNS) * num_groups * COLUMNS];
    exec.threads.for_each_chunk(&mut parts, (num_groups * COLUMNS).max(1), |task, sums| {
        let columns = task * COLUMNS..dim.min((task + 1) * COLUMNS);
        for (row, &g) in groups.iter().enumerate() {
            let here = row * dim + columns.start..row * dim + columns.end;
            let sums = &mut sums[g * COLUMNS..];
            match x {
                Some(x) => {
                    let terms = grad[here.clone()].iter().zip(&x[here]);
                    sums.iter_mut().zip(terms).for_each(|(s, (g, x))| *s += g * x);
                }
                None => sums.iter_mut().zip(&grad[here]).for_each(|(s, g)| *s += g),
            }
        }
    });
    for (task, sums) in parts.chunks_exact((num_groups * COLUMNS).max(1)).enumerate() {
        let columns = task * COLUMNS..dim.min((task + 1) * COLUMNS);
        for (table, sums) in grad_table.chunks_exact_mut(dim).zip(sums.chunks_exact(COLUMNS)) {
            table[columns.clone()].iter_mut().zip(sums).for_each(|(t, s)| *t += s);
        }
    }
}

/// Divides each row of `x: [rows, dim]` by its `divisor: [rows]` plus `eps`.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn divide(exec: &Exec, x: &[f32], divisor: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "lengths of x and out");
    assert!(divisor.is_empty() == x.is_empty() && x.len().is_multiple_of(divisor.len().max(1)));
    if x.is_empty() {
        return;
    }
    let dim = x.len() / divisor.len();
    let rows = exec.threads.rows_per_task(divisor.len(), 8);
    exec.threads.for_each_chunk(out, rows * dim, |task, out| {
        let (x, divisor) = (&x[task * rows * dim..], &divisor[task * rows..]);
        for ((out, x), d) in out.chunks_exact_mut(dim).zip(x.chunks_exact(dim)).zip(divisor) {
            let d = d + eps;
            out.iter_mut().zip(x).for_each(|(o, x)| *o = x / d);
        }
    });
}

/// The derivative of [`divide`], from its `out` and `grad`; both gradients are written.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn divide_backward(
    exec: &Exec,
    out: &[f32],
    divisor: &[f32],
    eps: f32,
    grad: &[f32],
    grad_x: &mut [f32],
    grad_divisor: &mut [f32],
) {
    assert_eq!(out.len(), grad.len(), "lengths of out and grad");
    assert_eq!(grad_divisor.len(), divisor.len(), "lengths of divisor and its gradient");
    divide(exec, grad, divisor, eps, grad_x);
    let dim = grad.len() / divisor.len().max(1);
    exec.threads.for_each_chunk(grad_divisor, 256, |task, grads| {
        for (i, grad_divisor) in grads.iter_mut().enumerate() {
            let row = task * 256 + i;
            let row = row * dim..(row + 1) * dim;
            *grad_divisor =
                -out[row.clone()].iter().zip(&grad_x[row]).map(|(o, g)| o * g).sum::<f32>();
        }
    });
}

/// Width of the rows, if there are any elements.
#[track_caller]
fn width(x: &[f32], groups: &[usize]) -> Option<usize> {
    if x.is_empty() {
        return None;
    }
    let rows = groups.len();
    assert!(rows > 0 && x.len().is_multiple_of(rows), "{} elements in {rows} rows", x.len());
    Some(x.len() / rows)
}

/// The definition of [`affine`], in f64.
pub fn reference(x: &[f64], scale: &[f64], shift: &[f64], groups: &[usize]) -> Vec<f64> {
    let dim = x.len() / groups.len();
    let at = |i: usize| groups[i / dim] * dim + i % dim;
    x.iter().enumerate().map(|(i, x)| x * scale[at(i)] + shift[at(i)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::cpu::wide;
    use crate::testing::{assert_close, assert_gradient, execs, random};

    #[test]
    fn rows_of_any_width() {
        for (rows, dim, num_groups) in [(1, 1, 1), (3, 7, 2), (130, 65, 4), (100, 1, 100)] {
            let mut rng = Rng(rows as u64);
            let x = random(&mut rng, rows * dim);
            let groups: Vec<usize> = (0..rows).map(|_| rng.below(num_groups)).collect();
            let [scale, shift] = [0, 1].map(|_| random(&mut rng, num_groups * dim));
            let (ones, zeros) = (vec![1.0; scale.len()], vec![0.0; scale.len()]);
            for exec in execs() {
                for (a, b) in [(true, true), (true, false), (false, true), (false, false)] {
                    let (a, b) = (a.then_some(&scale), b.then_some(&shift));
                    let wide_scale = wide(a.unwrap_or(&ones));
                    let wide_shift = wide(b.unwrap_or(&zeros));
                    let want = reference(&wide(&x), &wide_scale, &wide_shift, &groups);
                    let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
                    let mut out = vec![f32::NAN; x.len()];
                    let (a, b) = (a.map(|a| &a[..]), b.map(|b| &b[..]));
                    affine(&exec, &x, a, b, &groups, &mut out);
                    assert_close("affine", &want, &out, 1e-6);
                }
            }
        }
    }

    #[test]
    fn gradients() {
        let (rows, dim) = (9, 70);
        let groups = [0, 2, 2, 1, 0, 0, 2, 1, 1];
        let mut rng = Rng(4);
        let (x, grad) = (random(&mut rng, rows * dim), random(&mut rng, rows * dim));
        let [scale, shift] = [0, 1].map(|_| random(&mut rng, 3 * dim));
        let loss = |x: &[f64], scale: &[f64], shift: &[f64]| -> f64 {
            let out = reference(x, scale, shift, &groups);
            out.iter().zip(&grad).map(|(o, g)| o * f64::from(*g)).sum()
        };
        let (wx, wa, wb) = (wide(&x), wide(&scale), wide(&shift));
        for exec in execs() {
            let (mut ga, mut gb) = (vec![0.0; scale.len()], vec![0.0; shift.len()]);
            affine_backward(&exec, Some(&x), &groups, &grad, &mut ga);
            affine_backward(&exec, None, &groups, &grad, &mut gb);
            let mut gx = vec![f32::NAN; x.len()];
            affine(&exec, &grad, Some(&scale), None, &groups, &mut gx);
            assert_gradient("x", &x, &gx, |x| loss(x, &wa, &wb), 1e-5);
            assert_gradient("scale", &scale, &ga, |a| loss(&wx, a, &wb), 1e-5);
            assert_gradient("shift", &shift, &gb, |b| loss(&wx, &wa, b), 1e-5);
        }
    }

    #[test]
    fn rows_divided() {
        for (rows, dim) in [(0, 1), (1, 1), (5, 3), (300, 17)] {
            let mut rng = Rng(7);
            let (x, grad) = (random(&mut rng, rows * dim), random(&mut rng, rows * dim));
            let d: Vec<f32> = (0..rows).map(|_| 0.5 + rng.unit()).collect();
            let quotient = |x: &[f64], d: &[f64]| -> Vec<f64> {
                x.iter().enumerate().map(|(i, x)| x / (d[i / dim] + 1e-3)).collect()
            };
            let (wx, wd) = (wide(&x), wide(&d));
            let want: Vec<f32> = quotient(&wx, &wd).iter().map(|&x| x as f32).collect();
            let loss = |x: &[f64], d: &[f64]| -> f64 {
                quotient(x, d).iter().zip(&grad).map(|(q, g)| q * f64::from(*g)).sum()
            };
            for exec in execs() {
                let mut out = vec![f32::NAN; x.len()];
                divide(&exec, &x, &d, 1e-3, &mut out);
                assert_close("quotient", &want, &out, 1e-6);
                let (mut gx, mut gd) = (vec![f32::NAN; x.len()], vec![f32::NAN; rows]);
                divide_backward(&exec, &out, &d, 1e-3, &grad, &mut gx, &mut gd);
                if rows <= 5 {
                    assert_gradient("x", &x, &gx, |x| loss(x, &wd), 1e-5);
                    assert_gradient("divisor", &d, &gd, |d| loss(&wx, d), 1e-5);
                }
            }
        }
    }
}
