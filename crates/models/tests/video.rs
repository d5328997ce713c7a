//! Video models: what diffusers computes for tiny random checkpoints (`fixtures/video`, made by
//! `make.py` there, and more in the folder that `FULGURITE_GOLDENS` names), and what must hold for any
//! weights.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

use models::video::dit::config::{
    AttentionConfig, CrossConfig, DitConfig, FfnConfig, LayerConfig, Mixer, QkNorm, RopeConfig,
    TextConfig, TextPlacement,
};
use models::video::vae::config::WanVaeConfig;
use models::video::{DitInput, VideoDit, WanVae, sana, wan};
use models::weights::Random;
use std::path::{Path, PathBuf};
use tensor::{Checkpoint, Device, Gradients, Pairing, Precision, Rng, Tensor, Weight};

fn folders(kind: &str) -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/video");
    let more = std::env::var_os("FULGURITE_GOLDENS").map(PathBuf::from);
    let roots = [fixtures].into_iter().chain(more);
    let entries = roots.flat_map(|root| std::fs::read_dir(root).unwrap());
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| {
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap_or_default();
        config.contains(&format!("\"{kind}\""))
    });
    folders.sort();
    assert!(folders.len() >= 2, "fixtures of {kind} are missing");
    folders
}

fn read(file: &Checkpoint, name: &str, device: &Device) -> Option<Tensor> {
    let shape = file.shape(name)?;
    if file.stored(name).is_some() {
        return Some(file.load(device, name, shape).unwrap());
    }
    let numbers = file.load_ids(name).unwrap().into_iter().map(|id| id as f32).collect();
    Some(Tensor::new(device, shape, numbers))
}

/// Rounding is seen at 1e-6 of the largest value; some of these models enlarge it tenfold.
#[track_caller]
fn assert_same(what: &str, want: &Tensor, got: &Tensor) {
    assert_eq!(want.shape(), got.shape(), "{what}");
    let largest = want.data().iter().fold(1.0, |m: f32, x| m.max(x.abs()));
    for (i, (want, got)) in want.data().iter().zip(got.data()).enumerate() {
        assert!(
            (want - got).abs() <= 2e-5 * largest,
            "{what}, element {i}: {got}, expected {want}"
        );
    }
}

fn input(file: &Checkpoint, device: &Device) -> DitInput {
    let get = |name: &str| read(file, &format!("in.{name}"), device);
    let mask = get("encoder_attention_mask");
    DitInput {
        latents: get("hidden_states").unwrap(),
        text: get("encoder_hidden_states").unwrap(),
        text_mask: mask.map(|mask| mask.data().iter().map(|&keep| keep == 1.0).collect()),
        image: get("encoder_hidden_states_image"),
        reference: None,
        times: get("timestep").unwrap().to_vec(),
        guidance: get("guidance").map(|x| x.to_vec()),
    }
}

#[test]
fn transformers_agree_with_the_reference() {
    let device = Device::cpu(2).with_f64_arithmetic();
    for (class, is_sana) in [(sana::CLASS, true), (wan::CLASS, false)] {
        for folder in folders(class) {
            let path = folder.join("config.json");
            let text = std::fs::read(&path).unwrap();
            let checkpoint = Checkpoint::open(&folder).unwrap();
            let model = match is_sana {
                true => {
                    let config = sana::config_from_json(&text, &path).unwrap();
                    sana::load(config, &checkpoint, &device, None).unwrap()
                }
                false => {
                    let config = wan::config_from_json(&text, &path).unwrap();
                    wan::load(config, &checkpoint, &device, None).unwrap()
                }
            };
            let expected = Checkpoint::open(&folder.join("expected.safetensors")).unwrap();
            let got = model.forward(&input(&expected, &device));
            let want = read(&expected, "out.sample", &device).unwrap();
            assert_same(&folder.display().to_string(), &want, &got);
        }
    }
}

