//! The loss of predictions that are numbers. On the CPU, also for tensors of the GPU.

use crate::Tensor;

impl Tensor {
    /// Sum over all elements of `weight * (self - target)^2`. A tensor of one element; `target` and
    /// `weights` get no gradient.
    ///
    /// # Panics
    ///
    /// If there is not a target and a weight for each element.
    #[track_caller]
    pub fn squared_error(&self, target: &[f32], weights: &[f32]) -> Self {
        assert_eq!(
            [target.len(), weights.len()],
            [self.len(); 2],
            "targets and weights of {self:?}"
        );
        let mut slopes = self.output(self.len());
        let mut sum = 0.0;
        let x = self.host_data();
        for (((slope, x), y), w) in slopes.iter_mut().zip(&*x).zip(target).zip(weights) {
            let d = x - y;
            *slope = 2.0 * w * d;
            sum += f64::from(w * d) * f64::from(d);
        }
        drop(x);
        let slopes = self.like(slopes);
        Self::from_op(&[1], vec![sum as f32], &[self], move |grad| {
            vec![Some(slopes.scale(grad.host_data()[0]))]
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::{Device, Gradients, Tensor};

    #[test]
    fn the_gradient_is_twice_the_weighted_difference() {
        let x = Tensor::new(&Device::cpu(1), &[3], vec![1.0, 2.0, 5.0]).into_parameter();
        let loss = x.squared_error(&[0.0, 4.0, 7.0], &[1.0, 0.5, 0.0]);
        assert_eq!(loss.data(), [1.0 + 0.5 * 4.0]);
        let mut gradients = Gradients::default();
        loss.scale(3.0).backward(&mut gradients);
        assert_eq!(gradients.get(&x).unwrap().data(), [6.0, -6.0, 0.0]);
    }
}
