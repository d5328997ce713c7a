//! Weights to begin training with.

use super::TRANSFORMER;
use crate::Error;
use crate::weights::{Random, Role, Source};
use tensor::{Device, Precision, Tensor, Weight};

/// What a diffusion transformer begins with: by chance as in [`Random`], but layers do nothing yet and
/// nothing is predicted (adaLN-zero, arXiv:2212.09748). So the first losses are those of the mean,
/// whatever the depth.
#[derive(Debug)]
pub(super) struct Initial<'a>(Random<'a>);

impl<'a> Initial<'a> {
    pub(super) fn new(device: &'a Device, precision: Precision, layers: usize, seed: u64) -> Self {
        Self(Random::new(device, precision, layers, seed))
    }
}

/// Whether a tensor begins as zeros: modulations and the head.
fn is_zero(name: &str) -> bool {
    name.strip_prefix(TRANSFORMER).is_some_and(|name| {
        matches!(name, "modulation.weight" | "head.weight" | "head_table")
            || name.ends_with(".table")
    })
}

impl Source for Initial<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Tensor, Error> {
        let tensor = self.0.tensor(name, shape, role)?;
        Ok(match is_zero(name) {
            true => Tensor::zeros(tensor.device(), shape).into_parameter(),
            false => tensor,
        })
    }

    fn weight(&mut self, name: &str, shape: &[usize], role: Role) -> Result<Weight, Error> {
        let mut weight = self.0.weight(name, shape, role)?;
        if is_zero(name) {
            *weight.tensor_mut() = Tensor::zeros(weight.tensor().device(), shape).into_parameter();
        }
        Ok(weight)
    }
}
