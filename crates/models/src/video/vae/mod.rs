//! The video autoencoder of Wan 2.1 and 2.2 (arXiv:2503.20314) in the layout of diffusers,
//! `AutoencoderKLWan`; compared with `autoencoder_kl_wan.py` of diffusers.
//!
//! ```text
//! encoder   frames -> [residual blocks, halve] per level -> middle -> mean, log variance
//! decoder   latents -> middle -> [residual blocks, double] per level -> frames
//! ```
//!
//! Causal in time: a frame is never computed from later ones. The first frame is one latent frame
//! alone, so that a picture is a clip of one frame. Clips are read and written in pieces; layers keep
//! the last frames they have seen, and the result is that of the whole clip.

mod blocks;
pub mod config;
mod conv;
mod decoder;
mod encoder;

use crate::Error;
use crate::video::parameters::{self, Visit};
use crate::weights::{Part, Policy, Source};
use config::WanVaeConfig;
use conv::{CausalConv, Stream, frames};
use decoder::Decoder;
use encoder::Encoder;
use std::collections::BTreeMap;
use tensor::{Checkpoint, Device, LOG_VARIANCE, Precision, Saved, Tensor};

/// Frames that are encoded at once, after the first: what two levels that halve them need.
const FRAMES_AT_ONCE: usize = 4;

/// The model with its weights.
#[derive(Debug)]
pub struct WanVae {
    config: WanVaeConfig,
    encoder: Encoder,
    quant_conv: CausalConv,
    post_quant_conv: CausalConv,
    decoder: Decoder,
}

/// What a clip is encoded as.
#[derive(Clone, Debug)]
pub struct Posterior {
    /// `[batch, z_dim, latent frames, height, width]`.
    pub mean: Tensor,
    /// The logarithm of the variance, in the same shape.
    pub log_variance: Tensor,
}

impl WanVae {
    /// Makes the model of `config` from `source`.
    ///
    /// # Errors
    ///
    /// If a weight is missing or has another shape than the config says.
    pub fn new(config: WanVaeConfig, source: &mut dyn Source) -> Result<Self, Error> {
        let z = config.z_dim;
        Ok(Self {
            encoder: Encoder::new(&config, source)?,
            quant_conv: CausalConv::new(source, "quant_conv", [2 * z; 2], [1; 3])?,
            post_quant_conv: CausalConv::new(source, "post_quant_conv", [z; 2], [1; 3])?,
            decoder: Decoder::new(&config, source)?,
            config,
        })
    }

    /// Loads the model of `config` from a checkpoint, ready for inference.
    ///
    /// # Errors
    ///
    /// If a weight is missing, of another shape, or there is one too many.
    pub fn load(
        config: WanVaeConfig,
        checkpoint: &Checkpoint,
        device: &Device,
        policy: Option<Policy>,
    ) -> Result<Self, Error> {
        let mut source = Part::find(checkpoint, device, policy, &[""], "");
        let mut vae = Self::new(config, &mut source)?;
        source.finish(&[])?;
        vae.freeze();
        Ok(vae)
    }

    /// Its shape.
    pub fn config(&self) -> &WanVaeConfig {
        &self.config
    }

