//! Model architectures: config, weights, what a sequence has read, forward.
//!
//! A model is made from a [`Config`] and a [`weights::Source`]; it computes on a [`Batch`] and
//! keeps nothing: what a sequence has read is in its [`Cache`], which the caller holds.

pub mod audio;
mod batch;
mod cache;
mod config;
mod cost;
mod error;
mod inserted;
pub mod layers;
pub mod lm;
mod memory;
mod nearest;
pub mod sequence;
pub mod video;
pub mod vision;
pub mod weights;

pub use batch::Batch;
pub use cache::{Cache, LayerCache, Mark, default_kv};
pub use config::{Config, LayerType, ResidualFactors, SlopeRule};
pub use cost::{WeightBytes, Work};
pub use error::Error;
pub use inserted::{ContentRows, Inserted, content_ids, expand, is_content};
pub use layers::moe::RouterOutput;
pub use lm::minimax_text_01::{MiniMaxText01, Output};
pub use nearest::NearestTokens;

use tensor::{Checkpoint, Device, Tensor};
use weights::Policy;

/// A causal language model: what the engine drives.
pub trait CausalLm: Send + Sync {
    /// Its shape.
    fn config(&self) -> &Config;

    /// Hidden states of the batch's output rows behind the last norm, `[rows, hidden_size]`; `caches`,
    /// one per sequence, are brought up to date.
    fn hidden(&self, batch: &Batch, caches: &mut [&mut Cache]) -> Tensor;

    /// Logits of the batch's output rows, `[rows, vocab_size]`: the head over [`hidden`](Self::hidden).
    fn logits(&self, batch: &Batch, caches: &mut [&mut Cache]) -> Tensor;
}

/// Makes the model of `config` from a checkpoint, ready for inference: matrices as `policy` says, or
/// as the file has them.
///
/// # Errors
///
/// If a weight is missing, of another shape, or there is one too many.
pub fn load(
    config: Config,
    checkpoint: &Checkpoint,
    device: &Device,
    policy: Option<Policy>,
) -> Result<MiniMaxText01, Error> {
    if checkpoint.metadata().is_some() {
        weights::check(&config, checkpoint, device)?;
    }
    let mut source = weights::FromCheckpoint::new(checkpoint, device, policy);
    let mut model = MiniMaxText01::new(config, &mut source)?;
    source.finish()?;
    model.freeze();
    Ok(model)
}
