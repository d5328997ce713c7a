//! Training of an autoencoder as a whole, with one of a few thousand parameters; and what all
//! objectives share: averages of weights, frozen parts, validation.
#![expect(clippy::unwrap_used, reason = "a test may stop")]

mod support;

use models::video::WanVae;
use models::video::vae::config::WanVaeConfig;
use std::path::Path;
use support::{ends, steps, values};
use tensor::{Checkpoint, Device, Tensor};
use train::{Recipe, Trainer};

const RECIPE: &str = r#"
objective = "autoencoder"
seed = 3
compute = "f32"
checkpoint_every = 100
validate_every = 4
ema = 0.9

[model]
_class_name = "AutoencoderKLWan"
base_dim = 4
z_dim = 2
dim_mult = [1, 2, 8]
num_res_blocks = 1
temperal_downsample = [true, true]
in_channels = 12
out_channels = 12
patch_size = 2
latents_mean = [0, 0]
latents_std = [1, 1]

[optimizer]
matrices = "muon"
lr = 5e-3
warmup_steps = 2
decay_steps = 2
weight_decay = 0.01
max_grad_norm = 1.0

[autoencoder]
steps = 40
smooth = 1.0
gradient_difference = 0.1
kl = 1e-5

[[autoencoder.batches]]
of = "scenes"
clips = 2
frames = 5
size = 16

[[autoencoder.batches]]
of = "references"
clips = 2
frames = 1
size = 16
every = 2
from = 3
"#;

fn recipe(text: &str) -> Recipe {
    Recipe::from_toml(text, Path::new("recipe.toml")).unwrap()
}

fn trainer(text: &str) -> Trainer {
    Trainer::new(recipe(text), Path::new("recipe.toml"), &Device::cpu(2)).unwrap()
}

#[test]
fn the_loss_falls() {
    for compute in ["f32", "bf16"] {
        let mut trainer = trainer(&RECIPE.replace("\"f32\"", &format!("\"{compute}\"")));
        let losses = steps(&mut trainer, 40, "loss");
        let [first, last] = ends(&losses);
        assert!(last < first / 2.0, "{first} to {last} in {compute}");
    }
}

/// Noise, data, averages and the measurements in between: all is as if nothing had happened.
#[test]
fn a_resumed_run_is_the_uninterrupted_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let mut whole = trainer(RECIPE);
    steps(&mut whole, 8, "loss");
    let mut first = trainer(RECIPE);
    steps(&mut first, 5, "loss");
    first.save(&path).unwrap();
    let mut second = trainer(RECIPE);
    second.resume(&path).unwrap();
    steps(&mut second, 3, "loss");
    assert_eq!(whole.history(), second.history());
    assert_eq!(values(&mut whole), values(&mut second));
    let measured: Vec<u64> = whole
        .history()
        .iter()
        .filter(|step| step.metric("psnr").is_some() && step.metric("picture").is_some())
        .map(|step| step.step)
        .collect();
    assert_eq!(measured, [4, 8]);
    // A run that has no averages cannot give them to one that has.
    let mut without = trainer(&RECIPE.replace("ema = 0.9\n", ""));
    steps(&mut without, 1, "loss");
    without.save(&path).unwrap();
    let error = trainer(RECIPE).resume(&path).unwrap_err().to_string();
    assert!(error.contains("ema."), "{error}");
}

/// After each step an average goes a share of the way to the weights; the share is larger at first.
#[test]
fn written_weights_are_averages() {
    let mut plain = trainer(&RECIPE.replace("ema = 0.9\n", ""));
    let mut averaged = trainer(RECIPE);
    let mut want = values(&mut plain);
    assert_eq!(want, values(&mut averaged));
    for step in 1..4 {
        steps(&mut plain, 1, "loss");
        steps(&mut averaged, 1, "loss");
        let decay = f64::min(0.9, (1 + step) as f64 / (10 + step) as f64) as f32;
        for (name, now) in values(&mut plain) {
            let average = want.get_mut(&name).unwrap();
            for (average, now) in average.iter_mut().zip(now) {
                *average = decay * *average + (1.0 - decay) * now;
            }
        }
    }
    for (name, got) in values(&mut averaged) {
        for (want, got) in want[&name].iter().zip(got) {
            assert!((want - got).abs() <= 1e-6 * want.abs().max(1.0), "{name}: {want} {got}");
        }
    }
    // What is trained are the weights themselves, not their averages.
    assert_eq!(plain.history()[2].metric("loss"), averaged.history()[2].metric("loss"));
}

