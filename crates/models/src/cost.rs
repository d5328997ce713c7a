//! What tokens cost: arithmetic from the shape alone, and the memory that one token moves.
//!
//! Counted is what the model asks for, whatever an implementation does beyond that: products with
//! weights, the visible pairs of softmax attention, and lightning attention in its recurrent form.
//! In the last layer only what is needed for the outputs and for what the sequence leaves counts.
//! Norms, activations, rotation and decay are left out; they are a hundredth of the rest.

use crate::{Config, LayerType};
use tensor::{KvType, Lightning};

/// A run of tokens of one sequence, as far as its cost goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Tokens that the sequence has read before.
    pub past: usize,
    /// Tokens that are read.
    pub tokens: usize,
    /// How many of them, from the last one backwards, logits are wanted for.
    pub outputs: usize,
}

/// Bytes of a model's weights as they are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightBytes {
    /// Of all of them.
    pub total: u64,
    /// Of those that take part when one token is read and its logits are wanted: the chosen experts
    /// only, and one row of the embedding.
    pub per_token: u64,
}

impl Config {
    /// Floating point operations of `work`, a multiplication and its addition counting as two; in
    /// f64, since a long context of a large model has more than integers count.
    pub fn flops(&self, work: Work) -> f64 {
        let last = self.layer_types.len().saturating_sub(1);
        let layers = self.layer_types.iter().enumerate().map(|(i, kind)| {
            let rows = if i == last { work.outputs } else { work.tokens };
            self.layer_flops(*kind, work, rows as f64)
        });
        let [h, vocab] = [self.hidden_size, self.vocab_size].map(|n| n as f64);
        layers.sum::<f64>() + 2.0 * work.outputs as f64 * h * vocab
    }

    /// Of one layer whose output is needed for the last `rows` tokens.
    fn layer_flops(&self, kind: LayerType, work: Work, rows: f64) -> f64 {
        let [h, heads, head_dim] =
            [self.hidden_size, self.num_attention_heads, self.head_dim].map(|n| n as f64);
        let [past, tokens] = [work.past, work.tokens].map(|n| n as f64);
        let width = heads * head_dim;
        let mixer = match kind {
            LayerType::LinearAttention => {
                let weights = tokens * 3.0 * width * h + rows * 2.0 * width * h;
                // All tokens change the state, the needed ones read it.
                let state = (tokens + rows) * width * head_dim;
                weights + state
            }
            LayerType::FullAttention => {
                let kv_width = self.num_key_value_heads as f64 * head_dim;
                let weights = rows * 2.0 * width * h + tokens * 2.0 * kv_width * h;
                // The last token sees all, the one before it one less.
                let pairs = rows * (past + tokens) - rows * (rows - 1.0) / 2.0;
                weights + 2.0 * pairs * width
            }
        };
        let router = rows * self.num_local_experts as f64 * h;
        let experts =
            rows * self.num_experts_per_tok as f64 * 3.0 * h * self.intermediate_size as f64;
        2.0 * (mixer + router + experts)
    }

