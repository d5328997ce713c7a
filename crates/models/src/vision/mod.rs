//! Models that see.

pub mod clip;
