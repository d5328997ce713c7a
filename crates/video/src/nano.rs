//! Our own model as the pipeline sees it.

use crate::denoiser::{Denoiser, Shape};
use models::video::NanoVideo;
use models::video::dit::config::FfnConfig;
use models::video::nano::config::NanoConfig;
use tensor::{Device, Tensor};

/// Tensors as wide as the transformer that a layer holds at once for each row: input, norm, queries, keys,
/// values, gate, what attention gives, and their copies in other layouts.
const WIDE: usize = 14;
/// Tensors as wide as the inner part of the feed-forward part.
const INNER: usize = 4;
/// Tensors of all pixels of a latent frame, with the channels of the last level, that the autoencoder holds
/// at once: what residual blocks read, norms, activations, outputs and patches, and frames that are kept for
/// those after them. For 64 x 64 pixels, patches of 2 x 2 and 32 channels that is 21 MB.
const LEVEL: usize = 40;

/// A model of our own, where it computes and what it takes.
#[derive(Debug)]
pub struct Nano {
    model: NanoVideo,
    device: Device,
    shape: Shape,
    weight_bytes: u64,
}

impl Nano {
    /// The model as the pipeline asks it.
    pub fn new(mut model: NanoVideo) -> Self {
        let (shape, device) = (shape(model.config()), model.device().clone());
        let weight_bytes = model.bytes() as u64;
        Self { model, device, shape, weight_bytes }
    }

    /// The model.
    pub fn model(&self) -> &NanoVideo {
        &self.model
    }
}

fn shape(config: &NanoConfig) -> Shape {
    let (time, space) = config.factors();
    Shape {
        size: [config.height, config.width],
        frames: config.frames,
        rate: config.frame_rate as f64,
        reference: config.reference_size,
        channels: config.transformer.in_channels,
        space,
        time,
        patch: config.transformer.patch_size,
        max_rows: config.transformer.rope.max_positions,
        max_words: config.text.max_words,
    }
}

impl Denoiser for Nano {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn encode_prompts(&self, prompts: &[Vec<u32>]) -> Tensor {
        self.model.encode_prompts(prompts)
    }

    fn velocity(
        &self,
        latents: &Tensor,
        text: &Tensor,
        reference: Option<&Tensor>,
        levels: &[f32],
    ) -> Tensor {
        self.model.velocity(latents, text, reference, levels)
    }

    fn encode(&self, pixels: &Tensor) -> Tensor {
        self.model.to_latents(pixels)
    }

    fn decode(&self, latents: &Tensor) -> Tensor {
        self.model.to_pixels(latents)
    }

    fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    fn velocity_bytes(&self, samples: usize, rows: usize) -> u64 {
        let config = self.model.config();
        let transformer = &config.transformer;
        let side = self.shape.reference / self.shape.space;
        let reference = (side / transformer.patch_size[1]) * (side / transformer.patch_size[2]);
        let all = samples * (config.text.max_words + reference + rows);
        let inner = transformer.layers.iter().map(|layer| match layer.ffn {
            FfnConfig::SwiGlu { hidden } | FfnConfig::Gelu { hidden } => hidden,
            FfnConfig::GluConv { hidden } => 2 * hidden,
        });
        let floats = WIDE * transformer.hidden_size + INNER * inner.max().unwrap_or(0);
        4 * (all * floats) as u64
    }

    fn codec_bytes(&self, [height, width]: [usize; 2]) -> u64 {
        let Some(vae) = &self.model.config().vae else { return 0 };
        let positions = (height / vae.patch_size) * (width / vae.patch_size) * vae.time_factor();
        let channels = vae.base_dim.max(vae.decoder_base_dim);
        4 * (positions * channels * LEVEL) as u64
    }
}
