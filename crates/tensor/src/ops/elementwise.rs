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

    /// `self + row` for each row of this; `row: [last_dim]`. On the CPU, also for tensors of the GPU.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn add_row(&self, row: &Self) -> Self {
        assert_eq!(row.shape(), [self.last_dim()], "a row of {self:?}");
        let mut out = self.output(self.len());
        let exec = self.device().exec();
        elementwise::add_row(exec, &self.host_data(), &row.host_data(), &mut out);
        let dim = row.len();
        Self::from_op(self.shape(), out, &[self, row], move |grad| {
            let mut sums = vec![0.0; dim];
            elementwise::sum_rows(&grad.host_data(), &mut sums);
            let sums = Self::new(grad.device(), &[dim], sums);
            vec![Some(grad), Some(sums)]
        })
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

#[cfg(test)]
mod tests {
    use crate::{Device, Gradients, Tensor};

    #[test]
    fn a_row_gets_the_gradients_of_all_rows() {
        let device = Device::cpu(2);
        let x = Tensor::full(&device, &[3, 2], 1.0).into_parameter();
        let row = Tensor::new(&device, &[2], vec![10.0, 20.0]).into_parameter();
        let y = x.add_row(&row);
        assert_eq!(y.data(), [11.0, 21.0, 11.0, 21.0, 11.0, 21.0]);
        let mut gradients = Gradients::default();
        let second = y.reshape(&[6, 1]).take_rows(&[1, 5].into());
        let sum =
            second.take_rows(&[0].into()).add_scaled(1.0, &second.take_rows(&[1].into()), 3.0);
        sum.backward(&mut gradients);
        assert_eq!(gradients.get(&row).unwrap().data(), [0.0, 4.0]);
        assert_eq!(gradients.get(&x).unwrap().data(), [0.0, 1.0, 0.0, 0.0, 0.0, 3.0]);
    }
}
