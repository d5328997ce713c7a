//! Letters and digits as strokes of a pen, so that a style makes a typeface of them: forms, widths,
//! weight, contrast, slant, roundness, serifs.

use super::canvas::{Bounds, Canvas};
use super::range;
use std::fmt;
use tensor::Rng;

/// What can be written.
pub(super) const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
pub(super) const DIGITS: &[u8] = b"0123456789";

/// Strokes of each character: points as column and row of a grid of 5 x 7, from the upper left. `~`
/// before a stroke: its corners are round; `o`: and it is closed. Forms that typefaces choose from are
/// parted by `|`.
const STROKES: [&str; 36] = [
    "06 20 46, 14 34|06 20 46, 04 44",                           // A
    "00 06, ~00 20 30 41 42 33 13 03, ~03 13 33 44 45 36 16 06", // B
    "~41 30 10 01 05 16 36 45",                                  // C
    "00 06, ~00 10 30 42 44 36 16 06",                           // D
    "40 00 06 46, 03 33|40 00 06 46, 03 43",                     // E
    "40 00 06, 03 33|40 00 06, 03 43",                           // F
    "~41 30 10 01 05 16 36 45 43, 43 23|~41 30 10 01 05 16 36 44, 46 43 33", // G
    "00 06, 40 46, 03 43",                                       // H
    "20 26",                                                     // I
    "~30 34 35 26 16 05|~40 44 45 36 16 05|20 40, ~40 44 45 36 16 05", // J
    "00 06, 40 03, 12 46|00 06, 40 03, 03 46|00 06, 40 13 46",   // K
    "00 06 46",                                                  // L
    "06 00 24 40 46|06 00 26 40 46|06 10 26 30 46|06 00 23 40 46", // M
    "06 00 46 40",                                               // N
    "o10 30 41 45 36 16 05 01",                                  // O
    "00 06, ~00 20 30 41 42 33 13 03|00 06, ~00 20 30 41 43 34 14 04", // P
    "o10 30 41 45 36 16 05 01, 24 46|o10 30 41 45 36 16 05 01, 35 47", // Q
    "00 06, ~00 20 30 41 42 33 13 03, 23 46|00 06, ~00 20 30 41 42 33 13 03, 13 46|00 06, ~00 20 30 41 42 33 13 03, 33 46", // R
    "~41 30 10 01 02 13 33 44 45 36 16 05",         // S
    "00 40, 20 26",                                 // T
    "~00 03 05 16 36 45 43 40",                     // U
    "00 26 40",                                     // V
    "00 16 21 36 40|00 16 20 36 40|00 16 22 36 40", // W
    "00 46, 40 06",                                 // X
    "00 23 40, 23 26|00 24 40, 24 26",              // Y
    "00 40 06 46",                                  // Z
    "o10 30 41 45 36 16 05 01",                     // 0
    "01 20 26|02 20 26|01 20 26, 06 46",            // 1
    "~01 10 30 41 42 33 06, 06 46|~01 10 30 41 42 06, 06 46", // 2
    "~01 10 30 41 42 33 23, ~23 33 44 45 36 16 05|00 40 22, ~22 33 44 45 36 16 05", // 3
    "36 30 04 44|30 36, 20 04 44|26 20 04 34",      // 4
    "40 10 03, ~03 13 33 44 45 36 16 05|40 00 03, ~03 12 32 44 45 36 16 05", // 5
    "~41 30 10 01 05 16 36 45 44 33 13 04|~30 11 04 05 16 36 45 44 33 13 04", // 6
    "00 40 16|00 40 26|~00 40 23 16",               // 7
    "o10 30 41 42 33 13 02 01, o13 33 44 45 36 16 05 04", // 8
    "~05 16 36 45 41 30 10 01 02 13 33 42|~16 35 42 41 30 10 01 02 13 33 42", // 9
];

/// A line of a pen, from one end to the other, in heights of a capital letter.
type Stroke = Vec<[f32; 2]>;

