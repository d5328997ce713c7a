//! Headers of safetensors files and indices of shards, and what can be wrong with them.

use crate::Error;
use safetensors::tensor::TensorInfo;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path};

/// The tensors of a file's header and where their bytes are in the file.
pub(super) type Header = Vec<(String, TensorInfo, Range<usize>)>;

/// Also what the writer says of the file.
pub(super) fn read_header(
    path: &Path,
    bytes: &[u8],
) -> Result<(Header, BTreeMap<String, String>), Error> {
    let (len, metadata) = SafeTensors::read_metadata(bytes)
        .map_err(|error| Error::Format { path: path.to_owned(), reason: explain(bytes, error) })?;
    let start = 8 + len;
    let mut header: Header = metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let range = start + info.data_offsets.0..start + info.data_offsets.1;
            (name, info.clone(), range)
        })
        .collect();
    header.sort_by(|a, b| a.0.cmp(&b.0));
    let notes = metadata.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok((header, notes))
}

/// The library's reason with the numbers that it leaves out.
fn explain(bytes: &[u8], error: SafeTensorError) -> String {
    let size = bytes.len();
    let declared = bytes.first_chunk().map_or(0, |&len| u64::from_le_bytes(len));
    match error {
        SafeTensorError::HeaderTooSmall => {
            format!("it has {size} bytes, expected at least 8 for the length of the header")
        }
        SafeTensorError::HeaderTooLarge => {
            format!("its header claims {declared} bytes, expected at most 100000000")
        }
        SafeTensorError::InvalidHeaderLength => {
            format!("its header claims {declared} bytes, the file has {size}")
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            let header: serde_json::Value = header_json(bytes);
            let ends = header.as_object().into_iter().flatten().filter_map(|(_, tensor)| {
                tensor.get("data_offsets").and_then(|offsets| offsets.get(1)?.as_u64())
            });
            let expected = ends.max().unwrap_or(0).saturating_add(declared).saturating_add(8);
            format!("it has {size} bytes, its header describes {expected}; it may be cut short")
        }
        SafeTensorError::InvalidHeaderDeserialization(error) => {
            let header = header_json(bytes);
            let unknown = header.as_object().into_iter().flatten().find_map(|(name, tensor)| {
                let dtype = tensor.get("dtype")?;
                let known = serde_json::from_value::<Dtype>(dtype.clone()).is_ok();
                (!known).then(|| format!("tensor `{name}` has unknown dtype {dtype}"))
            });
            unknown.unwrap_or_else(|| format!("its header is not valid: {error}"))
        }
        SafeTensorError::TensorInvalidInfo => {
            let header = header_json(bytes);
            let wrong = header.as_object().into_iter().flatten().find_map(wrong_size);
            wrong.unwrap_or_else(|| "a tensor's shape does not fit its bytes".to_owned())
        }
        other => other.to_string(),
    }
}

fn header_json(bytes: &[u8]) -> serde_json::Value {
    let len = bytes.first_chunk().map_or(0, |&len| u64::from_le_bytes(len) as usize);
    let header = bytes.get(8..8usize.saturating_add(len)).unwrap_or_default();
    serde_json::from_slice(header).unwrap_or_default()
}

/// Says so if this entry of a header has another number of bytes than its shape needs.
fn wrong_size((name, tensor): (&String, &serde_json::Value)) -> Option<String> {
    let info: TensorInfo = serde_json::from_value(tensor.clone()).ok()?;
    let found = info.data_offsets.1.checked_sub(info.data_offsets.0)?;
    let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |n, &d| n.checked_mul(d))?;
    let (shape, dtype, expected) = (&info.shape, info.dtype, bits.div_ceil(8));
    (found != expected).then(|| {
        format!("tensor `{name}` has {found} bytes, expected {expected} for {dtype} {shape:?}")
    })
}

/// The shard of each tensor; every shard a plain file name.
pub(super) fn parse_index(text: &[u8]) -> Result<BTreeMap<String, String>, String> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    for (name, shard) in &index.weight_map {
        let mut parts = Path::new(shard).components();
        let plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        if !plain || shard.contains(['/', '\\', ':']) {
            return Err(format!(
                "tensor `{name}` is in shard `{shard}`, expected a file name in the same folder"
            ));
        }
    }
    Ok(index.weight_map)
}
