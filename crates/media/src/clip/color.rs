//! Red, green and blue to Y'CbCr and back (ITU-R BT.601, studio range of 8 bits).
//!
//! ```text
//! Y  = 16 + 219 (0.299 R + 0.587 G + 0.114 B)     R, G, B from 0 to 1
//! Cb = 128 + 224 (B - Y') / 1.772                 Y' the sum in brackets
//! Cr = 128 + 224 (R - Y') / 1.402
//! ```
//!
//! The matrix is that of small pictures: players that ignore what a file says of its colors take it for
//! them, and Y4M has no way to say it.

/// How many values of color there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chroma {
    /// One for each pixel.
    Full,
    /// One for each 2 x 2 pixels: their mean.
    Quarter,
}

/// Kr and Kb of BT.601.
const RED: f32 = 0.299;
const BLUE: f32 = 0.114;
const GREEN: f32 = 1.0 - RED - BLUE;

/// The three planes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planes {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) chroma: Chroma,
    /// `[height, width]`.
    pub(super) y: Vec<u8>,
    /// `[chroma height, chroma width]`.
    pub(super) cb: Vec<u8>,
    /// `[chroma height, chroma width]`.
    pub(super) cr: Vec<u8>,
}

impl Planes {
    /// Width and height of a plane of colors.
    pub(super) fn chroma_size(&self) -> (usize, usize) {
        self.chroma.size(self.width, self.height)
    }

    /// Of `rgb`, `[height, width, 3]`.
    pub(super) fn from_rgb(rgb: &[u8], width: usize, height: usize, chroma: Chroma) -> Self {
        assert_eq!(rgb.len(), width * height * 3, "rgb must be [height, width, 3]");
        let y = rgb.chunks_exact(3).map(luma).collect();
        let (columns, rows) = chroma.size(width, height);
        let step = chroma.step();
        let (mut cb, mut cr) = (Vec::with_capacity(rows * columns), Vec::new());
        cr.reserve_exact(rows * columns);
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |i| (row, i))) {
            let (mut sum, mut count) = ([0.0_f32; 3], 0.0);
            for at in (row * step..((row + 1) * step).min(height))
                .flat_map(|y| {
                    (column * step..((column + 1) * step).min(width)).map(move |x| (y, x))
                })
                .map(|(y, x)| (y * width + x) * 3)
            {
                sum.iter_mut().zip(&rgb[at..at + 3]).for_each(|(sum, &v)| *sum += f32::from(v));
                count += 255.0;
            }
            let [red, green, blue] = sum.map(|sum| sum / count);
            let gray = RED * red + GREEN * green + BLUE * blue;
            cb.push((128.0 + 224.0 * (blue - gray) / (2.0 - 2.0 * BLUE)).round() as u8);
            cr.push((128.0 + 224.0 * (red - gray) / (2.0 - 2.0 * RED)).round() as u8);
        }
        Self { width, height, chroma, y, cb, cr }
    }

    /// `[height, width, 3]`; `full` if the values have all of 8 bits and not the studio's range.
    pub(super) fn to_rgb(&self, full: bool) -> Vec<u8> {
        let (columns, _) = self.chroma_size();
        let step = self.chroma.step();
        let mut rgb = Vec::with_capacity(self.width * self.height * 3);
        for (i, &y) in self.y.iter().enumerate() {
            let (row, column) = (i / self.width, i % self.width);
            let at = row / step * columns + column / step;
            let (gray, cb, cr) = if full {
                let color = |value: u8| (f32::from(value) - 128.0) / 255.0;
                (f32::from(y) / 255.0, color(self.cb[at]), color(self.cr[at]))
            } else {
                let color = |value: u8| (f32::from(value) - 128.0) / 224.0;
                ((f32::from(y) - 16.0) / 219.0, color(self.cb[at]), color(self.cr[at]))
            };
            let red = gray + (2.0 - 2.0 * RED) * cr;
            let blue = gray + (2.0 - 2.0 * BLUE) * cb;
            let green = (gray - RED * red - BLUE * blue) / GREEN;
            // Casts saturate.
            rgb.extend([red, green, blue].map(|value| (value * 255.0).round() as u8));
        }
        rgb
    }
}

impl Chroma {
    /// Pixels along a side that share a color.
    fn step(self) -> usize {
        match self {
            Self::Full => 1,
            Self::Quarter => 2,
        }
    }

    /// Width and height of a plane of colors of a frame.
    pub(super) fn size(self, width: usize, height: usize) -> (usize, usize) {
        (width.div_ceil(self.step()), height.div_ceil(self.step()))
    }
}

fn luma(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(f32::from);
    (16.0 + 219.0 / 255.0 * (RED * red + GREEN * green + BLUE * blue)).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BT.601 as tables give it.
    #[test]
    fn known_colors() {
        for (rgb, want) in [
            ([0, 0, 0], [16, 128, 128]),
            ([255, 255, 255], [235, 128, 128]),
            ([255, 0, 0], [81, 90, 240]),
            ([0, 255, 0], [145, 54, 34]),
            ([0, 0, 255], [41, 240, 110]),
        ] {
            let planes = Planes::from_rgb(&rgb, 1, 1, Chroma::Full);
            assert_eq!([planes.y[0], planes.cb[0], planes.cr[0]], want, "{rgb:?}");
        }
    }

    /// Every fifth value of each color; the error is what the table in `clip` says.
    #[test]
    fn colors_come_back_within_three() {
        let values: Vec<u8> = (0..=255).step_by(5).collect();
        let side = values.len();
        let mut worst = 0;
        for &red in &values {
            let pixel = |i: usize| [red, values[i / side], values[i % side]];
            let rgb: Vec<u8> = (0..side * side).flat_map(pixel).collect();
            let back = Planes::from_rgb(&rgb, side, side, Chroma::Full).to_rgb(false);
            worst = worst.max(rgb.iter().zip(back).map(|(&a, b)| a.abs_diff(b)).max().unwrap());
        }
        assert!((1..=3).contains(&worst), "{worst}");
    }

    #[test]
    fn odd_sides_have_colors_at_their_edges() {
        let rgb: Vec<u8> =
            (0..5 * 3).flat_map(|i| if i % 5 == 4 { [255, 0, 0] } else { [0; 3] }).collect();
        let planes = Planes::from_rgb(&rgb, 5, 3, Chroma::Quarter);
        assert_eq!((planes.chroma_size(), planes.cb.len(), planes.cr.len()), ((3, 2), 6, 6));
        assert_eq!(planes.cr, [128, 128, 240, 128, 128, 240]);
    }
}
