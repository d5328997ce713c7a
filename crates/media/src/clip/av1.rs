//! MP4 of AV1 (AV1 Bitstream & Decoding Process Specification; AV1 Codec ISO Media File Format Binding),
//! made by the library `rav1e`: a few hundredths of the bytes that I-PCM takes.
//!
//! Frames are in the order in which they are shown. A frame of the file is what the library gives for
//! one, without the mark that begins it, which files leave out.

use super::boxes::write;
use super::color::{Chroma, Planes};
use super::mp4::{self, Movie, Track};
use super::write::Failed;
use super::{Clip, rate};
use crate::Error;
use rav1e::prelude::{
    ChromaSampling, ColorDescription, ColorPrimaries, Config, Context, EncoderConfig,
    EncoderStatus, FrameType, MatrixCoefficients, PixelRange, Rational, TransferCharacteristics,
};
use std::io::{Seek, Write};

/// How roughly numbers are rounded, of 255: at 60 nano's clips look like what they were made of.
const QUANTIZER: usize = 60;
/// Between the smallest file, 0, and the fastest, 10.
const SPEED: u8 = 6;
/// Frames that one can start at are at most so far apart.
const START_EVERY: u64 = 60;
/// Pixels of a side from which on the library makes AV1.
const SHORTEST_SIDE: usize = 16;
/// The unit that begins all that is shown at one time, and is empty.
const DELIMITER: [u8; 2] = [0x12, 0];

/// Whether there are MP4s of AV1 of `frames` of `height` and `width`, enlarged already.
pub(super) fn check(size: [usize; 3], rate: f64) -> Result<(), Error> {
    let [_, height, width] = size;
    if width.min(height) < SHORTEST_SIDE {
        return Err(Error::Av1TooSmall { width, height });
    }
    mp4::check(size, rate)
}

/// Writes `clip`, which was [checked](check), with each pixel as `scale x scale`.
pub(super) fn encode<W: Write + Seek + ?Sized>(
    clip: &Clip,
    scale: usize,
    about: &str,
    out: &mut W,
) -> Result<(), Failed> {
    let (width, height) = (clip.width * scale, clip.height * scale);
    let rate = rate::fraction(clip.rate).ok_or(Error::Rate { rate: clip.rate })?;
    let failed = |cause: String| Error::Av1 { cause };
    let config = Config::new().with_encoder_config(config(width, height, rate));
    let mut context: Context<u8> =
        config.new_context().map_err(|error| failed(error.to_string()))?;
    for i in 0..clip.frames {
        let planes = Planes::from_rgb(&clip.enlarged(i, scale), width, height, Chroma::Quarter);
        let mut frame = context.new_frame();
        let columns = [width, width / 2, width / 2];
        for ((to, from), columns) in
            frame.planes.iter_mut().zip([&planes.y, &planes.cb, &planes.cr]).zip(columns)
        {
            to.copy_from_raw_u8(from, columns, 1);
        }
        context.send_frame(frame).map_err(|status| failed(status.to_string()))?;
    }
    context.flush();
    let (mut frames, mut starts) = (Vec::with_capacity(clip.frames), Vec::new());
    loop {
        match context.receive_packet() {
            Ok(packet) => {
                let data = packet.data.strip_prefix(&DELIMITER[..]).unwrap_or(&packet.data);
                frames.push(data.to_vec());
                if packet.frame_type == FrameType::KEY {
                    starts.push(frames.len() as u32);
                }
            }
            // One is done that is not shown yet.
            Err(EncoderStatus::Encoded) => {}
            Err(EncoderStatus::LimitReached) => break,
            Err(status) => return Err(failed(status.to_string()).into()),
        }
    }
    let mut parameters = Vec::new();
    write(&mut parameters, b"av1C", |out| {
        out.extend_from_slice(&context.container_sequence_header());
    });
    let track = Track { width, height, rate, kind: b"av01", parameters, starts: Some(starts) };
    let sizes: Vec<u32> = frames.iter().map(|frame| frame.len() as u32).collect();
    let movie = Movie { track: &track, sizes: &sizes, scale, about };
    let place = movie.head(0).len() as u32;
    out.write_all(&movie.head(place))?;
    frames.iter().try_for_each(|frame| out.write_all(frame))?;
    Ok(())
}

