//! Checkpoints: safetensors files, alone or as shards with an index, or a GGUF file, read by memory
//! map.
//!
//! Everything in a file is doubted: names, shapes, dtypes, offsets, the index's paths. The one
//! assumption: nobody cuts a file short or writes to it while it is mapped. Where one is cut short, and
//! where the disk fails, the system stops the process (SIGBUS); what is written to one appears in memory
//! that is taken to stay as it is. Files of ours are replaced, never changed in place.
#![expect(unsafe_code, reason = "a memory map is a promise about other processes")]

mod digest;
mod header;

use crate::atomic::atomic_write;
use crate::gguf::{self, DType};
use crate::{Device, Error, Tensor};
use bytemuck::NoUninit;
use bytes::Bytes;
use header::{parse_index, read_header};
use kernels::half::f16_to_f32;
use kernels::matmul::Elements;
use memmap2::Mmap;
use safetensors::tensor::TensorInfo;
use safetensors::{Dtype, SafeTensorError, View};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Name of the only weights file of a small model's folder.
pub const WEIGHTS: &str = "model.safetensors";
/// Name of the index of a sharded model's folder.
pub const INDEX: &str = "model.safetensors.index.json";
/// The same two of models for diffusion.
const DIFFUSION: [&str; 2] =
    ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors.index.json"];

/// Named tensors in one or more open files.
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<Opened>,
    entries: BTreeMap<String, Entry>,
    /// Of a GGUF file.
    metadata: Option<gguf::Metadata>,
    /// Of the other format.
    notes: BTreeMap<String, String>,
}

struct Opened {
    path: PathBuf,
    /// A memory map, or part of the program.
    bytes: Bytes,
}

struct Entry {
    file: usize,
    dtype: Stored,
    shape: Vec<usize>,
    range: Range<usize>,
    read: AtomicBool,
}

/// A dtype of either format.
#[derive(Clone, Copy)]
enum Stored {
    Safetensors(Dtype),
    Gguf(DType),
}

impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Safetensors(dtype) => dtype.fmt(f),
            Self::Gguf(dtype) => f.write_str(dtype.name()),
        }
    }
}

