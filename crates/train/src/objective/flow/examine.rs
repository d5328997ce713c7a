//! Whether clips show what prompts ask for: a quick look while a model is trained.

use super::draw::Drawing;
use crate::clips::{Scene, Split, detect};
use crate::recipe::Flow;
use media::Clip;
use models::video::NanoVideo;
use tensor::{Device, Rng, Tensor};

/// The streams of numbers that prompts and noise are drawn from: no step's.
const PROMPTS: u64 = 1 << 62;

/// Shares of prompts whose clips have the colour, the shape and the motion that they ask for: new
/// scenes of kinds that are trained on, from text alone, by Euler steps.
pub(super) fn examine(
    model: &NanoVideo,
    section: &Flow,
    drawing: &Drawing,
    device: &Device,
) -> [f64; 3] {
    let mut right = [0usize; 3];
    for first in (0..section.prompts).step_by(section.clips_at_once) {
        let count = section.clips_at_once.min(section.prompts - first);
        let mut scenes = Vec::new();
        let mut prompts = Vec::new();
        let mut noise = Vec::new();
        for i in first..first + count {
            let mut rng = Rng::stream(drawing.seed(), PROMPTS + i as u64);
            let scene = Scene::draw(&mut rng, Split::Train);
            prompts.push(drawing.words().encode(&scene.caption(&mut rng)).unwrap_or_default());
            noise.extend((0..drawing.shape().iter().product()).map(|_| rng.normal()));
            scenes.push(scene);
        }
        let latents = sample(model, section, drawing, &prompts, noise, device);
        for (scene, clip) in scenes.iter().zip(clips(&model.to_pixels(&latents))) {
            let Some(seen) = detect(&clip) else { continue };
            right[0] += usize::from(seen.colour == scene.colour());
            right[1] += usize::from(seen.shape == scene.shape);
            right[2] += usize::from(seen.motion == scene.motion);
        }
    }
    right.map(|right| right as f64 / section.prompts as f64)
}

/// Latents of clips from noise, `[batch, channels, frames, height, width]`.
fn sample(
    model: &NanoVideo,
    section: &Flow,
    drawing: &Drawing,
    prompts: &[Vec<u32>],
    noise: Vec<f32>,
    device: &Device,
) -> Tensor {
    let batch = prompts.len();
    let [channels, frames, height, width] = drawing.shape();
    let mut x = Tensor::new(device, &[batch, channels, frames, height, width], noise);
    let text = model.encode_prompts(prompts);
    let nothing = model.encode_prompts(&vec![Vec::new(); batch]);
    let level = |i: usize| {
        let s = 1.0 - i as f32 / section.sampler_steps as f32;
        section.shift * s / (1.0 + (section.shift - 1.0) * s)
    };
    for i in 0..section.sampler_steps {
        let (now, next) = (level(i), level(i + 1));
        let levels = vec![now; batch];
        let told = model.velocity(&x, &text, None, &levels);
        let v = if section.guidance == 1.0 {
            told
        } else {
            let untold = model.velocity(&x, &nothing, None, &levels);
            told.add_scaled(section.guidance, &untold, 1.0 - section.guidance)
        };
        x = x.add_scaled(1.0, &v, next - now);
    }
    x
}

/// Pixels `[batch, 3, frames, height, width]` as clips.
fn clips(pixels: &Tensor) -> Vec<Clip> {
    let [batch, _, frames, height, width] = *pixels.shape() else { panic!("{pixels:?}") };
    let data = pixels.to_vec();
    let clip = |values: &[f32]| {
        Clip::from_channels_first(values, [frames, height, width], crate::clips::RATE)
    };
    data.chunks_exact(data.len() / batch).map(clip).collect()
}
