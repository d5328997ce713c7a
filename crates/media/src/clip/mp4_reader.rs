//! Reads MP4 files of I-PCM back, ours exactly: also after another program has put their boxes in
//! another order.

use super::boxes::{find, read, word};
use super::h264::{Fault, Stream};
use super::mp4::{OWNER, SCALE};
use super::{Clip, Limits, Recording};
use crate::Error;

const KIND: &str = "MP4";
const DAMAGED: Error = Error::Damaged { kind: KIND };

/// Whether the first box says that it is an MP4.
pub(super) fn is_mp4(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(b"ftyp")
}

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Recording, Error> {
    let movie = find(bytes, &[b"moov"]).ok_or(DAMAGED)?;
    let is_video = |media: &&[u8]| {
        find(media, &[b"hdlr"]).is_some_and(|handler| handler.get(8..12) == Some(b"vide"))
    };
    let tracks = read(movie).filter(|(kind, _)| kind == b"trak");
    let media = tracks.filter_map(|(_, track)| find(track, &[b"mdia"])).find(is_video);
    let media = media.ok_or(Error::NoFrames)?;
    let table = find(media, &[b"minf", b"stbl"]).ok_or(DAMAGED)?;
    let stream = stream(table)?;
    let samples = Samples::new(table).ok_or(DAMAGED)?;
    let scale = items(movie).and_then(scale).unwrap_or(1);
    let rate = frame_rate(media, table, samples.count).ok_or(DAMAGED)?;
    let (width, height) = (stream.width / scale, stream.height / scale);
    if width * scale != stream.width || height * scale != stream.height {
        return Err(DAMAGED);
    }
    limits.check(width, height, samples.count)?;
    let mut clip = Clip { frames: 0, height, width, rate, rgb: Vec::new() };
    for place in samples.places(bytes.len()).ok_or(DAMAGED)? {
        let sample = bytes.get(place).ok_or(DAMAGED)?;
        let planes = stream.decode(only_unit(sample).ok_or(DAMAGED)?).map_err(error)?;
        let rgb = planes.to_rgb(false);
        let rows = rgb.chunks_exact(stream.width * 3).step_by(scale);
        for pixel in rows.flat_map(|row| row.chunks_exact(3).step_by(scale)) {
            clip.rgb.extend_from_slice(pixel);
        }
        clip.frames += 1;
    }
    let about = items(movie).and_then(|items| find(items, &[b"\xa9cmt"])).and_then(text);
    Ok(Recording { clip, about, kind: KIND, scale })
}

/// The parameters of the track.
fn stream(table: &[u8]) -> Result<Stream, Error> {
    // After version, flags and a number.
    let entries = find(table, &[b"stsd"]).and_then(|entries| entries.get(8..)).ok_or(DAMAGED)?;
    let (kind, entry) = read(entries).next().ok_or(DAMAGED)?;
    if &kind != b"avc1" && &kind != b"avc3" {
        return Err(Error::ForeignMp4);
    }
    // Boxes come after 78 bytes of sizes.
    let parameters = entry.get(78..).and_then(|boxes| find(boxes, &[b"avcC"])).ok_or(DAMAGED)?;
    // Six bytes of what is in the set too, and one length of two bytes.
    let length = parameters.get(6..8).and_then(|length| length.first_chunk()).ok_or(DAMAGED)?;
    let length = usize::from(u16::from_be_bytes(*length));
    let set = parameters.get(8..8 + length).ok_or(DAMAGED)?;
    Stream::from_sequence_set(set).map_err(error)
}

fn error(fault: Fault) -> Error {
    match fault {
        Fault::Damaged => DAMAGED,
        Fault::Foreign => Error::ForeignMp4,
    }
}

/// The picture of a sample: the last of its units, before which others may stand.
fn only_unit(sample: &[u8]) -> Option<&[u8]> {
    let mut rest = sample;
    loop {
        let length = word(rest, 0)? as usize;
        let end = length.checked_add(4)?;
        let unit = rest.get(4..end)?;
        rest = &rest[end..];
        if rest.is_empty() {
            return Some(unit);
        }
    }
}

