//! Muon on the GPU: see [`crate::muon`] for the formula.
//!
//! All matrices of a shape go through the same 17 launches, in which one small matrix alone leaves
//! most of the GPU idle: what [`muon_stacks`] is given at once costs little more than one of them.

use super::elementwise::{f64_at, f64s, launch_scaled_sum};
use super::{Arg, Cuda, DeviceVec};
use crate::muon::{COEFFICIENTS, Muon, ROUNDS};

/// As in the kernels: threads of a block, rows and columns of a tile.
const THREADS: usize = 256;
const TILE: usize = 64;

/// Elements for which the momentum of a matrix takes one more block, and most blocks of a matrix:
/// one sum of squares for each thread of a block.
const PER_BLOCK: usize = 4 * THREADS;
const MAX_BLOCKS: usize = THREADS;

/// A parameter of one or several matrices, `[count, rows, cols]`.
#[derive(Debug)]
pub struct Stack<'a> {
    /// The matrices.
    pub param: &'a mut DeviceVec<f32>,
    /// The gradient for them.
    pub gradient: &'a DeviceVec<f32>,
    /// The sum of gradients, zeros at first.
    pub m: &'a mut DeviceVec<f32>,
}

/// One step of a stack of matrices, `[count, rows, cols]`, each by itself; the gradient is
/// multiplied by `grad_scale` first. `m` is the sum of gradients, zeros at first.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn muon(
    cuda: &Cuda,
    settings: &Muon,
    [count, rows, cols]: [usize; 3],
    param: &mut DeviceVec<f32>,
    gradient: &DeviceVec<f32>,
    grad_scale: f32,
    m: &mut DeviceVec<f32>,
) {
    let n = count * rows * cols;
    let lengths = (param.len(), gradient.len(), m.len());
    assert_eq!(lengths, (n, n, n), "param, gradient, m: [{count}, {rows}, {cols}]");
    let stack = Stack { param, gradient, m };
    muon_stacks(cuda, settings, [rows, cols], &mut [stack], grad_scale);
}

