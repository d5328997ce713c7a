//! What plays the beeps: sums of partials with an envelope.

use super::content::Timbre;
use super::score::{Beep, Score};
use super::{RATE, between, between_octaves, decibels, samples};
use tensor::Rng;

/// One partial of a tone.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Partial {
    /// Its frequency over that of the tone.
    ratio: f32,
    /// Its amplitude where the tone begins.
    amplitude: f32,
    /// Its phase where the tone begins, in turns.
    phase: f32,
    /// By how many decibels it falls until the tone ends.
    fall: f32,
}

/// An instrument that plays all beeps of a sound.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Voice {
    partials: Vec<Partial>,
    /// Seconds that a tone takes to come and to go, at most a quarter of it each.
    attack: f32,
    release: f32,
    /// Semitones both ways and turns per second of the vibrato.
    vibrato: [f32; 2],
    /// Share of the amplitude and turns per second of the tremolo.
    tremolo: [f32; 2],
}

/// Harmonics at most.
const HARMONICS: usize = 32;
/// No partial goes beyond, in Hz.
const HIGHEST: f32 = 7600.0;
/// Partials of bells over the note that is heard: church bells, tubes, bars (T. D. Rossing, "Science
/// of Percussion Instruments", 2000).
const BELLS: &[&[f32]] = &[
    &[0.5, 1.0, 1.19, 1.5, 2.0, 2.5, 2.67, 3.01, 4.17, 5.43],
    &[1.0, 1.51, 2.26, 3.15, 4.16, 5.33],
    &[1.0, 2.76, 5.4, 8.93],
];

impl Voice {
    /// An instrument of the timbre.
    pub(super) fn draw(timbre: Timbre, rng: &mut Rng) -> Self {
        let mut partials = match timbre {
            Timbre::Pure => pure(rng),
            Timbre::Buzz => buzz(rng),
            Timbre::Hollow => hollow(rng),
            Timbre::Bell => bell(rng),
            Timbre::Pluck => pluck(rng),
        };
        for partial in &mut partials {
            partial.phase = rng.unit();
        }
        // A second voice a little off, softer so that the two never cancel.
        if rng.chance(0.25) && timbre != Timbre::Pure {
            let (off, level) = (1.0 + between(-0.007..0.007, rng), between(0.2..0.5, rng));
            let second: Vec<Partial> = partials
                .iter()
                .map(|partial| Partial {
                    ratio: partial.ratio * off,
                    amplitude: partial.amplitude * level,
                    ..*partial
                })
                .collect();
            partials.extend(second);
        }
        let [attack, release] = if timbre.dies_away() {
            [between(0.0005..0.003, rng), between(0.008..0.03, rng)]
        } else {
            // Some sag a little; none as far as what dies away.
            let sag = if rng.chance(0.3) { between(0.0..5.0, rng) } else { 0.0 };
            partials.iter_mut().for_each(|partial| partial.fall = sag);
            [(); 2].map(|()| between_octaves(0.003..0.05, rng))
        };
        let vibrato = if rng.chance(0.25) { between(0.05..0.4, rng) } else { 0.0 };
        let tremolo = if rng.chance(0.15) { between(0.05..0.25, rng) } else { 0.0 };
        let vibrato = [vibrato, between(4.0..7.0, rng)];
        Self { partials, attack, release, vibrato, tremolo: [tremolo, between(3.0..8.0, rng)] }
    }

    /// Takes vibrato and tremolo away.
    #[cfg(test)]
    pub(super) fn without_sway(&mut self) {
        (self.vibrato[0], self.tremolo[0]) = (0.0, 0.0);
    }

    /// All beeps, as loud as the score says: the largest sample may be above 1.
    pub(super) fn play(&self, score: &Score) -> Vec<f32> {
        let mut out = vec![0.0; samples(score.seconds)];
        for beep in &score.beeps {
            let start = samples(beep.start);
            let tone = self.tone(beep);
            out[start..].iter_mut().zip(tone).for_each(|(out, sample)| *out += sample);
        }
        out
    }

    /// One beep.
    fn tone(&self, beep: &Beep) -> Vec<f32> {
        let turns = self.turns(beep);
        let highest = beep.pitch[0].max(beep.pitch[1]) * (self.vibrato[0] / 12.0).exp2();
        let mut out = vec![0.0; turns.len()];
        for partial in &self.partials {
            if partial.ratio * highest > HIGHEST {
                continue;
            }
            // Multiplied from sample to sample.
            let fall = decibels(-partial.fall / turns.len() as f32);
            let mut amplitude = partial.amplitude;
            for (out, turns) in out.iter_mut().zip(&turns) {
                let turns = turns * f64::from(partial.ratio) + f64::from(partial.phase);
                *out += amplitude * sine(turns);
                amplitude *= fall;
            }
        }
        let [attack, release] =
            [self.attack, self.release].map(|seconds| seconds.min(beep.seconds / 4.0));
        for (i, out) in out.iter_mut().enumerate() {
            let (since, left) = (i as f32 / RATE as f32, (turns.len() - i) as f32 / RATE as f32);
            let sway = 1.0 - self.tremolo[0] * (0.5 + 0.5 * sine((since * self.tremolo[1]).into()));
            *out *= beep.loudness * sway * swell(since / attack) * swell(left / release);
        }
        out
    }

