//! Video: a diffusion transformer over latents, and the autoencoder that makes these of frames.
//!
//! There is one transformer, [`VideoDit`], whose layers are configured; published models are
//! configurations of it and names of tensors ([`sana`], [`wan`]), and so is our own ([`nano`]).

pub mod dit;
pub mod nano;
pub mod sana;
pub mod vae;
pub mod wan;

mod fields;
mod parameters;
mod renamed;

pub use dit::{DitInput, VideoDit};
pub use nano::NanoVideo;
pub use vae::WanVae;
