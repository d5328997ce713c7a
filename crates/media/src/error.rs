//! What can be wrong with a picture or a sound.

/// One sentence each, fit for whoever sent the file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// Nothing at all.
    #[error("the file is empty")]
    Empty,
    /// A file larger than allowed.
    #[error("the file has {bytes} bytes, expected at most {limit}")]
    TooManyBytes {
        /// How many there are.
        bytes: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A picture that is none of the kinds that are read.
    #[error("the file is no picture that can be read, expected PNG, JPEG, WebP or GIF")]
    NoPicture,
    /// A sound that is none of the kinds that are read.
    #[error("the file is no sound that can be read, expected WAV, MP3, FLAC or Ogg Vorbis")]
    NoSound,
    /// A file whose contents are not what its kind has.
    #[error("the {kind} is damaged")]
    Damaged {
        /// What it claims to be.
        kind: &'static str,
    },
    /// A picture in which there is nothing to see.
    #[error("the picture has {width} x {height} pixels, expected at least one")]
    NoPixels {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// A picture with more pixels than allowed.
    #[error(
        "the picture has {width} x {height} pixels, expected at most {pixels} and {side} a side"
    )]
    TooManyPixels {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// How many there may be.
        pixels: u64,
        /// How long a side may be.
        side: u32,
    },
    /// A sound that is longer than allowed.
    #[error("the sound is longer than {limit} s")]
    TooLong {
        /// How long it may be, in seconds.
        limit: u64,
    },
    /// A sound without samples.
    #[error("the sound has no samples")]
    Silent,
    /// A sound of a rate or a number of channels that nobody uses.
    #[error("the sound has {rate} samples per second and {channels} channels, expected {expected}")]
    Layout {
        /// Samples per second.
        rate: u32,
        /// Channels.
        channels: usize,
        /// What there may be.
        expected: &'static str,
    },
}