impl Checkpoint {
    /// Opens a `.safetensors` or a `.gguf` file, or a folder that holds [`WEIGHTS`] or [`INDEX`] and
    /// its shards, or those by the names that models for diffusion have.
    ///
    /// # Errors
    ///
    /// If a file is missing, damaged, or named outside the folder.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut checkpoint = Self::empty(path);
        if !path.is_dir() {
            let bytes = map(path)?;
            let named = path.extension().is_some_and(|extension| extension == "gguf");
            if named || bytes.starts_with(&gguf::MAGIC) {
                checkpoint.add_gguf(path, bytes)?;
            } else {
                checkpoint.add(path.to_owned(), bytes)?;
            }
            return Ok(checkpoint);
        }
        for names in [[WEIGHTS, INDEX], DIFFUSION] {
            let [single, index] = names.map(|name| path.join(name));
            if single.is_file() {
                checkpoint.add(single.clone(), map(&single)?)?;
                return Ok(checkpoint);
            }
            if index.is_file() {
                checkpoint.add_shards(path, &index)?;
                return Ok(checkpoint);
            }
        }
        Err(Error::NoWeights { path: path.to_owned() })
    }

    /// A safetensors file that is part of the program; `name` stands for its path in messages.
    ///
    /// # Errors
    ///
    /// If it is damaged.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self, Error> {
        let path = PathBuf::from(name);
        let mut checkpoint = Self::empty(&path);
        checkpoint.add(path, Bytes::from_static(bytes))?;
        Ok(checkpoint)
    }

    fn empty(path: &Path) -> Self {
        let (files, entries, notes) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { path: path.to_owned(), files, entries, metadata: None, notes }
    }

    /// The metadata of a GGUF file; `None` for the other format.
    pub fn metadata(&self) -> Option<&gguf::Metadata> {
        self.metadata.as_ref()
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether there is a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The shape of `name`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| &entry.shape[..])
    }

    /// The dtype of `name`, as the format spells it.
    pub fn dtype(&self, name: &str) -> Option<String> {
        self.entries.get(name).map(|entry| entry.dtype.to_string())
    }

    /// How the numbers of `name` are stored, if they are of a known type.
    pub fn stored(&self, name: &str) -> Option<DType> {
        match self.entries.get(name)?.dtype {
            Stored::Gguf(dtype) => Some(dtype),
            Stored::Safetensors(Dtype::F32) => Some(DType::F32),
            Stored::Safetensors(Dtype::F16) => Some(DType::F16),
            Stored::Safetensors(Dtype::BF16) => Some(DType::Bf16),
            Stored::Safetensors(_) => None,
        }
    }

    /// The blocks of `name` as the file has them, if it is stored in blocks of `format`.
    ///
    /// # Errors
    ///
    /// If it is missing or of another shape.
    pub fn blocks(
        &self,
        name: &str,
        shape: &[usize],
        format: gguf::Format,
    ) -> Result<Option<&[u8]>, Error> {
        if self.stored(name) != Some(DType::Blocks(format)) {
            return Ok(None);
        }
        Ok(Some(self.bytes(self.shaped(name, shape)?)))
    }

    /// The elements of `name` where the file has them, if it is stored in bf16 and they lie there as they do
    /// in memory.
    ///
    /// # Errors
    ///
    /// If it is missing or of another shape.
    pub fn bf16(&self, name: &str, shape: &[usize]) -> Result<Option<&[u16]>, Error> {
        if self.stored(name) != Some(DType::Bf16) || cfg!(target_endian = "big") {
            return Ok(None);
        }
        Ok(bytemuck::try_cast_slice(self.bytes(self.shaped(name, shape)?)).ok())
    }

    /// What the writer of a safetensors file says of it; nothing for the other format.
    pub fn notes(&self) -> &BTreeMap<String, String> {
        &self.notes
    }

    /// Bytes of all files.
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes.len() as u64).sum()
    }

    /// Bytes of all tensors.
    pub fn total_bytes(&self) -> usize {
        self.entries.values().map(|entry| entry.range.len()).sum()
    }

    /// Names of the tensors that nobody has loaded, sorted.
    pub fn unread(&self) -> Vec<&str> {
        let unread = |entry: &Entry| !entry.read.load(Ordering::Relaxed);
        self.entries.iter().filter(|(_, entry)| unread(entry)).map(|(name, _)| &name[..]).collect()
    }

    /// Loads `name`: bf16 stays bf16, f32 stays f32, f16 and blocks become f32.
    ///
    /// # Errors
    ///
    /// If it is missing, of another shape or not a float tensor.
    pub fn load(&self, device: &Device, name: &str, shape: &[usize]) -> Result<Tensor, Error> {
        let entry = self.shaped(name, shape)?;
        let bytes = self.bytes(entry);
        let halves = || bytes.as_chunks().0.iter().map(|&x| u16::from_le_bytes(x));
        Ok(match entry.dtype {
            Stored::Safetensors(Dtype::F32) => {
                let data = bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect();
                Tensor::new(device, shape, data)
            }
            Stored::Safetensors(Dtype::BF16) | Stored::Gguf(DType::Bf16) => {
                Tensor::from_bf16(device, shape, halves().collect())
            }
            Stored::Safetensors(Dtype::F16) => {
                Tensor::new(device, shape, halves().map(f16_to_f32).collect())
            }
            Stored::Gguf(dtype) => Tensor::new(device, shape, dtype.to_f32(bytes)),
            Stored::Safetensors(_) => {
                return Err(self.wrong_dtype(name, entry, "F32, BF16 or F16"));
            }
        })
    }

    /// Loads the integers of `name`, in any shape; of truth values 0 and 1.
    ///
    /// # Errors
    ///
    /// If it is missing or not an integer tensor.
    pub fn load_ids(&self, name: &str) -> Result<Vec<i64>, Error> {
        let entry = self.entry(name)?;
        let bytes = self.bytes(entry);
        let narrow = || bytes.as_chunks().0.iter();
        let Stored::Safetensors(dtype) = entry.dtype else {
            return Err(self.wrong_dtype(name, entry, "I64, I32, U32, U8 or BOOL"));
        };
        Ok(match dtype {
            Dtype::I64 => bytes.as_chunks().0.iter().map(|&x| i64::from_le_bytes(x)).collect(),
            Dtype::I32 => narrow().map(|&x| i32::from_le_bytes(x).into()).collect(),
            Dtype::U32 => narrow().map(|&x| u32::from_le_bytes(x).into()).collect(),
            Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&x| x.into()).collect(),
            _ => return Err(self.wrong_dtype(name, entry, "I64, I32, U32, U8 or BOOL")),
        })
    }

    /// The bytes of `name` as the file has them, little endian.
    ///
    /// # Errors
    ///
    /// If it is missing, of another shape, or its dtype is not spelled `dtype`.
    pub fn raw(&self, name: &str, dtype: &'static str, shape: &[usize]) -> Result<&[u8], Error> {
        let entry = self.shaped(name, shape)?;
        if entry.dtype.to_string() != dtype {
            return Err(self.wrong_dtype(name, entry, dtype));
        }
        Ok(self.bytes(entry))
    }

    /// The same bytes, for whoever needs them longer than the checkpoint is there: the file stays
    /// mapped as long, and as long nobody may cut it short or write to it (see the module). On Windows,
    /// where a mapped file could not be replaced, a copy.
    ///
    /// # Errors
    ///
    /// As [`raw`](Self::raw).
    pub fn shared(&self, name: &str, dtype: &'static str, shape: &[usize]) -> Result<Bytes, Error> {
        let bytes = self.raw(name, dtype, shape)?;
        if cfg!(windows) {
            return Ok(Bytes::copy_from_slice(bytes));
        }
        Ok(self.files[self.entry(name)?.file].bytes.slice_ref(bytes))
    }

    /// All tensors as they are stored, in the order of their bytes: name, dtype, shape, bytes.
    pub(crate) fn raw_parts(&self) -> impl Iterator<Item = (&str, String, &[usize], &[u8])> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(_, entry)| (entry.file, entry.range.start, entry.range.end));
        entries.into_iter().map(|(name, entry)| {
            (&name[..], entry.dtype.to_string(), &entry.shape[..], self.bytes(entry))
        })
    }

    /// All of the only file.
    pub(crate) fn whole(&self) -> &[u8] {
        self.files.first().map_or(&[], |file| &file.bytes)
    }

    fn shaped(&self, name: &str, shape: &[usize]) -> Result<&Entry, Error> {
        let entry = self.entry(name)?;
        if entry.shape == shape {
            return Ok(entry);
        }
        Err(Error::Shape {
            path: self.files[entry.file].path.clone(),
            name: name.to_owned(),
            found: entry.shape.clone(),
            expected: shape.to_owned(),
        })
    }

    fn entry(&self, name: &str) -> Result<&Entry, Error> {
        let missing = || Error::Missing { path: self.path.clone(), name: name.to_owned() };
        let entry = self.entries.get(name).ok_or_else(missing)?;
        entry.read.store(true, Ordering::Relaxed);
        Ok(entry)
    }

    fn bytes(&self, entry: &Entry) -> &[u8] {
        &self.files[entry.file].bytes[entry.range.clone()]
    }

    fn wrong_dtype(&self, name: &str, entry: &Entry, expected: &'static str) -> Error {
        Error::DType {
            path: self.files[entry.file].path.clone(),
            name: name.to_owned(),
            found: entry.dtype.to_string(),
            expected,
        }
    }

    /// Adds the tensors of one file.
    fn add(&mut self, path: PathBuf, bytes: Bytes) -> Result<(), Error> {
        let (header, notes) = read_header(&path, &bytes)?;
        self.notes.extend(notes);
        for (name, info, range) in header {
            let (name, dtype, shape) = match blocks_of(&name, &info) {
                Some((name, dtype, shape)) => (name, Stored::Gguf(dtype), shape),
                None => (name, Stored::Safetensors(info.dtype), info.shape),
            };
            let (file, read) = (self.files.len(), AtomicBool::new(false));
            let entry = Entry { file, dtype, shape, range, read };
            if let Some(other) = self.entries.insert(name.clone(), entry) {
                let other = self.files[other.file].path.display();
                let reason = format!("tensor `{name}` is also in `{other}`");
                return Err(Error::Format { path, reason });
            }
        }
        self.files.push(Opened { path, bytes });
        Ok(())
    }

    /// Takes over a GGUF file.
    fn add_gguf(&mut self, path: &Path, bytes: Bytes) -> Result<(), Error> {
        let header = gguf::parse(&bytes).map_err(|wrong| wrong.into_error(path.to_owned()))?;
        let entry = |gguf::Entry { name, shape, dtype, range }| {
            let (dtype, read) = (Stored::Gguf(dtype), AtomicBool::new(false));
            (name, Entry { file: 0, dtype, shape, range, read })
        };
        self.entries = header.tensors.into_iter().map(entry).collect();
        self.metadata = Some(header.metadata);
        self.files.push(Opened { path: path.to_owned(), bytes });
        Ok(())
    }

    /// Adds the shards of an index, and only what the index names.
    fn add_shards(&mut self, folder: &Path, index: &Path) -> Result<(), Error> {
        let read = |source| Error::Io { action: "read", path: index.to_owned(), source };
        let text = std::fs::read(index).map_err(read)?;
        let shard_of =
            parse_index(&text).map_err(|reason| Error::Index { path: index.to_owned(), reason })?;
        let mut shards: Vec<&String> = shard_of.values().collect();
        shards.sort();
        shards.dedup();
        for shard in shards {
            let path = folder.join(shard);
            if !path.is_file() {
                let reason = format!("shard `{shard}` is missing in `{}`", folder.display());
                return Err(Error::Index { path: index.to_owned(), reason });
            }
            self.add(path.clone(), map(&path)?)?;
        }
        for (name, shard) in &shard_of {
            let found = self.entries.get(name).map(|entry| &self.files[entry.file].path);
            if found != Some(&folder.join(shard)) {
                let reason = format!("tensor `{name}` is not in shard `{shard}`");
                return Err(Error::Index { path: index.to_owned(), reason });
            }
        }
        Ok(())
    }
}