    /// Whether `video`, `[batch, channels, frames, height, width]`, can be encoded. What is left over
    /// at the right, at the bottom and at the end is not seen.
    ///
    /// # Errors
    ///
    /// Says what was found and what was expected.
    pub fn check_video(&self, video: &Tensor) -> Result<(), Error> {
        let config = &self.config;
        let (patch, factor) = (config.patch_size, config.space_factor());
        let channels = config.in_channels / (patch * patch);
        let step = if config.is_residual { factor } else { patch };
        let fits = match *video.shape() {
            [batch, found, frames, height, width] => {
                let side = |n: usize| n >= factor && n.is_multiple_of(step);
                batch > 0 && found == channels && frames > 0 && side(height) && side(width)
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let expected = format!(
            "[1 or more, {channels}, 1 or more, height, width], sides of {factor} or more that are \
             multiples of {step}"
        );
        Err(Error::Input { name: "video", found: format!("shape {:?}", video.shape()), expected })
    }

    /// Whether `latent`, `[batch, z_dim, frames, height, width]`, can be decoded.
    ///
    /// # Errors
    ///
    /// Says what was found and what was expected.
    pub fn check_latent(&self, latent: &Tensor) -> Result<(), Error> {
        let z = self.config.z_dim;
        match *latent.shape() {
            [_, found, _, _, _] if found == z && !latent.is_empty() => Ok(()),
            _ => Err(Error::Input {
                name: "latent",
                found: format!("shape {:?}", latent.shape()),
                expected: format!("[batch, {z}, frames, height, width], all 1 or more"),
            }),
        }
    }

    /// Encodes clips `[batch, channels, frames, height, width]` of pixels from -1 to 1. Frames count
    /// up to the last that is 1 more than a multiple of 4.
    ///
    /// # Panics
    ///
    /// If the shape does not fit: see [`check_video`](Self::check_video).
    #[track_caller]
    pub fn encode(&self, video: &Tensor) -> Posterior {
        self.encode_by(video, FRAMES_AT_ONCE)
    }

    /// The same with so many frames at once after the first, a multiple of 4.
    ///
    /// # Panics
    ///
    /// If the shape does not fit, or it is another number of frames.
    #[track_caller]
    pub fn encode_by(&self, video: &Tensor, frames_at_once: usize) -> Posterior {
        if let Err(error) = self.check_video(video) {
            panic!("{error}");
        }
        let step = frames_at_once;
        assert!(step > 0 && step.is_multiple_of(FRAMES_AT_ONCE), "{step} frames at once");
        let x = patches(&video.permute(&[0, 2, 3, 4, 1]), self.config.patch_size);
        let end = 1 + (frames(&x) - 1) / FRAMES_AT_ONCE * FRAMES_AT_ONCE;
        let mut stream = Stream::default();
        let mut parts = Vec::new();
        // Frames that are the first piece and the second are one, which layers treat as both.
        let first = if end - 1 <= step { end } else { 1 };
        let starts = [0].into_iter().chain((first..end).step_by(step));
        for start in starts {
            let stop = if start == 0 { first } else { end.min(start + step) };
            stream.begin();
            parts.push(self.encoder.forward(&x.narrow(1, start..stop), &mut stream));
        }
        let y = Tensor::cat(&parts.iter().collect::<Vec<_>>(), 1);
        let y = self.quant_conv.forward(&y, &mut Stream::default()).permute(&[0, 4, 1, 2, 3]);
        let z = self.config.z_dim;
        Posterior { mean: y.narrow(1, 0..z), log_variance: y.narrow(1, z..2 * z) }
    }

    /// Decodes latents `[batch, z_dim, frames, height, width]` to pixels from -1 to 1. Without a tape.
    ///
    /// # Panics
    ///
    /// If the shape does not fit: see [`check_latent`](Self::check_latent).
    #[track_caller]
    pub fn decode(&self, latent: &Tensor) -> Tensor {
        clamped(&self.decode_by(latent, 1), [-1.0, 1.0])
    }

    /// The same with so many latent frames at once, pixels as the last layer gives them, with a tape.
    ///
    /// # Panics
    ///
    /// If the shape does not fit, or it is 0 frames.
    #[track_caller]
    pub fn decode_by(&self, latent: &Tensor, frames_at_once: usize) -> Tensor {
        if let Err(error) = self.check_latent(latent) {
            panic!("{error}");
        }
        assert!(frames_at_once > 0, "0 frames at once");
        let z = latent.permute(&[0, 2, 3, 4, 1]);
        let x = self.post_quant_conv.forward(&z, &mut Stream::default());
        let mut stream = Stream::default();
        let mut parts = Vec::new();
        for start in (0..frames(&x)).step_by(frames_at_once) {
            let stop = frames(&x).min(start + frames_at_once);
            stream.begin();
            parts.push(self.decoder.forward(&x.narrow(1, start..stop), &mut stream));
        }
        let y = Tensor::cat(&parts.iter().collect::<Vec<_>>(), 1);
        pixels(&y, self.config.patch_size).permute(&[0, 4, 1, 2, 3])
    }

    /// Latents as diffusion sees them: mean 0 and deviation 1 over the training data, as far as the
    /// config says.
    pub fn normalize(&self, latent: &Tensor) -> Tensor {
        let statistics = self.config.latents_mean.iter().zip(&self.config.latents_std);
        self.per_channel(latent, statistics.map(|(mean, std)| (1.0 / std, -mean / std)))
    }

    /// The opposite of [`normalize`](Self::normalize).
    pub fn denormalize(&self, latent: &Tensor) -> Tensor {
        let statistics = self.config.latents_mean.iter().zip(&self.config.latents_std);
        self.per_channel(latent, statistics.map(|(mean, std)| (*std, *mean)))
    }

    /// A factor and a term for each channel of `[batch, z_dim, …]`.
    fn per_channel(&self, latent: &Tensor, factors: impl Iterator<Item = (f32, f32)>) -> Tensor {
        let (scale, shift): (Vec<f32>, Vec<f32>) = factors.unzip();
        let x = latent.permute(&[0, 2, 3, 4, 1]);
        let table = |data: Vec<f32>| Tensor::new(x.device(), &[1, data.len()], data);
        let (scale, shift) = (table(scale), table(shift));
        let x = x.affine_rows(Some(&scale), Some(&shift), &vec![0; x.rows()].into());
        x.permute(&[0, 4, 1, 2, 3])
    }

    /// Calls `visit` with every parameter and its name; convolutions over all channels are visited as
    /// matrices, `[n, taps * channels]`.
    pub fn for_each_parameter(&mut self, visit: &mut dyn FnMut(&str, &mut Tensor)) {
        self.walk(&mut |name, parameter| parameters::values(visit, name, parameter));
    }

    /// The tensors of a checkpoint in the layout of diffusers.
    pub fn saved(&mut self, precision: Precision) -> BTreeMap<String, Saved> {
        let mut saved = BTreeMap::new();
        self.walk(&mut |name, parameter| parameters::save(&mut saved, precision, name, parameter));
        saved
    }

    /// Sets what [`normalize`](Self::normalize) takes away and divides by.
    ///
    /// # Panics
    ///
    /// If there is not one of each for each channel.
    #[track_caller]
    pub fn set_statistics(&mut self, mean: Vec<f32>, std: Vec<f32>) {
        let z = self.config.z_dim;
        assert_eq!((mean.len(), std.len()), (z, z), "statistics of {z} channels");
        (self.config.latents_mean, self.config.latents_std) = (mean, std);
    }

    /// Leaves only what inference needs.
    pub fn freeze(&mut self) {
        self.walk(&mut |_, parameter| parameters::freeze(parameter));
    }

    pub(in crate::video) fn walk(&mut self, visit: Visit<'_>) {
        self.encoder.walk(visit);
        self.quant_conv.walk("quant_conv", visit);
        self.post_quant_conv.walk("post_quant_conv", visit);
        self.decoder.walk(visit);
    }
}

impl Posterior {
    /// The logarithm of the variance within the bounds that sampling uses. Without a tape.
    pub fn bounded_log_variance(&self) -> Tensor {
        clamped(&self.log_variance, LOG_VARIANCE)
    }
}

/// Without a tape.
pub(in crate::video) fn clamped(x: &Tensor, [low, high]: [f32; 2]) -> Tensor {
    let data = x.to_vec().into_iter().map(|x| x.clamp(low, high)).collect();
    Tensor::new(x.device(), x.shape(), data)
}

/// Squares of `size` pixels as channels: first the colours, then columns, then rows.
fn patches(x: &Tensor, size: usize) -> Tensor {
    if size == 1 {
        return x.clone();
    }
    let [batch, frames, height, width, channels] = *x.shape() else { panic!("{x:?}") };
    let (height, width) = (height / size, width / size);
    let parts = x.reshape(&[batch, frames, height, size, width, size, channels]);
    let shape = [batch, frames, height, width, channels * size * size];
    parts.permute(&[0, 1, 2, 4, 6, 5, 3]).reshape(&shape)
}

/// The opposite of [`patches`].
fn pixels(x: &Tensor, size: usize) -> Tensor {
    if size == 1 {
        return x.clone();
    }
    let [batch, frames, height, width, channels] = *x.shape() else { panic!("{x:?}") };
    let channels = channels / size / size;
    let parts = x.reshape(&[batch, frames, height, width, channels, size, size]);
    let shape = [batch, frames, height * size, width * size, channels];
    parts.permute(&[0, 1, 2, 6, 3, 5, 4]).reshape(&shape)
}
