//! Motions: what places, radii and turns do from the first frame to the last.

use crate::clips::attributes::Motion;
use std::f32::consts::TAU;

/// What an object does in a clip, by least squares over its frames.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Track {
    /// Place in the first frame, in widths and heights of the picture from its upper left corner.
    pub start: [f32; 2],
    /// Widths to the right and heights down from the first frame to the last.
    pub travel: [f32; 2],
    /// How far it is off that line, as the root of the mean square, in widths.
    pub off_line: f32,
    /// The same up and down only, in heights.
    pub off_line_vertical: f32,
    /// Radius in the first frame, in widths.
    pub radius: f32,
    /// Last radius over first.
    pub growth: f32,
    /// Radians clockwise from the first frame to the last; 0 of what looks the same in all turns.
    pub turn: f32,
}

/// Heights off the line from which on something bounces; half of what the lowest bounces have.
const BOUNCE: f32 = 0.035;
/// Last radius over first from which on something grows; its inverse for what shrinks.
const GROWTH: f32 = 1.24;
/// Widths from which on something travels; half of what the slowest do.
const TRAVEL: f32 = 0.1;
/// Radians from which on something spins; half of what the slowest do.
const TURN: f32 = 0.7;

/// An object in a frame, as the track needs it.
pub(super) struct Point {
    /// 0 in the first frame, 1 in the last.
    pub(super) time: f32,
    pub(super) place: [f32; 2],
    pub(super) radius: f32,
    /// Radians, up to turns after which it looks the same.
    pub(super) angle: f32,
}

impl Track {
    /// The track through `points`, in order, of an object that has looked the same after one part in
    /// `symmetry` of a turn, or in all turns if that is 0.
    pub(super) fn fit(points: &[Point], symmetry: u32) -> Self {
        let of = |value: &dyn Fn(&Point) -> f32| {
            line(points.iter().map(|point| (point.time, value(point))))
        };
        let (x, y) = (of(&|point| point.place[0]), of(&|point| point.place[1]));
        let radius = of(&|point| point.radius);
        let turn = if symmetry == 0 {
            0.0
        } else {
            let period = TAU / symmetry as f32;
            let mut angle = 0.0;
            let mut last = None;
            let angles = points.iter().map(|point| {
                let step = last.map_or(0.0, |last: f32| point.angle - last);
                angle += step - (step / period).round() * period;
                last = Some(point.angle);
                (point.time, angle)
            });
            line(angles).slope
        };
        Self {
            start: [x.start, y.start],
            travel: [x.slope, y.slope],
            off_line: x.off.hypot(y.off),
            off_line_vertical: y.off,
            radius: radius.start,
            growth: (radius.start + radius.slope) / radius.start.max(1e-3),
            turn,
        }
    }

    /// The motion, in a word.
    pub fn motion(&self) -> Motion {
        let [x, y] = self.travel;
        if self.off_line_vertical > BOUNCE {
            Motion::Bounces
        } else if self.growth > GROWTH {
            Motion::Grows
        } else if self.growth < 1.0 / GROWTH {
            Motion::Shrinks
        } else if x.hypot(y) > TRAVEL {
            let along = |motion: &&Motion| motion.direction().map(|[u, v]| x * u + y * v);
            let ahead = |motion: &&Motion| along(motion).unwrap_or(f32::NEG_INFINITY);
            let directions = Motion::ALL.iter().filter(|motion| motion.direction().is_some());
            let nearest = directions.max_by(|a, b| ahead(a).total_cmp(&ahead(b)));
            nearest.copied().unwrap_or(Motion::Stays)
        } else if self.turn.abs() > TURN {
            Motion::Spins
        } else {
            Motion::Stays
        }
    }
}

/// A line through values over time.
struct Line {
    /// Value at time 0.
    start: f32,
    slope: f32,
    /// Root of the mean square of what is off the line.
    off: f32,
}

/// The line by least squares.
fn line(points: impl Iterator<Item = (f32, f32)>) -> Line {
    let points: Vec<(f32, f32)> = points.collect();
    let count = points.len().max(1) as f32;
    let sum =
        |value: &dyn Fn(f32, f32) -> f32| points.iter().map(|&(t, v)| value(t, v)).sum::<f32>();
    let (time, value) = (sum(&|t, _| t) / count, sum(&|_, v| v) / count);
    let squares = sum(&|t, _| (t - time).powi(2));
    let slope = if squares > 0.0 { sum(&|t, v| (t - time) * (v - value)) / squares } else { 0.0 };
    let start = value - slope * time;
    let off = (sum(&|t, v| (v - start - slope * t).powi(2)) / count).sqrt();
    Line { start, slope, off }
}
