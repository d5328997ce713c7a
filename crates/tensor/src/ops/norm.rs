//! Normalizations and activations.

use crate::Tensor;
use kernels::activation::{Activation, activation, activation_backward, swiglu, swiglu_backward};
use kernels::rms_norm::{gated_rms_norm, gated_rms_norm_backward, rms_norm, rms_norm_backward};

impl Tensor {
    /// `self / rms(self) * weight` over the innermost dimension; `weight: [last_dim]`.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn rms_norm(&self, weight: &Self, eps: f32) -> Self {
        let mut out = self.output(self.len());
        rms_norm(self.device().exec(), self.data(), weight.data(), eps, &mut out);
        let (x, w) = (self.detach(), weight.detach());
        Self::from_op(self.shape(), out, &[self, weight], move |grad| {
            let (mut gx, mut gw) = (grad.output(x.len()), vec![0.0; w.len()]);
            let exec = grad.device().exec();
            rms_norm_backward(exec, x.data(), w.data(), eps, grad.data(), &mut gx, &mut gw);
            vec![Some(like(&x, gx)), Some(like(&w, gw))]
        })
    }

    /// `rms_norm(self) * sigmoid(gate)`, the output of lightning attention.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn gated_rms_norm(&self, weight: &Self, gate: &Self, eps: f32) -> Self {
        let mut out = self.output(self.len());
        let exec = self.device().exec();
        gated_rms_norm(exec, self.data(), weight.data(), gate.data(), eps, &mut out);
        let (x, w, g) = (self.detach(), weight.detach(), gate.detach());
        Self::from_op(self.shape(), out, &[self, weight, gate], move |grad| {
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
            vec![Some(like(&x, gx)), Some(like(&w, gw)), Some(like(&g, gg))]
        })
    }

    /// `self * sigmoid(self)`.
    pub fn silu(&self) -> Self {
        let mut out = self.output(self.len());
        activation(self.device().exec(), Activation::Silu, self.data(), &mut out);
        let x = self.detach();
        Self::from_op(self.shape(), out, &[self], move |grad| {
            let mut gx = grad.output(x.len());
            let exec = grad.device().exec();
            activation_backward(exec, Activation::Silu, x.data(), grad.data(), &mut gx);
            vec![Some(like(&x, gx))]
        })
    }

    /// `silu(self) * up`.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    #[track_caller]
    pub fn swiglu(&self, up: &Self) -> Self {
        let mut out = self.output(self.len());
        swiglu(self.device().exec(), self.data(), up.data(), &mut out);
        let (gate_kept, up_kept) = (self.detach(), up.detach());
        Self::from_op(self.shape(), out, &[self, up], move |grad| {
            let (mut gg, mut gu) = (grad.output(grad.len()), grad.output(grad.len()));
            let exec = grad.device().exec();
            let (gate, up) = (gate_kept.data(), up_kept.data());
            swiglu_backward(exec, gate, up, grad.data(), &mut gg, &mut gu);
            vec![Some(like(&gate_kept, gg)), Some(like(&up_kept, gu))]
        })
    }
}

fn like(x: &Tensor, data: Vec<f32>) -> Tensor {
    Tensor::new(x.device(), x.shape(), data)
}
