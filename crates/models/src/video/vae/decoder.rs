//! From latents to frames.

use super::blocks::{ChannelNorm, Middle, Resnet, Shortcut, Upsample};
use super::config::WanVaeConfig;
use super::conv::{CausalConv, Stream};
use crate::Error;
use crate::video::parameters::Visit;
use crate::weights::Source;
use tensor::Tensor;

/// The decoder, without the product before it.
#[derive(Debug)]
pub(super) struct Decoder {
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
    pub(super) fn new(config: &WanVaeConfig, source: &mut dyn Source) -> Result<Self, Error> {
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
            let up = i + 2 < dims.len();
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

    pub(super) fn forward(&self, x: &Tensor, stream: &mut Stream) -> Tensor {
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

    pub(super) fn walk(&mut self, visit: Visit<'_>) {
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
