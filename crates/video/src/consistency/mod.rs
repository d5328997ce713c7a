//! Whether the frames of a clip belong together, and which do not.
//!
//! Three tiers, all without a network of their own:
//!
//! * pixels: brightness, differences, motion, and the way of what stands out ([`faults`], [`flow`]);
//! * likeness: frames as vectors, near to each other and to a reference ([`embedding`]);
//! * latents, while the clip is sampled ([`latent`]).
//!
//! [`Verdict`] says which frames are wrong and how alike they are; [`check`] measures all of a clip, its
//! motion too, which takes longer. [`repair`] says what may be done about it. Nothing here changes a clip
//! but [`repair::photometric`], which says so.

pub mod embedding;
pub mod faults;
pub mod flow;
pub mod frames;
pub mod latent;
pub mod region;
pub mod repair;
pub mod report;
pub mod series;
pub mod track;
pub mod verdict;

#[cfg(test)]
mod testing;

pub use faults::{Fault, Flag, Thresholds};
pub use report::{Report, check};
pub use verdict::{Options, Verdict};
