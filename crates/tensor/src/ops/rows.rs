//! Rows picked from a table or a tensor.

use crate::Tensor;
use kernels::cuda;
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
        assert!(indices.iter().all(|&i| i < rows), "rows of {self:?}");
        if let Some(gpu) = self.device().cuda() {
            assert!(indices.is_sorted(), "rows are taken in order on the GPU");
            let ids: Vec<u32> = indices.iter().map(|&i| i as u32).collect();
            let ids = gpu.upload(&ids);
            let out = cuda::embedding::take_rows(gpu, self.gpu(), dim, &ids);
            let shape = self.shape().to_vec();
            return Self::from_op(&[indices.len(), dim], out, &[self], move |grad| {
                let Some(gpu) = grad.device().cuda() else { panic!("a gradient of the GPU") };
                let out = cuda::embedding::take_rows_backward(gpu, &ids, rows, dim, grad.gpu());
                vec![Some(Self::from_data(grad.device(), &shape, out))]
            });
        }
        let mut out = self.output(indices.len() * dim);
        for (&i, out) in indices.iter().zip(out.chunks_exact_mut(dim)) {
            out.copy_from_slice(&self.data()[i * dim..(i + 1) * dim]);
        }
        let (indices_kept, shape) = (Arc::clone(indices), self.shape().to_vec());
        Self::from_op(&[indices.len(), dim], out, &[self], move |grad| {
            let mut out = grad.output(rows * dim);
            out.fill(0.0);
            for (&i, grad) in indices_kept.iter().zip(grad.data().chunks_exact(dim)) {
                out[i * dim..(i + 1) * dim].iter_mut().zip(grad).for_each(|(o, g)| *o += g);
            }
            vec![Some(Self::new(grad.device(), &shape, out))]
        })
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
}