#[test]
fn frozen_parts_stay() {
    let text = format!("freeze = [\"encoder\", \"quant_conv\"]\n{RECIPE}");
    let mut trainer = trainer(&text);
    let before = values(&mut trainer);
    steps(&mut trainer, 2, "loss");
    // What the recipe says of latents stays true.
    let folder = tempfile::tempdir().unwrap();
    trainer.write_model(folder.path()).unwrap();
    let path = folder.path().join("config.json");
    let config = WanVaeConfig::from_json(&std::fs::read(&path).unwrap(), &path).unwrap();
    assert_eq!(config.latents_std, [1.0, 1.0]);
    for (name, after) in values(&mut trainer) {
        let frozen = name.starts_with("encoder.") || name.starts_with("quant_conv.");
        let stays = before[&name] == after;
        // With one filter of zeros a bias may have nothing to learn from: only whole parts count.
        assert!(stays || !frozen, "{name} changed");
        if name.ends_with(".weight") && !frozen {
            assert!(!stays, "{name} stays");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    trainer.save(&path).unwrap();
    let mut resumed = self::trainer(&text);
    resumed.resume(&path).unwrap();
    steps(&mut trainer, 1, "loss");
    steps(&mut resumed, 1, "loss");
    assert_eq!(values(&mut trainer), values(&mut resumed));
    for (part, words) in [("[\"encode\"]", "`freeze` has \"encode\""), ("[\"\"]", "`freeze` has")] {
        let recipe = recipe(&format!("freeze = {part}\n{RECIPE}"));
        let error = Trainer::new(recipe, Path::new("recipe.toml"), &Device::cpu(1)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let all = "[\"encoder\", \"quant_conv\", \"post_quant_conv\", \"decoder\"]";
    let recipe = recipe(&format!("freeze = {all}\n{RECIPE}"));
    let error = Trainer::new(recipe, Path::new("recipe.toml"), &Device::cpu(1)).unwrap_err();
    assert!(error.to_string().contains("nothing to train"), "{error}");
}

/// The folder that is written loads as a model of its kind, and its statistics are those of latents.
#[test]
fn the_folder_is_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = trainer(RECIPE);
    steps(&mut trainer, 2, "loss");
    trainer.write_model(folder.path()).unwrap();
    let path = folder.path().join("config.json");
    let config = WanVaeConfig::from_json(&std::fs::read(&path).unwrap(), &path).unwrap();
    assert!(config.latents_std.iter().all(|std| *std != 1.0), "{config:?}");
    let device = Device::cpu(2);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let vae = WanVae::load(config, &checkpoint, &device, None).unwrap();
    let scene = train::clips::Scene::draw(&mut tensor::Rng(1), train::clips::Split::Train);
    let clip = scene.render(16, 5);
    let video = Tensor::new(&device, &[1, 3, 5, 16, 16], clip.channels_first().collect());
    let latent = vae.normalize(&vae.encode(&video).mean);
    assert_eq!(latent.shape(), [1, 2, 2, 2, 2]);
    assert!(latent.to_vec().iter().all(|x| x.abs() < 8.0), "{:?}", latent.to_vec());
    // In 8 bits it is half as large and nearly the same.
    let small = tempfile::tempdir().unwrap();
    let mut narrow = self::trainer(&format!("q8 = [\"encoder\", \"decoder\"]\n{RECIPE}"));
    steps(&mut narrow, 2, "loss");
    narrow.write_model(small.path()).unwrap();
    let blocks = Checkpoint::open(small.path()).unwrap();
    assert_eq!(blocks.dtype("decoder.mid_block.resnets.0.conv1.weight").unwrap(), "Q8_0");
    assert_eq!(blocks.dtype("quant_conv.weight").unwrap(), "BF16");
    let path = small.path().join("config.json");
    let config = WanVaeConfig::from_json(&std::fs::read(&path).unwrap(), &path).unwrap();
    let other = WanVae::load(config, &blocks, &device, None).unwrap();
    for (a, b) in [(vae.encode(&video).mean, other.encode(&video).mean)] {
        let largest = a.to_vec().iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for (a, b) in a.to_vec().iter().zip(b.to_vec()) {
            assert!((a - b).abs() < 0.05 * largest, "{a} {b}");
        }
    }
    // And a run begins with it.
    let start = format!("start = {:?}\n{RECIPE}", folder.path().display().to_string());
    let mut again = self::trainer(&start);
    for (name, values) in values(&mut again) {
        let stored = checkpoint.shape(&name).unwrap().iter().product::<usize>();
        assert_eq!(values.len(), stored, "{name}");
    }
}

#[test]
fn bad_recipes_are_named() {
    for (from, to, expected) in [
        ("\"autoencoder\"", "\"lookup\"", "`autoencoder` is for another `objective`"),
        ("ema = 0.9", "ema = 0.9\nother = 1", "unknown field `other`"),
        ("ema = 0.9", "ema = 1.0", "`ema` is 1"),
        ("validate_every = 4", "validate_every = 0", "`validate_every` is 0"),
        ("smooth = 1.0", "smooth = 0.0", "`autoencoder.smooth` is 0"),
        ("kl = 1e-5", "kl = nan", "`autoencoder.kl` is NaN"),
        ("steps = 40", "steps = 0", "`autoencoder.steps` is 0"),
        ("clips = 2", "clips = 0", "`autoencoder.batches[0].clips` is 0"),
        ("frames = 1\n", "frames = 5\n", "`autoencoder.batches[1].frames` is 5"),
        ("size = 16\n", "size = 16\nuntil = 7\n", "at step 8"),
    ] {
        let text = RECIPE.replacen(from, to, 1);
        let error = Recipe::from_toml(&text, Path::new("recipe.toml")).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("recipe.toml"), "{error}");
    }
    let stages = "[[stages]]\nsteps = 1\ntokens_per_step = 1\ntokens_per_micro_batch = 1\n\
                  min_bytes = 64\nmax_bytes = 64\nquestions = 1\nabsent_share = 0.0\n\
                  document_weight = 0.0\nquestion_weight = 0.0\n";
    let text = format!("{RECIPE}\n{stages}");
    let error = Recipe::from_toml(&text, Path::new("recipe.toml")).unwrap_err().to_string();
    assert!(error.contains("`stages` is for another `objective`"), "{error}");
    for (from, to, expected) in [
        ("size = 16", "size = 20", "`autoencoder.batches[0].size` is 20, expected a multiple of 8"),
        ("frames = 5", "frames = 6", "`autoencoder.batches[0].frames` is 6"),
        ("in_channels = 12", "in_channels = 4", "`model.in_channels`"),
    ] {
        let recipe = recipe(&RECIPE.replacen(from, to, 1));
        let error = Trainer::new(recipe, Path::new("recipe.toml"), &Device::cpu(1)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}
