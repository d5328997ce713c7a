//! Training: data, loss, optimizer, checkpoints, evaluation, the loop.

mod batches;
pub mod clips;
mod error;
pub mod lookup;
pub mod objective;
mod optimizer;
pub mod recipe;
pub mod senses;
pub mod tokens;
mod trainer;

pub use error::Error;
pub use objective::{Metric, Objective};
pub use recipe::{Compute, Matrices, Optimizer, Recipe, Stage};
pub use trainer::{Step, Trainer};
