//! Safetensors files that tell whether they are whole: their last tensors are checksums of all that
//! is before them, piece by piece, so that all processors look at once.
//!
//! ```text
//! 8 bytes   length of the header
//! header    JSON, as in every file of the format; padded with spaces so that tensors start at a
//!           multiple of 64
//! tensors   in the order of the header
//! sums      U8 [pieces, 16]: XXH3, 128 bits, big endian, of each MiB before; the last may be shorter
//! seal      U8 [16]: the same of `sums`
//! ```
//!
//! Any program that reads safetensors reads these. The checksum finds what disks, copies and crashes
//! do; it is no protection from somebody who writes a file on purpose, so what is read is doubted as
//! in every other file.

use crate::atomic::atomic_write;
use crate::checksums::{SUM_BYTES, sum, sums};
use crate::{Checkpoint, Error};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use twox_hash::XxHash3_128;

/// Name of the checksums of pieces.
const SUMS: &str = "sums";
/// Name of their checksum.
const SEAL: &str = "seal";
/// Bytes of a piece.
const PIECE: usize = 1 << 20;
/// Where tensors start.
const ALIGNMENT: usize = 64;

/// A tensor to be written.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    name: String,
    dtype: Cow<'static, str>,
    shape: Vec<usize>,
    /// Little endian, one after the other.
    bytes: Vec<Cow<'a, [u8]>>,
}

impl<'a> Part<'a> {
    /// Bytes, `[pieces, bytes of each]`.
    ///
    /// # Panics
    ///
    /// If pieces are not equally long.
    pub fn bytes(name: impl Into<String>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let bytes: Vec<Cow<'a, [u8]>> = pieces.into_iter().map(Cow::Borrowed).collect();
        let len = bytes.first().map_or(0, |piece| piece.len());
        assert!(bytes.iter().all(|piece| piece.len() == len), "pieces of several lengths");
        Self { name: name.into(), dtype: "U8".into(), shape: vec![bytes.len(), len], bytes }
    }

    /// Floats.
    ///
    /// # Panics
    ///
    /// If they are not as many as `shape` says.
    pub fn f32(name: impl Into<String>, shape: &[usize], data: &'a [f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "floats of shape {shape:?}");
        let bytes = little(data, bytemuck::cast_slice(data), |x| x.to_le_bytes());
        Self { name: name.into(), dtype: "F32".into(), shape: shape.to_owned(), bytes: vec![bytes] }
    }

    /// Token ids, `[tokens]`.
    pub fn ids(name: impl Into<String>, data: &'a [u32]) -> Self {
        let bytes = little(data, bytemuck::cast_slice(data), |x| x.to_le_bytes());
        Self { name: name.into(), dtype: "U32".into(), shape: vec![data.len()], bytes: vec![bytes] }
    }

    fn len(&self) -> usize {
        self.bytes.iter().map(|piece| piece.len()).sum()
    }
}

/// `bytes`, or elements turned around where the machine has them otherwise.
fn little<'a, T: Copy>(
    data: &'a [T],
    bytes: &'a [u8],
    to_bytes: impl Fn(T) -> [u8; 4],
) -> Cow<'a, [u8]> {
    match cfg!(target_endian = "little") {
        true => Cow::Borrowed(bytes),
        false => data.iter().flat_map(|&x| to_bytes(x)).collect::<Vec<u8>>().into(),
    }
}

