//! Which frames are wrong, and how.
//!
//! Each kind of fault has a score per frame, a number without a unit that is small for what is usual
//! in the clip, and a threshold. A frame is flagged where the score is above it.
//!
//! | fault | score |
//! |---|---|
//! | flash, dark | spike of the mean brightness, if most pixels change the same way |
//! | periodic | Fisher's F of the brightness folded at a period |
//! | jump | way of what stands out beyond what is usual, over a quarter of a pixel and a fifth of what is usual |
//! | freeze | way that was to be expected over the way that was gone |
//! | hue, shape | change of the hues or the outline of what stands out, beyond what is usual |
//! | drift | change of the saturation from the first to the last frame along a straight line |

use super::series;
use super::track::{Step, Track, step};
use serde::Serialize;

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It is brighter than those around it.
    Flash,
    /// It is darker than those around it.
    Dark,
    /// Its brightness is off, and that of others at equal distances.
    Periodic,
    /// What stands out has other hues than in the frame before.
    Hue,
    /// What stands out has another outline than in the frame before, or is gone.
    Shape,
    /// It is like the frame before although things move.
    Freeze,
    /// What stands out has gone farther than usual: it jumped, or a frame is missing.
    Jump,
    /// Saturation rises or falls all the time.
    Drift,
}

impl Fault {
    /// All of them, the more telling first: a frame that is dark is not said to have other hues too.
    pub const ALL: [Self; 8] = [
        Self::Flash,
        Self::Dark,
        Self::Periodic,
        Self::Hue,
        Self::Shape,
        Self::Freeze,
        Self::Jump,
        Self::Drift,
    ];

    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flash => "flash",
            Self::Dark => "dark",
            Self::Periodic => "periodic",
            Self::Hue => "hue",
            Self::Shape => "shape",
            Self::Freeze => "freeze",
            Self::Jump => "jump",
            Self::Drift => "drift",
        }
    }
}

/// From which score on a frame is flagged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Flash and dark, in steps of 1/255 or of the usual deviation.
    pub spike: f64,
    /// Periodic, Fisher's F.
    pub periodic: f64,
    /// Hue, 0 to 1.
    pub hue: f64,
    /// Shape.
    pub shape: f64,
    /// Freeze.
    pub freeze: f64,
    /// Jump.
    pub jump: f64,
    /// Drift, 0 to 1.
    pub drift: f64,
}

impl Default for Thresholds {
    /// For clips with sharp edges, as they are rendered: set so that one clean clip in a hundred has a flag;
    /// `docs/video-consistency.md` has the measurement.
    fn default() -> Self {
        Self {
            spike: 6.0,
            periodic: 30.0,
            hue: 0.2,
            shape: 0.06,
            freeze: 2.0,
            jump: 0.8,
            drift: 0.1,
        }
    }
}

impl Thresholds {
    /// For what a small autoencoder decodes, which is not as steady: set on clips that went through that
    /// of the embedded model.
    pub fn decoded() -> Self {
        Self { shape: 0.13, freeze: 7.0, jump: 11.0, drift: 0.26, ..Self::default() }
    }

    /// The threshold of a fault.
    pub fn of(&self, fault: Fault) -> f64 {
        match fault {
            Fault::Flash | Fault::Dark => self.spike,
            Fault::Periodic => self.periodic,
            Fault::Hue => self.hue,
            Fault::Shape => self.shape,
            Fault::Freeze => self.freeze,
            Fault::Jump => self.jump,
            Fault::Drift => self.drift,
        }
    }
}

/// A frame that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Flag {
    /// Which, from 0.
    pub frame: usize,
    /// How.
    pub fault: Fault,
    /// How much.
    pub score: f64,
    /// From which score on it is flagged.
    pub threshold: f64,
}

/// The score of each fault for each frame, `[Fault::ALL][frames]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores(Vec<Vec<f64>>);

/// Smallest change of brightness that is a flash, however still the rest is.
const VISIBLE: f64 = 4.0 / 255.0;
/// Share of pixels that a flash changes, at least.
const WIDE: f64 = 0.5;

