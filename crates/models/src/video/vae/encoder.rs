//! From frames to the numbers that mean and variance are made of.

use super::blocks::{ChannelNorm, Downsample, FrameAttention, Middle, Resnet, Shortcut};
use super::config::WanVaeConfig;
use super::conv::{CausalConv, Stream};
use crate::Error;
use crate::video::parameters::Visit;
use crate::weights::Source;
use tensor::Tensor;

/// The encoder, without the product after it.
#[derive(Debug)]
pub(super) struct Encoder {
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
    pub(super) fn new(config: &WanVaeConfig, source: &mut dyn Source) -> Result<Self, Error> {
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

    pub(super) fn forward(&self, x: &Tensor, stream: &mut Stream) -> Tensor {
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

    pub(super) fn walk(&mut self, visit: Visit<'_>) {
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