/// A typeface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Width of a letter, in heights.
    width: f32,
    /// Of the pen, in heights.
    weight: f32,
    /// How much thinner lines are that run across.
    contrast: f32,
    /// Heights to the right per height up.
    slant: f32,
    /// How often corners are cut: 0 for angular letters.
    rounds: usize,
    /// Half the length of the feet of upright lines, in heights; none if 0.
    serif: f32,
    /// Whether all characters are equally wide.
    is_monospace: bool,
    /// Between letters, in heights.
    gap: f32,
    /// Whether the 0 has a stroke through it.
    is_zero_crossed: bool,
    /// How wide narrow, round and broad letters are, in widths of the others.
    proportions: [f32; 3],
    /// Where the middle of the grid is, in heights from the top.
    waist: f32,
    /// 16 bits; the form of each character is chosen by those from a place of its own on.
    forms: u32,
    /// Whether straight strokes end in corners, not in half circles.
    is_flat: bool,
}

impl Style {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let is_serif = rng.chance(0.35);
        let is_monospace = rng.chance(0.25);
        let boldest = if rng.chance(0.5) { 0.28 } else { 0.17 };
        let weight = range(rng, 0.075, boldest);
        Self {
            width: range(rng, 0.45, 0.85),
            weight,
            contrast: if is_serif { range(rng, 0.1, 0.75) } else { range(rng, 0.0, 0.25) },
            slant: if rng.chance(0.2) { range(rng, 0.05, 0.25) } else { 0.0 },
            rounds: *rng.pick(&[0, 1, 2, 2, 2, 2]),
            serif: if is_serif { range(rng, 0.07, 0.15) } else { 0.0 },
            is_monospace,
            gap: weight + range(rng, 0.03, 0.26),
            is_zero_crossed: is_monospace && rng.chance(0.4),
            proportions: [range(rng, 0.62, 1.0), range(rng, 0.95, 1.25), range(rng, 1.15, 1.5)],
            waist: range(rng, 0.44, 0.56),
            forms: (rng.unit() * 65536.0) as u32,
            is_flat: rng.chance(0.7),
        }
    }

    /// Half the width of the pen where it moves along a vector: thinner across, and, as broad pens
    /// write, up to the right.
    fn half_width(&self, [dx, dy]: [f32; 2], is_round: bool) -> f32 {
        let length = dx.hypot(dy).max(1e-6);
        let rises = !is_round && dx * dy < 0.0 && dx.abs() > 0.15 * dy.abs();
        let thin = if rises { 0.9 } else { dx.abs() / length };
        0.5 * self.weight * (1.0 - self.contrast * thin)
    }

    /// How wide a character is, in heights.
    fn advance(&self, character: u8) -> f32 {
        if self.is_monospace {
            return self.width;
        }
        let [narrow, round, broad] = self.proportions;
        let share = match character {
            b'I' if self.serif > 0.0 => 0.45,
            b'I' => 0.12,
            b'1' | b'J' => 0.7,
            b'M' | b'W' => broad,
            b'C' | b'D' | b'G' | b'O' | b'Q' => round,
            b'0'..=b'9' => 0.85,
            b'B' | b'E' | b'F' | b'L' | b'P' | b'R' | b'S' => narrow,
            _ => 1.0,
        };
        share * self.width
    }

    /// The strokes of a character whose upper left corner is the origin, and whether they are round.
    fn strokes(&self, character: u8) -> Vec<(Stroke, bool)> {
        let place = match character {
            b'A'..=b'Z' => usize::from(character - b'A'),
            b'0'..=b'9' => 26 + usize::from(character - b'0'),
            _ => return Vec::new(),
        };
        let width = self.advance(character);
        // A thin letter is in the middle of its place on the grid.
        let is_thin = character == b'I';
        let column = |c: f32| if is_thin { width / 2.0 } else { c / 4.0 * width };
        // The middle row is the waist, those above and below keep their distances.
        let row = |r: f32| match r < 3.0 {
            true => r / 3.0 * self.waist,
            false => self.waist + (r - 3.0) / 3.0 * (1.0 - self.waist),
        };
        let forms: Vec<&str> = STROKES[place].split('|').collect();
        let form = forms[(self.forms >> (place % 13)) as usize % forms.len()];
        let mut strokes = Vec::new();
        for stroke in form.split(", ") {
            let (points, is_round, is_closed) = match stroke.as_bytes()[0] {
                b'~' => (&stroke[1..], true, false),
                b'o' => (&stroke[1..], true, true),
                _ => (stroke, false, false),
            };
            let point = |point: &str| {
                let digit = |i: usize| f32::from(point.as_bytes()[i] - b'0');
                [column(digit(0)), row(digit(1))]
            };
            let mut points: Stroke = points.split(' ').map(point).collect();
            if is_round {
                for _ in 0..self.rounds {
                    points = cut_corners(&points, is_closed);
                }
            }
            if is_closed {
                points.push(points[0]);
            }
            strokes.push((points, is_round));
        }
        let has_feet = self.serif > 0.0 || (self.is_monospace && matches!(character, b'I' | b'1'));
        if has_feet {
            let reach = if self.serif > 0.0 { self.serif } else { 0.2 * self.width };
            let feet: Vec<Stroke> = strokes.iter().flat_map(|(s, _)| feet(s, reach)).collect();
            let arms: Vec<Stroke> = match character {
                b'C' | b'E' | b'F' | b'G' | b'L' | b'S' | b'T' | b'Z' if self.serif > 0.0 => {
                    strokes.iter().flat_map(|(s, _)| arms(s, reach)).collect()
                }
                _ => Vec::new(),
            };
            strokes.extend(feet.into_iter().chain(arms).map(|stroke| (stroke, false)));
        }
        if character == b'0' && self.is_zero_crossed {
            strokes.push((vec![[0.3 * width, 0.7], [0.7 * width, 0.3]], false));
        }
        strokes
    }

    /// The word as lines, the upper left corner of its first letter in the origin, and how wide it is.
    pub(super) fn word(&self, word: &str) -> Word {
        let (mut letters, mut x) = (Vec::new(), 0.0);
        for character in word.bytes() {
            let mut letter =
                Letter { from: f32::INFINITY, to: f32::NEG_INFINITY, lines: Vec::new() };
            for (stroke, is_round) in self.strokes(character) {
                for ends in stroke.windows(2) {
                    let (a, b) = (ends[0], ends[1]);
                    // The uprights of an N are its thin lines.
                    let across = character == b'N' && a[0] == b[0];
                    let along = [b[0] - a[0], b[1] - a[1]];
                    let half_width = match across {
                        true => self.half_width([1.0, 0.0], false),
                        false => self.half_width(along, is_round),
                    };
                    let place = |[px, py]: [f32; 2]| [x + px + self.slant * (1.0 - py), py];
                    let is_flat = self.is_flat && !is_round;
                    letter.push(Line { ends: [place(a), place(b)], half_width, is_flat });
                }
            }
            letters.push(letter);
            x += self.advance(character) + self.gap;
        }
        Word { letters, width: x - self.gap + self.slant }
    }
}