impl Scores {
    /// The scores of all frames of a clip.
    pub fn of(track: &Track) -> Self {
        let frames = track.means.len();
        let mut scores = Self(vec![vec![0.0; frames]; Fault::ALL.len()]);
        let flashes = brightness(track, &mut scores);
        movement(track, &flashes, &mut scores);
        drift(track, &mut scores);
        scores
    }

    /// Of one fault, by frame.
    pub fn fault(&self, fault: Fault) -> &[f64] {
        &self.0[fault as usize]
    }

    /// How bad each frame is: its largest score in thresholds, so that 1 and more is flagged. A drift is
    /// of no frame and does not count.
    pub fn severity(&self, thresholds: &Thresholds) -> Vec<f64> {
        let frames = self.0[0].len();
        let of = |i: usize| {
            let faults = Fault::ALL.into_iter().filter(|f| *f != Fault::Drift);
            faults.map(|f| self.fault(f)[i] / thresholds.of(f)).fold(0.0, f64::max)
        };
        (0..frames).map(of).collect()
    }

    /// Frames above their thresholds, by frame, the most telling fault of each.
    pub fn flags(&self, thresholds: &Thresholds) -> Vec<Flag> {
        let frames = self.0[0].len();
        let flag = |frame: usize| {
            let flags = Fault::ALL.into_iter().map(|fault| Flag {
                frame,
                fault,
                score: self.fault(fault)[frame],
                threshold: thresholds.of(fault),
            });
            flags.into_iter().find(|flag| flag.score > flag.threshold)
        };
        (0..frames).filter_map(flag).collect()
    }

    fn set(&mut self, fault: Fault, frame: usize, score: f64) {
        self.0[fault as usize][frame] = score;
    }
}

/// Flashes, dark frames and periods; gives the frames that they spoil.
fn brightness(track: &Track, scores: &mut Scores) -> Vec<bool> {
    let frames = track.means.len();
    let luma: Vec<f64> = track.means.iter().map(|m| m.luma).collect();
    // What grows changes the mean brightness along a line.
    let level = series::levelled(&luma, series::slope(&luma, 1));
    let (spikes, off) = (series::spikes(&level), series::departures(&level));
    let wide = |i: usize, sign: f64| track.brightened[i] * sign.signum() > WIDE;
    let mut spoiled = vec![false; frames];
    for i in 0..frames {
        if off[i].abs() > VISIBLE && wide(i, off[i]) {
            let fault = if off[i] > 0.0 { Fault::Flash } else { Fault::Dark };
            scores.set(fault, i, spikes[i].abs());
            spoiled[i] = true;
        }
    }
    if let Some(found) = series::periodicity(&luma, 2..=frames / 2) {
        let hit: Vec<usize> = (found.phase..frames).step_by(found.period).collect();
        let sign = found.gap.signum();
        let seen = |&i: &usize| i == 0 || track.risen[i] * sign > WIDE;
        if found.gap.abs() > VISIBLE && hit.iter().all(seen) {
            for i in hit {
                scores.set(Fault::Periodic, i, found.f);
                spoiled[i] = true;
            }
        }
    }
    spoiled
}

