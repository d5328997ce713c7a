//! Mixture of experts: routing weights, tokens to experts and back, balance loss.

use crate::Tensor;
use kernels::moe::{self, Groups, Routing};
use std::sync::Arc;

impl Tensor {
    /// The `k` best experts of each row of these router logits, `[tokens, num_experts]`, and their
    /// weights, `[tokens, k]`.
    ///
    /// # Panics
    ///
    /// If `k` is 0 or above the number of experts.
    #[track_caller]
    pub fn route(&self, k: usize) -> (Self, Arc<Routing>) {
        let num_experts = self.last_dim();
        let routing = Arc::new(moe::route(self.data(), num_experts, k));
        let (kept, shape) = (Arc::clone(&routing), self.shape().to_vec());
        let weights = routing.weights.clone();
        let weights = Self::from_op(&[self.rows(), k], weights, &[self], move |grad| {
            let mut out = vec![0.0; shape.iter().product()];
            moe::route_backward(&kept, num_experts, grad.data(), &mut out);
            vec![Some(Self::new(grad.device(), &shape, out))]
        });
        (weights, routing)
    }

    /// The balance loss of these router logits, `[tokens, num_experts]`, as a scalar; 1 if even.
    ///
    /// # Panics
    ///
    /// If `routing` is of other logits.
    #[track_caller]
    pub fn balance_loss(&self, routing: &Routing) -> Self {
        let (loss, gradient) = moe::balance_loss(self.data(), self.last_dim(), routing);
        let gradient = Self::new(self.device(), self.shape(), gradient);
        Self::from_op(&[1], vec![loss], &[self], move |grad| {
            vec![Some(gradient.scale(grad.data()[0]))]
        })
    }

    /// Each token, `[tokens, dim]`, once for each of its experts, sorted by expert: `[slots, dim]`.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn gather_slots(&self, groups: &Arc<Groups>) -> Self {
        let dim = self.last_dim();
        let mut out = self.output(groups.len() * dim);
        groups.gather(self.device().exec(), self.data(), dim, &mut out);
        let (groups_kept, shape) = (Arc::clone(groups), self.shape().to_vec());
        Self::from_op(&[groups.len(), dim], out, &[self], move |grad| {
            let mut out = grad.output(shape.iter().product());
            groups_kept.combine(grad.device().exec(), grad.data(), None, dim, &mut out);
            vec![Some(Self::new(grad.device(), &shape, out))]
        })
    }

    /// The experts' results, `[slots, dim]`, summed by token with `weights: [tokens, k]`:
    /// `[tokens, dim]`.
    ///
    /// # Panics
    ///
    /// If shapes do not fit.
    #[track_caller]
    pub fn combine_slots(&self, weights: &Self, groups: &Arc<Groups>) -> Self {
        let dim = self.last_dim();
        let tokens = weights.rows();
        let mut out = self.output(tokens * dim);
        groups.combine(self.device().exec(), self.data(), Some(weights.data()), dim, &mut out);
        let (y, w, groups) = (self.detach(), weights.detach(), Arc::clone(groups));
        Self::from_op(&[tokens, dim], out, &[self, weights], move |grad| {
            let (mut gy, mut gw) = (grad.output(y.len()), grad.output(w.len()));
            let exec = grad.device().exec();
            groups.combine_backward(exec, y.data(), w.data(), dim, grad.data(), &mut gy, &mut gw);
            let new = |x: &Self, data| Some(Self::new(x.device(), x.shape(), data));
            vec![new(&y, gy), new(&w, gw)]
        })
    }
}
