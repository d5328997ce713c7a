//! The video model of our own: its config, and what must hold for any weights.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::video::NanoVideo;
use models::video::nano::config::NanoConfig;
use models::weights::{Policy, in_8_bits};
use serde_json::{Value, json};
use std::path::Path;
use tensor::{Device, Gradients, Precision, Rng, Tensor};

fn json() -> Value {
    json!({
        "model_type": "fulgurite_video",
        "height": 16, "width": 24, "frames": 3, "frame_rate": 6, "reference_size": 16,
        "prediction": "velocity",
        "vae": null,
        "text": {
            "vocab_size": 11, "max_words": 5, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 24,
        },
        "transformer": {
            "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 40,
            "layer_types": ["linear_attention", "full_attention"], "gated_attention": true,
            "pooled_text": true, "patch_size": [1, 8, 8],
            "place_embedding": true, "rope_axes_dim": [4, 2, 2],
            "rope_theta": 100.0, "row_spacing": [1.0, 0.5, 0.5], "max_position_embeddings": 64,
        },
    })
}

fn parse(value: &Value) -> Result<NanoConfig, String> {
    NanoConfig::from_json(value.to_string().as_bytes(), Path::new("config.json"))
        .map_err(|error| error.to_string())
}

/// A model in which nothing hides behind zeros.
fn model(device: &Device) -> NanoVideo {
    let config = parse(&json()).unwrap();
    let mut model = NanoVideo::to_train(config, None, device, Precision::F32, 3).unwrap();
    let mut rng = Rng(8);
    model.for_each_parameter(&mut |_, tensor| {
        let noise = Tensor::normal(device, tensor.shape(), 0.2, &mut rng);
        *tensor = tensor.detach().add_scaled(1.0, &noise, 1.0).into_parameter();
    });
    model
}

fn normal(device: &Device, shape: &[usize], seed: u64) -> Tensor {
    Tensor::normal(device, shape, 1.0, &mut Rng(seed))
}

