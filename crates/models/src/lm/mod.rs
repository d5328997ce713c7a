//! Language models, one file each.

pub mod minimax_text_01;
