//! Training: data, loss, optimizer, checkpoints, evaluation, the loop.

pub mod lookup;