/// [`muon`] for several parameters, all of matrices `[rows, cols]`.
///
/// # Panics
///
/// If lengths disagree or are no multiple of `rows * cols`.
#[track_caller]
pub fn muon_stacks(
    cuda: &Cuda,
    settings: &Muon,
    [rows, cols]: [usize; 2],
    stacks: &mut [Stack<'_>],
    grad_scale: f32,
) {
    let size = rows * cols;
    let mut count = 0;
    for Stack { param, gradient, m } in &*stacks {
        let n = param.len();
        assert_eq!((gradient.len(), m.len()), (n, n), "lengths of param, gradient and m");
        assert!(
            if size == 0 { n == 0 } else { n.is_multiple_of(size) },
            "{n} elements are no matrices of [{rows}, {cols}]"
        );
        count += n.checked_div(size).unwrap_or(0);
    }
    if count == 0 {
        return;
    }
    let mut x = cuda.output(count * size);
    directions(cuda, settings, size, stacks, grad_scale, &mut x);
    let x = orthogonalize(cuda, x, [count, rows, cols]);
    let keep = 1.0 - settings.lr * settings.weight_decay;
    let rate = settings.lr * 0.2 * (rows.max(cols) as f32).sqrt();
    let mut first = 0;
    for Stack { param, .. } in stacks {
        let n = param.len();
        let p: Arg = (&mut **param).into();
        // SAFETY: `param` has n elements, and x those of all parameters one after another.
        unsafe { launch_scaled_sum(cuda, keep, p, -rate, x.at(first), p, n) };
        first += n;
    }
}

/// Updates the sums of gradients; `x`: the directions of all matrices, each divided by its norm.
fn directions(
    cuda: &Cuda,
    settings: &Muon,
    size: usize,
    stacks: &mut [Stack<'_>],
    grad_scale: f32,
    x: &mut DeviceVec<f32>,
) {
    let blocks = size.div_ceil(PER_BLOCK).min(MAX_BLOCKS);
    let count = x.len() / size;
    let sums = f64s(cuda, count * blocks);
    let mut first = 0;
    for Stack { gradient, m, .. } in stacks {
        let matrices = m.len() / size;
        let args = [
            (*gradient).into(),
            grad_scale.into(),
            settings.momentum.into(),
            size.into(),
            blocks.into(),
            (&mut **m).into(),
            x.at(first * size),
            f64_at(&sums, first * blocks),
        ];
        // SAFETY: gradient and m are `matrices` of `size`, x and the sums have as many from their
        // addresses on.
        unsafe { cuda.launch("muon_momentum", [matrices * blocks, 1, 1], THREADS, &args) };
        first += matrices;
    }
    let args = [x.into(), (&sums).into(), size.into(), blocks.into()];
    // SAFETY: x is `count` matrices of `size`, each with `blocks <= THREADS` sums.
    unsafe { cuda.launch("muon_normalize", [count * blocks, 1, 1], THREADS, &args) };
}

/// Brings the singular values of each matrix of `x: [count, rows, cols]` near 1; its norm is 1.
fn orthogonalize(
    cuda: &Cuda,
    mut x: DeviceVec<f32>,
    [count, rows, cols]: [usize; 3],
) -> DeviceVec<f32> {
    let n = rows.min(cols);
    let mut gram = cuda.output::<f32>(count * n * n);
    let mut polynomial = cuda.output::<f32>(count * n * n);
    let mut next = cuda.output::<f32>(x.len());
    let grid = |rows: usize, cols: usize| [count * rows.div_ceil(TILE) * cols.div_ceil(TILE), 1, 1];
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..ROUNDS {
        // The smaller of X X^T and X^T X.
        let name = if rows <= cols { "muon_gram_of_rows" } else { "muon_gram_of_cols" };
        let args = [(&x).into(), rows.into(), cols.into(), (&mut gram).into()];
        // SAFETY: x is [count, rows, cols], gram [count, n, n].
        unsafe { cuda.launch(name, grid(n, n), THREADS, &args) };
        let out = (&mut polynomial).into();
        let args = [(&gram).into(), n.into(), a.into(), b.into(), c.into(), out];
        // SAFETY: both are [count, n, n].
        unsafe { cuda.launch("muon_polynomial", grid(n, n), THREADS, &args) };
        let (lhs, rhs) = if rows <= cols { (&polynomial, &x) } else { (&x, &polynomial) };
        let out = (&mut next).into();
        let args = [lhs.into(), rhs.into(), rows.into(), n.into(), cols.into(), out];
        // SAFETY: lhs is [count, rows, n], rhs [count, n, cols], next [count, rows, cols].
        unsafe { cuda.launch("muon_product", grid(rows, cols), THREADS, &args) };
        std::mem::swap(&mut x, &mut next);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng, muon};

    const SETTINGS: Muon = Muon { lr: 0.02, momentum: 0.95, weight_decay: 0.1 };

    #[test]
    fn three_steps() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let exec = Exec::new(1);
        for shape in [
            [0, 3, 3],
            [2, 0, 3],
            [1, 1, 1],
            [2, 1, 7],
            [3, 5, 9],
            [2, 17, 6],
            [2, 65, 70],
            [2, 130, 67],
            [8, 128, 128],
            [1, 384, 128],
        ] {
            let len = shape.iter().product();
            let mut rng = Rng(4);
            let mut p = random(&mut rng, len);
            let mut m = vec![0.0; len];
            let (mut device_p, mut device_m) = (cuda.upload(&p), cuda.zeros(len));
            for _ in 0..3 {
                let g = random(&mut rng, len);
                muon::muon(&exec, &SETTINGS, shape, &mut p, &g, 0.5, &mut m);
                let g = cuda.upload(&g);
                muon(&cuda, &SETTINGS, shape, &mut device_p, &g, 0.5, &mut device_m);
            }
            assert_close(&format!("param {shape:?}"), &p, &device_p.to_vec(), 1e-4);
            assert_close(&format!("m {shape:?}"), &m, &device_m.to_vec(), 1e-5);
        }
    }

    #[test]
    fn zeros_stay() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let settings = Muon { weight_decay: 0.0, ..SETTINGS };
        let (mut p, mut m) = (cuda.upload(&[1.0f32; 24]), cuda.zeros(24));
        muon(&cuda, &settings, [2, 3, 4], &mut p, &cuda.zeros(24), 1.0, &mut m);
        assert_eq!(p.to_vec(), [1.0; 24]);
    }

    /// Together they give the same bits as each by itself.
    #[test]
    fn several_stacks() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let (rows, cols) = (9, 7);
        let mut rng = Rng(5);
        let mut upload = |count: usize| cuda.upload(&random(&mut rng, count * rows * cols));
        let mut params = [upload(2), upload(0), upload(1)];
        let gradients = [upload(2), upload(0), upload(1)];
        let mut ms = [upload(2), upload(0), upload(1)];
        let mut alone = params.each_ref().map(DeviceVec::duplicate);
        let mut ms_alone = ms.each_ref().map(DeviceVec::duplicate);
        for (i, count) in [2, 0, 1].into_iter().enumerate() {
            let (p, m) = (&mut alone[i], &mut ms_alone[i]);
            muon(&cuda, &SETTINGS, [count, rows, cols], p, &gradients[i], 0.5, m);
        }
        let mut stacks: Vec<Stack<'_>> = params
            .iter_mut()
            .zip(&gradients)
            .zip(&mut ms)
            .map(|((param, gradient), m)| Stack { param, gradient, m })
            .collect();
        muon_stacks(&cuda, &SETTINGS, [rows, cols], &mut stacks, 0.5);
        for i in 0..params.len() {
            assert_eq!(alone[i].to_vec(), params[i].to_vec());
            assert_eq!(ms_alone[i].to_vec(), ms[i].to_vec());
        }
    }
}
