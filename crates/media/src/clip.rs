//! Clips: frames of one size, as they are shown.

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
}