#[test]
fn configs_are_strict() {
    assert!(parse(&json()).is_ok());
    let cases: &[(&str, Value, &str)] = &[
        ("/heigth", json!(16), "`config.json`: `heigth` is 16, expected no such field; there are"),
        ("/height", json!(20), "`config.json`: `height` is 20, expected a multiple of 8"),
        ("/frames", json!(0), "`config.json`: `frames` is 0, expected an integer from 1"),
        (
            "/transformer/hidden_size",
            json!(15),
            "`config.json`: `transformer.num_attention_heads` is 2, expected a divisor of",
        ),
        (
            "/transformer/hidden_size",
            json!(4),
            "`config.json`: `transformer.hidden_size` is 4, expected 6 or more with `place_embedding`",
        ),
        (
            "/transformer/rope_axes_dim",
            json!([4, 2, 4]),
            "`config.json`: `transformer.rope_axes_dim` is [4,2,4], expected a list of three even",
        ),
        (
            "/transformer/patch_size",
            json!([2, 8, 8]),
            "`config.json`: `transformer.patch_size` is [2,8,8], expected a list of three that begins",
        ),
        (
            "/transformer/layer_types",
            json!(["linear"]),
            "`config.json`: `transformer.layer_types` is [\"linear\"], expected a list of 1 to 1000",
        ),
        (
            "/text/num_attention_heads",
            json!(3),
            "`config.json`: `text.num_attention_heads` is 3, expected a divisor of",
        ),
        ("/vae", json!({"base_dim": 0}), "`config.json`: `vae.base_dim` is 0, expected"),
        ("/model_type", json!("x"), "`config.json`: `model_type` is \"x\", expected"),
    ];
    for (at, value, message) in cases {
        let mut config = json();
        let (part, name) = at.rsplit_once('/').unwrap();
        config.pointer_mut(part).unwrap()[name] = value.clone();
        let error = parse(&config).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
    for missing in ["vae", "height", "transformer", "text"] {
        let mut config = json();
        config.as_object_mut().unwrap().remove(missing);
        assert_eq!(parse(&config).unwrap_err(), format!("`config.json`: `{missing}` is missing"));
    }
}

/// Before training nothing is predicted, whatever is asked; and all parameters get a gradient as soon
/// as modulations are not zero.
#[test]
fn training_begins_at_zero_and_reaches_everything() {
    let device = Device::cpu(2);
    let config = parse(&json()).unwrap();
    let latents = normal(&device, &[2, 3, 3, 16, 24], 1);
    let reference = normal(&device, &[2, 3, 1, 16, 16], 2);
    let prompts = [vec![3, 4], vec![]];
    let fresh = NanoVideo::to_train(config, None, &device, Precision::F32, 3).unwrap();
    let text = fresh.encode_prompts(&prompts);
    let velocity = fresh.velocity(&latents, &text, Some(&reference), &[0.5, 0.25]);
    assert_eq!(velocity.shape(), latents.shape());
    assert!(velocity.data().iter().all(|&x| x == 0.0));

    let mut model = model(&device);
    let text = model.encode_prompts(&prompts);
    let velocity = model.velocity(&latents, &text, Some(&reference), &[0.5, 0.25]);
    let mut gradients = Gradients::default();
    let n = velocity.len();
    let sum = velocity.reshape(&[n, 1]).sum_groups(0, n).reshape(&[1]);
    sum.backward(&mut gradients);
    model.for_each_parameter(&mut |name, tensor| {
        let gradient = gradients.get(tensor).unwrap_or_else(|| panic!("{name}"));
        // Softmax does not see what all keys have in common.
        let any = gradient.data().iter().any(|&x| x != 0.0);
        assert!(any || name.ends_with("k_proj.bias"), "{name}");
    });
}

/// Samples do not see each other, prompt and reference count, noise is per row.
#[test]
fn what_is_given_counts_and_only_for_its_sample() {
    let device = Device::cpu(2);
    let mut model = model(&device);
    model.freeze();
    let latents = normal(&device, &[2, 3, 3, 16, 24], 1);
    let reference = normal(&device, &[2, 3, 1, 16, 16], 2);
    let of = |latents: &Tensor, prompts: &[Vec<u32>], reference: Option<&Tensor>, noise: &[f32]| {
        model.velocity(latents, &model.encode_prompts(prompts), reference, noise)
    };
    let prompts = [vec![3, 4], vec![5, 1, 2]];
    let both = of(&latents, &prompts, Some(&reference), &[0.5, 0.25]);
    for i in 0..2 {
        let part = |x: &Tensor| x.narrow(0, i..i + 1);
        let prompt = &prompts[i..=i];
        let noise = [0.5, 0.25][i];
        let one = of(&part(&latents), prompt, Some(&part(&reference)), &[noise]);
        for (a, b) in part(&both).data().iter().zip(one.data()) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        let rows = model.rows(&latents);
        assert_eq!(rows, 3 * 2 * 3);
        let each = vec![noise; rows];
        let same = of(&part(&latents), prompt, Some(&part(&reference)), &each);
        assert_eq!(same.data(), one.data());
        let mut first = each;
        first[..6].fill(0.0);
        let others = [
            of(&part(&latents), prompt, None, &[noise]),
            of(&part(&latents), &[vec![]], Some(&part(&reference)), &[noise]),
            of(&part(&latents), prompt, Some(&part(&reference)), &first),
        ];
        for other in others {
            assert_ne!(other.data(), one.data());
        }
    }
    // Order counts, and filling up is what the empty word does.
    let text = |prompt: &[u32]| model.encode_prompts(&[prompt.to_vec()]).to_vec();
    assert_ne!(text(&[3, 4]), text(&[4, 3]));
    assert_eq!(text(&[3, 4]), text(&[3, 4, 0]));
}

/// A model that predicts clean latents says the velocity to there, by the noise of each row.
#[test]
fn clean_latents_are_velocities() {
    let device = Device::cpu(2);
    let mut config = json();
    config["prediction"] = json!("clean");
    let mut clean =
        NanoVideo::to_train(parse(&config).unwrap(), None, &device, Precision::F32, 3).unwrap();
    let mut other = model(&device);
    let mut values = Vec::new();
    other.for_each_parameter(&mut |_, tensor| values.push(tensor.clone()));
    let mut values = values.into_iter();
    clean.for_each_parameter(&mut |_, tensor| *tensor = values.next().unwrap());
    let latents = normal(&device, &[2, 3, 3, 16, 24], 1);
    let noise: Vec<f32> = (0..2 * 18).map(|i| i as f32 / 35.0).collect();
    let prompts = [vec![3, 4], vec![]];
    let of = |model: &NanoVideo| {
        model.velocity(&latents, &model.encode_prompts(&prompts), None, &noise).to_vec()
    };
    let (predicted, velocity) = (of(&other), of(&clean));
    for (i, x) in latents.data().iter().enumerate() {
        let (column, row, frame) = (i % 24 / 8, i / 24 % 16 / 8, i / 24 / 16 % 3);
        let at = i / (3 * 3 * 16 * 24) * 18 + frame * 6 + row * 3 + column;
        let want = (x - predicted[i]) / noise[at].max(0.05);
        assert!((velocity[i] - want).abs() < 1e-4, "{i}: {} {want}", velocity[i]);
    }
}

/// What is saved is what is loaded, filters of patches in the order of files.
#[test]
fn models_are_loaded_as_they_were_saved() {
    let device = Device::cpu(2);
    let mut model = model(&device);
    let folder = tempfile::tempdir().unwrap();
    let stored = checkpoint(&mut model, folder.path());
    std::fs::write(folder.path().join("config.json"), json().to_string()).unwrap();
    let loaded = NanoVideo::open(folder.path(), &device, None).unwrap();
    let config = parse(&json()).unwrap();
    let mut started = NanoVideo::to_train(config, None, &device, Precision::F32, 4).unwrap();
    started.start_from(&stored).unwrap();
    let latents = normal(&device, &[1, 3, 3, 16, 24], 1);
    let of = |model: &NanoVideo| {
        let text = model.encode_prompts(&[vec![3, 4]]);
        model.velocity(&latents, &text, None, &[0.5]).to_vec()
    };
    assert_eq!(of(&model), of(&loaded));
    assert_eq!(of(&model), of(&started));
}

/// A model with patches of `side` pixels along each side.
fn with_patches(device: &Device, side: usize, seed: u64) -> NanoVideo {
    let mut config = json();
    config["transformer"]["patch_size"] = json!([1, side, side]);
    let config = parse(&config).unwrap();
    let mut model = NanoVideo::to_train(config, None, device, Precision::F32, seed).unwrap();
    let mut rng = Rng(seed);
    model.for_each_parameter(&mut |_, tensor| *tensor = normal_like(tensor, &mut rng));
    model
}

fn normal_like(tensor: &Tensor, rng: &mut Rng) -> Tensor {
    Tensor::normal(tensor.device(), tensor.shape(), 1.0, rng).into_parameter()
}

/// The weights of `model` as a checkpoint in `folder`.
fn checkpoint(model: &mut NanoVideo, folder: &Path) -> tensor::Checkpoint {
    let path = folder.join("model.safetensors");
    tensor::safetensors::save(&path, model.saved(Precision::F32), &Default::default()).unwrap();
    tensor::Checkpoint::open(folder).unwrap()
}

/// Of the places of a larger patch the mean is predicted, and the mean times the root of their number
/// is read; everything else stays.
#[test]
fn larger_patches_become_patches_of_one() {
    let (device, folder) = (Device::cpu(2), tempfile::tempdir().unwrap());
    let mut coarse = with_patches(&device, 2, 3);
    let stored = checkpoint(&mut coarse, folder.path());
    let mut fine = with_patches(&device, 1, 4);
    fine.start_from(&stored).unwrap();
    let mut expected = std::collections::BTreeMap::new();
    coarse.for_each_parameter(&mut |name, tensor| {
        let x = tensor.to_vec();
        let values = match name {
            // [width, places, channels]
            "transformer.patch_embedding.weight" => x
                .chunks_exact(12)
                .flat_map(|row| {
                    [0, 1, 2].map(|c| (0..4).map(|p| row[3 * p + c]).sum::<f32>() / 2.0)
                })
                .collect(),
            // [places, channels, width or 1]
            "transformer.head.weight" | "transformer.head.bias" => {
                let place = x.len() / 4;
                (0..place).map(|i| (0..4).map(|p| x[p * place + i]).sum::<f32>() / 4.0).collect()
            }
            _ => x,
        };
        expected.insert(name.to_owned(), values);
    });
    fine.for_each_parameter(&mut |name, tensor| {
        let (found, expected) = (tensor.to_vec(), &expected[name]);
        assert_eq!(found.len(), expected.len(), "{name}");
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
        }
    });
}

