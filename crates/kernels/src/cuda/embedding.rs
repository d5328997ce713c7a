//! Embedding on the GPU: rows picked from a table, and their gradients summed back.
//!
//! Memory-bound: one row read and written per token. A token may come many times, so its gradients
//! are summed in pieces of 64, in the order of the tokens, and then the pieces in fixed order.

use super::{Cuda, DeviceVec};

/// Gradients of one id that one thread sums.
const PIECE: usize = 64;
/// Columns and rows of a block, as in `embedding.cu`.
const PIECE_COLUMNS: usize = 128;
const ID_COLUMNS: usize = 32;
const ROWS: usize = 8;
const THREADS: usize = 256;

/// `table[ids[i]]` for each id, from `table: [vocab, hidden]` to `[ids, hidden]`. Ids are on the
/// GPU and not looked at here: the row of one outside the vocabulary is NaN.
///
/// # Panics
///
/// If the table is not a whole number of rows.
#[track_caller]
pub fn embedding(
    cuda: &Cuda,
    table: &DeviceVec<f32>,
    hidden: usize,
    ids: &DeviceVec<u32>,
) -> DeviceVec<f32> {
    assert!(hidden > 0 && table.len().is_multiple_of(hidden), "table must be [vocab, {hidden}]");
    pick(cuda, table, hidden, ids)
}

/// The derivative of [`embedding`], `[vocab, hidden]`: to each id the sum of its rows of
/// `grad: [ids, hidden]`.
///
/// # Panics
///
/// If an id is out of bounds or lengths disagree.
#[track_caller]
pub fn embedding_backward(
    cuda: &Cuda,
    ids: &[u32],
    vocab: usize,
    hidden: usize,
    grad: &DeviceVec<f32>,
) -> DeviceVec<f32> {
    assert_eq!(grad.len(), ids.len() * hidden, "grad must be [ids, hidden]");
    let Pieces { order, starts, of_ids } = Pieces::new(ids, vocab);
    let pieces = starts.len() - 1;
    let (order, starts, of_ids) = (cuda.upload(&order), cuda.upload(&starts), cuda.upload(&of_ids));
    let mut sums = cuda.output::<f32>(pieces * hidden);
    let args = [grad.into(), (&order).into(), (&starts).into(), (&mut sums).into(), hidden.into()];
    let grid = [pieces, hidden.div_ceil(PIECE_COLUMNS), 1];
    // SAFETY: starts are pieces + 1 bounds within order, which holds rows of grad: [ids, hidden].
    unsafe { cuda.launch("embedding_sum_pieces", grid, PIECE_COLUMNS, &args) };
    let mut grad_table = cuda.output(vocab * hidden);
    let args = [(&sums).into(), (&of_ids).into(), (&mut grad_table).into(), hidden.into()];
    let grid = [vocab, hidden.div_ceil(ID_COLUMNS), 1];
    // SAFETY: of_ids are vocab + 1 bounds within sums: [pieces, hidden].
    unsafe { cuda.launch("embedding_sum_ids", grid, THREADS, &args) };
    grad_table
}

/// `x[indices[i]]` for each index, from `x: [rows, dim]` to `[indices, dim]`. The row of an index
/// outside `x` is NaN.
///
/// # Panics
///
/// If `x` is not a whole number of rows.
#[track_caller]
pub fn take_rows(
    cuda: &Cuda,
    x: &DeviceVec<f32>,
    dim: usize,
    indices: &DeviceVec<u32>,
) -> DeviceVec<f32> {
    assert!(dim > 0 && x.len().is_multiple_of(dim), "x must be [rows, {dim}]");
    pick(cuda, x, dim, indices)
}

/// The derivative of [`take_rows`], `[rows, dim]`, for `grad: [indices, dim]`. `indices` must
/// ascend; an index may come again, and its gradients are summed one after the other.
///
/// # Panics
///
/// If lengths disagree.
#[track_caller]
pub fn take_rows_backward(
    cuda: &Cuda,
    indices: &DeviceVec<u32>,
    rows: usize,
    dim: usize,
    grad: &DeviceVec<f32>,
) -> DeviceVec<f32> {
    assert_eq!(grad.len(), indices.len() * dim, "grad must be [indices, dim]");
    let mut out = cuda.output(rows * dim);
    let args = [
        grad.into(),
        indices.into(),
        indices.len().into(),
        (&mut out).into(),
        rows.into(),
        dim.into(),
    ];
    let grid = [rows.div_ceil(ROWS), 1, 1];
    // SAFETY: grad is [indices, dim], out [rows, dim]; whatever the indices are, the kernel reads
    // within their number.
    unsafe { cuda.launch("embedding_take_rows_backward", grid, THREADS, &args) };
    out
}

fn pick(cuda: &Cuda, x: &DeviceVec<f32>, dim: usize, indices: &DeviceVec<u32>) -> DeviceVec<f32> {
    let rows = indices.len();
    let mut out = cuda.output(rows * dim);
    let args = [
        x.into(),
        indices.into(),
        (&mut out).into(),
        (x.len() / dim).into(),
        rows.into(),
        dim.into(),
    ];
    let grid = [rows.div_ceil(ROWS), 1, 1];
    // SAFETY: out is [indices, dim]; the kernel reads no row outside x.
    unsafe { cuda.launch("embedding_take_rows", grid, THREADS, &args) };
    out
}

