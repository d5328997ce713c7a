//! Numerical kernels: slices in, slices out.
//!
//! Nothing here knows about tensors, files or models. Each operation is one module holding, top to
//! bottom: the formula, the public entry point (checks and dispatch), the fast path, the reference,
//! the tests. Read `reference` first: it is the definition of the operation.

pub mod activation;
pub mod adamw;
pub mod affine;
pub mod attention;
pub mod buffers;
pub mod conv;
pub mod cpu;
pub mod cross_entropy;
pub mod cuda;
pub mod elementwise;
pub mod embedding;
pub mod exp;
pub mod half;
mod lanes;
pub mod layer_norm;
pub mod layout;
pub mod lightning_attention;
pub mod linear_attention;
pub mod matmul;
pub mod memory;
pub mod moe;
pub mod muon;
pub mod peak;
pub mod quant;
pub mod rms_norm;
pub mod rng;
pub mod rope;
pub mod rope_table;
pub mod softmax;
pub mod threads;

#[cfg(test)]
pub(crate) mod testing;

pub use buffers::{BufferPlan, Buffers};
pub use cpu::{Arithmetic, Cpu, Exec};
pub use rng::Rng;
pub use threads::Threads;
