//! What training never sees, so that one can ask for it afterwards.

use super::attributes::{Colour, Motion, Shape};
use std::ops::Range;

/// Which combinations the scenes have. New instances of combinations that training has seen are scenes
/// of [`Split::Train`] from a seed of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Those for training.
    Train,
    /// Only those that training never sees: in each scene at least one.
    HeldOut,
}

/// Colours of shapes that training never sees.
pub const HELD_OUT_COLOURS: &[(Colour, Shape)] = &[
    (Colour::Purple, Shape::Star),
    (Colour::Cyan, Shape::Triangle),
    (Colour::Orange, Shape::Ring),
    (Colour::White, Shape::Cross),
    (Colour::Green, Shape::Square),
];

/// Motions of shapes that training never sees.
pub const HELD_OUT_MOTIONS: &[(Shape, Motion)] = &[
    (Shape::Star, Motion::Left),
    (Shape::Circle, Motion::DownRight),
    (Shape::Triangle, Motion::Up),
    (Shape::Ring, Motion::Shrinks),
    (Shape::Square, Motion::Bounces),
    (Shape::Cross, Motion::UpRight),
];

/// Hues in degrees that no subject of training has.
pub const HELD_OUT_HUES: &[Range<f32>] = &[75.0..105.0, 195.0..225.0, 315.0..345.0];

impl Split {
    /// Whether its scenes have this combination.
    pub fn has(self, colour: Colour, shape: Shape, motion: Motion) -> bool {
        let held_out = HELD_OUT_COLOURS.contains(&(colour, shape))
            || HELD_OUT_MOTIONS.contains(&(shape, motion));
        held_out == (self == Self::HeldOut)
    }

    /// Whether it has subjects of this shape that move so. Subjects are held out by their hues, so of
    /// them both splits have the same motions.
    pub fn has_subject(self, shape: Shape, motion: Motion) -> bool {
        !HELD_OUT_MOTIONS.contains(&(shape, motion))
    }

    /// Whether its subjects have these hues, in degrees from 0 to 360.
    pub fn has_hues(self, hues: [f32; 2]) -> bool {
        let held_out = |hue| HELD_OUT_HUES.iter().any(|range| range.contains(&hue));
        match self {
            Self::Train => !hues.into_iter().any(held_out),
            Self::HeldOut => hues.into_iter().all(held_out),
        }
    }
}
