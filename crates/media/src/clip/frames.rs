//! A folder of PNG files: what is known of the clip, and its rate, stand in texts of each.

use super::{Clip, Limits, Recording, rate};
use crate::{Error, picture};
use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

const KIND: &str = "folder of PNG files";
/// Names of the texts (PNG specification, 11.3.3.2).
const COMMENT: &str = "Comment";
const RATE: &str = "Frame rate";
/// Frames per second of files that do not say it.
const DEFAULT_RATE: f64 = 6.0;

/// The name of frame `i`.
pub(super) fn name(i: usize) -> String {
    format!("frame-{i:03}.png")
}

/// Whether a file is called like one of ours.
pub(super) fn is_name(name: &str) -> bool {
    let number = name.strip_prefix("frame-").and_then(|name| name.strip_suffix(".png"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Frame `i` of `clip` as a PNG.
pub(super) fn encode(clip: &Clip, i: usize, scale: usize, about: &str) -> Result<Vec<u8>, Error> {
    let (frames, seconds) = rate::fraction(clip.rate).ok_or(Error::Rate { rate: clip.rate })?;
    let (width, height) = (clip.width * scale, clip.height * scale);
    let rate = if seconds == 1 { frames.to_string() } else { format!("{frames}/{seconds}") };
    let texts = [(RATE, rate.as_str()), (COMMENT, about)];
    let texts = if about.is_empty() { &texts[..1] } else { &texts[..] };
    picture::to_png_with(&clip.enlarged(i, scale), width, height, texts)
}

/// Reads the PNG files of a folder in the order of the numbers in their names.
pub(super) fn read(folder: &Path, limits: &Limits) -> Result<Recording, Error> {
    let cannot = |path: &Path, error: io::Error| Error::Read {
        path: path.to_owned(),
        cause: error.to_string(),
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| cannot(folder, error))? {
        let name = entry.map_err(|error| cannot(folder, error))?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.to_ascii_lowercase().ends_with(".png") && !name.starts_with('.') {
            names.push(name.to_owned());
        }
        if names.len() > limits.frames {
            return Err(Error::TooManyFrames { limit: limits.frames });
        }
    }
    names.sort_by(|a, b| by_number(a, b));
    let mut clip = Clip { frames: 0, height: 0, width: 0, rate: DEFAULT_RATE, rgb: Vec::new() };
    let (mut about, mut left) = (None, limits.bytes);
    for name in names {
        let path = folder.join(name);
        let named = |cause: Error| Error::Frame { path: path.clone(), cause: Box::new(cause) };
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(|error| cannot(&path, error))?;
        let most = left as u64 + 1;
        file.take(most).read_to_end(&mut bytes).map_err(|error| cannot(&path, error))?;
        let Some(rest) = left.checked_sub(bytes.len()) else {
            return Err(Error::FolderTooLarge { limit: limits.bytes });
        };
        left = rest;
        let side = limits.side as u32;
        let of_one = picture::Limits { bytes: limits.bytes, pixels: limits.pixels as u64, side };
        let picture = picture::decode(&bytes, &of_one).map_err(named)?;
        if picture.kind != "PNG" {
            return Err(named(Error::Damaged { kind: "PNG" }));
        }
        if clip.frames == 0 {
            (clip.width, clip.height) = (picture.width, picture.height);
            about = text(&bytes, COMMENT);
            clip.rate =
                text(&bytes, RATE).and_then(|rate| read_rate(&rate)).unwrap_or(DEFAULT_RATE);
        }
        let (width, height) = (picture.width, picture.height);
        if (clip.width, clip.height) != (width, height) {
            let expected = (clip.width, clip.height);
            return Err(named(Error::FrameSize { width, height, expected }));
        }
        limits.check(width, height, clip.frames + 1)?;
        clip.rgb.extend_from_slice(&picture.rgb);
        clip.frames += 1;
    }
    match clip.frames {
        0 => Err(Error::NoPngs { path: folder.to_owned() }),
        _ => Ok(Recording { clip, about, kind: KIND, scale: 1 }),
    }
}

fn read_rate(text: &str) -> Option<f64> {
    let (frames, seconds) = text.split_once('/').unwrap_or((text, "1"));
    let rate = frames.parse::<u32>().ok()? as f64 / f64::from(seconds.parse::<u32>().ok()?);
    rate::RATES.contains(&rate).then_some(rate)
}

/// By the last number in a name, then by the name.
fn by_number(a: &str, b: &str) -> Ordering {
    let number = |name: &str| {
        let end = name.rfind(|c: char| c.is_ascii_digit())? + 1;
        let start = name[..end]
            .rfind(|c: char| !c.is_ascii_digit())
            .map_or(0, |i| i + name[i..].chars().next().map_or(1, char::len_utf8));
        name[start..end].parse::<u64>().ok()
    };
    number(a).cmp(&number(b)).then_with(|| a.cmp(b))
}

/// The text of a PNG with this name: that of an `iTXt` without compression.
fn text(bytes: &[u8], name: &str) -> Option<String> {
    let mut rest = bytes.get(8..)?;
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let data = rest.get(8..length.checked_add(8)?)?;
        if rest.get(4..8)? == b"iTXt"
            && let Some(after) = data.strip_prefix(name.as_bytes())
            // The end of the name, no compression, and neither language nor translated name.
            && let Some(text) = after.strip_prefix(&[0; 5])
        {
            return String::from_utf8(text.to_vec()).ok();
        }
        rest = rest.get(length + 12..)?;
    }
}
