//! When the beeps are, how loud and at which pitches.

use super::content::{Movement, Timbre, Tones};
use super::{SECONDS, between, between_octaves, decibels};
use std::ops::Range;
use tensor::Rng;

/// One beep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Beep {
    /// When it begins, in seconds.
    pub start: f32,
    /// How long it is, in seconds.
    pub seconds: f32,
    /// Amplitude, at most 1.
    pub loudness: f32,
    /// Pitch in Hz where it begins and where it ends.
    pub pitch: [f32; 2],
    /// How the pitch gets there: the exponent of the time, 1 for evenly.
    pub bend: f32,
}

/// All beeps of a sound.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Score {
    /// How long the sound is.
    pub seconds: f32,
    /// In the order of time.
    pub beeps: Vec<Beep>,
}

/// Rest between two beeps, and before the first and after the last, at least, in seconds.
pub(super) const REST: f32 = 0.08;
const MARGIN: f32 = 0.04;
/// Seconds of the shortest beep, and of one that must be heard to glide or to die away.
const SHORT: f32 = 0.08;
const SHORT_CHANGING: f32 = 0.17;
/// Semitones from the lowest pitch to the highest where it moves, and per step at least.
const INTERVAL: Range<f32> = 5.0..17.0;
const STEP: f32 = 1.7;
/// The same in Hz, at least: low pitches lie close.
pub(super) const SPAN: f32 = 80.0;

/// Where the pitch moves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nowhere.
    Nowhere,
    /// From beep to beep.
    Stairs,
    /// Within each beep, each alike.
    Glides,
    /// Along one line of which beeps are parts.
    Line,
}

impl Score {
    /// A score of these tones.
    pub(super) fn draw(tones: Tones, rng: &mut Rng) -> Self {
        assert!(Tones::COUNTS.contains(&tones.count), "{} beeps", tones.count);
        let way = match (tones.movement, tones.count, rng.below(20)) {
            (Movement::Steady, ..) => Way::Nowhere,
            (_, 1, _) => Way::Glides,
            (_, _, 0..9) => Way::Stairs,
            (_, _, 9..17) => Way::Glides,
            _ => Way::Line,
        };
        let glides = matches!(way, Way::Glides | Way::Line);
        let shortest = if glides || tones.timbre.dies_away() { SHORT_CHANGING } else { SHORT };
        let (seconds, times) = rhythm(tones.count, shortest, rng);
        let loudness = loudness(tones.count, rng);
        let pitches = pitches(tones, way, &times, rng);
        let bend = if glides { between_octaves(0.6..1.7, rng) } else { 1.0 };
        let beeps = times.iter().zip(loudness).zip(pitches);
        let beeps = beeps.map(|((&[start, seconds], loudness), pitch)| {
            // Parts of one line are straight, or they would not be one.
            let bend = if way == Way::Line { 1.0 } else { bend };
            Beep { start, seconds, loudness, pitch, bend }
        });
        Self { seconds, beeps: beeps.collect() }
    }
}

/// Length of the sound, and where each beep begins and how long it is, in seconds.
fn rhythm(count: usize, shortest: f32, rng: &mut Rng) -> (f32, Vec<[f32; 2]>) {
    let rests = count - 1;
    let least = count as f32 * shortest + rests as f32 * REST + 2.0 * MARGIN;
    let seconds = between(SECONDS[0].max(least * 1.1)..SECONDS[1], rng);
    let room = seconds - least;
    // Shares of the room that is left: beeps, rests, before the first; the rest comes at the end.
    let mut shares = [(); 4].map(|()| between(0.05..1.0, rng));
    if rests == 0 {
        shares[1] = 0.0;
    }
    let sum: f32 = shares.iter().sum();
    let [long, apart, before, _] = shares.map(|share| share / sum * room);
    let lengths = spread(count, long, rng);
    let gaps = spread(rests, apart, rng);
    let mut start = MARGIN + before;
    let mut times = Vec::with_capacity(count);
    for (i, more) in lengths.into_iter().enumerate() {
        times.push([start, shortest + more]);
        start += shortest + more + REST + gaps.get(i).copied().unwrap_or(0.0);
    }
    (seconds, times)
}

/// `sum` in `parts`: half of the time equal ones.
fn spread(parts: usize, sum: f32, rng: &mut Rng) -> Vec<f32> {
    let even = rng.chance(0.5);
    let weights: Vec<f32> =
        (0..parts).map(|_| if even { 1.0 } else { between(0.1..1.0, rng) }).collect();
    let total: f32 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total * sum).collect()
}

/// Amplitudes: equal, each its own, or from soft to loud or back.
fn loudness(count: usize, rng: &mut Rng) -> Vec<f32> {
    let kind = rng.below(5);
    let range = between(3.0..10.0, rng);
    let level = |i: usize, rng: &mut Rng| match kind {
        0..2 => 0.0,
        2 | 3 => -range * rng.unit(),
        _ => -range * i as f32 / count as f32,
    };
    let mut levels: Vec<f32> = (0..count).map(|i| decibels(level(i, rng))).collect();
    if rng.chance(0.5) {
        levels.reverse();
    }
    levels
}

/// Fundamental frequencies in Hz that can be told to be of the timbre: it takes some partials below
/// the half of the sampling rate, and low ones that are not too close.
pub(super) fn compass(timbre: Timbre) -> Range<f32> {
    match timbre {
        Timbre::Pure => 150.0..3000.0,
        Timbre::Buzz | Timbre::Hollow => 180.0..1500.0,
        Timbre::Bell => 250.0..2000.0,
        Timbre::Pluck => 150.0..1500.0,
    }
}

/// Pitch in Hz where each beep begins and ends.
fn pitches(tones: Tones, way: Way, times: &[[f32; 2]], rng: &mut Rng) -> Vec<[f32; 2]> {
    let compass = compass(tones.timbre);
    let steps = tones.count - 1;
    let (interval, lowest) = loop {
        let least = match way {
            Way::Stairs => INTERVAL.start.max(STEP * steps as f32 * 1.3),
            _ => INTERVAL.start,
        };
        let interval = if way == Way::Nowhere { 0.0 } else { between(least..INTERVAL.end, rng) };
        let top = compass.end / semitones(interval);
        let lowest = between_octaves(compass.start..top, rng);
        if way == Way::Nowhere || lowest * semitones(interval) - lowest >= SPAN {
            break (interval, lowest);
        }
    };
    // From 0, the lowest, to 1.
    let heights: Vec<[f32; 2]> = match way {
        Way::Nowhere => vec![[0.0; 2]; tones.count],
        Way::Glides => vec![[0.0, 1.0]; tones.count],
        Way::Stairs => {
            let mut height = 0.0;
            let mut heights = vec![[0.0; 2]];
            let weights: Vec<f32> = (0..steps).map(|_| between(0.8..1.2, rng)).collect();
            let total: f32 = weights.iter().sum();
            for weight in weights {
                height += weight / total;
                heights.push([height; 2]);
            }
            heights
        }
        Way::Line => {
            let (first, last) = (times[0][0], times[steps][0] + times[steps][1]);
            let at = |time: f32| (time - first) / (last - first);
            times.iter().map(|&[start, seconds]| [at(start), at(start + seconds)]).collect()
        }
    };
    let falls = tones.movement == Movement::Falls;
    let pitch =
        |height: f32| lowest * semitones(interval * if falls { 1.0 - height } else { height });
    heights.into_iter().map(|heights| heights.map(pitch)).collect()
}

/// The ratio of so many semitones.
fn semitones(interval: f32) -> f32 {
    (interval / 12.0).exp2()
}
