//! Operations: each checks shapes, calls its kernel and puts its derivative on the tape.

mod affine;
pub mod attention;
pub mod conv;
mod elementwise;
mod layout;
mod linear;
mod linear_attention;
pub(crate) mod loss;
pub mod moe;
mod norm;
pub mod optimizer;
mod rows;
mod squares;
pub mod token;