/// Jumps, freezes, changes of hue and shape.
fn movement(track: &Track, spoiled: &[bool], scores: &mut Scores) {
    let frames = track.means.len();
    if frames < 2 {
        return;
    }
    if !track.is_tracked() {
        return untracked(track, spoiled, scores);
    }
    let clean = |i: usize| !spoiled[i] && !spoiled[i - 1];
    let steps: Vec<Option<Step>> = (1..frames).map(|i| track.steps[i]).collect();
    let or_zero = |of: &dyn Fn(&Step) -> f64| -> Vec<f64> {
        steps.iter().map(|s| s.as_ref().map_or(0.0, of)).collect()
    };
    let (hue, shape) = (or_zero(&|s| s.hue), or_zero(&|s| s.shape));
    let axes: Vec<Vec<f64>> = (0..4).map(|k| or_zero(&|s| s.moves[k])).collect();
    for i in 1..frames {
        if track.regions[i].is_none() {
            // Most frames have it, this one does not.
            scores.set(Fault::Shape, i, 1.0);
        }
        if steps[i - 1].is_none() || !clean(i) {
            continue;
        }
        scores.set(Fault::Hue, i, change(&hue, i - 1, HUE_NOISE));
        let whole = [i - 1, i].iter().all(|&j| track.regions[j].as_ref().is_some_and(|r| r.whole));
        if whole {
            scores.set(Fault::Shape, i, change(&shape, i - 1, SHAPE_NOISE));
        }
        // Of one other step nobody knows what is usual.
        if steps.len() < 3 {
            continue;
        }
        let beyond = axes.iter().map(|axis| beyond(axis, i - 1).powi(2)).sum::<f64>().sqrt();
        scores.set(Fault::Jump, i, beyond);
    }
    if track.regions[0].is_none() {
        scores.set(Fault::Shape, 0, 1.0);
    }
    excursions(track, Fault::Hue, scores);
    excursions(track, Fault::Shape, scores);
    freezes(track, &axes, spoiled, scores);
}

/// Changes of hues and shapes from frame to frame that rendering alone makes.
const HUE_NOISE: f64 = 0.05;
const SHAPE_NOISE: f64 = 0.02;

/// How much larger than usual change `i` is; where changes are usual, less is made of it.
fn change(changes: &[f64], i: usize, noise: f64) -> f64 {
    let usual = series::usual(changes, i);
    (changes[i] - usual).max(0.0) / (1.0 + usual / noise)
}

/// How much farther than usual step `i` of an axis is, over a quarter of a pixel and a fifth of what
/// is usual.
fn beyond(axis: &[f64], i: usize) -> f64 {
    let own = axis[i];
    // Away and back again is two steps, of which neither is what is usual for the other.
    let undoes = |j: usize| axis[j] * own < 0.0 && (axis[j] + own).abs() < 0.5 * own.abs();
    let partner =
        [i.wrapping_sub(1), i + 1].into_iter().filter(|&j| j < axis.len()).find(|&j| undoes(j));
    let others: Vec<usize> = (0..axis.len()).filter(|&j| j != i && Some(j) != partner).collect();
    // What goes back and forth, as a ball does, has no usual step: only the largest says what it can.
    let against = |sign: f64| others.iter().any(|&j| axis[j] * sign > 0.5);
    let swings = against(1.0) && (against(-1.0) || own < -0.5) || against(-1.0) && own > 0.5;
    let (usual, unsteady) = if swings {
        let largest = others.iter().map(|&j| axis[j].abs()).fold(0.0, f64::max);
        (1.3 * largest, 0.0)
    } else {
        let mut lengths: Vec<f64> = others.iter().map(|&j| axis[j].abs()).collect();
        let place = others.iter().filter(|&&j| j < i).count();
        lengths.insert(place, 0.0);
        // What an imperfect decoder makes of even steps: the same wherever it is, so its size is known.
        let steps: Vec<f64> = others.iter().map(|&j| axis[j]).collect();
        (series::usual(&lengths, place), 1.48 * series::median_deviation(&steps))
    };
    (own.abs() - usual).max(0.0) / (0.25 + 0.2 * usual + 2.0 * unsteady)
}

/// Where one frame differs from both of its neighbours and these are alike, it alone is wrong, not the
/// one after it.
fn excursions(track: &Track, fault: Fault, scores: &mut Scores) {
    let frames = track.regions.len();
    for i in 1..frames.saturating_sub(1) {
        let (Some(before), Some(after)) = (&track.regions[i - 1], &track.regions[i + 1]) else {
            continue;
        };
        let across = step(before, after, None);
        let across = if fault == Fault::Hue { across.hue } else { across.shape };
        let (away, back) = (scores.fault(fault)[i], scores.fault(fault)[i + 1]);
        if across < 0.5 * away.min(back) {
            scores.set(fault, i + 1, 0.0);
        }
    }
}

