//! From scenes to pixels: signed distances, so that edges are smooth and positions continuous.

use super::attributes::{Backdrop, Pattern, Shape};
use super::scene::{Background, Fill, Pose, Scene, Tones};
use media::Clip;

/// Frames per second of rendered clips.
pub const RATE: f64 = 6.0;

/// The time of frame `i` of so many: 0 for the first, 1 for the last.
pub(super) fn time(i: usize, frames: usize) -> f32 {
    i as f32 / (frames.max(2) - 1) as f32
}

/// What a frame shows.
pub(super) struct Moment {
    pub(super) time: f32,
    /// The object; its background is not looked at.
    pub(super) scene: Scene,
}

impl Scene {
    /// The clip of the scene, `size` x `size` pixels. The path takes the whole clip, whatever its length.
    pub fn render(&self, size: usize, frames: usize) -> Clip {
        self.render_with(size, frames, |i| Moment { time: time(i, frames), scene: *self })
    }

    /// A clip of as many frames, in which frame `i` shows the object of `moment(i)`.
    pub(super) fn render_with(
        &self,
        size: usize,
        frames: usize,
        mut moment: impl FnMut(usize) -> Moment,
    ) -> Clip {
        let background = self.background.render(size);
        let mut rgb = Vec::with_capacity(frames * background.len());
        for i in 0..frames {
            let mut frame = background.clone();
            let Moment { time, scene } = moment(i);
            draw(scene.shape, &scene.fill, scene.pose(time), size, &mut frame);
            rgb.extend(frame.into_iter().map(to_byte));
        }
        Clip { frames, height: size, width: size, rate: RATE, rgb }
    }

    /// A picture of the object alone, larger and in another pose on a plain background, as a clip of one
    /// frame of `size` x `size` pixels.
    pub fn reference(&self, size: usize) -> Clip {
        let mut frame = self.reference_background.repeat(size * size);
        draw(self.shape, &self.fill, self.reference, size, &mut frame);
        let rgb = frame.into_iter().map(to_byte).collect();
        Clip { frames: 1, height: size, width: size, rate: RATE, rgb }
    }
}

impl Background {
    /// Its pixels from 0 to 1, `[size, size, 3]`.
    fn render(&self, size: usize) -> Vec<f32> {
        let pixel = 1.0 / size as f32;
        let (sin, cos) = self.angle.sin_cos();
        let mut rgb = Vec::with_capacity(size * size * 3);
        for i in 0..size * size {
            let x = ((i % size) as f32 + 0.5) * pixel;
            let y = ((i / size) as f32 + 0.5) * pixel;
            let second = match self.kind {
                Backdrop::Dark | Backdrop::Light => 0.0,
                // The corners of the picture are at 0.71 from its middle.
                Backdrop::Gradient => 0.5 + 0.7 * ((x - 0.5) * cos + (y - 0.5) * sin),
                Backdrop::Checkered => {
                    let (u, v) = (x - self.corner[0], y - self.corner[1]);
                    let wave = |w: f32| {
                        let place = (w / self.side).rem_euclid(2.0);
                        // Distance in pixels from the nearest line between checks, with a sign that changes
                        // from check to check.
                        let off = 0.5 - (place.rem_euclid(1.0) - 0.5).abs();
                        let sign = if place < 1.0 { 1.0 } else { -1.0 };
                        (sign * off * self.side / pixel).clamp(-0.5, 0.5) * 2.0
                    };
                    0.5 + 0.5 * wave(u * cos + v * sin) * wave(v * cos - u * sin)
                }
            };
            let [first, last] = self.colours;
            rgb.extend(mix(first, last, second));
        }
        rgb
    }
}

impl Tones {
    /// Distance from the line between the tones at `(x, y)` of an object of radius 1; negative where the
    /// first tone is.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        let (sin, cos) = self.angle.sin_cos();
        let (u, v) = (x * cos + y * sin, y * cos - x * sin);
        match self.pattern {
            Pattern::Halves => u,
            Pattern::Band => u.abs() - 0.38,
            Pattern::Quarters => u.abs().min(v.abs()).copysign(u * v),
            Pattern::Core => u.hypot(v) - 0.6,
        }
    }

    /// The two tones as red, green and blue from 0 to 1.
    pub fn rgb(&self) -> [[f32; 3]; 2] {
        [0, 1].map(|i| from_hsv(self.hues[i], self.shades[i][0], self.shades[i][1]))
    }
}

/// Draws an object over the pixels `rgb`, `[size, size, 3]`, from 0 to 1.
fn draw(shape: Shape, fill: &Fill, pose: Pose, size: usize, rgb: &mut [f32]) {
    let scale = size as f32;
    let (sin, cos) = pose.angle.sin_cos();
    let to_pixels = pose.radius * scale;
    let reach = shape.reach() * pose.radius + 1.0 / scale;
    let range = |middle: f32| {
        let first = ((middle - reach) * scale).floor().clamp(0.0, scale) as usize;
        let end = ((middle + reach) * scale).ceil().clamp(0.0, scale) as usize;
        first..end
    };
    let tones = match fill {
        Fill::Plain { rgb, .. } => [*rgb; 2],
        Fill::Subject(tones) => tones.rgb(),
    };
    for row in range(pose.y) {
        for column in range(pose.x) {
            let dx = ((column as f32 + 0.5) / scale - pose.x) / pose.radius;
            let dy = ((row as f32 + 0.5) / scale - pose.y) / pose.radius;
            let (x, y) = (dx * cos + dy * sin, dy * cos - dx * sin);
            let cover = covered(shape.distance(x, y) * to_pixels);
            if cover == 0.0 {
                continue;
            }
            let first = match fill {
                Fill::Plain { .. } => 1.0,
                Fill::Subject(tones) => covered(tones.distance(x, y) * to_pixels),
            };
            let colour = mix(tones[1], tones[0], first);
            let at = (row * size + column) * 3;
            let pixel = &mut rgb[at..at + 3];
            let mixed = mix([pixel[0], pixel[1], pixel[2]], colour, cover);
            pixel.copy_from_slice(&mixed);
        }
    }
}

/// Share of a pixel that lies inside, if its middle is `pixels` outside the line.
fn covered(pixels: f32) -> f32 {
    (0.5 - pixels).clamp(0.0, 1.0)
}

fn mix(from: [f32; 3], to: [f32; 3], share: f32) -> [f32; 3] {
    [0, 1, 2].map(|i| from[i] + (to[i] - from[i]) * share)
}

fn to_byte(value: f32) -> u8 {
    (value * 255.0).round().clamp(0.0, 255.0) as u8
}

/// Red, green and blue from 0 to 1 of a hue in degrees, a saturation and a value from 0 to 1.
pub(crate) fn from_hsv(hue: f32, saturation: f32, value: f32) -> [f32; 3] {
    [5.0, 3.0, 1.0].map(|n: f32| {
        let k = (n + hue / 60.0).rem_euclid(6.0);
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}
