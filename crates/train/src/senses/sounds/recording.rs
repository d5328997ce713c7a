//! From tones to samples as a file has them: room, amplifier, noise, level, bandwidth, resolution.

use super::content::Noise;
use super::score::Score;
use super::{RATE, between, between_octaves, decibels, peak, rms, samples};
use tensor::Rng;

/// Decibels of the largest sample, below full scale.
const LEVEL: std::ops::Range<f32> = 1.0..22.0;
/// Decibels below the beeps of noise that nobody is to hear.
const FLOOR: std::ops::Range<f32> = 46.0..75.0;
/// Highest pitch in Hz that is recorded with half the band or less.
const NARROW: f32 = 600.0;

/// `count` samples of tones as they were played, if there are any, and of noise.
pub(super) fn record(
    tones: Option<(Vec<f32>, Score)>,
    noise: Option<Noise>,
    count: usize,
    rng: &mut Rng,
) -> Vec<f32> {
    let is_silent = tones.is_none() && noise.is_none();
    let (mut out, loudness, highest) = match tones {
        Some((played, score)) => {
            let highest = score.beeps.iter().flat_map(|beep| beep.pitch).fold(0.0, f32::max);
            let played = tones_recorded(played, rng);
            let loudness = loudness(&played, &score);
            (played, loudness, highest)
        }
        None => (vec![0.0; count], 0.1, 0.0),
    };
    if let Some(noise) = noise {
        let noise = noise.draw(count, loudness, rng);
        out.iter_mut().zip(noise).for_each(|(out, noise)| *out += noise);
    }
    if rng.chance(0.5) {
        let level = loudness * decibels(-between(FLOOR, rng));
        out.iter_mut().for_each(|out| *out += level * rng.normal());
    }
    if is_silent {
        // There is nothing to bring to a level.
        let gain = decibels(-between(0.0..20.0, rng));
        out.iter_mut().for_each(|out| *out *= gain);
    } else {
        let level = decibels(-between(LEVEL, rng)) / peak(&out).max(f32::MIN_POSITIVE);
        out.iter_mut().for_each(|out| *out *= level);
        if rng.chance(0.35) {
            let lowest = if highest < NARROW { 3200.0 } else { 6500.0 };
            out = narrow(&out, between_octaves(lowest..7600.0, rng));
        }
    }
    if rng.chance(0.1) {
        let offset = between(-0.02..0.02, rng);
        out.iter_mut().for_each(|out| *out += offset);
    }
    // Eight bits of a soft recording would be a hiss: they are 53 dB below full scale.
    let steps = if rms(&out) > 0.22 && rng.chance(0.2) { 128.0 } else { 32768.0 };
    out.iter_mut().for_each(|out| *out = ((*out * steps).round() / steps).clamp(-1.0, 1.0));
    out
}

/// Tones after amplifier and room, the largest sample 1.
fn tones_recorded(mut out: Vec<f32>, rng: &mut Rng) -> Vec<f32> {
    let largest = peak(&out).max(f32::MIN_POSITIVE);
    out.iter_mut().for_each(|out| *out /= largest);
    if rng.chance(0.15) {
        // So little that a sine keeps its harmonics 35 dB below.
        let drive = between(0.1..0.45, rng);
        out.iter_mut().for_each(|out| *out = (*out * drive).tanh() / drive);
    }
    if rng.chance(0.3) {
        out = room(&out, rng);
    }
    if rng.chance(0.3) {
        tilt(&mut out, rng);
    }
    let largest = peak(&out).max(f32::MIN_POSITIVE);
    out.iter_mut().for_each(|out| *out /= largest);
    out
}

/// Root mean square while there are beeps.
fn loudness(tones: &[f32], score: &Score) -> f32 {
    let beeps: Vec<f32> = score
        .beeps
        .iter()
        .flat_map(|beep| tones[samples(beep.start)..].iter().take(samples(beep.seconds)).copied())
        .collect();
    rms(&beeps)
}

/// Reflections at random times that die away within 0.1 to 0.35 s, soft enough that beeps stay apart.
fn room(dry: &[f32], rng: &mut Rng) -> Vec<f32> {
    let (seconds, count) = (between(0.1..0.35, rng), 16 + rng.below(33));
    let wet = decibels(-between(10.0..20.0, rng)) / (count as f32 / 3.0).sqrt();
    let mut out = dry.to_vec();
    for _ in 0..count {
        let time = between(0.003..seconds, rng);
        let sign = if rng.chance(0.5) { 1.0 } else { -1.0 };
        let gain = sign * wet * decibels(-60.0 * time / seconds);
        let delayed = out.iter_mut().skip(samples(time)).zip(dry);
        delayed.for_each(|(out, dry)| *out += gain * dry);
    }
    out
}

/// One pole: less of the high or of the low frequencies.
fn tilt(tones: &mut [f32], rng: &mut Rng) {
    let cuts_low = rng.chance(0.5);
    let corner =
        if cuts_low { between(40.0..200.0, rng) } else { between_octaves(2500.0..7000.0, rng) };
    let keep = (-std::f32::consts::TAU * corner / RATE as f32).exp();
    let mut low = 0.0;
    for sample in tones {
        low = keep * low + (1.0 - keep) * *sample;
        *sample = if cuts_low { *sample - low } else { low };
    }
}

/// What a file of a lower rate leaves: nothing beyond `corner` in Hz (a windowed sinc of 63 taps).
fn narrow(sound: &[f32], corner: f32) -> Vec<f32> {
    const HALF: usize = 31;
    let turns = corner / RATE as f32;
    let tap = |i: usize| {
        let x = i as f32 - HALF as f32;
        let angle = std::f32::consts::TAU * turns * x;
        let sinc = if i == HALF { 2.0 * turns } else { angle.sin() / (std::f32::consts::PI * x) };
        let window = std::f32::consts::PI * (i as f32 + 0.5) / (2 * HALF + 1) as f32;
        sinc * window.sin().powi(2)
    };
    let taps: Vec<f32> = (0..=2 * HALF).map(tap).collect();
    let mut padded = vec![0.0; HALF];
    padded.extend(sound);
    padded.resize(sound.len() + 2 * HALF, 0.0);
    let sum = |window: &[f32]| window.iter().zip(&taps).map(|(a, b)| a * b).sum();
    padded.windows(taps.len()).map(sum).collect()
}