/// A matrix in blocks: bytes `[rows, bytes of a row]` whose name ends in the type's, `….q4_0`. Its
/// own name, its type and its shape.
fn blocks_of(name: &str, info: &TensorInfo) -> Option<(String, DType, Vec<usize>)> {
    let (Dtype::U8, [rows, bytes]) = (info.dtype, &info.shape[..]) else { return None };
    let (name, kind) = name.rsplit_once('.')?;
    let dtype = DType::named(kind).filter(|dtype| matches!(dtype, DType::Blocks(_)))?;
    let whole = bytes.is_multiple_of(dtype.block_bytes());
    let k = (bytes / dtype.block_bytes()).checked_mul(dtype.block_len()).filter(|_| whole)?;
    Some((name.to_owned(), dtype, vec![*rows, k]))
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({:?}, {} tensors)", self.path, self.entries.len())
    }
}

fn map(path: &Path) -> Result<Bytes, Error> {
    let error = |source| Error::Io { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(error)?;
    // SAFETY: nobody writes through the map, which is read-only. It is shared with the file, so that
    // nobody cuts the file short or writes to it while it is mapped is the assumption stated at the top.
    let map = unsafe { Mmap::map(&file) }.map_err(error)?;
    Ok(Bytes::from_owner(map))
}

/// What is written under one name.
#[derive(Clone, Debug)]
pub enum Saved {
    /// Floats, in the precision they have.
    Tensor(Tensor),
    /// Integers: shape and elements.
    Ids(Vec<usize>, Vec<i64>),
    /// Bytes, `[rows, bytes of a row]`: a matrix in blocks, if the name ends in their type's in small
    /// letters, `….q4_0`.
    Bytes([usize; 2], Vec<u8>),
    /// Floats that are made when they are written, and kept no longer.
    Made(Made),
}

/// A tensor that is not there yet.
#[derive(Clone)]
pub struct Made {
    shape: Vec<usize>,
    is_bf16: bool,
    make: Arc<dyn Fn() -> Tensor + Send + Sync>,
}

impl Made {
    /// What `make` will give, a tensor of this shape, in bf16 or f32.
    pub fn new(
        shape: &[usize],
        is_bf16: bool,
        make: impl Fn() -> Tensor + Send + Sync + 'static,
    ) -> Self {
        Self { shape: shape.to_vec(), is_bf16, make: Arc::new(make) }
    }

    /// The tensor.
    ///
    /// # Panics
    ///
    /// If it is another than was said.
    pub fn tensor(&self) -> Tensor {
        let tensor = (self.make)();
        assert_eq!((tensor.shape(), tensor.is_bf16()), (&self.shape[..], self.is_bf16));
        tensor
    }
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Made({:?})", self.shape)
    }
}

