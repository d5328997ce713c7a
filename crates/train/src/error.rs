//! What can go wrong before and while training.

use std::path::PathBuf;

/// One sentence each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A recipe that cannot be followed.
    #[error("`{path}`: {reason}")]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A model that cannot be made.
    #[error(transparent)]
    Model(#[from] models::Error),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Tensor(#[from] tensor::Error),
    /// A checkpoint of another run.
    #[error("`{path}` is the checkpoint of another run: {reason}")]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A loss that is not a number.
    #[error("the loss at step {step} is {loss}; a lower `lr` may help")]
    Diverged {
        /// The step.
        step: u64,
        /// Its loss.
        loss: f64,
    },
}
