//! Pictures, sounds and clips as people send them: files of which everything is doubted; and clips to files.
//!
//! Limits are checked before anything is decoded, so memory is bounded by them and not by what a file
//! says of itself. What decoders say of a damaged file stays here.

pub mod clip;
mod error;
mod gif;
pub mod picture;
pub mod sound;
pub mod timeline;

pub use clip::Clip;
pub use error::Error;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `decode` gives; a decoder that panics has found a damaged file.
fn guarded<T>(kind: &'static str, decode: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or(Err(Error::Damaged { kind }))
}

/// Refuses a file of `bytes` bytes if there may be `limit`.
fn check_bytes(bytes: usize, limit: usize) -> Result<(), Error> {
    match bytes {
        0 => Err(Error::Empty),
        bytes if bytes > limit => Err(Error::TooManyBytes { bytes, limit }),
        _ => Ok(()),
    }
}
