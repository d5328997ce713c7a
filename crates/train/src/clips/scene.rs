//! Scenes: everything that a clip is rendered from, named or not.

use super::attributes::{Backdrop, Colour, Motion, Pattern, Shape, Size};
use super::held_out::Split;
use std::ops::Range;
use tensor::Rng;

/// Where an object is, and how. Lengths are in widths of the picture, from its upper left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// From the left edge to the middle of the object.
    pub x: f32,
    /// From the upper edge to the middle of the object.
    pub y: f32,
    /// Radius, as [`Shape::distance`] means it.
    pub radius: f32,
    /// Turn in radians, clockwise.
    pub angle: f32,
}

/// How a pose changes from the first frame to the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Path {
    /// Not at all.
    Still,
    /// Along a line by so much to the right and down.
    Line {
        /// Widths to the right.
        dx: f32,
        /// Widths down.
        dy: f32,
    },
    /// To so many times its radius, at a constant rate.
    Scale {
        /// Last radius over first.
        factor: f32,
    },
    /// By so many radians clockwise.
    Spin {
        /// Radians.
        angle: f32,
    },
    /// Up and down again as a ball, from a ground at the pose's `y`.
    Bounce {
        /// Widths from the ground to the highest point.
        height: f32,
        /// Bounces in the clip.
        rounds: f32,
        /// Share of the first bounce that is over when the clip begins.
        phase: f32,
    },
}

impl Path {
    /// The pose at `time`, which is 0 in the first frame and 1 in the last, for a path begun at `start`.
    pub fn pose(self, start: Pose, time: f32) -> Pose {
        match self {
            Self::Still => start,
            Self::Line { dx, dy } => {
                Pose { x: start.x + dx * time, y: start.y + dy * time, ..start }
            }
            Self::Scale { factor } => {
                Pose { radius: start.radius * (1.0 + (factor - 1.0) * time), ..start }
            }
            Self::Spin { angle } => Pose { angle: start.angle + angle * time, ..start },
            Self::Bounce { height, rounds, phase } => {
                let share = (rounds * time + phase).fract();
                Pose { y: start.y - height * 4.0 * share * (1.0 - share), ..start }
            }
        }
    }
}

/// The two tones of a subject, which have no names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tones {
    /// How they are laid out.
    pub pattern: Pattern,
    /// Hues in degrees, from 0 to 360: of the band, the core, the side or the sectors that the pattern
    /// begins with, and of the rest.
    pub hues: [f32; 2],
    /// Saturation and value of each, from 0 to 1.
    pub shades: [[f32; 2]; 2],
    /// Turn of the pattern against the object, in radians.
    pub angle: f32,
}

/// What an object is filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// One colour that has a name.
    Plain {
        /// The name.
        colour: Colour,
        /// The shade of it: red, green and blue from 0 to 1.
        rgb: [f32; 3],
    },
    /// Two tones: the object is a subject, known by its picture alone.
    Subject(Tones),
}

/// What is behind the object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Background {
    /// Its kind.
    pub kind: Backdrop,
    /// Red, green and blue from 0 to 1: the colour, or the two that it goes between.
    pub colours: [[f32; 3]; 2],
    /// Direction of the gradient or turn of the checks, in radians.
    pub angle: f32,
    /// Side of a check in widths.
    pub side: f32,
    /// Where a corner of the checks is, in widths.
    pub corner: [f32; 2],
}

/// One object on a background, and what it does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scene {
    /// The outline.
    pub shape: Shape,
    /// What it is filled with.
    pub fill: Fill,
    /// The size in the first frame.
    pub size: Size,
    /// What it does, in a word.
    pub motion: Motion,
    /// The pose that the path begins with.
    pub start: Pose,
    /// What it does, in numbers.
    pub path: Path,
    /// What is behind it.
    pub background: Background,
    /// The pose in the reference picture.
    pub reference: Pose,
    /// The plain background of the reference picture: red, green and blue from 0 to 1.
    pub reference_background: [f32; 3],
}

