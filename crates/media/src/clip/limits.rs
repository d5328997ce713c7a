//! How large a clip may be.

use crate::Error;

/// What a clip that is read may be at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of the file, or of all files of a folder.
    pub bytes: usize,
    /// Pixels of a side.
    pub side: usize,
    /// Frames.
    pub frames: usize,
    /// Pixels of all frames together.
    pub pixels: usize,
}

impl Default for Limits {
    /// 256 MiB, 4096 a side, 1024 frames, 64 million pixels.
    fn default() -> Self {
        Self { bytes: 256 << 20, side: 4096, frames: 1024, pixels: 64_000_000 }
    }
}

impl Limits {
    /// Refuses a clip of this size.
    pub(super) fn check(&self, width: usize, height: usize, frames: usize) -> Result<(), Error> {
        if width == 0 || height == 0 {
            let (width, height) = (width as u32, height as u32);
            return Err(Error::NoPixels { width, height });
        }
        if frames == 0 {
            return Err(Error::NoFrames);
        }
        let pixels = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(frames));
        let fits = pixels.is_some_and(|pixels| pixels <= self.pixels);
        if fits && width.max(height) <= self.side && frames <= self.frames {
            return Ok(());
        }
        let Self { side, frames: most, pixels, .. } = *self;
        Err(Error::ClipTooLarge { width, height, frames, side, most, pixels })
    }
}
