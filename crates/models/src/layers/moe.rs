//! Mixture of experts as a layer: router, grouped SwiGLU experts, weighted sum.

use std::sync::Arc;
use tensor::{Routing, Tensor, Weight};

/// A mixture of SwiGLU experts; no token is dropped.
#[derive(Debug)]
pub(crate) struct SparseMoe {
    /// The router, `[num_experts, hidden_size]`, always f32.
    pub(crate) gate: Weight,
    /// `[num_experts, intermediate_size, hidden_size]`.
    pub(crate) w1: Weight,
    /// `[num_experts, hidden_size, intermediate_size]`.
    pub(crate) w2: Weight,
    /// `[num_experts, intermediate_size, hidden_size]`.
    pub(crate) w3: Weight,
    pub(crate) num_experts_per_tok: usize,
}

/// What the router of one layer said.
#[derive(Clone, Debug)]
pub struct RouterOutput {
    /// `[tokens, num_experts]`, before the softmax.
    pub logits: Tensor,
    /// The experts chosen.
    pub routing: Arc<Routing>,
}

impl SparseMoe {
    /// From `x: [tokens, hidden_size]` to the same shape.
    pub(crate) fn forward(&self, x: &Tensor) -> (Tensor, RouterOutput) {
        let logits = x.linear(&self.gate); // [tokens, num_experts]
        let (weights, routing) = logits.route(self.num_experts_per_tok);
        let num_experts = self.w1.num_experts();
        let groups = routing.groups(x.device(), num_experts);
        let slots = x.gather_slots(&groups); // [slots, hidden_size]
        let inner = slots
            .grouped_linear(&self.w1, &groups)
            .swiglu(&slots.grouped_linear(&self.w3, &groups)); // [slots, intermediate_size]
        drop(slots);
        let out = inner.grouped_linear(&self.w2, &groups).combine_slots(&weights, &groups);
        (out, RouterOutput { logits, routing })
    }
}
