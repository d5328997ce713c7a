//! From a frame to the object in it: how much of each pixel it covers, and in which of its tones.
//!
//! Backgrounds have almost no chroma, so what has chroma is the object. A pixel between object and
//! background is a mixture of their colours, and its share is found by solving for it. Only white objects
//! are told from the background by their light.

/// Difference between the largest and the smallest of red, green and blue from which on a pixel has
/// chroma: background has up to 0.06, objects have 0.5 and more.
const CHROMA: f32 = 0.2;
/// Grey level that white objects have about.
const WHITE: f32 = 0.94;
/// Share of a frame's pixels that an object has at least.
const SMALLEST: f32 = 0.003;
/// Bins of hues, of 5 degrees each.
const BINS: usize = 72;
/// Bins to each side that count as one tone.
const TONE_BINS: usize = 4;
/// Bins between two tones, at least; the hues of a subject are 12 apart.
const BINS_APART: usize = 9;
/// Share of an object's pixels that a second tone has at least.
const SECOND_TONE: f32 = 0.14;

/// What covers a part of a frame.
pub(super) struct Object {
    /// Height and width of the frame in pixels.
    pub(super) size: [usize; 2],
    /// Share of each pixel that the object covers, `[height, width]`.
    pub(super) cover: Vec<f32>,
    /// Share of that which has the first tone, `[height, width]`.
    pub(super) first: Vec<f32>,
    /// Its tones as red, green and blue from 0 to 1, the larger first; one if it is plain.
    pub(super) tones: Vec<[f32; 3]>,
}

/// The largest object of a frame, `[height, width, 3]`.
pub(super) fn segment(frame: &[u8], height: usize, width: usize) -> Option<Object> {
    let rgb: Vec<[f32; 3]> =
        frame.chunks_exact(3).map(|pixel| [0, 1, 2].map(|i| f32::from(pixel[i]) / 255.0)).collect();
    let border: Vec<usize> = (0..height * width)
        .filter(|i| {
            let (row, column) = (i / width, i % width);
            row == 0 || column == 0 || row + 1 == height || column + 1 == width
        })
        .collect();
    let mut levels: Vec<f32> = border.iter().map(|&i| grey(rgb[i])).collect();
    levels.sort_by(f32::total_cmp);
    let brightest = *levels.get(levels.len() * 19 / 20)?;
    let light = (brightest + WHITE) / 2.0;

    let hued = largest(&rgb, [height, width], |rgb| chroma(rgb) > CHROMA);
    let white = largest(&rgb, [height, width], |rgb| grey(rgb) > light && chroma(rgb) <= CHROMA);
    let (_, (count, region)) = [(1.0, hued), (0.5, white)]
        .into_iter()
        // Blends of two tones are white here and there.
        .max_by(|(a, x), (b, y)| (a * x.0 as f32).total_cmp(&(b * y.0 as f32)))?;
    if (count as f32) < SMALLEST * (height * width) as f32 {
        return None;
    }
    let plane = Plane::fit(&rgb, &border, [height, width]);
    let inside: Vec<usize> = (0..region.len()).filter(|&i| region[i]).collect();
    let pixels: Vec<[f32; 3]> = inside.iter().map(|&i| rgb[i]).collect();
    let tones = if pixels.iter().filter(|&&rgb| chroma(rgb) > CHROMA).count() * 2 > count {
        hued_tones(&pixels)
    } else {
        vec![white_tone(&pixels, light)]
    };
    let mut object = Object {
        size: [height, width],
        cover: vec![0.0; height * width],
        first: vec![1.0; height * width],
        tones,
    };
    for i in inside {
        let behind = plane.at(i, [height, width]);
        let shares = unmix(rgb[i], &object.tones, behind);
        let sum = shares[0] + shares[1];
        // Steeper than it is, about the edge: what is left of the background and its pattern disappears.
        object.cover[i] = (2.0 * sum - 0.5).clamp(0.0, 1.0);
        object.first[i] = if sum > 0.0 { shares[0] / sum } else { 0.5 };
    }
    Some(object)
}

