//! What of a GGUF file's metadata is text's: tokenizer and templates; and what names its type.

use std::path::Path;
use tensor::Checkpoint;
use tensor::gguf::{Array, DType, Format, Metadata, Value};
use text::{GgufTokenizer, GgufValue};

/// What `tokenizer.ggml.model` says if there is none.
const NO_VOCAB: &str = "no_vocab";
const MODEL: &str = "tokenizer.ggml.model";
/// The only list of numbers that is read.
const TYPES: &str = "tokenizer.ggml.token_type";

/// Whether `path` is that of a GGUF file.
pub(crate) fn is_named(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gguf")
}

/// The tokenizer in a file.
///
/// # Errors
///
/// If there is none, or it is of an unknown kind.
pub(crate) fn tokenizer(checkpoint: &Checkpoint) -> Result<GgufTokenizer, text::Error> {
    let keys = checkpoint.metadata().into_iter().flatten();
    let keys = keys.filter(|(key, _)| key.starts_with("tokenizer."));
    let keys = keys.map(|(key, value)| (key.clone(), json_of(key, value))).collect();
    GgufTokenizer::from_keys(&keys, checkpoint.path())
}

/// A value without its type. As JSON a number takes many times what it takes in the file, so of lists
/// of numbers that no tokenizer needs only the length is told.
fn json_of(key: &str, value: &Value) -> serde_json::Value {
    match value {
        Value::Array(list) if value.as_strings().is_none() && key != TYPES => {
            format!("a list of {}", list.len()).into()
        }
        value => value.to_json(),
    }
}

/// The same, `None` if the file says that there is none.
pub(crate) fn tokenizer_or_none(
    checkpoint: &Checkpoint,
) -> Result<Option<GgufTokenizer>, text::Error> {
    let model = checkpoint.metadata().and_then(|metadata| metadata.get(MODEL)?.as_str());
    match model {
        None | Some(NO_VOCAB) => Ok(None),
        Some(_) => tokenizer(checkpoint).map(Some),
    }
}

/// The metadata of a tokenizer, or that there is none.
pub(crate) fn keys(tokenizer: Option<&GgufTokenizer>) -> Metadata {
    let Some(tokenizer) = tokenizer else {
        return Metadata::from([(MODEL.to_owned(), Value::String(NO_VOCAB.to_owned()))]);
    };
    let value = |value| match value {
        GgufValue::Id(id) => Value::U32(id),
        GgufValue::Flag(flag) => Value::Bool(flag),
        GgufValue::Text(text) => Value::String(text),
        GgufValue::Texts(texts) => Value::Array(Array::String(texts)),
        GgufValue::Types(types) => Value::Array(Array::I32(types)),
    };
    tokenizer.to_keys().into_iter().map(|(key, found)| (key, value(found))).collect()
}

/// The metadata that says what most tensors of a file are (`llama_ftype`, and the version of the
/// blocks).
pub(crate) fn file_type(dtype: DType) -> Metadata {
    let id = match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Blocks(Format::Q4_0) => 2,
        DType::Blocks(Format::Q8_0) => 7,
        DType::Blocks(Format::Q4K) => 15,
        DType::Blocks(Format::Q5K) => 17,
        DType::Blocks(Format::Q6K) => 18,
        DType::Bf16 => 32,
    };
    let mut metadata = Metadata::from([("general.file_type".to_owned(), Value::U32(id))]);
    if let DType::Blocks(_) = dtype {
        metadata.insert("general.quantization_version".to_owned(), Value::U32(2));
    }
    metadata
}
