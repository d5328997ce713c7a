//! Animated GIF: each frame with a table of its own of up to 256 colors.

use super::write::Failed;
use super::{Clip, Limits, Recording, rate};
use crate::{Error, gif};
use gif_file::{Encoder, EncodingError, Extension, Frame, Repeat};
use image::codecs::gif::GifDecoder;
use image::{AnimationDecoder, ImageDecoder, Limits as Memory};
use std::io::{Cursor, Write};

const KIND: &str = "GIF";
const DAMAGED: Error = Error::Damaged { kind: KIND };

/// Frames a second from which on players slow down, since they take 0 and 1/100 s for a mistake.
const FASTEST: f64 = 50.0;
/// Pixels that are looked at to choose colors: all of them.
const EVERY: i32 = 1;

/// Whether there are GIFs of `height` and `width`, enlarged already.
pub(super) fn check([height, width]: [usize; 2], rate: f64) -> Result<(), Error> {
    rate::fraction(rate).ok_or(Error::Rate { rate })?;
    if rate > FASTEST {
        return Err(Error::GifTooFast { rate });
    }
    match width.max(height) > usize::from(u16::MAX) {
        true => Err(Error::GifTooLarge { width, height }),
        false => Ok(()),
    }
}

/// Writes `clip`, which was [checked](check). Times are in 1/100 s: each frame begins at the one next to
/// its time, so all of them together take as long as they should.
pub(super) fn encode<W: Write + ?Sized>(
    clip: &Clip,
    scale: usize,
    about: &str,
    out: &mut W,
) -> Result<(), Failed> {
    let (frames, seconds) = rate::fraction(clip.rate).ok_or(Error::Rate { rate: clip.rate })?;
    let [columns, rows] = [clip.width, clip.height].map(|side| (side * scale) as u16);
    let mut encoder = Encoder::new(out, columns, rows, &[]).map_err(failed)?;
    encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    if !about.is_empty() {
        encoder
            .write_raw_extension(Extension::Comment.into(), &[about.as_bytes()])
            .map_err(failed)?;
    }
    let time = |i: usize| (i as u64 * 200 * u64::from(seconds) / u64::from(frames)).div_ceil(2);
    for i in 0..clip.frames {
        let mut frame = Frame::from_rgb_speed(columns, rows, &clip.enlarged(i, scale), EVERY);
        frame.delay = u16::try_from(time(i + 1) - time(i)).unwrap_or(u16::MAX);
        encoder.write_frame(&frame).map_err(failed)?;
    }
    // Writes the end, which dropping it would do without a word if that fails.
    encoder.into_inner().map_err(failed)?;
    Ok(())
}

/// The disk's word, or else a mistake of ours.
fn failed(error: EncodingError) -> Failed {
    match error {
        EncodingError::Io(error) => Failed::Writing(error),
        error => Failed::Encoding(Error::Encoder { kind: KIND, cause: error.to_string() }),
    }
}

pub(super) fn is_gif(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GIF8")
}

/// Reads all frames as they are shown, one on the other; what is transparent is black.
pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Recording, Error> {
    let mut decoder = GifDecoder::new(Cursor::new(bytes)).map_err(|_| DAMAGED)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    limits.check(width, height, 1)?;
    let mut memory = Memory::default();
    // What a frame has of its own, what is under it, and the result, of 4 bytes a pixel each.
    memory.max_alloc = Some((width * height) as u64 * 16 + (1 << 20));
    decoder.set_limits(memory).map_err(|_| DAMAGED)?;
    let mut clip = Clip { frames: 0, height, width, rate: 0.0, rgb: Vec::new() };
    let mut seconds = 0.0;
    for frame in decoder.into_frames() {
        limits.check(width, height, clip.frames + 1)?;
        let frame = frame.map_err(|_| DAMAGED)?;
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        let time = f64::from(numerator) / f64::from(denominator) / 1000.0;
        // As players do.
        seconds += if time < 1.0 / FASTEST { 0.1 } else { time };
        let shown =
            |pixel: &[u8]| if pixel[3] == 0 { [0; 3] } else { [pixel[0], pixel[1], pixel[2]] };
        let buffer = frame.into_buffer();
        if (buffer.width() as usize, buffer.height() as usize) != (width, height) {
            return Err(DAMAGED);
        }
        clip.rgb.extend(buffer.chunks_exact(4).flat_map(shown));
        clip.frames += 1;
    }
    limits.check(width, height, clip.frames)?;
    clip.rate = clip.frames as f64 / seconds;
    let about = gif::comment(bytes).and_then(|text| String::from_utf8(text).ok());
    Ok(Recording { clip, about, kind: KIND, scale: 1 })
}
