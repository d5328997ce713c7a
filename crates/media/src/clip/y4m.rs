//! Y4M: a line of text, then of each frame another and its planes as they are.
//!
//! What is known of a clip stands in the lines of its frames, a piece in each, since programs read no
//! longer ones: up to 128 bytes of the first line and 80 of the others. Pieces are `Xfulgurite:` and
//! printable ASCII; all else is `%` and two digits.

use super::color::{Chroma, Planes};
use super::write::Failed;
use super::{Clip, Limits, Recording, rate};
use crate::Error;
use std::io::Write;

const KIND: &str = "Y4M";
const DAMAGED: Error = Error::Damaged { kind: KIND };
const MAGIC: &[u8] = b"YUV4MPEG2";
const FRAME: &[u8] = b"FRAME";
const OWNER: &[u8] = b"Xfulgurite:";
/// Bytes of a piece, so that its line has less than 80.
const PIECE: usize = 60;
/// Bytes of a line that is read.
const LINE: usize = 4096;

/// Writes `clip`; `false` if what is known of it is too long for the lines of its frames.
pub(super) fn encode<W: Write + ?Sized>(
    clip: &Clip,
    scale: usize,
    chroma: Chroma,
    about: &str,
    out: &mut W,
) -> Result<bool, Failed> {
    let (frames, seconds) = rate::fraction(clip.rate).ok_or(Error::Rate { rate: clip.rate })?;
    let (width, height) = (clip.width * scale, clip.height * scale);
    let space = match chroma {
        Chroma::Full => "444",
        Chroma::Quarter => "420jpeg",
    };
    let header = format!(
        "YUV4MPEG2 W{width} H{height} F{frames}:{seconds} Ip A1:1 C{space} XCOLORRANGE=LIMITED\n"
    );
    let escaped = escape(about);
    let fits = escaped.len() <= PIECE * clip.frames;
    let mut pieces = escaped.chunks(PIECE).take(if fits { usize::MAX } else { 0 });
    out.write_all(header.as_bytes())?;
    for i in 0..clip.frames {
        out.write_all(FRAME)?;
        if let Some(piece) = pieces.next() {
            out.write_all(b" ")?;
            out.write_all(OWNER)?;
            out.write_all(piece)?;
        }
        out.write_all(b"\n")?;
        let planes = Planes::from_rgb(&clip.enlarged(i, scale), width, height, chroma);
        for plane in [planes.y, planes.cb, planes.cr] {
            out.write_all(&plane)?;
        }
    }
    Ok(fits)
}

fn escape(text: &str) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=b' ' | 0x7f.. => {
                escaped.extend_from_slice(format!("%{byte:02x}").as_bytes());
            }
            _ => escaped.push(byte),
        }
    }
    escaped
}

fn unescape(bytes: &[u8]) -> Option<String> {
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        let mut digit = || char::from(*rest.next()?).to_digit(16);
        text.push(if byte == b'%' { (digit()? << 4 | digit()?) as u8 } else { byte });
    }
    String::from_utf8(text).ok()
}

pub(super) fn is_y4m(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// What the first line says.
struct Header {
    width: usize,
    height: usize,
    rate: f64,
    /// `None` without colors.
    chroma: Option<Chroma>,
    full: bool,
}

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Recording, Error> {
    let mut rest = bytes;
    let header = Header::read(line(&mut rest).ok_or(DAMAGED)?)?;
    let Header { width, height, rate, chroma, full } = header;
    limits.check(width, height, 1)?;
    let mut clip = Clip { frames: 0, height, width, rate, rgb: Vec::new() };
    let mut about = Vec::new();
    while !rest.is_empty() {
        limits.check(width, height, clip.frames + 1)?;
        let mut words = line(&mut rest).ok_or(DAMAGED)?.split(|&byte| byte == b' ');
        if words.next() != Some(FRAME) {
            return Err(DAMAGED);
        }
        words.filter_map(|word| word.strip_prefix(OWNER)).for_each(|piece| about.extend(piece));
        let mut plane = |(width, height): (usize, usize)| {
            let (plane, after) = rest.split_at_checked(width * height)?;
            rest = after;
            Some(plane.to_vec())
        };
        let y = plane((width, height)).ok_or(DAMAGED)?;
        let planes = match chroma {
            Some(chroma) => {
                let size = chroma.size(width, height);
                let (cb, cr) = (plane(size).ok_or(DAMAGED)?, plane(size).ok_or(DAMAGED)?);
                Planes { width, height, chroma, y, cb, cr }
            }
            None => {
                let gray = vec![128; width.div_ceil(2) * height.div_ceil(2)];
                Planes { width, height, chroma: Chroma::Quarter, y, cb: gray.clone(), cr: gray }
            }
        };
        clip.rgb.extend_from_slice(&planes.to_rgb(full));
        clip.frames += 1;
    }
    limits.check(width, height, clip.frames)?;
    let about = unescape(&about).filter(|about| !about.is_empty());
    Ok(Recording { clip, about, kind: KIND, scale: 1 })
}

impl Header {
    fn read(line: &[u8]) -> Result<Self, Error> {
        let line = std::str::from_utf8(line).map_err(|_| DAMAGED)?;
        let (mut width, mut height, mut rate) = (None, None, None);
        let (mut space, mut full) = ("420", false);
        for word in line.split(' ').skip(1).filter(|word| !word.is_empty()) {
            let (key, value) = word.split_at_checked(1).ok_or(DAMAGED)?;
            match key {
                "W" => width = value.parse().ok(),
                "H" => height = value.parse().ok(),
                "F" => rate = value.split_once(':'),
                "C" => space = value,
                "X" => full |= value == "COLORRANGE=FULL",
                _ => {}
            }
        }
        let rate = rate.and_then(|(frames, seconds)| {
            let rate = frames.parse::<u32>().ok()? as f64 / f64::from(seconds.parse::<u32>().ok()?);
            (rate.is_finite() && rate > 0.0).then_some(rate)
        });
        let chroma = match space {
            "420" | "420jpeg" | "420mpeg2" | "420paldv" => Some(Chroma::Quarter),
            "444" => Some(Chroma::Full),
            "mono" => None,
            other => return Err(Error::ForeignY4m { found: other.chars().take(20).collect() }),
        };
        let (width, height) = (width.ok_or(DAMAGED)?, height.ok_or(DAMAGED)?);
        Ok(Self { width, height, rate: rate.ok_or(DAMAGED)?, chroma, full })
    }
}

/// Takes a line.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().take(LINE).position(|&byte| byte == b'\n')?;
    let line = &rest[..end];
    *rest = &rest[end + 1..];
    Some(line)
}
