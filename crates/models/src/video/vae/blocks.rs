//! What the encoder and the decoder are built of. All of it maps `[batch, frames, height, width,
//! channels]` to another such.

use super::conv::{CausalConv, FrameConv, Stream, frames};
use crate::Error;
use crate::layers::encoder::all_see_all;
use crate::video::parameters::{Parameter, Visit};
use crate::weights::{Role, Source};
use tensor::{Attention, Tensor};

/// RMSNorm over channels.
#[derive(Debug)]
pub(super) struct ChannelNorm {
    /// `[channels]`, with the axes of 1 that files have.
    gamma: Tensor,
}

impl ChannelNorm {
    fn new(
        source: &mut dyn Source,
        name: &str,
        channels: usize,
        axes: usize,
    ) -> Result<Self, Error> {
        let shape = [vec![channels], vec![1; axes]].concat();
        Ok(Self { gamma: source.tensor(&format!("{name}.gamma"), &shape, Role::Norm)? })
    }

    /// Of clips.
    pub(super) fn of_clips(
        source: &mut dyn Source,
        name: &str,
        channels: usize,
    ) -> Result<Self, Error> {
        Self::new(source, name, channels, 3)
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let channels = x.last_dim();
        // The reference divides by a length of at least 1e-12.
        x.rms_norm(&self.gamma.reshape(&[channels]), 1e-24 / channels as f32)
    }

    pub(super) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        visit(&format!("{name}.gamma"), Parameter::Tensor(&mut self.gamma));
    }
}

/// ```text
/// y = conv2(silu(norm2(conv1(silu(norm1(x)))))) + shortcut(x)
/// ```
#[derive(Debug)]
pub(super) struct Resnet {
    norm1: ChannelNorm,
    conv1: CausalConv,
    norm2: ChannelNorm,
    conv2: CausalConv,
    /// Where the number of channels changes.
    shortcut: Option<CausalConv>,
}

impl Resnet {
    pub(super) fn new(
        source: &mut dyn Source,
        name: &str,
        [from, to]: [usize; 2],
    ) -> Result<Self, Error> {
        let part = |part: &str| format!("{name}.{part}");
        let shortcut = match from == to {
            true => None,
            false => Some(CausalConv::new(source, &part("conv_shortcut"), [to, from], [1; 3])?),
        };
        Ok(Self {
            norm1: ChannelNorm::of_clips(source, &part("norm1"), from)?,
            conv1: CausalConv::new(source, &part("conv1"), [to, from], [3; 3])?,
            norm2: ChannelNorm::of_clips(source, &part("norm2"), to)?,
            conv2: CausalConv::new(source, &part("conv2"), [to, to], [3; 3])?,
            shortcut,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, stream: &mut Stream) -> Tensor {
        let y = self.conv1.forward(&self.norm1.forward(x).silu(), stream);
        let y = self.conv2.forward(&self.norm2.forward(&y).silu(), stream);
        match &self.shortcut {
            Some(shortcut) => y.add_scaled(1.0, &shortcut.forward(x, stream), 1.0),
            None => y.add_scaled(1.0, x, 1.0),
        }
    }

    pub(super) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        self.norm1.walk(&format!("{name}.norm1"), visit);
        self.conv1.walk(&format!("{name}.conv1"), visit);
        self.norm2.walk(&format!("{name}.norm2"), visit);
        self.conv2.walk(&format!("{name}.conv2"), visit);
        if let Some(shortcut) = &mut self.shortcut {
            shortcut.walk(&format!("{name}.conv_shortcut"), visit);
        }
    }
}

/// Softmax attention among the pixels of each frame, one head.
#[derive(Debug)]
pub(super) struct FrameAttention {
    norm: ChannelNorm,
    to_qkv: FrameConv,
    proj: FrameConv,
}

impl FrameAttention {
    pub(super) fn new(source: &mut dyn Source, name: &str, channels: usize) -> Result<Self, Error> {
        let part = |part: &str| format!("{name}.{part}");
        Ok(Self {
            norm: ChannelNorm::new(source, &part("norm"), channels, 2)?,
            to_qkv: FrameConv::new(source, &part("to_qkv"), [3 * channels, channels], 1)?,
            proj: FrameConv::new(source, &part("proj"), [channels; 2], 1)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let [batch, frames, height, width, channels] = *x.shape() else { panic!("{x:?}") };
        let qkv = self.to_qkv.forward(&self.norm.forward(x));
        let [q, k, v] = [0, 1, 2].map(|i| {
            let part = qkv.narrow(4, i * channels..(i + 1) * channels);
            part.reshape(&[x.rows(), channels])
        });
        let shape = Attention { heads: 1, kv_heads: 1, head_dim: channels };
        let rows = all_see_all(batch * frames, height * width, channels);
        let o = q.attention(&k, &v, shape, &rows).reshape(x.shape());
        x.add_scaled(1.0, &self.proj.forward(&o), 1.0)
    }

    pub(super) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        self.norm.walk(&format!("{name}.norm"), visit);
        self.to_qkv.walk(&format!("{name}.to_qkv"), visit);
        self.proj.walk(&format!("{name}.proj"), visit);
    }
}

/// The deepest level: attention between two residual blocks.
#[derive(Debug)]
pub(super) struct Middle {
    resnets: [Resnet; 2],
    attention: FrameAttention,
}

impl Middle {
    pub(super) fn new(source: &mut dyn Source, name: &str, channels: usize) -> Result<Self, Error> {
        let mut resnet =
            |i: usize| Resnet::new(source, &format!("{name}.resnets.{i}"), [channels; 2]);
        let resnets = [resnet(0)?, resnet(1)?];
        let attention = FrameAttention::new(source, &format!("{name}.attentions.0"), channels)?;
        Ok(Self { resnets, attention })
    }

