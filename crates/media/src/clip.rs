//! Clips: frames of one size, and the files that hold them.
//!
//! | ending | what is in it | size of the frames | red, green and blue come back |
//! |---|---|---|---|
//! | `.mp4` | H.264 of I-PCM macroblocks, which every browser plays | enlarged for the eye | within 3 |
//! | `.gif` | up to 256 colors in a frame | as they are | exactly, up to 256 colors |
//! | `.y4m` | Y'CbCr as it is, for other programs | as they are | within 3 |
//! | `/` | a folder of PNG files | as they are | exactly |
//!
//! With the feature `av1` an MP4 may also be of AV1 (`Format::Av1`), which is small and lossy.
//!
//! A file is written beside its name and renamed when it is on the disk, so under its name is never a
//! part of it.

#[cfg(feature = "av1")]
mod av1;
mod bits;
mod boxes;
mod color;
mod format;
mod frames;
mod gif;
mod h264;
mod limits;
mod mp4;
mod mp4_reader;
mod rate;
mod read;
mod store;
mod write;
mod y4m;

pub use color::Chroma;
pub use format::Format;
pub use limits::Limits;
pub use read::{Recording, decode, read};
pub use write::{Options, Written, check, encode, encode_to, write, write_as};

/// Frames of one size, one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Number of frames.
    pub frames: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Frames per second.
    pub rate: f64,
    /// Red, green and blue of each pixel, `[frames, height, width, 3]`.
    pub rgb: Vec<u8>,
}

impl Clip {
    /// Red, green and blue of frame `i`, `[height, width, 3]`.
    ///
    /// # Panics
    ///
    /// If there is no such frame.
    pub fn frame(&self, i: usize) -> &[u8] {
        let len = self.height * self.width * 3;
        &self.rgb[i * len..(i + 1) * len]
    }

    /// Pixels as models have them, from -1 to 1: `[3, frames, height, width]`.
    pub fn channels_first(&self) -> impl Iterator<Item = f32> {
        let channel = |c: usize| self.rgb.iter().skip(c).step_by(3);
        (0..3).flat_map(channel).map(|x| f32::from(*x) / 127.5 - 1.0)
    }

    /// The opposite: the clip of `pixels`, `[3, frames, height, width]`, each rounded to the nearest of
    /// 256 values.
    ///
    /// # Panics
    ///
    /// If there are not so many pixels.
    #[track_caller]
    pub fn from_channels_first(
        pixels: &[f32],
        [frames, height, width]: [usize; 3],
        rate: f64,
    ) -> Self {
        let places = frames * height * width;
        assert_eq!(
            pixels.len(),
            3 * places,
            "numbers of {frames} frames of {width} x {height} pixels"
        );
        let byte = |x: f32| ((x + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8;
        let rgb = (0..places).flat_map(|i| [0, 1, 2].map(|c| byte(pixels[c * places + i])));
        Self { frames, height, width, rate, rgb: rgb.collect() }
    }

    /// Frame `i` with each pixel as `scale x scale` of them, `[scale height, scale width, 3]`.
    ///
    /// # Panics
    ///
    /// If there is no such frame.
    pub fn enlarged(&self, i: usize, scale: usize) -> Vec<u8> {
        let mut rgb = Vec::with_capacity(self.height * self.width * 3 * scale * scale);
        for row in self.frame(i).chunks_exact((self.width * 3).max(1)) {
            let start = rgb.len();
            for pixel in row.chunks_exact(3) {
                (0..scale).for_each(|_| rgb.extend_from_slice(pixel));
            }
            let end = rgb.len();
            (1..scale).for_each(|_| rgb.extend_from_within(start..end));
        }
        rgb
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_first_and_go_back() {
        let (frames, height, width) = (3, 2, 5);
        let rgb = (0..frames * height * width * 3).map(|i| (i * 37 % 256) as u8).collect();
        let clip = Clip { frames, height, width, rate: 6.0, rgb };
        let values: Vec<f32> = clip.channels_first().collect();
        for c in 0..3 {
            for i in 0..frames {
                for p in 0..height * width {
                    let byte = f32::from(clip.frame(i)[3 * p + c]);
                    let found = values[(c * frames + i) * height * width + p];
                    assert!((found - (2.0 * byte / 255.0 - 1.0)).abs() < 1e-6);
                }
            }
        }
        let back = Clip::from_channels_first(&values, [frames, height, width], clip.rate);
        assert_eq!(back, clip);
    }

    #[test]
    fn values_are_rounded_and_kept_within_bytes() {
        let of = |x: f32| Clip::from_channels_first(&[x; 3], [1; 3], 1.0).rgb;
        let all = [-9.0, -1.0, -0.9999, 0.0, 0.999, 1.0, 9.0, f32::NAN].map(|x| of(x)[0]);
        assert_eq!(all, [0, 0, 0, 128, 255, 255, 255, 0]);
    }
}