/// Patches of several latents are made of equal ones only, and what cannot be read changes nothing.
#[test]
fn what_cannot_be_begun_with_changes_nothing() {
    let (device, folder) = (Device::cpu(2), tempfile::tempdir().unwrap());
    let values = |model: &mut NanoVideo| {
        let mut all = Vec::new();
        model.for_each_parameter(&mut |_, tensor| all.push(tensor.to_vec()));
        all
    };
    let stored = checkpoint(&mut with_patches(&device, 4, 3), folder.path());
    for side in [2, 8] {
        let mut ours = with_patches(&device, side, 4);
        let before = values(&mut ours);
        let error = ours.start_from(&stored).unwrap_err().to_string();
        let expected = format!("patches of [1, {side}, {side}]");
        assert!(error.contains("[1, 4, 4]") && error.contains(&expected), "{error}");
        assert_eq!(values(&mut ours), before);
    }
    let mut saved = with_patches(&device, 1, 5).saved(Precision::F32);
    saved.remove("transformer.head.bias").unwrap();
    let path = folder.path().join("model.safetensors");
    tensor::safetensors::save(&path, saved, &Default::default()).unwrap();
    let stored = tensor::Checkpoint::open(folder.path()).unwrap();
    let mut ours = with_patches(&device, 1, 4);
    let before = values(&mut ours);
    let error = ours.start_from(&stored).unwrap_err().to_string();
    assert!(error.contains("transformer.head.bias"), "{error}");
    assert_eq!(values(&mut ours), before);
}

