//! Frames as numbers from 0 to 1, and the statistics of whole frames.

use media::Clip;

/// Longest side, in pixels, of what regions and motion are computed on; larger frames are averaged
/// down to it, which takes the noise out of them too.
const LONGEST: usize = 128;

/// A frame of numbers from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Red, green and blue of each pixel, `[height, width, 3]`.
    pub rgb: Vec<f32>,
}

/// Brightness of red, green and blue (Rec. 709).
pub(super) fn luma(rgb: &[f32]) -> f32 {
    0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]
}

impl Frame {
    /// Frame `i` of a clip, averaged over blocks of pixels so that no side is longer than 128.
    pub fn of(clip: &Clip, i: usize) -> Self {
        let block = clip.height.max(clip.width).div_ceil(LONGEST).max(1);
        let (height, width) = (clip.height.div_ceil(block), clip.width.div_ceil(block));
        let pixels = clip.frame(i);
        let mut rgb = Vec::with_capacity(height * width * 3);
        for y in 0..height {
            let rows = y * block..((y + 1) * block).min(clip.height);
            for x in 0..width {
                let columns = x * block..((x + 1) * block).min(clip.width);
                let scale = 1.0 / (255 * rows.len() * columns.len()) as f32;
                let mut sum = [0u32; 3];
                for row in rows.clone() {
                    let line = &pixels[(row * clip.width + columns.start) * 3..];
                    for pixel in line[..columns.len() * 3].chunks_exact(3) {
                        (0..3).for_each(|c| sum[c] += u32::from(pixel[c]));
                    }
                }
                rgb.extend(sum.map(|s| s as f32 * scale));
            }
        }
        Self { height, width, rgb }
    }

    /// All frames of a clip.
    pub fn all(clip: &Clip) -> Vec<Self> {
        (0..clip.frames).map(|i| Self::of(clip, i)).collect()
    }

    /// Brightness of each pixel, `[height, width]`.
    pub fn luma(&self) -> Vec<f32> {
        self.rgb.chunks_exact(3).map(luma).collect()
    }
}

/// Means over the pixels of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Means {
    /// Brightness (Rec. 709), 0 to 1.
    pub luma: f64,
    /// Red, green and blue, 0 to 1.
    pub rgb: [f64; 3],
    /// Largest less smallest of red, green and blue: how colourful it is, 0 to 1.
    pub saturation: f64,
    /// Standard deviation of the brightness.
    pub contrast: f64,
}

impl Means {
    /// The means of `frame: [pixels, 3]`.
    pub fn of(frame: &[u8]) -> Self {
        let pixels = (frame.len() / 3).max(1) as f64;
        let (mut rgb, mut saturation, mut sum, mut square) = ([0u64; 3], 0u64, 0.0, 0.0);
        for pixel in frame.chunks_exact(3) {
            (0..3).for_each(|c| rgb[c] += u64::from(pixel[c]));
            let (low, high) = (pixel.iter().min(), pixel.iter().max());
            saturation += u64::from(high.unwrap_or(&0) - low.unwrap_or(&0));
            let y = f64::from(luma(&[pixel[0].into(), pixel[1].into(), pixel[2].into()]));
            sum += y;
            square += y * y;
        }
        let scale = 1.0 / (255.0 * pixels);
        let level = sum / pixels;
        Self {
            luma: level / 255.0,
            rgb: rgb.map(|s| s as f64 * scale),
            saturation: saturation as f64 * scale,
            contrast: (square / pixels - level * level).max(0.0).sqrt() / 255.0,
        }
    }
}

/// Mean absolute difference of two frames of one size, 0 to 1.
pub fn difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / (255.0 * a.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(frames: usize, height: usize, width: usize, rgb: [u8; 3]) -> Clip {
        Clip { frames, height, width, rate: 6.0, rgb: rgb.repeat(frames * height * width) }
    }

    #[test]
    fn means_of_a_plain_frame() {
        let means = Means::of(&[255, 0, 51].repeat(10));
        assert_eq!(means.rgb.map(|v| (v * 1e9).round()), [1e9, 0.0, 2e8]);
        assert!((means.saturation - 1.0).abs() < 1e-9);
        assert!((means.luma - (0.2126 + 0.0722 * 0.2)).abs() < 1e-6);
        assert!(means.contrast < 1e-4);
    }

    #[test]
    fn contrast_is_the_deviation_of_the_brightness() {
        let means = Means::of(&[0, 0, 0, 255, 255, 255]);
        assert!((means.contrast - 0.5).abs() < 1e-6);
    }

    #[test]
    fn differences_are_mean_and_absolute() {
        assert_eq!(difference(&[0, 255, 0], &[255, 0, 0]), 2.0 / 3.0);
        assert_eq!(difference(&[], &[]), 0.0);
    }

    #[test]
    fn large_frames_are_averaged_and_odd_edges_kept() {
        let mut clip = plain(1, 257, 3, [10, 20, 30]);
        let last = clip.rgb.len() - 9;
        clip.rgb[last..].fill(255);
        let frame = Frame::of(&clip, 0);
        assert_eq!((frame.height, frame.width), (86, 1));
        assert_eq!(frame.rgb[..3], [10.0 / 255.0, 20.0 / 255.0, 30.0 / 255.0]);
        let expected = (10.0 + 255.0) / 2.0 / 255.0;
        assert!((frame.rgb[85 * 3] - expected).abs() < 1e-6, "{}", frame.rgb[85 * 3]);
    }

    #[test]
    fn frames_of_no_pixels_are_no_trouble() {
        let clip = plain(2, 0, 5, [0; 3]);
        assert!(Frame::of(&clip, 1).rgb.is_empty());
        assert_eq!(Means::of(clip.frame(0)), Means::default());
    }
}