#[test]
fn autoencoders_agree_with_the_reference() {
    let device = Device::cpu(2).with_f64_arithmetic();
    for folder in folders("AutoencoderKLWan") {
        let path = folder.join("config.json");
        let config = WanVaeConfig::from_json(&std::fs::read(&path).unwrap(), &path).unwrap();
        let checkpoint = Checkpoint::open(&folder).unwrap();
        let vae = WanVae::load(config, &checkpoint, &device, None).unwrap();
        let expected = Checkpoint::open(&folder.join("expected.safetensors")).unwrap();
        let want = |name: &str| read(&expected, &format!("out.{name}"), &device);
        let name = |part: &str| format!("{}: {part}", folder.display());
        let posterior = vae.encode(&read(&expected, "in.video", &device).unwrap());
        let latent = want("latent").unwrap();
        assert_same(&name("mean"), &latent, &posterior.mean);
        if let Some(logvar) = want("logvar") {
            assert_same(&name("log variance"), &logvar, &posterior.bounded_log_variance());
        }
        let want = want("reconstruction").unwrap();
        assert_same(&name("reconstruction"), &want, &vae.decode(&latent));
    }
}

/// Every level of the CPU computes what the reference arithmetic does, to the precision of f32.
#[test]
fn fast_arithmetic_is_close() {
    let folder = folders(sana::CLASS).swap_remove(0);
    let path = folder.join("config.json");
    let config = sana::config_from_json(&std::fs::read(&path).unwrap(), &path).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let expected = Checkpoint::open(&folder.join("expected.safetensors")).unwrap();
    for level in Device::levels() {
        let device = Device::cpu_with_level(2, level).unwrap();
        let model = sana::load(config.clone(), &checkpoint, &device, None).unwrap();
        let got = model.forward(&input(&expected, &device));
        let want = read(&expected, "out.sample", &device).unwrap();
        assert_same(level, &want, &got);
    }
}

fn vae(residual: bool, device: &Device) -> WanVae {
    let text = format!(
        r#"{{"base_dim": 4, "z_dim": 2, "dim_mult": [1, 2, 2], "num_res_blocks": 1,
            "temperal_downsample": [true, true], "is_residual": {residual},
            "latents_mean": [0.5, -1.0], "latents_std": [2.0, 0.25]}}"#
    );
    let config = WanVaeConfig::from_json(text.as_bytes(), Path::new("config.json")).unwrap();
    WanVae::new(config, &mut Random::new(device, Precision::F32, 3, 1)).unwrap()
}

fn normal(device: &Device, shape: &[usize], seed: u64) -> Tensor {
    Tensor::normal(device, shape, 0.5, &mut Rng(seed))
}

/// What is kept between pieces is what matters: pieces of any length give the clip as a whole.
#[test]
fn clips_in_pieces_are_the_whole_clip() {
    let device = Device::cpu(2);
    for residual in [false, true] {
        let mut vae = vae(residual, &device);
        vae.freeze();
        let video = normal(&device, &[1, 3, 13, 8, 12], 3);
        let whole = vae.encode_by(&video, 12);
        assert_eq!(whole.mean.shape(), [1, 2, 4, 2, 3]);
        for pieces in [vae.encode(&video), vae.encode_by(&video, 8)] {
            assert_same("mean", &whole.mean, &pieces.mean);
            assert_same("log variance", &whole.log_variance, &pieces.log_variance);
        }
        let whole = vae.decode_by(&whole.mean, 4);
        assert_eq!(whole.shape(), [1, 3, 13, 8, 12]);
        let latent = vae.encode(&video).mean;
        for frames in 1..4 {
            assert_same("pixels", &whole, &vae.decode_by(&latent, frames));
        }
    }
}

/// A frame is never computed from later ones, and a picture is a clip of one frame.
#[test]
fn the_autoencoder_is_causal() {
    let device = Device::cpu(2);
    let mut vae = vae(false, &device);
    vae.freeze();
    let video = normal(&device, &[1, 3, 9, 8, 8], 4);
    let all = vae.encode(&video).mean;
    for (frames, latents) in [(1, 1), (5, 2)] {
        let first = vae.encode(&video.narrow(2, 0..frames)).mean;
        assert_eq!(first.data(), all.narrow(2, 0..latents).data());
        let pixels = vae.decode(&all.narrow(2, 0..latents));
        assert_eq!(pixels.data(), vae.decode(&all).narrow(2, 0..frames).data());
    }
}

#[test]
fn latents_are_normalized_per_channel_and_back() {
    let device = Device::cpu(1);
    let vae = vae(false, &device);
    let latent = Tensor::new(&device, &[1, 2, 1, 1, 2], vec![2.5, 0.5, -1.0, 0.0]);
    let normalized = vae.normalize(&latent);
    assert_eq!(normalized.data(), [1.0, 0.0, 0.0, 4.0]);
    assert_eq!(vae.denormalize(&normalized).data(), latent.data());
}

