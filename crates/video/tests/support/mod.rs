//! A model whose predictions are known: all values of a clip are `N(mean, DEVIATION^2)`, where the mean is
//! that of the frames that are given, or else what the prompt says, with the subject's added.
#![allow(dead_code, reason = "each test uses a part")]

use std::sync::Mutex;
use tensor::{Device, Tensor};
use text::words::Words;
use video::{Denoiser, Shape};

/// Of the values around their mean.
pub(crate) const DEVIATION: f64 = 0.1;
/// What each word adds to the mean.
pub(crate) const WORD: f32 = 0.25;

/// What a call was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) samples: usize,
    pub(crate) frames: usize,
    pub(crate) with_subject: bool,
    pub(crate) levels: Vec<f32>,
}

/// Four frames are one latent frame of four times the colours, pixels are latents.
#[derive(Debug)]
pub(crate) struct Toy {
    pub(crate) shape: Shape,
    pub(crate) device: Device,
    pub(crate) calls: Mutex<Vec<Call>>,
    /// Added to each prediction.
    pub(crate) offset: f32,
}

pub(crate) fn toy() -> Toy {
    let shape = Shape {
        size: [4, 6],
        frames: 9,
        rate: 6.0,
        reference: 2,
        channels: 12,
        space: 1,
        time: 4,
        patch: [1, 2, 2],
        max_rows: 40,
        max_words: 4,
    };
    Toy { shape, device: Device::cpu(1), calls: Mutex::default(), offset: 0.0 }
}

pub(crate) fn words() -> Words {
    Words::new(["up", "down", "circle"], &[("disc", "circle")]).unwrap()
}

fn mean(x: &[f32]) -> f32 {
    x.iter().sum::<f32>() / x.len().max(1) as f32
}

impl Denoiser for Toy {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn device(&self) -> &Device {
        &self.device
    }

    /// The mean that is asked for.
    fn encode_prompts(&self, prompts: &[Vec<u32>]) -> Tensor {
        let mean = |prompt: &Vec<u32>| {
            let count = |id| prompt.iter().filter(|word| **word == id).count() as f32;
            WORD * (count(1) - count(2))
        };
        Tensor::new(&self.device, &[prompts.len(), 1, 1], prompts.iter().map(mean).collect())
    }

    fn velocity(
        &self,
        latents: &Tensor,
        text: &Tensor,
        reference: Option<&Tensor>,
        levels: &[f32],
    ) -> Tensor {
        let [samples, channels, frames, height, width] = *latents.shape() else { panic!() };
        let [_, h, w] = self.shape.patch;
        let rows = frames * (height / h) * (width / w);
        assert_eq!(levels.len(), samples * rows);
        assert_eq!(text.shape(), [samples, 1, 1]);
        self.calls.lock().unwrap().push(Call {
            samples,
            frames,
            with_subject: reference.is_some(),
            levels: levels.to_vec(),
        });
        let plane = height * width;
        let mut out = Vec::new();
        for (i, x) in latents.data().chunks(channels * frames * plane).enumerate() {
            let level = |at: usize| {
                let (frame, y, x) = (at / plane, at % plane / width / h, at % width / w);
                let row = (frame * (height / h) + y) * (width / w) + x;
                f64::from(levels[i * rows + row])
            };
            let given: Vec<f32> = (0..x.len())
                .filter(|at| level(at % (frames * plane)) == 0.0)
                .map(|at| x[at])
                .collect();
            let asked = if given.is_empty() { text.data()[i] } else { mean(&given) };
            let subject = reference.map_or(0.0, |reference| {
                assert_eq!(reference.shape()[0], samples);
                mean(reference.data())
            });
            let mean = f64::from(asked + subject);
            for (at, &x) in x.iter().enumerate() {
                let s = level(at % (frames * plane));
                let beside = f64::from(x) - (1.0 - s) * mean;
                let variance = ((1.0 - s) * DEVIATION).powi(2) + s * s;
                let clean = mean + (1.0 - s) * DEVIATION.powi(2) / variance * beside;
                out.push((s / variance * beside - clean) as f32 + self.offset);
            }
        }
        Tensor::new(&self.device, latents.shape(), out)
    }

    fn encode(&self, pixels: &Tensor) -> Tensor {
        let [n, 3, frames, height, width] = *pixels.shape() else { panic!("{pixels:?}") };
        let first = pixels.narrow(2, 0..1).repeat(1, 4);
        let steps = (frames - 1) / 4;
        if steps == 0 {
            return first;
        }
        let rest = pixels.narrow(2, 1..1 + 4 * steps).reshape(&[n, 3, steps, 4, height, width]);
        let rest = rest.permute(&[0, 3, 1, 2, 4, 5]).reshape(&[n, 12, steps, height, width]);
        Tensor::cat(&[&first, &rest], 2)
    }

    fn decode(&self, latents: &Tensor) -> Tensor {
        let [n, 12, frames, height, width] = *latents.shape() else { panic!("{latents:?}") };
        let first = latents.narrow(2, 0..1).narrow(1, 0..3);
        let pixels = match frames - 1 {
            0 => first,
            steps => {
                let rest = latents.narrow(2, 1..frames);
                let rest = rest.reshape(&[n, 4, 3, steps, height, width]);
                let rest = rest.permute(&[0, 2, 3, 1, 4, 5]);
                Tensor::cat(&[&first, &rest.reshape(&[n, 3, 4 * steps, height, width])], 2)
            }
        };
        let data = pixels.to_vec().into_iter().map(|x| x.clamp(-1.0, 1.0)).collect();
        Tensor::new(&self.device, pixels.shape(), data)
    }

    fn weight_bytes(&self) -> u64 {
        1000
    }

    fn velocity_bytes(&self, samples: usize, rows: usize) -> u64 {
        (1000 * samples * rows) as u64
    }

    fn codec_bytes(&self, [height, width]: [usize; 2]) -> u64 {
        (100 * height * width) as u64
    }
}
