//! Pixels to draw on, with lengths in widths of the picture: `x` to the right and `y` down from the
//! upper left corner.

use super::Frame;
use models::vision::pixels::Rgb;
use tensor::Rng;

/// A square of colours from 0 to 1.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    side: usize,
    /// `[side, side, 3]`.
    rgb: Vec<f32>,
    /// Pixels over which an edge fades.
    softness: f32,
}

/// A box around what is drawn: left, top, right, bottom.
pub(super) type Bounds = [f32; 4];

impl Canvas {
    pub(super) fn new(side: usize) -> Self {
        Self { side, rgb: vec![0.0; side * side * 3], softness: 1.0 }
    }

    /// Draws edges that fade over so many pixels from now on.
    pub(super) fn soften(&mut self, pixels: f32) {
        self.softness = pixels;
    }

    /// Sets every pixel.
    pub(super) fn paint(&mut self, colour: impl Fn(f32, f32) -> [f32; 3]) {
        let side = self.side as f32;
        for (i, pixel) in self.rgb.chunks_exact_mut(3).enumerate() {
            let (row, column) = (i / self.side, i % self.side);
            let colour = colour((column as f32 + 0.5) / side, (row as f32 + 0.5) / side);
            pixel.copy_from_slice(&colour);
        }
    }

    /// Draws what lies inside an outline: `distance` from it is negative there.
    pub(super) fn fill(
        &mut self,
        bounds: Bounds,
        colour: [f32; 3],
        distance: impl Fn(f32, f32) -> f32,
    ) {
        let side = self.side as f32;
        let margin = (self.softness + 1.0) / side;
        let pixels = |low: f32, high: f32| {
            let first = ((low - margin) * side).floor().clamp(0.0, side) as usize;
            let end = ((high + margin) * side).ceil().clamp(0.0, side) as usize;
            first..end
        };
        let [left, top, right, bottom] = bounds;
        for row in pixels(top, bottom) {
            for column in pixels(left, right) {
                let (x, y) = ((column as f32 + 0.5) / side, (row as f32 + 0.5) / side);
                let cover = (0.5 - distance(x, y) * side / self.softness).clamp(0.0, 1.0);
                if cover > 0.0 {
                    let at = (row * self.side + column) * 3;
                    for (pixel, colour) in self.rgb[at..at + 3].iter_mut().zip(colour) {
                        *pixel += (colour - *pixel) * cover;
                    }
                }
            }
        }
    }

    /// An upright rectangle.
    pub(super) fn rectangle(&mut self, bounds: Bounds, colour: [f32; 3]) {
        let [left, top, right, bottom] = bounds;
        self.fill(bounds, colour, |x, y| (left - x).max(x - right).max(top - y).max(y - bottom));
    }

    /// Adds normal noise of this deviation.
    pub(super) fn add_noise(&mut self, deviation: f32, rng: &mut Rng) {
        for value in &mut self.rgb {
            *value += deviation * rng.normal();
        }
    }

    /// The pixels in a frame.
    pub(super) fn cut(self, frame: Frame) -> Rgb {
        let to_byte = |x: f32| (x * 255.0).round().clamp(0.0, 255.0) as u8;
        let data = self.rgb.into_iter().map(to_byte).collect();
        let whole = Rgb { height: self.side, width: self.side, data };
        let pixels = |share: f32| (share * self.side as f32).round() as usize;
        let [top, left] = [frame.top, frame.left].map(pixels);
        let [height, width] = [frame.height, frame.width].map(pixels);
        whole.crop([top, left], [height.min(self.side - top), width.min(self.side - left)])
    }
}
