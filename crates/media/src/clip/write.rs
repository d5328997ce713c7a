//! Clips to files.

#[cfg(feature = "av1")]
use super::av1;
use super::{Clip, Format, frames, gif, mp4, rate, store, y4m};
use crate::Error;
use std::io::{self, Cursor, Seek, Write};
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

/// Whether `format` holds a clip of `frames`, `height` and `width` at `rate` frames per second, its pixels
/// enlarged by `scale`, as in [`Options`]: so that it is known before the clip is made.
///
/// # Errors
///
/// If it does not: says what is too much.
pub fn check(
    format: Format,
    [frames, height, width]: [usize; 3],
    rate: f64,
    scale: Option<usize>,
) -> Result<(), Error> {
    checked_scale(format, [frames, height, width], rate, scale).map(|_| ())
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
    let mut out = Cursor::new(Vec::new());
    let written = encode_to(clip, format, options, &mut out)?;
    Ok((out.into_inner(), written))
}

/// Writes the bytes of a file that holds `clip` to `out`, which is empty; a frame of it is in memory at a
/// time.
///
/// # Errors
///
/// As [`encode`]; or what `out` says.
///
/// # Panics
///
/// As [`encode`].
pub fn encode_to<W: Write + Seek + ?Sized>(
    clip: &Clip,
    format: Format,
    options: &Options<'_>,
    out: &mut W,
) -> Result<Written, Error> {
    let encoded = encode_checked(clip, format, options, out);
    encoded.map_err(|failed| failed.told(|cause| Error::Output { cause }))
}

fn encode_checked<W: Write + Seek + ?Sized>(
    clip: &Clip,
    format: Format,
    options: &Options<'_>,
    out: &mut W,
) -> Result<Written, Failed> {
    let scale = scale_of(clip, format, options)?;
    let about = options.about;
    let with_about = match format {
        Format::Mp4 => mp4::encode(clip, scale, about, out).map(|()| true)?,
        #[cfg(feature = "av1")]
        Format::Av1 => av1::encode(clip, scale, about, out).map(|()| true)?,
        Format::Gif => gif::encode(clip, scale, about, out).map(|()| true)?,
        Format::Y4m(chroma) => y4m::encode(clip, scale, chroma, about, out)?,
        Format::Frames => panic!("a folder is no file"),
    };
    out.flush()?;
    Ok(Written { scale, with_about })
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
    write_as(path, Format::of(path)?, clip, options)
}

/// [`write()`] in a format that the ending does not tell.
///
/// # Errors
///
/// As [`write()`].
///
/// # Panics
///
/// As [`write()`].
pub fn write_as(
    path: &Path,
    format: Format,
    clip: &Clip,
    options: &Options<'_>,
) -> Result<Written, Error> {
    let written = match format {
        Format::Frames => {
            scale_of(clip, format, options).map_err(Failed::Encoding).and_then(|scale| {
                store::folder(path, clip.frames, |i| {
                    let bytes =
                        frames::encode(clip, i, scale, options.about).map_err(Failed::Encoding)?;
                    Ok::<_, Failed>((frames::name(i), bytes))
                })?;
                Ok(Written { scale, with_about: true })
            })
        }
        _ => store::file(path, |file| encode_checked(clip, format, options, file)),
    };
    written.map_err(|failed| failed.told(|cause| Error::Write { path: path.to_owned(), cause }))
}

/// Why there is no file.
pub(super) enum Failed {
    /// The clip.
    Encoding(Error),
    /// The disk.
    Writing(io::Error),
}

impl Failed {
    fn told(self, writing: impl FnOnce(String) -> Error) -> Error {
        match self {
            Self::Encoding(error) => error,
            Self::Writing(error) => writing(error.to_string()),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Encoding(error)
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Writing(error)
    }
}

/// Sides of a file's frames are at most this long.
const SIDE: usize = 1 << 16;

fn scale_of(clip: &Clip, format: Format, options: &Options<'_>) -> Result<usize, Error> {
    let Clip { frames, height, width, rate, .. } = *clip;
    assert_eq!(
        clip.rgb.len(),
        frames * height * width * 3,
        "rgb must be [frames, height, width, 3]"
    );
    checked_scale(format, [frames, height, width], rate, options.scale)
}

fn checked_scale(
    format: Format,
    [frames, height, width]: [usize; 3],
    rate: f64,
    scale: Option<usize>,
) -> Result<usize, Error> {
    if frames == 0 {
        return Err(Error::NoFrames);
    }
    if width == 0 || height == 0 {
        return Err(Error::NoPixels { width: width as u32, height: height as u32 });
    }
    let scale = scale.unwrap_or_else(|| format.scale(width, height));
    if scale == 0 || width.max(height).checked_mul(scale).is_none_or(|side| side > SIDE) {
        return Err(Error::Scale { scale, width, height, side: SIDE });
    }
    let [height, width] = [height * scale, width * scale];
    let held = match format {
        Format::Mp4 => mp4::check([frames, height, width], rate),
        #[cfg(feature = "av1")]
        Format::Av1 => av1::check([frames, height, width], rate),
        Format::Gif => gif::check([height, width], rate),
        Format::Y4m(_) | Format::Frames => {
            rate::fraction(rate).map(|_| ()).ok_or(Error::Rate { rate })
        }
    };
    held.map(|()| scale)
}