/// What a model says that its weights take is what is kept of them, however the file has them.
#[test]
fn bytes_are_those_that_are_held() {
    let (device, folder) = (Device::cpu(2), tempfile::tempdir().unwrap());
    let mut config = json();
    config["transformer"]["hidden_size"] = json!(64);
    config["transformer"]["intermediate_size"] = json!(96);
    config["text"]["intermediate_size"] = json!(96);
    let config = parse(&config).unwrap();
    let mut model = NanoVideo::to_train(config.clone(), None, &device, Precision::F32, 3).unwrap();
    let (mut all, mut stored) = (0, 0);
    model.for_each_parameter(&mut |name, tensor| {
        let n = tensor.len();
        all += 4 * n;
        let is_matrix = name.ends_with(".weight") && tensor.shape().len() == 2;
        stored += match name {
            // Filters are not multiplied in blocks, and words are looked up.
            "transformer.patch_embedding.weight" | "text.words.weight" => 2 * n,
            _ if is_matrix => 34 * n / 32,
            // Norms and biases are widened.
            _ => 4 * n,
        };
    });
    assert_eq!(model.bytes(), all);
    let saved = in_8_bits(model.saved(Precision::F32), |_| true);
    let path = folder.path().join("model.safetensors");
    tensor::safetensors::save(&path, saved, &Default::default()).unwrap();
    let held = |policy| {
        let stored = tensor::Checkpoint::open(folder.path()).unwrap();
        NanoVideo::load(config.clone(), &stored, &device, policy).unwrap().bytes()
    };
    // Layouts of products are filled up to whole tiles: a few rows more.
    let within =
        |found: usize, low: usize| assert!((low..low * 11 / 10).contains(&found), "{found} {low}");
    within(held(Some(Policy::F32)), all);
    within(held(None), stored);
}
