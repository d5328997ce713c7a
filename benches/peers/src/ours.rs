//! The network on our tensors and their tape.

use crate::Trainer;
use crate::task::{EPS, OPTIMIZER, Shape, Weights};
use std::sync::Arc;
use tensor::adamw::adamw;
use tensor::{
    Attention, AttentionRows, AttentionSpan, Device, Gradients, Precision, Tensor, Weight,
};

/// Weights, moments, and what is the same in every step.
#[derive(Debug)]
pub(crate) struct Network {
    device: Device,
    attention: Attention,
    rows: Arc<AttentionRows>,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Weight,
    /// Of each parameter, in the order of [`Network::for_each_parameter`].
    moments: Vec<[Vec<f32>; 2]>,
    steps: u64,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    q: Weight,
    k: Weight,
    v: Weight,
    o: Weight,
    ffn_norm: Tensor,
    gate: Weight,
    up: Weight,
    down: Weight,
}

impl Network {
    pub(crate) fn new(shape: Shape, threads: usize) -> Self {
        let Shape { layers, dim, heads, ffn, vocab, seq, batch } = shape;
        let device = Device::cpu(threads);
        let mut weights = Weights::new();
        let mut matrix =
            |n, k| Tensor::new(&device, &[n, k], weights.matrix(n, k)).into_parameter();
        let ones = || Tensor::full(&device, &[dim], 1.0).into_parameter();
        let embedding = matrix(vocab, dim);
        let mut weight = |n, k| Weight::new(matrix(n, k), Precision::F32);
        let layer = |_| Layer {
            attention_norm: ones(),
            q: weight(dim, dim),
            k: weight(dim, dim),
            v: weight(dim, dim),
            o: weight(dim, dim),
            ffn_norm: ones(),
            gate: weight(ffn, dim),
            up: weight(ffn, dim),
            down: weight(dim, ffn),
        };
        let layers = (0..layers).map(layer).collect();
        let (norm, head) = (ones(), weight(vocab, dim));
        let spans = (0..batch).map(|i| i * seq..(i + 1) * seq);
        let rows = AttentionRows {
            spans: spans.map(|span| AttentionSpan { rows: span.clone(), keys: span }).collect(),
            positions: (0..batch).flat_map(|_| 0..seq).collect(),
            scales: vec![(shape.head_dim() as f32).sqrt().recip(); shape.tokens()],
        };
        let attention = Attention { heads, kv_heads: heads, head_dim: shape.head_dim() };
        let rows = Arc::new(rows);
        let (moments, steps) = (Vec::new(), 0);
        let mut network =
            Self { device, attention, rows, embedding, layers, norm, head, moments, steps };
        let mut moments = Vec::new();
        network.for_each_parameter(&mut |parameter| {
            moments.push([0, 1].map(|_| vec![0.0; parameter.len()]));
        });
        Self { moments, ..network }
    }

    fn for_each_parameter(&mut self, f: &mut dyn FnMut(&mut Tensor)) {
        f(&mut self.embedding);
        for layer in &mut self.layers {
            let Layer { attention_norm, q, k, v, o, ffn_norm, gate, up, down } = layer;
            f(attention_norm);
            f(ffn_norm);
            for weight in [q, k, v, o, gate, up, down] {
                f(weight.tensor_mut());
            }
        }
        f(&mut self.norm);
        f(self.head.tensor_mut());
    }

    /// The mean loss on a batch and its gradients.
    fn loss(&self, ids: &[u32], targets: &[u32]) -> (f32, Gradients) {
        let mut x = self.embedding.embed(&ids.into()); // [tokens, dim]
        for layer in &self.layers {
            let n = x.rms_norm(&layer.attention_norm, EPS);
            let (q, k, v) = (n.linear(&layer.q), n.linear(&layer.k), n.linear(&layer.v));
            let o = q.attention(&k, &v, self.attention, &self.rows).linear(&layer.o);
            x = x.add_scaled(1.0, &o, 1.0);
            let n = x.rms_norm(&layer.ffn_norm, EPS);
            let hidden = n.linear(&layer.gate).swiglu(&n.linear(&layer.up)); // [tokens, ffn]
            x = x.add_scaled(1.0, &hidden.linear(&layer.down), 1.0);
        }
        let hidden = x.rms_norm(&self.norm, EPS);
        let weights = vec![(targets.len() as f32).recip(); targets.len()];
        let loss = hidden.cross_entropy(&self.head, targets, &weights).total;
        let mut gradients = Gradients::default();
        loss.backward(&mut gradients);
        (loss.data()[0], gradients)
    }
}

impl Trainer for Network {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn parameters(&self) -> usize {
        self.moments.iter().map(|[m, _]| m.len()).sum()
    }

    fn step(&mut self, ids: &[u32], targets: &[u32]) -> f32 {
        let (loss, gradients) = self.loss(ids, targets);
        self.steps += 1;
        let (device, step) = (self.device.clone(), self.steps);
        let mut moments = std::mem::take(&mut self.moments);
        let mut next = moments.iter_mut();
        self.for_each_parameter(&mut |parameter| {
            let ([m, v], Some(gradient)) =
                (next.next().expect("moments of each"), gradients.get(parameter))
            else {
                panic!("a parameter that the loss does not depend on");
            };
            let gradient = gradient.clone();
            let parameter = parameter.data_mut();
            adamw(device.exec(), &OPTIMIZER, step, parameter, gradient.data(), 1.0, m, v);
        });
        self.moments = moments;
        loss
    }
}
