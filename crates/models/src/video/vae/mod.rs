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

use crate::Error;
use crate::video::parameters::{self, Visit};
use crate::weights::{Part, Policy, Source};
use blocks::{ChannelNorm, Downsample, FrameAttention, Middle, Resnet, Shortcut, Upsample};
use config::WanVaeConfig;
use conv::{CausalConv, Stream, frames};
use tensor::{Checkpoint, Device, Tensor};

/// Frames that are encoded at once, after the first: what two levels that halve them need.
const FRAMES_AT_ONCE: usize = 4;
/// Bounds of the logarithm of a variance.
const LOG_VARIANCE: [f32; 2] = [-30.0, 20.0];

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
        let starts = [0].into_iter().chain((1..end).step_by(step));
        for start in starts {
            let stop = if start == 0 { 1 } else { end.min(start + step) };
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

    /// Leaves only what inference needs.
    pub fn freeze(&mut self) {
        self.walk(&mut |_, parameter| parameters::freeze(parameter));
    }

    fn walk(&mut self, visit: Visit<'_>) {
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
fn clamped(x: &Tensor, [low, high]: [f32; 2]) -> Tensor {
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

#[derive(Debug)]
struct Encoder {
    conv_in: CausalConv,
    levels: Levels,
    middle: Middle,
    norm_out: ChannelNorm,
    conv_out: CausalConv,
}

/// The levels of an encoder, in either layout.
#[derive(Debug)]
enum Levels {
    /// Layers one after the other.
    Plain(Vec<Layer>),
    /// Levels with shortcuts around them.
    Residual(Vec<Level>),
}

#[derive(Debug)]
enum Layer {
    Resnet(Resnet),
    Attention(FrameAttention),
    Downsample(Downsample),
}

#[derive(Debug)]
struct Level {
    shortcut: Shortcut,
    resnets: Vec<Resnet>,
    downsample: Option<Downsample>,
}

impl Encoder {
    fn new(config: &WanVaeConfig, source: &mut dyn Source) -> Result<Self, Error> {
        let dims = config.encoder_dims();
        let last = dims[dims.len() - 1];
        let conv_in =
            CausalConv::new(source, "encoder.conv_in", [dims[0], config.in_channels], [3; 3])?;
        let levels = match config.is_residual {
            true => Levels::Residual(residual_levels(config, &dims, source)?),
            false => Levels::Plain(plain_layers(config, &dims, source)?),
        };
        Ok(Self {
            conv_in,
            levels,
            middle: Middle::new(source, "encoder.mid_block", last)?,
            norm_out: ChannelNorm::of_clips(source, "encoder.norm_out", last)?,
            conv_out: CausalConv::new(
                source,
                "encoder.conv_out",
                [2 * config.z_dim, last],
                [3; 3],
            )?,
        })
    }

    fn forward(&self, x: &Tensor, stream: &mut Stream) -> Tensor {
        let mut x = self.conv_in.forward(x, stream);
        match &self.levels {
            Levels::Plain(layers) => {
                for layer in layers {
                    x = match layer {
                        Layer::Resnet(resnet) => resnet.forward(&x, stream),
                        Layer::Attention(attention) => attention.forward(&x),
                        Layer::Downsample(downsample) => downsample.forward(&x, stream),
                    };
                }
            }
            Levels::Residual(levels) => {
                for level in levels {
                    let mut y = x.clone();
                    for resnet in &level.resnets {
                        y = resnet.forward(&y, stream);
                    }
                    if let Some(downsample) = &level.downsample {
                        y = downsample.forward(&y, stream);
                    }
                    x = y.add_scaled(1.0, &level.shortcut.average(&x, stream), 1.0);
                }
            }
        }
        let x = self.middle.forward(&x, stream);
        self.conv_out.forward(&self.norm_out.forward(&x).silu(), stream)
    }

    fn walk(&mut self, visit: Visit<'_>) {
        self.conv_in.walk("encoder.conv_in", visit);
        match &mut self.levels {
            Levels::Plain(layers) => {
                for (i, layer) in layers.iter_mut().enumerate() {
                    let name = format!("encoder.down_blocks.{i}");
                    match layer {
                        Layer::Resnet(resnet) => resnet.walk(&name, visit),
                        Layer::Attention(attention) => attention.walk(&name, visit),
                        Layer::Downsample(downsample) => downsample.walk(&name, visit),
                    }
                }
            }
            Levels::Residual(levels) => {
                for (i, level) in levels.iter_mut().enumerate() {
                    let name = format!("encoder.down_blocks.{i}");
                    for (j, resnet) in level.resnets.iter_mut().enumerate() {
                        resnet.walk(&format!("{name}.resnets.{j}"), visit);
                    }
                    if let Some(downsample) = &mut level.downsample {
                        downsample.walk(&format!("{name}.downsampler"), visit);
                    }
                }
            }
        }
        self.middle.walk("encoder.mid_block", visit);
        self.norm_out.walk("encoder.norm_out", visit);
        self.conv_out.walk("encoder.conv_out", visit);
    }
}

fn plain_layers(
    config: &WanVaeConfig,
    dims: &[usize],
    source: &mut dyn Source,
) -> Result<Vec<Layer>, Error> {
    let mut layers = Vec::new();
    let mut scale = 1.0;
    for (i, pair) in dims.windows(2).enumerate() {
        let (mut from, to) = (pair[0], pair[1]);
        for _ in 0..config.num_res_blocks {
            let name = format!("encoder.down_blocks.{}", layers.len());
            layers.push(Layer::Resnet(Resnet::new(source, &name, [from, to])?));
            if config.attn_scales.contains(&scale) {
                let name = format!("encoder.down_blocks.{}", layers.len());
                layers.push(Layer::Attention(FrameAttention::new(source, &name, to)?));
            }
            from = to;
        }
        if i + 2 < dims.len() {
            let name = format!("encoder.down_blocks.{}", layers.len());
            let time = config.temperal_downsample[i];
            layers.push(Layer::Downsample(Downsample::new(source, &name, to, time)?));
            scale /= 2.0;
        }
    }
    Ok(layers)
}

fn residual_levels(
    config: &WanVaeConfig,
    dims: &[usize],
    source: &mut dyn Source,
) -> Result<Vec<Level>, Error> {
    let mut levels = Vec::new();
    for (i, pair) in dims.windows(2).enumerate() {
        let (mut from, to) = (pair[0], pair[1]);
        let name = format!("encoder.down_blocks.{i}");
        let last = i + 2 == dims.len();
        let time = !last && config.temperal_downsample[i];
        let mut resnets = Vec::new();
        for j in 0..config.num_res_blocks {
            resnets.push(Resnet::new(source, &format!("{name}.resnets.{j}"), [from, to])?);
            from = to;
        }
        let downsample = match last {
            true => None,
            false => Some(Downsample::new(source, &format!("{name}.downsampler"), to, time)?),
        };
        let shortcut = Shortcut {
            channels: to,
            time: if time { 2 } else { 1 },
            space: if last { 1 } else { 2 },
        };
        levels.push(Level { shortcut, resnets, downsample });
    }
    Ok(levels)
}

#[derive(Debug)]
struct Decoder {
    conv_in: CausalConv,
    middle: Middle,
    levels: Vec<UpLevel>,
    norm_out: ChannelNorm,
    conv_out: CausalConv,
    /// What the layout calls the way up of a level.
    upsampler: &'static str,
}

#[derive(Debug)]
struct UpLevel {
    resnets: Vec<Resnet>,
    upsample: Option<Upsample>,
    shortcut: Option<Shortcut>,
}

impl Decoder {
    fn new(config: &WanVaeConfig, source: &mut dyn Source) -> Result<Self, Error> {
        let dims = config.decoder_dims();
        let (first, last) = (dims[0], dims[dims.len() - 1]);
        let conv_in = CausalConv::new(source, "decoder.conv_in", [first, config.z_dim], [3; 3])?;
        let middle = Middle::new(source, "decoder.mid_block", first)?;
        let upsampler = if config.is_residual { "upsampler" } else { "upsamplers.0" };
        let mut levels = Vec::new();
        for (i, pair) in dims.windows(2).enumerate() {
            let to = pair[1];
            // A plain way up has halved the channels.
            let mut from = if i > 0 && !config.is_residual { pair[0] / 2 } else { pair[0] };
            let (entering, up) = (from, i + 2 < dims.len());
            let name = format!("decoder.up_blocks.{i}");
            let mut resnets = Vec::new();
            for j in 0..=config.num_res_blocks {
                resnets.push(Resnet::new(source, &format!("{name}.resnets.{j}"), [from, to])?);
                from = to;
            }
            let time = up && config.upsamples_time(i);
            let upsample = match up {
                true => {
                    let leaving = if config.is_residual { to } else { to / 2 };
                    let name = format!("{name}.{upsampler}");
                    Some(Upsample::new(source, &name, [to, leaving], time)?)
                }
                false => None,
            };
            let shortcut = (config.is_residual && up).then_some(Shortcut {
                channels: to,
                time: if time { 2 } else { 1 },
                space: 2,
            });
            debug_assert!(entering > 0, "levels of no channels");
            levels.push(UpLevel { resnets, upsample, shortcut });
        }
        Ok(Self {
            conv_in,
            middle,
            levels,
            norm_out: ChannelNorm::of_clips(source, "decoder.norm_out", last)?,
            conv_out: CausalConv::new(
                source,
                "decoder.conv_out",
                [config.out_channels, last],
                [3; 3],
            )?,
            upsampler,
        })
    }

    fn forward(&self, x: &Tensor, stream: &mut Stream) -> Tensor {
        let x = self.conv_in.forward(x, stream);
        let mut x = self.middle.forward(&x, stream);
        for level in &self.levels {
            let mut y = x.clone();
            for resnet in &level.resnets {
                y = resnet.forward(&y, stream);
            }
            if let Some(upsample) = &level.upsample {
                y = upsample.forward(&y, stream);
            }
            x = match &level.shortcut {
                Some(shortcut) => y.add_scaled(1.0, &shortcut.repeat(&x, stream), 1.0),
                None => y,
            };
        }
        self.conv_out.forward(&self.norm_out.forward(&x).silu(), stream)
    }

    fn walk(&mut self, visit: Visit<'_>) {
        self.conv_in.walk("decoder.conv_in", visit);
        self.middle.walk("decoder.mid_block", visit);
        for (i, level) in self.levels.iter_mut().enumerate() {
            let name = format!("decoder.up_blocks.{i}");
            for (j, resnet) in level.resnets.iter_mut().enumerate() {
                resnet.walk(&format!("{name}.resnets.{j}"), visit);
            }
            if let Some(upsample) = &mut level.upsample {
                upsample.walk(&format!("{name}.{}", self.upsampler), visit);
            }
        }
        self.norm_out.walk("decoder.norm_out", visit);
        self.conv_out.walk("decoder.conv_out", visit);
    }
}
