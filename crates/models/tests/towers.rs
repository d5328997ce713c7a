//! What must hold for towers of any weights: batches are singles, every parameter is reached by
//! gradients, levels agree.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::audio::voxtral::{AudioConfig, AudioEncoder};
use models::audio::whisper::sinusoids;
use models::vision::minimax_vl_01::{ImageConfig, ImageEncoder};
use models::weights::Random;
use std::path::Path;
use tensor::{Device, Gradients, Precision, Rng, Tensor};

fn images(device: &Device) -> ImageEncoder {
    let text = r#"{
        "model_type": "minimax_vl_01", "text_config": {"hidden_size": 10},
        "image_grid_pinpoints": [[14, 28], [28, 14], [28, 28]],
        "vision_config": {
            "model_type": "clip_vision_model", "hidden_size": 12, "intermediate_size": 20,
            "num_hidden_layers": 3, "num_attention_heads": 3, "image_size": 14, "patch_size": 5,
            "hidden_act": "gelu"
        }
    }"#;
    let config = ImageConfig::from_json(text.as_bytes(), Path::new("config.json")).unwrap();
    // The last but one, where the file does not say.
    assert_eq!(config.vision_feature_layer, 2);
    let [mut a, mut b, mut c] = [1, 2, 3].map(|seed| Random::new(device, Precision::F32, 3, seed));
    ImageEncoder::new(config, [&mut a, &mut b, &mut c]).unwrap()
}

fn sounds(device: &Device, kind: &str) -> AudioEncoder {
    let text = format!(
        r#"{{
            "model_type": "{kind}", "text_config": {{"hidden_size": 10}},
            "audio_config": {{
                "d_model": 12, "encoder_ffn_dim": 36, "encoder_layers": 2, "num_mel_bins": 7,
                "encoder_attention_heads": 2, "max_source_positions": 13
            }}
        }}"#
    );
    let config = AudioConfig::from_json(text.as_bytes(), Path::new("config.json")).unwrap();
    let [mut a, mut b] = [1, 2].map(|seed| Random::new(device, Precision::F32, 2, seed));
    AudioEncoder::new(config, [&mut a, &mut b]).unwrap()
}

fn noise(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::normal(device, shape, 1.0, &mut Rng(5))
}

/// The elements `i` of the outermost dimension.
fn one(x: &Tensor, i: usize) -> Tensor {
    let len = x.len() / x.shape()[0];
    let shape = [&[1], &x.shape()[1..]].concat();
    Tensor::concat(&[(x, i * len..(i + 1) * len)], &shape)
}

#[track_caller]
fn assert_close(want: &[f32], got: &[f32], tolerance: f32) {
    assert_eq!(want.len(), got.len());
    let apart = want.iter().zip(got).map(|(w, g)| (w - g).abs()).fold(0.0, f32::max);
    assert!(apart <= tolerance, "{apart}");
}

#[test]
fn parameters_are_counted() {
    let mut encoder = images(&Device::cpu(1));
    let (config, mut counted) = (encoder.config().clone(), 0);
    encoder.for_each_parameter(&mut |_, tensor| counted += tensor.len() as u128);
    assert_eq!(config.num_parameters(), counted);
    // All but attention's pairs is two operations for each row and number of a matrix.
    let vision = &config.vision;
    let (rows, h) = (vision.num_positions() as f64, vision.hidden_size as f64);
    let pairs = 4.0 * rows * rows * h * vision.num_hidden_layers as f64;
    let layers = 3.0 * rows * (4.0 * h * h + 2.0 * h * 20.0);
    let others = (rows - 1.0) * (h * 75.0 + 10.0 * (h + 10.0));
    assert_eq!(config.flops(), pairs + 2.0 * (layers + others));
}

