//! From a prompt to frames: noise, samplers, guidance, checks of every frame, repair.
//!
//! Noise levels are written `s`, from 1, all noise, to 0, clean, and each latent has its own:
//!
//! ```text
//! x_s = (1 - s) x0 + s e      v = e - x0      x0 = x - s v      e = x + (1 - s) v
//! ```

pub mod guidance;
pub mod noise;
pub mod sampler;
pub mod schedule;

pub use guidance::Guidance;
pub use sampler::Sampler;
pub use schedule::NoiseSchedule;
