//! The front end of Whisper and of the models that have its encoder: log-mel features.
//!
//! ```text
//! power[f, t]  = |FFT(hann(400) x[160 t - 200 .. 160 t + 200])|^2        x mirrored at its ends
//! mel[b, t]    = max(sum_f filter[b, f] power[f, t], 1e-10)
//! out[b, t]    = max(log10 mel[b, t], max(log10 mel) - 8) / 4 + 1
//! ```
//!
//! Filters are triangles between points that are even on Slaney's mel scale, each of area 1; compared
//! with `feature_extraction_whisper.py` of transformers. All in f64; a window of 30 s takes a few
//! milliseconds.

use realfft::{RealFftPlanner, RealToComplex};
use std::fmt;
use std::sync::Arc;

/// Samples per second of what is heard.
pub const SAMPLE_RATE: usize = 16_000;
/// Samples from one frame to the next: frames are 10 ms apart.
pub const HOP: usize = 160;
/// Frames of a window, 30 s.
pub const WINDOW_FRAMES: usize = 3000;

/// Samples of one transform.
const N_FFT: usize = 400;
/// What a silent bin counts.
const FLOOR: f64 = 1e-10;
/// How far below the loudest bin of a window others count, in powers of ten.
const RANGE: f64 = 8.0;

/// The front end for one number of bins.
#[derive(Clone)]
pub struct LogMel {
    filters: Vec<Filter>,
    hann: Vec<f64>,
    fft: Arc<dyn RealToComplex<f64>>,
}

/// A filter where it is not 0.
#[derive(Clone, Debug)]
struct Filter {
    first: usize,
    weights: Vec<f64>,
}

impl LogMel {
    /// With `bins` mel bins between 0 and 8 kHz: 80 in Whisper's smaller models, 128 in the large ones.
    pub fn new(bins: usize) -> Self {
        let turn = std::f64::consts::TAU / N_FFT as f64;
        Self {
            filters: filters(bins),
            hann: (0..N_FFT).map(|i| 0.5 - 0.5 * (turn * i as f64).cos()).collect(),
            fft: RealFftPlanner::new().plan_fft_forward(N_FFT),
        }
    }

    /// Number of bins.
    pub fn bins(&self) -> usize {
        self.filters.len()
    }

    /// Features of the first 30 s of `samples`, `[bins, 3000]`; silence follows what is shorter.
    pub fn window(&self, samples: &[f32]) -> Vec<f32> {
        self.frames(samples, WINDOW_FRAMES)
    }

    /// Features of the first `160 frames` samples, `[bins, frames]`; silence follows what is shorter.
    ///
    /// # Panics
    ///
    /// If there are fewer than 2 frames, which have nothing to mirror.
    pub fn frames(&self, samples: &[f32], frames: usize) -> Vec<f32> {
        assert!(frames >= 2, "{frames} frames");
        let len = frames * HOP;
        let sample = |i: usize| samples.get(i).map_or(0.0, |&x| f64::from(x));
        let (mut input, mut spectrum) = (self.fft.make_input_vec(), self.fft.make_output_vec());
        let mut scratch = self.fft.make_scratch_vec();
        let mut logs = vec![0.0; self.bins() * frames];
        let mut loudest = f64::NEG_INFINITY;
        for t in 0..frames {
            for (i, (input, hann)) in input.iter_mut().zip(&self.hann).enumerate() {
                let at = (t * HOP + i).abs_diff(N_FFT / 2);
                let at = if at < len { at } else { 2 * (len - 1) - at };
                *input = hann * sample(at);
            }
            let done = self.fft.process_with_scratch(&mut input, &mut spectrum, &mut scratch);
            done.expect("buffers that the plan made");
            for (bin, filter) in self.filters.iter().enumerate() {
                let power = spectrum[filter.first..].iter().map(|x| x.norm_sqr());
                let mel: f64 = power.zip(&filter.weights).map(|(p, w)| p * w).sum();
                let log = mel.max(FLOOR).log10();
                logs[bin * frames + t] = log;
                loudest = loudest.max(log);
            }
        }
        logs.iter().map(|log| (log.max(loudest - RANGE) / 4.0 + 1.0) as f32).collect()
    }
}

impl fmt::Debug for LogMel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogMel({} bins)", self.bins())
    }
}

/// Where Slaney's scale goes from linear to logarithmic, in hertz and in mels.
const KNEE: [f64; 2] = [1000.0, 15.0];

fn mel_of(hertz: f64) -> f64 {
    match hertz < KNEE[0] {
        true => hertz * KNEE[1] / KNEE[0],
        false => KNEE[1] + (hertz / KNEE[0]).ln() * 27.0 / 6.4f64.ln(),
    }
}

