//! What is plain around a picture, which towers need not look at.

use super::pixels::Rgb;

/// How far a value is from the background's before it belongs to something, of 255.
const DIFFERENCE: f64 = 32.0;
/// Pixels of a row or column that must belong to something: less is noise.
const LEAST: usize = 2;
/// The margin that is left around everything, as a share of its longer side.
const MARGIN: f64 = 0.04;
/// How often the background is fitted: each time without what belonged to something the last time.
const FITS: usize = 3;

/// The background of one channel, `a + b x + c y` with `x` and `y` from -1 to 1: one colour, or one that
/// runs into another.
#[derive(Clone, Copy, Debug)]
struct Plane([f64; 3]);

impl Plane {
    fn at(self, x: f64, y: f64) -> f64 {
        let [a, b, c] = self.0;
        a + b * x + c * y
    }

    /// That which is nearest to `points` of x, y and value, in the sense of least squares.
    fn fit(points: &[[f64; 3]]) -> Self {
        let mut normal = [[0.0; 4]; 3];
        for &[x, y, value] in points {
            let row = [1.0, x, y, value];
            for i in 0..3 {
                for j in 0..4 {
                    normal[i][j] += row[i] * row[j];
                }
            }
        }
        // Elimination of a matrix that is positive, but for directions that nothing is known of.
        for i in 0..3 {
            if normal[i][i] > 1e-9 {
                for k in (0..3).filter(|k| *k != i) {
                    let factor = normal[k][i] / normal[i][i];
                    (0..4).for_each(|j| normal[k][j] -= factor * normal[i][j]);
                }
            }
        }
        let solved = |i: usize| if normal[i][i] > 1e-9 { normal[i][3] / normal[i][i] } else { 0.0 };
        Self([0, 1, 2].map(solved))
    }
}

impl Rgb {
    /// The picture without what is plain around it, [`subject`](Self::subject).
    pub fn trimmed(&self) -> Self {
        let [at, size] = self.subject();
        self.crop(at, size)
    }

    /// Upper left corner and size, height or rows first, of what is not plain around the picture, with a
    /// small margin; of the whole if nothing stands out.
    ///
    /// The background is what the picture's edge looks like: a colour, or one that runs evenly into
    /// another.
    pub fn subject(&self) -> [[usize; 2]; 2] {
        let (height, width) = (self.height, self.width);
        let whole = [[0, 0], [height, width]];
        if height < 3 || width < 3 {
            return whole;
        }
        let planes = [0, 1, 2].map(|channel| self.background(channel));
        let is_something = |y: usize, x: usize| {
            (0..3).any(|channel| self.difference(planes[channel], channel, [y, x]) > DIFFERENCE)
        };
        let (mut rows, mut columns) = (vec![0usize; height], vec![0usize; width]);
        for (y, row) in rows.iter_mut().enumerate() {
            for (x, column) in columns.iter_mut().enumerate() {
                let counts = usize::from(is_something(y, x));
                *row += counts;
                *column += counts;
            }
        }
        let ends = |counts: &[usize]| {
            let first = counts.iter().position(|count| *count >= LEAST)?;
            let last = counts.iter().rposition(|count| *count >= LEAST)?;
            Some((first, last + 1))
        };
        let (Some((top, bottom)), Some((left, right))) = (ends(&rows), ends(&columns)) else {
            return whole;
        };
        let margin = ((bottom - top).max(right - left) as f64 * MARGIN).ceil() as usize;
        let (top, left) = (top.saturating_sub(margin), left.saturating_sub(margin));
        let (bottom, right) = ((bottom + margin).min(height), (right + margin).min(width));
        [[top, left], [bottom - top, right - left]]
    }

