//! What can be wrong with a picture, a sound or a clip.

use std::path::PathBuf;

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
    /// A clip that is none of the kinds that are read.
    #[error("the file is no clip that can be read, expected an MP4 of ours, GIF or Y4M")]
    NoClip,
    /// A clip without frames.
    #[error("the clip has no frames, expected at least one")]
    NoFrames,
    /// A clip larger than allowed.
    #[error(
        "the clip has {frames} frames of {width} x {height} pixels, expected at most {most} frames, \
         {side} a side and {pixels} pixels in all"
    )]
    ClipTooLarge {
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
        /// How many there are, as far as they were counted.
        frames: usize,
        /// How long a side may be.
        side: usize,
        /// How many frames there may be.
        most: usize,
        /// How many pixels all frames may have.
        pixels: usize,
    },
    /// An MP4 that needs a decoder that is not here.
    #[error(
        "the MP4 has to be decoded, expected one of ours: H.264 with nothing but I-PCM macroblocks"
    )]
    ForeignMp4,
    /// A Y4M of other planes.
    #[error("the Y4M has planes of `{found}`, expected 8 bits of 420, 444 or mono")]
    ForeignY4m {
        /// As the file says.
        found: String,
    },
    /// A folder with more pictures than a clip may have frames.
    #[error("the folder has more PNG files than {limit}, as many as there may be")]
    TooManyFrames {
        /// How many there may be.
        limit: usize,
    },
    /// A folder whose pictures are larger than allowed.
    #[error("the PNG files of the folder have more than {limit} bytes together")]
    FolderTooLarge {
        /// How many there may be.
        limit: usize,
    },
    /// A folder that is no clip.
    #[error("`{}` has no PNG files, expected one of each frame", path.display())]
    NoPngs {
        /// The folder.
        path: PathBuf,
    },
    /// A frame that is not as its neighbors.
    #[error("the frame has {width} x {height} pixels, expected {} x {} as the first one", expected.0, expected.1)]
    FrameSize {
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
        /// Width and height of the first frame.
        expected: (usize, usize),
    },
    /// A frame of a folder that cannot be read.
    #[error("`{}`: {cause}", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: Box<Self>,
    },
    /// A path to write to whose ending is of no format.
    #[error(
        "`{}` has an ending of no format, expected `.mp4`, `.gif`, `.y4m`, or `/` for a folder of PNG frames",
        path.display()
    )]
    Ending {
        /// The path.
        path: PathBuf,
    },
    /// A rate that clips cannot have.
    #[error("the clip has {rate} frames per second, expected 0.01 to 1000")]
    Rate {
        /// Frames per second.
        rate: f64,
    },
    /// Frames that would be enlarged too much, or not be there.
    #[error(
        "frames of {width} x {height} pixels are enlarged by {scale}, expected 1 or more, and sides of at most {side} pixels"
    )]
    Scale {
        /// How many pixels would stand for one.
        scale: usize,
        /// In pixels.
        width: usize,
        /// In pixels.
        height: usize,
        /// How long a side may become.
        side: usize,
    },
    /// Frames that H.264 does not have.
    #[error(
        "an MP4 of {width} x {height} pixels is too large, expected at most 16880 a side and 35651584 pixels"
    )]
    Mp4TooLarge {
        /// In pixels, enlarged.
        width: usize,
        /// In pixels, enlarged.
        height: usize,
    },
    /// Frames that are too small for AV1.
    #[error(
        "AV1 of {width} x {height} pixels is too small, expected sides of 16 pixels or more: enlarge the frames"
    )]
    #[cfg(feature = "av1")]
    Av1TooSmall {
        /// In pixels, enlarged.
        width: usize,
        /// In pixels, enlarged.
        height: usize,
    },
    /// What the encoder of AV1 says.
    #[error("cannot make AV1: {cause}")]
    #[cfg(feature = "av1")]
    Av1 {
        /// In its words.
        cause: String,
    },
    /// Frames whose pixels cannot share colors in pairs.
    #[error(
        "an MP4 of {width} x {height} pixels has an odd side, expected even ones: enlarge the frames by an even number"
    )]
    Mp4Odd {
        /// In pixels, enlarged.
        width: usize,
        /// In pixels, enlarged.
        height: usize,
    },
    /// More frames than an MP4 without compression holds.
    #[error(
        "a clip of {frames} frames is too long for an MP4, expected at most 10000 frames and 4 GiB"
    )]
    Mp4TooLong {
        /// How many there are.
        frames: usize,
    },
    /// More frames per second than GIF players show.
    #[error("a GIF shows 50 frames per second at most, found {rate}: write an MP4")]
    GifTooFast {
        /// Frames per second.
        rate: f64,
    },
    /// Frames that GIF does not have.
    #[error("a GIF has at most 65535 pixels a side, found {width} x {height}")]
    GifTooLarge {
        /// In pixels, enlarged.
        width: usize,
        /// In pixels, enlarged.
        height: usize,
    },
    /// What an encoder refuses.
    #[error("cannot make a {kind}: {cause}")]
    Encoder {
        /// What was to be made.
        kind: &'static str,
        /// What it says.
        cause: String,
    },
    /// A file that cannot be read.
    #[error("cannot read `{}`: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// Bytes of a clip that cannot be written.
    #[error("cannot write the clip: {cause}")]
    Output {
        /// What the system says.
        cause: String,
    },
    /// A file that cannot be written.
    #[error("cannot write `{}`: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
}