/// Writes tensors to the file `path`, all or nothing; the same tensors give the same bytes.
///
/// # Errors
///
/// If the system refuses; an old file stays.
pub fn save(
    path: &Path,
    tensors: BTreeMap<String, Saved>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let metadata: HashMap<_, _> = metadata.clone().into_iter().collect();
    let metadata = Some(metadata).filter(|metadata| !metadata.is_empty());
    let written = atomic_write(path, |temp| {
        safetensors::serialize_to_file(tensors, metadata, temp).map_err(|error| match error {
            SafeTensorError::IoError(error) => error,
            other => io::Error::other(other.to_string()),
        })
    });
    written.map_err(|source| Error::Io { action: "write", path: path.to_owned(), source })
}

impl View for Saved {
    fn dtype(&self) -> Dtype {
        match self {
            Self::Tensor(tensor) if tensor.is_bf16() => Dtype::BF16,
            Self::Made(Made { is_bf16: true, .. }) => Dtype::BF16,
            Self::Tensor(_) | Self::Made(_) => Dtype::F32,
            Self::Ids(..) => Dtype::I64,
            Self::Bytes(..) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Tensor(tensor) => tensor.shape(),
            Self::Made(made) => &made.shape,
            Self::Ids(shape, _) => shape,
            Self::Bytes(shape, _) => shape,
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Tensor(tensor) => bytes_of(tensor),
            Self::Made(made) => bytes_of(&made.tensor()).into_owned().into(),
            Self::Ids(_, ids) => little_endian(ids, i64::to_le_bytes),
            Self::Bytes(_, bytes) => bytes.into(),
        }
    }

    fn data_len(&self) -> usize {
        match self {
            Self::Tensor(tensor) => tensor.bytes(),
            Self::Ids(_, ids) => size_of_val(&ids[..]),
            Self::Bytes(_, bytes) => bytes.len(),
            Self::Made(Made { shape, is_bf16, .. }) => {
                shape.iter().product::<usize>() * if *is_bf16 { 2 } else { 4 }
            }
        }
    }
}

fn bytes_of(tensor: &Tensor) -> Cow<'_, [u8]> {
    match tensor.elements() {
        Elements::F32(data) => little_endian(data, f32::to_le_bytes),
        Elements::Bf16(data) => little_endian(data, u16::to_le_bytes),
    }
}

/// Numbers as files have them.
fn little_endian<T: NoUninit, const N: usize>(
    numbers: &[T],
    bytes: impl Fn(T) -> [u8; N],
) -> Cow<'_, [u8]> {
    match cfg!(target_endian = "little") {
        true => bytemuck::cast_slice(numbers).into(),
        false => numbers.iter().flat_map(|&x| bytes(x)).collect::<Vec<u8>>().into(),
    }
}

#[cfg(test)]
mod tests;