/// Frames like those before although what stands out was on its way.
fn freezes(track: &Track, axes: &[Vec<f64>], spoiled: &[bool], scores: &mut Scores) {
    let steps = axes[0].len();
    let way = |i: usize| -> [f64; 4] { [0, 1, 2, 3].map(|k| axes[k][i]) };
    let length = |way: [f64; 4]| way.iter().map(|v| v * v).sum::<f64>().sqrt();
    let lengths: Vec<f64> = (0..steps).map(|i| length(way(i))).collect();
    let rests = |i: usize| lengths[i] < REST.max(0.2 * series::usual(&lengths, i));
    let goes = |i: usize| i < steps && !rests(i);
    let alike = |i: usize| track.differences[i + 1] < SAME;
    let mut end = 0;
    while end < steps {
        let first = end;
        while end < steps && rests(end) {
            end += 1;
        }
        let before = first.checked_sub(1);
        // Between two ways their mean is expected: at the turn of a ball that is nothing. At an end of the
        // clip what rests for a step may have turned, so only copies and longer rests are suspect there,
        // and only beside two steps: one alone is a jump.
        let (expected, inside) = match (before, goes(end)) {
            (Some(b), true) => {
                (length([0, 1, 2, 3].map(|k| 0.5 * (axes[k][b] + axes[k][end]))), true)
            }
            (Some(b), false) if b > 0 && goes(b - 1) => (lengths[b], false),
            (None, true) if goes(end + 1) => (lengths[end], false),
            _ => (0.0, false),
        };
        for i in (first..end).filter(|&i| inside || alike(i) || end - first >= 2) {
            // Copies are copies, however slowly things move.
            let rest = if alike(i) { REST / 5.0 } else { REST };
            if !spoiled[i] && !spoiled[i + 1] {
                scores.set(Fault::Freeze, i + 1, expected / (lengths[i] + rest));
            }
        }
        end += 1;
    }
}

/// A way of this many pixels is no way.
const REST: f64 = 0.15;
/// Mean difference of frames that are copies.
const SAME: f64 = 0.02 / 255.0;

/// Where nothing stands out, differences of whole frames say what they can.
fn untracked(track: &Track, spoiled: &[bool], scores: &mut Scores) {
    let steps = &track.differences[1..];
    for i in 0..steps.len() {
        if spoiled[i] || spoiled[i + 1] {
            continue;
        }
        let usual = series::usual(steps, i);
        // A cut or a fault at the edge of a chunk is about ten times what is usual.
        let floor = 1.0 / 255.0;
        scores.set(Fault::Jump, i + 1, (steps[i] - usual).max(0.0) / (floor + usual) / 5.0);
        if usual > floor && steps[i] < 0.25 * usual {
            scores.set(Fault::Freeze, i + 1, usual / (steps[i] + 0.1 / 255.0));
        }
    }
}

/// A trend of the saturation of what stands out, or else of whole frames; the last frame has the score.
fn drift(track: &Track, scores: &mut Scores) {
    let frames = track.means.len();
    let saturation: Vec<f64> = if track.is_tracked() {
        track.regions.iter().flatten().map(|r| r.saturation).collect()
    } else {
        track.means.iter().map(|m| m.saturation).collect()
    };
    if saturation.len() < 4 {
        return;
    }
    let slope = series::trend(&saturation);
    let (level, middle) = (series::mean(&saturation), (saturation.len() as f64 - 1.0) / 2.0);
    let fitted = |i: usize| level + slope * (i as f64 - middle);
    let squares = |of: &dyn Fn(usize) -> f64| -> f64 {
        saturation.iter().enumerate().map(|(i, v)| (v - of(i)).powi(2)).sum()
    };
    // A step is three quarters explained by a line; a drift is nearly all.
    let explained = 1.0 - squares(&fitted) / squares(&|_| level).max(1e-12);
    if explained > 0.85 {
        scores.set(Fault::Drift, frames - 1, slope.abs() * (saturation.len() - 1) as f64);
    }
}

#[cfg(test)]
mod tests;
