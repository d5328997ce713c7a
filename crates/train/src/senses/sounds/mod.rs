//! Procedural sounds with transcripts and questions.
//!
//! A sound has up to six beeps of one timbre whose pitch rises, falls or is steady, and up to one kind
//! of noise; some have noise alone, or nothing. What has a name is drawn from short lists
//! ([`Content`]); rhythm, pitches, loudness, the mixture of partials, the room and the recording are
//! continuous, so that no sound is heard twice.
//!
//! ```text
//! beeps: 3
//! pitch: rises
//! noise: none
//! timbre: bell
//! ```
//!
//! What the words mean, so that there is one right answer:
//!
//! * A beep is heard apart from the next one: there are at least 80 ms of rest between them. A long tone
//!   is one beep.
//! * The pitch rises or falls within each beep, or from beep to beep, or both alike; by at least five
//!   semitones and 80 Hz. It is steady if all beeps have one pitch, with less than half a semitone
//!   of vibrato.
//! * There is noise if it is at most 15 dB below the beeps, and none if it is at least 40 dB below. It
//!   is never louder than they are, but for the peaks of pops.
//! * A timbre is told by its partials and whether it sounds on or dies away: [`Timbre`].
//!
//! All is a function of the state of an [`Rng`]: `Rng::stream(seed, step)` gives step `step` the same
//! sounds in each run.

mod content;
mod noise;
mod questions;
mod recording;
mod score;
mod voice;

#[cfg(test)]
mod tests;

pub use content::{Content, Movement, Noise, Timbre, Tones};

use super::Question;
use crate::clips::Split;
use score::Score;
use std::ops::Range;
use tensor::Rng;
use voice::Voice;

/// Samples per second.
pub const RATE: usize = 16_000;
/// Shortest and longest sound in seconds.
pub const SECONDS: [f32; 2] = [1.0, 4.0];
/// Bytes of the longest transcript: as many as the rows of the longest sound.
pub const MAX_TRANSCRIPT: usize = 50;

/// A sound, and what is to be heard.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// One channel at [`RATE`], between -1 and 1, 1 to 4 s long.
    pub samples: Vec<f32>,
    /// What is heard: four lines of at most [`MAX_TRANSCRIPT`] bytes together.
    pub transcript: String,
    /// One question of each kind, in random order.
    pub questions: Vec<Question>,
}

impl Sound {
    /// A sound whose combination the split has.
    pub fn draw(rng: &mut Rng, split: Split) -> Self {
        Self::of(Content::draw(rng, split), rng)
    }

    /// A sound of this content, all else drawn.
    ///
    /// # Panics
    ///
    /// If it is to have no beeps or more than six where it has tones.
    pub fn of(content: Content, rng: &mut Rng) -> Self {
        let seconds;
        let tones = match content.tones {
            Some(tones) => {
                let score = Score::draw(tones, rng);
                seconds = score.seconds;
                let voice = Voice::draw(tones.timbre, rng);
                Some((voice.play(&score), score))
            }
            None => {
                seconds = between(SECONDS[0]..SECONDS[1], rng);
                None
            }
        };
        let samples = recording::record(tones, content.noise, samples(seconds), rng);
        let questions = questions::draw(content, rng);
        Self { samples, transcript: content.transcript(), questions }
    }
}

/// Uniform in `range`.
fn between(range: Range<f32>, rng: &mut Rng) -> f32 {
    range.start + (range.end - range.start) * rng.unit()
}

/// Uniform in octaves; both ends are positive.
fn between_octaves(range: Range<f32>, rng: &mut Rng) -> f32 {
    between(range.start.log2()..range.end.log2(), rng).exp2()
}

/// Amplitude of a level in decibels.
fn decibels(level: f32) -> f32 {
    10f32.powf(level / 20.0)
}

/// Samples of so many seconds.
fn samples(seconds: f32) -> usize {
    (seconds * RATE as f32).round() as usize
}

/// Root of the mean square; 0 for none.
fn rms(samples: &[f32]) -> f32 {
    let sum: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    (sum / samples.len().max(1) as f64).sqrt() as f32
}

/// The largest magnitude.
fn peak(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |peak, sample| sample.abs().max(peak))
}