    /// What a channel of the picture's edge looks like.
    fn background(&self, channel: usize) -> Plane {
        let (height, width) = (self.height, self.width);
        let sides = (0..width).flat_map(|x| [[0, x], [height - 1, x]]);
        let edge: Vec<[usize; 2]> =
            sides.chain((1..height - 1).flat_map(|y| [[y, 0], [y, width - 1]])).collect();
        let point = |&[y, x]: &[usize; 2]| {
            let [u, v] = self.place([y, x]);
            [u, v, f64::from(self.data[(y * width + x) * 3 + channel])]
        };
        let mut points: Vec<[f64; 3]> = edge.iter().map(point).collect();
        // A median is not moved by what reaches the edge.
        let mut values: Vec<f64> = points.iter().map(|[.., value]| *value).collect();
        values.sort_by(f64::total_cmp);
        let mut plane = Plane([values[values.len() / 2], 0.0, 0.0]);
        for _ in 0..FITS {
            let near: Vec<_> = points
                .iter()
                .copied()
                .filter(|&[x, y, value]| (value - plane.at(x, y)).abs() <= 2.0 * DIFFERENCE)
                .collect();
            if near.len() < points.len() / 4 {
                break;
            }
            points = near;
            plane = Plane::fit(&points);
        }
        plane
    }

    /// Where a pixel is, x and y from -1 to 1.
    fn place(&self, [y, x]: [usize; 2]) -> [f64; 2] {
        let of = |i: usize, n: usize| 2.0 * i as f64 / (n - 1) as f64 - 1.0;
        [of(x, self.width), of(y, self.height)]
    }

    fn difference(&self, plane: Plane, channel: usize, at: [usize; 2]) -> f64 {
        let [x, y] = self.place(at);
        let value = f64::from(self.data[(at[0] * self.width + at[1]) * 3 + channel]);
        (value - plane.at(x, y)).abs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of a background with a box of another colour on it.
    fn boxed(
        size: [usize; 2],
        at: [usize; 4],
        background: impl Fn(usize, usize) -> [u8; 3],
    ) -> Rgb {
        let [height, width] = size;
        let [top, left, bottom, right] = at;
        let mut data = Vec::new();
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            let inside = (top..bottom).contains(&y) && (left..right).contains(&x);
            data.extend(if inside { [200, 30, 30] } else { background(y, x) });
        }
        Rgb { height, width, data }
    }

    #[test]
    fn a_plain_margin_is_cut_off() {
        let picture = boxed([60, 90], [10, 20, 30, 70], |_, _| [255; 3]);
        let trimmed = picture.trimmed();
        // A margin of 2 pixels: 4 % of 50.
        assert_eq!((trimmed.height, trimmed.width), (24, 54));
        assert_eq!(trimmed, picture.crop([8, 18], [24, 54]));
    }

    #[test]
    fn backgrounds_may_run_into_another_colour_and_have_noise() {
        let mut rng = tensor::Rng(3);
        let noise: Vec<i32> = (0..60 * 60).map(|_| rng.below(17) as i32 - 8).collect();
        let shade = |y: usize, x: usize| {
            let value = 40 + 2 * x as i32 + y as i32 + noise[y * 60 + x];
            [value as u8, value as u8, (value / 2) as u8]
        };
        let trimmed = boxed([60, 60], [30, 5, 40, 25], shade).trimmed();
        assert_eq!((trimmed.height, trimmed.width), (12, 22));
    }

    #[test]
    fn what_has_nothing_to_cut_stays() {
        for picture in [
            Rgb::plain(40, 40, [9, 90, 200]),
            Rgb::plain(1, 7, [0; 3]),
            Rgb::plain(2, 2, [0; 3]),
            boxed([20, 20], [0, 0, 20, 20], |_, _| [0; 3]),
        ] {
            assert_eq!(picture.trimmed(), picture);
        }
        // What reaches the edge is not taken for the background.
        let picture = boxed([40, 40], [0, 10, 40, 25], |_, _| [255; 3]);
        let trimmed = picture.trimmed();
        assert_eq!((trimmed.height, trimmed.width), (40, 19));
    }
}
