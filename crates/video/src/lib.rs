//! From a prompt to frames: noise, samplers, guidance, checks of every frame, repair.
//!
//! Noise levels are written `s`, from 1, all noise, to 0, clean, and each latent has its own:
//!
//! ```text
//! x_s = (1 - s) x0 + s e      v = e - x0      x0 = x - s v      e = x + (1 - s) v
//! ```

pub mod blocks;
pub mod clip;
pub mod consistency;
pub mod denoise;
pub mod denoiser;
mod error;
pub mod guidance;
pub mod judge;
pub mod nano;
pub mod noise;
pub mod pipeline;
pub mod plan;
pub mod repair;
pub mod request;
pub mod sampler;
pub mod schedule;

pub use clip::fit;
pub use denoise::Progress;
pub use denoiser::{Denoiser, Shape};
pub use error::Error;
pub use guidance::Guidance;
pub use judge::{Checks, Judge};
pub use nano::Nano;
pub use pipeline::{Candidate, Outcome, Pipeline};
pub use request::{Consistency, Request};
pub use sampler::Sampler;
pub use schedule::NoiseSchedule;
