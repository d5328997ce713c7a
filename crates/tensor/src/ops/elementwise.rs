//! Sums and scalings.

use crate::Tensor;
use crate::tensor::Data;
use kernels::{cuda, elementwise};

impl Tensor {
    /// `alpha self + beta other`, same shapes.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    #[track_caller]
    pub fn add_scaled(&self, alpha: f32, other: &Self, beta: f32) -> Self {
        assert_eq!(self.shape(), other.shape(), "shapes of a sum");
        let out: Data = match self.device().cuda() {
            Some(gpu) => {
                cuda::elementwise::scaled_sum(gpu, alpha, self.gpu(), beta, other.gpu()).into()
            }
            None => {
                let mut out = self.output(self.len());
                let exec = self.device().exec();
                elementwise::scaled_sum(exec, alpha, self.data(), beta, other.data(), &mut out);
                out.into()
            }
        };
        Self::from_op(self.shape(), out, &[self, other], move |grad| {
            vec![Some(grad.scale(alpha)), Some(grad.scale(beta))]
        })
    }

    /// `factor self`.
    pub fn scale(&self, factor: f32) -> Self {
        if factor == 1.0 {
            return self.clone();
        }
        let out: Data = match self.device().cuda() {
            Some(gpu) => cuda::elementwise::scale(gpu, factor, self.gpu()).into(),
            None => {
                let mut out = self.output(self.len());
                elementwise::scale(self.device().exec(), factor, self.data(), &mut out);
                out.into()
            }
        };
        Self::from_op(self.shape(), out, &[self], move |grad| vec![Some(grad.scale(factor))])
    }

    /// Sum of the squares of all elements of all `tensors`, taken in their order.
    pub fn sum_of_squares(tensors: &[&Self]) -> f64 {
        match tensors.first().and_then(|tensor| tensor.device().cuda()) {
            Some(gpu) => {
                let parts: Vec<_> = tensors.iter().map(|tensor| tensor.gpu()).collect();
                cuda::elementwise::sum_of_squares(gpu, &parts).into_iter().sum()
            }
            None => tensors
                .iter()
                .map(|tensor| elementwise::sum_of_squares(tensor.device().exec(), tensor.data()))
                .sum(),
        }
    }
}
