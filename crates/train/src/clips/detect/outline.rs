//! Shapes and patterns by comparison: the object is laid out in circles around its middle, in units of
//! its own size, and compared with each shape in each turn.

use super::segment::Object;
use crate::clips::attributes::{Pattern, Shape};
use crate::clips::scene::Tones;
use std::f32::consts::{PI, TAU};
use std::sync::LazyLock;

/// Points of a circle; the symmetries of all shapes divide it.
const ANGLES: usize = 60;
/// Circles, [`STEP`] apart.
const CIRCLES: usize = 18;
const STEP: f32 = 0.1;
const POINTS: usize = ANGLES * CIRCLES;
/// Pixels over which edges may be spread; of each shape the better counts.
const SPREADS: [f32; 2] = [1.0, 3.0];
/// Pixels over which the line between two tones is spread.
const TONE_SPREAD: f32 = 1.5;
const NUM_SHAPES: usize = Shape::ALL.len();

/// Where an object is, and how well each shape fits.
pub(super) struct Outline {
    /// Middle in pixels, from the upper left corner.
    pub(super) middle: [f32; 2],
    /// Radius in pixels of a disc of the same area.
    pub(super) radius: f32,
    /// For each shape the error, 0 if it fits perfectly, and the turn in radians at which it is least.
    pub(super) fits: [(f32, f32); NUM_SHAPES],
}

/// The distances of all points from the outline of a shape, for an object whose area is that of the disc
/// of radius 1.
struct Template {
    distances: Vec<f32>,
    /// Radius, as [`Shape::distance`] means it, of the shape whose area is that of the disc of radius 1.
    radius: f32,
}

static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    let template = |&shape: &Shape| {
        const CELLS: usize = 400;
        let side = 2.0 * shape.reach() / CELLS as f32;
        let place = |i: usize| (i as f32 + 0.5) * side - shape.reach();
        let inside = |i: &usize| shape.distance(place(i % CELLS), place(i / CELLS)) < 0.0;
        let area = (0..CELLS * CELLS).filter(inside).count() as f32 * side * side;
        let radius = (PI / area).sqrt();
        let distances = points().map(|[x, y]| shape.distance(x / radius, y / radius) * radius);
        Template { distances: distances.collect(), radius }
    };
    Shape::ALL.iter().map(template).collect()
});

/// The points of the circles, circle by circle.
fn points() -> impl Iterator<Item = [f32; 2]> {
    (0..POINTS).map(|i| {
        let (sin, cos) = (TAU * (i % ANGLES) as f32 / ANGLES as f32).sin_cos();
        [cos * ring(i), sin * ring(i)]
    })
}

/// Radius of the circle of point `i`; points of far circles stand for more area.
fn ring(i: usize) -> f32 {
    ((i / ANGLES) as f32 + 0.5) * STEP
}

/// Finds out what the outline of `object` is like; `None` if nothing is covered.
pub(super) fn outline(object: &Object) -> Option<Outline> {
    let [_, width] = object.size;
    let mut sums = [0.0_f32; 3];
    for (i, &cover) in object.cover.iter().enumerate().filter(|(_, cover)| **cover > 0.0) {
        let middle = |at: usize| at as f32 + 0.5;
        let terms = [cover, cover * middle(i % width), cover * middle(i / width)];
        terms.into_iter().zip(&mut sums).for_each(|(term, sum)| *sum += term);
    }
    let [area, x, y] = sums;
    if area < 1.0 {
        return None;
    }
    let (middle, radius) = ([x / area, y / area], (area / PI).sqrt());
    let seen: Vec<f32> = points()
        .map(|[x, y]| {
            sample(object, &object.cover, [middle[0] + x * radius, middle[1] + y * radius])
        })
        .collect();
    let mut fits = [(f32::INFINITY, 0.0); NUM_SHAPES];
    for spread in SPREADS {
        for ((shape, template), fit) in Shape::ALL.iter().zip(TEMPLATES.iter()).zip(&mut fits) {
            let covered = |distance: &f32| (0.5 - distance * radius / spread).clamp(0.0, 1.0);
            let expected: Vec<f32> = template.distances.iter().map(covered).collect();
            let turns = match shape.symmetry() {
                0 => 1,
                symmetry => ANGLES / symmetry as usize,
            };
            let (error, turn) = best_turn(&mismatches(&seen, &expected, turns));
            if error < fit.0 {
                *fit = (error, turn);
            }
        }
    }
    Some(Outline { middle, radius, fits })
}

/// Radius, as [`Shape::distance`] means it, over that of a disc of the same area.
pub(super) fn radius_of(shape: Shape) -> f32 {
    TEMPLATES[shape as usize].radius
}

