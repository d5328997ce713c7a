//! What is heard, as far as it has a name.

use crate::clips::Split;
use crate::senses::Lines;
use std::ops::RangeInclusive;
use tensor::Rng;

/// Kinds of tones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timbre {
    /// One partial: a sine.
    Pure,
    /// All harmonics, as a saw or a narrow pulse has them.
    Buzz,
    /// Odd harmonics, as a square or a clarinet has them.
    Hollow,
    /// Partials that are no harmonics, struck and dying away.
    Bell,
    /// Harmonics, plucked and dying away.
    Pluck,
}

/// What the pitch does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Movement {
    /// It rises.
    Rises,
    /// It falls.
    Falls,
    /// Neither.
    Steady,
}

/// Kinds of noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Noise {
    /// Steady noise of many frequencies.
    Hiss,
    /// The deep drone of the mains: 45 to 65 Hz and its multiples.
    Hum,
    /// Short pops, at least four.
    Pops,
}

impl Timbre {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Pure, Self::Buzz, Self::Hollow, Self::Bell, Self::Pluck];

    /// Its word in transcripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::Buzz => "buzz",
            Self::Hollow => "hollow",
            Self::Bell => "bell",
            Self::Pluck => "pluck",
        }
    }

    /// Whether its tones die away.
    pub const fn dies_away(self) -> bool {
        matches!(self, Self::Bell | Self::Pluck)
    }
}

impl Movement {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Rises, Self::Falls, Self::Steady];

    /// Its word in transcripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rises => "rises",
            Self::Falls => "falls",
            Self::Steady => "steady",
        }
    }
}

impl Noise {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Hiss, Self::Hum, Self::Pops];

    /// Its word in transcripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hiss => "hiss",
            Self::Hum => "hum",
            Self::Pops => "pops",
        }
    }
}

/// The beeps of a sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tones {
    /// How many, one of [`Tones::COUNTS`].
    pub count: usize,
    /// What their pitch does.
    pub movement: Movement,
    /// What they sound like.
    pub timbre: Timbre,
}

impl Tones {
    /// How many beeps a sound may have that has some.
    pub const COUNTS: RangeInclusive<usize> = 1..=6;
}

/// What is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// The beeps, if any.
    pub tones: Option<Tones>,
    /// The noise, if any.
    pub noise: Option<Noise>,
}

/// Shares of sounds without beeps: those with noise alone, and silence.
const NOISE_ALONE: f32 = 0.07;
const SILENCE: f32 = 0.02;
/// Share of sounds with beeps that have noise.
const NOISY: f32 = 0.6;

impl Content {
    /// One that the split has; both have noise alone, and silence.
    pub fn draw(rng: &mut Rng, split: Split) -> Self {
        let share = rng.unit();
        if share < SILENCE {
            return Self { tones: None, noise: None };
        }
        if share < SILENCE + NOISE_ALONE {
            return Self { tones: None, noise: Some(*rng.pick(Noise::ALL)) };
        }
        loop {
            let count = Tones::COUNTS.start() + rng.below(Tones::COUNTS.count());
            let (movement, timbre) = (*rng.pick(Movement::ALL), *rng.pick(Timbre::ALL));
            let tones = Some(Tones { count, movement, timbre });
            let noise = rng.chance(NOISY).then(|| *rng.pick(Noise::ALL));
            let content = Self { tones, noise };
            if content.split() == Some(split) {
                return content;
            }
        }
    }

    /// Which split has it; without beeps both. A fifth of the combinations of number, movement, timbre and
    /// noise is held out so that training hears each three words together, but not each four: with threes
    /// held out, what was learned was that a number does not go with a movement and a timbre
    /// (`docs/perf/LOG.md`, 2026-11-27).
    pub fn split(self) -> Option<Split> {
        let Tones { count, movement, timbre } = self.tones?;
        let noise = self.noise.map_or(0, |noise| 1 + noise as usize);
        let sum = count + 2 * movement as usize + timbre as usize + noise;
        Some(if sum.is_multiple_of(5) { Split::HeldOut } else { Split::Train })
    }

    /// How many beeps.
    pub fn beeps(&self) -> usize {
        self.tones.map_or(0, |tones| tones.count)
    }

    /// The word for what the pitch does.
    pub fn pitch(&self) -> &'static str {
        self.tones.map_or("none", |tones| tones.movement.name())
    }

    /// The word for the noise.
    pub fn noise(&self) -> &'static str {
        self.noise.map_or("none", Noise::name)
    }

    /// The word for the timbre.
    pub fn timbre(&self) -> &'static str {
        self.tones.map_or("none", |tones| tones.timbre.name())
    }

    /// Its four lines.
    pub fn transcript(&self) -> String {
        let mut lines = Lines::default();
        lines.push(("beeps", 5), (self.beeps(), 1));
        lines.push(("pitch", 5), (self.pitch(), 6));
        lines.push(("noise", 5), (self.noise(), 4));
        lines.push(("timbre", 6), (self.timbre(), 6));
        lines.into_text()
    }
}
