//! Motion between frames, without a model: Lucas and Kanade's method on a pyramid, dense.
//!
//! ```text
//! (sum of g gᵀ + r) w' = r w + sum of g (g · w - (before(p + w) - after(p)))
//! ```
//!
//! over a window around each pixel, `g` the gradient of `after` and `w` the way so far of each pixel in the
//! window, from coarse to fine. Sums over windows are running sums, so the cost is a few hundred
//! operations per pixel whatever the window.

use super::frames::Frame;

/// Half the side of the window.
const WINDOW: usize = 3;
/// Rounds on each level of the pyramid.
const ROUNDS: usize = 5;
/// What keeps plain pixels where they are: variance of the gradient below which nothing is known.
const RIDGE: f32 = 2e-3;
/// Shortest side of the coarsest level.
const COARSEST: usize = 12;
/// A pixel whose way there and back ends this many pixels from it was covered or uncovered.
const OCCLUDED: f32 = 0.75;

/// Brightness of pixels.
#[derive(Clone, Debug)]
struct Grey {
    height: usize,
    width: usize,
    values: Vec<f32>,
}

/// Where each pixel comes from: its place in the other frame less its own, `[height, width]` of right
/// and down.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Right and down, in pixels.
    pub ways: Vec<[f32; 2]>,
}

/// Linear between pixels, the edge beyond the edge.
fn sample<T: Copy, const N: usize>(
    values: &[T],
    [height, width]: [usize; 2],
    [x, y]: [f32; 2],
    of: impl Fn(T) -> [f32; N],
) -> [f32; N] {
    let (x, y) = (x.clamp(0.0, (width - 1) as f32), y.clamp(0.0, (height - 1) as f32));
    let (x0, y0) = (x as usize, y as usize);
    let (x1, y1) = ((x0 + 1).min(width - 1), (y0 + 1).min(height - 1));
    let (u, v) = (x - x0 as f32, y - y0 as f32);
    let at = |y: usize, x: usize| of(values[y * width + x]);
    let [a, b, c, d] = [at(y0, x0), at(y0, x1), at(y1, x0), at(y1, x1)];
    std::array::from_fn(|i| {
        (1.0 - v) * ((1.0 - u) * a[i] + u * b[i]) + v * ((1.0 - u) * c[i] + u * d[i])
    })
}

impl Grey {
    fn of(frame: &Frame) -> Self {
        Self { height: frame.height, width: frame.width, values: frame.luma() }
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        sample(&self.values, [self.height, self.width], [x, y], |v| [v])[0]
    }

    /// Half as large.
    fn halved(&self) -> Self {
        let (height, width) = (self.height.div_ceil(2), self.width.div_ceil(2));
        let at = |y: usize, x: usize| {
            self.values[y.min(self.height - 1) * self.width + x.min(self.width - 1)]
        };
        let mean = |i: usize| {
            let (y, x) = (i / width * 2, i % width * 2);
            0.25 * (at(y, x) + at(y, x + 1) + at(y + 1, x) + at(y + 1, x + 1))
        };
        Self { height, width, values: (0..height * width).map(mean).collect() }
    }
}

impl Flow {
    /// Where each pixel of `after` was in `before`. Frames must be of one size.
    ///
    /// # Panics
    ///
    /// If they are not.
    pub fn between(before: &Frame, after: &Frame) -> Self {
        assert_eq!(
            [before.height, before.width],
            [after.height, after.width],
            "frames must be of one size"
        );
        let mut pyramid = vec![(Grey::of(before), Grey::of(after))];
        while let Some((b, a)) = pyramid.last()
            && b.height.min(b.width) >= 2 * COARSEST
        {
            pyramid.push((b.halved(), a.halved()));
        }
        let mut flow: Option<Self> = None;
        for (before, after) in pyramid.iter().rev() {
            let mut level = match flow {
                Some(coarse) => coarse.doubled(after.height, after.width),
                None => Self::still(after.height, after.width),
            };
            level.refine(before, after);
            flow = Some(level);
        }
        flow.unwrap_or_else(|| Self::still(after.height, after.width))
    }

    fn still(height: usize, width: usize) -> Self {
        Self { height, width, ways: vec![[0.0; 2]; height * width] }
    }

    fn doubled(&self, height: usize, width: usize) -> Self {
        let way = |i: usize| {
            let at = [(i % width) as f32 / 2.0 - 0.25, (i / width) as f32 / 2.0 - 0.25];
            sample(&self.ways, [self.height, self.width], at, |w| w).map(|v| 2.0 * v)
        };
        Self { height, width, ways: (0..height * width).map(way).collect() }
    }

