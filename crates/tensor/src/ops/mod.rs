//! Operations: each checks shapes, calls its kernel and puts its derivative on the tape.

pub mod attention;
mod elementwise;
mod linear;
pub mod moe;
mod norm;
pub mod optimizer;
mod rows;
pub mod token;
