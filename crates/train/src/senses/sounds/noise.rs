//! Noise of the kinds that have names.

use super::content::Noise;
use super::voice::sine;
use super::{RATE, between, between_octaves, decibels, peak, rms};
use tensor::Rng;

/// Decibels that hiss and hum lie below the beeps, root mean square of both. If they were louder, a hiss
/// would cover the partials that tell a timbre.
const BELOW: [f32; 2] = [0.0, 15.0];
/// Decibels that the largest sample of pops lies above the root mean square of the beeps.
const POPS_ABOVE: [f32; 2] = [3.0, 12.0];
/// Pops in a second, and in a sound at least.
const POPS: [f32; 2] = [3.0, 15.0];
const FEWEST_POPS: usize = 4;

impl Noise {
    /// `samples` of it, to go with beeps whose root mean square is `loudness`.
    pub(super) fn draw(self, samples: usize, loudness: f32, rng: &mut Rng) -> Vec<f32> {
        let mut out = match self {
            Self::Hiss => hiss(samples, rng),
            Self::Hum => hum(samples, rng),
            Self::Pops => pops(samples, rng),
        };
        // Pops are rare, so they are measured by the loudest.
        let (level, measured) = match self {
            Self::Hiss | Self::Hum => (-between(BELOW[0]..BELOW[1], rng), rms(&out)),
            Self::Pops => (between(POPS_ABOVE[0]..POPS_ABOVE[1], rng), peak(&out)),
        };
        let gain = loudness * decibels(level) / measured.max(f32::MIN_POSITIVE);
        out.iter_mut().for_each(|sample| *sample *= gain);
        out
    }
}

/// White noise, or with more of the low or the high frequencies.
fn hiss(samples: usize, rng: &mut Rng) -> Vec<f32> {
    let colour = between(-0.75..0.75, rng);
    let (sway, rate) = (between(0.0..0.25, rng), between(0.2..2.0, rng));
    let mut last = 0.0;
    let one = |i: usize| {
        let white = rng.normal();
        // One pole for low frequencies, one zero for high ones.
        let sample = white + colour * last;
        last = if colour > 0.0 { sample } else { white };
        sample * (1.0 + sway * sine((i as f32 / RATE as f32 * rate).into()))
    };
    (0..samples).map(one).collect()
}

/// The mains and its multiples.
fn hum(samples: usize, rng: &mut Rng) -> Vec<f32> {
    let mains = if rng.chance(0.7) { *rng.pick(&[50.0, 60.0]) } else { between(45.0..65.0, rng) };
    let harmonics = [(); 6].map(|()| [between(0.2..1.0, rng), rng.unit()]);
    let steep = between(0.5..1.5, rng);
    let sample = |i: usize| {
        let turns = f64::from(mains) * i as f64 / RATE as f64;
        let one = |(k, [amplitude, phase]): (f32, [f32; 2])| {
            k.powf(-steep) * amplitude * sine(turns * f64::from(k) + f64::from(phase))
        };
        (1..).map(|k| k as f32).zip(harmonics).map(one).sum()
    };
    (0..samples).map(sample).collect()
}

/// Bursts of a few milliseconds at random times.
fn pops(samples: usize, rng: &mut Rng) -> Vec<f32> {
    let mut out = vec![0.0; samples];
    let seconds = samples as f32 / RATE as f32;
    let rate = between_octaves(POPS[0]..POPS[1], rng);
    let count = FEWEST_POPS.max((rate * seconds).round() as usize);
    for i in 0..count {
        // One in each part of the sound, so that they never make a row of beeps nor stay away.
        let start = ((i as f32 + rng.unit()) / count as f32 * samples as f32) as usize;
        let (life, loudness) = (between_octaves(0.0003..0.0012, rng), between(0.4..1.0, rng));
        let (pitch, rough) = (between_octaves(300.0..3000.0, rng), rng.unit());
        for (j, out) in out[start..].iter_mut().take(RATE / 100).enumerate() {
            let time = j as f32 / RATE as f32;
            let wave =
                rough * rng.normal() * 0.5 + (1.0 - rough) * sine((time * pitch + 0.2).into());
            *out += loudness * wave * (-time / life).exp();
        }
    }
    out
}