/// Between the object and the edge of the picture, in widths.
const MARGIN: f32 = 0.01;
/// Widths that a travelling object covers in a clip.
const TRAVEL: Range<f32> = 0.2..0.5;
/// Radians that a direction may be off, both ways; halfway to the next one is 0.39.
const OFF_COURSE: f32 = 0.1;
/// Radians that an object which does not spin may be turned, both ways.
const LEAN: f32 = 0.2;
/// Radians of a spin in a clip, less per frame than the half of a turn after which a star looks the
/// same, in clips of five frames and more.
const SPIN: Range<f32> = 1.4..2.4;
/// Last radius over first of what grows.
const GROWTH: Range<f32> = 1.5..2.0;
/// The smallest radius to which something shrinks.
const SMALLEST: f32 = 0.095;
/// Widths from the ground to the highest point of a bounce.
const BOUNCE: Range<f32> = 0.25..0.42;
/// Bounces in a clip: one at least is seen wholly, and in five frames, too, it is not the same place that
/// is seen again and again.
const ROUNDS: Range<f32> = 1.3..1.75;
/// Degrees that the hues of a subject are apart, at least.
const HUES_APART: f32 = 60.0;

impl Size {
    /// Radii of the size, in widths of the picture.
    pub const fn radii(self) -> Range<f32> {
        match self {
            Self::Small => 0.11..0.13,
            Self::Medium => 0.15..0.175,
            Self::Large => 0.205..0.245,
        }
    }
}

impl Scene {
    /// A scene with an object of a named colour.
    pub fn draw(rng: &mut Rng, split: Split) -> Self {
        loop {
            let (shape, motion) = (*rng.pick(Shape::ALL), *rng.pick(Motion::ALL));
            let colour = *rng.pick(Colour::ALL);
            if shape.shows(motion) && split.has(colour, shape, motion) {
                return Self::of(shape, shade(colour, rng), motion, rng);
            }
        }
    }

    /// A scene with a subject: an object of two tones without names.
    pub fn draw_subject(rng: &mut Rng, split: Split) -> Self {
        loop {
            let (shape, motion) = (*rng.pick(Shape::ALL), *rng.pick(Motion::ALL));
            // Of a ring too little is seen to tell the patterns.
            if shape == Shape::Ring || !shape.shows(motion) || !split.has_subject(shape, motion) {
                continue;
            }
            let tones = Tones {
                pattern: *rng.pick(Pattern::ALL),
                hues: hues(rng, split),
                shades: [(); 2].map(|()| [between(0.72..0.95, rng), between(0.75..0.97, rng)]),
                angle: between(0.0..std::f32::consts::TAU, rng),
            };
            return Self::of(shape, Fill::Subject(tones), motion, rng);
        }
    }

    /// A scene of these, all else drawn: size, place, path, background, the reference.
    ///
    /// # Panics
    ///
    /// If the motion cannot be seen of the shape.
    pub fn of(shape: Shape, fill: Fill, motion: Motion, rng: &mut Rng) -> Self {
        assert!(shape.shows(motion), "a {shape} that {motion} looks as if it did not");
        let size = match motion {
            Motion::Grows => *rng.pick(&[Size::Small, Size::Medium]),
            Motion::Shrinks => *rng.pick(&[Size::Medium, Size::Large]),
            _ => *rng.pick(Size::ALL),
        };
        let radius = between(size.radii(), rng);
        let (start, path) = place(shape, radius, motion, rng);
        let reference = Pose {
            x: 0.5 + between(-0.05..0.05, rng),
            y: 0.5 + between(-0.05..0.05, rng),
            radius: between(0.27..0.33, rng),
            angle: between(-LEAN..LEAN, rng),
        };
        let plain = *rng.pick(&[Backdrop::Dark, Backdrop::Light]);
        let reference_background = Background::of(plain, rng).colours[0];
        let background = Background::of(*rng.pick(Backdrop::ALL), rng);
        Self { shape, fill, size, motion, start, path, background, reference, reference_background }
    }

    /// The pose at `time`, which is 0 in the first frame and 1 in the last.
    pub fn pose(&self, time: f32) -> Pose {
        self.path.pose(self.start, time)
    }

    /// The colour, if it has a name.
    pub fn colour(&self) -> Option<Colour> {
        match self.fill {
            Fill::Plain { colour, .. } => Some(colour),
            Fill::Subject(_) => None,
        }
    }
}

