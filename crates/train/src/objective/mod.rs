//! What is trained: the part of a run that is not the loop.
//!
//! [`Trainer`](crate::Trainer) has what all runs share: optimizer, clipping, schedule, averages of
//! weights, frozen parameters, checkpoints, resuming, the history. An [`Objective`] has a model and
//! data, and says what a step's gradients are. To add one:
//!
//! 1. a variant of [`Kind`] and a section of [`Recipe`] of that
//!    name with `deny_unknown_fields`, checked when the recipe is read, its steps counted in
//!    [`Recipe::total_steps`](crate::Recipe::total_steps);
//! 2. a file here with a type that implements [`Objective`], and its line in `new`.
//!
//! A flow-matching objective, for example, has a transformer and a frozen autoencoder.
//! [`for_each_parameter`](Objective::for_each_parameter) visits what can be trained (the recipe's
//! `freeze` may take away more), [`accumulate`](Objective::accumulate) draws clips, noise levels and
//! noise from `Rng::stream(seed, step)`, computes `sum_i w_i |v_i - (e_i - x_i)|^2` per micro-batch,
//! calls `backward` on each, and returns the sum of the `w_i` as `weight`;
//! [`validate`](Objective::validate) measures the same loss on held-out clips at fixed noise.

mod autoencoder;
mod flow;
mod lookup;
mod transcribe;

use crate::recipe::Kind;
use crate::{Compute, Error, Recipe};
use models::weights::{Random, Source, ToTrain};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use tensor::{Checkpoint, Device, Gradients, Precision, Saved, Tensor};

/// Measurements by the names of [`Metric`]s.
pub type Measured = Vec<(&'static str, f64)>;

/// What is done with each parameter: its name, how it is trained, its values.
pub type Visit<'a> = &'a mut dyn FnMut(&str, Role, &mut Tensor);

/// What is trained.
pub trait Objective: fmt::Debug {
    /// Everything that it may measure; the first is the loss.
    fn metrics(&self) -> &'static [Metric];

    /// What is counted as it is read: `tok` or `clips`.
    fn unit(&self) -> &'static str;

    /// Calls `visit` with every parameter and its name, always in the same order.
    fn for_each_parameter(&mut self, visit: Visit<'_>);

    /// Adds the gradients of step `step`, counted from 1. They depend on the weights and on that
    /// number alone, never on the steps before: that is why resumed runs are the uninterrupted ones.
    fn accumulate(&mut self, step: u64, gradients: &mut Gradients) -> Accumulated;

    /// Measures on data that is never trained on, the same at every step. The weights are those that
    /// would be written now, without a tape.
    fn validate(&mut self) -> Measured {
        Measured::new()
    }

    /// The tensors of the model's `model.safetensors`.
    fn weights(&mut self, precision: Precision) -> BTreeMap<String, Saved>;

    /// Names and texts of the other files of the model's folder. The weights are those written.
    fn files(&mut self) -> Vec<(&'static str, String)>;
}

/// Something that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name in progress lines.
    pub name: &'static str,
    /// How it is drawn; `None` if it is not.
    pub curve: Option<Curve>,
}

/// A line of a run's picture, whose scale is logarithmic.
#[derive(Clone, Copy, Debug)]
pub struct Curve {
    /// What it says, with the unit.
    pub label: &'static str,
    /// The height at a value: errors, not shares that are right.
    pub height: fn(f64) -> f64,
}

/// What the optimizer does with a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A matrix between hidden states: Muon's, if the recipe says so; pulled to zero.
    Hidden,
    /// A table of tokens or a router: always AdamW's; pulled to zero.
    Table,
    /// A norm, a bias, an embedding: always AdamW's; not pulled to zero.
    Free,
}

/// What was done in a step, gradients apart.
#[derive(Clone, Debug, Default)]
pub struct Accumulated {
    /// The gradients are divided by this: those of a sum of losses become those of their mean.
    pub weight: f64,
    /// Tokens or clips read.
    pub items: u64,
    /// What was measured on the way; the loss is among it.
    pub metrics: Measured,
}

/// The objective of a recipe with its model; `path` of the recipe is named in errors.
pub(crate) fn new(
    recipe: &Recipe,
    path: &Path,
    device: &Device,
) -> Result<Box<dyn Objective>, Error> {
    if device.cuda().is_some() && recipe.compute != Compute::F32 {
        let reason = "the GPU trains with `compute = \"f32\"` only".to_owned();
        return Err(Error::Recipe { path: path.to_owned(), reason });
    }
    Ok(match recipe.objective {
        Kind::Lookup => Box::new(lookup::Lookup::new(recipe, path, device)?),
        Kind::Autoencoder => Box::new(autoencoder::Autoencoder::new(recipe, path, device)?),
        Kind::Flow => Box::new(flow::FlowMatching::new(recipe, path, device)?),
        Kind::Transcribe => Box::new(transcribe::Transcribe::new(recipe, path, device)?),
    })
}

/// `folder` from where the recipe at `path` is.
fn beside(path: &Path, folder: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(folder)
}

/// A model with the weights that the recipe starts with: of a folder, or random ones for a depth of
/// `layers`. Made where files are read; the trainer moves them.
fn model<M>(
    recipe: &Recipe,
    path: &Path,
    device: &Device,
    layers: usize,
    new: impl FnOnce(&mut dyn Source) -> Result<M, models::Error>,
) -> Result<M, Error> {
    let host = device.host();
    let compute = recipe.compute.into();
    let Some(start) = &recipe.start else {
        return Ok(new(&mut Random::new(&host, compute, layers, recipe.seed))?);
    };
    let checkpoint = Checkpoint::open(&beside(path, start))?;
    let mut source = ToTrain::new(&checkpoint, &host, compute);
    let model = new(&mut source)?;
    source.finish()?;
    Ok(model)
}
