//! Clips that are broken on purpose, with the frames in which they are.

use super::attributes::{Colour, Shape};
use super::render::{Moment, time};
use super::scene::{Fill, Path, Scene, between, shade};
use media::Clip;
use std::ops::Range;
use tensor::Rng;

/// What can be wrong with a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// One frame is much brighter.
    Flash,
    /// Every second, third or fourth frame is darker.
    DarkFrames,
    /// A frame is left out: what moves makes twice the step.
    Dropped,
    /// A frame is shown twice, and what follows is late.
    Duplicated,
    /// For one to three frames the object has another colour.
    SwappedHue,
    /// For one to three frames the object has another shape.
    SwappedShape,
    /// From one frame on the object is elsewhere.
    Jump,
    /// For three frames or more nothing changes; if the clip goes on, all is then where it should be.
    Freeze,
}

impl Fault {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Flash,
        Self::DarkFrames,
        Self::Dropped,
        Self::Duplicated,
        Self::SwappedHue,
        Self::SwappedShape,
        Self::Jump,
        Self::Freeze,
    ];

    /// Its name, as reports spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flash => "flash",
            Self::DarkFrames => "periodic dark frame",
            Self::Dropped => "dropped frame",
            Self::Duplicated => "duplicated frame",
            Self::SwappedHue => "swapped hue",
            Self::SwappedShape => "swapped shape",
            Self::Jump => "jump",
            Self::Freeze => "freeze",
        }
    }
}

/// A broken clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Broken {
    /// Its frames, as many as were asked for.
    pub clip: Clip,
    /// The frames that are wrong, in order: those that look wrong or, of a dropped frame and a jump, the
    /// first after it. Of a freeze and a duplicated frame, those that repeat the one before.
    pub frames: Vec<usize>,
}

/// How much brighter a flash is: a factor, and what is added, of 1.
const FLASH: [Range<f32>; 2] = [1.3..1.8, 0.15..0.3];
/// What is left of the light in a dark frame.
const DARK: Range<f32> = 0.35..0.65;
/// Widths of a jump; in a normal step nothing goes further than 0.12 in clips of nine frames, but for
/// bounces.
const JUMP: Range<f32> = 0.25..0.5;
/// Places that are tried for a jump.
const TRIES: usize = 64;
/// Least distance between a colour and the one it is swapped with, as the largest difference of red,
/// green or blue.
const COLOURS_APART: f32 = 0.45;

/// The clip of `scene` with `size` x `size` pixels and this fault in a frame that is not the first.
///
/// `None` if the fault could not be seen: there are fewer than five frames, time goes wrong where nothing
/// moves, or there is no room to jump to.
pub fn inject(
    fault: Fault,
    scene: &Scene,
    size: usize,
    frames: usize,
    rng: &mut Rng,
) -> Option<Broken> {
    if frames < 5 {
        return None;
    }
    // A wrong frame in the middle has two neighbours.
    let wrong = 1 + rng.below(frames - 2);
    let clip = scene.render(size, frames);
    match fault {
        Fault::Flash => {
            let [factor, more] = FLASH.map(|range| between(range, rng));
            Some(relight(clip, vec![wrong], factor, more * 255.0))
        }
        Fault::DarkFrames => {
            let period = 2 + rng.below(3.min(frames / 2 - 1));
            let first = 1 + rng.below(period.min(frames - 1 - period));
            let dark = (first..frames).step_by(period).collect();
            Some(relight(clip, dark, between(DARK, rng), 0.0))
        }
        Fault::Dropped => {
            let left_out = |i| if i < wrong { i } else { i + 1 };
            retime(scene, size, frames, frames + 1, left_out, vec![wrong])
        }
        Fault::Duplicated => {
            let late = |i| if i < wrong { i } else { i - 1 };
            retime(scene, size, frames, frames - 1, late, vec![wrong])
        }
        Fault::Freeze => {
            let len = 3 + rng.below(frames - 4);
            let first = 1 + rng.below(frames - len);
            let frozen = first..first + len;
            let held = |i| if frozen.contains(&i) { first - 1 } else { i };
            retime(scene, size, frames, frames, held, frozen.clone().collect())
        }
        Fault::SwappedHue => {
            let swapped = Scene { fill: other_fill(&scene.fill, rng), ..*scene };
            Some(swap(scene, swapped, size, frames, wrong, rng))
        }
        Fault::SwappedShape => {
            let others: Vec<Shape> =
                Shape::ALL.iter().copied().filter(|&shape| shape != scene.shape).collect();
            let swapped = Scene { shape: *rng.pick(&others), ..*scene };
            Some(swap(scene, swapped, size, frames, wrong, rng))
        }
        Fault::Jump => jump(scene, size, frames, wrong, rng),
    }
}

