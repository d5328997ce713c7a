//! The writer: version 3, one tensor in memory at a time.

use super::value::write_string;
use super::{DEFAULT_ALIGNMENT, DType, MAGIC, Metadata, VERSIONS, Wrong};
use crate::atomic::atomic_write;
use crate::{Error, Tensor};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its name, of 63 bytes at most: what ggml takes.
    pub name: String,
    /// Outermost first, 4 dimensions of 1 or more at most.
    pub shape: Vec<usize>,
    /// How it is stored: a type that [is written](DType::is_written), in rows of whole blocks.
    pub dtype: DType,
}

/// Writes metadata and tensors to the file `path`, all or nothing; the same input gives the same
/// bytes. `tensor` is asked for each planned tensor in turn.
///
/// # Errors
///
/// If the system refuses, `tensor` fails, or a tensor has numbers that its type cannot hold; an old
/// file stays.
///
/// # Panics
///
/// If what is planned cannot be stored, or a tensor is not as planned.
pub fn save<E: From<Error>>(
    path: &Path,
    metadata: &Metadata,
    planned: &[Planned],
    mut tensor: impl FnMut(usize) -> Result<Tensor, E>,
) -> Result<(), E> {
    let mut failed = None;
    let written = atomic_write(path, |temp| {
        let mut out = BufWriter::new(File::options().write(true).truncate(true).open(temp)?);
        let head = head(metadata, planned);
        out.write_all(&head)?;
        pad(&mut out, head.len())?;
        for (i, planned) in planned.iter().enumerate() {
            let bytes = tensor(i).and_then(|tensor| Ok(encode(path, planned, &tensor)?));
            match bytes {
                Ok(bytes) => {
                    out.write_all(&bytes)?;
                    pad(&mut out, bytes.len())?;
                }
                Err(error) => {
                    failed = Some(error);
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        }
        out.flush()
    });
    match failed {
        Some(error) => Err(error),
        None => written
            .map_err(|source| Error::Io { action: "write", path: path.to_owned(), source }.into()),
    }
}

/// All that stands before the data.
fn head(metadata: &Metadata, planned: &[Planned]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSIONS[1].to_le_bytes());
    out.extend((planned.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        write_string(key, &mut out);
        out.extend(value.id().to_le_bytes());
        value.write(&mut out);
    }
    let mut offset = 0u64;
    for Planned { name, shape, dtype } in planned {
        assert!(name.len() < 64, "name `{name}` of a tensor");
        assert!(dtype.is_written(), "`{name}` is to be {}", dtype.name());
        assert!(shape.len() <= 4 && shape.iter().all(|n| *n > 0), "`{name}` of shape {shape:?}");
        let row = shape.last().copied().unwrap_or(1);
        assert!(row.is_multiple_of(dtype.block_len()), "`{name}`: {shape:?} of {}", dtype.name());
        write_string(name, &mut out);
        out.extend((shape.len() as u32).to_le_bytes());
        out.extend(shape.iter().rev().flat_map(|n| (*n as u64).to_le_bytes()));
        out.extend(dtype.id().to_le_bytes());
        out.extend(offset.to_le_bytes());
        let blocks = shape.iter().product::<usize>() / dtype.block_len();
        offset += ((blocks * dtype.block_bytes()) as u64).next_multiple_of(DEFAULT_ALIGNMENT);
    }
    out
}

/// Zeros up to the next multiple of the alignment.
fn pad(out: &mut impl io::Write, len: usize) -> io::Result<()> {
    let alignment = DEFAULT_ALIGNMENT as usize;
    out.write_all(&vec![0; len.next_multiple_of(alignment) - len])
}

/// The bytes of a tensor; `path` is named in errors.
fn encode(path: &Path, planned: &Planned, tensor: &Tensor) -> Result<Vec<u8>, Error> {
    let Planned { name, shape, dtype } = planned;
    assert_eq!(tensor.shape(), shape, "`{name}` is not as planned");
    let threads = &tensor.device().exec().threads;
    dtype.bytes_of(threads, &tensor.to_vec()).map_err(|wrong| {
        let field = format!("element {} of tensor `{name}`", wrong.index);
        let expected = format!("a number that {} can hold", dtype.name());
        Wrong::new(field, wrong.value, expected).into_error(path.to_owned())
    })
}
