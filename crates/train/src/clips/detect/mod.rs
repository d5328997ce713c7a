//! What a clip shows, found without learning: the judge of generated clips.
//!
//! ```text
//! frame -> object (segment.rs): chroma or white light, largest group, share of each pixel, one or two tones
//! object -> middle, radius, shape, turn, pattern (outline.rs): comparison with each shape in each turn
//! frames -> motion (track.rs): least squares over places, radii and turns
//! ```
//!
//! It judges by what [`Scene`](super::Scene)s can show, so of other clips it only says what they look most
//! like.

mod outline;
mod segment;
#[cfg(test)]
mod tests;
mod track;

pub use track::Track;

use super::attributes::{Colour, Motion, Pattern, Shape, Size};
use media::Clip;
use outline::{Outline, outline, pattern, radius_of};
use segment::{Object, segment};
use track::Point;

/// What a frame shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// The nearest colour that has a name; `None` if the object has two tones.
    pub colour: Option<Colour>,
    /// The mean colour of its larger tone: red, green and blue from 0 to 1.
    pub rgb: [f32; 3],
    /// The hues of its two tones in degrees, that which the pattern begins with first, if it has two.
    pub hues: Option<[f32; 2]>,
    /// How its two tones are laid out, if it has two.
    pub pattern: Option<Pattern>,
    /// The shape that fits best.
    pub shape: Shape,
    /// How badly the shape fits: 0 is perfect, 0.1 is doubtful.
    pub misfit: f32,
    /// Middle in widths and heights of the picture, from its upper left corner.
    pub place: [f32; 2],
    /// Radius in widths, as [`Pose`](super::Pose) means it.
    pub radius: f32,
    /// Turn in radians clockwise, up to turns after which the shape looks the same.
    pub angle: f32,
}

/// What a clip shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Detected {
    /// The colour; `None` if the object has two tones.
    pub colour: Option<Colour>,
    /// The mean colour of its larger tone: red, green and blue from 0 to 1.
    pub rgb: [f32; 3],
    /// The hues of its two tones in degrees, if it has two.
    pub hues: Option<[f32; 2]>,
    /// How its two tones are laid out, if it has two.
    pub pattern: Option<Pattern>,
    /// The shape.
    pub shape: Shape,
    /// The size in the first frame.
    pub size: Size,
    /// What it does, in a word.
    pub motion: Motion,
    /// What it does, in numbers.
    pub track: Track,
    /// What each frame shows; `None` where there is no object.
    pub frames: Vec<Option<Seen>>,
}

/// Finds out what a clip shows; `None` if no frame has an object.
///
/// # Panics
///
/// If the clip's `rgb` has not as many values as its frames have.
pub fn detect(clip: &Clip) -> Option<Detected> {
    let found: Vec<Option<Found>> = (0..clip.frames).map(|i| find(clip, i)).collect();
    let seen: Vec<&Found> = found.iter().flatten().collect();
    let mut misfits = [0.0; Shape::ALL.len()];
    let two = seen.iter().filter(|found| found.object.tones.len() == 2).count() * 2 > seen.len();
    for found in &seen {
        found.outline.fits.iter().zip(&mut misfits).for_each(|((error, _), sum)| *sum += error);
    }
    let shape = best(&misfits);
    let track = Track::fit(
        &seen.iter().map(|found| found.point(clip, shape)).collect::<Vec<_>>(),
        shape.symmetry(),
    );
    let frames: Vec<Option<Seen>> =
        found.iter().map(|found| found.as_ref().map(|found| found.judge(clip))).collect();
    let judged = || frames.iter().flatten();
    let colour = most(judged().filter_map(|seen| seen.colour), Colour::ALL).filter(|_| !two);
    let pattern = most(judged().filter_map(|seen| seen.pattern), Pattern::ALL).filter(|_| two);
    let of_pattern = judged().filter(|seen| seen.pattern == pattern).filter_map(|seen| seen.hues);
    let first = judged().next()?;
    Some(Detected {
        colour,
        rgb: mean_rgb(judged().filter(|seen| seen.colour == colour).map(|seen| seen.rgb)),
        hues: pattern.map(|_| mean_hues(of_pattern.collect())),
        pattern,
        shape,
        size: size(if clip.frames > 1 { track.radius } else { first.radius }),
        motion: track.motion(),
        track,
        frames,
    })
}

impl Detected {
    /// Whether each frame shows the object, in the clip's colour or two tones and in its shape.
    pub fn is_same_in_all_frames(&self) -> bool {
        self.frames.iter().all(|seen| {
            seen.is_some_and(|seen| seen.colour == self.colour && seen.shape == self.shape)
        })
    }
}