fn config(width: usize, height: usize, (frames, seconds): (u32, u32)) -> EncoderConfig {
    EncoderConfig {
        width,
        height,
        time_base: Rational::new(seconds.into(), frames.into()),
        chroma_sampling: ChromaSampling::Cs420,
        pixel_range: PixelRange::Limited,
        // As for H.264.
        color_description: Some(ColorDescription {
            color_primaries: ColorPrimaries::BT709,
            transfer_characteristics: TransferCharacteristics::SRGB,
            matrix_coefficients: MatrixCoefficients::BT601,
        }),
        max_key_frame_interval: START_EVERY,
        quantizer: QUANTIZER,
        ..EncoderConfig::with_speed_preset(SPEED)
    }
}

#[cfg(test)]
mod tests {
    use super::super::boxes::{find, word};
    use super::super::{Format, Options, encode};
    use super::*;

    /// A square that moves over stripes.
    fn clip(frames: usize, side: usize) -> Clip {
        let pixel = |i: usize| {
            let (frame, y, x) = (i / (side * side), i / side % side, i % side);
            let inside = (frame * 2..frame * 2 + 8).contains(&x) && (4..12).contains(&y);
            if inside { [230, 30, 30] } else { [20, 60 + (y % 4) as u8 * 40, 90] }
        };
        let rgb = (0..frames * side * side).flat_map(pixel).collect();
        Clip { frames, height: side, width: side, rate: 6.0, rgb }
    }

    /// Units of a frame: their kinds (AV1, 6.2.2), `None` if their lengths do not fit.
    fn units(mut data: &[u8]) -> Option<Vec<u8>> {
        let mut kinds = Vec::new();
        while let [header, rest @ ..] = data {
            let rest = &rest[usize::from(header >> 2 & 1)..];
            let (mut length, mut bytes) = (0, 0);
            loop {
                let byte = *rest.get(bytes)?;
                length |= usize::from(byte & 0x7f) << (7 * bytes);
                bytes += 1;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            kinds.push(header >> 3 & 15);
            data = rest.get(bytes + length..)?;
        }
        Some(kinds)
    }

    #[test]
    fn frames_are_whole_and_where_the_tables_say() {
        let clip = clip(9, 64);
        let options = Options { about: "{\"seed\":7}", scale: None };
        let (bytes, written) = encode(&clip, Format::Av1, &options).unwrap();
        let (other, _) = encode(&clip, Format::Mp4, &options).unwrap();
        assert!(written.scale == 4 && written.with_about);
        assert!(bytes.len() < other.len() / 20, "{} and {} bytes", bytes.len(), other.len());
        let table = find(&bytes, &[b"moov", b"trak", b"mdia", b"minf", b"stbl"])
            .expect("a table of frames");
        let entry = &find(table, &[b"stsd"]).unwrap()[8..];
        assert_eq!(&entry[4..8], b"av01");
        let config = find(&entry[8 + 78..], &[b"av1C"]).unwrap();
        // Marker and version, then profile 0.
        assert_eq!((config.len(), config[0], config[1] >> 5), (4, 0x81, 0));
        let (sizes, place) = (find(table, &[b"stsz"]).unwrap(), find(table, &[b"stco"]).unwrap());
        assert_eq!(word(sizes, 8), Some(9));
        let mut at = word(place, 8).unwrap() as usize;
        for i in 0..9 {
            let size = word(sizes, 12 + 4 * i).unwrap() as usize;
            let kinds = units(&bytes[at..at + size]).expect("whole units");
            // Headers and frames, and none that begins another time.
            assert!(!kinds.contains(&2), "frame {i}: {kinds:?}");
            assert_eq!(kinds[0] == 1, i == 0, "frame {i}: {kinds:?}");
            at += size;
        }
        assert_eq!(at, bytes.len());
        let starts = find(table, &[b"stss"]).unwrap();
        assert_eq!((word(starts, 4), word(starts, 8)), (Some(1), Some(1)));
    }

    #[test]
    fn the_same_clip_gives_the_same_bytes() {
        let clip = clip(5, 32);
        let bytes = || encode(&clip, Format::Av1, &Options::default()).unwrap().0;
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn what_cannot_be_is_said() {
        let scaled = |scale| Options { scale: Some(scale), ..Options::default() };
        let error = encode(&clip(1, 12), Format::Av1, &scaled(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "AV1 of 12 x 12 pixels is too small, expected sides of 16 pixels or more: enlarge the frames"
        );
        let error = encode(&clip(1, 17), Format::Av1, &scaled(1)).unwrap_err();
        assert!(matches!(error, Error::Mp4Odd { .. }), "{error}");
    }
}
