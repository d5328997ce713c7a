//! What can be wrong with a file of tensors.

use std::path::PathBuf;

/// One sentence each, with the file, the tensor, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// `read`, `write`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder without weights.
    #[error(
        "no weights in `{path}`: expected `model.safetensors` or `model.safetensors.index.json`, or \
         `diffusion_pytorch_model` in place of `model`"
    )]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// A safetensors file that is damaged.
    #[error("`{path}` is not a valid safetensors file: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with found and expected.
        reason: String,
    },
    /// A field of a GGUF file that is not what it must be.
    #[error("`{path}` is not a valid GGUF file: {field} is {found}, expected {expected}")]
    Gguf {
        /// The file.
        path: PathBuf,
        /// The part of the header, the key or the tensor.
        field: String,
        /// What it is.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// An index of shards that is damaged.
    #[error("`{path}` is not a valid index of shards: {reason}")]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong, with found and expected.
        reason: String,
    },
    /// A tensor that is not there.
    #[error("tensor `{name}` is missing in `{path}`")]
    Missing {
        /// The file or folder.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor of another shape.
    #[error("tensor `{name}` in `{path}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// As stored.
        found: Vec<usize>,
        /// As needed.
        expected: Vec<usize>,
    },
    /// A tensor of numbers that cannot be used.
    #[error("tensor `{name}` in `{path}` has dtype {found}, expected {expected}")]
    DType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// As stored.
        found: String,
        /// As needed.
        expected: &'static str,
    },
}

impl Error {
    /// Whether something could not be written, which says nothing about the model.
    pub fn is_write(&self) -> bool {
        matches!(self, Self::Io { action, .. } if *action != "read" && *action != "open")
    }
}
