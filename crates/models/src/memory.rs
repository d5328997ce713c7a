//! How much memory reading takes, known from the config alone: what a chunk of a prompt needs beside
//! the weights and what the sequence leaves behind.
//!
//! The steps are those of [`MiniMaxText01::forward`](crate::MiniMaxText01::forward) with the sizes
//! of their results; what is small whatever the chunk (one row of logits, a block of lightning
//! attention) is left out.

use crate::{Config, LayerType};
use tensor::BufferPlan;

impl Config {
    /// Most bytes that hold intermediate results while `tokens` tokens of a prompt are read at once,
    /// of which no logits are wanted; saturates.
    pub fn chunk_bytes(&self, tokens: usize) -> u64 {
        let mut steps = Steps { config: self, tokens, plan: BufferPlan::default() };
        // The routers' outputs of all layers stay until the end of the forward pass.
        let mut said = Vec::new();
        let mut x = steps.rows(tokens, self.hidden_size);
        for (i, kind) in self.layer_types.iter().enumerate() {
            let rows = if i + 1 == self.layer_types.len() { 0 } else { tokens };
            x = steps.layer(*kind, x, rows, &mut said);
        }
        // Ids, positions, rows and scales of the batch; where each slot's expert and weight are.
        let batch = product(&[tokens, 48]);
        let slots = product(&[tokens, self.num_experts_per_tok]);
        let routing = product(&[slots, 12, self.layer_types.len()]);
        let groups = product(&[slots, 8]);
        [batch, routing, groups]
            .into_iter()
            .fold(steps.plan.bytes(), |sum, bytes| sum.saturating_add(bytes as u64))
    }
}

struct Steps<'a> {
    config: &'a Config,
    tokens: usize,
    plan: BufferPlan,
}

impl Steps<'_> {
    fn rows(&mut self, rows: usize, width: usize) -> usize {
        self.plan.take(product(&[rows, width]))
    }

    /// From the layer's input to its output, which is needed for `rows` only.
    fn layer(&mut self, kind: LayerType, x: usize, rows: usize, said: &mut Vec<usize>) -> usize {
        let Config { hidden_size: h, num_local_experts: experts, .. } = *self.config;
        let n = self.rows(self.tokens, h);
        // Without `postnorm` the input stays, as the residual, and the normed one goes.
        let kept = if self.config.postnorm { n } else { x };
        if self.config.postnorm {
            self.plan.give([x]);
        }
        let a = match kind {
            LayerType::LinearAttention => self.lightning(rows),
            LayerType::FullAttention => self.softmax(rows),
        };
        if !self.config.postnorm {
            self.plan.give([n]);
        }
        let y = self.rows(rows, h);
        self.plan.give([kept, a]);
        let n = self.rows(rows, h);
        if self.config.postnorm {
            self.plan.give([y]);
        }
        said.push(self.rows(rows, experts));
        let m = self.moe(rows);
        let out = self.rows(rows, h);
        self.plan.give([m, n]);
        if !self.config.postnorm {
            self.plan.give([y]);
        }
        out
    }

    fn lightning(&mut self, rows: usize) -> usize {
        let width = product(&[self.config.num_attention_heads, self.config.head_dim]);
        let qkv_width = product(&[3, width]);
        let linear = self.rows(self.tokens, qkv_width);
        let qkv = self.rows(self.tokens, qkv_width);
        self.plan.give([linear]);
        let o = self.rows(self.tokens, width);
        self.plan.give([qkv]);
        let gate = self.rows(rows, width);
        let gated = self.rows(rows, width);
        let out = self.rows(rows, self.config.hidden_size);
        self.plan.give([o, gate, gated]);
        out
    }

    fn softmax(&mut self, rows: usize) -> usize {
        let Config { num_attention_heads, num_key_value_heads, head_dim, .. } = *self.config;
        let width = product(&[num_attention_heads, head_dim]);
        let kv_width = product(&[num_key_value_heads, head_dim]);
        let q = self.rotated(rows, width);
        let k = self.rotated(self.tokens, kv_width);
        let v = self.rows(self.tokens, kv_width);
        let o = self.rows(rows, width);
        let out = self.rows(rows, self.config.hidden_size);
        self.plan.give([q, k, v, o]);
        out
    }

    fn rotated(&mut self, rows: usize, width: usize) -> usize {
        let x = self.rows(rows, width);
        if self.config.rotary_dim == 0 {
            return x;
        }
        let turned = self.rows(rows, width);
        self.plan.give([x]);
        turned
    }

    fn moe(&mut self, rows: usize) -> usize {
        let Config { hidden_size: h, intermediate_size, num_experts_per_tok, .. } = *self.config;
        let slots = product(&[rows, num_experts_per_tok]);
        let gathered = self.rows(slots, h);
        let [w1, w3, inner] = [0; 3].map(|_| self.rows(slots, intermediate_size));
        self.plan.give([w1, w3, gathered]);
        let out = self.rows(slots, h);
        self.plan.give([inner]);
        let combined = self.rows(rows, h);
        self.plan.give([out]);
        combined
    }
}

/// The product; `usize::MAX` if it is larger.
fn product(factors: &[usize]) -> usize {
    factors.iter().copied().fold(1, usize::saturating_mul)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Random;
    use crate::{Batch, Cache, MiniMaxText01};
    use std::path::Path;
    use tensor::{Device, KvType, Precision};

    /// The store of a device after some chunks is as large as planned.
    #[test]
    fn a_chunk_takes_what_is_planned() {
        for (kinds, postnorm, experts) in
            [("0, 0, 1", true, 2), ("0, 1, 0, 1", true, 3), ("1, 0", false, 1)]
        {
            let num_layers = kinds.split(',').count();
            let text = format!(
                r#"{{
                    "model_type": "minimax_text_01", "vocab_size": 20, "hidden_size": 64,
                    "intermediate_size": 48, "num_hidden_layers": {num_layers},
                    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
                    "rotary_dim": 8, "rope_theta": 10000.0, "attn_type_list": [{kinds}],
                    "num_local_experts": 4, "num_experts_per_tok": {experts},
                    "postnorm": {postnorm}, "max_position_embeddings": 100000
                }}"#
            );
            let config = Config::from_json(text.as_bytes(), Path::new("config.json")).unwrap();
            let device = Device::cpu(1);
            let mut source = Random::new(&device, Precision::F32, num_layers, 1);
            let mut model = MiniMaxText01::new(config.clone(), &mut source).unwrap();
            model.freeze();
            device.release_memory();
            let (tokens, chunks) = (1000, 3);
            let mut cache = Cache::new(&config, KvType::F32);
            for _ in 0..chunks {
                let batch = Batch::single(&vec![7; tokens], cache.tokens(), &[]);
                model.forward(&batch, Some(&mut [&mut cache]));
            }
            let (planned, held) = (config.chunk_bytes(tokens), device.exec().buffers.free_bytes());
            let ratio = held as f64 / planned as f64;
            assert!((0.9..=1.05).contains(&ratio), "{kinds}: {held} bytes, planned {planned}");
        }
    }

    #[test]
    fn absurd_sizes_saturate() {
        assert_eq!(product(&[usize::MAX, 2]), usize::MAX);
        assert_eq!(product(&[0, usize::MAX, 2]), 0);
    }
}
