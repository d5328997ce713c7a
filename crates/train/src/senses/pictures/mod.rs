//! Pictures of shapes, of writing and of bars.

mod bars;
mod canvas;
mod colours;
mod glyphs;
mod marks;
mod outline;
mod shapes;
#[cfg(test)]
mod tests;
mod writing;

pub use marks::{HUES, Label, Marks, NUMBERS, WHATS};

use super::Question;
use crate::clips::Split;
use canvas::Canvas;
use models::vision::pixels::Rgb;
use tensor::Rng;

/// Bytes of the longest transcript: rows of the tower.
pub const MAX_TRANSCRIPT: usize = 196;
/// Pixels along the longer side of a picture.
pub const SIDE: usize = 144;

/// A picture with what it shows.
#[derive(Clone, Debug)]
pub struct Picture {
    /// At most [`SIDE`] pixels wide and high.
    pub pixels: Rgb,
    /// What it shows, at most [`MAX_TRANSCRIPT`] bytes.
    pub transcript: String,
    /// Questions in random order, one of each kind that can be asked or several.
    pub questions: Vec<Question>,
    /// Where it shows what.
    pub marks: Marks,
}

/// Shares of pictures of shapes and of writing; the rest are bars.
const SHARES: [f32; 2] = [0.38, 0.42];
/// Share of pictures that are not square.
const NARROW: f32 = 0.3;

impl Picture {
    /// Draws one. Pictures of [`Split::HeldOut`] show colours of shapes, strings or bars that training
    /// never sees.
    pub fn draw(rng: &mut Rng, split: Split) -> Self {
        let frame = Frame::draw(rng);
        let mut canvas = Canvas::new(SIDE);
        let kind = rng.unit();
        let Drawn { transcript, mut questions, marks } = if kind < SHARES[0] {
            shapes::draw(&mut canvas, frame, rng, split)
        } else if kind < SHARES[0] + SHARES[1] {
            writing::draw(&mut canvas, frame, rng, split)
        } else {
            bars::draw(&mut canvas, frame, rng, split)
        };
        if rng.chance(0.3) {
            canvas.add_noise(0.03 * rng.unit(), rng);
        }
        rng.shuffle(&mut questions);
        debug_assert!(transcript.len() <= MAX_TRANSCRIPT, "{transcript}");
        let pixels = canvas.cut(frame);
        let marks = marks.within(SIDE as f32, [frame.left, frame.top]);
        Self { pixels, transcript, questions, marks }
    }
}

/// What a canvas shows.
struct Drawn {
    transcript: String,
    /// All that can be asked.
    questions: Vec<Question>,
    /// In widths of the canvas.
    marks: Marks,
}

/// The part of a square that the picture fills, in widths of the square.
#[derive(Clone, Copy, Debug)]
struct Frame {
    left: f32,
    top: f32,
    width: f32,
    height: f32,
}

impl Frame {
    /// The whole square, or a band across it.
    fn draw(rng: &mut Rng) -> Self {
        let whole = Self { left: 0.0, top: 0.0, width: 1.0, height: 1.0 };
        if !rng.chance(NARROW) {
            return whole;
        }
        let share = range(rng, 0.38, 0.95);
        let margin = (1.0 - share) / 2.0;
        match rng.chance(0.75) {
            true => Self { top: margin, height: share, ..whole },
            false => Self { left: margin, width: share, ..whole },
        }
    }
}

/// A number from `low` to `high`.
fn range(rng: &mut Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.unit()
}

/// A wording, with `{}` filled in.
fn ask(rng: &mut Rng, wordings: &[&str], fill: &str) -> String {
    rng.pick(wordings).replace("{}", fill)
}
