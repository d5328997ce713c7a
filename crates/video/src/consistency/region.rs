//! What stands out from the background: where it is, how large, of which hues and which shape.
//!
//! Colours of a background mostly lie on a line through the cube of colours: one colour, a gradient,
//! or two that alternate. The line is fitted to the frame's edge, and what is far from it stands out.
//! Each frame is judged alone, so a picture has a region like a frame of a clip, a thing that rests is
//! found like one that moves, and a flash changes nothing but brightness.

use super::frames::Frame;

/// Bins of a hue histogram, 15 degrees each.
pub const HUES: usize = 24;
/// Numbers of a shape.
pub const SHAPE: usize = 7;
/// A pixel nearer to the background than this is background, whatever the frame: distance of colours
/// from 0 to 1 in each channel.
const NEAREST: f32 = 0.08;
/// Parts this many pixels apart belong together: between tones of opposite hues there is a line of grey.
const GAP: usize = 2;
/// A region smaller than this many pixels is no region.
const SMALLEST: f32 = 12.0;
/// A region larger than this share of the frame is no region: then it is the edge that is special.
const LARGEST: f32 = 0.7;

/// What stands out in a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// Which part of each pixel belongs to it, 0 to 1, `[height, width]`.
    pub cover: Vec<f32>,
    /// Pixels.
    pub area: f64,
    /// Its middle, in pixels to the right and down.
    pub centre: [f64; 2],
    /// Mean red, green and blue of what it covers wholly, 0 to 1.
    pub rgb: [f64; 3],
    /// How colourful it is: mean over its pixels of largest less smallest of red, green and blue over the
    /// largest, 0 to 1.
    pub saturation: f64,
    /// Share of it in each of 24 parts of the circle of hues, weighted by how colourful it is: what is
    /// missing to 1 is grey. `[HUES]`
    pub hues: Vec<f64>,
    /// What its outline is like, whatever its place, size and turn: moments about its middle in units of
    /// its radius. `[SHAPE]`: two of how far out its parts are, then the strength of the symmetries of
    /// order 2 to 6, all 0 for a disc.
    pub shape: Vec<f64>,
    /// The turn at which each symmetry of order 2 to 6 is strongest, in radians times the order.
    pub phases: [f64; 5],
    /// Whether it ends inside of the frame on all sides.
    pub whole: bool,
}

impl Region {
    /// Radius of the disc of the same area, in pixels.
    pub fn radius(&self) -> f64 {
        (self.area / std::f64::consts::PI).sqrt()
    }
}

/// The largest thing that stands out in `frame`, if there is one.
pub fn find(frame: &Frame) -> Option<Region> {
    let (height, width) = (frame.height, frame.width);
    if height < 8 || width < 8 {
        return None;
    }
    let line = Line::fit(edge(frame))?;
    let distance: Vec<f32> = frame.rgb.chunks_exact(3).map(|p| line.distance(p)).collect();
    let floor = line.spread;
    // The colour of what covers a pixel in part is that of its neighbours, which it covers wholly.
    let strongest = strongest_near(&distance, height, width);
    let threshold = NEAREST.max(3.0 * floor);
    let cover = distance.iter().zip(&strongest).map(|(&d, &most)| {
        if most < threshold { 0.0 } else { ((d - floor) / (most - floor)).clamp(0.0, 1.0) }
    });
    let mut cover: Vec<f32> = cover.collect();
    keep_largest(&mut cover, height, width)?;
    describe(frame, cover)
}

/// The pixels of the frame's edge, two deep.
fn edge(frame: &Frame) -> Vec<[f32; 3]> {
    let (height, width) = (frame.height, frame.width);
    let near = |i: usize, n: usize| i < 2 || i + 2 >= n;
    let pixels = frame.rgb.chunks_exact(3).enumerate();
    let inside = pixels.filter(|(i, _)| near(i / width, height) || near(i % width, width));
    inside.map(|(_, p)| [p[0], p[1], p[2]]).collect()
}

/// A piece of a straight line in the cube of colours.
struct Line {
    middle: [f32; 3],
    /// Unit vector.
    along: [f32; 3],
    /// From where to where, from the middle.
    ends: [f32; 2],
    /// How far colours of the background are from it: nine of ten are nearer.
    spread: f32,
}

