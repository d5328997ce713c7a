//! The network in burn, on its CPU backend, built from its own modules as its users would.

use crate::Trainer;
use crate::task::{EPS, OPTIMIZER, Shape, Weights};
use burn::module::{Module, Param};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::{Embedding, Linear, RmsNorm, RmsNormConfig};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::activation::silu;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// The network, its optimizer and loss.
pub(crate) struct Training {
    shape: Shape,
    device: Device,
    /// Always there between steps: a step takes it and puts the changed one back.
    network: Option<Network>,
    optimizer: ModuleOptimizer,
    loss: CrossEntropyLoss,
}

#[derive(Module, Debug)]
struct Network {
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Linear,
}

#[derive(Module, Debug)]
struct Layer {
    attention_norm: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    ffn_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Training {
    pub(crate) fn new(shape: Shape) -> Self {
        let Shape { layers, dim, ffn, vocab, .. } = shape;
        let device = Device::flex().autodiff();
        let mut weights = Weights::new();
        let table = TensorData::new(weights.matrix(vocab, dim), [vocab, dim]);
        let embedding = Embedding { weight: Param::from_data(table, &device) };
        // Its matrices are `[inputs, outputs]`, ours `[outputs, inputs]`.
        let mut linear = |n: usize, k: usize| {
            let data = TensorData::new(weights.transposed(n, k), [k, n]);
            Linear { weight: Param::from_data(data, &device), bias: None }
        };
        let norm = || RmsNormConfig::new(dim).with_epsilon(f64::from(EPS)).init(&device);
        let layer = |_| Layer {
            attention_norm: norm(),
            q: linear(dim, dim),
            k: linear(dim, dim),
            v: linear(dim, dim),
            o: linear(dim, dim),
            ffn_norm: norm(),
            gate: linear(ffn, dim),
            up: linear(ffn, dim),
            down: linear(dim, ffn),
        };
        let layers = (0..layers).map(layer).collect();
        let network = Network { embedding, layers, norm: norm(), head: linear(vocab, dim) };
        let optimizer = AdamWConfig::new()
            .with_beta_1(OPTIMIZER.beta1)
            .with_beta_2(OPTIMIZER.beta2)
            .with_epsilon(OPTIMIZER.eps)
            .with_weight_decay(OPTIMIZER.weight_decay)
            .init();
        let loss = CrossEntropyLossConfig::new().init(&device);
        Self { shape, device, network: Some(network), optimizer, loss }
    }
}

impl Network {
    /// Logits `[batch, seq, vocab]` of `ids: [batch, seq]`.
    fn forward(&self, ids: Tensor<2, Int>, heads: usize) -> Tensor<3> {
        let mut x = self.embedding.forward(ids);
        for layer in &self.layers {
            let n = layer.attention_norm.forward(x.clone());
            x = x + layer.attend(n, heads);
            let n = layer.ffn_norm.forward(x.clone());
            let hidden = silu(layer.gate.forward(n.clone())) * layer.up.forward(n);
            x = x + layer.down.forward(hidden);
        }
        self.head.forward(self.norm.forward(x))
    }
}

impl Layer {
    fn attend(&self, x: Tensor<3>, heads: usize) -> Tensor<3> {
        let [batch, seq, dim] = x.dims();
        // [batch, heads, seq, head_dim]
        let split = |x: Tensor<3>| x.reshape([batch, seq, heads, dim / heads]).swap_dims(1, 2);
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|linear| split(linear.forward(x.clone())));
        let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let o = attention(q, k, v, None, None, options);
        self.o.forward(o.swap_dims(1, 2).reshape([batch, seq, dim]))
    }
}

impl Trainer for Training {
    fn name(&self) -> &'static str {
        "burn-flex"
    }

    fn parameters(&self) -> usize {
        self.network.as_ref().map_or(0, Module::num_params)
    }

    fn step(&mut self, ids: &[u32], targets: &[u32]) -> f32 {
        let Shape { batch, seq, vocab, heads, .. } = self.shape;
        let network = self.network.take().expect("between steps there is a network");
        let integers = |ids: &[u32]| ids.iter().map(|&id| i64::from(id)).collect::<Vec<i64>>();
        let ids = TensorData::new(integers(ids), [batch, seq]);
        let targets = TensorData::new(integers(targets), [batch * seq]);
        let logits = network.forward(Tensor::from_data(ids, &self.device), heads);
        let logits = logits.reshape([batch * seq, vocab]);
        let loss = self.loss.forward(logits, Tensor::from_data(targets, &self.device));
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        self.network = Some(self.optimizer.step(f64::from(OPTIMIZER.lr), network, gradients));
        loss.into_scalar()
    }
}
