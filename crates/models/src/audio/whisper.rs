//! The encoder of Whisper (arXiv:2212.04356); compared with `modeling_whisper.py` of transformers.
//! Voxtral and Qwen2-Audio have the same one, under other names of config fields.
//!
//! ```text
//! c  = gelu(conv(gelu(conv(features)), stride 2))        x0 = c + positions
//! x_{i+1} = layer_i(x_i)                                 out = LN(x_n)
//! ```
//!
//! Both convolutions have 3 taps and the exact GELU, whatever the layers have. Keys have no bias.
//! Positions are sinusoids that checkpoints hold as if they were learned.

use crate::Error;
use crate::config::fields::Fields;
use crate::layers::encoder::{EncoderLayer, Names, Shape, activation_of, all_see_all, check_heads};
use crate::layers::linear::{Bias, LayerNorm, Linear};
use crate::weights::{Part, Policy, Role, Source};
use std::path::Path;
use std::sync::Arc;
use tensor::{Activation, Checkpoint, Device, Tensor};

/// Which of the models that have this encoder; they differ in what a config may leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `whisper`.
    Whisper,
    /// `voxtral_encoder`.
    Voxtral,
    /// `qwen2_audio_encoder`: pairs of rows are averaged before the last norm.
    Qwen2Audio,
}

/// The shape of an encoder; fields are named as in Whisper's files.
#[derive(Clone, Debug, PartialEq)]
pub struct WhisperConfig {
    /// Which model this is from.
    pub family: Family,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Inner width of a layer's MLP.
    pub encoder_ffn_dim: usize,
    /// Number of layers.
    pub encoder_layers: usize,
    /// Heads of a layer.
    pub encoder_attention_heads: usize,
    /// Bins of the features.
    pub num_mel_bins: usize,
    /// Positions after the second convolution: half as many as frames of features.
    pub max_source_positions: usize,
    /// Of the layers' MLPs.
    pub activation_function: Activation,
}

const NAMES: Names = Names {
    attention_norm: "self_attn_layer_norm",
    mlp_norm: "final_layer_norm",
    fc1: "fc1",
    fc2: "fc2",
};

/// Epsilon of all norms; no config has it.
const EPS: f64 = 1e-5;
/// Taps of the convolutions.
pub(super) const TAPS: usize = 3;
/// Stride of the second.
pub(crate) const STRIDE: usize = 2;

/// Where an encoder is in the checkpoints that have one.
const PREFIXES: [&str; 5] =
    ["", "model.encoder.", "encoder.", "audio_tower.", "model.audio_tower."];

impl WhisperConfig {
    /// Reads the text of a `config.json` of Whisper or of an encoder alone; `path` is named in errors.
    ///
    /// # Errors
    ///
    /// If it is not JSON, of another architecture, or has values that a model cannot have.
    pub fn from_json(text: &[u8], path: &Path) -> Result<Self, Error> {
        Self::from_fields(&Fields::parse(text, path)?, Family::Whisper)
    }

    /// `family`, if the fields do not say.
    pub(crate) fn from_fields(fields: &Fields<'_>, family: Family) -> Result<Self, Error> {
        const KINDS: [(&str, Family); 3] = [
            ("whisper", Family::Whisper),
            ("voxtral_encoder", Family::Voxtral),
            ("qwen2_audio_encoder", Family::Qwen2Audio),
        ];
        let family = fields.choice("model_type", &KINDS)?.unwrap_or(family);
        // What files leave out: the smallest Whisper, or the largest in the others.
        let [d_model, ffn, layers, heads, bins] = match family {
            Family::Whisper => [384, 1536, 4, 6, 80],
            _ => [1280, 5120, 32, 20, 128],
        };
        let size = |names: &[&str], max, default| {
            fields.optional_size(names, max).map(|size| size.unwrap_or(default))
        };
        let config = Self {
            family,
            d_model: size(&["d_model", "hidden_size"], 1 << 20, d_model)?,
            encoder_ffn_dim: size(&["encoder_ffn_dim", "intermediate_size"], 1 << 20, ffn)?,
            encoder_layers: size(&["encoder_layers", "num_hidden_layers"], 10_000, layers)?,
            encoder_attention_heads: size(
                &["encoder_attention_heads", "num_attention_heads"],
                1 << 16,
                heads,
            )?,
            num_mel_bins: size(&["num_mel_bins"], 1 << 16, bins)?,
            max_source_positions: size(&["max_source_positions"], 1 << 24, 1500)?,
            activation_function: activation_of(fields, "activation_function", Activation::Gelu)?,
        };
        let named = |own: &'static str, other: &'static str| {
            if fields.get(own).is_some() { own } else { other }
        };
        let heads = named("encoder_attention_heads", "num_attention_heads");
        let hidden = named("d_model", "hidden_size");
        check_heads(fields, (heads, config.encoder_attention_heads), (hidden, config.d_model))?;
        Ok(config)
    }