/// The ends of a stroke, with the points before them.
fn ends(stroke: &Stroke) -> [[[f32; 2]; 2]; 2] {
    let last = stroke.len() - 1;
    [[stroke[0], stroke[1.min(last)]], [stroke[last], stroke[last.saturating_sub(1)]]]
}

/// Feet of a stroke: short lines across its ends, where it is upright and stands on the line or hangs
/// from the upper one.
fn feet(stroke: &Stroke, reach: f32) -> Vec<Stroke> {
    let foot = |[[x, y], [from_x, from_y]]: [[f32; 2]; 2]| {
        let is_upright = (x - from_x).abs() < 0.6 * (y - from_y).abs();
        let is_on_line = y < 0.01 || (y - 1.0).abs() < 0.01;
        (is_upright && is_on_line).then(|| vec![[x - reach, y], [x + reach, y]])
    };
    ends(stroke).into_iter().filter_map(foot).collect()
}

/// Serifs of arms: short upright lines at the ends of a stroke that run across, and at those of curves,
/// into the letter.
fn arms(stroke: &Stroke, reach: f32) -> Vec<Stroke> {
    let serif = |[[x, y], [from_x, from_y]]: [[f32; 2]; 2]| {
        let is_arm = (x - from_x).abs() > 0.4 * (y - from_y).abs();
        let (up, down) = match y {
            y if y < 0.25 => (0.0, 1.1),
            y if y > 0.75 => (1.1, 0.0),
            _ => (0.5, 0.5),
        };
        is_arm.then(|| vec![[x, y - up * reach], [x, y + down * reach]])
    };
    ends(stroke).into_iter().filter_map(serif).collect()
}

