//! Convolutions that look back in time, and what they keep of frames that were seen.

use crate::Error;
use crate::layers::linear::{Bias, Linear};
use crate::video::parameters::{self, Visit};
use crate::weights::Source;
use tensor::{Tensor, Window};

/// What a clip that is read in pieces has left behind: the last frames that each layer has seen, in
/// the order of the layers.
#[derive(Debug, Default)]
pub(super) struct Stream {
    kept: Vec<Option<Tensor>>,
    next: usize,
    started: bool,
}

impl Stream {
    /// To be called before each piece.
    pub(super) fn begin(&mut self) {
        self.started = self.next > 0;
        self.next = 0;
    }

    /// Whether the piece is not the clip's first.
    pub(super) fn started(&self) -> bool {
        self.started
    }

    /// What the layer whose turn it is has kept.
    fn slot(&mut self) -> &mut Option<Tensor> {
        if self.next == self.kept.len() {
            self.kept.push(None);
        }
        self.next += 1;
        &mut self.kept[self.next - 1]
    }
}

/// Number of frames of `[batch, frames, height, width, channels]`.
pub(super) fn frames(x: &Tensor) -> usize {
    x.shape()[1]
}

/// A convolution over frames, height and width; of the frames it sees those before only.
#[derive(Debug)]
pub(super) struct CausalConv {
    linear: Linear,
    kernel: [usize; 3],
    stride: usize,
}

impl CausalConv {
    /// `{name}.weight`, `[n, channels, kernel]`, and `{name}.bias`.
    pub(super) fn new(
        source: &mut dyn Source,
        name: &str,
        [n, channels]: [usize; 2],
        kernel: [usize; 3],
    ) -> Result<Self, Error> {
        let [a, b, c] = kernel;
        let linear = Linear::conv(source, name, &[n, channels, a, b, c], Bias::With)?;
        Ok(Self { linear, kernel, stride: 1 })
    }

    /// One that makes one frame of two: its outputs are of the last frame before and of pairs.
    pub(super) fn halving(
        source: &mut dyn Source,
        name: &str,
        channels: usize,
    ) -> Result<Self, Error> {
        Ok(Self { stride: 2, ..Self::new(source, name, [channels; 2], [3, 1, 1])? })
    }

    /// As many frames as there are, after those that the stream has kept or zeros. One that halves
    /// passes a clip's first frame on as it is.
    pub(super) fn forward(&self, x: &Tensor, stream: &mut Stream) -> Tensor {
        let [time, height, width] = self.kernel;
        if time == 1 {
            return self.convolve(x, 0, [height / 2, width / 2]);
        }
        let wanted = if self.stride == 2 { 1 } else { time - 1 };
        let slot = stream.slot();
        let (kept, first) = (slot.take(), self.stride == 2);
        let whole = match &kept {
            Some(kept) => Tensor::cat(&[kept, x], 1),
            None => x.clone(),
        };
        let end = frames(&whole);
        *slot = Some(whole.narrow(1, end - wanted.min(end)..end));
        if !first {
            let missing = time - 1 - (end - frames(x));
            return self.convolve(&whole, missing, [height / 2, width / 2]);
        }
        let pairs = |x: &Tensor| self.convolve(x, 0, [0, 0]);
        match kept {
            Some(_) => pairs(&whole),
            None if end == 1 => whole,
            None => Tensor::cat(&[&whole.narrow(1, 0..1), &pairs(&whole)], 1),
        }
    }

    fn convolve(&self, x: &Tensor, before: usize, [height, width]: [usize; 2]) -> Tensor {
        let padding = [[before, 0], [height; 2], [width; 2]];
        let window = Window { kernel: self.kernel, stride: [self.stride, 1, 1], padding };
        with_bias(x.conv(&self.linear.weight, &window), &self.linear)
    }

    pub(super) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        parameters::conv(&mut self.linear, name, &self.kernel, visit);
    }
}

/// A convolution within each frame.
#[derive(Debug)]
pub(super) struct FrameConv {
    linear: Linear,
    window: Window,
}

impl FrameConv {
    /// `{name}.weight`, `[n, channels, side, side]`, and `{name}.bias`; as many outputs as inputs.
    pub(super) fn new(
        source: &mut dyn Source,
        name: &str,
        [n, channels]: [usize; 2],
        side: usize,
    ) -> Result<Self, Error> {
        let linear = Linear::conv(source, name, &[n, channels, side, side], Bias::With)?;
        let around = [side / 2; 2];
        let window =
            Window { kernel: [1, side, side], stride: [1; 3], padding: [[0; 2], around, around] };
        Ok(Self { linear, window })
    }

    /// One that makes one pixel of two by two; zeros at the right and at the bottom only.
    pub(super) fn halving(
        source: &mut dyn Source,
        name: &str,
        channels: usize,
    ) -> Result<Self, Error> {
        let mut conv = Self::new(source, name, [channels; 2], 3)?;
        conv.window.stride = [1, 2, 2];
        conv.window.padding = [[0; 2], [0, 1], [0, 1]];
        Ok(conv)
    }

    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        with_bias(x.conv(&self.linear.weight, &self.window), &self.linear)
    }

    pub(super) fn walk(&mut self, name: &str, visit: Visit<'_>) {
        parameters::conv(&mut self.linear, name, &self.window.kernel[1..], visit);
    }
}

fn with_bias(y: Tensor, linear: &Linear) -> Tensor {
    linear.bias.as_ref().map_or_else(|| y.clone(), |bias| y.add_row(bias))
}