    /// Rounds of the method on one level.
    fn refine(&mut self, before: &Grey, after: &Grey) {
        let (height, width) = (self.height, self.width);
        if height == 0 || width == 0 {
            return;
        }
        let place = |i: usize| ((i % width) as f32, (i / width) as f32);
        let gradient: Vec<[f32; 2]> = (0..height * width)
            .map(|i| {
                let (x, y) = place(i);
                let right = after.at(x + 1.0, y) - after.at(x - 1.0, y);
                let down = after.at(x, y + 1.0) - after.at(x, y - 1.0);
                [0.5 * right, 0.5 * down]
            })
            .collect();
        let products = |of: &dyn Fn(usize) -> f32| -> Vec<f32> {
            window_means(&(0..height * width).map(of).collect::<Vec<_>>(), height, width)
        };
        let xx = products(&|i| gradient[i][0] * gradient[i][0]);
        let xy = products(&|i| gradient[i][0] * gradient[i][1]);
        let yy = products(&|i| gradient[i][1] * gradient[i][1]);
        for _ in 0..ROUNDS {
            // What each pixel alone says of the way along its gradient.
            let along: Vec<f32> = (0..height * width)
                .map(|i| {
                    let ((x, y), [u, v], [g, h]) = (place(i), self.ways[i], gradient[i]);
                    g * u + h * v - (before.at(x + u, y + v) - after.values[i])
                })
                .collect();
            let x_along = products(&|i| gradient[i][0] * along[i]);
            let y_along = products(&|i| gradient[i][1] * along[i]);
            for i in 0..height * width {
                let ridge = RIDGE * RIDGE;
                let (a, b, d) = (xx[i] + ridge, xy[i], yy[i] + ridge);
                let [u, v] = self.ways[i];
                let (p, q) = (x_along[i] + ridge * u, y_along[i] + ridge * v);
                let scale = 1.0 / (a * d - b * b).max(1e-12);
                let way = [(d * p - b * q) * scale, (a * q - b * p) * scale];
                // A round goes no farther than what a gradient can say something about.
                self.ways[i] =
                    [u + (way[0] - u).clamp(-1.0, 1.0), v + (way[1] - v).clamp(-1.0, 1.0)];
            }
        }
    }

    /// Mean length of the ways, in pixels.
    pub fn mean_length(&self) -> f64 {
        let sum: f64 = self.ways.iter().map(|[u, v]| f64::from(u.hypot(*v))).sum();
        sum / self.ways.len().max(1) as f64
    }

    /// The pixels of `source` where this flow says each pixel comes from, the ways taken by `share`.
    fn warp(&self, source: &Frame, share: f32) -> Vec<[f32; 3]> {
        let pixels: Vec<[f32; 3]> =
            source.rgb.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect();
        let at = |i: usize| {
            let [u, v] = self.ways[i].map(|w| w * share);
            let place = [(i % self.width) as f32 + u, (i / self.width) as f32 + v];
            sample(&pixels, [self.height, self.width], place, |p| p)
        };
        (0..self.ways.len()).map(at).collect()
    }

    /// Whether each pixel is seen in both frames: the way there and, by `back`, back ends where it began.
    fn visible(&self, back: &Self) -> Vec<bool> {
        let at = |i: usize| {
            let [u, v] = self.ways[i];
            let place = [(i % self.width) as f32 + u, (i / self.width) as f32 + v];
            let [x, y] = sample(&back.ways, [back.height, back.width], place, |w| w);
            (u + x).hypot(v + y) < OCCLUDED
        };
        (0..self.ways.len()).map(at).collect()
    }
}

/// Means over windows, by running sums along rows and then along columns.
fn window_means(values: &[f32], height: usize, width: usize) -> Vec<f32> {
    let along = |values: &[f32], lines: usize, n: usize, line: usize, step: usize| {
        let mut out = vec![0.0; values.len()];
        for l in 0..lines {
            let at = |j: usize| values[l * line + j * step];
            let mut sum: f32 = (0..WINDOW.min(n)).map(at).sum();
            for j in 0..n {
                if j + WINDOW < n {
                    sum += at(j + WINDOW);
                }
                if j > WINDOW {
                    sum -= at(j - WINDOW - 1);
                }
                let count = (j + WINDOW).min(n - 1) + 1 - j.saturating_sub(WINDOW);
                out[l * line + j * step] = sum / count as f32;
            }
        }
        out
    };
    along(&along(values, height, width, width, 1), width, height, 1, width)
}

/// What is found of the step from one frame to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    /// Mean length of the ways of all pixels, in pixels of the frames.
    pub length: f64,
    /// Mean absolute difference of a frame and the one before moved onto it, over pixels that are seen in
    /// both, 0 to 1.
    pub warp_error: f64,
}

/// The motion from `before` to `after`.
pub fn motion(before: &Frame, after: &Frame) -> Motion {
    let flow = Flow::between(before, after);
    let back = Flow::between(after, before);
    let (mut sum, mut count) = (0.0, 0usize);
    let visible = flow.visible(&back);
    let pixels = after.rgb.chunks_exact(3).zip(flow.warp(before, 1.0)).zip(visible);
    for ((pixel, moved), _) in pixels.filter(|(_, visible)| *visible) {
        sum += (0..3).map(|c| f64::from((pixel[c] - moved[c]).abs())).sum::<f64>() / 3.0;
        count += 1;
    }
    Motion { length: flow.mean_length(), warp_error: sum / count.max(1) as f64 }
}

