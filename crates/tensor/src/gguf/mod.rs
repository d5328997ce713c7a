//! GGUF files: metadata of typed values, then tensors, packed in blocks or not.
//!
//! ```text
//! header    "GGUF", version u32 (2 or 3), number of tensors u64, number of keys u64
//! key       name, type u32, value; an array is a type u32, a count u64 and the values
//! tensor    name, number of dimensions u32, dimensions u64 (innermost first), type u32, offset u64
//! data      from the next multiple of the alignment on; offsets count from here
//! ```
//!
//! All numbers are little endian, a name or string is its length as u64 and UTF-8, and the
//! alignment is `general.alignment`, 32 if it is not there (the specification is `docs/gguf.md` in
//! the repository of ggml).
//!
//! Nothing in a file is believed: a count or a length is compared with what is left of the file
//! before anything is made of it, and what is read takes time and memory in proportion to the
//! file's header at most. How types are loaded is in [`DType`], the reader in `read`.

mod read;
#[cfg(test)]
mod tests;
mod value;
mod write;

pub use value::{Array, Metadata, Value};
pub use write::{Planned, save};

pub(crate) use read::{Entry, parse};

use kernels::Threads;
use kernels::half::f16_to_f32;
use kernels::matmul::Packed;
pub use kernels::quant::Format;
use kernels::quant::{self, Unrepresentable};
use std::path::PathBuf;

/// How every file begins.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// Versions that are read; the last one is written.
pub const VERSIONS: [u32; 2] = [2, 3];
/// Alignment of tensors where the file does not say.
pub const DEFAULT_ALIGNMENT: u64 = 32;
/// The key of the alignment.
pub const ALIGNMENT: &str = "general.alignment";

/// How a tensor's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    /// 4 bytes each.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Blocks with scales.
    Blocks(Format),
}

impl DType {
    /// All types that are read, in the order of their numbers in files.
    pub const ALL: [Self; 8] = [
        Self::F32,
        Self::F16,
        Self::Blocks(Format::Q4_0),
        Self::Blocks(Format::Q8_0),
        Self::Blocks(Format::Q4K),
        Self::Blocks(Format::Q5K),
        Self::Blocks(Format::Q6K),
        Self::Bf16,
    ];

    /// As the files' tools spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Blocks(format) => format.name(),
        }
    }

    /// The type whose [`name`](Self::name) this is, in letters of either size.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name().eq_ignore_ascii_case(name))
    }

    /// The number in files (`ggml_type`).
    pub fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Blocks(Format::Q4_0) => 2,
            Self::Blocks(Format::Q8_0) => 8,
            Self::Blocks(Format::Q4K) => 12,
            Self::Blocks(Format::Q5K) => 13,
            Self::Blocks(Format::Q6K) => 14,
            Self::Bf16 => 30,
        }
    }

    /// Elements that are stored together.
    pub fn block_len(self) -> usize {
        match self {
            Self::Blocks(format) => format.block_len(),
            _ => 1,
        }
    }

    /// Bytes of a matrix `[n, k]` of this type as it is multiplied.
    ///
    /// # Panics
    ///
    /// If the type is one of blocks that are not multiplied.
    pub fn packed_bytes(self, n: usize, k: usize) -> usize {
        match self {
            Self::Blocks(format) => Packed::bytes_of_blocks(format, n, k),
            _ => n * k * self.block_bytes(),
        }
    }

    /// Bytes of these.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Blocks(format) => format.block_bytes(),
        }
    }

    /// The numbers of `bytes`.
    pub(crate) fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        let halves = || bytes.as_chunks().0.iter().map(|&x| u16::from_le_bytes(x));
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect(),
            Self::F16 => halves().map(f16_to_f32).collect(),
            Self::Bf16 => halves().map(kernels::half::bf16_to_f32).collect(),
            Self::Blocks(format) => {
                let mut out = vec![0.0; bytes.len() / self.block_bytes() * self.block_len()];
                quant::dequantize(format, bytes, &mut out);
                out
            }
        }
    }

    /// Whether files are written in it, or only read.
    pub fn is_written(self) -> bool {
        match self {
            Self::F32 | Self::Bf16 => true,
            Self::F16 => false,
            Self::Blocks(format) => format.is_written(),
        }
    }

    /// The bytes of numbers.
    ///
    /// # Panics
    ///
    /// If the type is only read, or the numbers are not whole blocks.
    pub(crate) fn bytes_of(self, threads: &Threads, x: &[f32]) -> Result<Vec<u8>, Unrepresentable> {
        match self {
            Self::F32 => Ok(x.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Self::Bf16 => {
                let narrow = |x: &f32| kernels::half::f32_to_bf16(*x).to_le_bytes();
                Ok(x.iter().flat_map(narrow).collect())
            }
            Self::F16 => panic!("F16 is only read"),
            Self::Blocks(format) => {
                let mut bytes = vec![0; x.len() / self.block_len() * self.block_bytes()];
                quant::quantize_threaded(threads, format, x, &mut bytes).map(|()| bytes)
            }
        }
    }
}

/// A field that is not what it must be.
#[derive(Debug)]
pub(crate) struct Wrong {
    field: String,
    found: String,
    expected: String,
}

impl Wrong {
    fn new(field: impl Into<String>, found: impl ToString, expected: impl ToString) -> Self {
        let (mut found, expected) = (found.to_string(), expected.to_string());
        if found.chars().count() > 80 {
            found = found.chars().take(80).chain("…".chars()).collect();
        }
        Self { field: field.into(), found, expected }
    }

    pub(crate) fn into_error(self, path: PathBuf) -> crate::Error {
        let Self { field, found, expected } = self;
        crate::Error::Gguf { path, field, found, expected }
    }
}