/// Writes `parts` and `notes` to `path`: all of it, on the disk, or nothing at all.
///
/// # Errors
///
/// What the system says.
pub fn save(
    path: &Path,
    parts: &[Part<'_>],
    notes: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let header = header(parts, notes);
    let written = atomic_write(path, |temp| {
        let mut file = Summing {
            file: BufWriter::new(File::create(temp)?),
            hash: XxHash3_128::new(),
            hashed: 0,
            sums: Vec::new(),
        };
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for piece in parts.iter().flat_map(|part| &part.bytes) {
            file.write_all(piece)?;
        }
        file.finish()
    });
    written.map_err(|source| Error::Io { action: "write", path: path.to_owned(), source })
}

/// Opens such a file.
///
/// # Errors
///
/// If it is missing, damaged, or not sealed.
pub fn open(path: &Path) -> Result<Checkpoint, Error> {
    let file = Checkpoint::open(path)?;
    check(&file)?;
    Ok(file)
}

/// Reads all of a file that is open already, and finds out whether it is as it was written.
///
/// # Errors
///
/// If it is damaged, or not sealed.
pub fn check(file: &Checkpoint) -> Result<(), Error> {
    let wrong = |reason: &str| {
        let (path, reason) = (file.path().to_owned(), reason.to_owned());
        Error::Format { path, reason }
    };
    if file.metadata().is_some() {
        return Err(wrong("it is a GGUF file"));
    }
    if !file.contains(SEAL) {
        return Err(wrong("it has no tensor `seal`, a checksum, at its end"));
    }
    if !file.contains(SUMS) {
        return Err(wrong(
            "it has a tensor `seal` and no tensor `sums`: an earlier version wrote it",
        ));
    }
    if !is_whole(file) {
        return Err(wrong("its checksums do not match: the file is damaged"));
    }
    Ok(())
}

/// Whether all bytes are those that were written.
fn is_whole(file: &Checkpoint) -> bool {
    // The format has no gaps and no order: a header may say of any bytes that they are these tensors.
    let of = |name: &str, shape: &[usize]| file.raw(name, "U8", shape).ok();
    let Some((before, seal)) = file.whole().split_last_chunk::<SUM_BYTES>() else { return false };
    let Some(&[pieces, SUM_BYTES]) = file.shape(SUMS) else { return false };
    let Some(start) = before.len().checked_sub(pieces * SUM_BYTES) else { return false };
    let (before, found) = before.split_at(start);
    if of(SEAL, &[SUM_BYTES]) != Some(&seal[..]) || of(SUMS, &[pieces, SUM_BYTES]) != Some(found) {
        return false;
    }
    let right = before.len().div_ceil(PIECE) == pieces && sum(found) == *seal;
    // What is not right so far need not be read.
    right && sums(&before.chunks(PIECE).collect::<Vec<_>>()).as_flattened() == found
}

/// Writes what `file`, which was [checked](check), holds to `to`, with other notes.
///
/// # Errors
///
/// What the system says.
pub fn rewrite(
    file: &Checkpoint,
    to: &Path,
    notes: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let parts: Vec<Part<'_>> = file
        .raw_parts()
        .filter(|(name, ..)| ![SUMS, SEAL].contains(name))
        .map(|(name, dtype, shape, bytes)| Part {
            name: name.to_owned(),
            dtype: dtype.into(),
            shape: shape.to_owned(),
            bytes: vec![Cow::Borrowed(bytes)],
        })
        .collect();
    save(to, &parts, notes)
}

/// The header, with the checksums as its last tensors.
fn header(parts: &[Part<'_>], notes: &BTreeMap<String, String>) -> String {
    let tensors: usize = parts.iter().map(Part::len).sum();
    // The number of pieces depends on the length of the header, in which it is written.
    let mut pieces = 0;
    loop {
        let header = header_with(parts, notes, pieces);
        let needed = (8 + header.len() + tensors).div_ceil(PIECE);
        if needed == pieces {
            return header;
        }
        pieces = needed;
    }
}

fn header_with(parts: &[Part<'_>], notes: &BTreeMap<String, String>, pieces: usize) -> String {
    let mut tensors = Map::new();
    if !notes.is_empty() {
        tensors.insert("__metadata__".to_owned(), json!(notes));
    }
    let mut end = 0;
    let mut add = |name: &str, dtype: &str, shape: &[usize], len: usize| {
        let offsets = [end, end + len];
        end += len;
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        let other = tensors.insert(name.to_owned(), entry);
        assert!(other.is_none(), "two tensors `{name}`");
    };
    for part in parts {
        add(&part.name, &part.dtype, &part.shape, part.len());
    }
    add(SUMS, "U8", &[pieces, SUM_BYTES], pieces * SUM_BYTES);
    add(SEAL, "U8", &[SUM_BYTES], SUM_BYTES);
    let mut text = Value::Object(tensors).to_string();
    let padded = (text.len() + 8).next_multiple_of(ALIGNMENT) - 8;
    text.extend(std::iter::repeat_n(' ', padded - text.len()));
    text
}

/// Writes, and sums up what was written.
struct Summing<W> {
    file: W,
    /// Of the piece that is being written, and how much of it there is.
    hash: XxHash3_128,
    hashed: usize,
    sums: Vec<u8>,
}

impl<W: Write> Summing<W> {
    /// Writes the checksums.
    fn finish(mut self) -> io::Result<()> {
        if self.hashed > 0 {
            self.sums.extend(self.hash.finish_128().to_be_bytes());
        }
        self.file.write_all(&self.sums)?;
        self.file.write_all(&sum(&self.sums))?;
        self.file.flush()
    }
}

impl<W: Write> Write for Summing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(PIECE - self.hashed)];
        let written = self.file.write(bytes)?;
        self.hash.write(&bytes[..written]);
        self.hashed += written;
        if self.hashed == PIECE {
            self.sums.extend(self.hash.finish_128().to_be_bytes());
            (self.hash, self.hashed) = (XxHash3_128::new(), 0);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use std::fs;

    fn parts() -> ([f32; 6], [u32; 3], [Vec<u8>; 2]) {
        ([1.5, -0.0, f32::NAN, 2.0, 3.0, 4.0], [7, 0, u32::MAX], [vec![1; 1000], vec![2; 1000]])
    }

    fn write(path: &Path) {
        let (floats, ids, pages) = parts();
        let parts = [
            Part::f32("state", &[2, 3], &floats),
            Part::ids("tokens", &ids),
            Part::bytes("pages", pages.iter().map(Vec::as_slice)),
        ];
        let notes = BTreeMap::from([("what".to_owned(), "a \"test\"".to_owned())]);
        save(path, &parts, &notes).unwrap();
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write(&path);
        let (floats, ids, pages) = parts();
        let file = open(&path).unwrap();
        let state: &[f32] = bytemuck::cast_slice(file.raw("state", "F32", &[2, 3]).unwrap());
        assert_eq!(state.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), floats.map(f32::to_bits));
        assert_eq!(file.load_ids("tokens").unwrap(), ids.map(i64::from));
        assert_eq!(file.raw("pages", "U8", &[2, 1000]).unwrap(), pages.concat());
        assert_eq!(file.notes()["what"], "a \"test\"");
        let copy = folder.path().join("copy.safetensors");
        let mut notes = file.notes().clone();
        notes.insert("more".to_owned(), "x".to_owned());
        rewrite(&file, &copy, &notes).unwrap();
        let again = open(&copy).unwrap();
        assert_eq!((again.notes().len(), &again.notes()["what"]), (2, &file.notes()["what"]));
        assert!(again.names().eq(file.names()));
        let pages = |file: &Checkpoint| file.raw("pages", "U8", &[2, 1000]).unwrap().to_vec();
        assert_eq!(pages(&again), pages(&file));
        let message = file.raw("state", "U8", &[2, 3]).unwrap_err().to_string();
        assert!(message.contains("dtype F32, expected U8"), "{message}");
        let message = file.raw("pages", "U8", &[3, 1000]).unwrap_err().to_string();
        assert!(message.contains("[2, 1000], expected [3, 1000]"), "{message}");
    }

    /// Of bytes everywhere in the file, and of its length.
    #[test]
    fn damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write(&path);
        let whole = fs::read(&path).unwrap();
        let mut rng = Rng(1);
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << rng.below(8);
            fs::write(&path, &bytes).unwrap();
            assert!(open(&path).is_err(), "byte {at}");
        }
        for len in (0..whole.len()).step_by(31) {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(open(&path).is_err(), "{len} bytes");
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        assert!(open(&path).is_err());
    }

    /// In each of several pieces, first and last bytes of them included; lengths around whole pieces.
    #[test]
    fn damage_is_found_in_every_piece() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        for len in [0, PIECE - 2000, 2 * PIECE + 77] {
            let bytes = vec![7; len];
            let parts = [Part::bytes("pages", [&bytes[..]])];
            save(&path, &parts, &BTreeMap::new()).unwrap();
            let whole = fs::read(&path).unwrap();
            let file = open(&path).unwrap();
            assert_eq!(file.raw("pages", "U8", &[1, len]).unwrap(), bytes);
            let pieces = file.shape(SUMS).unwrap()[0];
            assert_eq!(pieces, (whole.len() - SUM_BYTES * (pieces + 1)).div_ceil(PIECE));
            let edges = (1..=pieces).flat_map(|i| [i * PIECE - 1, i * PIECE]);
            let ends = [1, SUM_BYTES + 1, SUM_BYTES * (pieces + 1) + 1];
            for at in edges.chain([9]).chain(ends.map(|back| whole.len() - back)) {
                let mut bytes = whole.clone();
                let Some(byte) = bytes.get_mut(at) else { continue };
                *byte ^= 1;
                fs::write(&path, &bytes).unwrap();
                assert!(open(&path).is_err(), "byte {at} of {}", whole.len());
            }
        }
    }

    #[test]
    fn other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let tensors = BTreeMap::from([("a".to_owned(), crate::Saved::Ids(vec![1], vec![2]))]);
        crate::safetensors::save(&path, tensors, &BTreeMap::new()).unwrap();
        let message = open(&path).unwrap_err().to_string();
        assert!(message.contains("x.safetensors") && message.contains("`seal`"), "{message}");
    }
}
