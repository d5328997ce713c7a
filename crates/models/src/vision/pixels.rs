//! Pixels of pictures: resized as Pillow does it, to the bit, and brought to what vision towers read.
//!
//! ```text
//! out[x] = sum_i w(|i + 1/2 - (x + 1/2) s| / max(s, 1)) in[i] / sum of weights      s = in / out
//! w      = Keys' cubic with a = -1/2 (doi:10.1109/TASSP.1981.1163711), 0 from 2 on
//! ```
//!
//! Pillow resizes rows first, then columns, with weights of 22 binary digits, and rounds to bytes in
//! between; so does this, since models were trained on such pictures. (From version 13 on it begins
//! with the columns where that is less work, which gives other bytes.)

use std::borrow::Cow;

/// A picture: height, width, and bytes `[height, width, 3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Red, green, blue of each pixel, row by row.
    pub data: Vec<u8>,
}

/// Channels of a picture.
const CHANNELS: usize = 3;
/// Binary digits of a weight after the point.
const DIGITS: u32 = 22;

impl Rgb {
    /// A black picture.
    pub fn black(height: usize, width: usize) -> Self {
        Self::plain(height, width, [0; CHANNELS])
    }

    /// A picture of one colour.
    pub fn plain(height: usize, width: usize, colour: [u8; CHANNELS]) -> Self {
        Self { height, width, data: colour.repeat(height * width) }
    }

    /// The same picture in another size.
    ///
    /// # Panics
    ///
    /// If a side is 0 or there are not as many bytes as pixels need.
    #[track_caller]
    pub fn resize(&self, height: usize, width: usize) -> Self {
        let Self { height: from_height, width: from_width, ref data } = *self;
        assert_eq!(data.len(), from_height * from_width * CHANNELS, "bytes of the picture");
        assert!(from_height * from_width * height * width > 0, "a side of 0 pixels");
        let mut pixels = Cow::Borrowed(data);
        if width != from_width {
            let taps = taps(from_width, width);
            let mut out = Vec::with_capacity(from_height * width * CHANNELS);
            for row in pixels.chunks_exact(from_width * CHANNELS) {
                for taps in &taps {
                    let pixel =
                        |c| taps.of(row[taps.first * CHANNELS + c..].iter().step_by(CHANNELS));
                    out.extend((0..CHANNELS).map(pixel));
                }
            }
            pixels = Cow::Owned(out);
        }
        if height != from_height {
            let row = width * CHANNELS;
            let mut out = Vec::with_capacity(height * row);
            for taps in taps(from_height, height) {
                let above = &pixels[taps.first * row..];
                out.extend((0..row).map(|x| taps.of(above[x..].iter().step_by(row))));
            }
            pixels = Cow::Owned(out);
        }
        Self { height, width, data: pixels.into_owned() }
    }

    /// Puts `picture` here, its upper left corner at `top` and `left`.
    ///
    /// # Panics
    ///
    /// If it is not wholly inside.
    #[track_caller]
    pub fn paste(&mut self, picture: &Self, [top, left]: [usize; 2]) {
        assert!(left + picture.width <= self.width && top + picture.height <= self.height);
        let row = picture.width * CHANNELS;
        for (y, pixels) in picture.data.chunks_exact(row.max(1)).enumerate() {
            let at = ((top + y) * self.width + left) * CHANNELS;
            self.data[at..at + row].copy_from_slice(pixels);
        }
    }

    /// The part of `height` and `width` pixels from `top` and `left` on.
    ///
    /// # Panics
    ///
    /// If it is not wholly inside.
    #[track_caller]
    pub fn crop(&self, [top, left]: [usize; 2], [height, width]: [usize; 2]) -> Self {
        assert!(left + width <= self.width && top + height <= self.height);
        let mut data = Vec::with_capacity(height * width * CHANNELS);
        for y in top..top + height {
            let at = (y * self.width + left) * CHANNELS;
            data.extend_from_slice(&self.data[at..at + width * CHANNELS]);
        }
        Self { height, width, data }
    }
}

/// The pixels that one pixel of the result is made of.
struct Taps {
    first: usize,
    /// In units of `2^-DIGITS`.
    weights: Vec<i32>,
}

impl Taps {
    fn of<'a>(&self, pixels: impl Iterator<Item = &'a u8>) -> u8 {
        let half = 1 << (DIGITS - 1);
        let sum = pixels.zip(&self.weights).fold(half, |sum, (p, w)| sum + i32::from(*p) * w);
        (sum >> DIGITS).clamp(0, 255) as u8
    }
}

/// The taps of each of `to` pixels made of `from`.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let reach = 2.0 * stretch;
    let of_pixel = |x: usize| {
        let center = (x as f64 + 0.5) * scale;
        let first = (center - reach + 0.5).max(0.0) as usize;
        let end = ((center + reach + 0.5) as usize).min(from);
        let weight = |i: usize| cubic((i as f64 - center + 0.5) / stretch);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        let unit = f64::from(1 << DIGITS);
        let weights = weights.iter().map(|w| (w / sum * unit).round() as i32).collect();
        Taps { first, weights }
    };
    (0..to).map(of_pixel).collect()
}

/// Keys' cubic, `a = -1/2`.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(height: usize, width: usize) -> Rgb {
        let mut rng = tensor::Rng(7);
        let data = (0..height * width * 3).map(|_| (rng.unit() * 256.0) as u8).collect();
        Rgb { height, width, data }
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        let picture = noise(5, 7);
        assert_eq!(picture.resize(5, 7), picture);
    }

    /// Weights add up to 1, so what is even stays so, at any size.
    #[test]
    fn an_even_picture_stays_even() {
        for (height, width) in [(1, 1), (1, 9), (40, 3), (7, 7)] {
            let even = Rgb { height, width, data: [10, 128, 255].repeat(height * width) };
            for (h, w) in [(1, 1), (2, 5), (13, 1), (64, 63)] {
                let data = [10, 128, 255].repeat(h * w);
                assert_eq!(even.resize(h, w), Rgb { height: h, width: w, data });
            }
        }
    }

    #[test]
    fn what_is_pasted_can_be_cut_out() {
        let picture = noise(3, 4);
        let mut canvas = Rgb::black(6, 9);
        canvas.paste(&picture, [2, 5]);
        assert_eq!(canvas.crop([2, 5], [3, 4]), picture);
        assert_eq!(canvas.crop([0, 0], [2, 9]), Rgb::black(2, 9));
        assert_eq!(canvas.crop([2, 0], [4, 5]), Rgb::black(4, 5));
    }
}
