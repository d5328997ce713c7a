//! Files to clips.

use super::{Clip, Limits, frames, gif, mp4_reader, y4m};
use crate::{Error, check_bytes, guarded};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

/// A clip that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// Its frames, as large as they were before they were enlarged.
    pub clip: Clip,
    /// What the file says of it: our own say prompt, seed, model and settings, as JSON.
    pub about: Option<String>,
    /// `MP4`, `GIF`, `Y4M` or `folder of PNG files`.
    pub kind: &'static str,
    /// How many pixels along a side of the file stand for one.
    pub scale: usize,
}

/// Reads a file of any kind that is written here, or a folder of PNG files. The kind is told by the
/// contents, whatever the name; all of a GIF's frames are as shown, with their mean rate.
///
/// # Errors
///
/// If it cannot be read, is of another kind, damaged, or larger than `limits` allow.
pub fn read(path: &Path, limits: &Limits) -> Result<Recording, Error> {
    let cannot = |error: io::Error| Error::Read { path: path.to_owned(), cause: error.to_string() };
    let facts = fs::metadata(path).map_err(cannot)?;
    if facts.is_dir() {
        return frames::read(path, limits);
    }
    check_bytes(usize::try_from(facts.len()).unwrap_or(usize::MAX), limits.bytes)?;
    let mut bytes = Vec::with_capacity(facts.len() as usize);
    // One more than there may be, if it grows meanwhile.
    let file = File::open(path).map_err(cannot)?;
    file.take(limits.bytes as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    decode(&bytes, limits)
}

/// [`read`] of the bytes of a file.
///
/// # Errors
///
/// If it is of another kind, damaged, or larger than `limits` allow.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Recording, Error> {
    check_bytes(bytes.len(), limits.bytes)?;
    match bytes {
        bytes if mp4_reader::is_mp4(bytes) => mp4_reader::decode(bytes, limits),
        bytes if gif::is_gif(bytes) => guarded("GIF", || gif::decode(bytes, limits)),
        bytes if y4m::is_y4m(bytes) => y4m::decode(bytes, limits),
        _ => Err(Error::NoClip),
    }
}
