//! Models that hear.

pub mod log_mel;
pub mod voxtral;
pub mod whisper;