/// Chaikin's curve: each corner is cut at a quarter of the lines that meet there. Open curves keep
/// their ends.
fn cut_corners(points: &Stroke, is_closed: bool) -> Stroke {
    let n = points.len();
    let between = |a: [f32; 2], b: [f32; 2], t: f32| [0, 1].map(|i| a[i] + (b[i] - a[i]) * t);
    let pairs = if is_closed { n } else { n - 1 };
    let mut cut = Stroke::with_capacity(2 * n);
    for i in 0..pairs {
        let (a, b) = (points[i], points[(i + 1) % n]);
        let is_first = !is_closed && i == 0;
        let is_last = !is_closed && i + 1 == pairs;
        cut.push(if is_first { a } else { between(a, b, 0.25) });
        cut.push(if is_last { b } else { between(a, b, 0.75) });
    }
    cut
}

/// A straight line of a pen.
#[derive(Clone, Copy, Debug)]
struct Line {
    ends: [[f32; 2]; 2],
    half_width: f32,
    is_flat: bool,
}

impl Line {
    /// Distance from its edge; negative in it.
    fn distance(&self, x: f32, y: f32) -> f32 {
        let [a, b] = self.ends;
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let length = (dx * dx + dy * dy).max(1e-9);
        let along = ((x - a[0]) * dx + (y - a[1]) * dy) / length;
        if self.is_flat {
            let length = length.sqrt();
            let beside = ((x - a[0]) * dy - (y - a[1]) * dx).abs() / length;
            let beyond = (-along).max(along - 1.0) * length;
            return beside.max(beyond) - self.half_width;
        }
        let along = along.clamp(0.0, 1.0);
        let (u, v) = (x - a[0] - along * dx, y - a[1] - along * dy);
        (u * u + v * v).sqrt() - self.half_width
    }
}

/// Lines that lie between two places along the word.
#[derive(Clone, Debug)]
struct Letter {
    from: f32,
    to: f32,
    lines: Vec<Line>,
}

impl Letter {
    fn push(&mut self, line: Line) {
        for [x, _] in line.ends {
            self.from = self.from.min(x - line.half_width);
            self.to = self.to.max(x + line.half_width);
        }
        self.lines.push(line);
    }
}

/// A word in heights of a capital letter.
#[derive(Clone)]
pub(super) struct Word {
    letters: Vec<Letter>,
    pub(super) width: f32,
}

impl Word {
    /// Writes it with its upper left corner at `at` in capitals of `height`, turned around its middle by
    /// `angle`, all in widths of the picture and radians.
    pub(super) fn write(
        &self,
        canvas: &mut Canvas,
        at: [f32; 2],
        height: f32,
        angle: f32,
        colour: [f32; 3],
    ) {
        let [left, top] = at;
        let width = height * self.width;
        let (middle_x, middle_y) = (left + width / 2.0, top + height / 2.0);
        let (sin, cos) = angle.sin_cos();
        let reach = 0.3 * height + 0.1 * width;
        let bounds = [left - reach, top - reach, left + width + reach, top + height + reach];
        canvas.fill(bounds, colour, |x, y| {
            let (dx, dy) = (x - middle_x, y - middle_y);
            let (u, v) = (dx * cos + dy * sin, dy * cos - dx * sin);
            height * self.distance((u + width / 2.0) / height, (v + height / 2.0) / height)
        });
    }

    /// Upright boxes around its letters as [`write()`](Self::write) places them.
    pub(super) fn boxes(&self, at: [f32; 2], height: f32, angle: f32) -> Vec<Bounds> {
        let [left, top] = at;
        let half = height * self.width / 2.0;
        let (sin, cos) = angle.sin_cos();
        let of = |letter: &Letter| {
            let along = height * (letter.from + letter.to) / 2.0 - half;
            let (x, y) = (left + half + along * cos, top + height / 2.0 + along * sin);
            let (wide, high) = (0.5 * height * (letter.to - letter.from), 0.5 * height);
            [x - wide, y - high, x + wide, y + high]
        };
        self.letters.iter().map(of).collect()
    }

    /// Distance from the outline of what is written; negative in it.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        let mut nearest = f32::INFINITY;
        for letter in &self.letters {
            // No line of it is nearer than that.
            let beside = (letter.from - x).max(x - letter.to);
            if beside < nearest {
                let lines = letter.lines.iter().map(|line| line.distance(x, y));
                nearest = lines.fold(nearest, f32::min);
            }
        }
        nearest
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({} letters, {} wide)", self.letters.len(), self.width)
    }
}
