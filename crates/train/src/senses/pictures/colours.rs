//! Colours that have a name, as many shades as people call by it, and backgrounds.

use super::canvas::Canvas;
use super::range;
use crate::clips::from_hsv;
use tensor::Rng;

/// Shades of one name: hues in degrees, saturations and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Colour {
    pub(super) name: &'static str,
    hue: [f32; 2],
    saturation: [f32; 2],
    value: [f32; 2],
}

const fn colour(
    name: &'static str,
    hue: [f32; 2],
    saturation: [f32; 2],
    value: [f32; 2],
) -> Colour {
    Colour { name, hue, saturation, value }
}

/// Those of shapes; names as in clips.
pub(super) const COLOURS: [Colour; 8] = [
    colour("red", [348.0, 368.0], [0.78, 1.0], [0.62, 1.0]),
    colour("green", [92.0, 150.0], [0.55, 1.0], [0.4, 1.0]),
    colour("blue", [212.0, 246.0], [0.65, 1.0], [0.45, 1.0]),
    colour("yellow", [49.0, 62.0], [0.65, 1.0], [0.85, 1.0]),
    colour("purple", [268.0, 302.0], [0.5, 1.0], [0.45, 0.95]),
    colour("orange", [20.0, 40.0], [0.8, 1.0], [0.88, 1.0]),
    colour("white", [0.0, 360.0], [0.0, 0.03], [0.95, 1.0]),
    colour("cyan", [172.0, 193.0], [0.6, 1.0], [0.75, 1.0]),
];

/// Bytes of the longest name.
pub(super) const WIDEST: usize = 6;

/// Writing is often black.
pub(super) const BLACK: Colour = colour("black", [0.0, 360.0], [0.0, 0.1], [0.0, 0.12]);

impl Colour {
    /// The middle of its shades.
    pub(super) fn middle(&self) -> [f32; 3] {
        let [hue, saturation, value] =
            [self.hue, self.saturation, self.value].map(|[low, high]| (low + high) / 2.0);
        from_hsv(hue, saturation, value)
    }

    /// One of its shades.
    pub(super) fn shade(&self, rng: &mut Rng) -> [f32; 3] {
        let mut of = |[low, high]: [f32; 2]| {
            // The ends are what people type most often: pure colours.
            let at = (1.2 * rng.unit() - 0.1).clamp(0.0, 1.0);
            low + (high - low) * at
        };
        let (hue, saturation, value) = (of(self.hue), of(self.saturation), of(self.value));
        from_hsv(hue, saturation, value)
    }
}

/// How different two colours look, 0 to about 1.
pub(super) fn contrast(a: [f32; 3], b: [f32; 3]) -> f32 {
    let weights = [0.30, 0.45, 0.25];
    (0..3).map(|i| weights[i] * (a[i] - b[i]).powi(2)).sum::<f32>().sqrt()
}

/// What stands behind a picture: a plain colour, or two that run into each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Background {
    ends: [[f32; 3]; 2],
    /// To the right and down, per width.
    slope: [f32; 2],
}

impl Background {
    /// White, black, grey, pale or dark.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let (hue, unit) = (360.0 * rng.unit(), rng.unit());
        let first = match rng.below(12) {
            0..4 => [1.0; 3],
            4..6 => [if unit < 0.5 { 0.0 } else { 0.12 * unit }; 3],
            6 => [0.2 + 0.6 * unit; 3],
            7..9 => from_hsv(hue, 0.02 + 0.2 * unit, range(rng, 0.85, 1.0)),
            9..11 => from_hsv(hue, range(rng, 0.1, 0.7), 0.08 + 0.2 * unit),
            _ => [0.88 + 0.12 * unit; 3],
        };
        let second = match rng.chance(0.2) {
            true => first.map(|x| (x + range(rng, -0.2, 0.2)).clamp(0.0, 1.0)),
            false => first,
        };
        let (sin, cos) = (std::f32::consts::TAU * rng.unit()).sin_cos();
        Self { ends: [first, second], slope: [cos, sin] }
    }

    /// A light one.
    pub(super) fn light(rng: &mut Rng) -> Self {
        let value = if rng.chance(0.6) { 1.0 } else { range(rng, 0.88, 1.0) };
        let colour = from_hsv(360.0 * rng.unit(), 0.08 * rng.unit() * rng.unit(), value);
        Self { ends: [colour; 2], slope: [0.0; 2] }
    }

    pub(super) fn paint(&self, canvas: &mut Canvas) {
        let [first, last] = self.ends;
        let [right, down] = self.slope;
        canvas.paint(|x, y| {
            let at = (0.5 + 0.7 * ((x - 0.5) * right + (y - 0.5) * down)).clamp(0.0, 1.0);
            [0, 1, 2].map(|i| first[i] + (last[i] - first[i]) * at)
        });
    }

    /// Of a colour from the ends: what is drawn in it can be seen.
    pub(super) fn contrast(&self, colour: [f32; 3]) -> f32 {
        contrast(colour, self.ends[0]).min(contrast(colour, self.ends[1]))
    }
}
