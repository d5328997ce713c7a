//! Whether the frames of a clip belong together, and which do not.

pub mod faults;
pub mod frames;
pub mod region;
pub mod series;
pub mod track;

#[cfg(test)]
mod testing;