    /// Bytes of a sequence's memory that a token moves which is read after `past` others; saturates.
    ///
    /// In softmax layers all keys and values are read and its own written. In lightning layers, on
    /// average over a block of 32 tokens, the state and the keys and values of 15.5 tokens are read,
    /// its own are written, and a 32nd of the state is read and written once more.
    pub fn cache_bytes_per_token(&self, past: usize, kv: KvType) -> u64 {
        let Lightning { heads, head_dim } = self.lightning();
        let dim = head_dim as u64;
        let state = dim.saturating_mul(dim);
        let of_head = state.saturating_add(state / 16).saturating_add(dim.saturating_mul(33));
        let lightning = [heads as u64, of_head, 4]
            .into_iter()
            .fold(self.count(LayerType::LinearAttention), u64::saturating_mul);
        let written = self.kv_bytes_per_token(kv);
        let read = written.saturating_mul((past as u64).saturating_add(1));
        [lightning, read, written].into_iter().fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MiniMaxText01;
    use crate::weights::{Policy, Random, planned_bytes};
    use std::path::Path;
    use tensor::gguf::DType;
    use tensor::{Device, Precision};

    /// Sizes that fill the panels of every kernel, so that nothing is padded.
    fn config(kinds: &str) -> Config {
        let layers = kinds.split(',').count();
        let text = format!(
            r#"{{
                "model_type": "minimax_text_01", "vocab_size": 288, "hidden_size": 192,
                "intermediate_size": 96, "num_hidden_layers": {layers},
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 48,
                "rope_theta": 10000.0, "attn_type_list": [{kinds}], "num_local_experts": 96,
                "num_experts_per_tok": 2, "postnorm": true, "max_position_embeddings": 100000
            }}"#
        );
        Config::from_json(text.as_bytes(), Path::new("config.json")).unwrap()
    }

    fn flops(config: &Config, past: usize, tokens: usize, outputs: usize) -> f64 {
        config.flops(Work { past, tokens, outputs })
    }

    /// Each weight that takes part is multiplied and added once; what else a token costs is
    /// attention.
    #[test]
    fn a_token_uses_its_weights_once() {
        let (h, vocab, width) = (192.0, 288.0, 192.0);
        for kinds in ["0", "1", "0, 0, 1, 0"] {
            let config = config(kinds);
            let [lightning, softmax] = [LayerType::LinearAttention, LayerType::FullAttention]
                .map(|kind| config.count(kind) as f64);
            // The parameters hold norms as well, which are not products.
            let norms = h + (lightning + softmax) * 2.0 * h + lightning * width;
            let matrices = config.num_active_parameters() as f64 - norms + vocab * h;
            let attention = lightning * 2.0 * width * 48.0 + softmax * 2.0 * 11.0 * width;
            assert_eq!(flops(&config, 10, 1, 1), 2.0 * (matrices + attention), "{kinds}");
        }
    }

    /// However a text is cut, reading it is as much work.
    #[test]
    fn pieces_cost_what_the_whole_costs() {
        let config = config("0, 1, 0, 1");
        for outputs in [0, 1, 7] {
            let whole = flops(&config, 0, 100, outputs);
            let pieces = flops(&config, 0, 93, 0) + flops(&config, 93, 7, outputs);
            assert_eq!(whole, pieces, "{outputs} outputs");
        }
        assert_eq!(flops(&config, 5, 0, 0), 0.0);
    }

    /// Lightning layers cost the same per token at any length, softmax layers do not.
    #[test]
    fn linear_where_it_says_linear() {
        let per_token = |kinds, tokens| flops(&config(kinds), 0, tokens, 0) / tokens as f64;
        assert_eq!(per_token("0, 0, 0", 512), per_token("0, 0, 0", 65_536));
        assert!(per_token("1, 1, 0", 65_536) > 2.0 * per_token("1, 1, 0", 512));
    }

    #[test]
    fn a_token_moves_state_and_kv() {
        let config = config("0, 0, 1");
        // Each of the tokens of a block: the state, what came before, its own; the last the state again.
        let of_block: u64 = (0..32).map(|place| 48 * 48 + 2 * 48 * (place + 1)).sum();
        // Keys and values are kept in blocks of 32 elements.
        let (lightning, kv) = (2 * 4 * 4 * (of_block + 2 * 48 * 48) / 32, 2 * 2 * 64 * 4);
        assert_eq!(config.cache_bytes_per_token(9, KvType::F32), lightning + 10 * kv + kv);
        assert_eq!(config.cache_bytes_per_token(usize::MAX, KvType::F32), u64::MAX);
    }

    /// Of 96 experts two take part, of the embedding one row; the router and the head are f32.
    #[test]
    fn weights_that_take_part_are_counted() {
        let device = Device::cpu(1);
        let config = config("0, 1");
        for (precision, size) in [(Precision::F32, 4), (Precision::Bf16, 2)] {
            let mut source = Random::new(&device, precision, 2, 1);
            let mut model = MiniMaxText01::new(config.clone(), &mut source).unwrap();
            model.freeze();
            let (h, vocab, width, kv_width) = (192, 288, 192, 96);
            let dtype = if precision == Precision::F32 { DType::F32 } else { DType::Bf16 };
            let policy = if precision == Precision::F32 { Policy::F32 } else { Policy::Bf16 };
            let planned = planned_bytes(&config, DType::F32, Some(policy)).unwrap();
            assert_eq!(planned, model.weight_bytes(), "{precision:?}");
            let wide = 4 * (2 * 96 * h + vocab * h);
            let norms = 4 * (5 * h + width);
            let mixers = 5 * width * h + 2 * (width + kv_width) * h;
            let expert = 2 * 3 * 96 * h;
            let bytes = model.weight_bytes();
            let rest = wide + norms + size * mixers;
            assert_eq!(bytes.per_token, rest + size * 2 * expert + 4 * h, "{precision:?}");
            assert_eq!(bytes.total, rest + size * 96 * expert + 4 * vocab * h, "{precision:?}");
            assert_eq!(model.dtype(), dtype);
        }
    }
}