/// The pattern of an object of two tones, and whether its first tone is the one that the pattern begins
/// with; of halves and quarters, which look the same with their tones swapped and turned, it always is.
pub(super) fn pattern(object: &Object, outline: &Outline, shape: Shape) -> (Pattern, bool) {
    let [x0, y0] = outline.middle;
    let place = |[x, y]: [f32; 2]| [x0 + x * outline.radius, y0 + y * outline.radius];
    // The points that are covered, what they count for, and their share of the first tone.
    let seen: Vec<(usize, f32, f32)> = points()
        .map(place)
        .enumerate()
        .map(|(i, at)| (i, ring(i) * sample(object, &object.cover, at), at))
        .filter(|(_, weight, _)| *weight > 0.0)
        .map(|(i, weight, at)| (i, weight, sample(object, &object.first, at)))
        .collect();
    let unit = radius_of(shape);
    let mut best = (f32::INFINITY, (Pattern::Halves, true));
    for &pattern in Pattern::ALL {
        // Turns after which all begins again, and whether swapped tones make a difference.
        let (turns, swaps) = match pattern {
            Pattern::Halves => (ANGLES, false),
            Pattern::Quarters => (ANGLES / 2, false),
            Pattern::Band => (ANGLES / 2, true),
            Pattern::Core => (1, true),
        };
        let tones = Tones { pattern, hues: [0.0; 2], shades: [[1.0; 2]; 2], angle: 0.0 };
        let in_first = |[x, y]: [f32; 2]| {
            let distance = tones.distance(x / unit, y / unit) * unit * outline.radius;
            (0.5 - distance / TONE_SPREAD).clamp(0.0, 1.0)
        };
        let expected: Vec<f32> = points().map(in_first).collect();
        for turn in 0..turns {
            let [mut straight, mut swapped] = [0.0; 2];
            for &(i, weight, seen) in &seen {
                let expected = expected[turned(i, turn)];
                straight += weight * (seen - expected).abs();
                swapped += weight * (1.0 - seen - expected).abs();
            }
            if straight < best.0 {
                best = (straight, (pattern, true));
            }
            if swaps && swapped < best.0 {
                best = (swapped, (pattern, false));
            }
        }
    }
    best.1
}

/// The point that comes to lie at point `i` if its circle is turned.
fn turned(i: usize, turn: usize) -> usize {
    i / ANGLES * ANGLES + (i % ANGLES + ANGLES - turn) % ANGLES
}

/// Mean squared differences of what is covered at the first `turns` turns, over the area of the disc of
/// radius 1.
fn mismatches(seen: &[f32], expected: &[f32], turns: usize) -> Vec<f32> {
    let squares = |values: &[f32]| -> f32 {
        values.iter().enumerate().map(|(i, value)| ring(i) * value * value).sum()
    };
    let both = squares(seen) + squares(expected);
    // Only the products change with the turn. A circle written twice has all its turns as slices.
    let mut products = vec![0.0; turns];
    for (circle, (seen, expected)) in seen.chunks(ANGLES).zip(expected.chunks(ANGLES)).enumerate() {
        if [seen, expected].iter().any(|values| values.iter().all(|value| *value == 0.0)) {
            continue;
        }
        let twice = expected.repeat(2);
        for (turn, product) in products.iter_mut().enumerate() {
            let expected = &twice[ANGLES - turn..];
            let sum: f32 = seen.iter().zip(expected).map(|(a, b)| a * b).sum();
            *product += ring(circle * ANGLES) * sum;
        }
    }
    let area = STEP * (TAU / ANGLES as f32) / PI;
    products.into_iter().map(|product| (both - 2.0 * product) * area).collect()
}

/// The least of the errors at turns after which all begins again, and its turn in radians, between the
/// points by the parabola through its neighbours.
fn best_turn(errors: &[f32]) -> (f32, f32) {
    let turns = errors.len();
    let best = (0..turns).min_by(|&a, &b| errors[a].total_cmp(&errors[b])).unwrap_or(0);
    let (before, after) = (errors[(best + turns - 1) % turns], errors[(best + 1) % turns]);
    let curve = before - 2.0 * errors[best] + after;
    let off = if curve > 0.0 { 0.5 * (before - after) / curve } else { 0.0 };
    (errors[best], (best as f32 + off) * TAU / ANGLES as f32)
}

/// The value between pixels at a place in pixels; 0 outside the frame.
fn sample(object: &Object, values: &[f32], [x, y]: [f32; 2]) -> f32 {
    let [height, width] = object.size;
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (dx, dy) = (x - left, y - top);
    let at = |column: f32, row: f32| {
        let inside = column >= 0.0 && row >= 0.0 && column < width as f32 && row < height as f32;
        if inside { values[row as usize * width + column as usize] } else { 0.0 }
    };
    let upper = at(left, top) * (1.0 - dx) + at(left + 1.0, top) * dx;
    let lower = at(left, top + 1.0) * (1.0 - dx) + at(left + 1.0, top + 1.0) * dx;
    upper * (1.0 - dy) + lower * dy
}