/// A transformer of our own kind: the prompt within the sequence, modulations per modality, linear and
/// softmax layers, gates, SwiGLU.
fn own() -> DitConfig {
    let layer = |mixer| LayerConfig {
        attention: AttentionConfig {
            heads: 2,
            head_dim: 8,
            mixer,
            qk_norm: QkNorm::RmsPerHead(1e-5),
            bias: false,
            gated: true,
        },
        cross: None,
        ffn_norm_affine: false,
        ffn: FfnConfig::SwiGlu { hidden: 20 },
    };
    DitConfig {
        hidden_size: 12,
        in_channels: 3,
        out_channels: 3,
        patch_size: [1, 2, 1],
        frequencies: 16,
        guidance: false,
        text: TextConfig {
            dim: 5,
            norm_eps: Some(1e-5),
            placement: TextPlacement::Packed,
            pooled: true,
        },
        image: None,
        rope: RopeConfig {
            dims: [4, 2, 2],
            theta: 100.0,
            pairing: Pairing::Half,
            spacing: [1.0; 3],
            max_positions: 64,
        },
        places: true,
        layers: vec![layer(Mixer::Linear { eps: 1e-6 }), layer(Mixer::Softmax)],
        modalities: 3,
        reference_frames: 1,
        norm_eps: 1e-6,
        out_norm_eps: 1e-6,
    }
}

/// The same with the prompt beside the sequence.
fn crossed(mixer: Mixer, ffn: FfnConfig) -> DitConfig {
    let mut config = own();
    config.text.placement = TextPlacement::Cross;
    (config.text.pooled, config.places) = (false, false);
    (config.modalities, config.reference_frames) = (1, 0);
    for layer in &mut config.layers {
        layer.attention.mixer = mixer;
        layer.cross = Some(CrossConfig {
            heads: 1,
            head_dim: 6,
            qk_norm: QkNorm::L2AcrossHeads(1e-5),
            norm: true,
            text_rows: None,
        });
        (layer.ffn, layer.ffn_norm_affine) = (ffn, true);
    }
    config
}

fn configs() -> Vec<DitConfig> {
    let linear = Mixer::Linear { eps: 1e-6 };
    vec![
        own(),
        crossed(linear, FfnConfig::GluConv { hidden: 7 }),
        crossed(Mixer::Softmax, FfnConfig::Gelu { hidden: 9 }),
        crossed(Mixer::Window { frames: 2 }, FfnConfig::SwiGlu { hidden: 9 }),
    ]
}

fn model(config: DitConfig, device: &Device) -> VideoDit {
    let mut model = VideoDit::new(config, &mut Random::new(device, Precision::F32, 2, 5)).unwrap();
    // Nothing may hide behind a bias of 0 or a table near it.
    let mut rng = Rng(8);
    model.for_each_parameter(&mut |name, tensor| {
        if name.contains("table") || name.ends_with("bias") {
            let noise = Tensor::normal(device, tensor.shape(), 0.5, &mut rng);
            *tensor = tensor.detach().add_scaled(1.0, &noise, 1.0).into_parameter();
        }
    });
    model
}

fn sample(device: &Device, batch: usize) -> DitInput {
    DitInput {
        latents: normal(device, &[batch, 3, 3, 4, 2], 11),
        text: normal(device, &[batch, 4, 5], 12),
        text_mask: None,
        image: None,
        reference: None,
        times: (0..batch).map(|i| 100.0 + 300.0 * i as f32).collect(),
        guidance: None,
    }
}

/// Samples of a batch do not see each other.
#[test]
fn a_batch_is_its_samples() {
    let device = Device::cpu(2);
    for config in configs() {
        let mut model = model(config, &device);
        model.freeze();
        let all = sample(&device, 3);
        let together = model.forward(&all);
        for i in 0..3 {
            let one = DitInput {
                latents: all.latents.narrow(0, i..i + 1),
                text: all.text.narrow(0, i..i + 1),
                times: vec![all.times[i]],
                ..all.clone()
            };
            assert_same("sample", &together.narrow(0, i..i + 1), &model.forward(&one));
        }
    }
}

