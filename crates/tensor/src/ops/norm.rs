//! Normalizations and activations.

use crate::Tensor;
use crate::tensor::Data;
use kernels::activation::{Activation, activation, activation_backward, swiglu, swiglu_backward};
use kernels::cuda;
use kernels::rms_norm::{gated_rms_norm, gated_rms_norm_backward, rms_norm, rms_norm_backward};

impl Tensor {
    /// `self / rms(self) * weight` over the innermost dimension; `weight: [last_dim]`.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn rms_norm(&self, weight: &Self, eps: f32) -> Self {
        let out: Data = match self.device().cuda() {
            Some(gpu) => cuda::rms_norm::rms_norm(gpu, self.gpu(), weight.gpu(), eps).into(),
            None => {
                let mut out = self.output(self.len());
                rms_norm(self.device().exec(), self.data(), weight.data(), eps, &mut out);
                out.into()
            }
        };
        let (x, w) = (self.detach(), weight.detach());
        Self::from_op(self.shape(), out, &[self, weight], move |grad| {
            if let Some(gpu) = grad.device().cuda() {
                let (gx, gw) =
                    cuda::rms_norm::rms_norm_backward(gpu, x.gpu(), w.gpu(), eps, grad.gpu());
                return vec![Some(x.like(gx)), Some(w.like(gw))];
            }
            let (mut gx, mut gw) = (grad.output(x.len()), vec![0.0; w.len()]);
            let exec = grad.device().exec();
            rms_norm_backward(exec, x.data(), w.data(), eps, grad.data(), &mut gx, &mut gw);
            vec![Some(x.like(gx)), Some(w.like(gw))]
        })
    }

    /// `rms_norm(self) * sigmoid(gate)`, the output of lightning attention.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn gated_rms_norm(&self, weight: &Self, gate: &Self, eps: f32) -> Self {
        let out: Data = match self.device().cuda() {
            Some(gpu) => {
                let (x, w, g) = (self.gpu(), weight.gpu(), gate.gpu());
                cuda::rms_norm::gated_rms_norm(gpu, x, w, g, eps).into()
            }
            None => {
                let mut out = self.output(self.len());
                let exec = self.device().exec();
                gated_rms_norm(exec, self.data(), weight.data(), gate.data(), eps, &mut out);
                out.into()
            }
        };
        let (x, w, g) = (self.detach(), weight.detach(), gate.detach());
        Self::from_op(self.shape(), out, &[self, weight, gate], move |grad| {
            if let Some(gpu) = grad.device().cuda() {
                let (gx, gg, gw) = cuda::rms_norm::gated_rms_norm_backward(
                    gpu,
                    x.gpu(),
                    w.gpu(),
                    g.gpu(),
                    eps,
                    grad.gpu(),
                );
                return vec![Some(x.like(gx)), Some(w.like(gw)), Some(g.like(gg))];
            }
            let (mut gx, mut gg) = (grad.output(x.len()), grad.output(x.len()));
            let mut gw = vec![0.0; w.len()];
            gated_rms_norm_backward(
                grad.device().exec(),
                x.data(),
                w.data(),
                g.data(),
                eps,
                grad.data(),
                &mut gx,
                &mut gg,
                &mut gw,
            );
            vec![Some(x.like(gx)), Some(w.like(gw)), Some(g.like(gg))]
        })
    }

    /// `self * sigmoid(self)`.
    pub fn silu(&self) -> Self {
        let out: Data = match self.device().cuda() {
            Some(gpu) => cuda::activation::silu(gpu, self.gpu()).into(),
            None => {
                let mut out = self.output(self.len());
                activation(self.device().exec(), Activation::Silu, self.data(), &mut out);
                out.into()
            }
        };
        let x = self.detach();
        Self::from_op(self.shape(), out, &[self], move |grad| {
            if let Some(gpu) = grad.device().cuda() {
                return vec![Some(x.like(cuda::activation::silu_backward(
                    gpu,
                    x.gpu(),
                    grad.gpu(),
                )))];
            }
            let mut gx = grad.output(x.len());
            let exec = grad.device().exec();
            activation_backward(exec, Activation::Silu, x.data(), grad.data(), &mut gx);
            vec![Some(x.like(gx))]
        })
    }

    /// `silu(self) * up`.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    #[track_caller]
    pub fn swiglu(&self, up: &Self) -> Self {
        let out: Data = match self.device().cuda() {
            Some(gpu) => cuda::activation::swiglu(gpu, self.gpu(), up.gpu()).into(),
            None => {
                let mut out = self.output(self.len());
                swiglu(self.device().exec(), self.data(), up.data(), &mut out);
                out.into()
            }
        };
        let (gate, up_kept) = (self.detach(), up.detach());
        Self::from_op(self.shape(), out, &[self, up], move |grad| {
            let up = up_kept;
            if let Some(gpu) = grad.device().cuda() {
                let (gg, gu) =
                    cuda::activation::swiglu_backward(gpu, gate.gpu(), up.gpu(), grad.gpu());
                return vec![Some(gate.like(gg)), Some(up.like(gu))];
            }
            let (mut gg, mut gu) = (grad.output(grad.len()), grad.output(grad.len()));
            let exec = grad.device().exec();
            swiglu_backward(exec, gate.data(), up.data(), grad.data(), &mut gg, &mut gu);
            vec![Some(gate.like(gg)), Some(up.like(gu))]
        })
    }
}