    /// Frames of features that a whole window has.
    pub fn max_frames(&self) -> usize {
        STRIDE * self.max_source_positions
    }
}

/// The encoder with its weights.
#[derive(Debug)]
pub struct WhisperEncoder {
    config: WhisperConfig,
    /// `[d_model, 3 * num_mel_bins]`.
    conv1: Linear,
    /// `[d_model, 3 * d_model]`.
    conv2: Linear,
    /// `[max_source_positions, d_model]`.
    embed_positions: Tensor,
    layers: Vec<EncoderLayer>,
    layer_norm: LayerNorm,
}

impl WhisperEncoder {
    /// Makes the encoder of `config` from `source`.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the config says.
    pub fn new(config: WhisperConfig, source: &mut dyn Source) -> Result<Self, Error> {
        let d = config.d_model;
        let shape = Shape {
            hidden_size: d,
            intermediate_size: config.encoder_ffn_dim,
            num_attention_heads: config.encoder_attention_heads,
            activation: config.activation_function,
            layer_norm_eps: EPS,
            key_bias: Bias::Without,
        };
        let conv1 = Linear::conv(source, "conv1", &[d, config.num_mel_bins, TAPS], Bias::With)?;
        let conv2 = Linear::conv(source, "conv2", &[d, d, TAPS], Bias::With)?;
        let positions = [config.max_source_positions, d];
        let embed_positions = source.tensor("embed_positions.weight", &positions, Role::Rows)?;
        let layers = (0..config.encoder_layers)
            .map(|i| EncoderLayer::new(&shape, NAMES, &layer_prefix(i), source))
            .collect::<Result<_, _>>()?;
        let layer_norm = LayerNorm::new(source, "layer_norm", d, EPS)?;
        Ok(Self { config, conv1, conv2, embed_positions, layers, layer_norm })
    }

    /// Loads the encoder of `config` from a checkpoint of it or of a whole Whisper, ready for
    /// inference.
    ///
    /// # Errors
    ///
    /// If a weight is missing, of another shape, or there is one too many.
    pub fn load(
        config: WhisperConfig,
        checkpoint: &Checkpoint,
        device: &Device,
        policy: Option<Policy>,
    ) -> Result<Self, Error> {
        let mut part = Self::part(checkpoint, device, policy);
        let mut encoder = Self::new(config, &mut part)?;
        part.finish(&[])?;
        encoder.freeze();
        Ok(encoder)
    }

    /// The encoder's part of a checkpoint.
    pub(crate) fn part<'a>(
        checkpoint: &'a Checkpoint,
        device: &'a Device,
        policy: Option<Policy>,
    ) -> Part<'a> {
        Part::find(checkpoint, device, policy, &PREFIXES, "conv1.weight")
    }

    /// Its shape.
    pub fn config(&self) -> &WhisperConfig {
        &self.config
    }

    /// What `features`, `[batch, num_mel_bins, frames]`, become: `[batch, positions, d_model]`, a
    /// position for every two frames, for every four in [`Family::Qwen2Audio`].
    ///
    /// # Panics
    ///
    /// If there are other bins or more frames than [`WhisperConfig::max_frames`].
    #[track_caller]
    pub fn forward(&self, features: &Tensor) -> Tensor {
        let &[batch, bins, frames] = features.shape() else {
            panic!("features of shape {:?}", features.shape())
        };
        let WhisperConfig { d_model: d, encoder_attention_heads: heads, .. } = self.config;
        assert_eq!(bins, self.config.num_mel_bins, "bins of the features");
        let len = frames.div_ceil(STRIDE);
        assert!(len <= self.config.max_source_positions, "{frames} frames of features");
        let x = under_taps(&frames_outermost(features), [batch, frames], 1);
        let x = self.conv1.forward_activated(&x, Activation::Gelu); // [batch * frames, d_model]
        let x = under_taps(&x, [batch, frames], STRIDE);
        let x = self.conv2.forward_activated(&x, Activation::Gelu); // [batch * len, d_model]
        let positions: Arc<[usize]> = (0..batch * len).map(|i| i % len).collect();
        let mut x = x.add_scaled(1.0, &self.embed_positions.take_rows(&positions), 1.0);
        let rows = all_see_all(batch, len, d / heads);
        for layer in &self.layers {
            x = layer.forward(&x, &rows);
        }
        let pooled = self.config.family == Family::Qwen2Audio;
        let (x, len) = if pooled { (mean_of_pairs(&x, [batch, len]), len / 2) } else { (x, len) };
        self.layer_norm.forward(&x).reshape(&[batch, len, d])
    }

    /// Calls `visit` with every parameter and its name in a checkpoint of the encoder alone;
    /// convolutions are visited as matrices, `[d_model, 3 * in]`.
    pub fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        self.conv1.for_each_parameter("conv1", visit);
        self.conv2.for_each_parameter("conv2", visit);
        visit("embed_positions.weight", &mut self.embed_positions);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.for_each_parameter(&layer_prefix(i), visit);
        }
        self.layer_norm.for_each_parameter("layer_norm", visit);
    }

    /// Leaves only what inference needs.
    pub fn freeze(&mut self) {
        self.embed_positions = self.embed_positions.detach();
        self.conv1.freeze();
        self.conv2.freeze();
        self.layers.iter_mut().for_each(EncoderLayer::freeze);
        self.layer_norm.freeze();
    }
}

