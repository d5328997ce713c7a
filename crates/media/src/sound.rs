//! Sounds: WAV, MP3, FLAC and Ogg Vorbis to samples of one channel at the rate that a model hears.

mod resampler;

use crate::{Error, check_bytes, guarded};
use resampler::Resampler;
use std::io::Cursor;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Cause;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;

/// What a sound may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes: usize,
    /// Length in seconds.
    pub seconds: u64,
}

impl Default for Limits {
    /// 128 MiB, 30 minutes.
    fn default() -> Self {
        Self { bytes: 128 << 20, seconds: 30 * 60 }
    }
}

/// A decoded sound.
#[derive(Clone, Debug, PartialEq)]
pub struct Sound {
    /// The mean of all channels, between -1 and 1 unless the file goes beyond.
    pub samples: Vec<f32>,
    /// Samples per second.
    pub rate: u32,
    /// Whether the file ends or is damaged before its sound ends: this is what comes before.
    pub cut_short: bool,
}

impl Sound {
    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }
}

/// Rates that files may have, in samples per second, and channels.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=384_000;
const CHANNELS: std::ops::RangeInclusive<usize> = 1..=32;
const LAYOUTS: &str = "4000 to 384000 samples per second and 1 to 32 channels";

/// Damaged packets in a row after which a file is given up.
const DAMAGED: usize = 64;

/// Decodes a sound to `rate` samples per second; its kind is told by its contents.
///
/// # Errors
///
/// If it is of another kind, has no samples, or is larger or longer than `limits` allow; what a file
/// says of its length is looked at before anything is decoded, and no more is decoded than allowed.
pub fn decode(bytes: Vec<u8>, rate: u32, limits: &Limits) -> Result<Sound, Error> {
    check_bytes(bytes.len(), limits.bytes)?;
    guarded("sound", || decode_unguarded(bytes, rate, limits))
}

fn decode_unguarded(bytes: Vec<u8>, rate: u32, limits: &Limits) -> Result<Sound, Error> {
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), Default::default());
    let (formats, meta) = (FormatOptions::default(), MetadataOptions::default());
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), stream, formats, meta)
        .map_err(|_| Error::NoSound)?;
    let is_wav = format.format_info().short_name == "wave";
    let track = format.default_track(TrackType::Audio).ok_or(Error::NoSound)?;
    let parameters = track.codec_params.as_ref().and_then(|codec| codec.audio());
    let parameters = parameters.ok_or(Error::NoSound)?;
    // Of a WAV that was written to a pipe the header says the largest length there is.
    let frames = track.num_frames.filter(|_| !is_wav);
    if let (Some(frames), Some(rate)) = (frames, parameters.sample_rate)
        && frames > limits.seconds.saturating_mul(rate.into())
    {
        return Err(Error::TooLong { limit: limits.seconds });
    }
    let track_id = track.id;
    let decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|_| Error::NoSound)?;
    Decoding { format: &mut *format, decoder, track_id }.run(rate, limits)
}

struct Decoding<'a, 's> {
    format: &'a mut (dyn FormatReader + 's),
    decoder: Box<dyn AudioDecoder>,
    track_id: u32,
}

impl Decoding<'_, '_> {
    fn run(mut self, rate: u32, limits: &Limits) -> Result<Sound, Error> {
        let mut resampler: Option<Resampler> = None;
        let (mut interleaved, mut mono): (Vec<f32>, Vec<f32>) = Default::default();
        let (mut cut_short, mut damaged) = (false, 0);
        while damaged < DAMAGED {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                // The end of the file inside a packet, or a second stream in a chain of them.
                Err(_) => {
                    cut_short = true;
                    break;
                }
            };
            if packet.track_id != self.track_id {
                continue;
            }
            let buffer = match self.decoder.decode(&packet) {
                Ok(buffer) => buffer,
                Err(Cause::DecodeError(_) | Cause::IoError(_)) => {
                    damaged += 1;
                    cut_short = true;
                    continue;
                }
                Err(_) => {
                    cut_short = true;
                    break;
                }
            };
            damaged = 0;
            let (from, channels) = (buffer.spec().rate(), buffer.spec().channels().count());
            if !RATES.contains(&from) || !CHANNELS.contains(&channels) {
                return Err(Error::Layout { rate: from, channels, expected: LAYOUTS });
            }
            buffer.copy_to_vec_interleaved(&mut interleaved);
            if interleaved.iter().any(|sample| !sample.is_finite()) {
                return Err(Error::Damaged { kind: "sound" });
            }
            mono.clear();
            let mean = |frame: &[f32]| frame.iter().sum::<f32>() / channels as f32;
            mono.extend(interleaved.chunks_exact(channels).map(mean));
            let resampler = match &mut resampler {
                Some(resampler) if resampler.from() == from => resampler,
                // A rate that changes on the way ends what can be heard.
                Some(_) => {
                    cut_short = true;
                    break;
                }
                none => none.insert(Resampler::new(from, rate)),
            };
            resampler.push(&mono);
            if resampler.frames() > limits.seconds.saturating_mul(from.into()) {
                return Err(Error::TooLong { limit: limits.seconds });
            }
        }
        let samples = resampler.map(Resampler::finish).unwrap_or_default();
        match samples.is_empty() {
            true => Err(if cut_short { Error::Damaged { kind: "sound" } } else { Error::Silent }),
            false => Ok(Sound { samples, rate, cut_short }),
        }
    }
}
