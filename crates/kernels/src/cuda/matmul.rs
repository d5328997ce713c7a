//! Matrix products on the GPU, of runs of rows with one weight each.
//!
//! ```text
//! out = x W_g^T            grad_x = grad W_g            grad_w_g = grad_g^T x_g
//! x, grad_x: [rows, k]     out, grad: [rows, n]         w, grad_w: [groups, n, k]
//! ```
//!
//! The rows of group g are `offsets[g]..offsets[g + 1]`, in a vector `[groups + 1]` on the GPU that
//! starts with 0 and ends with `rows`; runs may be empty. With one group this is the plain product.
//! Offsets that fall or pass `rows` leave rows out, or count them twice, and touch nothing else.
//!
//! Compute-bound: `2 rows n k` flops each. An element of `out` and `grad_x` is one chain of fused
//! multiply-adds in the order of the depth; one of `grad_w` is a sum of such chains, over pieces of
//! a fixed number of rows.

use super::{Cuda, DeviceVec};

/// As in the kernels: rows and columns of a tile, elements that a block of the last sum owns.
const ROWS: usize = 128;
const COLS: usize = 64;
const SUM_WIDTH: usize = 32;
const THREADS: usize = 256;

/// The rows are cut so that about as many blocks have work: a few for each multiprocessor.
const BLOCKS: usize = 512;
/// Rows of a piece at least, and what they are a multiple of: the depth of a slice.
const MIN_PIECE: usize = 128;
const DEPTH: usize = 16;

/// Largest number of groups: blocks along y.
const MAX_GROUPS: usize = 65_535;

/// `x W_g^T: [rows, n]` of `x: [rows, k]`, `w: [groups, n, k]` and `offsets: [groups + 1]`.
///
/// # Panics
///
/// If lengths disagree, or there are no or more than 65 535 groups.
#[track_caller]
pub fn grouped_linear(
    cuda: &Cuda,
    x: &DeviceVec<f32>,
    w: &DeviceVec<f32>,
    offsets: &DeviceVec<u32>,
    [rows, n, k]: [usize; 3],
) -> DeviceVec<f32> {
    assert_eq!(x.len(), rows * k, "x must be [{rows}, {k}]");
    rows_by_weight(cuda, "matmul_linear", x, w, offsets, [rows, n, k], n)
}

/// `grad W_g: [rows, k]` of `grad: [rows, n]`, `w: [groups, n, k]` and `offsets: [groups + 1]`: the
/// gradient of [`grouped_linear`] for `x`.
///
/// # Panics
///
/// If lengths disagree, or there are no or more than 65 535 groups.
#[track_caller]
pub fn grouped_linear_grad_x(
    cuda: &Cuda,
    grad: &DeviceVec<f32>,
    w: &DeviceVec<f32>,
    offsets: &DeviceVec<u32>,
    [rows, n, k]: [usize; 3],
) -> DeviceVec<f32> {
    assert_eq!(grad.len(), rows * n, "grad must be [{rows}, {n}]");
    rows_by_weight(cuda, "matmul_grad_x", grad, w, offsets, [rows, n, k], k)
}

/// What the two products of rows with a weight have in common: `kernel` makes `[rows, cols]` of `a`,
/// whose length the caller has checked.
#[track_caller]
fn rows_by_weight(
    cuda: &Cuda,
    kernel: &'static str,
    a: &DeviceVec<f32>,
    w: &DeviceVec<f32>,
    offsets: &DeviceVec<u32>,
    [rows, n, k]: [usize; 3],
    cols: usize,
) -> DeviceVec<f32> {
    let groups = num_groups(offsets);
    assert_eq!(w.len(), groups * n * k, "w must be [{groups}, {n}, {k}]");
    let mut out = cuda.output(rows * cols);
    let grid = [pieces(rows, groups, ROWS) * cols.div_ceil(COLS), 1, 1];
    // SAFETY: a, w and out have the lengths that rows, n, k and groups say, and the kernel takes no
    // row beyond `rows` from the offsets, of which there are groups + 1.
    unsafe {
        let args = [
            a.into(),
            w.into(),
            offsets.into(),
            groups.into(),
            rows.into(),
            n.into(),
            k.into(),
            (&mut out).into(),
        ];
        cuda.launch(kernel, grid, THREADS, &args);
    }
    out
}

/// `grad_g^T x_g: [groups, n, k]` of `grad: [rows, n]`, `x: [rows, k]` and `offsets: [groups + 1]`:
/// the gradient of [`grouped_linear`] for `w`; zeros for a group without rows.
///
/// # Panics
///
/// If lengths disagree, or there are no or more than 65 535 groups.
#[track_caller]
pub fn grouped_linear_grad_w(
    cuda: &Cuda,
    grad: &DeviceVec<f32>,
    x: &DeviceVec<f32>,
    offsets: &DeviceVec<u32>,
    [rows, n, k]: [usize; 3],
) -> DeviceVec<f32> {
    let groups = num_groups(offsets);
    assert_eq!(grad.len(), rows * n, "grad must be [{rows}, {n}]");
    assert_eq!(x.len(), rows * k, "x must be [{rows}, {k}]");
    let size = n * k;
    let tiles = n.div_ceil(ROWS) * k.div_ceil(COLS);
    let piece_rows = rows_of_a_piece(rows, tiles);
    let num_pieces = pieces(rows, groups, piece_rows);
    let mut partial = cuda.output::<f32>(num_pieces * size);
    let mut out = cuda.output(groups * size);
    // SAFETY: as in `grouped_linear`; `partial` has a [n, k] for each piece that any offsets can
    // give, and the second kernel reads those that the first has written, from the same offsets.
    unsafe {
        let args = [
            grad.into(),
            x.into(),
            offsets.into(),
            groups.into(),
            rows.into(),
            n.into(),
            k.into(),
            piece_rows.into(),
            (&mut partial).into(),
        ];
        cuda.launch("matmul_grad_w", [num_pieces * tiles, 1, 1], THREADS, &args);
        let args = [
            (&partial).into(),
            offsets.into(),
            rows.into(),
            size.into(),
            piece_rows.into(),
            (&mut out).into(),
        ];
        let grid = [size.div_ceil(SUM_WIDTH), groups, 1];
        cuda.launch("matmul_grad_w_sum", grid, THREADS, &args);
    }
    out
}