/// The frames per second: of the mean time of a frame.
fn frame_rate(media: &[u8], table: &[u8], count: usize) -> Option<f64> {
    let header = find(media, &[b"mdhd"])?;
    // In its second version times have eight bytes.
    let a_second = word(header, if header.first() == Some(&1) { 20 } else { 12 })?;
    let times = find(table, &[b"stts"])?;
    let entries = times.get(8..)?.chunks_exact(8).take(word(times, 4)? as usize);
    let mut all = 0_u64;
    for entry in entries {
        all += u64::from(word(entry, 0)?) * u64::from(word(entry, 4)?);
    }
    let rate = count as f64 * f64::from(a_second) / all as f64;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

/// Where frames are.
struct Samples<'a> {
    count: usize,
    /// Bytes of each, `[count]` words.
    sizes: &'a [u8],
    /// Frames of pieces: from which piece on (from 1), how many; three words each.
    pieces: &'a [u8],
    /// Where pieces begin, and how many bytes such a number has.
    places: &'a [u8],
    width: usize,
}

impl<'a> Samples<'a> {
    fn new(table: &'a [u8]) -> Option<Self> {
        let sizes = find(table, &[b"stsz"])?;
        let count = word(sizes, 8)? as usize;
        // Not all of the same size: that would be no frame of ours.
        let sizes = sizes.get(12..)?.get(..count.checked_mul(4)?)?;
        let pieces = find(table, &[b"stsc"])?.get(8..)?;
        let (places, width) = match find(table, &[b"stco"]) {
            Some(places) => (places, 4),
            None => (find(table, &[b"co64"])?, 8),
        };
        Some(Self { count, sizes, pieces, places: places.get(8..)?, width })
    }

    /// Where all frames are in a file of `bytes` bytes; `None` if the tables do not say it of each, or if
    /// frames share bytes, of which there could be any number.
    fn places(&self, bytes: usize) -> Option<Vec<std::ops::Range<usize>>> {
        let mut sizes = self.sizes.chunks_exact(4);
        let mut rows = self.pieces.chunks_exact(12).peekable();
        let mut in_piece = 0;
        let mut found = Vec::with_capacity(self.count);
        let mut taken = 0_usize;
        for (i, place) in self.places.chunks_exact(self.width).enumerate() {
            if let Some(row) = rows.next_if(|row| word(row, 0) == u32::try_from(i + 1).ok()) {
                in_piece = word(row, 4)?;
            }
            let place = place.iter().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
            let mut at = usize::try_from(place).ok()?;
            for size in sizes.by_ref().take(in_piece as usize) {
                let end = at.checked_add(word(size, 0)? as usize)?;
                taken = taken.checked_add(end - at).filter(|&taken| taken <= bytes)?;
                found.push(at..end);
                at = end;
            }
        }
        (found.len() == self.count).then_some(found)
    }
}

/// The list of items beside the tracks.
fn items(movie: &[u8]) -> Option<&[u8]> {
    let meta = find(movie, &[b"udta", b"meta"])?;
    find(meta.get(4..)?, &[b"ilst"])
}

/// How much frames are enlarged, if an item says so.
fn scale(items: &[u8]) -> Option<usize> {
    let own = |item: &&[u8]| {
        let is = |kind, want: &str| {
            find(item, &[kind]).and_then(|found| found.get(4..)) == Some(want.as_bytes())
        };
        is(b"mean", OWNER) && is(b"name", SCALE)
    };
    let mut items = read(items).filter(|(kind, _)| kind == b"----").map(|(_, item)| item);
    text(items.find(own)?)?.parse().ok().filter(|&scale| scale > 0)
}

/// The text of an item.
fn text(item: &[u8]) -> Option<String> {
    // After version, flags and language.
    let text = find(item, &[b"data"])?.get(8..)?;
    Some(std::str::from_utf8(text).ok()?.to_owned())
}
