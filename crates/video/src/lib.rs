//! From a prompt to frames: noise, samplers, guidance, checks of every frame, repair.

pub mod consistency;