impl Background {
    /// A background of a kind.
    pub fn of(kind: Backdrop, rng: &mut Rng) -> Self {
        let [low, high] = match kind {
            Backdrop::Dark => [0.04..0.14, 0.04..0.14],
            Backdrop::Light => [0.60..0.70, 0.60..0.70],
            Backdrop::Gradient => [0.08..0.20, 0.42..0.58],
            Backdrop::Checkered => [0.14..0.24, 0.34..0.44],
        };
        let mut grey = |range| {
            let level = between(range, rng);
            [(); 3].map(|()| level + between(-0.02..0.02, rng))
        };
        let colours = [grey(low), grey(high)];
        Self {
            kind,
            colours,
            angle: between(0.0..std::f32::consts::TAU, rng),
            side: between(0.14..0.24, rng),
            corner: [rng.unit(), rng.unit()],
        }
    }
}

/// Uniform in `range`.
pub(super) fn between(range: Range<f32>, rng: &mut Rng) -> f32 {
    range.start + (range.end - range.start) * rng.unit()
}

/// A shade of a colour: not each red is the same.
pub(super) fn shade(colour: Colour, rng: &mut Rng) -> Fill {
    let light = between(0.94..1.0, rng);
    let rgb = colour.rgb().map(|value| {
        let off = if colour == Colour::White { 0.0 } else { between(-0.03..0.03, rng) };
        ((value + off) * light).clamp(0.0, 1.0)
    });
    Fill::Plain { colour, rgb }
}

/// Two hues that are well apart, the first of those that the split has.
fn hues(rng: &mut Rng, split: Split) -> [f32; 2] {
    loop {
        let hues = [(); 2].map(|()| between(0.0..360.0, rng));
        let apart = (hues[0] - hues[1]).abs();
        if apart.min(360.0 - apart) >= HUES_APART && split.has_hues(hues) {
            return hues;
        }
    }
}

/// Where an object begins and what it does, so that it is seen wholly in all frames.
fn place(shape: Shape, radius: f32, motion: Motion, rng: &mut Rng) -> (Pose, Path) {
    let path = match motion {
        Motion::Stays => Path::Still,
        Motion::Grows => Path::Scale { factor: between(GROWTH, rng) },
        Motion::Shrinks => {
            let least = (SMALLEST / radius).max(1.0 / GROWTH.end);
            Path::Scale { factor: between(least..1.0 / GROWTH.start, rng) }
        }
        Motion::Spins => {
            let angle = between(SPIN, rng);
            Path::Spin { angle: if rng.chance(0.5) { angle } else { -angle } }
        }
        Motion::Bounces => Path::Bounce {
            height: between(BOUNCE, rng),
            rounds: between(ROUNDS, rng),
            phase: rng.unit(),
        },
        _ => {
            let [x, y] = motion.direction().unwrap_or_default();
            let (sin, cos) = between(-OFF_COURSE..OFF_COURSE, rng).sin_cos();
            let travel = between(TRAVEL, rng);
            Path::Line { dx: (x * cos - y * sin) * travel, dy: (x * sin + y * cos) * travel }
        }
    };
    let angle = match path {
        Path::Spin { .. } => between(0.0..std::f32::consts::TAU, rng),
        _ => between(-LEAN..LEAN, rng),
    };
    let largest = match path {
        Path::Scale { factor } => radius * factor.max(1.0),
        _ => radius,
    };
    let reach = largest * shape.reach() + MARGIN;
    let room = 1.0 - 2.0 * reach;
    let path = match path {
        Path::Line { dx, dy } => {
            let fits = (room / dx.abs().max(dy.abs())).min(1.0);
            Path::Line { dx: dx * fits, dy: dy * fits }
        }
        Path::Bounce { height, rounds, phase } => {
            Path::Bounce { height: height.min(room), rounds, phase }
        }
        path => path,
    };
    // How far the middle goes from where it begins: left and right, up and down.
    let [ahead_x, ahead_y] = match path {
        Path::Line { dx, dy } => [dx, dy],
        Path::Bounce { height, .. } => [0.0, -height],
        _ => [0.0; 2],
    };
    let mut begin = |ahead: f32| {
        between(reach - ahead.min(0.0)..(1.0 - reach - ahead.max(0.0)).max(reach), rng)
    };
    (Pose { x: begin(ahead_x), y: begin(ahead_y), radius, angle }, path)
}
