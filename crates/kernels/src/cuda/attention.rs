//! Causal softmax attention with grouped queries, over all sequences of a batch at once.
//!
//! Sequences lie one after the other, in the rows of q as in those of k and v; each row of q says
//! which keys it sees. Online softmax: a block owns 64 rows of one head and the keys go by. The
//! derivative of q is computed by rows again, those of k and v by keys, each with the rows that see
//! them; the weights are computed again from the kept logarithms of the sums.

use super::{Cuda, DeviceVec};
use crate::attention::Attention;

/// Rows or keys and columns per block, as in `attention.cu`.
const ROWS: usize = 64;
const COLUMNS: usize = 32;
const BLOCK: usize = 128;
/// Threads of a block that sums over heads, one per warp.
const DELTA_BLOCK: usize = 256;
const WARP: usize = 32;

/// What the rows of q see of the keys of a batch.
#[derive(Debug)]
pub struct Rows {
    first_key: DeviceVec<u32>,
    end_key: DeviceVec<u32>,
    scales: DeviceVec<f32>,
    /// Beyond the last key that any row sees.
    end: usize,
}

impl Rows {
    /// Row `r` sees keys `first_key[r]..end_key[r]`, its scores multiplied by `scales[r]`.
    ///
    /// # Panics
    ///
    /// If lengths disagree, a row sees no key, or `first_key` or `end_key` decreases from one row
    /// to the next.
    #[track_caller]
    pub fn new(cuda: &Cuda, first_key: &[u32], end_key: &[u32], scales: &[f32]) -> Self {
        check_rows(first_key, end_key, scales);
        Self {
            first_key: cuda.upload(first_key),
            end_key: cuda.upload(end_key),
            scales: cuda.upload(scales),
            end: end_key.last().map_or(0, |&end| end as usize),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[track_caller]
fn check_rows(first_key: &[u32], end_key: &[u32], scales: &[f32]) {
    let rows = scales.len();
    assert_eq!((first_key.len(), end_key.len()), (rows, rows), "keys and scale of each row");
    if let Some(row) = (0..rows).find(|&row| first_key[row] >= end_key[row]) {
        panic!("row {row} sees no key: {}..{}", first_key[row], end_key[row]);
    }
    assert!(
        first_key.is_sorted() && end_key.is_sorted(),
        "rows must be in the order of their keys"
    );
}

/// Attends with `q: [rows, heads, head_dim]` over `k` and `v`, `[keys, kv_heads, head_dim]`.
///
/// Returns the output `[rows, heads, head_dim]` and the logarithms of the sums of exponentials,
/// `[rows, heads]`.
///
/// # Panics
///
/// If lengths disagree or a row sees keys that do not exist.
#[track_caller]
pub fn attention(
    cuda: &Cuda,
    shape: &Attention,
    q: &DeviceVec<f32>,
    k: &DeviceVec<f32>,
    v: &DeviceVec<f32>,
    rows: &Rows,
) -> (DeviceVec<f32>, DeviceVec<f32>) {
    check(shape, q, k, v, rows);
    let Attention { heads, kv_heads, head_dim } = *shape;
    let (mut out, mut lse) = (cuda.output(q.len()), cuda.output(rows.len() * heads));
    // SAFETY: the parameters of the kernel in its order; `check` has compared q, k and v with the
    // rows, and there is a row of out and lse for each.
    unsafe {
        cuda.launch(
            "attention_forward",
            [rows.len().div_ceil(ROWS), heads, head_dim.div_ceil(COLUMNS)],
            BLOCK,
            &[
                q.into(),
                k.into(),
                v.into(),
                (&rows.first_key).into(),
                (&rows.end_key).into(),
                (&rows.scales).into(),
                (&mut out).into(),
                (&mut lse).into(),
                rows.len().into(),
                heads.into(),
                kv_heads.into(),
                head_dim.into(),
            ],
        );
    }
    (out, lse)
}

/// From what [`attention`] had and made and the gradient of its output,
/// `grad: [rows, heads, head_dim]`, to those of q, k and v.
///
/// # Panics
///
/// If lengths disagree or a row sees keys that do not exist.
#[expect(clippy::too_many_arguments, reason = "each is one array of the operation")]
#[track_caller]
pub fn attention_backward(
    cuda: &Cuda,
    shape: &Attention,
    q: &DeviceVec<f32>,
    k: &DeviceVec<f32>,
    v: &DeviceVec<f32>,
    rows: &Rows,
    out: &DeviceVec<f32>,
    lse: &DeviceVec<f32>,
    grad: &DeviceVec<f32>,
) -> (DeviceVec<f32>, DeviceVec<f32>, DeviceVec<f32>) {
    check(shape, q, k, v, rows);
    let Attention { heads, kv_heads, head_dim } = *shape;
    assert_eq!(out.len(), q.len(), "out must be [rows, heads, head_dim]");
    assert_eq!(lse.len(), rows.len() * heads, "lse must be [rows, heads]");
    assert_eq!(grad.len(), q.len(), "grad must be [rows, heads, head_dim]");
    let num_keys = k.len() / (kv_heads * head_dim);
    let columns = head_dim.div_ceil(COLUMNS);
    let mut delta = cuda.output::<f32>(lse.len());
    let mut grad_q = cuda.output(q.len());
    let (mut grad_k, mut grad_v) = (cuda.output(k.len()), cuda.output(v.len()));
    // SAFETY: the parameters of the kernel in its order; out and grad have a head for each of delta.
    unsafe {
        cuda.launch(
            "attention_delta",
            [delta.len().div_ceil(DELTA_BLOCK / WARP), 1, 1],
            DELTA_BLOCK,
            &[out.into(), grad.into(), (&mut delta).into(), lse.len().into(), head_dim.into()],
        );
    }
    // SAFETY: as in `attention`; lse, delta, grad and the gradient of q have a row for each row.
    unsafe {
        cuda.launch(
            "attention_backward_query",
            [rows.len().div_ceil(ROWS), heads, columns],
            BLOCK,
            &[
                q.into(),
                k.into(),
                v.into(),
                (&rows.first_key).into(),
                (&rows.end_key).into(),
                (&rows.scales).into(),
                lse.into(),
                (&delta).into(),
                grad.into(),
                (&mut grad_q).into(),
                rows.len().into(),
                heads.into(),
                kv_heads.into(),
                head_dim.into(),
            ],
        );
    }
    // SAFETY: as before; the gradients of k and v have a row for each key.
    unsafe {
        cuda.launch(
            "attention_backward_key",
            [num_keys.div_ceil(ROWS), kv_heads, columns],
            BLOCK,
            &[
                q.into(),
                k.into(),
                v.into(),
                (&rows.first_key).into(),
                (&rows.end_key).into(),
                (&rows.scales).into(),
                lse.into(),
                (&delta).into(),
                grad.into(),
                (&mut grad_k).into(),
                (&mut grad_v).into(),
                rows.len().into(),
                num_keys.into(),
                heads.into(),
                kv_heads.into(),
                head_dim.into(),
            ],
        );
    }
    (grad_q, grad_k, grad_v)
}

#[track_caller]
fn check(
    shape: &Attention,
    q: &DeviceVec<f32>,
    k: &DeviceVec<f32>,
    v: &DeviceVec<f32>,
    rows: &Rows,
) {
    shape.check();
    let Attention { heads, kv_heads, head_dim } = *shape;
    assert!(heads > 0 && head_dim > 0, "{shape:?}");
    assert_eq!(q.len(), rows.len() * heads * head_dim, "q must be [rows, heads, head_dim]");
    assert_eq!(k.len() % (kv_heads * head_dim), 0, "k must be [keys, kv_heads, head_dim]");
    assert_eq!(k.len(), v.len(), "k and v");
    let keys = k.len() / (kv_heads * head_dim);
    assert!(rows.end <= keys, "a row sees keys up to {} of {keys}", rows.end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{self as host, AttentionSpan, Forward};
    use crate::testing::{assert_close, random};
    use crate::{Exec, Rng};

    /// Positions in each sequence of its query rows: the last of them (answers), or some anywhere.
    fn positions(keys: usize, rows: usize, anywhere: bool) -> Vec<usize> {
        (1..=rows)
            .map(|i| if anywhere { (i * keys).div_ceil(rows) - 1 } else { keys - rows + i - 1 })
            .collect()
    }

    /// `sequences`: number of keys and of query rows.
    fn check(cuda: &Cuda, shape: Attention, sequences: &[(usize, usize)], anywhere: bool) {
        let what = format!("{shape:?}, {sequences:?}, anywhere: {anywhere}");
        let Attention { heads, kv_heads, head_dim } = shape;
        let (row, key) = (heads * head_dim, kv_heads * head_dim);
        let (mut spans, mut at, mut num_rows, mut num_keys) = (Vec::new(), Vec::new(), 0, 0);
        let (mut first_key, mut end_key) = (Vec::new(), Vec::new());
        for &(keys, rows) in sequences {
            spans.push(AttentionSpan {
                rows: num_rows..num_rows + rows,
                keys: num_keys..num_keys + keys,
            });
            for position in positions(keys, rows, anywhere) {
                first_key.push(num_keys as u32);
                end_key.push((num_keys + position + 1) as u32);
                at.push(position);
            }
            (num_rows, num_keys) = (num_rows + rows, num_keys + keys);
        }
        let mut rng = Rng(8);
        let [q, grad] = [(); 2].map(|()| random(&mut rng, num_rows * row));
        let [k, v] = [(); 2].map(|()| random(&mut rng, num_keys * key));
        let width = (head_dim as f32).sqrt();
        let scales: Vec<f32> = (0..num_rows).map(|_| (0.5 + 2.0 * rng.unit()) / width).collect();

        let exec = Exec::new(2);
        let (mut want, mut want_lse) = (vec![f32::NAN; q.len()], vec![f32::NAN; num_rows * heads]);
        for AttentionSpan { rows, keys } in &spans {
            host::attention(
                &exec,
                &shape,
                &q[rows.start * row..rows.end * row],
                &at[rows.clone()],
                &scales[rows.clone()],
                host::Kv::Rows {
                    k: &k[keys.start * key..keys.end * key],
                    v: &v[keys.start * key..keys.end * key],
                },
                &mut want[rows.start * row..rows.end * row],
                Some(&mut want_lse[rows.start * heads..rows.end * heads]),
            );
        }
        let forward = Forward {
            q: &q,
            positions: &at,
            scales: &scales,
            k: &k,
            v: &v,
            out: &want,
            lse: &want_lse,
        };
        let mut want_grads = [&q, &k, &v].map(|x| vec![0.0; x.len()]);
        // A sequence without rows has no gradient.
        let with_rows: Vec<AttentionSpan> =
            spans.iter().filter(|span| !span.rows.is_empty()).cloned().collect();
        let [want_q, want_k, want_v] = &mut want_grads;
        host::attention_backward(
            &exec,
            &shape,
            forward,
            &with_rows,
            &grad,
            [want_q, want_k, want_v],
        );

        let rows = Rows::new(cuda, &first_key, &end_key, &scales);
        let [q, k, v, grad] = [&q, &k, &v, &grad].map(|x| cuda.upload(x));
        let run = || {
            let (out, lse) = attention(cuda, &shape, &q, &k, &v, &rows);
            let (grad_q, grad_k, grad_v) =
                attention_backward(cuda, &shape, &q, &k, &v, &rows, &out, &lse, &grad);
            [out, lse, grad_q, grad_k, grad_v].map(|x| x.to_vec())
        };
        let got = run();
        let names = ["out", "lse", "gradient of q", "of k", "of v"];
        let wants = [&want, &want_lse].into_iter().chain(&want_grads);
        for ((name, want), got) in names.into_iter().zip(wants).zip(&got) {
            assert_close(&format!("{what}: {name}"), want, got, 1e-5);
        }
        assert_eq!(run(), got, "{what}: the same bits");
    }

    #[test]
    fn like_the_cpu() {
        let Some(cuda) = super::super::testing::cuda() else { return };
        let shapes =
            [(1, 1, 1), (4, 2, 5), (4, 4, 32), (6, 2, 33), (3, 3, 64), (2, 1, 67), (2, 2, 128)];
        for (heads, kv_heads, head_dim) in shapes {
            let shape = Attention { heads, kv_heads, head_dim };
            for sequences in [
                &[(2, 1)][..],
                &[(70, 0)],
                &[(6, 3), (140, 4)],
                &[(130, 130), (1, 1), (40, 0), (300, 65)],
                &[(64, 64), (20, 10), (7, 7), (9, 1), (500, 2)],
            ] {
                for anywhere in [false, true] {
                    check(&cuda, shape, sequences, anywhere);
                }
            }
        }
    }

    #[test]
    fn long_sequences() {
        let Some(cuda) = super::super::testing::cuda() else { return };
        let shape = Attention { heads: 4, kv_heads: 4, head_dim: 32 };
        check(&cuda, shape, &[(3000, 500), (100, 30), (5000, 200), (900, 900)], false);
    }

    /// Scores far beyond the range of exp: the maximum keeps them finite.
    #[test]
    fn large_scores_pick_the_best_key() {
        let Some(cuda) = super::super::testing::cuda() else { return };
        let shape = Attention { heads: 1, kv_heads: 1, head_dim: 2 };
        let q = cuda.upload(&[1.0, 0.0]);
        let mut keys: Vec<f32> = (0..200).map(|i| i as f32 / 200.0).collect();
        keys[62] = 5.0;
        let [k, v] = [&keys, &keys].map(|x| cuda.upload(x));
        let rows = Rows::new(&cuda, &[0], &[100], &[1e4]);
        let (out, lse) = attention(&cuda, &shape, &q, &k, &v, &rows);
        assert_eq!(out.to_vec(), [5.0, keys[63]]);
        assert_eq!(lse.to_vec(), [5e4]);
    }

    #[test]
    #[should_panic(expected = "row 1 sees no key: 3..3")]
    fn rows_without_keys_are_refused() {
        check_rows(&[0, 3], &[2, 3], &[1.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "rows must be in the order of their keys")]
    fn rows_out_of_order_are_refused() {
        check_rows(&[0, 0], &[2, 1], &[1.0, 1.0]);
    }
}
