//! Formats of clips, told by the endings of paths.

use super::Chroma;
use crate::Error;
use std::path::Path;

/// What a clip is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// H.264 of I-PCM macroblocks in MP4.
    Mp4,
    /// AV1 in MP4: small and lossy, and not read back here.
    #[cfg(feature = "av1")]
    Av1,
    /// Frames of up to 256 colors each.
    Gif,
    /// Y'CbCr without compression.
    Y4m(Chroma),
    /// A folder of PNG files, `frame-000.png` and so on.
    Frames,
}

impl Format {
    /// By the ending of `path`: `.mp4`, `.gif`, `.y4m`, or `/` for a folder of frames.
    ///
    /// # Errors
    ///
    /// If it is another one.
    pub fn of(path: &Path) -> Result<Self, Error> {
        if path.as_os_str().as_encoded_bytes().last() == Some(&b'/') {
            return Ok(Self::Frames);
        }
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "mp4" | "m4v" => Ok(Self::Mp4),
            "gif" => Ok(Self::Gif),
            "y4m" => Ok(Self::Y4m(Chroma::Full)),
            _ => Err(Error::Ending { path: path.to_owned() }),
        }
    }

    /// How much frames are enlarged unless it is said: in MP4, which is for looking at, to a short side
    /// of 256 pixels or more, by an even number, so that no two pixels share a color; else not.
    pub(super) fn scale(self, width: usize, height: usize) -> usize {
        let (short, long) = (width.min(height).max(1), width.max(height).max(1));
        if matches!(self, Self::Gif | Self::Y4m(_) | Self::Frames) {
            return 1;
        }
        if short >= VIEWED && width.is_multiple_of(2) && height.is_multiple_of(2) {
            return 1;
        }
        let largest = (LONG_SIDE / long).max(2);
        VIEWED.div_ceil(short).next_multiple_of(2).min(largest / 2 * 2)
    }
}

/// Pixels of the short side from which on frames can be seen well.
const VIEWED: usize = 256;
/// Pixels of the long side up to which frames are enlarged.
const LONG_SIDE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_tell_the_format() {
        for (path, want) in [
            ("a.mp4", Format::Mp4),
            ("b/c.d.MP4", Format::Mp4),
            ("a.gif", Format::Gif),
            ("a.y4m", Format::Y4m(Chroma::Full)),
            ("a/", Format::Frames),
            ("a.mp4/", Format::Frames),
        ] {
            assert_eq!(Format::of(Path::new(path)), Ok(want), "{path}");
        }
        for path in ["a", "a.avi", "a.", "", "mp4", ".mp4"] {
            let error = Format::of(Path::new(path)).unwrap_err().to_string();
            let want = "` has an ending of no format, expected `.mp4`, `.gif`, `.y4m`, or `/` for a folder of PNG frames";
            assert_eq!(error, format!("`{path}{want}"));
        }
    }

    #[test]
    fn small_frames_are_enlarged() {
        for (width, height, want) in [
            (64, 64, 4),
            (32, 64, 8),
            (100, 100, 4),
            (256, 256, 1),
            (257, 256, 2),
            (1, 1, 256),
            (1, 20_000, 2),
            (1280, 720, 1),
            (1000, 10, 4),
        ] {
            assert_eq!(Format::Mp4.scale(width, height), want, "{width} x {height}");
            assert_eq!(Format::Gif.scale(width, height), 1);
        }
    }
}
