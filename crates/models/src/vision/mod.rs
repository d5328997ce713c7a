//! Models that see.

pub mod clip;
pub mod minimax_vl_01;
pub mod pixels;
pub mod processor;
pub mod tiles;
mod trim;
