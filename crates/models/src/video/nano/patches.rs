//! Weights of a model with larger patches, for one with patches of one latent to begin training with.

use super::config::NanoConfig;
use crate::Error;
use crate::weights::taps_outermost;
use tensor::{Checkpoint, Tensor};

/// The matrix of patches: a filter in files.
const PATCHES: &str = "transformer.patch_embedding.weight";
/// What predicts patches, features of a place together.
const HEAD: [&str; 2] = ["transformer.head.weight", "transformer.head.bias"];

/// How patches of a checkpoint become ours.
#[derive(Debug)]
pub(super) struct Patches {
    /// Latents along each axis of theirs, and how many of ours that is.
    stored: [usize; 3],
    ratio: [usize; 3],
    channels: usize,
}

impl Patches {
    pub(super) fn new(config: &NanoConfig, checkpoint: &Checkpoint) -> Result<Self, Error> {
        let ours = config.transformer.patch_size;
        let shape = checkpoint.shape(PATCHES).unwrap_or_default();
        let stored = match *shape {
            [_, _, frames, height, width] => [frames, height, width],
            _ => ours,
        };
        // Places of one of ours would lie apart in a larger one.
        let fits = stored == ours || ours == [1; 3];
        if !fits {
            let expected = format!("patches of {ours:?}: only into [1, 1, 1] others are taken");
            return Err(Error::Input { name: "start", found: format!("{stored:?}"), expected });
        }
        let ratio = [0, 1, 2].map(|axis| stored[axis] / ours[axis]);
        Ok(Self { stored, ratio, channels: config.transformer.in_channels })
    }

    /// The stored values of parameter `name`, in the shape of `tensor`.
    pub(super) fn read(
        &self,
        checkpoint: &Checkpoint,
        name: &str,
        tensor: &Tensor,
    ) -> Result<Tensor, Error> {
        let (device, [t, h, w]) = (tensor.device(), self.stored);
        let load = |shape: &[usize]| checkpoint.load(device, name, shape).map(|x| x.to_f32());
        if name == PATCHES {
            let filter = taps_outermost(&load(&[tensor.rows(), self.channels, t, h, w])?);
            // A row is of one latent now. Were those of a patch equal, the sum of the places would keep its
            // size; had they nothing in common, the mean times the root of their number. The latter is
            // taken: rows are noise at first.
            let scale = (self.ratio.iter().product::<usize>() as f32).sqrt();
            let places = filter.reshape(&[tensor.rows(), t, h, w, self.channels]);
            return Ok(self.mean(&places, 1).scale(scale).reshape(tensor.shape()));
        }
        if HEAD.contains(&name) {
            let features = tensor.len() / tensor.shape()[0];
            let count = t * h * w * self.channels;
            let shape = [&[count], &tensor.shape()[1..]].concat();
            let places = load(&shape)?.reshape(&[1, t, h, w, self.channels * features]);
            return Ok(self.mean(&places, 1).reshape(tensor.shape()));
        }
        Ok(load(tensor.shape())?)
    }

    /// The mean of the places that become one, along three axes from `axis` on.
    fn mean(&self, x: &Tensor, axis: usize) -> Tensor {
        let count: usize = self.ratio.iter().product();
        let sum = (0..3).fold(x.clone(), |x, i| x.sum_groups(axis + i, self.ratio[i]));
        sum.scale(1.0 / count as f32)
    }
}
