//! From one rate to another, piece by piece.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Indexing, Resampler as _};

/// Frames that are taken at once, more or less.
const CHUNK: usize = 4096;

/// Takes samples as they come and gives all of them at another rate.
pub(super) struct Resampler {
    /// None if both rates are the same.
    fft: Option<Fft<f32>>,
    from: u32,
    to: u32,
    /// What does not fill a chunk yet.
    pending: Vec<f32>,
    out: Vec<f32>,
    frames: u64,
}

impl Resampler {
    pub(super) fn new(from: u32, to: u32) -> Self {
        let new = || {
            let (from, to) = (from as usize, to as usize);
            let made = Fft::new(from, to, CHUNK, 1, FixedSync::Both);
            made.expect("rates above 0 and one channel")
        };
        let fft = (from != to).then(new);
        Self { fft, from, to, pending: Vec::new(), out: Vec::new(), frames: 0 }
    }

    /// The rate of what is pushed.
    pub(super) fn from(&self) -> u32 {
        self.from
    }

    /// How many samples were pushed.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) fn push(&mut self, samples: &[f32]) {
        self.frames += samples.len() as u64;
        let Some(fft) = &mut self.fft else { return self.out.extend_from_slice(samples) };
        self.pending.extend_from_slice(samples);
        let chunk = fft.input_frames_next();
        let whole = self.pending.len() / chunk * chunk;
        for part in self.pending[..whole].chunks_exact(chunk) {
            process(fft, part, &mut self.out);
        }
        self.pending.drain(..whole);
    }

    /// All samples, the first at the time of the first that was pushed.
    pub(super) fn finish(mut self) -> Vec<f32> {
        let Some(mut fft) = self.fft else { return self.out };
        let delay = fft.output_delay();
        let len = (self.frames * u64::from(self.to)).div_ceil(self.from.into()) as usize;
        process(&mut fft, &self.pending, &mut self.out);
        while self.out.len() < delay + len {
            process(&mut fft, &[], &mut self.out);
        }
        self.out.truncate(delay + len);
        self.out.drain(..delay);
        self.out
    }
}

/// Appends what becomes of a chunk, or of less than one, with silence behind it.
fn process(fft: &mut Fft<f32>, samples: &[f32], out: &mut Vec<f32>) {
    let (start, chunk) = (out.len(), fft.input_frames_next());
    let mut padded;
    let samples = match samples.len() < chunk {
        true => {
            padded = samples.to_vec();
            padded.resize(chunk, 0.0);
            &padded
        }
        false => samples,
    };
    let len = fft.output_frames_next();
    out.resize(start + len, 0.0);
    let input = InterleavedSlice::new(samples, 1, chunk).expect("a whole chunk");
    let mut output = InterleavedSlice::new_mut(&mut out[start..], 1, len).expect("room for it");
    let done = fft.process_into_buffer(&input, &mut output, Some(&Indexing::new()));
    let (_, written) = done.expect("buffers as long as they must be");
    out.truncate(start + written);
}