/// Other light in some frames.
fn relight(mut clip: Clip, frames: Vec<usize>, factor: f32, more: f32) -> Broken {
    let len = clip.height * clip.width * 3;
    for &i in &frames {
        for value in &mut clip.rgb[i * len..(i + 1) * len] {
            *value = (f32::from(*value) * factor + more).round().clamp(0.0, 255.0) as u8;
        }
    }
    Broken { clip, frames }
}

/// A clip whose frame `i` shows moment `source(i)` of `moments`.
fn retime(
    scene: &Scene,
    size: usize,
    frames: usize,
    moments: usize,
    source: impl Fn(usize) -> usize,
    wrong: Vec<usize>,
) -> Option<Broken> {
    if scene.path == Path::Still {
        return None;
    }
    let moment = |i| Moment { time: time(source(i), moments), scene: *scene };
    Some(Broken { clip: scene.render_with(size, frames, moment), frames: wrong })
}

/// A clip that shows another object for one to three frames.
fn swap(
    scene: &Scene,
    swapped: Scene,
    size: usize,
    frames: usize,
    first: usize,
    rng: &mut Rng,
) -> Broken {
    let end = (first + 1 + rng.below(3)).min(frames);
    let shown = |i| if (first..end).contains(&i) { swapped } else { *scene };
    let moment = |i| Moment { time: time(i, frames), scene: shown(i) };
    Broken { clip: scene.render_with(size, frames, moment), frames: (first..end).collect() }
}

/// A clip whose object is elsewhere from frame `first` on, and still wholly visible.
fn jump(scene: &Scene, size: usize, frames: usize, first: usize, rng: &mut Rng) -> Option<Broken> {
    let visible = |scene: &Scene| {
        (first..frames).all(|i| {
            let pose = scene.pose(time(i, frames));
            let reach = pose.radius * scene.shape.reach();
            [pose.x, pose.y].into_iter().all(|at| at >= reach && at <= 1.0 - reach)
        })
    };
    let mut places = (0..TRIES).map(|_| {
        let (sin, cos) = between(0.0..std::f32::consts::TAU, rng).sin_cos();
        let far = between(JUMP, rng);
        let mut moved = *scene;
        moved.start.x += far * cos;
        moved.start.y += far * sin;
        moved
    });
    let moved = places.find(visible)?;
    let shown = |i| if i < first { *scene } else { moved };
    let moment = |i| Moment { time: time(i, frames), scene: shown(i) };
    Some(Broken { clip: scene.render_with(size, frames, moment), frames: vec![first] })
}

/// Another colour, or hues far from those of a subject.
fn other_fill(fill: &Fill, rng: &mut Rng) -> Fill {
    match *fill {
        Fill::Plain { colour, .. } => {
            let far = |other: Colour| {
                let apart = colour.rgb().into_iter().zip(other.rgb()).map(|(a, b)| (a - b).abs());
                apart.fold(0.0, f32::max) >= COLOURS_APART
            };
            let others: Vec<Colour> = Colour::ALL.iter().copied().filter(|&c| far(c)).collect();
            shade(*rng.pick(&others), rng)
        }
        Fill::Subject(mut tones) => {
            let turn = between(100.0..260.0, rng);
            tones.hues = tones.hues.map(|hue| (hue + turn) % 360.0);
            Fill::Subject(tones)
        }
    }
}
