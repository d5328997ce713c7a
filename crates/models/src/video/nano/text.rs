//! The encoder of prompts: a table of words, positions, pre-norm layers in which all words see all.

use super::config::TextEncoderConfig;
use crate::Error;
use crate::layers::encoder::{EncoderLayer, Names, Shape, all_see_all};
use crate::layers::linear::{Bias, LayerNorm};
use crate::weights::{Role, Source};
use std::sync::Arc;
use tensor::{Activation, Tensor};

const EPS: f64 = 1e-6;
const NAMES: Names = Names {
    attention_norm: "attention_norm",
    mlp_norm: "mlp_norm",
    fc1: "mlp.fc1",
    fc2: "mlp.fc2",
};
/// The word that fills up.
pub(super) const PAD: u32 = 0;

/// The encoder with its weights.
#[derive(Debug)]
pub(super) struct TextEncoder {
    config: TextEncoderConfig,
    /// `[vocab_size, hidden_size]`.
    words: Tensor,
    /// `[max_words, hidden_size]`.
    positions: Tensor,
    layers: Vec<EncoderLayer>,
    norm: LayerNorm,
}

impl TextEncoder {
    pub(super) fn new(config: TextEncoderConfig, source: &mut dyn Source) -> Result<Self, Error> {
        let d = config.hidden_size;
        let shape = Shape {
            hidden_size: d,
            intermediate_size: config.intermediate_size,
            num_attention_heads: config.num_attention_heads,
            activation: Activation::GeluTanh,
            layer_norm_eps: EPS,
            key_bias: Bias::With,
        };
        let layer = |i: usize| EncoderLayer::new(&shape, NAMES, &layer_name(i), source);
        let layers = (0..config.num_hidden_layers).map(layer).collect::<Result<_, _>>()?;
        Ok(Self {
            words: source.tensor("words.weight", &[config.vocab_size, d], Role::Embedding)?,
            positions: source.tensor("positions", &[config.max_words, d], Role::Rows)?,
            norm: LayerNorm::new(source, "norm", d, EPS)?,
            layers,
            config,
        })
    }

    /// Whether prompts can be read.
    pub(super) fn check(&self, prompts: &[Vec<u32>]) -> Result<(), Error> {
        let TextEncoderConfig { vocab_size, max_words, .. } = self.config;
        let wrong =
            |found: String, expected: String| Err(Error::Input { name: "prompt", found, expected });
        for prompt in prompts {
            if prompt.len() > max_words {
                return wrong(format!("{} words", prompt.len()), format!("at most {max_words}"));
            }
            if let Some(id) = prompt.iter().find(|id| **id as usize >= vocab_size) {
                return wrong(format!("word {id}"), format!("words below {vocab_size}"));
            }
        }
        match prompts.is_empty() {
            true => wrong("no prompts".to_owned(), "1 or more".to_owned()),
            false => Ok(()),
        }
    }

    /// Words of prompts, filled up, as rows: `[batch, max_words, hidden_size]`.
    pub(super) fn forward(&self, prompts: &[Vec<u32>]) -> Tensor {
        let TextEncoderConfig { hidden_size: d, max_words, num_attention_heads, .. } = self.config;
        let filled = prompts.iter().flat_map(|prompt| {
            let pads = max_words.saturating_sub(prompt.len());
            prompt.iter().copied().chain(std::iter::repeat_n(PAD, pads))
        });
        let ids: Arc<[u32]> = filled.collect();
        let places = (0..ids.len()).map(|i| i % max_words).collect();
        let mut x = self.words.embed(&ids).add_scaled(1.0, &self.positions.take_rows(&places), 1.0);
        let rows = all_see_all(prompts.len(), max_words, d / num_attention_heads);
        for layer in &self.layers {
            x = layer.forward(&x, &rows);
        }
        self.norm.forward(&x).reshape(&[prompts.len(), max_words, d])
    }

    pub(super) fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        visit("words.weight", &mut self.words);
        visit("positions", &mut self.positions);
        self.norm.for_each_parameter("norm", visit);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.for_each_parameter(&layer_name(i), visit);
        }
    }

    pub(super) fn freeze(&mut self) {
        self.words = self.words.detach();
        self.positions = self.positions.detach();
        self.norm.freeze();
        self.layers.iter_mut().for_each(EncoderLayer::freeze);
    }
}

fn layer_name(i: usize) -> String {
    format!("layers.{i}.")
}
