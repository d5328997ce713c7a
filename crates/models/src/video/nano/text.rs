//! The encoder of prompts: a table of words, positions, pre-norm layers in which all words see all.

use super::config::TextEncoderConfig;
use crate::Error;
use crate::layers::encoder::{EncoderLayer, Names, Shape, all_see_all};
use crate::layers::linear::{Bias, LayerNorm};
use crate::video::parameters::{self, Parameter, Visit};
use crate::weights::{Role, Source};
use std::sync::Arc;
use tensor::{Activation, Device, Tensor};

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

    /// Where it computes.
    pub(super) fn device(&self) -> &Device {
        self.words.device()
    }

    pub(super) fn walk(&mut self, visit: Visit<'_>) {
        visit("words.weight", Parameter::Tensor(&mut self.words));
        visit("positions", Parameter::Tensor(&mut self.positions));
        parameters::layer_norm(&mut self.norm, "norm", visit);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let prefix = layer_name(i);
            for (name, norm) in layer.norms() {
                parameters::layer_norm(norm, &format!("{prefix}{name}"), visit);
            }
            for (name, linear) in layer.linears() {
                parameters::linear(linear, &format!("{prefix}{name}"), visit);
            }
        }
    }
}

fn layer_name(i: usize) -> String {
    format!("layers.{i}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Random;
    use tensor::Precision;

    #[test]
    fn prompts_that_cannot_be_read_are_refused() {
        let config = TextEncoderConfig {
            vocab_size: 11,
            max_words: 5,
            hidden_size: 16,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 24,
        };
        let device = Device::cpu(1);
        let mut source = Random::new(&device, Precision::F32, 1, 3);
        let encoder = TextEncoder::new(config, &mut source).unwrap();
        let error = |prompts: &[Vec<u32>]| encoder.check(prompts).unwrap_err().to_string();
        assert!(error(&[vec![1; 6]]).contains("6 words"), "{}", error(&[vec![1; 6]]));
        assert!(error(&[vec![11]]).contains("word 11"));
        assert!(error(&[]).contains("no prompts"));
        assert!(encoder.check(&[vec![10; 5], vec![]]).is_ok());
    }
}