/// One time for all tokens is a time for each of them; another for one frame changes the prediction.
#[test]
fn times_are_per_row() {
    let device = Device::cpu(2);
    for config in configs() {
        let mut model = model(config, &device);
        model.freeze();
        let one = sample(&device, 1);
        let tokens = 3 * 2 * 2;
        let each = DitInput { times: vec![100.0; tokens], ..one.clone() };
        let want = model.forward(&one);
        assert_same("times", &want, &model.forward(&each));
        let mut other = each;
        other.times[tokens - 1] = 900.0;
        assert_ne!(want.data(), model.forward(&other).data());
    }
}

/// Rows of a prompt that are masked are as if they were not there; if all are, none is.
#[test]
fn masked_rows_are_not_there() {
    let device = Device::cpu(2);
    let mut model = model(configs().swap_remove(1), &device);
    model.freeze();
    let whole = sample(&device, 1);
    let mask = |keep: [bool; 4]| DitInput { text_mask: Some(keep.to_vec()), ..whole.clone() };
    let short = DitInput { text: whole.text.narrow(1, 0..2), ..whole.clone() };
    let want = model.forward(&short);
    assert_same("mask", &want, &model.forward(&mask([true, true, false, false])));
    let want = model.forward(&whole);
    assert_same("no mask", &want, &model.forward(&mask([true; 4])));
    assert_same("nothing left", &want, &model.forward(&mask([false; 4])));
}

/// Without positions the order of tokens means nothing: rows that change places take their results
/// with them. Of all mixers; a window knows frames, so that whole frames change places within it.
#[test]
fn tokens_have_no_order_but_their_positions() {
    let device = Device::cpu(2);
    let ffn = FfnConfig::Gelu { hidden: 9 };
    for mixer in [Mixer::Linear { eps: 1e-6 }, Mixer::Softmax, Mixer::Window { frames: 2 }] {
        let mut config = crossed(mixer, ffn);
        config.rope.dims = [0, 0, 0];
        let mut model = model(config, &device);
        model.freeze();
        let straight = sample(&device, 1);
        let swap = |x: &Tensor| {
            let frame = |i: usize| x.narrow(2, i..i + 1);
            Tensor::cat(&[&frame(1), &frame(0), &frame(2)], 2)
        };
        let swapped = DitInput { latents: swap(&straight.latents), ..straight.clone() };
        assert_same("order", &swap(&model.forward(&straight)), &model.forward(&swapped));
    }
}

/// A window of all frames is softmax attention; a smaller one is not.
#[test]
fn a_window_of_everything_is_softmax() {
    let device = Device::cpu(2);
    let predict = |mixer| {
        let mut model = model(crossed(mixer, FfnConfig::Gelu { hidden: 9 }), &device);
        model.freeze();
        model.forward(&sample(&device, 2))
    };
    let want = predict(Mixer::Softmax);
    assert_same("window", &want, &predict(Mixer::Window { frames: 3 }));
    assert_ne!(want.data(), predict(Mixer::Window { frames: 2 }).data());
}

/// Shows a visitor every parameter and its name.
type Parameters<'a> = &'a mut dyn FnMut(&mut dyn FnMut(&str, &mut Tensor));

/// Gradients of everything, along a random direction, against the difference of two losses `2 h` apart:
/// so near that the loss is straight between them, so far that f32 sees the difference.
#[track_caller]
fn assert_slope(
    what: &str,
    h: f32,
    parameters: Parameters<'_>,
    gradients: &Gradients,
    loss: impl Fn() -> f64,
) {
    let mut rng = Rng(21);
    let (mut slope, mut names) = (0.0, 0);
    let mut directions = Vec::new();
    parameters(&mut |name, tensor| {
        let gradient =
            gradients.get(tensor).unwrap_or_else(|| panic!("{what}: no gradient of {name}"));
        assert!(gradient.data().iter().any(|g| *g != 0.0), "{what}: the gradient of {name} is 0");
        let step = Tensor::normal(tensor.device(), tensor.shape(), 1.0, &mut rng);
        let products = gradient.data().iter().zip(step.data());
        slope += products.map(|(g, s)| f64::from(*g) * f64::from(*s)).sum::<f64>();
        directions.push(step);
        names += 1;
    });
    let mut at = |h: f32| {
        let mut step = directions.iter();
        parameters(&mut |_, tensor| {
            *tensor = tensor.detach().add_scaled(1.0, step.next().unwrap(), h);
        });
        loss()
    };
    let above = at(h);
    let below = at(-2.0 * h);
    let numeric = (above - below) / (2.0 * f64::from(h));
    assert!(names > 5, "{what}: {names} parameters");
    let error = (numeric - slope).abs() / slope.abs().max(1.0);
    assert!(error < 1e-2, "{what}: slope {slope}, by differences {numeric}");
}