    pub(super) fn forward(&self, x: &Tensor, stream: &mut Stream) -> Tensor {
        let [first, second] = &self.resnets;
        second.forward(&self.attention.forward(&first.forward(x, stream)), stream)
    }

    pub(super) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        for (i, resnet) in self.resnets.iter_mut().enumerate() {
            resnet.walk(&format!("{name}.resnets.{i}"), visit);
        }
        self.attention.walk(&format!("{name}.attentions.0"), visit);
    }
}

/// The way to the next smaller level.
#[derive(Debug)]
pub(super) struct Downsample {
    space: FrameConv,
    time: Option<CausalConv>,
}

impl Downsample {
    pub(super) fn new(
        source: &mut dyn Source,
        name: &str,
        channels: usize,
        time: bool,
    ) -> Result<Self, Error> {
        let space = FrameConv::halving(source, &format!("{name}.resample.1"), channels)?;
        let time = match time {
            true => Some(CausalConv::halving(source, &format!("{name}.time_conv"), channels)?),
            false => None,
        };
        Ok(Self { space, time })
    }

    pub(super) fn forward(&self, x: &Tensor, stream: &mut Stream) -> Tensor {
        let y = self.space.forward(x);
        self.time.as_ref().map_or_else(|| y.clone(), |time| time.forward(&y, stream))
    }

    pub(super) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        self.space.walk(&format!("{name}.resample.1"), visit);
        if let Some(time) = &mut self.time {
            time.walk(&format!("{name}.time_conv"), visit);
        }
    }
}

/// The way to the next larger level.
#[derive(Debug)]
pub(super) struct Upsample {
    space: FrameConv,
    time: Option<CausalConv>,
}

impl Upsample {
    pub(super) fn new(
        source: &mut dyn Source,
        name: &str,
        [from, to]: [usize; 2],
        time: bool,
    ) -> Result<Self, Error> {
        let space = FrameConv::new(source, &format!("{name}.resample.1"), [to, from], 3)?;
        let time = match time {
            true => {
                let name = format!("{name}.time_conv");
                Some(CausalConv::new(source, &name, [2 * from, from], [3, 1, 1])?)
            }
            false => None,
        };
        Ok(Self { space, time })
    }

    pub(super) fn forward(&self, x: &Tensor, stream: &mut Stream) -> Tensor {
        let x = self.time.as_ref().map_or_else(|| x.clone(), |time| doubled(time, x, stream));
        self.space.forward(&x.repeat(2, 2).repeat(3, 2))
    }

    pub(super) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        self.space.walk(&format!("{name}.resample.1"), visit);
        if let Some(time) = &mut self.time {
            time.walk(&format!("{name}.time_conv"), visit);
        }
    }
}

/// Two frames of each, but of a clip's first, which stays one and which the convolution never sees.
fn doubled(time: &CausalConv, x: &Tensor, stream: &mut Stream) -> Tensor {
    let (first, rest) = match stream.started() {
        true => (None, x.clone()),
        false => (Some(x.narrow(1, 0..1)), x.narrow(1, 1..frames(x))),
    };
    let both = time.forward(&rest, stream);
    let [batch, count, height, width, channels] = *both.shape() else { panic!("{both:?}") };
    let halves = both.reshape(&[batch, count, height, width, 2, channels / 2]);
    let shape = [batch, 2 * count, height, width, channels / 2];
    let rest = halves.permute(&[0, 1, 4, 2, 3, 5]).reshape(&shape);
    first.map_or_else(|| rest.clone(), |first| Tensor::cat(&[&first, &rest], 1))
}

/// Shortcuts around the levels of a residual model: neighbours averaged, or repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortcut {
    /// Channels that leave it.
    pub(super) channels: usize,
    /// Frames that become one, or that one becomes.
    pub(super) time: usize,
    /// The same for pixels along a side.
    pub(super) space: usize,
}

impl Shortcut {
    /// Channels and neighbours, averaged in groups.
    pub(super) fn average(&self, x: &Tensor, stream: &Stream) -> Tensor {
        let Self { channels, time, space } = *self;
        let [batch, count, height, width, from] = *x.shape() else { panic!("{x:?}") };
        let x = match stream.started() || time == 1 {
            true => x.clone(),
            false => {
                let zeros = Tensor::zeros(x.device(), &[batch, time - 1, height, width, from]);
                Tensor::cat(&[&zeros, x], 1)
            }
        };
        let (count, height, width) = (
            if stream.started() { count } else { count + time - 1 } / time,
            height / space,
            width / space,
        );
        let parts = x.reshape(&[batch, count, time, height, space, width, space, from]);
        let group = from * time * space * space / channels;
        let parts = parts.permute(&[0, 1, 3, 5, 7, 2, 4, 6]);
        let groups = parts.reshape(&[batch, count, height, width, channels, group]);
        let sums = groups.sum_groups(5, group).reshape(&[batch, count, height, width, channels]);
        sums.scale(1.0 / group as f32)
    }

    /// Channels repeated and laid out as neighbours.
    pub(super) fn repeat(&self, x: &Tensor, stream: &Stream) -> Tensor {
        let Self { channels, time, space } = *self;
        let [batch, count, height, width, from] = *x.shape() else { panic!("{x:?}") };
        let x = x.repeat(4, channels * time * space * space / from);
        let parts = x.reshape(&[batch, count, height, width, channels, time, space, space]);
        let parts = parts.permute(&[0, 1, 5, 2, 6, 3, 7, 4]);
        let x = parts.reshape(&[batch, count * time, height * space, width * space, channels]);
        let skipped = if stream.started() { 0 } else { time - 1 };
        x.narrow(1, skipped..count * time)
    }
}
