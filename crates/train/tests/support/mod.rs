//! What tests of whole runs have in common.

use std::collections::BTreeMap;
use tensor::{Precision, Saved};
use train::Trainer;

/// Does so many steps: what each measured as `metric`.
pub(crate) fn steps(trainer: &mut Trainer, n: usize, metric: &str) -> Vec<f64> {
    (0..n).map(|_| trainer.step().unwrap().metric(metric).unwrap()).collect()
}

/// The weights as they would be written, by their names.
pub(crate) fn values(trainer: &mut Trainer) -> BTreeMap<String, Vec<f32>> {
    let values = trainer.weights(Precision::F32).into_iter().map(|(name, saved)| {
        let Saved::Tensor(tensor) = saved else { panic!("{name} is no tensor") };
        (name, tensor.to_vec())
    });
    values.collect()
}

/// Of the first four and of the last four.
pub(crate) fn ends(losses: &[f64]) -> [f64; 2] {
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    [mean(&losses[..4]), mean(&losses[losses.len() - 4..])]
}
