//! Small clips for tests: one thing on grey.

use media::Clip;

/// What the thing is like in one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thing {
    pub(super) x: f32,
    pub(super) y: f32,
    pub(super) radius: f32,
    pub(super) rgb: [f32; 3],
    pub(super) square: bool,
}

pub(super) const RED: [f32; 3] = [0.9, 0.1, 0.12];
pub(super) const BLUE: [f32; 3] = [0.14, 0.26, 0.93];

/// A clip of 64x64 pixels with a thing in each frame.
pub(super) fn clip(things: &[Thing]) -> Clip {
    const SIZE: usize = 64;
    const FINE: usize = 4;
    let mut rgb = Vec::new();
    for thing in things {
        for i in 0..SIZE * SIZE {
            let inside = (0..FINE * FINE).filter(|j| {
                let fine = |k: usize| (k as f32 + 0.5) / FINE as f32;
                let x = (i % SIZE) as f32 + fine(j % FINE) - thing.x;
                let y = (i / SIZE) as f32 + fine(j / FINE) - thing.y;
                let far = if thing.square { x.abs().max(y.abs()) / 0.88 } else { x.hypot(y) };
                far < thing.radius
            });
            let cover = inside.count() as f32 / (FINE * FINE) as f32;
            rgb.extend(thing.rgb.map(|v| ((0.3 + (v - 0.3) * cover) * 255.0).round() as u8));
        }
    }
    Clip { frames: things.len(), height: SIZE, width: SIZE, rate: 6.0, rgb }
}

/// A red disc that goes to the right by `speed` pixels per frame.
pub(super) fn moving(frames: usize, speed: f32) -> Vec<Thing> {
    let thing = |i: usize| Thing {
        x: 14.0 + speed * i as f32,
        y: 30.0,
        radius: 9.0,
        rgb: RED,
        square: false,
    };
    (0..frames).map(thing).collect()
}

/// Changes the brightness of a frame.
pub(super) fn brighten(clip: &mut Clip, frame: usize, gain: f32, offset: f32) {
    let len = clip.height * clip.width * 3;
    for value in &mut clip.rgb[frame * len..(frame + 1) * len] {
        *value = (f32::from(*value) * gain + offset * 255.0).clamp(0.0, 255.0) as u8;
    }
}