#[track_caller]
fn num_groups(offsets: &DeviceVec<u32>) -> usize {
    let groups = offsets.len().saturating_sub(1);
    assert!(
        (1..=MAX_GROUPS).contains(&groups),
        "{} offsets: one more than the 1 to {MAX_GROUPS} groups",
        offsets.len()
    );
    groups
}

/// Most pieces of `height` rows that `groups` runs of `rows` rows together can be cut into.
fn pieces(rows: usize, groups: usize, height: usize) -> usize {
    if rows == 0 { 0 } else { (rows + groups * (height - 1)) / height }
}

fn rows_of_a_piece(rows: usize, tiles: usize) -> usize {
    let pieces = (BLOCKS / tiles.max(1)).max(1);
    rows.div_ceil(pieces).max(MIN_PIECE).next_multiple_of(DEPTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matmul::{Mat, MatMut, matmul};
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng};

    /// Offsets, n and k.
    const SHAPES: [(&[u32], usize, usize); 10] = [
        (&[0, 1], 1, 1),
        (&[0, 0], 5, 6),
        (&[0, 5, 5, 13], 3, 7),
        (&[0, 0, 130, 131, 259, 259], 65, 66),
        (&[0, 300], 128, 128),
        (&[0, 70, 140, 300], 260, 20),
        (&[0, 33], 4, 260),
        (&[0, 50], 8, 0),
        (&[0, 2_050], 128, 128),
        (&[0, 400, 1_100, 1_100, 1_500, 1_501, 3_000, 3_128, 4_001], 128, 64),
    ];

    fn product(exec: &Exec, a: Mat<'_>, b: Mat<'_>) -> Vec<f32> {
        let (rows, cols) = (a.rows(), b.cols());
        let mut out = vec![0.0; rows * cols];
        matmul(exec, a, b, MatMut::row_major(&mut out, rows, cols), false);
        out
    }

    #[test]
    fn products_of_each_group() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let exec = Exec::new(1);
        for (offsets, n, k) in SHAPES {
            let groups = offsets.len() - 1;
            let rows = offsets[groups] as usize;
            let mut rng = Rng((rows + n) as u64);
            let x = random(&mut rng, rows * k);
            let w = random(&mut rng, groups * n * k);
            let grad = random(&mut rng, rows * n);
            let [mut out, mut grad_x, mut grad_w] = [const { Vec::new() }; 3];
            for (group, run) in offsets.windows(2).enumerate() {
                let (begin, end) = (run[0] as usize, run[1] as usize);
                let height = end - begin;
                let x = Mat::row_major(&x[begin * k..end * k], height, k);
                let grad = Mat::row_major(&grad[begin * n..end * n], height, n);
                let w = Mat::row_major(&w[group * n * k..][..n * k], n, k);
                out.extend(product(&exec, x, w.t()));
                grad_x.extend(product(&exec, grad, w));
                grad_w.extend(product(&exec, grad.t(), x));
            }
            let what = |name: &str| format!("{name} of offsets {offsets:?}, n {n}, k {k}");
            let shape = [rows, n, k];
            let [x, w, grad] = [x, w, grad].map(|data| cuda.upload(&data));
            let offsets = cuda.upload(offsets);
            let got = grouped_linear(&cuda, &x, &w, &offsets, shape).to_vec();
            assert_close(&what("out"), &out, &got, 1e-5);
            let got = grouped_linear_grad_x(&cuda, &grad, &w, &offsets, shape).to_vec();
            assert_close(&what("grad_x"), &grad_x, &got, 1e-5);
            let got = grouped_linear_grad_w(&cuda, &grad, &x, &offsets, shape).to_vec();
            assert_close(&what("grad_w"), &grad_w, &got, 1e-5);
        }
    }

    #[test]
    fn pieces_are_enough_for_any_runs_and_not_many() {
        for (rows, tiles) in
            [(1, 1), (65_536, 2), (131_072, 2), (65_536, 6), (500_000, 9), (7, 999)]
        {
            let height = rows_of_a_piece(rows, tiles);
            assert_eq!(height % DEPTH, 0);
            assert_eq!(pieces(rows, 1, height), rows.div_ceil(height));
            assert!(pieces(rows, 1, height) * tiles <= BLOCKS.max(tiles));
        }
        // Runs of 1, 1 and 129 rows.
        assert!(pieces(131, 3, 128) >= 4);
        assert_eq!(pieces(0, 3, 128), 0);
    }
}