fn hertz_of(mel: f64) -> f64 {
    match mel < KNEE[1] {
        true => mel * KNEE[0] / KNEE[1],
        false => KNEE[0] * ((mel - KNEE[1]) * 6.4f64.ln() / 27.0).exp(),
    }
}

/// Triangles over the frequencies of the transform.
fn filters(bins: usize) -> Vec<Filter> {
    let top = mel_of(SAMPLE_RATE as f64 / 2.0);
    let point = |i: usize| hertz_of(top * i as f64 / (bins + 1) as f64);
    let hertz = |f: usize| (f * SAMPLE_RATE) as f64 / N_FFT as f64;
    let filter = |bin: usize| {
        let [left, middle, right] = [point(bin), point(bin + 1), point(bin + 2)];
        let weight = |f: usize| {
            let (up, down) = (hertz(f) - left, right - hertz(f));
            (up / (middle - left)).min(down / (right - middle)) * 2.0 / (right - left)
        };
        let inside = |&f: &usize| left < hertz(f) && hertz(f) < right;
        let first = (0..=N_FFT / 2).find(inside).unwrap_or(0);
        let weights = (first..=N_FFT / 2).take_while(inside).map(weight).collect();
        Filter { first, weights }
    };
    (0..bins).map(filter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64, amplitude: f64, samples: usize) -> Vec<f32> {
        let turn = std::f64::consts::TAU * hertz / SAMPLE_RATE as f64;
        (0..samples).map(|i| (amplitude * (turn * i as f64).sin()) as f32).collect()
    }

    #[test]
    fn the_scale_and_its_inverse() {
        assert_eq!(mel_of(500.0), 7.5);
        assert!((mel_of(6400.0) - 42.0).abs() < 1e-12);
        for hertz in [0.0, 10.0, 999.0, 1000.0, 1001.0, 8000.0] {
            assert!((hertz_of(mel_of(hertz)) - hertz).abs() < 1e-9, "{hertz}");
        }
    }

    /// The sum of the definition, without a fast transform, at one place.
    #[test]
    fn a_bin_is_what_the_definition_says() {
        let samples = tone(700.0, 0.3, 4000);
        let (frames, t, bin) = (30, 11, 20);
        let front_end = LogMel::new(80);
        let got = front_end.frames(&samples, frames)[bin * frames + t];
        let filter = &front_end.filters[bin];
        let mut mel = 0.0;
        for (i, weight) in filter.weights.iter().enumerate() {
            let turn = std::f64::consts::TAU * (filter.first + i) as f64 / 400.0;
            let (mut re, mut im) = (0.0, 0.0);
            for n in 0..400 {
                let hann = 0.5 - 0.5 * (std::f64::consts::TAU * n as f64 / 400.0).cos();
                let x = hann * f64::from(samples[t * 160 + n - 200]);
                re += x * (turn * n as f64).cos();
                im -= x * (turn * n as f64).sin();
            }
            mel += weight * (re * re + im * im);
        }
        assert!((f64::from(got) - (mel.log10() / 4.0 + 1.0)).abs() < 1e-6, "{got} {mel}");
    }

    #[test]
    fn silence_is_even_and_a_tone_is_where_it_is() {
        for bins in [80, 128] {
            let front_end = LogMel::new(bins);
            for silence in [&[][..], &[0.0; 1000]] {
                assert_eq!(front_end.window(silence), vec![-1.5; bins * WINDOW_FRAMES]);
            }
            for hertz in [440.0, 3000.0] {
                let features = front_end.frames(&tone(hertz, 0.5, 16_000), 100);
                let column: Vec<f32> = features.chunks_exact(100).map(|bin| bin[50]).collect();
                let loudest = (0..bins).max_by(|&a, &b| column[a].total_cmp(&column[b])).unwrap();
                let expected = mel_of(hertz) / mel_of(8000.0) * (bins + 1) as f64 - 1.0;
                assert!((loudest as f64 - expected).abs() <= 1.0, "{hertz} Hz: {loudest}");
                // Silence after it is as far below as anything may be.
                let late = front_end.frames(&tone(hertz, 0.5, 16_000), 200);
                let max = late.iter().copied().fold(f32::MIN, f32::max);
                assert!((late[199] - (max - 2.0)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn what_is_longer_than_the_window_is_not_heard() {
        let mut samples = tone(440.0, 0.1, 480_000 + 1000);
        let front_end = LogMel::new(80);
        let features = front_end.window(&samples);
        samples[480_000..].fill(1.0);
        assert_eq!(front_end.window(&samples), features);
    }
}
