//! The reader: from bytes to names, values and places of tensors.

use super::value::{ARRAY, STRING, known_types, scalar, scalar_bytes, scalars};
use super::{ALIGNMENT, Array, DEFAULT_ALIGNMENT, DType, MAGIC, Metadata, VERSIONS, Value, Wrong};
use std::collections::BTreeSet;
use std::ops::Range;

/// Most bytes of a key (the specification's number).
const MAX_KEY: u64 = 65_535;
/// Most bytes of a tensor's name (the specification's number).
const MAX_NAME: u64 = 64;
/// Most bytes of a value that is text: several times the largest `tokenizer.json` there is.
const MAX_TEXT: u64 = 64 << 20;
/// Most elements of an array: several times the largest vocabularies and lists of merges. With this
/// and [`MAX_TEXT`] a wrong count in a file of any size costs little time and memory.
const MAX_ELEMENTS: usize = 1 << 21;
/// Most dimensions of a tensor (`GGML_MAX_DIMS`).
const MAX_DIMS: u32 = 4;
/// The least that a key takes: its length, a type and a value of a byte.
const KEY_BYTES: usize = 8 + 4 + 1;
/// The least that a tensor takes: length of its name, number of dimensions, type, offset.
const TENSOR_BYTES: usize = 8 + 4 + 4 + 8;

/// What stands before the data.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<Entry>,
}

/// A tensor of a file.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Outermost first.
    pub(crate) shape: Vec<usize>,
    pub(crate) dtype: DType,
    /// Where its bytes are in the file.
    pub(crate) range: Range<usize>,
}

/// Reads the header of a file of these bytes.
pub(crate) fn parse(bytes: &[u8]) -> Result<Header, Wrong> {
    let mut reader = Reader { bytes, at: 0 };
    let magic = reader.take("magic", 4)?;
    if magic != MAGIC {
        return Err(Wrong::new("magic", format!("{magic:02x?}"), format!("{MAGIC:02x?}")));
    }
    let version = reader.u32("version")?;
    if !VERSIONS.contains(&version) {
        let big = VERSIONS.contains(&version.swap_bytes());
        let found = if big { format!("{version}, big endian") } else { version.to_string() };
        return Err(Wrong::new("version", found, "2 or 3, little endian"));
    }
    let num_tensors = reader.count("number of tensors", TENSOR_BYTES)?;
    let num_keys = reader.count("number of keys", KEY_BYTES)?;
    let mut metadata = Metadata::new();
    for i in 0..num_keys {
        let key = reader.string(&format!("key {i}"), MAX_KEY)?;
        let value = reader.value(&key)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(Wrong::new(format!("key {i}"), format!("`{key}` again"), "another key"));
        }
    }
    let alignment = alignment(&metadata)?;
    let mut infos = Vec::new();
    let mut names = BTreeSet::new();
    for i in 0..num_tensors {
        let info = reader.tensor(i)?;
        if !names.insert(info.name.clone()) {
            let found = format!("`{}` again", info.name);
            return Err(Wrong::new(format!("tensor {i}"), found, "another name"));
        }
        infos.push(info);
    }
    let start = (reader.at as u64).next_multiple_of(alignment);
    Ok(Header { metadata, tensors: place(infos, start, alignment, bytes.len() as u64)? })
}

/// Where tensors are in a file of `size` bytes: one behind the other from `start` on, as ggml wants
/// them, so that a tensor of another size than the file has is noticed.
fn place(infos: Vec<Info>, start: u64, alignment: u64, size: u64) -> Result<Vec<Entry>, Wrong> {
    let mut tensors: Vec<Entry> = Vec::with_capacity(infos.len());
    let mut end = start;
    for Info { name, shape, dtype, bytes, offset } in infos {
        let field = || format!("offset of tensor `{name}`");
        let next = (end - start).next_multiple_of(alignment);
        if offset != next {
            let expected = match tensors.last() {
                None => "0, where the data begins".to_owned(),
                Some(last) => format!("{next}, behind `{}`", last.name),
            };
            return Err(Wrong::new(field(), offset, expected));
        }
        // Offsets stay within the file, and no tensor has 2^63 bytes.
        let range = start + offset..start + offset + bytes;
        if range.end > size {
            let expected = format!(
                "{bytes} bytes within the file, which has {} for data; it may be cut short",
                size.saturating_sub(start)
            );
            return Err(Wrong::new(field(), offset, expected));
        }
        end = range.end;
        let range = range.start as usize..range.end as usize;
        tensors.push(Entry { name, shape, dtype, range });
    }
    if let Some(last) = tensors.last().filter(|_| size - end >= alignment) {
        let field = format!("type, shape or place of tensor `{}`", last.name);
        let found = format!("such that it ends at byte {end}");
        let expected = format!("less than {alignment} bytes behind it in a file of {size} bytes");
        return Err(Wrong::new(field, found, expected));
    }
    Ok(tensors)
}

fn alignment(metadata: &Metadata) -> Result<u64, Wrong> {
    let Some(value) = metadata.get(ALIGNMENT) else { return Ok(DEFAULT_ALIGNMENT) };
    match value {
        Value::U32(n) if n.is_power_of_two() && (8..=1 << 20).contains(n) => Ok((*n).into()),
        other => {
            let found = other.to_json();
            Err(Wrong::new(ALIGNMENT, found, "a power of two from 8 to 1048576, as u32"))
        }
    }
}