/// The sum of what is predicted times fixed weights.
fn weighted(y: &Tensor) -> Tensor {
    let n = y.len();
    let weights = Weight::new(normal(y.device(), &[1, n], 31), Precision::F32);
    y.reshape(&[1, n]).linear(&weights).reshape(&[1])
}

#[test]
fn transformers_can_be_trained() {
    let device = Device::cpu(2).with_f64_arithmetic();
    for (i, config) in configs().into_iter().enumerate() {
        let model = std::cell::RefCell::new(model(config, &device));
        let input = sample(&device, 2);
        let mut gradients = Gradients::default();
        weighted(&model.borrow().forward(&input)).backward(&mut gradients);
        let mut parameters =
            |visit: &mut dyn FnMut(&str, &mut Tensor)| model.borrow_mut().for_each_parameter(visit);
        assert_slope(&format!("config {i}"), 3e-4, &mut parameters, &gradients, || {
            f64::from(weighted(&model.borrow().forward(&input)).data()[0])
        });
    }
}

#[test]
fn autoencoders_can_be_trained() {
    let device = Device::cpu(2).with_f64_arithmetic();
    for residual in [false, true] {
        let vae = std::cell::RefCell::new(vae(residual, &device));
        let video = normal(&device, &[1, 3, 5, 8, 8], 3);
        let loss = || {
            let vae = vae.borrow();
            let posterior = vae.encode(&video);
            let pixels = weighted(&vae.decode_by(&posterior.mean, 2));
            pixels.add_scaled(1.0, &weighted(&posterior.log_variance), 0.5)
        };
        let mut gradients = Gradients::default();
        loss().backward(&mut gradients);
        let mut parameters =
            |visit: &mut dyn FnMut(&str, &mut Tensor)| vae.borrow_mut().for_each_parameter(visit);
        let what = format!("residual: {residual}");
        assert_slope(&what, 3e-5, &mut parameters, &gradients, || f64::from(loss().data()[0]));
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let device = Device::cpu(1);
    let model = model(own(), &device);
    let good = sample(&device, 2);
    assert!(model.check(&good).is_ok());
    let bad = |change: &dyn Fn(&mut DitInput)| {
        let mut input = good.clone();
        change(&mut input);
        model.check(&input).unwrap_err().to_string()
    };
    let errors = [
        bad(&|input| input.latents = normal(&device, &[2, 4, 3, 4, 2], 1)),
        bad(&|input| input.latents = normal(&device, &[2, 3, 3, 1, 2], 1)),
        bad(&|input| input.latents = normal(&device, &[2, 3, 65, 2, 1], 1)),
        bad(&|input| input.text = normal(&device, &[1, 4, 5], 1)),
        bad(&|input| input.times = vec![1.0; 3]),
        bad(&|input| input.guidance = Some(vec![1.0; 2])),
        bad(&|input| input.image = Some(normal(&device, &[2, 1, 3], 1))),
        bad(&|input| input.text_mask = Some(vec![true; 8])),
    ];
    let want = [
        "input `hidden_states` has shape [2, 4, 3, 4, 2], expected [1 or more, 3, frames, height, width]",
        "input `hidden_states` has shape [2, 3, 3, 1, 2], expected 1 to 64 patches of [1, 2, 1] along \
         each axis",
        "input `hidden_states` has shape [2, 3, 65, 2, 1], expected 1 to 64 patches of [1, 2, 1] along \
         each axis",
        "input `encoder_hidden_states` has shape [1, 4, 5], expected [2, 1 or more, 5]",
        "input `timestep` has 3 values, expected 2 or 2 x 12",
        "input `guidance` has 2 values, expected none: `guidance_embeds` is not true",
        "input `encoder_hidden_states_image` has shape [2, 1, 3], expected none: `image_dim` is not set",
        "input `encoder_attention_mask` has 8 values, expected none for a prompt within the sequence",
    ];
    for (error, want) in errors.iter().zip(want) {
        assert_eq!(error, want);
    }
}
