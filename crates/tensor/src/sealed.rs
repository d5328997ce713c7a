//! Safetensors files that tell whether they are whole: their last tensor is a checksum of all that
//! is before it.
//!
//! ```text
//! 8 bytes   length of the header
//! header    JSON, as in every file of the format; padded with spaces so that tensors start at a
//!           multiple of 64
//! tensors   in the order of the header
//! seal      U8 [16]: XXH3, 128 bits, big endian, of every byte before
//! ```
//!
//! Any program that reads safetensors reads these. The checksum finds what disks, copies and crashes
//! do; it is no protection from somebody who writes a file on purpose, so what is read is doubted as
//! in every other file.

use crate::atomic::atomic_write;
use crate::{Checkpoint, Error};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use twox_hash::XxHash3_128;

/// Name of the checksum.
const SEAL: &str = "seal";
/// Bytes of the checksum.
const SEAL_BYTES: usize = 16;
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
        let mut file =
            Hashing { file: BufWriter::new(File::create(temp)?), hash: XxHash3_128::new() };
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for piece in parts.iter().flat_map(|part| &part.bytes) {
            file.write_all(piece)?;
        }
        let seal = file.hash.finish_128();
        file.write_all(&seal.to_be_bytes())?;
        file.flush()
    });
    written.map_err(|source| Error::Io { action: "write", path: path.to_owned(), source })
}

/// Opens such a file.
///
/// # Errors
///
/// If it is missing, damaged, or not sealed.
pub fn open(path: &Path) -> Result<Checkpoint, Error> {
    let wrong = |reason: &str| Error::Format { path: path.to_owned(), reason: reason.to_owned() };
    let file = Checkpoint::open(path)?;
    if file.metadata().is_some() {
        return Err(wrong("it is a GGUF file"));
    }
    if !file.contains(SEAL) {
        return Err(wrong("it has no tensor `seal`, a checksum, at its end"));
    }
    let seal = file.raw(SEAL, "U8", &[SEAL_BYTES])?;
    // The format has no gaps and no order: the header may place it elsewhere.
    let Some((before, last)) = file.whole().split_last_chunk::<SEAL_BYTES>() else {
        return Err(wrong("it is too short for a checksum"));
    };
    if seal != last || XxHash3_128::oneshot(before).to_be_bytes() != *last {
        return Err(wrong("its checksum does not match: the file is damaged"));
    }
    Ok(file)
}

/// Writes what the file at `from` holds to `to`, with its notes as `change` leaves them.
///
/// # Errors
///
/// If the file is missing or damaged, or what the system says.
pub fn rewrite(
    from: &Path,
    to: &Path,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> Result<(), Error> {
    let file = open(from)?;
    let mut notes = file.notes().clone();
    change(&mut notes);
    let parts: Vec<Part<'_>> = file
        .raw_parts()
        .filter(|(name, ..)| *name != SEAL)
        .map(|(name, dtype, shape, bytes)| Part {
            name: name.to_owned(),
            dtype: dtype.into(),
            shape: shape.to_owned(),
            bytes: vec![Cow::Borrowed(bytes)],
        })
        .collect();
    save(to, &parts, &notes)
}

/// The header, with the seal as its last tensor.
fn header(parts: &[Part<'_>], notes: &BTreeMap<String, String>) -> String {
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
    add(SEAL, "U8", &[SEAL_BYTES], SEAL_BYTES);
    let mut text = Value::Object(tensors).to_string();
    let padded = (text.len() + 8).next_multiple_of(ALIGNMENT) - 8;
    text.extend(std::iter::repeat_n(' ', padded - text.len()));
    text
}

/// Writes and adds to the checksum.
struct Hashing<W> {
    file: W,
    hash: XxHash3_128,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.write(&bytes[..written]);
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
        rewrite(&path, &copy, |notes| _ = notes.insert("more".to_owned(), "x".to_owned())).unwrap();
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
