//! Files to be read before a question.

use crate::fit::DoesNotFit;
use crate::senses::{Parts, Shown};
use anyhow::Context as _;
use media::{picture, sound};
use server::senses::Sense;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The bytes of `files`.
///
/// # Errors
///
/// If a file cannot be read or is empty, or the files have more than `most` bytes together.
pub(crate) fn read_files(files: &[PathBuf], most: u64) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut left = most;
    let texts = files.iter().map(|path| {
        let text = read(path, left, most)?;
        left -= text.len() as u64;
        Ok(text)
    });
    texts.collect()
}

/// The bytes of a picture or a sound, no more than there may be, whatever the file is.
///
/// # Errors
///
/// If it cannot be read.
pub(crate) fn read_media(path: &Path, sense: Sense) -> anyhow::Result<Vec<u8>> {
    let limit = match sense {
        Sense::Sight => picture::Limits::default().bytes,
        Sense::Hearing => sound::Limits::default().bytes,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(bytes)
}

/// A picture or a sound that is to be shown to a model; what is odd about it is said.
///
/// # Errors
///
/// If it cannot be read, or the model has no such sense.
pub(crate) fn decode(
    parts: &Parts,
    path: &Path,
    sense: Sense,
    bytes: Vec<u8>,
) -> anyhow::Result<Shown> {
    let name = path.display();
    let (shown, note) =
        parts.decode(sense, bytes).with_context(|| format!("cannot read `{name}`"))?;
    if let Some(note) = note {
        eprintln!("`{name}` {note}");
    }
    Ok(shown)
}

/// The bytes of a file, `left` of `most` at most: some files have no end.
fn read(path: &Path, left: u64, most: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(left + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    if bytes.len() as u64 > left {
        return Err(DoesNotFit::Files { path: path.to_owned(), most }.into());
    }
    let path = path.display();
    anyhow::ensure!(!bytes.is_empty(), "`{path}` is empty: there is nothing to read");
    Ok(bytes)
}
