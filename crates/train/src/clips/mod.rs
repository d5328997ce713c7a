//! Procedural clips with captions: what the embedded video model learns from, and what it is examined
//! on.
//!
//! A [`Scene`] is one object on a background that moves, grows, spins, or stays. What has a name is
//! drawn from short lists; places, sizes, speeds, shades and turns are continuous, so that no clip is
//! seen twice. [`Scene::render`] makes pixels of it, [`Scene::caption`] words.
//!
//! * In a scene with a *subject* the object has two tones without names and the caption says "the
//!   subject": what it looks like is known from [`Scene::reference`] alone.
//! * A [`Task`] is what a model is given beside the caption.
//! * [`faults`] break a clip in ways that are known, to examine what finds them.
//! * [`Split::HeldOut`] has combinations that [`Split::Train`] never has, such as purple stars.
//!
//! All is a function of the state of an [`Rng`](tensor::Rng): `Rng::stream(seed, step)` gives step
//! `step` the same clips in each run.

mod attributes;
mod caption;
pub mod detect;
pub mod faults;
mod held_out;
mod render;
mod scene;
mod shape;
mod task;

#[cfg(test)]
mod tests;

pub use attributes::{Backdrop, Colour, Motion, Pattern, Shape, Size};
pub use caption::{MAX_WORDS, tokenizer, vocabulary};
pub use detect::{Detected, Seen, detect};
pub use held_out::{HELD_OUT_COLOURS, HELD_OUT_HUES, HELD_OUT_MOTIONS, Split};
pub use render::RATE;
pub(crate) use render::from_hsv;
pub use scene::{Background, Fill, Path, Pose, Scene, Tones};
pub(crate) use shape::polygon;
pub use task::Task;
