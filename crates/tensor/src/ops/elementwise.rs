//! Sums and scalings.

use crate::Tensor;
use kernels::elementwise;

impl Tensor {
    /// `alpha self + beta other`, same shapes.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    #[track_caller]
    pub fn add_scaled(&self, alpha: f32, other: &Self, beta: f32) -> Self {
        assert_eq!(self.shape(), other.shape(), "shapes of a sum");
        let mut out = self.output(self.len());
        let exec = self.device().exec();
        elementwise::scaled_sum(exec, alpha, self.data(), beta, other.data(), &mut out);
        Self::from_op(self.shape(), out, &[self, other], move |grad| {
            vec![Some(grad.scale(alpha)), Some(grad.scale(beta))]
        })
    }

    /// `factor self`.
    pub fn scale(&self, factor: f32) -> Self {
        if factor == 1.0 {
            return self.clone();
        }
        let mut out = self.output(self.len());
        elementwise::scale(self.device().exec(), factor, self.data(), &mut out);
        Self::from_op(self.shape(), out, &[self], move |grad| vec![Some(grad.scale(factor))])
    }

    /// Sum of the squares of all elements.
    pub fn sum_of_squares(&self) -> f64 {
        elementwise::sum_of_squares(self.device().exec(), self.data())
    }
}
