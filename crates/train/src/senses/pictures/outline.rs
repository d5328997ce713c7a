//! Outlines of shapes as people draw them: turned a little, stretched a little, fat and thin.

use super::canvas::Canvas;
use super::range;
use crate::clips::{Shape, polygon};
use std::f32::consts::{FRAC_PI_4, TAU};
use tensor::Rng;

/// The outline of a shape of radius 1 around the origin.
#[derive(Clone, Debug)]
pub(super) struct Outline {
    form: Form,
    /// Sine and cosine of its turn.
    turn: [f32; 2],
    /// What it is stretched by, to the right and down, before it is turned.
    stretch: [f32; 2],
}

#[derive(Clone, Debug)]
enum Form {
    Circle,
    Ring { inner: f32 },
    Polygon(Vec<[f32; 2]>),
}

impl Outline {
    /// How far its corners are from the middle of a shape of radius 1.
    pub(super) fn reach(shape: Shape) -> f32 {
        match shape {
            Shape::Circle | Shape::Ring => 1.06,
            Shape::Cross => 1.2,
            Shape::Square => 1.25,
            Shape::Triangle | Shape::Star => 1.35,
        }
    }

    /// One that people would call so.
    pub(super) fn draw(shape: Shape, rng: &mut Rng) -> Self {
        let mut angle = range(rng, -0.26, 0.26) * rng.unit();
        let mut stretch = [range(rng, 0.94, 1.06), range(rng, 0.94, 1.06)];
        let form = match shape {
            Shape::Circle => Form::Circle,
            Shape::Ring => Form::Ring { inner: range(rng, 0.5, 0.86) },
            Shape::Square => Form::Polygon(regular(4, 1.2, FRAC_PI_4)),
            Shape::Triangle => {
                stretch = [range(rng, 0.8, 1.2), range(rng, 0.8, 1.2)];
                // Upside down at times, or with a right angle on either side.
                match rng.below(10) {
                    0 => Form::Polygon(vec![[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),
                    1 => Form::Polygon(vec![[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]),
                    2 => Form::Polygon(regular(3, 1.25, TAU / 6.0)),
                    _ => Form::Polygon(regular(3, 1.25, 0.0)),
                }
            }
            Shape::Star => {
                let points = *rng.pick(&[5, 5, 5, 5, 5, 6, 4]);
                let inner = range(rng, 0.34, if points == 5 { 0.55 } else { 0.45 });
                Form::Polygon(star(points, 1.25, inner))
            }
            Shape::Cross => {
                if rng.chance(0.15) {
                    angle += FRAC_PI_4;
                }
                Form::Polygon(cross(range(rng, 0.2, 0.42)))
            }
        };
        Self { form, turn: angle.sin_cos().into(), stretch }
    }

    /// Draws it around `x` and `y`, with a dark line of so much width around it if there is one.
    pub(super) fn fill(
        &self,
        canvas: &mut Canvas,
        [x, y, radius]: [f32; 3],
        colour: [f32; 3],
        contour: Option<f32>,
    ) {
        let reach = 1.5 * radius + contour.unwrap_or(0.0);
        let bounds = [x - reach, y - reach, x + reach, y + reach];
        let distance = |u: f32, v: f32| radius * self.distance((u - x) / radius, (v - y) / radius);
        if let Some(width) = contour {
            canvas.fill(bounds, colour.map(|c| 0.2 * c), |u, v| distance(u, v) - width);
        }
        canvas.fill(bounds, colour, distance);
    }

    /// Distance from the outline; negative inside.
    fn distance(&self, x: f32, y: f32) -> f32 {
        let [sin, cos] = self.turn;
        let (x, y) = (x * cos + y * sin, y * cos - x * sin);
        let (x, y) = (x / self.stretch[0], y / self.stretch[1]);
        match &self.form {
            Form::Circle => x.hypot(y) - 1.0,
            Form::Ring { inner } => ((1.0 + inner) / 2.0 - x.hypot(y)).abs() - (1.0 - inner) / 2.0,
            Form::Polygon(corners) => polygon(corners, x, y),
        }
    }
}

/// The corners of a regular polygon, the first straight up but for a turn.
fn regular(corners: usize, radius: f32, turn: f32) -> Vec<[f32; 2]> {
    let corner = |i: usize| {
        let (sin, cos) = (TAU * i as f32 / corners as f32 + turn).sin_cos();
        [radius * sin, -radius * cos]
    };
    (0..corners).map(corner).collect()
}

/// The corners of a star, those between its points at `inner` of the radius.
fn star(points: usize, radius: f32, inner: f32) -> Vec<[f32; 2]> {
    let corners = regular(2 * points, radius, 0.0).into_iter().enumerate();
    let scale = |i: usize| if i.is_multiple_of(2) { 1.0 } else { inner };
    corners.map(|(i, corner)| corner.map(|x| x * scale(i))).collect()
}

/// The corners of a cross whose arms are `half` wide on each side.
fn cross(half: f32) -> Vec<[f32; 2]> {
    let (a, b) = (half, 1.1);
    let quarter = [[-a, -b], [a, -b], [a, -a]];
    let turn = |[x, y]: [f32; 2], times: usize| (0..times).fold([x, y], |[x, y], _| [-y, x]);
    (0..4).flat_map(|i| quarter.map(|corner| turn(corner, i))).collect()
}