/// Degrees between two hues, 0 to 180.
pub fn hue_difference(a: f32, b: f32) -> f32 {
    let apart = (a - b).rem_euclid(360.0);
    apart.min(360.0 - apart)
}

/// Mean degrees between the hues of two subjects, 0 to 180, whichever is first.
pub fn hues_difference(a: [f32; 2], b: [f32; 2]) -> f32 {
    let mean = |b: [f32; 2]| (hue_difference(a[0], b[0]) + hue_difference(a[1], b[1])) / 2.0;
    mean(b).min(mean([b[1], b[0]]))
}

/// The object of a frame.
struct Found {
    time: f32,
    object: Object,
    outline: Outline,
}

fn find(clip: &Clip, i: usize) -> Option<Found> {
    let object = segment(clip.frame(i), clip.height, clip.width)?;
    let outline = outline(&object)?;
    Some(Found { time: super::render::time(i, clip.frames), object, outline })
}

impl Found {
    fn point(&self, clip: &Clip, shape: Shape) -> Point {
        let [x, y] = self.outline.middle;
        Point {
            time: self.time,
            place: [x / clip.width as f32, y / clip.height as f32],
            radius: self.outline.radius * radius_of(shape) / clip.width as f32,
            angle: self.outline.fits[shape as usize].1,
        }
    }

    /// What the frame shows if nothing is known of the others.
    fn judge(&self, clip: &Clip) -> Seen {
        let shape = best(&self.outline.fits.map(|(error, _)| error));
        let (misfit, angle) = self.outline.fits[shape as usize];
        let Point { place, radius, .. } = self.point(clip, shape);
        let tones = &self.object.tones;
        let (hues, pattern) = match tones[..] {
            [first, second] => {
                let (pattern, begins) = pattern(&self.object, &self.outline, shape);
                let hues = [first, second].map(segment::hue);
                (Some(if begins { hues } else { [hues[1], hues[0]] }), Some(pattern))
            }
            _ => (None, None),
        };
        let rgb = tones[0];
        let colour = if pattern.is_some() { None } else { Some(name(rgb)) };
        Seen { colour, rgb, hues, pattern, shape, misfit, place, radius, angle }
    }
}

/// The shape with the least error.
fn best(errors: &[f32; Shape::ALL.len()]) -> Shape {
    let better = |a: &&Shape, b: &&Shape| errors[**a as usize].total_cmp(&errors[**b as usize]);
    Shape::ALL.iter().min_by(better).copied().unwrap_or(Shape::Circle)
}

/// The colour that is nearest.
fn name(rgb: [f32; 3]) -> Colour {
    let off =
        |colour: &&Colour| rgb.iter().zip(colour.rgb()).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    let nearest = Colour::ALL.iter().min_by(|a, b| off(a).total_cmp(&off(b)));
    nearest.copied().unwrap_or(Colour::White)
}

/// The size whose radii are nearest.
fn size(radius: f32) -> Size {
    let off = |size: &&Size| {
        let radii = size.radii();
        (radius - (radii.start + radii.end) / 2.0).abs()
    };
    Size::ALL.iter().min_by(|a, b| off(a).total_cmp(&off(b))).copied().unwrap_or(Size::Medium)
}

/// The one that comes most often, of several the first in `all`.
fn most<T: Copy + PartialEq>(items: impl Iterator<Item = T>, all: &[T]) -> Option<T> {
    let items: Vec<T> = items.collect();
    let count = |item: &T| items.iter().filter(|other| *other == item).count();
    all.iter().rev().max_by_key(|item| count(item)).copied().filter(|item| count(item) > 0)
}

fn mean_rgb(colours: impl Iterator<Item = [f32; 3]>) -> [f32; 3] {
    let colours: Vec<[f32; 3]> = colours.collect();
    let count = colours.len().max(1) as f32;
    [0, 1, 2].map(|i| colours.iter().map(|colour| colour[i]).sum::<f32>() / count)
}

/// The mean of each of the two hues, on their circle; frames that have them the other way round are
/// turned.
fn mean_hues(hues: Vec<[f32; 2]>) -> [f32; 2] {
    let Some(&[first, second]) = hues.first() else { return [0.0; 2] };
    let ordered: Vec<[f32; 2]> = hues
        .into_iter()
        .map(|[a, b]| {
            let straight = hue_difference(a, first) + hue_difference(b, second);
            let crossed = hue_difference(a, second) + hue_difference(b, first);
            if straight <= crossed { [a, b] } else { [b, a] }
        })
        .collect();
    [0, 1].map(|i| {
        let sum = |of: fn(f32) -> f32| ordered.iter().map(|h| of(h[i].to_radians())).sum::<f32>();
        sum(f32::sin).atan2(sum(f32::cos)).to_degrees().rem_euclid(360.0)
    })
}