/// Hue in degrees of red, green and blue.
pub(super) fn hue(rgb: [f32; 3]) -> f32 {
    let [a, b] = plane_of(rgb);
    b.atan2(a).to_degrees().rem_euclid(360.0)
}

/// Two coordinates at right angles, of which grey has none: red is at 0 degrees, green at 120.
fn plane_of([r, g, b]: [f32; 3]) -> [f32; 2] {
    [r - (g + b) / 2.0, (g - b) * 0.75_f32.sqrt()]
}

fn grey([r, g, b]: [f32; 3]) -> f32 {
    (r + g + b) / 3.0
}

fn chroma([r, g, b]: [f32; 3]) -> f32 {
    r.max(g).max(b) - r.min(g).min(b)
}

/// The grey of the background as a plane over the frame, fit to its border.
struct Plane {
    mean: f32,
    /// Slopes to the right and down, per pixel.
    slopes: [f32; 2],
}

impl Plane {
    fn fit(rgb: &[[f32; 3]], border: &[usize], size: [usize; 2]) -> Self {
        let mean = border.iter().map(|&i| grey(rgb[i])).sum::<f32>() / border.len() as f32;
        // The border is symmetric, so each slope is fit alone.
        let slopes = [0, 1].map(|axis| {
            let place = |i| from_middle(i, size)[axis];
            let along: f32 = border.iter().map(|&i| place(i) * (grey(rgb[i]) - mean)).sum();
            let squares: f32 = border.iter().map(|&i| place(i).powi(2)).sum();
            if squares > 0.0 { along / squares } else { 0.0 }
        });
        Self { mean, slopes }
    }

    fn at(&self, i: usize, size: [usize; 2]) -> f32 {
        let [x, y] = from_middle(i, size);
        self.mean + self.slopes[0] * x + self.slopes[1] * y
    }
}

fn from_middle(i: usize, [height, width]: [usize; 2]) -> [f32; 2] {
    [
        (i % width) as f32 - (width as f32 - 1.0) / 2.0,
        (i / width) as f32 - (height as f32 - 1.0) / 2.0,
    ]
}

/// The pixels in and around the largest group of those that `belongs` takes, gaps of one or two pixels
/// bridged, and how many of them it takes.
fn largest(
    rgb: &[[f32; 3]],
    [height, width]: [usize; 2],
    belongs: impl Fn([f32; 3]) -> bool,
) -> (usize, Vec<bool>) {
    let mask: Vec<bool> = rgb.iter().map(|&rgb| belongs(rgb)).collect();
    let around = |i: usize| {
        let (row, column) = (i / width, i % width);
        let rows = row.saturating_sub(1)..(row + 2).min(height);
        rows.flat_map(move |row| {
            (column.saturating_sub(1)..(column + 2).min(width)).map(move |x| row * width + x)
        })
    };
    let wide: Vec<bool> = (0..mask.len()).map(|i| around(i).any(|j| mask[j])).collect();
    let mut group = vec![usize::MAX; mask.len()];
    let mut best = (0, usize::MAX);
    for seed in 0..mask.len() {
        if !wide[seed] || group[seed] != usize::MAX {
            continue;
        }
        let mut count = 0;
        let mut open = vec![seed];
        group[seed] = seed;
        while let Some(i) = open.pop() {
            count += usize::from(mask[i]);
            for j in around(i) {
                if wide[j] && group[j] == usize::MAX {
                    group[j] = seed;
                    open.push(j);
                }
            }
        }
        if count > best.0 {
            best = (count, seed);
        }
    }
    (best.0, group.into_iter().map(|group| group == best.1 && best.0 > 0).collect())
}