    /// Turns of the fundamental since the beep began, for each sample.
    fn turns(&self, beep: &Beep) -> Vec<f64> {
        let count = samples(beep.seconds);
        let [from, to] = beep.pitch;
        let mut turns = 0.0;
        let turns_at = |i: usize| {
            let share = i as f32 / count as f32;
            let time = i as f32 / RATE as f32;
            let vibrato = self.vibrato[0] / 12.0 * sine((time * self.vibrato[1]).into());
            let pitch = from * ((to / from).log2() * share.powf(beep.bend) + vibrato).exp2();
            let now = turns;
            turns += f64::from(pitch) / RATE as f64;
            now
        };
        (0..count).map(turns_at).collect()
    }
}

/// From 0 to 1 along half a cosine while `share` goes from 0 to 1.
fn swell(share: f32) -> f32 {
    0.5 - 0.5 * (std::f32::consts::PI * share.clamp(0.0, 1.0)).cos()
}

/// The sine of so many turns, within 5e-6: the Taylor series of a quarter of a turn. Most of the time
/// of a sound is spent here.
pub(super) fn sine(turns: f64) -> f32 {
    // From -0.5 to 0.5, then folded to a quarter both ways.
    let turn = (turns - (turns + 0.5).floor()) as f32;
    let folded = if turn.abs() > 0.25 { 0.5f32.copysign(turn) - turn } else { turn };
    let x = folded * std::f32::consts::TAU;
    let square = x * x;
    let series = 1.0 / 362_880.0;
    let series = -1.0 / 5040.0 + square * series;
    let series = 1.0 / 120.0 + square * series;
    let series = -1.0 / 6.0 + square * series;
    x + x * square * series
}

/// A partial that sounds on.
fn partial(ratio: f32, amplitude: f32) -> Partial {
    Partial { ratio, amplitude, phase: 0.0, fall: 0.0 }
}

/// What the body of an instrument makes of harmonic `k`, as a factor: every other instrument has a
/// resonance of up to `most` decibels, about an octave wide, somewhere above the fundamental.
fn body(most: f32, rng: &mut Rng) -> impl Fn(f32) -> f32 + use<> {
    let gain = if rng.chance(0.5) { between(0.0..most, rng) } else { 0.0 };
    let middle = between_octaves(1.5..10.0, rng);
    move |k| decibels(gain * (-2.0 * (k / middle).log2().powi(2)).exp())
}

/// The fundamental, and traces of the next two harmonics.
fn pure(rng: &mut Rng) -> Vec<Partial> {
    let traces = [(); 2].map(|()| between(0.0..0.012, rng));
    vec![partial(1.0, 1.0), partial(2.0, traces[0]), partial(3.0, traces[1])]
}

/// All harmonics: falling by a power, or those of a narrow pulse.
fn buzz(rng: &mut Rng) -> Vec<Partial> {
    let pulse = rng.chance(0.4).then(|| between(0.06..0.22, rng));
    let (power, body) = (between(0.6..1.15, rng), body(12.0, rng));
    let harmonic = |k: usize| {
        let k = k as f32;
        let amplitude = match pulse {
            Some(width) => (std::f32::consts::PI * k * width).sin().abs() / (k * width) / 3.0,
            None => k.powf(-power),
        };
        partial(k, amplitude * body(k) * decibels(between(-2.5..2.5, rng)))
    };
    (1..=HARMONICS).map(harmonic).collect()
}

/// Odd harmonics, and traces of the even ones.
fn hollow(rng: &mut Rng) -> Vec<Partial> {
    let (power, even) = (between(0.75..1.35, rng), between(0.0..0.02, rng));
    let body = body(8.0, rng);
    let harmonic = |k: usize| {
        let share = if k.is_multiple_of(2) { even } else { body(k as f32) };
        let amplitude = (k as f32).powf(-power) * share;
        partial(k as f32, amplitude * decibels(between(-2.0..2.0, rng)))
    };
    (1..=HARMONICS).map(harmonic).collect()
}

/// By how many decibels the fundamental of what dies away falls, and how much faster others do for each
/// time its frequency.
fn dying(rng: &mut Rng) -> [f32; 2] {
    [between(16.0..36.0, rng), between_octaves(0.05..1.0, rng)]
}

/// Partials of a bell, strong ones.
fn bell(rng: &mut Rng) -> Vec<Partial> {
    let [fall, faster] = dying(rng);
    let tilt = between(0.1..0.7, rng);
    let ratios = *rng.pick(BELLS);
    let one = |&ratio: &f32| Partial {
        ratio: ratio * if ratio == 1.0 { 1.0 } else { between(0.985..1.015, rng) },
        amplitude: ratio.powf(-tilt) * decibels(between(-5.0..0.0, rng)),
        phase: 0.0,
        fall: fall * (1.0 + faster * (ratio - 1.0)),
    };
    ratios.iter().map(one).collect()
}

/// Harmonics of a string that is plucked somewhere.
fn pluck(rng: &mut Rng) -> Vec<Partial> {
    let [fall, faster] = dying(rng);
    let (place, power) = (between(0.08..0.42, rng), between(0.5..1.2, rng));
    let (stiffness, body) = (between(0.0..0.0003, rng), body(12.0, rng));
    let harmonic = |k: usize| {
        let k = k as f32;
        Partial {
            ratio: k * (1.0 + stiffness * k * k).sqrt(),
            amplitude: (std::f32::consts::PI * k * place).sin().abs() * k.powf(-power) * body(k),
            phase: 0.0,
            fall: fall * (1.0 + faster * (k - 1.0)),
        }
    };
    (1..=HARMONICS).map(harmonic).collect()
}
