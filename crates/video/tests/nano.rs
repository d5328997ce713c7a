//! Clips of our own model, with weights by chance: what they depend on, and what they take.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::video::nano::config::NanoConfig;
use models::video::{NanoVideo, WanVae};
use models::weights::Random;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::Path;
use tensor::{Device, Precision, Rng, Tensor};
use text::words::Words;
use video::denoise::{Canvas, Conditions, Course, Part, Run};
use video::noise::Use;
use video::{Denoiser, Guidance, Nano, NoiseSchedule, Pipeline, Request, Sampler};

fn config(vae: Value) -> NanoConfig {
    let patch = if vae.is_null() { [1, 8, 8] } else { [1; 3] };
    let value = json!({
        "model_type": "fulgurite_video",
        "prediction": "velocity", "height": 16, "width": 24, "frames": 5, "frame_rate": 6, "reference_size": 8,
        "vae": vae,
        "text": {
            "vocab_size": 4, "max_words": 5, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 24,
        },
        "transformer": {
            "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 40,
            "layer_types": ["linear_attention", "full_attention"], "gated_attention": true,
            "pooled_text": true, "patch_size": patch, "rope_axes_dim": [4, 2, 2],
            "rope_theta": 100.0, "max_position_embeddings": 64,
        },
    });
    NanoConfig::from_json(value.to_string().as_bytes(), Path::new("config.json")).unwrap()
}

fn vae() -> Value {
    json!({
        "_class_name": "AutoencoderKLWan", "base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 2],
        "num_res_blocks": 1, "temperal_downsample": [true, true], "patch_size": 2,
        "in_channels": 12, "out_channels": 12,
        "latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [0.5, 1.0, 1.5, 2.0],
    })
}

fn nano(device: &Device, vae: Value) -> Nano {
    let config = config(vae);
    let vae = config.vae.clone().map(|config| {
        let mut vae = WanVae::new(config, &mut Random::new(device, Precision::F32, 4, 5)).unwrap();
        vae.freeze();
        vae
    });
    let mut source = Random::new(device, Precision::F32, config.transformer.layers.len(), 3);
    let mut model = NanoVideo::new(config, vae, &mut source).unwrap();
    model.freeze();
    Nano::new(model)
}

fn words() -> Words {
    Words::new(["a", "red", "circle"], &[]).unwrap()
}

fn request(nano: &Nano) -> Request {
    let guidance = Guidance { text: 2.5, image: 1.5, rescale: 0.3, ..Guidance::NONE };
    let sampler = Sampler::Euler { eta: 0.4 };
    let subject = Some(models::vision::pixels::Rgb::black(8, 8));
    let shape = nano.shape();
    Request { guidance, sampler, subject, steps: 4, seed: 9, ..Request::new("a red circle", shape) }
}

/// The same bits with any number of threads.
#[test]
fn threads_do_not_count() {
    for vae in [Value::Null, vae()] {
        let clips = [1, 2, 3].map(|threads| {
            let (nano, words) = (nano(&Device::cpu(threads), vae.clone()), words());
            let pipeline = Pipeline { model: &nano, words: &words, free_bytes: None };
            let request = Request { frames: 13, ..request(&nano) };
            pipeline.generate(&request, &mut |_| ControlFlow::Continue(())).unwrap().clip
        });
        assert_eq!(clips[0].rgb.len(), 13 * 16 * 24 * 3);
        assert!(clips[0] == clips[1] && clips[1] == clips[2]);
        // It is a picture of something.
        let first = clips[0].rgb[0];
        assert!(clips[0].rgb.iter().any(|v| v.abs_diff(first) > 20));
    }
}

/// A sample among others is the same as alone, bit for bit, however many are predicted at once.
#[test]
fn the_batch_does_not_count() {
    let nano = nano(&Device::cpu(2), vae());
    let text = nano.encode_prompts(&[vec![1, 2, 3], vec![]]);
    let picture = Tensor::normal(nano.device(), &[1, 4, 1, 1, 1], 1.0, &mut Rng(2));
    for subject in [None, Some(picture)] {
        let conditions = Conditions {
            prompt: text.narrow(0, 0..1),
            negative: text.narrow(0, 1..2),
            subject,
            guidance: Guidance { text: 3.0, image: 2.0, rescale: 0.5, ..Guidance::NONE },
        };
        let course = Course {
            sampler: Sampler::SdeDpmSolver,
            sigmas: NoiseSchedule { shift: 3.0 }.sigmas(5),
            uses: [Use::Start, Use::Step],
            part: Part { block: 0, blocks: 1, repair: 0 },
            step_offset: 0,
        };
        let canvas = Canvas::free([4, 2, 2, 3], 0);
        let run = |seeds: &[u64], at_once: usize| {
            let starts = seeds.iter().map(|seed| (*seed, canvas.clone()));
            let mut run = Run::new(&nano, &conditions, &course, starts);
            run.advance(5, at_once, &mut |_| ControlFlow::Continue(())).unwrap();
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            run.samples().iter().map(|sample| bits(sample.latents())).collect::<Vec<_>>()
        };
        let alone: Vec<_> = [5, 6, 7].into_iter().flat_map(|seed| run(&[seed], 1)).collect();
        assert!(alone[0] != alone[1] && alone[1] != alone[2]);
        for at_once in [1, 2, 3] {
            assert_eq!(run(&[5, 6, 7], at_once), alone, "{at_once} at once");
        }
        assert_eq!(run(&[7, 5], 2), [alone[2].clone(), alone[0].clone()]);
    }
}
