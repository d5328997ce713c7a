//! Steps of optimizers, in place.

use crate::Tensor;
use kernels::adamw::{AdamW, adamw};
use kernels::cuda;
use kernels::muon::{Muon, muon};

impl Tensor {
    /// One step of AdamW, number `step` from 1, against `gradient` times `grad_scale`; `m` and `v`
    /// are the averages of the gradient and of its square, all of the shape of `self`.
    ///
    /// # Panics
    ///
    /// If shapes differ or another tensor shares the elements.
    #[track_caller]
    pub fn adamw_step(
        &mut self,
        settings: &AdamW,
        step: u64,
        gradient: &Self,
        grad_scale: f32,
        [m, v]: [&mut Self; 2],
    ) {
        let device = self.device().clone();
        if let Some(gpu) = device.cuda() {
            let (m, v) = (m.gpu_mut(), v.gpu_mut());
            let (param, gradient) = (self.gpu_mut(), gradient.gpu());
            cuda::adamw::adamw(gpu, settings, step, param, gradient, grad_scale, m, v);
        } else {
            let (m, v) = (m.data_mut(), v.data_mut());
            let (param, gradient) = (self.data_mut(), gradient.data());
            adamw(device.exec(), settings, step, param, gradient, grad_scale, m, v);
        }
    }

    /// One step of Muon for a matrix, or for each of the matrices `[.., rows, cols]`, against
    /// `gradient` times `grad_scale`; `m` is the average of the gradient, of the shape of `self`.
    ///
    /// # Panics
    ///
    /// If shapes differ, there are fewer than two dimensions or another tensor shares the elements.
    #[track_caller]
    pub fn muon_step(
        &mut self,
        settings: &Muon,
        gradient: &Self,
        grad_scale: f32,
        momentum: &mut Self,
    ) {
        let device = self.device().clone();
        let (cols, rows) = (self.last_dim(), self.shape()[self.shape().len() - 2]);
        let shape = [self.len() / rows / cols, rows, cols];
        if let Some(gpu) = device.cuda() {
            let (m, gradient) = (momentum.gpu_mut(), gradient.gpu());
            cuda::muon::muon(gpu, settings, shape, self.gpu_mut(), gradient, grad_scale, m);
        } else {
            let (m, gradient) = (momentum.data_mut(), gradient.data());
            muon(device.exec(), settings, shape, self.data_mut(), gradient, grad_scale, m);
        }
    }
}