/// The positions of each id, cut into pieces.
struct Pieces {
    /// Positions sorted by id, those of one id in order.
    order: Vec<u32>,
    /// Where each piece starts in `order`, and where the last one ends.
    starts: Vec<u32>,
    /// First piece of each id, and the number of pieces.
    of_ids: Vec<u32>,
}

impl Pieces {
    #[track_caller]
    fn new(ids: &[u32], vocab: usize) -> Self {
        assert!(u32::try_from(ids.len()).is_ok(), "ids below 2^32");
        let mut ends = vec![0usize; vocab];
        for &id in ids {
            assert!((id as usize) < vocab, "id {id} in a vocabulary of {vocab}");
            ends[id as usize] += 1;
        }
        let (mut starts, mut of_ids, mut first) = (vec![], vec![0], 0);
        for end in &mut ends {
            let range = first..first + *end;
            starts.extend(range.clone().step_by(PIECE).map(|start| start as u32));
            of_ids.push(starts.len() as u32);
            // From here on the next free place; the end, when all are placed.
            *end = range.start;
            first = range.end;
        }
        starts.push(first as u32);
        let mut order = vec![0; ids.len()];
        for (i, &id) in ids.iter().enumerate() {
            order[ends[id as usize]] = i as u32;
            ends[id as usize] += 1;
        }
        Self { order, starts, of_ids }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng, embedding};

    #[test]
    fn positions_are_sorted_by_id_and_cut_into_pieces() {
        let mut ids = vec![2; PIECE + 1];
        ids.extend([0, 3, 0]);
        let Pieces { order, starts, of_ids } = Pieces::new(&ids, 5);
        let n = PIECE as u32;
        assert_eq!(order[..2], [n + 1, n + 3]);
        assert_eq!(order[2..PIECE + 3], (0..=n).collect::<Vec<_>>());
        assert_eq!(order[PIECE + 3..], [n + 2]);
        assert_eq!(starts, [0, 2, n + 2, n + 3, n + 4]);
        assert_eq!(of_ids, [0, 1, 1, 3, 4, 4]);
        let Pieces { order, starts, of_ids } = Pieces::new(&[], 2);
        assert_eq!((order, starts, of_ids), (vec![], vec![0], vec![0; 3]));
    }

    #[test]
    fn rows_there_and_gradients_back_as_on_the_cpu() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let exec = Exec::new(1);
        let shapes =
            [(5, 3, 0), (1, 1, 1), (4, 3, 3), (7, 12, 3000), (260, 128, 20_000), (33, 140, 400)];
        for (vocab, hidden, n) in shapes {
            let mut rng = Rng(hidden as u64);
            // One id in ten is the same.
            let mut draw = || if rng.chance(0.1) { vocab / 2 } else { rng.below(vocab) };
            let ids: Vec<u32> = (0..n).map(|_| draw() as u32).collect();
            let table = random(&mut rng, vocab * hidden);
            let grad = random(&mut rng, n * hidden);
            let mut want = vec![f32::NAN; n * hidden];
            embedding::embedding(&exec, (&table).into(), hidden, &ids, &mut want);
            let got = embedding(&cuda, &cuda.upload(&table), hidden, &cuda.upload(&ids));
            assert_eq!(want, got.to_vec());
            let mut want = vec![0.0; vocab * hidden];
            embedding::embedding_backward(&ids, hidden, &grad, &mut want);
            let device_grad = cuda.upload(&grad);
            let got = embedding_backward(&cuda, &ids, vocab, hidden, &device_grad);
            assert_close("embedding_backward", &want, &got.to_vec(), 1e-5);

            let mut ascending = ids;
            ascending.sort_unstable();
            let indices = cuda.upload(&ascending);
            let got = take_rows(&cuda, &cuda.upload(&table), hidden, &indices).to_vec();
            for (&index, row) in ascending.iter().zip(got.chunks_exact(hidden)) {
                assert_eq!(table[index as usize * hidden..][..hidden], *row);
            }
            want.fill(0.0);
            embedding::embedding_backward(&ascending, hidden, &grad, &mut want);
            let got = take_rows_backward(&cuda, &indices, vocab, hidden, &device_grad);
            assert_close("take_rows_backward", &want, &got.to_vec(), 1e-5);
        }
    }

    #[test]
    fn few_rows_of_many() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let (rows, dim) = (30_001, 4);
        let indices = [0, 1, 77, 77, 29_999, 30_000];
        let grad: Vec<f32> = (0..indices.len() * dim).map(|x| x as f32).collect();
        let mut want = vec![0.0; rows * dim];
        embedding::embedding_backward(&indices, dim, &grad, &mut want);
        let indices = cuda.upload(&indices);
        let got = take_rows_backward(&cuda, &indices, rows, dim, &cuda.upload(&grad));
        assert_eq!(want, got.to_vec());
    }

    #[test]
    fn rows_outside_the_table_are_nan() {
        let Some(cuda) = crate::cuda::testing::cuda() else { return };
        let table = cuda.upload(&[1.0, 2.0, 3.0, 4.0]);
        let got = embedding(&cuda, &table, 2, &cuda.upload(&[1, 2])).to_vec();
        assert_eq!(got[..2], [3.0, 4.0]);
        assert!(got[2].is_nan() && got[3].is_nan(), "{got:?}");
    }
}
