//! Tensors: shape, dtype and storage, operations that check shapes and call kernels, an optional
//! tape for training, and the files that hold weights.
//!
//! Loading may fail and returns [`Error`]; computing does not: an operation panics on shapes that
//! do not fit, since shapes are fixed when a model is loaded.

pub mod atomic;
mod checksums;
pub mod device;
mod error;
pub mod gguf;
pub mod ops;
pub mod profile;
pub mod safetensors;
pub mod sealed;
pub mod tape;
pub mod tensor;
pub mod weight;

pub use device::Device;
pub use error::Error;
pub use kernels::activation::Activation;
pub use kernels::attention::{
    Attention, AttentionSpan, Kv, KvPages, KvType, PAGE_TOKENS, Page, PageError,
};
pub use kernels::cuda::{Cuda, Unavailable};
pub use kernels::lightning_attention::{
    BLOCK as LIGHTNING_BLOCK, Lightning, LightningState, Piece,
};
pub use kernels::linear_attention::LinearAttention;
pub use kernels::rope::Rope;
pub use kernels::rope_table::{Angles, Pairing};
pub use kernels::{BufferPlan, Rng, adamw, muon, peak};
pub use ops::attention::AttentionRows;
pub use ops::conv::Window;
pub use ops::loss::LOG_VARIANCE;
pub use ops::moe::{Groups, Routing};
pub use ops::optimizer::MuonParameter;
pub use ops::token::CrossEntropy;
pub use profile::Profile;
pub use safetensors::{Checkpoint, Saved};
pub use tape::Gradients;
pub use tensor::Tensor;
pub use weight::{Precision, Weight};
