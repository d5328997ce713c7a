//! Rows picked from a table or a tensor, and put back.

use crate::Tensor;
use crate::tensor::Data;
use kernels::cuda::{self, DeviceVec};
use std::sync::Arc;

impl Tensor {
    /// Rows `indices` of all but the innermost dimension: `[indices, last_dim]`.
    ///
    /// # Panics
    ///
    /// If an index is out of bounds; on the GPU, also if they are not in order.
    #[track_caller]
    pub fn take_rows(&self, indices: &Arc<[usize]>) -> Self {
        let (dim, rows) = (self.last_dim(), self.rows());
        let picked = Picked::new(self, indices, rows);
        let (out, shape) = (picked.take(self), self.shape().to_vec());
        Self::from_op(&[indices.len(), dim], out, &[self], move |grad| {
            vec![Some(Self::from_data(grad.device(), &shape, picked.put(&grad, rows)))]
        })
    }

    /// The opposite of [`take_rows`](Self::take_rows): row `i` of this becomes row `indices[i]` of
    /// `[rows, last_dim]`, or is added to it if an index comes twice; all other rows are 0.
    ///
    /// # Panics
    ///
    /// If there is not an index per row or one is out of bounds; on the GPU, also if they are not
    /// in order.
    #[track_caller]
    pub fn put_rows(&self, indices: &Arc<[usize]>, rows: usize) -> Self {
        assert_eq!(indices.len(), self.rows(), "an index for each row of {self:?}");
        let picked = Picked::new(self, indices, rows);
        let (out, shape) = (picked.put(self, rows), self.shape().to_vec());
        Self::from_op(&[rows, self.last_dim()], out, &[self], move |grad| {
            vec![Some(Self::from_data(grad.device(), &shape, picked.take(&grad)))]
        })
    }
}

/// Indices of rows, where the device wants them.
enum Picked {
    Cpu(Arc<[usize]>),
    Gpu(DeviceVec<u32>),
}

impl Picked {
    #[track_caller]
    fn new(x: &Tensor, indices: &Arc<[usize]>, rows: usize) -> Self {
        assert!(indices.iter().all(|&i| i < rows), "an index beyond {rows} rows");
        let Some(gpu) = x.device().cuda() else { return Self::Cpu(Arc::clone(indices)) };
        assert!(indices.is_sorted(), "rows are taken in order on the GPU");
        let ids: Vec<u32> = indices.iter().map(|&i| i as u32).collect();
        Self::Gpu(gpu.upload(&ids))
    }

    fn take(&self, x: &Tensor) -> Data {
        let dim = x.last_dim();
        match (self, x.device().cuda()) {
            (Self::Gpu(ids), Some(gpu)) => {
                cuda::embedding::take_rows(gpu, x.gpu(), dim, ids).into()
            }
            (Self::Cpu(indices), None) => {
                let mut out = x.output(indices.len() * dim);
                for (&i, out) in indices.iter().zip(out.chunks_exact_mut(dim)) {
                    out.copy_from_slice(&x.data()[i * dim..(i + 1) * dim]);
                }
                out.into()
            }
            _ => panic!("rows and their indices are on different devices"),
        }
    }

    fn put(&self, x: &Tensor, rows: usize) -> Data {
        let dim = x.last_dim();
        match (self, x.device().cuda()) {
            (Self::Gpu(ids), Some(gpu)) => {
                cuda::embedding::take_rows_backward(gpu, ids, rows, dim, x.gpu()).into()
            }
            (Self::Cpu(indices), None) => {
                let mut out = x.output(rows * dim);
                out.fill(0.0);
                for (&i, x) in indices.iter().zip(x.data().chunks_exact(dim)) {
                    out[i * dim..(i + 1) * dim].iter_mut().zip(x).for_each(|(o, x)| *o += x);
                }
                out.into()
            }
            _ => panic!("rows and their indices are on different devices"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Device, Gradients, Tensor};

    #[test]
    fn a_row_taken_twice_gets_both_gradients() {
        let device = Device::cpu(1);
        let x = Tensor::new(&device, &[3, 1], vec![1.0, 2.0, 3.0]).into_parameter();
        let y = x.take_rows(&[2, 0, 2].into());
        assert_eq!(y.data(), [3.0, 1.0, 3.0]);
        let mut gradients = Gradients::default();
        let sum = y.take_rows(&[0].into()).add_scaled(1.0, &y.take_rows(&[2].into()), 10.0);
        sum.backward(&mut gradients);
        assert_eq!(gradients.get(&x).unwrap().data(), [0.0, 0.0, 11.0]);
    }

    #[test]
    fn rows_put_back_are_where_they_were() {
        let device = Device::cpu(1);
        let x = Tensor::new(&device, &[2, 2], vec![1.0, 2.0, 3.0, 4.0]).into_parameter();
        let y = x.put_rows(&[1, 3].into(), 4);
        assert_eq!(y.data(), [0.0, 0.0, 1.0, 2.0, 0.0, 0.0, 3.0, 4.0]);
        assert_eq!(y.take_rows(&[1, 3].into()).data(), x.data());
        let mut gradients = Gradients::default();
        y.reshape(&[8, 1]).take_rows(&[6].into()).reshape(&[1]).backward(&mut gradients);
        assert_eq!(gradients.get(&x).unwrap().data(), [0.0, 0.0, 1.0, 0.0]);
    }
}