/// A tensor as the header has it.
struct Info {
    name: String,
    shape: Vec<usize>,
    dtype: DType,
    bytes: u64,
    offset: u64,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, field: &str, len: usize) -> Result<&'a [u8], Wrong> {
        let Some(taken) = self.bytes[self.at..].get(..len) else {
            let found = format!("cut short at byte {}", self.bytes.len());
            let expected = format!("{len} bytes at byte {}", self.at);
            return Err(Wrong::new(field, found, expected));
        };
        self.at += len;
        Ok(taken)
    }

    fn u32(&mut self, field: &str) -> Result<u32, Wrong> {
        let bytes = self.take(field, 4)?;
        Ok(bytes.iter().rev().fold(0, |n, &byte| n << 8 | u32::from(byte)))
    }

    fn u64(&mut self, field: &str) -> Result<u64, Wrong> {
        let bytes = self.take(field, 8)?;
        Ok(bytes.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte)))
    }

    /// A number of things of which each takes `least` bytes or more of what is left.
    fn count(&mut self, field: &str, least: usize) -> Result<usize, Wrong> {
        let count = self.u64(field)?;
        let most = self.left() / least;
        if count > most as u64 {
            let expected = format!("at most {most} in the {} bytes that are left", self.left());
            return Err(Wrong::new(field, count, expected));
        }
        Ok(count as usize)
    }

    /// A number of elements of an array, of which each takes `least` bytes or more.
    fn elements(&mut self, field: &str, least: usize) -> Result<usize, Wrong> {
        let count = self.count(field, least)?;
        if count > MAX_ELEMENTS {
            return Err(Wrong::new(field, count, format!("at most {MAX_ELEMENTS}")));
        }
        Ok(count)
    }

    fn string(&mut self, field: &str, most: u64) -> Result<String, Wrong> {
        let len_field = || format!("length of {field}");
        let len = self.u64(&len_field())?;
        let most = most.min(self.left() as u64);
        if len > most {
            return Err(Wrong::new(len_field(), len, format!("at most {most}")));
        }
        let bytes = self.take(field, len as usize)?;
        let text = std::str::from_utf8(bytes);
        text.map(str::to_owned).map_err(|error| Wrong::new(field, error, "UTF-8"))
    }

    fn value(&mut self, key: &str) -> Result<Value, Wrong> {
        let field = format!("`{key}`");
        let id = self.u32(&format!("type of {field}"))?;
        match id {
            STRING => Ok(Value::String(self.string(&field, MAX_TEXT)?)),
            ARRAY => Ok(Value::Array(self.array(&field)?)),
            _ => {
                let Some(size) = scalar_bytes(id) else {
                    return Err(Wrong::new(format!("type of {field}"), id, known_types(true)));
                };
                let bytes = self.take(&field, size)?;
                scalar(id, bytes).ok_or_else(|| Wrong::new(field, bytes[0], "0 or 1"))
            }
        }
    }

    fn array(&mut self, field: &str) -> Result<Array, Wrong> {
        let id = self.u32(&format!("type of the elements of {field}"))?;
        let count = format!("number of elements of {field}");
        if id == STRING {
            let count = self.elements(&count, 8)?;
            // Grows as strings are read: a short file cannot ask for much.
            let mut list = Vec::new();
            for i in 0..count {
                list.push(self.string(&format!("element {i} of {field}"), MAX_TEXT)?);
            }
            return Ok(Array::String(list));
        }
        let Some(size) = scalar_bytes(id) else {
            let field = format!("type of the elements of {field}");
            return Err(Wrong::new(field, id, known_types(false)));
        };
        let count = self.elements(&count, size)?;
        let bytes = self.take(field, count * size)?;
        scalars(id, bytes).ok_or_else(|| {
            let other = bytes.iter().max().copied().unwrap_or_default();
            Wrong::new(format!("an element of {field}"), other, "0 or 1")
        })
    }

    fn tensor(&mut self, i: usize) -> Result<Info, Wrong> {
        let name = self.string(&format!("name of tensor {i}"), MAX_NAME)?;
        let of = |what: &str| format!("{what} of tensor `{name}`");
        let num_dims = self.u32(&of("number of dimensions"))?;
        if num_dims > MAX_DIMS {
            return Err(Wrong::new(of("number of dimensions"), num_dims, "4 at most"));
        }
        let mut shape = Vec::new();
        let mut elements = 1u64;
        for d in 0..num_dims {
            let field = of(&format!("dimension {d}"));
            let size = self.u64(&field)?;
            let product = elements.checked_mul(size).filter(|n| (1..=1 << 60).contains(n));
            elements = product.ok_or_else(|| {
                Wrong::new(field, size, "1 or more, and 2^60 at most with the other dimensions")
            })?;
            shape.insert(0, size as usize);
        }
        let id = self.u32(&of("type"))?;
        let Some(dtype) = DType::ALL.into_iter().find(|dtype| dtype.id() == id) else {
            let known = DType::ALL.map(|dtype| format!("{} ({})", dtype.id(), dtype.name()));
            return Err(Wrong::new(of("type"), id, format!("one of {}", known.join(", "))));
        };
        let row = shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(dtype.block_len()) {
            let expected = format!("a multiple of {} for {}", dtype.block_len(), dtype.name());
            return Err(Wrong::new(of("dimension 0"), row, expected));
        }
        let bytes = elements / dtype.block_len() as u64 * dtype.block_bytes() as u64;
        let offset = self.u64(&of("offset"))?;
        Ok(Info { name, shape, dtype, bytes, offset })
    }
}
