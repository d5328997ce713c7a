//! What a picture shows at each place, for towers to be told on the way to a transcript.

use super::canvas::Bounds;
use super::colours::{BLACK, COLOURS, Colour};
use super::glyphs::{DIGITS, LETTERS};
use crate::clips::Shape;

/// Kinds of things that a place can show, with none.
pub const WHATS: usize = 2 + Shape::ALL.len() + LETTERS.len() + DIGITS.len();
/// Colours that they have, with none.
pub const HUES: usize = 2 + COLOURS.len();
/// Numbers from 0 to 9.
pub const NUMBERS: usize = 10;

/// What a place shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Nothing, a shape, a letter or a digit, or a bar; below [`WHATS`].
    pub what: usize,
    /// None, or that of what is there; below [`HUES`].
    pub hue: usize,
    /// How many shapes of this kind there are, which character of the string it is, how high the bar
    /// is; where nothing is, how many things there are in all. Below [`NUMBERS`].
    pub number: usize,
}

impl Label {
    pub(super) fn nothing(number: usize) -> Self {
        Self { number, ..Self::default() }
    }

    pub(super) fn shape(shape: Shape, colour: Colour, number: usize) -> Self {
        let what = Shape::ALL.iter().position(|other| *other == shape);
        Self { what: 1 + what.unwrap_or_default(), hue: hue(colour), number }
    }

    /// Of a letter or a digit.
    pub(super) fn character(character: u8, colour: Colour, number: usize) -> Self {
        let what = LETTERS.iter().chain(DIGITS).position(|other| *other == character);
        Self { what: 1 + Shape::ALL.len() + what.unwrap_or_default(), hue: hue(colour), number }
    }

    pub(super) fn bar(colour: Colour, number: usize) -> Self {
        Self { what: WHATS - 1, hue: hue(colour), number }
    }
}

fn hue(colour: Colour) -> usize {
    let all = COLOURS.iter().chain([&BLACK]);
    1 + all.into_iter().position(|other| other.name == colour.name).unwrap_or_default()
}

/// Boxes around what a picture shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    /// Where there is no box.
    pub(super) nothing: Label,
    /// Left, top, right and bottom.
    pub(super) boxes: Vec<(Bounds, Label)>,
}

impl Marks {
    /// What is at a place in pixels from the picture's upper left corner.
    pub fn at(&self, x: f32, y: f32) -> Label {
        let inside = |([left, top, right, bottom], _): &&(Bounds, Label)| {
            (*left..*right).contains(&x) && (*top..*bottom).contains(&y)
        };
        let away = |([left, _, right, _], _): &&(Bounds, Label)| (x - (left + right) / 2.0).abs();
        let all = self.boxes.iter().filter(inside);
        let nearest = all.min_by(|a, b| away(a).total_cmp(&away(b)));
        nearest.map_or(self.nothing, |(_, label)| *label)
    }

    /// In pixels of a picture of which a pixel at `left` and `top` is the first; lengths were in `side`
    /// pixels.
    pub(super) fn within(self, side: f32, [left, top]: [f32; 2]) -> Self {
        let place = |([l, t, r, b], label): (Bounds, Label)| {
            let (x, y) = (|x: f32| (x - left) * side, |y: f32| (y - top) * side);
            ([x(l), y(t), x(r), y(b)], label)
        };
        Self { boxes: self.boxes.into_iter().map(place).collect(), ..self }
    }
}
