//! Training: data, loss, optimizer, checkpoints, evaluation, the loop.

mod batches;
pub mod clips;
mod error;
pub mod lookup;
mod optimizer;
mod recipe;
pub mod tokens;
mod trainer;

pub use error::Error;
pub use recipe::{Compute, Matrices, Optimizer, Recipe, Stage};
pub use trainer::{Step, Trainer};
