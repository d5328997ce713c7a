//! Tensors: shape, dtype and storage, operations that check shapes and call kernels, an optional
//! tape for training, and the files that hold weights.
//!
//! Loading may fail and returns [`Error`]; computing does not: an operation panics on shapes that
//! do not fit, since shapes are fixed when a model is loaded.

pub mod device;
pub mod ops;
pub mod tape;
pub mod tensor;

pub use device::Device;
pub use kernels::Rng;
pub use tape::Gradients;
pub use tensor::Tensor;
