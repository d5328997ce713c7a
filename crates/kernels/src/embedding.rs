//! Embedding: rows picked from a table by token id.
//!
//! Memory-bound: one row read and written per token. The derivative adds rows to the table in the
//! order of the tokens, on one thread: a token may come twice.

use crate::Exec;
use crate::half::bf16_to_f32;
use crate::matmul::Elements;

/// `out[i] = table[ids[i]]`, from `table: [vocab, hidden]` to `out: [ids, hidden]`.
///
/// # Panics
///
/// If an id is out of bounds or lengths disagree.
#[track_caller]
pub fn embedding(exec: &Exec, table: Elements<'_>, hidden: usize, ids: &[u32], out: &mut [f32]) {
    assert_eq!(out.len(), ids.len() * hidden, "out must be [ids, hidden]");
    let rows = exec.threads.rows_per_task(ids.len(), 256);
    exec.threads.for_each_chunk(out, rows * hidden, |task, out| {
        for (&id, out) in ids[task * rows..].iter().zip(out.chunks_exact_mut(hidden)) {
            let row = id as usize * hidden..(id as usize + 1) * hidden;
            match table.slice(row) {
                Elements::F32(row) => out.copy_from_slice(row),
                Elements::Bf16(row) => {
                    out.iter_mut().zip(row).for_each(|(out, &x)| *out = bf16_to_f32(x));
                }
            }
        }
    });
}

/// `grad_table[ids[i]] += grad[i]`.
///
/// # Panics
///
/// If an id is out of bounds or lengths disagree.
#[track_caller]
pub fn embedding_backward(ids: &[u32], hidden: usize, grad: &[f32], grad_table: &mut [f32]) {
    assert_eq!(grad.len(), ids.len() * hidden, "grad must be [ids, hidden]");
    for (&id, grad) in ids.iter().zip(grad.chunks_exact(hidden)) {
        let row = &mut grad_table[id as usize * hidden..(id as usize + 1) * hidden];
        row.iter_mut().zip(grad).for_each(|(row, grad)| *row += grad);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::half::f32_to_bf16;
    use crate::testing::execs;

    #[test]
    fn rows_there_and_gradients_back() {
        let table: Vec<f32> = (0..12).map(|x| x as f32).collect();
        let halves: Vec<_> = table.iter().map(|&x| f32_to_bf16(x)).collect();
        let ids = [3, 0, 3];
        for exec in execs() {
            for table in [Elements::from(&table), Elements::from(&halves[..])] {
                let mut out = vec![f32::NAN; 9];
                embedding(&exec, table, 3, &ids, &mut out);
                assert_eq!(out, [9.0, 10.0, 11.0, 0.0, 1.0, 2.0, 9.0, 10.0, 11.0]);
            }
            embedding(&exec, (&table).into(), 3, &[], &mut []);
        }
        let mut grad_table = vec![1.0; 12];
        embedding_backward(
            &ids,
            3,
            &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
            &mut grad_table,
        );
        assert_eq!(grad_table[..3], [5.0, 6.0, 7.0]);
        assert_eq!(grad_table[3..9], [1.0; 6]);
        assert_eq!(grad_table[9..], [9.0, 11.0, 13.0]);
    }
}