impl Line {
    /// Through most of `colours`: what is far from most is left out and the line fitted again.
    fn fit(mut colours: Vec<[f32; 3]>) -> Option<Self> {
        let all = colours.len();
        let mut line = Self::through(&colours)?;
        for _ in 0..3 {
            let limit = (3.0 * line.spread.min(line.median(&colours) * 2.0)).max(0.03);
            let mut kept = colours.clone();
            kept.retain(|c| line.distance(c) <= limit);
            // A line through less than half of the edge says nothing about the background.
            if kept.len() * 2 < all || kept.len() == colours.len() {
                break;
            }
            colours = kept;
            line = Self::through(&colours)?;
        }
        Some(line)
    }

    fn through(colours: &[[f32; 3]]) -> Option<Self> {
        let channel = |c: usize| {
            let mut values: Vec<f32> = colours.iter().map(|p| p[c]).collect();
            values.sort_by(f32::total_cmp);
            values.get(values.len() / 2).copied()
        };
        let middle = [channel(0)?, channel(1)?, channel(2)?];
        let off = |p: &[f32; 3]| [0, 1, 2].map(|c| p[c] - middle[c]);
        // The direction in which colours differ most, by repeated products with their covariance.
        let mut covariance = [[1e-9f32; 3]; 3];
        for p in colours {
            let d = off(p);
            // What is far away must not turn the line: its pull is bounded.
            let pull = (d.iter().map(|v| v * v).sum::<f32>().sqrt() / 0.1).max(1.0).recip();
            for i in 0..3 {
                for j in 0..3 {
                    covariance[i][j] += d[i] * d[j] * pull;
                }
            }
        }
        let mut along = [0.6f32, 0.56, 0.57];
        for _ in 0..32 {
            let next =
                covariance.map(|row| row[0] * along[0] + row[1] * along[1] + row[2] * along[2]);
            let length = next.iter().map(|v| v * v).sum::<f32>().sqrt();
            along = next.map(|v| v / length.max(1e-20));
        }
        let mut places: Vec<f32> = colours.iter().map(|p| dot(off(p), along)).collect();
        places.sort_by(f32::total_cmp);
        let at = |share: f32| places[((places.len() - 1) as f32 * share) as usize];
        let mut line =
            Self { middle, along, ends: [at(0.02) - 0.01, at(0.98) + 0.01], spread: 0.0 };
        let mut distances: Vec<f32> = colours.iter().map(|p| line.distance(p)).collect();
        distances.sort_by(f32::total_cmp);
        line.spread = distances[(distances.len() - 1) * 9 / 10];
        Some(line)
    }

    fn distance(&self, rgb: &[f32]) -> f32 {
        let off = [0, 1, 2].map(|c| rgb[c] - self.middle[c]);
        let place = dot(off, self.along).clamp(self.ends[0], self.ends[1]);
        let rest = [0, 1, 2].map(|c| off[c] - place * self.along[c]);
        dot(rest, rest).sqrt()
    }

    fn median(&self, colours: &[[f32; 3]]) -> f32 {
        let mut distances: Vec<f32> = colours.iter().map(|p| self.distance(p)).collect();
        distances.sort_by(f32::total_cmp);
        distances[distances.len() / 2]
    }
}

