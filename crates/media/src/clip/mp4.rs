//! MP4 with one track, what is needed to play it in front (ISO/IEC 14496-12 and -15); of H.264 here, of
//! AV1 in `av1`.
//!
//! Beside the track is a list of items as players show them: a comment, the program, and how much the
//! frames are enlarged.

use super::boxes::{Kind, shorts, words, write, write_full};
use super::color::{Chroma, Planes};
use super::h264::{COLORS, LONGEST_SIDE, MOST_PIXELS, Stream};
use super::write::Failed;
use super::{Clip, rate};
use crate::Error;
use std::io::{Seek, SeekFrom, Write};

/// The name of the item that says how much frames are enlarged, and whose it is.
pub(super) const SCALE: &str = "scale";
pub(super) const OWNER: &str = "fulgurite";

/// Ticks per second are at least this many, as players like it.
const TICKS: u32 = 600;
/// Frames, so that times stay below 2^32.
const FRAMES: usize = 10_000;
/// Bytes of the file, whose places are 32 bits.
const BYTES: usize = u32::MAX as usize - (1 << 20);
/// The unit matrix in numbers of 16.16 bits, and 2.30 in its last column.
const MATRIX: [u32; 9] = [1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30];
/// 72 pixels per inch.
const DENSITY: u32 = 72 << 16;

/// Whether there are MP4s of `frames` of `height` and `width`, enlarged already.
pub(super) fn check([frames, height, width]: [usize; 3], rate: f64) -> Result<(), Error> {
    let pixels = width.checked_mul(height);
    if width.max(height) > LONGEST_SIDE || pixels.is_none_or(|pixels| pixels > MOST_PIXELS) {
        return Err(Error::Mp4TooLarge { width, height });
    }
    if width % 2 == 1 || height % 2 == 1 {
        return Err(Error::Mp4Odd { width, height });
    }
    if frames > FRAMES || pixels.is_none_or(|pixels| pixels * 2 > BYTES / frames) {
        return Err(Error::Mp4TooLong { frames });
    }
    rate::fraction(rate).map(|_| ()).ok_or(Error::Rate { rate })
}

/// Writes `clip`, which was [checked](check), with each pixel as `scale x scale`. What is needed to play
/// it is written twice, since the sizes of frames are known only then; its own does not depend on them.
pub(super) fn encode<W: Write + Seek + ?Sized>(
    clip: &Clip,
    scale: usize,
    about: &str,
    out: &mut W,
) -> Result<(), Failed> {
    let (width, height) = (clip.width * scale, clip.height * scale);
    let rate = rate::fraction(clip.rate).ok_or(Error::Rate { rate: clip.rate })?;
    let stream = Stream { width, height, rate };
    let track = track(stream);
    let mut sizes = vec![0; clip.frames];
    let movie = Movie { track: &track, sizes: &sizes, scale, about };
    let place = movie.head(0).len() as u32;
    out.seek(SeekFrom::Start(place.into()))?;
    for (i, size) in sizes.iter_mut().enumerate() {
        let rgb = clip.enlarged(i, scale);
        let unit = stream.encode(&Planes::from_rgb(&rgb, width, height, Chroma::Quarter), i);
        *size = unit.len() as u32 + 4;
        out.write_all(&(unit.len() as u32).to_be_bytes())?;
        out.write_all(&unit)?;
    }
    out.seek(SeekFrom::Start(0))?;
    out.write_all(&Movie { track: &track, sizes: &sizes, scale, about }.head(place))?;
    Ok(())
}

/// What players are told of a track.
pub(super) struct Track {
    /// In pixels.
    pub(super) width: usize,
    pub(super) height: usize,
    /// Frames per second as a fraction.
    pub(super) rate: (u32, u32),
    /// What its frames are, among the file's brands too.
    pub(super) kind: &'static Kind,
    /// The box with what a decoder needs before the first of them.
    pub(super) parameters: Vec<u8>,
    /// The frames that playing can start at, from 1; `None` for all.
    pub(super) starts: Option<Vec<u32>>,
}

/// Of H.264.
fn track(stream: Stream) -> Track {
    let (sequence, picture) = (stream.sequence_set(), Stream::picture_set());
    let mut parameters = Vec::new();
    write(&mut parameters, b"avcC", |out| {
        out.push(1);
        out.extend_from_slice(&sequence[1..4]);
        // Lengths of four bytes, one set of each kind.
        out.extend_from_slice(&[0xff, 0xe1]);
        shorts(out, &[sequence.len() as u16]);
        out.extend_from_slice(&sequence);
        out.push(1);
        shorts(out, &[picture.len() as u16]);
        out.extend_from_slice(&picture);
    });
    let Stream { width, height, rate } = stream;
    Track { width, height, rate, kind: b"avc1", parameters, starts: None }
}

pub(super) struct Movie<'a> {
    pub(super) track: &'a Track,
    /// Bytes of each frame.
    pub(super) sizes: &'a [u32],
    pub(super) scale: usize,
    pub(super) about: &'a str,
}