#[test]
fn a_batch_is_what_each_of_it_is_alone() {
    let device = Device::cpu(2);
    let encoder = images(&device);
    let tiles = noise(&device, &[3, 3, 14, 14]);
    let all = encoder.features(&tiles);
    assert_eq!(all.shape(), [3, 4, 10]);
    for i in 0..3 {
        let alone = encoder.features(&one(&tiles, i));
        assert_close(one(&all, i).data(), alone.data(), 1e-5);
    }
    for (kind, frames, rows) in
        [("voxtral", 26, 4), ("voxtral", 25, 4), ("voxtral", 5, 1), ("qwen2_audio", 26, 6)]
    {
        let encoder = sounds(&device, kind);
        let features = noise(&device, &[2, 7, frames]);
        let all = encoder.rows(&features);
        assert_eq!(all.shape(), [2, rows, 10], "{kind}");
        for i in 0..2 {
            assert_close(one(&all, i).data(), encoder.rows(&one(&features, i)).data(), 1e-5);
        }
    }
}

#[test]
fn levels_agree_with_arithmetic_in_f64() {
    let exact = Device::cpu(2).with_f64_arithmetic();
    let want = images(&exact).features(&noise(&exact, &[2, 3, 14, 14]));
    let heard = sounds(&exact, "voxtral").rows(&noise(&exact, &[2, 7, 26]));
    for level in Device::levels() {
        let device = Device::cpu_with_level(2, level).unwrap();
        let got = images(&device).features(&noise(&device, &[2, 3, 14, 14]));
        assert_close(want.data(), got.data(), 2e-5);
        let got = sounds(&device, "voxtral").rows(&noise(&device, &[2, 7, 26]));
        assert_close(heard.data(), got.data(), 2e-5);
    }
}

#[test]
fn a_hidden_state_is_one_of_all() {
    let device = Device::cpu(1);
    let encoder = images(&device);
    let tiles = noise(&device, &[1, 3, 14, 14]);
    let all = encoder.tower().hidden_states(&tiles);
    assert_eq!(all.len(), 4);
    for (i, state) in all.iter().enumerate() {
        assert_eq!(state.data(), encoder.tower().hidden_state(&tiles, i).data());
    }
}

/// The gradient of a weighted sum of all outputs, by names of parameters.
fn gradients(out: &Tensor) -> Gradients {
    let device = out.device();
    let weights = tensor::Weight::new(noise(device, &[1, out.len()]), Precision::F32);
    let mut gradients = Gradients::default();
    out.reshape(&[1, out.len()]).linear(&weights).reshape(&[1]).backward(&mut gradients);
    gradients
}

/// All but the layers behind the one that is taken, and the bias of keys, which no softmax sees.
#[test]
fn gradients_reach_every_parameter() {
    let device = Device::cpu(2);
    let mut encoder = images(&device);
    let (height, width) = (20, 33);
    let plan = encoder.config().tiling().plan(height, width);
    let tiles = noise(&device, &[plan.num_tiles(), 3, 14, 14]);
    let found = gradients(&encoder.picture(&tiles, &plan));
    let mut seen = 0;
    encoder.for_each_parameter(&mut |name, tensor| {
        let gradient = found.get(tensor);
        assert_eq!(gradient.is_none(), name.contains("layers.2."), "{name}");
        let Some(gradient) = gradient else { return };
        assert_eq!(gradient.shape(), tensor.shape(), "{name}");
        let largest = gradient.data().iter().fold(0.0, |max: f32, x| max.max(x.abs()));
        assert_eq!(largest > 1e-4, !name.ends_with("k_proj.bias"), "{name}: {largest}");
        seen += 1;
    });
    assert_eq!(seen, 5 + 2 * 16 + 4 + 1);
    for kind in ["voxtral", "qwen2_audio"] {
        let mut encoder = sounds(&device, kind);
        let found = gradients(&encoder.rows(&noise(&device, &[2, 7, 26])));
        encoder.for_each_parameter(&mut |name, tensor| {
            let gradient = found.get(tensor).unwrap_or_else(|| panic!("{kind}: {name}"));
            assert_eq!(gradient.shape(), tensor.shape(), "{kind}: {name}");
        });
    }
}

#[test]
fn positions_are_sines_and_cosines() {
    let device = Device::cpu(1);
    let table = sinusoids(&device, 3, 8);
    assert_eq!(table.shape(), [3, 8]);
    assert_eq!(table.data()[..8], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    // The slowest has a wavelength of 10000 turns.
    let (first, last) = (table.data()[16], table.data()[19]);
    assert!((first - 2f32.sin()).abs() < 1e-6 && (last - 2e-4).abs() < 1e-9, "{first} {last}");
}