/// The one or two tones of an object's pixels.
fn hued_tones(pixels: &[[f32; 3]]) -> Vec<[f32; 3]> {
    let strongest = quantile(pixels.iter().map(|&rgb| chroma(rgb)).collect(), 0.95);
    let strong: Vec<[f32; 3]> =
        pixels.iter().copied().filter(|&rgb| chroma(rgb) > 0.4 * strongest).collect();
    let bin = |rgb| ((hue(rgb) / 360.0 * BINS as f32) as usize).min(BINS - 1);
    let mut counts = [0.0; BINS];
    strong.iter().for_each(|&rgb| counts[bin(rgb)] += 1.0);
    let apart = |a: usize, b: usize| a.abs_diff(b).min(BINS - a.abs_diff(b));
    let near = |at: usize| -> f32 {
        (0..BINS).filter(|&bin| apart(bin, at) <= TONE_BINS).map(|bin| counts[bin]).sum()
    };
    let peak = |allowed: &dyn Fn(usize) -> bool| {
        let bins = (0..BINS).filter(|&bin| allowed(bin));
        bins.max_by(|&a, &b| near(a).total_cmp(&near(b))).unwrap_or(0)
    };
    let first = peak(&|_| true);
    let second = peak(&|bin| apart(bin, first) >= BINS_APART);
    let tone = |at: usize| {
        let of: Vec<[f32; 3]> =
            strong.iter().copied().filter(|&rgb| apart(bin(rgb), at) <= TONE_BINS).collect();
        // Not the edges, which are mixtures.
        let full = 0.85 * quantile(of.iter().map(|&rgb| chroma(rgb)).collect(), 0.8);
        mean(of.into_iter().filter(|&rgb| chroma(rgb) >= full))
    };
    let mut tones = vec![tone(first)];
    if near(second) > SECOND_TONE * strong.len() as f32 {
        tones.push(tone(second));
    }
    tones
}

/// The tone of a white object's pixels.
fn white_tone(pixels: &[[f32; 3]], light: f32) -> [f32; 3] {
    let lit: Vec<[f32; 3]> = pixels.iter().copied().filter(|&rgb| grey(rgb) > light).collect();
    let full = 0.95 * quantile(lit.iter().map(|&rgb| grey(rgb)).collect(), 0.8);
    mean(lit.into_iter().filter(|&rgb| grey(rgb) >= full))
}

fn mean(pixels: impl Iterator<Item = [f32; 3]>) -> [f32; 3] {
    let mut sums = [0.0; 4];
    for [r, g, b] in pixels {
        [r, g, b, 1.0].into_iter().zip(&mut sums).for_each(|(value, sum)| *sum += value);
    }
    let count = sums[3].max(1.0);
    [0, 1, 2].map(|i| sums[i] / count)
}

fn quantile(mut values: Vec<f32>, share: f32) -> f32 {
    values.sort_by(f32::total_cmp);
    let at = (values.len() as f32 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// Shares of the tones in a mixture with a grey background, none below 0.
fn unmix(rgb: [f32; 3], tones: &[[f32; 3]], behind: f32) -> [f32; 2] {
    // The background is grey, but how light it is behind this pixel is known less well than that; of
    // white objects the light is all there is.
    let against = |rgb: [f32; 3], light: f32| {
        let [a, b] = plane_of(rgb);
        [a, b, light * (grey(rgb) - behind)]
    };
    let dot = |a: [f32; 3], b: [f32; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    match *tones {
        [first, second] => {
            let [p, u, v] = [rgb, first, second].map(|rgb| against(rgb, 0.7));
            let (uu, uv, vv) = (dot(u, u), dot(u, v), dot(v, v));
            let (pu, pv) = (dot(p, u), dot(p, v));
            let det = uu * vv - uv * uv;
            let both = [(pu * vv - pv * uv) / det, (pv * uu - pu * uv) / det];
            if det > 0.02 * uu * vv && both.iter().all(|share| *share >= 0.0) {
                both
            } else if pu * pu * vv > pv * pv * uu {
                [(pu / uu).max(0.0), 0.0]
            } else {
                [0.0, (pv / vv).max(0.0)]
            }
        }
        [tone] => {
            let light = if chroma(tone) > CHROMA { 0.0 } else { 1.0 };
            let [p, u] = [rgb, tone].map(|rgb| against(rgb, light));
            [(dot(p, u) / dot(u, u).max(1e-6)).max(0.0), 0.0]
        }
        _ => [0.0; 2],
    }
}