impl Movie<'_> {
    /// All of the file that is in front of its frames, which begin at byte `place`; as long for any place.
    pub(super) fn head(&self, place: u32) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, b"ftyp", |out| {
            out.extend_from_slice(b"isom\0\0\x02\0isomiso2");
            out.extend_from_slice(self.track.kind);
            out.extend_from_slice(b"mp41");
        });
        self.write(&mut out, place);
        words(&mut out, &[self.sizes.iter().sum::<u32>() + 8]);
        out.extend_from_slice(b"mdat");
        out
    }

    /// Ticks per second, of a frame, and of all of them.
    fn ticks(&self) -> (u32, u32, u32) {
        let (frames, seconds) = self.track.rate;
        let factor = if frames < TICKS { 100 } else { 1 };
        (frames * factor, seconds * factor, seconds * factor * self.sizes.len() as u32)
    }

    /// The box `moov`; the frames begin at byte `place` of the file.
    fn write(&self, out: &mut Vec<u8>, place: u32) {
        let (a_second, _, all) = self.ticks();
        let &Track { width, height, .. } = self.track;
        write(out, b"moov", |out| {
            write_full(out, b"mvhd", 0, |out| {
                // Created, changed, ticks per second and in all, speed, loudness, reserved.
                words(out, &[0, 0, a_second, all, 1 << 16, 1 << 24, 0, 0]);
                words(out, &MATRIX);
                words(out, &[0, 0, 0, 0, 0, 0, 2]);
            });
            write(out, b"trak", |out| {
                // Flags: enabled, in the movie.
                write_full(out, b"tkhd", 3, |out| {
                    words(out, &[0, 0, 1, 0, all, 0, 0, 0, 0]);
                    words(out, &MATRIX);
                    words(out, &[(width as u32) << 16, (height as u32) << 16]);
                });
                write(out, b"mdia", |out| {
                    write_full(out, b"mdhd", 0, |out| {
                        words(out, &[0, 0, a_second, all]);
                        // The language `und`, in three times five bits.
                        shorts(out, &[0x55c4, 0]);
                    });
                    write_full(out, b"hdlr", 0, |out| {
                        out.extend_from_slice(b"\0\0\0\0vide\0\0\0\0\0\0\0\0\0\0\0\0video\0");
                    });
                    write(out, b"minf", |out| self.write_media(out, place));
                });
            });
            write(out, b"udta", |out| self.write_items(out));
        });
    }

    fn write_media(&self, out: &mut Vec<u8>, place: u32) {
        let count = self.sizes.len() as u32;
        write_full(out, b"vmhd", 1, |out| shorts(out, &[0; 4]));
        write(out, b"dinf", |out| {
            write_full(out, b"dref", 0, |out| {
                words(out, &[1]);
                // In this file.
                write_full(out, b"url ", 1, |_| {});
            });
        });
        write(out, b"stbl", |out| {
            write_full(out, b"stsd", 0, |out| {
                words(out, &[1]);
                write(out, self.track.kind, |out| self.write_entry(out));
            });
            write_full(out, b"stts", 0, |out| words(out, &[1, count, self.ticks().1]));
            if let Some(starts) = &self.track.starts {
                write_full(out, b"stss", 0, |out| {
                    words(out, &[starts.len() as u32]);
                    words(out, starts);
                });
            }
            // All frames in one piece.
            write_full(out, b"stsc", 0, |out| words(out, &[1, 1, count, 1]));
            write_full(out, b"stsz", 0, |out| {
                words(out, &[0, count]);
                words(out, self.sizes);
            });
            write_full(out, b"stco", 0, |out| words(out, &[1, place]));
        });
    }

    /// What the frames are, and the parameters that a decoder needs before them.
    fn write_entry(&self, out: &mut Vec<u8>) {
        shorts(out, &[0, 0, 0, 1]);
        words(out, &[0, 0, 0, 0]);
        shorts(out, &[self.track.width as u16, self.track.height as u16]);
        words(out, &[DENSITY, DENSITY, 0]);
        shorts(out, &[1]);
        out.extend_from_slice(&[0; 32]);
        // Depth of 24 bits, no table of colors.
        shorts(out, &[24, u16::MAX]);
        out.extend_from_slice(&self.track.parameters);
        write(out, b"colr", |out| {
            out.extend_from_slice(b"nclx");
            shorts(out, &COLORS.map(u16::from));
            // Of the studio's range.
            out.push(0);
        });
    }

    fn write_items(&self, out: &mut Vec<u8>) {
        write_full(out, b"meta", 0, |out| {
            write_full(out, b"hdlr", 0, |out| {
                out.extend_from_slice(b"\0\0\0\0mdirappl\0\0\0\0\0\0\0\0\0");
            });
            write(out, b"ilst", |out| {
                write(out, b"\xa9too", |out| text(out, "Fulgurite"));
                if !self.about.is_empty() {
                    write(out, b"\xa9cmt", |out| text(out, self.about));
                }
                write(out, b"----", |out| {
                    write_full(out, b"mean", 0, |out| out.extend_from_slice(OWNER.as_bytes()));
                    write_full(out, b"name", 0, |out| out.extend_from_slice(SCALE.as_bytes()));
                    text(out, &self.scale.to_string());
                });
            });
        });
    }
}

/// Text as an item has it.
fn text(out: &mut Vec<u8>, text: &str) {
    // Flags: UTF-8; then a language.
    write_full(out, b"data", 1, |out| {
        words(out, &[0]);
        out.extend_from_slice(text.as_bytes());
    });
}
