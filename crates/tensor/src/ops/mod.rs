//! Operations: each checks shapes, calls its kernel and puts its derivative on the tape.

pub mod attention;
mod elementwise;
mod linear;
mod moe;
mod norm;
mod rows;
pub mod token;
