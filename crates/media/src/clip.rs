//! Clips: frames of one size, and the files that hold them.
//!
//! | ending | what is in it | size of the frames | red, green and blue come back |
//! |---|---|---|---|
//! | `.mp4` | H.264 of I-PCM macroblocks, which every browser plays | enlarged for the eye | within 3 |
//! | `.gif` | up to 256 colors in a frame | as they are | exactly, up to 256 colors |
//! | `.y4m` | Y'CbCr as it is, for other programs | as they are | within 3 |
//! | `/` | a folder of PNG files | as they are | exactly |
//!
//! A file is written beside its name and renamed when it is on the disk, so under its name is never a
//! part of it.

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
pub use write::{Options, Written, check, encode, encode_to, write};

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