/// How far `middle` is from what lies halfway between its neighbours by their motion: mean absolute
/// difference, 0 to 1.
pub fn halfway_error(before: &Frame, middle: &Frame, after: &Frame) -> f64 {
    // Half the way back from each side, and the mean of both.
    let from_after = Flow::between(before, after).warp(before, 0.5);
    let from_before = Flow::between(after, before).warp(after, 0.5);
    let pixels = middle.rgb.chunks_exact(3).zip(from_after).zip(from_before);
    let sum: f64 = pixels
        .map(|((pixel, a), b)| {
            (0..3).map(|c| f64::from((pixel[c] - 0.5 * (a[c] + b[c])).abs())).sum::<f64>()
        })
        .sum();
    sum / middle.rgb.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A texture without repetition, moved.
    fn texture(height: usize, width: usize, x: f32, y: f32) -> Frame {
        let mut rgb = Vec::new();
        for i in 0..height * width {
            let (u, v) = ((i % width) as f32 - x, (i / width) as f32 - y);
            let value = 0.5
                + 0.15 * (0.31 * u + 0.17 * v).sin()
                + 0.15 * (0.43 * v - 0.21 * u).cos()
                + 0.1 * (0.9 * u - 0.2 * v).sin()
                + 0.1 * (0.3 * u + 0.8 * v).sin();
            rgb.extend([value, value * 0.8, 0.5]);
        }
        Frame { height, width, rgb }
    }

    fn inner(flow: &Flow) -> Vec<[f32; 2]> {
        let margin = 10;
        let ways = flow.ways.iter().enumerate().filter(|(i, _)| {
            let (y, x) = (i / flow.width, i % flow.width);
            (margin..flow.height - margin).contains(&y)
                && (margin..flow.width - margin).contains(&x)
        });
        ways.map(|(_, way)| *way).collect()
    }

    #[test]
    fn a_moved_texture_has_its_way() {
        for way in [[0.0, 0.0], [1.0, 0.0], [0.5, -0.75], [3.0, 2.0], [-5.0, 4.0]] {
            let before = texture(64, 60, 0.0, 0.0);
            let after = texture(64, 60, way[0], way[1]);
            let found = inner(&Flow::between(&before, &after));
            // A pixel comes from where it was.
            let off = found.iter().map(|w| (w[0] + way[0]).hypot(w[1] + way[1])).sum::<f32>();
            assert!(off / (found.len() as f32) < 0.1, "{way:?}: {}", off / found.len() as f32);
        }
    }

    #[test]
    fn warped_frames_agree_and_others_do_not() {
        let (before, after) = (texture(64, 64, 0.0, 0.0), texture(64, 64, 2.0, 1.0));
        let moved = motion(&before, &after);
        assert!((moved.length - 5f64.sqrt()).abs() < 0.4, "{moved:?}");
        assert!(moved.warp_error < 0.01, "{moved:?}");
        let mut flashed = after.clone();
        flashed.rgb.iter_mut().for_each(|v| *v += 0.2);
        assert!(motion(&before, &flashed).warp_error > 0.1);
    }

    #[test]
    fn halfway_between_is_where_it_should_be() {
        let at = |x: f32| texture(64, 64, x, 0.0);
        let smooth = halfway_error(&at(0.0), &at(1.5), &at(3.0));
        let late = halfway_error(&at(0.0), &at(0.0), &at(3.0));
        assert!(smooth < 0.01 && late > 3.0 * smooth, "{smooth} {late}");
    }

    #[test]
    fn frames_of_any_size_are_no_trouble() {
        for (height, width) in [(0, 0), (1, 1), (1, 7), (2, 3), (5, 40)] {
            let frame = Frame { height, width, rgb: vec![0.5; height * width * 3] };
            assert_eq!(motion(&frame, &frame), Motion::default(), "{height} x {width}");
            assert_eq!(halfway_error(&frame, &frame, &frame), 0.0);
        }
    }

    #[test]
    fn running_sums_are_means_of_windows() {
        let (height, width) = (9, 11);
        let values: Vec<f32> = (0..height * width).map(|i| ((i * 37) % 19) as f32).collect();
        let found = window_means(&values, height, width);
        for y in 0..height {
            for x in 0..width {
                let (mut sum, mut count) = (0.0, 0);
                for v in y.saturating_sub(WINDOW)..(y + WINDOW + 1).min(height) {
                    for u in x.saturating_sub(WINDOW)..(x + WINDOW + 1).min(width) {
                        sum += values[v * width + u];
                        count += 1;
                    }
                }
                assert!((found[y * width + x] - sum / count as f32).abs() < 1e-4);
            }
        }
    }
}