fn layer_prefix(i: usize) -> String {
    format!("layers.{i}.")
}

/// `[batch * frames, bins]` of features `[batch, bins, frames]`.
fn frames_outermost(features: &Tensor) -> Tensor {
    let &[batch, bins, frames] = features.shape() else { panic!("features {features:?}") };
    let x = features.to_vec();
    let mut rows = Vec::with_capacity(x.len());
    for (b, frame) in (0..batch).flat_map(|b| (0..frames).map(move |frame| (b, frame))) {
        rows.extend((0..bins).map(|bin| x[(b * bins + bin) * frames + frame]));
    }
    Tensor::new(features.device(), &[batch * frames, bins], rows)
}

/// What is under the three taps at every `stride`-th row of each sequence, zeros beyond its ends: from
/// `[batch * len, dim]` to `[batch * len.div_ceil(stride), 3 * dim]`.
fn under_taps(x: &Tensor, [batch, len]: [usize; 2], stride: usize) -> Tensor {
    let (rows, dim) = (x.rows(), x.last_dim());
    // One more row, of zeros.
    let padded = x.put_rows(&(0..rows).collect(), rows + 1);
    let mut taps = Vec::with_capacity(batch * len.div_ceil(stride) * TAPS);
    for (b, middle) in (0..batch).flat_map(|b| (0..len).step_by(stride).map(move |i| (b, i))) {
        for tap in 0..TAPS {
            let inside = (middle + tap).checked_sub(1).filter(|&i| i < len);
            taps.push(inside.map_or(rows, |i| b * len + i));
        }
    }
    let steps = taps.len() / TAPS;
    padded.take_rows(&taps.into()).reshape(&[steps, TAPS * dim])
}

/// The mean of rows 0 and 1, of rows 2 and 3, … of each sequence, `[batch * (len / 2), dim]`; an odd
/// last row is dropped.
fn mean_of_pairs(x: &Tensor, [batch, len]: [usize; 2]) -> Tensor {
    let rows = |first: usize| -> Arc<[usize]> {
        (0..batch).flat_map(|b| (0..len / 2).map(move |i| b * len + 2 * i + first)).collect()
    };
    x.take_rows(&rows(0)).add_scaled(0.5, &x.take_rows(&rows(1)), 0.5)
}

/// The sinusoids that Whisper has for positions, `[length, channels]`: sines of all frequencies, then
/// their cosines; wavelengths from `2 pi` to `10000 * 2 pi`.
pub fn sinusoids(device: &Device, length: usize, channels: usize) -> Tensor {
    let half = channels / 2;
    let step = 10_000f64.ln() / (half.max(2) - 1) as f64;
    let angle = |position: usize, i: usize| position as f64 * (-step * i as f64).exp();
    let data = (0..length).flat_map(|position| {
        let sines = (0..half).map(move |i| angle(position, i).sin());
        let cosines = (0..half).map(move |i| angle(position, i).cos());
        sines.chain(cosines).map(|x| x as f32)
    });
    Tensor::new(device, &[length, 2 * half], data.collect())
}
