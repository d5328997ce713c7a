//! Clips to files.

use super::{Clip, Format, frames, gif, mp4, store, y4m};
use crate::Error;
use std::io;
use std::path::Path;

/// How a clip is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    /// How many pixels along a side stand for one; `None` for what is good for looking at in an MP4, and
    /// 1 elsewhere.
    pub scale: Option<usize>,
    /// What is known of the clip: prompt, seed, model and settings as JSON; empty for nothing. It goes
    /// into the file as its comment.
    pub about: &'a str,
}

/// What a clip was written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// How many pixels along a side stand for one.
    pub scale: usize,
    /// Whether `about` is in the file: it is not if it is too long for a Y4M, which holds 60 bytes of it
    /// in each frame.
    pub with_about: bool,
}

/// The bytes of a file that holds `clip`.
///
/// # Errors
///
/// If the format does not hold clips of this size, length or rate.
///
/// # Panics
///
/// If `clip.rgb` has another length than its sizes say; if `format` is a folder.
pub fn encode(
    clip: &Clip,
    format: Format,
    options: &Options<'_>,
) -> Result<(Vec<u8>, Written), Error> {
    let scale = checked_scale(clip, format, options)?;
    let about = options.about;
    let (bytes, with_about) = match format {
        Format::Mp4 => (mp4::encode(clip, scale, about)?, true),
        Format::Gif => (gif::encode(clip, scale, about)?, true),
        Format::Y4m(chroma) => y4m::encode(clip, scale, chroma, about)?,
        Format::Frames => panic!("a folder is no file"),
    };
    Ok((bytes, Written { scale, with_about }))
}

/// Writes `clip` to `path` in the format that the ending of `path` names. Under that name is all of it or
/// what was there before.
///
/// # Errors
///
/// If the ending is of no format, the format does not hold such a clip, or the file cannot be written.
///
/// # Panics
///
/// If `clip.rgb` has another length than its sizes say.
pub fn write(path: &Path, clip: &Clip, options: &Options<'_>) -> Result<Written, Error> {
    let format = Format::of(path)?;
    let cannot =
        |error: io::Error| Error::Write { path: path.to_owned(), cause: error.to_string() };
    if format != Format::Frames {
        let (bytes, written) = encode(clip, format, options)?;
        store::file(path, &bytes).map_err(cannot)?;
        return Ok(written);
    }
    let scale = checked_scale(clip, format, options)?;
    let frame = |i| {
        let bytes = frames::encode(clip, i, scale, options.about).map_err(Failed::Encoding)?;
        Ok((frames::name(i), bytes))
    };
    store::folder(path, clip.frames, frame).map_err(|failed| match failed {
        Failed::Encoding(error) => error,
        Failed::Writing(error) => cannot(error),
    })?;
    Ok(Written { scale, with_about: true })
}

enum Failed {
    Encoding(Error),
    Writing(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Writing(error)
    }
}

/// Sides of a file's frames are at most this long.
const SIDE: usize = 1 << 16;

fn checked_scale(clip: &Clip, format: Format, options: &Options<'_>) -> Result<usize, Error> {
    let Clip { frames, height, width, .. } = *clip;
    assert_eq!(
        clip.rgb.len(),
        frames * height * width * 3,
        "rgb must be [frames, height, width, 3]"
    );
    if frames == 0 {
        return Err(Error::NoFrames);
    }
    if width == 0 || height == 0 {
        return Err(Error::NoPixels { width: width as u32, height: height as u32 });
    }
    let scale = options.scale.unwrap_or_else(|| format.scale(width, height));
    if scale == 0 || width.max(height).checked_mul(scale).is_none_or(|side| side > SIDE) {
        return Err(Error::Scale { scale, width, height, side: SIDE });
    }
    Ok(scale)
}
