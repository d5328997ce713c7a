//! What is measured of a clip without a model: means of frames, differences, and where the thing that
//! stands out is in each.

use super::frames::{self, Frame, Means};
use super::region::{self, Region};
use super::series;
use media::Clip;

/// A step from one frame to the next of what stands out, in pixels of the frames that regions are found
/// in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// To the right, down, growth of the radius, and turn as the way of a point at the radius.
    pub moves: [f64; 4],
    /// How far apart the hues are, 0 to 1.
    pub hue: f64,
    /// How far apart the shapes are.
    pub shape: f64,
}

/// What is measured of a clip.
#[derive(Clone, Debug)]
pub struct Track {
    /// Of each frame.
    pub means: Vec<Means>,
    /// Mean absolute difference of frame `i` and the one before; 0 for the first. 0 to 1.
    pub differences: Vec<f64>,
    /// Share of pixels that are brighter by 2/255 than the median of the frames at most two away, less
    /// the share of those that are darker. -1 to 1, near 0 unless the whole frame changes.
    pub brightened: Vec<f64>,
    /// The same share against the frame before: of pixels brighter less of pixels darker by 2/255.
    pub risen: Vec<f64>,
    /// What stands out in each frame.
    pub regions: Vec<Option<Region>>,
    /// The step to frame `i` from the one before, if something stands out in both.
    pub steps: Vec<Option<Step>>,
}

impl Track {
    /// Measures a clip of any size.
    pub fn of(clip: &Clip) -> Self {
        Self::new(clip, &Frame::all(clip))
    }

    /// The same of a clip whose frames are `frames`.
    pub(super) fn new(clip: &Clip, frames: &[Frame]) -> Self {
        let luma: Vec<Vec<f32>> = frames.iter().map(Frame::luma).collect();
        let regions: Vec<Option<Region>> = frames.iter().map(region::find).collect();
        let difference = |i: usize| match i {
            0 => 0.0,
            i => frames::difference(clip.frame(i), clip.frame(i - 1)),
        };
        let order = symmetry(&regions);
        let step = |i: usize| {
            Some(step(regions.get(i.checked_sub(1)?)?.as_ref()?, regions[i].as_ref()?, order))
        };
        Self {
            means: (0..clip.frames).map(|i| Means::of(clip.frame(i))).collect(),
            differences: (0..clip.frames).map(difference).collect(),
            brightened: brightened(&luma),
            risen: risen(&luma),
            steps: (0..clip.frames).map(step).collect(),
            regions,
        }
    }

    /// Whether something stands out in most frames, so that its way says what is wrong.
    pub fn is_tracked(&self) -> bool {
        let found = self.regions.iter().flatten().count();
        found >= 2 && 4 * found >= 3 * self.regions.len()
    }
}

/// From `before` to `after`; turns are told by the symmetry of this order less 2, if there is one.
pub(super) fn step(before: &Region, after: &Region, order: Option<usize>) -> Step {
    let radius = 0.5 * (before.radius() + after.radius());
    Step {
        moves: [
            after.centre[0] - before.centre[0],
            after.centre[1] - before.centre[1],
            after.radius() - before.radius(),
            radius * order.map_or(0.0, |order| turn(before, after, order)),
        ],
        hue: region::hue_distance(&before.hues, &after.hues),
        shape: region::shape_distance(&before.shape, &after.shape),
    }
}

/// Weakest symmetry by which a turn can be seen.
const SYMMETRIC: f64 = 0.1;

/// The order less 2 of the symmetry that is strongest in most regions: that by which turns are told. `None`
/// for discs.
fn symmetry(regions: &[Option<Region>]) -> Option<usize> {
    let strength = |k: usize| {
        series::median(&regions.iter().flatten().map(|r| r.shape[2 + k]).collect::<Vec<_>>())
    };
    let strongest = (0..5).max_by(|&a, &b| strength(a).total_cmp(&strength(b)))?;
    (strength(strongest) >= SYMMETRIC).then_some(strongest)
}

/// Radians from `before` to `after` by one symmetry; 0 if either has not enough of it.
///
/// After a turn by one part in `m` a symmetry of order `m` looks the same, so the turn is the smallest
/// of those that look so.
fn turn(before: &Region, after: &Region, order: usize) -> f64 {
    use std::f64::consts::{PI, TAU};
    if before.shape[2 + order].min(after.shape[2 + order]) < 0.5 * SYMMETRIC {
        return 0.0;
    }
    let turned = after.phases[order] - before.phases[order];
    ((turned + PI).rem_euclid(TAU) - PI) / (order + 2) as f64
}

/// Brighter or darker by more than this is not rounding.
const SEEN: f32 = 2.0 / 255.0;

/// Share of pixels whose difference is seen and positive, less that of those where it is negative.
fn balance(differences: impl ExactSizeIterator<Item = f32>) -> f64 {
    let pixels = differences.len().max(1) as f64;
    let signs = differences.map(|d| i64::from(d > SEEN) - i64::from(d < -SEEN));
    signs.sum::<i64>() as f64 / pixels
}

fn brightened(luma: &[Vec<f32>]) -> Vec<f64> {
    let of = |i: usize| {
        let near = &luma[i.saturating_sub(2)..(i + 3).min(luma.len())];
        let mut values = Vec::with_capacity(5);
        balance(luma[i].iter().enumerate().map(|(p, &value)| {
            values.clear();
            values.extend(near.iter().map(|frame| frame[p]));
            values.sort_by(f32::total_cmp);
            value - 0.5 * (values[(values.len() - 1) / 2] + values[values.len() / 2])
        }))
    };
    (0..luma.len()).map(of).collect()
}

fn risen(luma: &[Vec<f32>]) -> Vec<f64> {
    let of = |i: usize| match i {
        0 => 0.0,
        i => balance(luma[i].iter().zip(&luma[i - 1]).map(|(now, before)| now - before)),
    };
    (0..luma.len()).map(of).collect()
}
