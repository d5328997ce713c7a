//! Normalizations and activations.

use crate::Tensor;
use crate::tensor::Data;
use kernels::activation::{Activation, activation, activation_backward, swiglu, swiglu_backward};
use kernels::cuda;
use kernels::layer_norm::{layer_norm, layer_norm_backward};
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

    /// `(self - mean) / sqrt(variance + eps) * weight + bias` over the innermost dimension; `weight`
    /// and `bias` are `[last_dim]`. On the CPU, also for tensors of the GPU.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn layer_norm(&self, weight: &Self, bias: &Self, eps: f32) -> Self {
        assert_eq!(weight.shape(), [self.last_dim()], "the weight of a norm of {self:?}");
        let mut out = self.output(self.len());
        let exec = self.device().exec();
        let (x, w, b) = (self.host_data(), weight.host_data(), bias.host_data());
        layer_norm(exec, &x, &w, &b, eps, &mut out);
        let (x, w) = (self.detach(), weight.detach());
        Self::from_op(self.shape(), out, &[self, weight, bias], move |grad| {
            let mut gx = grad.output(x.len());
            let (mut gw, mut gb) = (vec![0.0; w.len()], vec![0.0; w.len()]);
            let (exec, grad) = (grad.device().exec(), grad.host_data());
            let (data, weight) = (x.host_data(), w.host_data());
            layer_norm_backward(exec, &data, &weight, eps, &grad, &mut gx, &mut gw, &mut gb);
            vec![Some(x.like(gx)), Some(w.like(gw)), Some(w.like(gb))]
        })
    }

    /// `self * sigmoid(self)`.
    pub fn silu(&self) -> Self {
        self.activation(Activation::Silu)
    }

    /// `f(self)` for each element; all but [`Activation::Silu`] on the CPU, also for tensors of the
    /// GPU.
    pub fn activation(&self, kind: Activation) -> Self {
        let out: Data = match self.device().cuda() {
            Some(gpu) if kind == Activation::Silu => cuda::activation::silu(gpu, self.gpu()).into(),
            _ => {
                let mut out = self.output(self.len());
                activation(self.device().exec(), kind, &self.host_data(), &mut out);
                out.into()
            }
        };
        let x = self.detach();
        Self::from_op(self.shape(), out, &[self], move |grad| {
            if let Some(gpu) = grad.device().cuda()
                && kind == Activation::Silu
            {
                let grad = cuda::activation::silu_backward(gpu, x.gpu(), grad.gpu());
                return vec![Some(x.like(grad))];
            }
            let mut gx = grad.output(x.len());
            let exec = grad.device().exec();
            activation_backward(exec, kind, &x.host_data(), &grad.host_data(), &mut gx);
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