fn dot(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The largest value at most two pixels away, for each pixel.
fn strongest_near(values: &[f32], height: usize, width: usize) -> Vec<f32> {
    let largest = |values: &[f32], n: usize, stride: usize, i: usize| {
        let place = (i / stride) % n;
        let first = place.saturating_sub(2);
        let last = (place + 2).min(n - 1);
        (first..=last).map(|j| values[i + j * stride - place * stride]).fold(0.0, f32::max)
    };
    let rows: Vec<f32> = (0..values.len()).map(|i| largest(values, width, 1, i)).collect();
    (0..values.len()).map(|i| largest(&rows, height, width, i)).collect()
}

/// Clears all but the largest connected thing, and what is at most two pixels from it.
///
/// A pixel belongs to a thing if it and its neighbours are covered by half: noise is not.
fn keep_largest(cover: &mut [f32], height: usize, width: usize) -> Option<()> {
    let solid = blurred(cover, height, width);
    let mut name = vec![0usize; cover.len()];
    let (mut largest, mut largest_size) = (0, 0);
    let mut names = 0;
    let mut stack = Vec::new();
    for start in 0..cover.len() {
        if name[start] != 0 || solid[start] < 0.5 {
            continue;
        }
        names += 1;
        name[start] = names;
        stack.push(start);
        let mut size = 0;
        while let Some(i) = stack.pop() {
            size += 1;
            let (y, x) = (i / width, i % width);
            for ny in y.saturating_sub(GAP)..=(y + GAP).min(height - 1) {
                for nx in x.saturating_sub(GAP)..=(x + GAP).min(width - 1) {
                    let j = ny * width + nx;
                    if name[j] == 0 && solid[j] >= 0.5 {
                        name[j] = names;
                        stack.push(j);
                    }
                }
            }
        }
        if size > largest_size {
            (largest, largest_size) = (names, size);
        }
    }
    if largest == 0 {
        return None;
    }
    let inside: Vec<f32> = name.iter().map(|&n| f32::from(u8::from(n == largest))).collect();
    let near = strongest_near(&inside, height, width);
    cover.iter_mut().zip(near).for_each(|(c, near)| *c *= near);
    Some(())
}

/// Means over 3x3 pixels.
fn blurred(values: &[f32], height: usize, width: usize) -> Vec<f32> {
    let mean = |values: &[f32], n: usize, stride: usize, i: usize| {
        let place = (i / stride) % n;
        let (first, last) = (place.saturating_sub(1), (place + 1).min(n - 1));
        let sum: f32 = (first..=last).map(|j| values[i + j * stride - place * stride]).sum();
        sum / (last - first + 1) as f32
    };
    let rows: Vec<f32> = (0..values.len()).map(|i| mean(values, width, 1, i)).collect();
    (0..values.len()).map(|i| mean(&rows, height, width, i)).collect()
}

fn describe(frame: &Frame, cover: Vec<f32>) -> Option<Region> {
    let (height, width) = (frame.height, frame.width);
    let (mut area, mut sum_x, mut sum_y) = (0.0, 0.0, 0.0);
    let covered = || cover.iter().enumerate().filter(|(_, c)| **c > 0.0);
    let place = |i: usize| ((i % width) as f64 + 0.5, (i / width) as f64 + 0.5);
    for (i, &c) in covered() {
        let ((x, y), c) = (place(i), f64::from(c));
        area += c;
        sum_x += c * x;
        sum_y += c * y;
    }
    if area < f64::from(SMALLEST) || area > f64::from(LARGEST) * (height * width) as f64 {
        return None;
    }
    let centre = [sum_x / area, sum_y / area];
    let radius = (area / std::f64::consts::PI).sqrt();
    let mut far = [0.0; 2];
    let mut turns = [[0.0; 2]; 5];
    for (i, &c) in covered() {
        let ((x, y), c) = (place(i), f64::from(c));
        let (x, y) = ((x - centre[0]) / radius, (y - centre[1]) / radius);
        let square = x * x + y * y;
        far[0] += c * square;
        far[1] += c * square * square;
        // Powers of x + iy; beyond the second their length grows no more, so that tips do not rule.
        let length = square.sqrt().max(1e-9);
        let (mut re, mut im) = (x * x - y * y, 2.0 * x * y);
        for turn in &mut turns {
            turn[0] += c * re;
            turn[1] += c * im;
            (re, im) = ((re * x - im * y) / length, (re * y + im * x) / length);
        }
    }
    let strength = turns.map(|[re, im]: [f64; 2]| re.hypot(im) / area);
    // A disc has 1/2 and 1/3.
    let mut shape = vec![far[0] / area - 0.5, far[1] / area - 1.0 / 3.0];
    shape.extend(strength);
    let on_edge = |i: usize| {
        let (y, x) = (i / width, i % width);
        y == 0 || x == 0 || y + 1 == height || x + 1 == width
    };
    let whole = !covered().any(|(i, &c)| c > 0.5 && on_edge(i));
    let Colours { rgb, saturation, hues } = colours(frame, &cover);
    let phases = turns.map(|[re, im]| im.atan2(re));
    Some(Region { cover, area, centre, rgb, saturation, hues, shape, phases, whole })
}

/// Hue in degrees, 0 to 360, and how colourful: largest less smallest over largest, 0 to 1.
pub fn hue(rgb: [f64; 3]) -> (f64, f64) {
    let [r, g, b] = rgb;
    let (low, high) = (r.min(g).min(b), r.max(g).max(b));
    if high - low <= 1e-9 {
        return (0.0, 0.0);
    }
    let sixth = if high == r {
        (g - b) / (high - low)
    } else if high == g {
        2.0 + (b - r) / (high - low)
    } else {
        4.0 + (r - g) / (high - low)
    };
    ((60.0 * sixth).rem_euclid(360.0), (high - low) / high)
}

/// The hues of a whole frame, as [`Region::hues`]; all grey if it has no pixels.
pub fn hues(frame: &Frame) -> Vec<f64> {
    match frame.rgb.is_empty() {
        true => vec![0.0; HUES],
        false => colours(frame, &vec![1.0; frame.height * frame.width]).hues,
    }
}

/// What a region says of its colours.
struct Colours {
    rgb: [f64; 3],
    saturation: f64,
    hues: Vec<f64>,
}

/// The colours of what is covered wholly, or, where too little is, of all that is covered.
fn colours(frame: &Frame, cover: &[f32]) -> Colours {
    let wholly = cover.iter().filter(|c| **c >= 0.95).count();
    let least = if wholly >= 9 { 0.95 } else { 0.05 };
    let mut sums = Colours { rgb: [0.0; 3], saturation: 0.0, hues: vec![0.0; HUES] };
    let mut weight = 0.0;
    for (pixel, &c) in frame.rgb.chunks_exact(3).zip(cover).filter(|(_, c)| **c >= least) {
        let c = f64::from(c);
        let pixel = [0, 1, 2].map(|i| f64::from(pixel[i]));
        let (degrees, saturation) = hue(pixel);
        weight += c;
        (0..3).for_each(|i| sums.rgb[i] += c * pixel[i]);
        sums.saturation += c * saturation;
        // Less than a fifth is grey; bins share what lies between their middles.
        let colourful = ((saturation - 0.2) / 0.3).clamp(0.0, 1.0);
        let place = degrees / (360.0 / HUES as f64);
        let (first, part) = (place.floor(), place.fract());
        sums.hues[first as usize % HUES] += c * colourful * (1.0 - part);
        sums.hues[(first as usize + 1) % HUES] += c * colourful * part;
    }
    Colours {
        rgb: sums.rgb.map(|s| s / weight),
        saturation: sums.saturation / weight,
        hues: sums.hues.into_iter().map(|s| s / weight).collect(),
    }
}

/// How far apart two histograms of hues are, 0 (alike) to 1 (nothing in common).
///
/// Bins are blurred first, so that a hue between two bins is near to both.
pub fn hue_distance(a: &[f64], b: &[f64]) -> f64 {
    let blurred = |hues: &[f64], i: usize| {
        let at = |off: usize| hues[(i + off) % HUES];
        0.25 * at(HUES - 1) + 0.5 * at(0) + 0.25 * at(1)
    };
    let grey = |hues: &[f64]| 1.0 - hues.iter().sum::<f64>();
    let bins = (0..HUES).map(|i| (blurred(a, i) - blurred(b, i)).abs());
    0.5 * (bins.sum::<f64>() + (grey(a) - grey(b)).abs())
}

/// How far apart two shapes are; discs and squares are at about 0.15, squares and stars at 0.4.
pub fn shape_distance(a: &[f64], b: &[f64]) -> f64 {
    // The moments of the fourth power are the larger and the less steady.
    const WEIGHT: [f64; SHAPE] = [1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0];
    let squares = a.iter().zip(b).zip(WEIGHT).map(|((a, b), w)| (w * (a - b)).powi(2));
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests;
