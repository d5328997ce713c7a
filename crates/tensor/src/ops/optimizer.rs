//! Steps of optimizers, in place.

use crate::Tensor;
use kernels::adamw::{AdamW, adamw};
use kernels::cuda::{self, muon::Stack};
use kernels::muon::{Matrix, Muon, muon_each};

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

    /// One step of Muon for each of `parameters`, all of matrices of one shape, `[.., rows, cols]`,
    /// against their gradients times `grad_scale`. A GPU moves them together.
    ///
    /// # Panics
    ///
    /// If shapes differ, there are fewer than two dimensions or another tensor shares the elements
    /// of a parameter.
    #[track_caller]
    pub fn muon_step(settings: &Muon, parameters: &mut [MuonParameter<'_>], grad_scale: f32) {
        let Some(first) = parameters.first() else { return };
        let device = first.param.device().clone();
        let matrix = first.param.matrix();
        assert!(parameters.iter().all(|p| p.param.matrix() == matrix), "matrices of one shape");
        if let Some(gpu) = device.cuda() {
            let mut stacks = Vec::new();
            for MuonParameter { param, gradient, m } in parameters {
                let (param, m) = (param.gpu_mut(), m.gpu_mut());
                stacks.push(Stack { param, gradient: gradient.gpu(), m });
            }
            cuda::muon::muon_stacks(gpu, settings, matrix, &mut stacks, grad_scale);
            return;
        }
        let size = matrix[0] * matrix[1];
        if size == 0 {
            return;
        }
        let mut matrices = Vec::new();
        for MuonParameter { param, gradient, m } in parameters {
            let (param, m) = (param.data_mut(), m.data_mut());
            let lengths = (param.len(), gradient.len());
            assert_eq!(lengths, (m.len(), m.len()), "parameter, gradient and average");
            let parts = param.chunks_exact_mut(size).zip(m.chunks_exact_mut(size));
            let parts = parts.zip(gradient.data().chunks_exact(size));
            matrices.extend(parts.map(|((param, m), grad)| Matrix { param, grad, m }));
        }
        muon_each(device.exec(), settings, matrix, &mut matrices, grad_scale);
    }

    /// Rows and columns of the matrices that this is made of.
    #[track_caller]
    pub fn matrix(&self) -> [usize; 2] {
        match *self.shape() {
            [.., rows, cols] => [rows, cols],
            _ => panic!("no matrix: {self:?}"),
        }
    }
}

/// What Muon moves.
#[derive(Debug)]
pub struct MuonParameter<'a> {
    /// The matrices.
    pub param: &'a mut Tensor,
    /// The gradient for them.
    pub gradient: &'a Tensor,
    /// The average of their gradient so far.
    pub m: &'a mut Tensor,
}
